"""Walks over stretches of bars in which nothing happens: the loop's inner loops, in plain Python.

`toolkit.simulation.compiling.stretches_compiled` holds functions of the same names that a compiler turns into faster code (words
of eight decisions, blocks of sixteen bars, vector instructions); they take the place of these in the compiled loop and
give the same integers.
"""

from __future__ import annotations

from typing import Any

from toolkit.simulation.rules import money
from toolkit.simulation.state import PEAK, TROUGH, WORST_PEAK, WORST_TROUGH


def end_fall(w: Any) -> None:
    """Keep the fall from the present peak to its trough if it is the largest so far, relative to its peak."""
    if w[TROUGH] < w[PEAK]:
        fall = (w[PEAK] - w[TROUGH]) / w[PEAK]
        if fall > (w[WORST_PEAK] - w[WORST_TROUGH]) / w[WORST_PEAK]:
            w[WORST_PEAK] = w[PEAK]
            w[WORST_TROUGH] = w[TROUGH]


def note_equity(w: Any, eq: int) -> None:
    """Take one bar's equity into peak and trough."""
    if eq > w[PEAK]:
        end_fall(w)
        w[PEAK] = eq
        w[TROUGH] = eq
    elif eq < w[TROUGH]:
        w[TROUGH] = eq


def next_entry(code: Any, first: int, last: int) -> int:
    """First bar of [first, last] whose decision enters, or ``last + 1``; ``first`` itself when it lies behind."""
    k = first
    while k <= last and code[k] & 3 == 0:
        k += 1
    return k


def quiet_until(
    low: Any,
    high: Any,
    code: Any,
    mask: int,
    lag: int,
    first: int,
    n: int,
    end: int,
    lower: int,
    upper: int,
    blocks: Any,
    at: int,
) -> int:
    """First bar from ``first`` on that touches a level or carries out a decision of ``mask``, or ``end``.

    A bar touches when its low is at ``lower`` or below, or its high at ``upper`` or above. The decision of bar
    ``i - lag`` is carried out in bar ``i``; the last bar decides nothing. ``blocks`` and ``at`` are for the compiled form.
    """
    i = first
    last = n - 2
    while i < end and low[i] > lower and high[i] < upper and (code[i - lag] & mask == 0 or i - lag > last):
        i += 1
    return i


def price_range(mark: Any, start: int, stop: int) -> tuple[int, int]:
    """Lowest and highest price of bars [start, stop), at least one."""
    low = mark[start]
    high = low
    for price in mark[start:stop]:
        if price < low:
            low = price
        if price > high:
            high = price
    return low, high


def note_stretch(
    w: Any, mark: Any, start: int, stop: int, balance: int, side: int, entry: int, steps: int, num: int, den: int
) -> None:
    """Take the equity of bars [start, stop) of one position into peak and trough."""
    for price in mark[start:stop]:
        note_equity(w, balance + money(side * (price - entry), steps, num, den))


def write_flat(w: Any, at: int, bars: int, balance: int) -> None:
    """Write the same equity for a run of bars."""
    for i in range(at, at + bars):
        w[i] = balance


def write_position(
    w: Any,
    at: int,
    mark: Any,
    start: int,
    stop: int,
    balance: int,
    side: int,
    entry: int,
    steps: int,
    num: int,
    den: int,
) -> None:
    """Write the equity of bars [start, stop) of one position from cell ``at`` on."""
    if den == 1:
        slope = side * steps * num
        for price in mark[start:stop]:
            w[at] = balance + slope * (price - entry)
            at += 1
    else:
        for price in mark[start:stop]:
            w[at] = balance + money(side * (price - entry), steps, num, den)
            at += 1

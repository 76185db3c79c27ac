"""The functions of `toolkit.simulation.stretches` in the form a compiler makes fast code of; only used compiled.

``blocks`` holds, for every sixteen bars, the lowest and highest bid and the lowest and highest ask (`price_blocks`), or
nothing. numba checks a variable index for being negative, which keeps loops from being vectorised: they run over
slices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.simulation.rules import money
from toolkit.simulation.state import PEAK, TROUGH
from toolkit.simulation.stretches import end_fall

BLOCK_BITS = 4
BLOCK_BARS = 16


def next_entry(code: Any, first: int, last: int) -> int:
    """Skip eight decisions at a time."""
    k = first
    while k <= last and k & 7 != 0:
        if code[k] & 3 != 0:
            return k
        k += 1
    if k > last:
        return k
    words = code[: code.shape[0] // 8 * 8].view(np.uint64)
    word = k >> 3
    end = (last + 1) >> 3
    while word < end and words[word] & np.uint64(0x0303030303030303) == np.uint64(0):
        word += 1
    k = word << 3
    while k <= last and code[k] & 3 == 0:
        k += 1
    return k


def next_decision(code: Any, mask: int, first: int, stop: int) -> int:
    """First bar of [first, stop) with a decision of ``mask``, or ``stop``."""
    k = first
    while k < stop and k & 7 != 0:
        if code[k] & mask != 0:
            return k
        k += 1
    if k >= stop:
        return stop
    words = code[: code.shape[0] // 8 * 8].view(np.uint64)
    wide = np.uint64(mask) * np.uint64(0x0101010101010101)
    word = k >> 3
    end = stop >> 3
    while word < end and words[word] & wide == np.uint64(0):
        word += 1
    k = word << 3
    while k < stop and code[k] & mask == 0:
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
    """Look at decisions by words and at prices by blocks, where there are blocks."""
    i = first
    last = n - 2
    count = n >> BLOCK_BITS
    if blocks.shape[0] == 0:
        while i < end and low[i] > lower and high[i] < upper and (code[i - lag] & mask == 0 or i - lag > last):
            i += 1
        return i
    while i < end:
        reach = min(end, i + 256)  # a decision further on is not looked for before the prices up to here are known
        decided = next_decision(code, mask, i - lag, min(reach - lag, last + 1))
        stop = decided + lag if decided < min(reach - lag, last + 1) else reach
        while i < stop and i & (BLOCK_BARS - 1) != 0:
            if low[i] <= lower or high[i] >= upper:
                return i
            i += 1
        if i < stop:
            block = i >> BLOCK_BITS
            full = stop >> BLOCK_BITS
            while block < full and blocks[at + block] > lower and blocks[at + count + block] < upper:
                block += 1
            i = block << BLOCK_BITS
            while i < stop and low[i] > lower and high[i] < upper:
                i += 1
        if i < stop or stop < reach:
            return i
    return i


def price_range(mark: Any, start: int, stop: int) -> tuple[int, int]:
    """One pass of vector minimum and maximum."""
    part = mark[start:stop]
    low = part[0]
    high = part[0]
    for k in range(len(part)):
        low = min(low, part[k])
        high = max(high, part[k])
    return low, high


def note_stretch(
    w: Any, mark: Any, start: int, stop: int, balance: int, side: int, entry: int, steps: int, num: int, den: int
) -> None:
    """Peak and trough stay in registers; a fall is settled only when a new peak ends it."""
    peak = w[PEAK]
    trough = w[TROUGH]
    for price in mark[start:stop]:
        eq = balance + money(side * (price - entry), steps, num, den)
        if eq > peak:
            if trough < peak:
                w[PEAK] = peak
                w[TROUGH] = trough
                end_fall(w)
            peak = eq
            trough = eq
        elif eq < trough:
            trough = eq
    w[PEAK] = peak
    w[TROUGH] = trough


def write_flat(w: Any, at: int, bars: int, balance: int) -> None:
    """Fill."""
    w[at : at + bars] = balance


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
    """Multiply and add whole vectors where a point is worth a whole number."""
    part = mark[start:stop]
    out = w[at : at + len(part)]
    if den == 1:
        slope = side * steps * num
        base = balance - slope * entry
        for k in range(len(part)):
            out[k] = base + slope * part[k]
    else:
        for k in range(len(part)):
            out[k] = balance + money(side * (part[k] - entry), steps, num, den)


def price_blocks(low: Any, high: Any, out: Any, at: int) -> None:
    """Lowest low and highest high of every sixteen bars, into ``out`` from ``at`` on: all lows, then all highs."""
    count = low.shape[0] >> BLOCK_BITS
    for block in range(count):
        first = block << BLOCK_BITS
        a = low[first : first + BLOCK_BARS]
        b = high[first : first + BLOCK_BARS]
        smallest = a[0]
        largest = b[0]
        for k in range(BLOCK_BARS):
            smallest = min(smallest, a[k])
            largest = max(largest, b[k])
        out[at + block] = smallest
        out[at + count + block] = largest

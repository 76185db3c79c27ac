"""Equity of the bars behind an event: marking, peak and trough, the day's base, daily returns. Compiled with the loop.

``w`` is the working memory of `toolkit.simulation.state`.
"""

from __future__ import annotations

import math
from typing import Any

from toolkit.risk.guard_rules import ends_with_the_day
from toolkit.simulation.rules import close_quote, money
from toolkit.simulation.state import (
    BALANCE,
    BARS_IN,
    BASE,
    BASE_DAY,
    DAILY_AT,
    DAILY_LOSS_PPM,
    DAY,
    DAY_LAST_AT,
    DAYS,
    DEVIATION,
    DOWNSIDE,
    DRAWDOWN_PPM,
    ENTRY_PRICE,
    EQUITY_AT,
    FULL,
    LOSSES,
    MARKED,
    MAX_DRAWDOWN,
    MAX_LOSSES,
    MEAN,
    OPENING,
    PEAK,
    PEAK_BASE,
    POS,
    STEPS,
    TRIPPED,
    TROUGH,
    VALUE_STRIDE,
    WORST_PEAK,
    WORST_TROUGH,
)
from toolkit.simulation.stretches import (
    end_fall,
    note_equity,
    note_stretch,
    price_range,
    write_flat,
    write_position,
)


def mark_flat(w: Any, stop: int) -> None:
    """Equity of the bars in [MARKED, stop) while no position is open: the balance."""
    start = w[MARKED]
    if start >= stop:
        return
    balance = w[BALANCE]
    if w[FULL]:
        write_flat(w, w[EQUITY_AT] + start, stop - start, balance)
    note_equity(w, balance)
    day = w[DAY]
    while day < w[DAYS] and w[w[DAY_LAST_AT] + day] < stop:
        w[w[DAILY_AT] + day] = balance
        day += 1
    w[DAY] = day
    w[MARKED] = stop


def mark_position(w: Any, stop: int, mark: Any, value: Any) -> None:
    """Equity of the bars in [MARKED, stop), at whose closes the position was open, marked at ``mark``."""
    start = w[MARKED]
    if start >= stop:
        return
    side = w[POS]
    entry = w[ENTRY_PRICE]
    steps = w[STEPS]
    balance = w[BALANCE]
    w[BARS_IN] += stop - start
    vs = w[VALUE_STRIDE]
    full = w[FULL]
    at = w[EQUITY_AT]
    if vs == 0:
        num = value[0]
        den = value[1]
        low, high = price_range(mark, start, stop)
        if side < 0:
            low, high = high, low
        worst = balance + money(side * (low - entry), steps, num, den)
        best = balance + money(side * (high - entry), steps, num, den)
        if best <= w[PEAK]:  # no new peak: only the lowest equity matters
            if worst < w[TROUGH]:
                w[TROUGH] = worst
        else:
            note_stretch(w, mark, start, stop, balance, side, entry, steps, num, den)
        if full:
            write_position(w, at + start, mark, start, stop, balance, side, entry, steps, num, den)
    else:
        for i in range(start, stop):
            eq = balance + money(side * (mark[i] - entry), steps, value[i * vs], value[i * vs + 1])
            note_equity(w, eq)
            if full:
                w[at + i] = eq
    day = w[DAY]
    while day < w[DAYS] and w[w[DAY_LAST_AT] + day] < stop:
        i = w[w[DAY_LAST_AT] + day]
        w[w[DAILY_AT] + day] = balance + money(side * (mark[i] - entry), steps, value[i * vs], value[i * vs + 1])
        day += 1
    w[DAY] = day
    w[MARKED] = stop


def see_day(w: Any, bar: int, bid_open: Any, ask_open: Any, value: Any) -> None:
    """Set the day's base when ``bar`` belongs to a platform day not seen yet: equity at the first open of that day.

    On the way the equity at the first open of every day passed is taken into the peak; what the guards count by the day
    begins anew.
    """
    day = w[BASE_DAY]
    first_day = w[DAY_LAST_AT]
    while w[first_day + day] < bar:
        day += 1
        if w[POS] == 0:  # flat since before that open, or its exit would have seen the day
            w[BASE] = w[BALANCE]
        else:
            first = w[first_day + day - 1] + 1
            at = (first - 1) * w[VALUE_STRIDE]
            mark = close_quote(w[POS], bid_open[first], ask_open[first])
            w[BASE] = w[BALANCE] + money(w[POS] * (mark - w[ENTRY_PRICE]), w[STEPS], value[at], value[at + 1])
        if w[BASE] > w[PEAK_BASE]:
            w[PEAK_BASE] = w[BASE]
    if day != w[BASE_DAY]:
        w[BASE_DAY] = day
        w[LOSSES] = 0
        if ends_with_the_day(w[TRIPPED]):
            w[TRIPPED] = 0


def needs_day(w: Any) -> bool:
    """Whether a guard counts by the platform's day."""
    return bool(w[DAILY_LOSS_PPM] > 0 or w[DRAWDOWN_PPM] > 0 or w[MAX_LOSSES] > 0)


def moments(w: Any, f: Any) -> None:
    """Largest drawdown, and mean, sample and downside deviation of daily returns, summed in order of time."""
    end_fall(w)
    f[MAX_DRAWDOWN] = (w[WORST_PEAK] - w[WORST_TROUGH]) / w[WORST_PEAK]
    days = w[DAYS]
    first = w[DAILY_AT]
    total = 0.0
    below = 0.0
    before = w[OPENING]
    for i in range(first, first + days):
        change = (w[i] - before) / before if before > 0 else 0.0
        total += change
        if change < 0.0:
            below += change * change
        before = w[i]
    mean = total / days
    spread = 0.0
    before = w[OPENING]
    for i in range(first, first + days):
        change = (w[i] - before) / before if before > 0 else 0.0
        spread += (change - mean) * (change - mean)
        before = w[i]
    f[MEAN] = mean
    f[DEVIATION] = math.sqrt(spread / (days - 1)) if days > 1 else 0.0
    f[DOWNSIDE] = math.sqrt(below / days)

"""Equity of the bars behind an event: marking, peak and trough, the day's base, daily returns. Compiled with the loop."""

from __future__ import annotations

import math
from typing import Any

from toolkit.simulation.rules import close_quote, money
from toolkit.simulation.state import (
    BALANCE,
    BARS_IN,
    BASE,
    BASE_DAY,
    DAILY_LOSS_PPM,
    DAY,
    DEVIATION,
    DOWNSIDE,
    ENTRY_PRICE,
    FULL,
    MARKED,
    MAX_DRAWDOWN,
    MEAN,
    PEAK,
    POS,
    STEPS,
    TROUGH,
    VALUE_STRIDE,
)


def note_equity(s: Any, f: Any, eq: int) -> None:
    """Take one bar's equity into peak, trough and the largest relative drawdown."""
    if eq > s[PEAK]:
        drawdown = (s[PEAK] - s[TROUGH]) / s[PEAK]
        if drawdown > f[MAX_DRAWDOWN]:
            f[MAX_DRAWDOWN] = drawdown
        s[PEAK] = eq
        s[TROUGH] = eq
    elif eq < s[TROUGH]:
        s[TROUGH] = eq


def mark_flat(s: Any, f: Any, p: Any, stop: int, day_last: Any, daily: Any, equity: Any) -> None:
    """Equity of the bars in [MARKED, stop) while no position is open: the balance."""
    balance = s[BALANCE]
    start = s[MARKED]
    if start >= stop:
        return
    if p[FULL]:
        for i in range(start, stop):
            equity[i] = balance
    note_equity(s, f, balance)
    day = s[DAY]
    while day < len(day_last) and day_last[day] < stop:
        daily[day] = balance
        day += 1
    s[DAY] = day
    s[MARKED] = stop


def mark_position(
    s: Any, f: Any, p: Any, stop: int, mark: Any, num: Any, den: Any, day_last: Any, daily: Any, equity: Any
) -> None:
    """Equity of the bars in [MARKED, stop), at whose closes the position was open, marked at ``mark``."""
    start = s[MARKED]
    if start >= stop:
        return
    side = s[POS]
    entry = s[ENTRY_PRICE]
    steps = s[STEPS]
    balance = s[BALANCE]
    s[BARS_IN] += stop - start
    vs = p[VALUE_STRIDE]
    if vs == 0:
        vn = num[0]
        vd = den[0]
        stretch = mark[start:stop]
        low = stretch[0]
        high = low
        for price in stretch:
            if price < low:
                low = price
            if price > high:
                high = price
        if side < 0:
            low, high = high, low
        worst = balance + money(side * (low - entry), steps, vn, vd)
        best = balance + money(side * (high - entry), steps, vn, vd)
        if best <= s[PEAK]:  # no new peak: only the lowest equity matters
            if worst < s[TROUGH]:
                s[TROUGH] = worst
        else:
            for price in stretch:
                note_equity(s, f, balance + money(side * (price - entry), steps, vn, vd))
        if p[FULL]:
            if vd == 1:
                slope = side * steps * vn
                for i in range(start, stop):
                    equity[i] = balance + slope * (mark[i] - entry)
            else:
                for i in range(start, stop):
                    equity[i] = balance + money(side * (mark[i] - entry), steps, vn, vd)
    else:
        for i in range(start, stop):
            eq = balance + money(side * (mark[i] - entry), steps, num[i], den[i])
            note_equity(s, f, eq)
            if p[FULL]:
                equity[i] = eq
    day = s[DAY]
    while day < len(day_last) and day_last[day] < stop:
        at = day_last[day]
        daily[day] = balance + money(side * (mark[at] - entry), steps, num[at * vs], den[at * vs])
        day += 1
    s[DAY] = day
    s[MARKED] = stop


def see_day(s: Any, p: Any, bar: int, day_last: Any, bid_open: Any, ask_open: Any, num: Any, den: Any) -> None:
    """Set the day's base when ``bar`` belongs to a platform day not seen yet: equity at the first open of that day."""
    if p[DAILY_LOSS_PPM] == 0:
        return
    day = s[BASE_DAY]
    while day_last[day] < bar:
        day += 1
    if day == s[BASE_DAY]:
        return
    s[BASE_DAY] = day
    first = day_last[day - 1] + 1
    if s[POS] == 0:  # flat since before that open, or its exit would have seen the day
        s[BASE] = s[BALANCE]
        return
    at = (first - 1) * p[VALUE_STRIDE]
    mark = close_quote(s[POS], bid_open[first], ask_open[first])
    s[BASE] = s[BALANCE] + money(s[POS] * (mark - s[ENTRY_PRICE]), s[STEPS], num[at], den[at])


def daily_moments(daily: Any, opening: int, f: Any) -> None:
    """Mean, sample deviation and downside deviation of the daily returns, summed in order of time."""
    days = len(daily)
    total = 0.0
    below = 0.0
    before = opening
    for value in daily:
        change = (value - before) / before if before > 0 else 0.0
        total += change
        if change < 0.0:
            below += change * change
        before = value
    mean = total / days
    spread = 0.0
    before = opening
    for value in daily:
        change = (value - before) / before if before > 0 else 0.0
        spread += (change - mean) * (change - mean)
        before = value
    f[MEAN] = mean
    f[DEVIATION] = math.sqrt(spread / (days - 1)) if days > 1 else 0.0
    f[DOWNSIDE] = math.sqrt(below / days)

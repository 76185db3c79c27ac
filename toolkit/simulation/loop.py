"""The simulation of one symbol over columns of bars: plain functions, compiled by numba where it is installed.

Two modes. Flat, it skips to the next bar whose decision enters. In a position, it scans for the first bar that touches a level
or decides an exit, then marks the whole stretch at once. The cost of a bar does not depend on how many trades came before.

State lives in one integer array ``s`` (and one float array ``f``), so a run can stop at any event to let the caller grow the
trade records and go on. Every array is indexed as a flat sequence only: without numba the same functions run on lists of
Python integers. What an event does is decided by `toolkit.simulation.rules` and `toolkit.risk.guardrails`, nowhere else.
"""

from __future__ import annotations

import math
from typing import Any

from toolkit.risk.guardrails import entry_denied
from toolkit.simulation.rules import (
    NO_EXIT,
    REVERSE,
    close_quote,
    commission,
    entry_quote,
    entry_refusal,
    entry_side,
    exit_reason,
    lots_for_risk,
    money,
    open_exit,
    protection_levels,
    range_exit,
    slipped,
    target_points_from_rr,
)

# state, integers
NEXT = 0  # next bar whose decision or range has not been looked at
MARKED = 1  # bars before this one have their equity
POS = 2  # side of the open position, 0 when flat
STEPS = 3
ENTRY_BAR = 4
ENTRY_PRICE = 5
SL = 6
TP = 7
ENTRY_COST = 8  # commission of the entry, <= 0
BALANCE = 9
TRADES = 10
SKIPS = 11
LAST_EXIT = 12  # bar of the last exit, far below zero before the first
DAY = 13  # index of the next platform day whose last close has not been marked
BASE_DAY = 14
BASE = 15  # equity at the first open of that day
PEAK = 16
TROUGH = 17
WINS = 18
GROSS_WIN = 19
GROSS_LOSS = 20
COMMISSION = 21
BARS_IN = 22
OPENING = 23  # balance before the first bar
SWAP = 24
WIDTH_S = 26
# state, floats
MAX_DRAWDOWN = 0
MEAN = 1  # of daily returns
DEVIATION = 2  # sample standard deviation of daily returns
DOWNSIDE = 3  # root mean square of the negative daily returns, over all days
WIDTH_F = 4

# parameters
BARS = 0
FIXED_STEPS = 1
RISK_PPM = 2
MIN_STEPS = 3
MAX_STEPS = 4
COMMISSION_NUM = 5
COMMISSION_DEN = 6
SLIPPAGE = 7
AT_CLOSE = 8  # decisions fill at the close quote of their own bar
STOP_REQUIRED = 9
HAS_TARGET = 10
STOP_STRIDE = 11
TARGET_STRIDE = 12
VALUE_STRIDE = 13
REVERSES = 14  # an opposite entry closes the position
DAILY_LOSS_PPM = 15
MAX_OPEN_LIMIT = 16
COOLDOWN_BARS = 17
MAX_SPREAD_POINTS = 18
FULL = 19  # write equity, trades and skips
TRADE_CAPACITY = 20
SKIP_CAPACITY = 21
WIDTH_P = 22

TRADE_WIDTH = 10  # side steps entry_bar entry_price exit_bar exit_price reason profit commission swap
SKIP_WIDTH = 3  # bar side reason

DONE = 0
GROW = 1
NEVER = -(1 << 60)
NO_LEVEL_ABOVE = (1 << 31) - 1


def next_entry(code: Any, start: int, stop: int) -> int:
    """First index in [start, stop) whose decision enters, else ``stop``."""
    i = start
    while i < stop and code[i] & 3 == 0:
        i += 1
    return i


def scan_long(
    low: Any, high: Any, code: Any, lag: int, sl: int, tp: int, mask: int, start: int, n: int, last: int
) -> int:
    """First bar in [start, n) that touches a level of a long, or carries out a decision in ``mask``; else ``n``.

    The decision carried out in bar ``i`` is that of bar ``i - lag``; decisions after bar ``last`` are not carried out.
    """
    i = start
    while i < n:
        if low[i] <= sl or high[i] >= tp:
            return i
        if code[i - lag] & mask and i - lag <= last:
            return i
        i += 1
    return n


def scan_short(
    low: Any, high: Any, code: Any, lag: int, sl: int, tp: int, mask: int, start: int, n: int, last: int
) -> int:
    """Like `scan_long` for a short: the stop lies above, the target below."""
    i = start
    while i < n:
        if high[i] >= sl or low[i] <= tp:
            return i
        if code[i - lag] & mask and i - lag <= last:
            return i
        i += 1
    return n


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


def try_entry(
    s: Any, p: Any, code: int, stop: int, target: int, bar: int, bid: int, ask: int, vn: int, vd: int, skips: Any
) -> None:
    """Carry out an entry decision in bar ``bar`` at that quote, or note why it was skipped."""
    side = entry_side(code)
    if side == 0:
        return
    quote = entry_quote(side, bid, ask)
    reason = 0
    if p[STOP_REQUIRED] or stop > 0:
        reason = entry_refusal(side, quote, stop, p[HAS_TARGET] != 0, target)
    elif p[HAS_TARGET]:
        reason = entry_refusal(side, quote, 1, True, target)
    if reason == 0:
        reason = entry_denied(
            s[BASE],
            s[BALANCE],
            p[DAILY_LOSS_PPM],
            0,
            p[MAX_OPEN_LIMIT],
            bar - s[LAST_EXIT],
            p[COOLDOWN_BARS],
            ask - bid,
            p[MAX_SPREAD_POINTS],
        )
    steps = p[FIXED_STEPS]
    if reason == 0 and steps == 0:
        steps, _, reason = lots_for_risk(s[BALANCE], p[RISK_PPM], stop, vn, vd, p[MIN_STEPS], p[MAX_STEPS])
    if reason != 0:
        if p[FULL]:
            at = s[SKIPS] * SKIP_WIDTH
            skips[at] = bar
            skips[at + 1] = side
            skips[at + 2] = reason
        s[SKIPS] += 1
        return
    sl, tp = protection_levels(side, quote, stop, target)
    s[POS] = side
    s[STEPS] = steps
    s[ENTRY_BAR] = bar
    s[ENTRY_PRICE] = slipped(side, quote, p[SLIPPAGE])
    s[SL] = sl if stop > 0 else 0
    s[TP] = tp
    s[ENTRY_COST] = commission(steps, p[COMMISSION_NUM], p[COMMISSION_DEN])
    s[BALANCE] += s[ENTRY_COST]


def book_exit(s: Any, p: Any, bar: int, reason: int, price: int, vn: int, vd: int, trades: Any) -> None:
    """Close the position at ``price``: book profit and commission, write the trade."""
    steps = s[STEPS]
    profit = money(s[POS] * (price - s[ENTRY_PRICE]), steps, vn, vd)
    cost = commission(steps, p[COMMISSION_NUM], p[COMMISSION_DEN])
    s[BALANCE] += profit + cost
    cost += s[ENTRY_COST]
    s[COMMISSION] += cost
    net = profit + cost
    if net > 0:
        s[WINS] += 1
        s[GROSS_WIN] += net
    else:
        s[GROSS_LOSS] -= net
    if p[FULL]:
        at = s[TRADES] * TRADE_WIDTH
        trades[at] = s[POS]
        trades[at + 1] = steps
        trades[at + 2] = s[ENTRY_BAR]
        trades[at + 3] = s[ENTRY_PRICE]
        trades[at + 4] = bar
        trades[at + 5] = price
        trades[at + 6] = reason
        trades[at + 7] = profit
        trades[at + 8] = cost
        trades[at + 9] = 0
    s[TRADES] += 1
    s[LAST_EXIT] = bar
    s[POS] = 0


def simulate(
    bid_open: Any,
    bid_high: Any,
    bid_low: Any,
    bid_close: Any,
    ask_open: Any,
    ask_high: Any,
    ask_low: Any,
    ask_close: Any,
    code: Any,
    stop_points: Any,
    target_points: Any,
    rr: float,
    num: Any,
    den: Any,
    day_last: Any,
    p: Any,
    s: Any,
    f: Any,
    daily: Any,
    equity: Any,
    trades: Any,
    skips: Any,
) -> int:
    """Run from the state ``s`` to the end of the bars: DONE, or GROW when the record arrays are full (call again).

    Parameters
    ----------
    bid_open, ..., ask_close
        Prices in points, one a bar.
    code
        Decision of each closed bar, see `toolkit.simulation.rules`.
    stop_points, target_points, rr
        Distances by the bar of the decision (or one value, with stride 0); ``rr`` > 0 takes the target from the stop instead.
    num, den
        Point value at the close of each bar (or one value, with stride 0).
    day_last
        Index of the last bar of each platform day.
    p, s, f
        Parameters and state, see the names of this module.
    daily, equity, trades, skips
        Outputs: equity at the end of each day, of each bar (FULL only), and flat records (FULL only).
    """
    n = p[BARS]
    vs = p[VALUE_STRIDE]
    lag = 0 if p[AT_CLOSE] else 1
    last = n - 2  # the last bar decides nothing
    while True:
        if p[FULL] and (s[TRADES] + 2 > p[TRADE_CAPACITY] or s[SKIPS] + 1 > p[SKIP_CAPACITY]):
            return GROW
        if s[POS] == 0:
            decided = next_entry(code, s[NEXT] - lag, last + 1)
            if decided > last:
                mark_flat(s, f, p, n, day_last, daily, equity)
                break
            i = decided + lag
            mark_flat(s, f, p, i, day_last, daily, equity)
            see_day(s, p, i, day_last, bid_open, ask_open, num, den)
        else:
            side = s[POS]
            tp = s[TP]
            if side > 0:
                mask = 4 | (2 if p[REVERSES] else 0)
                i = scan_long(
                    bid_low, bid_high, code, lag, s[SL], tp if tp != 0 else NO_LEVEL_ABOVE, mask, s[NEXT], n, last
                )
                mark_position(s, f, p, i, bid_close, num, den, day_last, daily, equity)
            else:
                mask = 8 | (1 if p[REVERSES] else 0)
                sl = s[SL]
                i = scan_short(
                    ask_low, ask_high, code, lag, sl if sl != 0 else NO_LEVEL_ABOVE, tp, mask, s[NEXT], n, last
                )
                mark_position(s, f, p, i, ask_close, num, den, day_last, daily, equity)
            if i >= n:
                break
            see_day(s, p, i, day_last, bid_open, ask_open, num, den)
        before = (i - 1) * vs if i > 0 else 0  # rate of the open and the range: that of the last close before them
        vn = num[before]
        vd = den[before]
        bid = bid_open[i]
        ask = ask_open[i]
        if s[POS] != 0:
            reason, price = open_exit(s[POS], s[SL], s[TP], bid, ask)
            if reason != NO_EXIT:
                book_exit(s, p, i, reason, price, vn, vd, trades)
        if lag == 1:
            stop, target = distances(p, stop_points, target_points, rr, i - 1)
            carry_out(s, p, code[i - 1], stop, target, i, bid, ask, vn, vd, trades, skips)
        if s[POS] != 0:
            reason, price = range_exit(s[POS], s[SL], s[TP], bid, bid_high[i], bid_low[i], ask, ask_high[i], ask_low[i])
            if reason != NO_EXIT:
                book_exit(s, p, i, reason, price, vn, vd, trades)
        if lag == 0 and i <= last:
            stop, target = distances(p, stop_points, target_points, rr, i)
            carry_out(
                s, p, code[i], stop, target, i, bid_close[i], ask_close[i], num[i * vs], den[i * vs], trades, skips
            )
        if s[POS] == 0:
            mark_flat(s, f, p, i + 1, day_last, daily, equity)
        s[NEXT] = i + 1
    drawdown = (s[PEAK] - s[TROUGH]) / s[PEAK]
    if drawdown > f[MAX_DRAWDOWN]:
        f[MAX_DRAWDOWN] = drawdown
    s[NEXT] = n
    daily_moments(daily, s[OPENING], f)
    return DONE


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


def distances(p: Any, stop_points: Any, target_points: Any, rr: float, decided: int) -> tuple[int, int]:
    """Stop and target distance decided at a bar, in points; 0 where there is none."""
    stop = stop_points[decided * p[STOP_STRIDE]]
    if not p[HAS_TARGET]:
        return stop, 0
    if rr > 0.0:
        return stop, target_points_from_rr(rr, stop)
    return stop, target_points[decided * p[TARGET_STRIDE]]


def carry_out(
    s: Any,
    p: Any,
    code: int,
    stop: int,
    target: int,
    bar: int,
    bid: int,
    ask: int,
    vn: int,
    vd: int,
    trades: Any,
    skips: Any,
) -> None:
    """Carry out a decision at this quote: the strategy's exit first, then its entry."""
    if s[POS] != 0:
        reason = exit_reason(s[POS], code)
        if reason == REVERSE and not p[REVERSES]:
            reason = NO_EXIT
        if reason != NO_EXIT:
            price = slipped(-s[POS], close_quote(s[POS], bid, ask), p[SLIPPAGE])
            book_exit(s, p, bar, reason, price, vn, vd, trades)
    if s[POS] == 0:
        try_entry(s, p, code, stop, target, bar, bid, ask, vn, vd, skips)

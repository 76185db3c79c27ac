"""The simulation of one symbol over columns of bars: plain functions, compiled by numba where it is installed.

Two modes. Flat, it skips to the next bar whose decision enters. In a position, it scans for the first bar that touches a level
or decides an exit, then marks the whole stretch at once. The cost of a bar does not depend on how many trades came before.

State lives in one integer array ``S`` (and one float array ``F``), so a run can stop at any event to let the caller grow the
trade records and go on. Every array is indexed as a flat sequence only: without numba the same functions run on lists of
Python integers. What an event does is decided by `toolkit.simulation.rules` and `toolkit.risk.guardrails`, nowhere else.
"""

from __future__ import annotations

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
WIDTH_S = 24
# state, floats
MAX_DRAWDOWN = 0
WIDTH_F = 1

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


def scan_long(low: Any, high: Any, code: Any, lag: int, sl: int, tp: int, mask: int, start: int, n: int, last: int) -> int:
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


def scan_short(low: Any, high: Any, code: Any, lag: int, sl: int, tp: int, mask: int, start: int, n: int, last: int) -> int:
    """Like `scan_long` for a short: the stop lies above, the target below."""
    i = start
    while i < n:
        if high[i] >= sl or low[i] <= tp:
            return i
        if code[i - lag] & mask and i - lag <= last:
            return i
        i += 1
    return n


def note_equity(S: Any, F: Any, eq: int) -> None:
    """Take one bar's equity into peak, trough and the largest relative drawdown."""
    if eq > S[PEAK]:
        drawdown = (S[PEAK] - S[TROUGH]) / S[PEAK]
        if drawdown > F[MAX_DRAWDOWN]:
            F[MAX_DRAWDOWN] = drawdown
        S[PEAK] = eq
        S[TROUGH] = eq
    elif eq < S[TROUGH]:
        S[TROUGH] = eq


def mark_flat(S: Any, F: Any, P: Any, stop: int, day_last: Any, daily: Any, equity: Any) -> None:
    """Equity of the bars in [MARKED, stop) while no position is open: the balance."""
    balance = S[BALANCE]
    start = S[MARKED]
    if start >= stop:
        return
    if P[FULL]:
        for i in range(start, stop):
            equity[i] = balance
    note_equity(S, F, balance)
    day = S[DAY]
    while day < len(day_last) and day_last[day] < stop:
        daily[day] = balance
        day += 1
    S[DAY] = day
    S[MARKED] = stop


def mark_position(
    S: Any, F: Any, P: Any, stop: int, mark: Any, num: Any, den: Any, day_last: Any, daily: Any, equity: Any
) -> None:
    """Equity of the bars in [MARKED, stop), at whose closes the position was open, marked at ``mark``."""
    start = S[MARKED]
    if start >= stop:
        return
    side = S[POS]
    entry = S[ENTRY_PRICE]
    steps = S[STEPS]
    balance = S[BALANCE]
    S[BARS_IN] += stop - start
    vs = P[VALUE_STRIDE]
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
        if best <= S[PEAK]:  # no new peak: only the lowest equity matters
            if worst < S[TROUGH]:
                S[TROUGH] = worst
        else:
            for price in stretch:
                note_equity(S, F, balance + money(side * (price - entry), steps, vn, vd))
        if P[FULL]:
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
            note_equity(S, F, eq)
            if P[FULL]:
                equity[i] = eq
    day = S[DAY]
    while day < len(day_last) and day_last[day] < stop:
        at = day_last[day]
        daily[day] = balance + money(side * (mark[at] - entry), steps, num[at * vs], den[at * vs])
        day += 1
    S[DAY] = day
    S[MARKED] = stop


def see_day(S: Any, P: Any, bar: int, day_last: Any, bid_open: Any, ask_open: Any, num: Any, den: Any) -> None:
    """Set the day's base when ``bar`` belongs to a platform day not seen yet: equity at the first open of that day."""
    if P[DAILY_LOSS_PPM] == 0:
        return
    day = S[BASE_DAY]
    while day_last[day] < bar:
        day += 1
    if day == S[BASE_DAY]:
        return
    S[BASE_DAY] = day
    first = day_last[day - 1] + 1
    if S[POS] == 0:  # flat since before that open, or its exit would have seen the day
        S[BASE] = S[BALANCE]
        return
    at = (first - 1) * P[VALUE_STRIDE]
    mark = close_quote(S[POS], bid_open[first], ask_open[first])
    S[BASE] = S[BALANCE] + money(S[POS] * (mark - S[ENTRY_PRICE]), S[STEPS], num[at], den[at])


def try_entry(
    S: Any, P: Any, code: int, stop: int, target: int, bar: int, bid: int, ask: int, vn: int, vd: int, skips: Any
) -> None:
    """Carry out an entry decision in bar ``bar`` at that quote, or note why it was skipped."""
    side = entry_side(code)
    if side == 0:
        return
    quote = entry_quote(side, bid, ask)
    reason = 0
    if P[STOP_REQUIRED] or stop > 0:
        reason = entry_refusal(side, quote, stop, P[HAS_TARGET] != 0, target)
    elif P[HAS_TARGET]:
        reason = entry_refusal(side, quote, 1, True, target)
    if reason == 0:
        reason = entry_denied(
            S[BASE],
            S[BALANCE],
            P[DAILY_LOSS_PPM],
            0,
            P[MAX_OPEN_LIMIT],
            bar - S[LAST_EXIT],
            P[COOLDOWN_BARS],
            ask - bid,
            P[MAX_SPREAD_POINTS],
        )
    steps = P[FIXED_STEPS]
    if reason == 0 and steps == 0:
        steps, _, reason = lots_for_risk(S[BALANCE], P[RISK_PPM], stop, vn, vd, P[MIN_STEPS], P[MAX_STEPS])
    if reason != 0:
        if P[FULL]:
            at = S[SKIPS] * SKIP_WIDTH
            skips[at] = bar
            skips[at + 1] = side
            skips[at + 2] = reason
        S[SKIPS] += 1
        return
    sl, tp = protection_levels(side, quote, stop, target)
    S[POS] = side
    S[STEPS] = steps
    S[ENTRY_BAR] = bar
    S[ENTRY_PRICE] = slipped(side, quote, P[SLIPPAGE])
    S[SL] = sl if stop > 0 else 0
    S[TP] = tp
    S[ENTRY_COST] = commission(steps, P[COMMISSION_NUM], P[COMMISSION_DEN])
    S[BALANCE] += S[ENTRY_COST]


def book_exit(S: Any, P: Any, bar: int, reason: int, price: int, vn: int, vd: int, trades: Any) -> None:
    """Close the position at ``price``: book profit and commission, write the trade."""
    steps = S[STEPS]
    profit = money(S[POS] * (price - S[ENTRY_PRICE]), steps, vn, vd)
    cost = commission(steps, P[COMMISSION_NUM], P[COMMISSION_DEN])
    S[BALANCE] += profit + cost
    cost += S[ENTRY_COST]
    S[COMMISSION] += cost
    net = profit + cost
    if net > 0:
        S[WINS] += 1
        S[GROSS_WIN] += net
    else:
        S[GROSS_LOSS] -= net
    if P[FULL]:
        at = S[TRADES] * TRADE_WIDTH
        trades[at] = S[POS]
        trades[at + 1] = steps
        trades[at + 2] = S[ENTRY_BAR]
        trades[at + 3] = S[ENTRY_PRICE]
        trades[at + 4] = bar
        trades[at + 5] = price
        trades[at + 6] = reason
        trades[at + 7] = profit
        trades[at + 8] = cost
        trades[at + 9] = 0
    S[TRADES] += 1
    S[LAST_EXIT] = bar
    S[POS] = 0


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
    P: Any,
    S: Any,
    F: Any,
    daily: Any,
    equity: Any,
    trades: Any,
    skips: Any,
) -> int:
    """Run from the state ``S`` to the end of the bars: DONE, or GROW when the record arrays are full (call again).

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
    P, S, F
        Parameters and state, see the names of this module.
    daily, equity, trades, skips
        Outputs: equity at the end of each day, of each bar (FULL only), and flat records (FULL only).
    """
    n = P[BARS]
    vs = P[VALUE_STRIDE]
    lag = 0 if P[AT_CLOSE] else 1
    last = n - 2  # the last bar decides nothing
    while True:
        if P[FULL] and (S[TRADES] + 2 > P[TRADE_CAPACITY] or S[SKIPS] + 1 > P[SKIP_CAPACITY]):
            return GROW
        if S[POS] == 0:
            decided = next_entry(code, S[NEXT] - lag, last + 1)
            if decided > last:
                mark_flat(S, F, P, n, day_last, daily, equity)
                break
            i = decided + lag
            mark_flat(S, F, P, i, day_last, daily, equity)
            see_day(S, P, i, day_last, bid_open, ask_open, num, den)
        else:
            side = S[POS]
            tp = S[TP]
            if side > 0:
                mask = 4 | (2 if P[REVERSES] else 0)
                i = scan_long(
                    bid_low, bid_high, code, lag, S[SL], tp if tp != 0 else NO_LEVEL_ABOVE, mask, S[NEXT], n, last
                )
                mark_position(S, F, P, i, bid_close, num, den, day_last, daily, equity)
            else:
                mask = 8 | (1 if P[REVERSES] else 0)
                sl = S[SL]
                i = scan_short(
                    ask_low, ask_high, code, lag, sl if sl != 0 else NO_LEVEL_ABOVE, tp, mask, S[NEXT], n, last
                )
                mark_position(S, F, P, i, ask_close, num, den, day_last, daily, equity)
            if i >= n:
                break
            see_day(S, P, i, day_last, bid_open, ask_open, num, den)
        before = (i - 1) * vs if i > 0 else 0  # rate of the open and the range: that of the last close before them
        vn = num[before]
        vd = den[before]
        bid = bid_open[i]
        ask = ask_open[i]
        if S[POS] != 0:
            reason, price = open_exit(S[POS], S[SL], S[TP], bid, ask)
            if reason != NO_EXIT:
                book_exit(S, P, i, reason, price, vn, vd, trades)
        if lag == 1:
            stop, target = distances(P, stop_points, target_points, rr, i - 1)
            carry_out(S, P, code[i - 1], stop, target, i, bid, ask, vn, vd, trades, skips)
        if S[POS] != 0:
            reason, price = range_exit(
                S[POS], S[SL], S[TP], bid, bid_high[i], bid_low[i], ask, ask_high[i], ask_low[i]
            )
            if reason != NO_EXIT:
                book_exit(S, P, i, reason, price, vn, vd, trades)
        if lag == 0 and i <= last:
            stop, target = distances(P, stop_points, target_points, rr, i)
            carry_out(
                S, P, code[i], stop, target, i, bid_close[i], ask_close[i], num[i * vs], den[i * vs], trades, skips
            )
        if S[POS] == 0:
            mark_flat(S, F, P, i + 1, day_last, daily, equity)
        S[NEXT] = i + 1
    drawdown = (S[PEAK] - S[TROUGH]) / S[PEAK]
    if drawdown > F[MAX_DRAWDOWN]:
        F[MAX_DRAWDOWN] = drawdown
    S[NEXT] = n
    return DONE


def distances(P: Any, stop_points: Any, target_points: Any, rr: float, decided: int) -> tuple[int, int]:
    """Stop and target distance decided at a bar, in points; 0 where there is none."""
    stop = stop_points[decided * P[STOP_STRIDE]]
    if not P[HAS_TARGET]:
        return stop, 0
    if rr > 0.0:
        return stop, target_points_from_rr(rr, stop)
    return stop, target_points[decided * P[TARGET_STRIDE]]


def carry_out(
    S: Any,
    P: Any,
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
    if S[POS] != 0:
        reason = exit_reason(S[POS], code)
        if reason == REVERSE and not P[REVERSES]:
            reason = NO_EXIT
        if reason != NO_EXIT:
            price = slipped(-S[POS], close_quote(S[POS], bid, ask), P[SLIPPAGE])
            book_exit(S, P, bar, reason, price, vn, vd, trades)
    if S[POS] == 0:
        try_entry(S, P, code, stop, target, bar, bid, ask, vn, vd, skips)

"""The simulation of one symbol over columns of bars: plain functions, compiled by numba where it is installed.

Two modes. Flat, it skips to the next bar whose decision enters. In a position, it scans for the first bar that
touches a level or decides an exit, then marks the whole stretch at once. The cost of a bar does not depend on how
many trades came before.

State lives in one integer array ``s`` (and one float array ``f``), so a run can stop at any event to let the caller
grow the trade records and go on. Every array is indexed as a flat sequence only: without numba the same functions run
on lists of Python integers. What an event does is decided by `toolkit.simulation.rules` and
`toolkit.risk.guardrails`, nowhere else.
"""

from __future__ import annotations

from typing import Any

from toolkit.simulation.events import book_exit, carry_out, distances
from toolkit.simulation.marking import daily_moments, mark_flat, mark_position, see_day
from toolkit.simulation.rules import NO_EXIT, open_exit, range_exit
from toolkit.simulation.state import (
    AT_CLOSE,
    BARS,
    DONE,
    FULL,
    GROW,
    MAX_DRAWDOWN,
    NEXT,
    NO_LEVEL_ABOVE,
    OPENING,
    PEAK,
    POS,
    REVERSES,
    SKIP_CAPACITY,
    SKIPS,
    SL,
    TP,
    TRADE_CAPACITY,
    TRADES,
    TROUGH,
    VALUE_STRIDE,
)


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
        Distances by the bar of the decision (or one value, with stride 0); ``rr`` > 0 takes the target from the stop
        instead.
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

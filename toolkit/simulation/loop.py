"""The simulation of one symbol over columns of bars: plain functions, compiled by numba where it is installed.

Two modes. Flat, it skips to the next bar whose decision enters. In a position, it scans for the first bar that
touches a level or decides an exit, then marks the whole stretch at once. The cost of a bar does not depend on how
many trades came before.

Parameters, state and outputs live in one flat integer array ``w``, so a run can stop at any event to let the caller grow
the trade records and go on. Every array is indexed as a flat sequence only: without numba the same functions run on
lists of Python integers. What an event does is decided by `toolkit.simulation.rules` and
`toolkit.risk.guard_rules`, nowhere else.
"""

from __future__ import annotations

from typing import Any

from toolkit.simulation.events import book_exit, carry_out, distances
from toolkit.simulation.holding.hold import night_limit, pay_night, stop_out_at_open, stop_out_in_range
from toolkit.simulation.marking import mark_flat, mark_position, moments, needs_day, see_day
from toolkit.simulation.rules import NO_EXIT, open_exit, range_exit
from toolkit.simulation.state import (
    AT_CLOSE,
    BARS,
    DONE,
    FULL,
    GROW,
    NEXT,
    NIGHT_BAR,
    NO_LEVEL_ABOVE,
    POS,
    REVERSES,
    SKIP_CAPACITY,
    SKIPS,
    SL,
    STOP_OUT_AT,
    SWAP_MODE,
    TP,
    TRADE_CAPACITY,
    TRADES,
    VALUE_STRIDE,
)
from toolkit.simulation.stretches import next_entry, quiet_until


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
    value: Any,
    blocks: Any,
    w: Any,
    f: Any,
) -> int:
    """Run from the state in ``w`` to the end of the bars: DONE, or GROW when the records are full (call again).

    Parameters
    ----------
    bid_open, ..., ask_close
        Prices in points, one a bar.
    code
        Decision of each closed bar, see `toolkit.simulation.rules`.
    stop_points, target_points, rr
        Distances by the bar of the decision (or one value, with stride 0); ``rr`` > 0 takes the target from the stop
        instead.
    value
        Point value at the close of each bar as pairs (num, den); one pair with stride 0.
    blocks
        Lows and highs of sixteen bars each for the compiled form (`toolkit.simulation.compiling.stretches_compiled`), or empty.
    w, f
        Working memory and the moments written at the end, see `toolkit.simulation.state`.
    """
    n = w[BARS]
    vs = w[VALUE_STRIDE]
    lag = 0 if w[AT_CLOSE] else 1  # the decision of bar i - lag is carried out in bar i
    last = n - 2  # the last bar decides nothing
    guarded = needs_day(w)
    while True:
        if w[FULL] and (w[TRADES] + 2 > w[TRADE_CAPACITY] or w[SKIPS] + 1 > w[SKIP_CAPACITY]):
            return GROW
        i = w[NEXT]
        if w[POS] == 0:  # skip to the next bar that carries out an entry
            i = next_entry(code, i - lag, last) + lag
            if i - lag > last:
                mark_flat(w, n)
                break
            mark_flat(w, i)
        elif w[POS] > 0:  # skip to the first bar that touches a level or carries out an exit
            upper = w[TP] if w[TP] != 0 else NO_LEVEL_ABOVE
            mask = 6 if w[REVERSES] else 4
            lower = max(w[SL], w[STOP_OUT_AT])
            i = quiet_until(bid_low, bid_high, code, mask, lag, i, n, night_limit(w), lower, upper, blocks, 0)
            mark_position(w, i, bid_close, value)
        else:
            upper = w[SL] if w[SL] != 0 else NO_LEVEL_ABOVE
            if w[STOP_OUT_AT] != 0 and w[STOP_OUT_AT] < upper:
                upper = w[STOP_OUT_AT]
            mask = 9 if w[REVERSES] else 8
            at = 2 * (n >> 4)
            i = quiet_until(ask_low, ask_high, code, mask, lag, i, n, night_limit(w), w[TP], upper, blocks, at)
            mark_position(w, i, ask_close, value)
        if i >= n:
            break
        before = (i - 1) * vs if i > 0 else 0  # rate of the open and the range: that of the last close before them
        num = value[before]
        den = value[before + 1]
        bid = bid_open[i]
        ask = ask_open[i]
        if w[SWAP_MODE] != 0 and w[POS] != 0 and i == w[NIGHT_BAR]:
            pay_night(w, bid, ask, num, den)
        if guarded:
            see_day(w, i, bid_open, ask_open, value)
        if w[POS] != 0:
            reason, price = open_exit(w[POS], w[SL], w[TP], bid, ask)
            if reason == NO_EXIT and w[STOP_OUT_AT] != 0:
                reason, price = stop_out_at_open(w, bid, ask, num, den)
            if reason != NO_EXIT:
                book_exit(w, i, reason, price, num, den)
        if lag == 1:
            stop, target = distances(w, stop_points, target_points, rr, i - 1)
            carry_out(w, code[i - 1], stop, target, i, bid, ask, num, den)
        if w[POS] != 0:
            reason, price = range_exit(w[POS], w[SL], w[TP], bid, bid_high[i], bid_low[i], ask, ask_high[i], ask_low[i])
            if reason == NO_EXIT and w[STOP_OUT_AT] != 0:
                reason, price = stop_out_in_range(w, bid, bid_low[i], ask, ask_high[i], num, den)
            if reason != NO_EXIT:
                book_exit(w, i, reason, price, num, den)
        if lag == 0 and i <= last:
            stop, target = distances(w, stop_points, target_points, rr, i)
            carry_out(w, code[i], stop, target, i, bid_close[i], ask_close[i], value[i * vs], value[i * vs + 1])
        if w[POS] == 0:
            mark_flat(w, i + 1)
        w[NEXT] = i + 1
    moments(w, f)
    w[NEXT] = n
    return DONE

"""The simulation of one symbol for a strategy with pending entries or managed positions, bar by bar while one lives.

The plain loop (`toolkit.simulation.loop`) knows stops and targets only and may jump; this one looks at every bar of a
position or of a pending order, because its stop, its volume or its life may change there. Both share the rules, the
bookings and the marking.
"""

from __future__ import annotations

from typing import Any

from toolkit.simulation.events import book_exit, distances, try_entry
from toolkit.simulation.holding.hold import pay_night, stop_out_at_open, stop_out_in_range
from toolkit.simulation.managed.cells import (
    FRAME_NS,
    KIND,
    LIFE_BARS,
    PARTS,
    WAITS,
    WAITS_AT,
    WAITS_SL,
    WAITS_UNTIL,
)
from toolkit.simulation.managed.rules import (
    AT_MARKET,
    PENDING_CANCELLED,
    PENDING_EXPIRED,
    cancels_pending,
    pending_reached,
    stop_in_fill_bar,
)
from toolkit.simulation.managed.steps import begin_managing, drop_waiting, fill_waiting, manage, place_pending
from toolkit.simulation.marking import mark_flat, mark_position, moments, needs_day, see_day
from toolkit.simulation.rules import (
    NO_EXIT,
    REVERSE,
    STOP_LOSS,
    TIME_EXIT,
    close_quote,
    entry_quote,
    exit_reason,
    open_exit,
    range_exit,
    slipped,
)
from toolkit.simulation.state import (
    BARS,
    DONE,
    ENTRY_BAR,
    FULL,
    GROW,
    MARGIN_MODE,
    NEXT,
    NIGHT_BAR,
    POS,
    REVERSES,
    SKIP_CAPACITY,
    SKIPS,
    SL,
    SLIPPAGE,
    SWAP_MODE,
    TP,
    TRADE_CAPACITY,
    TRADES,
    VALUE_STRIDE,
)
from toolkit.simulation.stretches import next_entry


def simulate_managed(
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
    ts: Any,
    levels: Any,
    ratios: Any,
    g: Any,
    w: Any,
    f: Any,
) -> int:
    """Run from the state in ``w`` and ``g`` to the end of the bars: DONE, or GROW when the records are full (call again).

    The first thirteen are those of `toolkit.simulation.loop.simulate`; ``ts`` holds the opens in ns, ``levels`` and
    ``ratios`` what `toolkit.simulation.managed.plan` laid out.
    """
    n = w[BARS]
    vs = w[VALUE_STRIDE]
    last = n - 2  # the last bar decides nothing
    guarded = needs_day(w)
    while True:
        if w[FULL] and (w[TRADES] + 3 + g[PARTS] > w[TRADE_CAPACITY] or w[SKIPS] + 3 > w[SKIP_CAPACITY]):
            return GROW
        i = w[NEXT]
        if w[POS] == 0:
            if g[WAITS] == 0:
                i = next_entry(code, i - 1, last) + 1
                if i - 1 > last:
                    mark_flat(w, n)
                    break
            mark_flat(w, i)
        elif w[POS] > 0:
            mark_position(w, i, bid_close, value)
        else:
            mark_position(w, i, ask_close, value)
        if i >= n:
            break
        before = (i - 1) * vs
        num = value[before]
        den = value[before + 1]
        bid = bid_open[i]
        ask = ask_open[i]
        now = ts[i]
        if w[SWAP_MODE] != 0 and w[POS] != 0 and i == w[NIGHT_BAR]:
            pay_night(w, bid, ask, num, den)
        if guarded:
            see_day(w, i, bid_open, ask_open, value)
        # what the venue does at the open, before anybody can act there
        if w[POS] != 0:
            reason, price = open_exit(w[POS], w[SL], w[TP], bid, ask)
            if reason == NO_EXIT and w[MARGIN_MODE] != 0:
                reason, price = stop_out_at_open(w, bid, ask, num, den)
            if reason != NO_EXIT:
                book_exit(w, i, reason, price, num, den)
        elif g[WAITS] != 0:
            quote = entry_quote(g[WAITS], bid, ask)
            if now >= g[WAITS_UNTIL]:
                drop_waiting(w, g, i, PENDING_EXPIRED)
            elif pending_reached(g[KIND], g[WAITS], g[WAITS_AT], quote, quote):
                fill_waiting(w, g, quote, i, num, den)
        # what the strategy does there
        decided = code[i - 1]
        if w[POS] != 0:
            reason = exit_reason(w[POS], decided)
            if reason == REVERSE and not w[REVERSES]:
                reason = NO_EXIT
            if reason == NO_EXIT and g[LIFE_BARS] > 0 and i - w[ENTRY_BAR] >= g[LIFE_BARS]:
                reason = TIME_EXIT
            if reason != NO_EXIT:
                price = slipped(-w[POS], close_quote(w[POS], bid, ask), w[SLIPPAGE])
                book_exit(w, i, reason, price, num, den)
            elif w[ENTRY_BAR] < i:
                manage(w, g, levels, ratios, i, bid_high[i - 1], ask_low[i - 1], bid, ask, num, den)
        elif g[WAITS] != 0 and cancels_pending(g[WAITS], decided):
            drop_waiting(w, g, i, PENDING_CANCELLED)
        if w[POS] == 0 and g[WAITS] == 0 and decided & 3 != 0:
            stop, target = distances(w, stop_points, target_points, rr, i - 1)
            if g[KIND] == AT_MARKET:
                try_entry(w, decided, stop, target, i, bid, ask, num, den)
                if w[POS] != 0:
                    begin_managing(w, g, i - 1, stop, i)
            else:
                place_pending(w, g, levels, decided, stop, target, i, now, bid, ask, num, den)
        # the range of the bar
        if w[POS] != 0:
            reason, price = range_exit(w[POS], w[SL], w[TP], bid, bid_high[i], bid_low[i], ask, ask_high[i], ask_low[i])
            if reason == NO_EXIT and w[MARGIN_MODE] != 0:
                reason, price = stop_out_in_range(w, bid, bid_low[i], ask, ask_high[i], num, den)
            if reason != NO_EXIT:
                book_exit(w, i, reason, price, num, den)
        elif g[WAITS] != 0 and now + g[FRAME_NS] <= g[WAITS_UNTIL]:
            side = g[WAITS]
            low = ask_low[i] if side > 0 else bid_low[i]
            high = ask_high[i] if side > 0 else bid_high[i]
            if pending_reached(g[KIND], side, g[WAITS_AT], low, high):
                fill_waiting(w, g, g[WAITS_AT], i, num, den)
                opened = bid if side > 0 else ask
                worst = bid_low[i] if side > 0 else ask_high[i]
                ended = bid_close[i] if side > 0 else ask_close[i]
                if w[POS] != 0 and stop_in_fill_bar(g[KIND], side, g[WAITS_SL], opened, worst, ended):
                    book_exit(w, i, STOP_LOSS, g[WAITS_SL], num, den)
        if w[POS] == 0:
            mark_flat(w, i + 1)
        w[NEXT] = i + 1
    moments(w, f)
    w[NEXT] = n
    return DONE

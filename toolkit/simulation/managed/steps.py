"""What happens to a pending order and to a managed position at one moment of the loop. Compiled with the loop.

``w`` is the plain loop's working memory, ``g`` the managed one (`toolkit.simulation.managed.cells`), ``levels`` the flat
array of distances and ``ratios`` the multiples of the stop.
"""

from __future__ import annotations

from typing import Any

from toolkit.simulation.events import book_exit, entry_steps, note_skip, open_position, write_exit
from toolkit.simulation.holding.hold import arm, margin_refusal
from toolkit.simulation.managed.cells import (
    BEST,
    BEST_FROM,
    ENTRY_STEPS,
    EVEN_AFTER_AT,
    EVEN_AFTER_STRIDE,
    EVEN_PLUS_AT,
    EVEN_PLUS_STRIDE,
    EVEN_RATIO,
    EXPIRY_NS,
    KIND,
    LONG_AT,
    LONG_STRIDE,
    PART_AT,
    PART_DEN,
    PART_DONE,
    PART_NUM,
    PART_RATIOS,
    PART_STRIDE,
    PART_WIDTH,
    PARTS,
    PER_PIP,
    PLANNED,
    PLANNED_STOP,
    SHORT_AT,
    SHORT_STRIDE,
    TRAIL_AFTER_AT,
    TRAIL_AFTER_STRIDE,
    TRAIL_AT,
    TRAIL_RATIO,
    TRAIL_STRIDE,
    WAITS,
    WAITS_AT,
    WAITS_SL,
    WAITS_STEPS,
    WAITS_TP,
    WAITS_UNTIL,
    WIDTH_G,
)
from toolkit.simulation.managed.rules import (
    best_of,
    gain_reached,
    moved_stop,
    part_steps,
    share,
    stop_passed,
    trigger_refusal,
)
from toolkit.simulation.rules import PARTIAL, STOP_LOSS, close_quote, entry_side, protection_levels, slipped
from toolkit.simulation.state import (
    BALANCE,
    ENTRY_COST,
    ENTRY_PRICE,
    LAST_EXIT,
    MARGIN_MODE,
    MIN_STEPS,
    POS,
    SL,
    SLIPPAGE,
    STEPS,
)


def begin_managing(w: Any, g: Any, planned: int, stop: int, first: int) -> None:
    """Begin to manage the position that has just been opened; ``first`` is the first bar whose range counts."""
    g[PLANNED] = planned
    g[PLANNED_STOP] = stop
    g[BEST] = w[ENTRY_PRICE]
    g[BEST_FROM] = first
    g[ENTRY_STEPS] = w[STEPS]
    for k in range(g[PARTS]):
        g[WIDTH_G + k * PART_WIDTH + PART_DONE] = 0


def place_pending(
    w: Any,
    g: Any,
    levels: Any,
    code: int,
    stop: int,
    target: int,
    bar: int,
    now: int,
    bid: int,
    ask: int,
    vn: int,
    vd: int,
) -> None:
    """Place the pending order of a decision at the open of ``bar``, or note why it was not."""
    side = entry_side(code)
    if side == 0:
        return
    decided = bar - 1
    long_at, short_at = g[LONG_AT] + decided * g[LONG_STRIDE], g[SHORT_AT] + decided * g[SHORT_STRIDE]
    level = levels[long_at if side > 0 else short_at]
    reason = trigger_refusal(g[KIND], side, level, bid, ask)
    steps = 0
    if reason == 0:
        steps, reason = entry_steps(
            w, w[BALANCE], 0, 0, bar - w[LAST_EXIT], code, side, level, ask - bid, stop, target, vn, vd
        )
    if reason != 0:
        note_skip(w, bar, side, reason)
        return
    sl, tp = protection_levels(side, level, stop, target)
    g[WAITS] = side
    g[WAITS_AT] = level
    g[WAITS_STEPS] = steps
    g[WAITS_SL] = sl if stop > 0 else 0
    g[WAITS_TP] = tp
    g[WAITS_UNTIL] = now + g[EXPIRY_NS]
    g[PLANNED] = decided
    g[PLANNED_STOP] = stop


def fill_waiting(w: Any, g: Any, price: int, bar: int, vn: int, vd: int) -> None:
    """Turn the pending order into a position, or drop it where the margin is missing.

    Its own bar does not count for what is decided at closes.
    """
    reason = margin_refusal(w, price, g[WAITS_STEPS], vn, vd)
    if reason != 0:
        drop_waiting(w, g, bar, reason)
        return
    open_position(w, g[WAITS], g[WAITS_STEPS], price, g[WAITS_SL], g[WAITS_TP], bar, vn, vd)
    g[WAITS] = 0
    begin_managing(w, g, g[PLANNED], g[PLANNED_STOP], bar + 1)


def drop_waiting(w: Any, g: Any, bar: int, reason: int) -> None:
    """Take the pending order away, and note why."""
    note_skip(w, bar, g[WAITS], reason)
    g[WAITS] = 0


def manage(
    w: Any,
    g: Any,
    levels: Any,
    ratios: Any,
    bar: int,
    bid_high: int,
    ask_low: int,
    bid: int,
    ask: int,
    vn: int,
    vd: int,
) -> None:
    """Act at the open of ``bar`` on what the bar before it reached: a moved stop that is passed, partials, the new stop.

    ``bid_high`` and ``ask_low`` are those of the bar before.
    """
    side = w[POS]
    planned = g[PLANNED]
    stop_points = g[PLANNED_STOP]
    if bar - 1 >= g[BEST_FROM]:
        g[BEST] = best_of(side, g[BEST], bid_high, ask_low)
    best = g[BEST]
    entry = w[ENTRY_PRICE]
    stop = w[SL]
    if stop != 0:
        stop = moved_stop(
            side,
            entry,
            stop,
            best,
            stop_points,
            g[PER_PIP],
            levels[g[TRAIL_AT] + planned * g[TRAIL_STRIDE]],
            levels[g[TRAIL_AFTER_AT] + planned * g[TRAIL_AFTER_STRIDE]],
            ratios[TRAIL_RATIO],
            levels[g[EVEN_AFTER_AT] + planned * g[EVEN_AFTER_STRIDE]],
            ratios[EVEN_RATIO],
            levels[g[EVEN_PLUS_AT] + planned * g[EVEN_PLUS_STRIDE]],
        )
    price = slipped(-side, close_quote(side, bid, ask), w[SLIPPAGE])
    if stop != w[SL] and stop_passed(side, stop, bid, ask):
        book_exit(w, bar, STOP_LOSS, price, vn, vd)
        return
    for k in range(g[PARTS]):
        at = WIDTH_G + k * PART_WIDTH
        if g[at + PART_DONE]:
            continue
        points = levels[g[at + PART_AT] + planned * g[at + PART_STRIDE]]
        if not gain_reached(side, entry, best, points, ratios[PART_RATIOS + k], stop_points):
            continue
        g[at + PART_DONE] = 1
        part = part_steps(g[ENTRY_STEPS], g[at + PART_NUM], g[at + PART_DEN], w[STEPS], w[MIN_STEPS])
        if part >= w[STEPS]:
            book_exit(w, bar, PARTIAL, price, vn, vd)
            return
        if part > 0:
            cost = share(w[ENTRY_COST], part, w[STEPS])
            write_exit(w, bar, PARTIAL, price, part, cost, vn, vd)
            w[ENTRY_COST] -= cost
            w[STEPS] -= part
            if w[MARGIN_MODE] != 0:
                arm(w)
    w[SL] = stop


__all__ = [
    "begin_managing",
    "drop_waiting",
    "fill_waiting",
    "manage",
    "place_pending",
]

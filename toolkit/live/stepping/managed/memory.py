"""What a run remembers of its managed position and of the entry planned last: plain JSON, bounded by the plan.

``plan``
    What the entry planned last asks for (`plan_words`), and the stop distance it was made with.
``until``
    Moment up to which its pending order works, ns; 0 when none was placed, or it is known to be gone.
``held``
    The open position: the plan it was opened by, closed bars since its fill, its best price, which partials are decided,
    and how many steps they leave (asked for again while more is open).
``left``
    Its trade, volume and earnings without swap before the clock moves on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolkit.live.stepping.run_book import OpenTrade, Positions
from toolkit.live.stepping.run_state import Waiting
from toolkit.simulation.managed import rules
from toolkit.simulation.managed.plan import fraction_of
from toolkit.strategy.authoring.management import Management

Memory = Mapping[str, Any]


def plan_words(management: Management | None, stop_points: int) -> dict[str, Any] | None:
    """Return a decision's management as JSON, in points and whole numbers."""
    if management is None:
        return None
    m = management
    return {
        "kind": rules.ENTRY_KINDS.index(m.entry_kind),
        "long": m.entry_long_points,
        "short": m.entry_short_points,
        "expiry_bars": m.expiry_bars,
        "stop": stop_points,
        "trail": [m.trail_points, m.trail_after_points, m.trail_after_rr or 0.0],
        "even": [m.break_even_after_points, m.break_even_after_rr or 0.0, m.break_even_plus_points],
        "parts": [[points, ratio or 0.0, *fraction_of(part)] for points, ratio, part in m.partials],
        "life": m.max_bars,
    }


def planned(memory: Memory, plan: Mapping[str, Any] | None, until_ns: int) -> dict[str, Any]:
    """Note the entry that has just been planned."""
    return {**memory, "plan": plan, "until": until_ns}


def without_order(memory: Memory) -> dict[str, Any]:
    """Note that no pending order works any more."""
    return {**memory, "until": 0}


def after_bar(memory: Memory, positions: Positions, decision: Waiting) -> dict[str, Any]:
    """Take a closed bar into the memory of the position that is open now; exactly once a bar."""
    held = positions.one
    known = memory.get("held")
    if held is None:
        return {**memory, "held": None}
    if known is None or known["trade"] != str(held.trade_id):
        plan = memory.get("plan")
        if plan is None:  # not of this run's making: it keeps its stop and target
            return {**memory, "held": None}
        known = {
            "trade": str(held.trade_id),
            "plan": plan,
            "bars": 0,
            "best": held.entry_points,
            "done": [0] * len(plan["parts"]),
        }
    if decision.act_ns > held.entry_ns:
        bars, best = known["bars"] + 1, known["best"]
        # In the bar that filled a pending order nobody knows what came first; a market order was there from its open on.
        if bars > 1 or known["plan"]["kind"] == rules.AT_MARKET:
            best = rules.best_of(held.side.sign, best, decision.bid_high, decision.ask_low)
        known = {**known, "bars": bars, "best": best}
    return {**memory, "held": known, "until": 0}


def before_move(memory: Memory, positions: Positions) -> dict[str, Any]:
    """Keep what the position is worth before the clock moves on: it may be gone when it has."""
    held, known = positions.one, memory.get("held")
    if held is None or known is None or known["trade"] != str(held.trade_id):
        return {**memory, "left": None}
    return {**memory, "left": [str(held.trade_id), held.steps, held.earned]}


def as_it_was(memory: Memory, positions: Positions) -> Positions:
    """Return the positions with the one that has just gone as it was before: a partial may have made it smaller."""
    if not memory.get("left"):
        return positions
    trade, steps, earned = memory["left"]
    closed = tuple(
        replace(t, steps=steps, entry_booked=earned + t.swap) if str(t.trade_id) == trade else t
        for t in positions.closed
    )
    return replace(positions, closed=closed)


def done_with(memory: Memory, parts: list[int], left: int) -> dict[str, Any]:
    """Note which partials have been decided, and down to how many steps the last of them goes."""
    return {**memory, "held": {**memory["held"], "done": parts, "left": left}}


def managed_position(memory: Memory, held: OpenTrade) -> Mapping[str, Any] | None:
    """Return what is remembered of the position, once a bar has closed since its fill."""
    known: Mapping[str, Any] | None = memory.get("held")
    if known is None or known["trade"] != str(held.trade_id) or known["bars"] < 1:
        return None
    return known

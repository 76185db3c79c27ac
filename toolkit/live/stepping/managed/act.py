"""From a closed bar to the orders of a managed strategy: the rules of the managed loop, as intents at the next open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from toolkit.execution.intents import Action
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.principal import Principal
from toolkit.execution.request import CancelRequest, ModifyRequest, ReduceRequest
from toolkit.live.stepping.decide import Moment, Orders, Skip, close_intent, enter, exit_intent
from toolkit.live.stepping.managed.memory import Memory, done_with, managed_position
from toolkit.live.stepping.managed.pending import WorkingOrder
from toolkit.live.stepping.program import Program
from toolkit.live.stepping.run_book import OpenTrade, Positions
from toolkit.live.stepping.run_state import Waiting
from toolkit.market import Side
from toolkit.simulation import rules
from toolkit.simulation.managed import rules as managed
from toolkit.store.runs import RunRecord

#: Said on a MODIFY_SLTP that may only bring a stop closer, whatever a person set meanwhile.
ONLY_TIGHTEN = {"only_tighten": True}


@dataclass(frozen=True, slots=True)
class Bar:
    """One decision carried out at one open.

    Attributes
    ----------
    bid, ask
        The open quote in points.
    moment_of
        Everything else that an entry needs; asked only when there is one.
    exits_wait
        Actions of the run's exits that wait until the platform takes them.
    settled
        Nothing of the run is UNKNOWN: a reduction whose answer was lost may still be carried out.
    """

    program: Program
    run: RunRecord
    decision: Waiting
    bid: int
    ask: int
    now: datetime
    principal: Principal
    moment_of: Callable[[], Moment]
    exits_wait: frozenset[str] = frozenset()
    settled: bool = True


def carry_out_managed(
    bar: Bar, memory: Memory, positions: Positions, working: Callable[[], Sequence[WorkingOrder]]
) -> tuple[Orders, Memory]:
    """Plan the orders of one bar: the position's, else those of the pending order, else the entry.

    Parameters
    ----------
    memory
        With the bar already taken in (`toolkit.live.stepping.managed.memory.after_bar`).
    working
        The run's pending orders; asked only when no position is open and one may be working.
    """
    orders = Orders()
    held, decision = positions.one, bar.decision
    sign = rules.entry_side(decision.code)
    if held is not None:
        memory = _position(bar, memory, held, orders)
    elif memory.get("until"):
        for order in working():
            if managed.cancels_pending(order.side.sign, decision.code):
                reason = "replaced" if sign else "signal"
                orders.intents.append(
                    cancel_intent(bar.program, bar.run, decision, order, reason, bar.now, bar.principal)
                )
                orders.then_enter = sign != 0 and bar.moment_of().entries_allowed
        if not orders.then_enter and sign:
            _enter(bar, orders)
    elif sign:
        _enter(bar, orders)
    return orders, memory


def _enter(bar: Bar, orders: Orders) -> None:
    if orders.intents:
        return
    side = Side.BUY if rules.entry_side(bar.decision.code) > 0 else Side.SELL
    moment = bar.moment_of()
    if not moment.entries_allowed:
        orders.skips.append(Skip(side, "entries_not_allowed", moment.why_not))
        return
    enter(orders, bar.program, bar.run, bar.decision, side, moment, bar.principal)


def _position(bar: Bar, memory: Memory, held: OpenTrade, orders: Orders) -> Memory:
    decision, side = bar.decision, held.side.sign
    reason = rules.exit_reason(side, decision.code)
    if reason == rules.REVERSE and not bar.program.reverse:
        reason = rules.NO_EXIT
    known = managed_position(memory, held)
    if reason == rules.NO_EXIT and known is not None and 0 < known["plan"]["life"] <= known["bars"]:
        reason = rules.TIME_EXIT
    if reason != rules.NO_EXIT:
        if Action.CLOSE_POSITION.value not in bar.exits_wait:
            _close(bar, held, reason, orders)
        return memory
    # What was asked for comes first. Its best price is remembered, so whatever falls due meanwhile is planned afterwards.
    return memory if known is None or bar.exits_wait else _manage(bar, memory, known, held, orders)


def _manage(bar: Bar, memory: Memory, known: Mapping[str, Any], held: OpenTrade, orders: Orders) -> Memory:
    plan, side, entry, best = known["plan"], held.side.sign, held.entry_points, known["best"]
    stop = held.stop_points
    if stop:
        instrument = bar.program.instrument
        stop = managed.moved_stop(
            side, entry, stop, best, plan["stop"], instrument.points_per_pip, *plan["trail"], *plan["even"]
        )
    if stop != held.stop_points and managed.stop_passed(side, stop, bar.bid, bar.ask):
        _close(bar, held, rules.STOP_LOSS, orders)
        return memory
    done, left = list(known["done"]), held.steps
    asked = known.get("left", 0)
    # A reduction that was refused, or filled in part: it counts when the volume is gone, not when it was asked for.
    if bar.settled and 0 < asked < left:
        left = asked
        orders.intents.append(reduce_intent(bar, held, left, len(done)))
    least = bar.program.instrument.min_steps
    for k, (points, ratio, num, den) in enumerate(plan["parts"]):
        if done[k] or not managed.gain_reached(side, entry, best, points, ratio, plan["stop"]):
            continue
        done[k] = 1
        part = managed.part_steps(held.entry_steps, num, den, left, least)
        if part >= left:
            _close(bar, held, rules.PARTIAL, orders)
            done[k] = 0  # if the close is refused it is asked for again
            return done_with(memory, done, asked)
        if part > 0:
            left -= part
            asked = left
            orders.intents.append(reduce_intent(bar, held, left, k))
    if stop != held.stop_points:
        orders.intents.append(stop_intent(bar, held, stop))
    return done_with(memory, done, asked) if done != known["done"] else memory


def _close(bar: Bar, held: OpenTrade, reason: int, orders: Orders) -> None:
    words = rules.EXIT_REASONS[reason]
    orders.intents.append(close_intent(bar.program, bar.run, held, bar.decision, words, bar.now, bar.principal))
    orders.then_enter = rules.entry_side(bar.decision.code) != 0 and bar.moment_of().entries_allowed


def reduce_intent(bar: Bar, held: OpenTrade, left: int, ordinal: int) -> IntentRecord:
    """Make the intent that brings a position down to ``left`` steps."""
    remaining = bar.program.instrument.lots(left)
    reason = rules.EXIT_REASONS[rules.PARTIAL]
    return exit_intent(
        bar.program,
        bar.run,
        bar.decision,
        Action.REDUCE_POSITION,
        held.side,
        {"position": held.position_id, "remaining": remaining},
        lambda head: ReduceRequest(position_id=held.position_id, remaining_lots=remaining, **head),
        reason,
        bar.now,
        bar.principal,
        ordinal,
    )


def stop_intent(bar: Bar, held: OpenTrade, stop: int) -> IntentRecord:
    """Make the intent that sets a position's stop, never to a looser level than it has."""
    price = bar.program.instrument.price(stop)
    return exit_intent(
        bar.program,
        bar.run,
        bar.decision,
        Action.MODIFY_SLTP,
        held.side,
        {"position": held.position_id, "stop_loss": price},
        lambda head: ModifyRequest(position_id=held.position_id, stop_loss=price, **head),
        "stop_moved",
        bar.now,
        bar.principal,
        terms=ONLY_TIGHTEN,
    )


def cancel_intent(
    program: Program,
    run: RunRecord,
    decision: Waiting,
    order: WorkingOrder,
    reason: str,
    now: datetime,
    principal: Principal,
    ordinal: int = 0,
) -> IntentRecord:
    """Make the intent that takes a pending order back."""
    return exit_intent(
        program,
        run,
        decision,
        Action.CANCEL_ORDER,
        order.side,
        {"order": order.order_id},
        lambda head: CancelRequest(order_id=order.order_id, **head),
        reason,
        now,
        principal,
        ordinal,
    )

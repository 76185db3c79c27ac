"""The second half of a reversal: the entry that waited for its exit, made at the same open once the exit is filled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.commit import Step, Unsettled, commit_step, load_positions, unsettled_intents
from toolkit.live.stepping.decide import Moment, Skip, carry_out
from toolkit.live.stepping.managed.pending import note_entry, settled_orders
from toolkit.live.stepping.program import Hot
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.run_book import Positions
from toolkit.live.stepping.run_state import Waiting
from toolkit.market import Side
from toolkit.simulation import rules
from toolkit.store.runs import RunRecord


def after_delivery(engine: Engine, desk: Desk, run: RunRecord) -> Unsettled | None:
    """Return what stays unsettled of the run's intents once none is on its way; None while one is."""
    left = unsettled_intents(engine, run.live_run_id)
    if left.unknown and not left.under_way:
        desk.service.reconcile()
        left = unsettled_intents(engine, run.live_run_id)
    return None if left.under_way else left


def enter_after_exit(
    engine: Engine, desk: Desk, run: RunRecord, hot: Hot, moment_of: Callable[[Positions, Waiting], Moment]
) -> Progress:
    """Make the waiting entry if its exit is filled, keep waiting while the exit is on its way, else drop it with a reason."""
    decision = hot.state.entry
    if decision is None:
        raise AssertionError("there is an entry waiting")
    left = after_delivery(engine, desk, run)
    if left is None:
        return Progress(run.status, waiting="delivery")
    positions = load_positions(engine, desk, run, hot)
    step = Step()
    hot.state = replace(hot.state, entry=None)
    side = Side.BUY if rules.entry_side(decision.code) > 0 else Side.SELL
    if positions.open or left:
        why = "its exit is not filled" if positions.open else "the answer to its exit is unknown"
        step.orders.skips.append(Skip(side, "exit_not_filled", f"{side.value} {run.symbol} was not entered: {why}"))
    elif hot.program.managed and settled_orders(engine, desk, run):
        why = "the pending order before it could not be cancelled"
        step.orders.skips.append(
            Skip(side, "pending_not_cancelled", f"{side.value} {run.symbol} was not entered: {why}")
        )
    else:
        moment = moment_of(positions, decision)
        step.market_time = moment.quote.ts
        step.orders = carry_out(hot.program, run, positions, decision, moment, engine.service)
        note_entry(hot, decision.plan, step.orders.until_ns)
    commit_step(engine, run, hot, positions, step)
    if step.orders.intents:
        desk.gateway.deliver(run.account_id)
    return Progress(run.status, orders=len(step.orders.intents))

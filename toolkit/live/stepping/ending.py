"""How a run ends: by its replay's end, by a stop (with or without flatten), or by an error that leaves it safe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolkit.clock import to_ns
from toolkit.errors import LostRace
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.submit import move
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.commit import Step, commit_step, load_positions, unsettled_intents
from toolkit.live.stepping.decide import Orders, close_intent
from toolkit.live.stepping.program import Hot
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.run_book import Positions
from toolkit.live.stepping.run_state import Waiting
from toolkit.store.intents import SqlTransaction
from toolkit.store.runs import RunRecord, Runs, add_event

_ERROR_ATTEMPTS = 20


def finish(
    engine: Engine, desk: Desk, run: RunRecord, hot: Hot, positions: Positions, step: Step, reason: str
) -> Progress:
    """Set a run to STOPPED after a last look at the book."""
    desk.service.sync_book()
    positions = load_positions(engine, run, hot)
    now = engine.now()
    still = f", {len(positions.open)} position(s) left open with their stops" if positions.open else ""
    step.changes.update(status="STOPPED", stopped_at=now, last_action_at=now, last_action=f"stopped: {reason}"[:200])
    step.events.append(("stopped", "info", f"stopped: {reason}{still}", {"open_positions": len(positions.open)}))
    commit_step(engine, run, hot, positions, step)
    return Progress("STOPPED", step.bars)


def step_stopping(engine: Engine, desk: Desk, run: RunRecord, hot: Hot) -> Progress:
    """Carry a stop on: take back what was not sent, deliver exits, flatten if asked, then STOPPED."""
    cancel_unsent_entries(engine, run, f"run is {run.status}")
    waiting = unsettled_intents(engine, run.live_run_id)
    if any(state in ("NEW", "CLAIMED", "SENDING") for _, _, state in waiting):
        desk.gateway.deliver(run.account_id)
        waiting = unsettled_intents(engine, run.live_run_id)
        if any(state in ("NEW", "CLAIMED", "SENDING") for _, _, state in waiting):
            return Progress(run.status, waiting="delivery")
    desk.service.sync_book()
    hot.synced = True
    positions = load_positions(engine, run, hot)
    options = run.options
    if options.get("flatten") and positions.open:
        attempt = int(hot.state.extra.get("flattened", 0))
        if attempt >= 3:
            message = "positions could not be closed in three attempts: close them by hand, their stops are in place"
            return fail(engine, run, message)
        clock = desk.platform.now()
        decision = Waiting(to_ns(clock), to_ns(clock), 0, 0, 0, None, True)
        orders = Orders(
            [
                close_intent(
                    hot.program, run, held, decision, "flatten", engine.now(), engine.service, ordinal=attempt * 100 + n
                )
                for n, held in enumerate(positions.open)
            ]
        )
        hot.state = replace(hot.state, extra={**hot.state.extra, "flattened": attempt + 1}, due=None)
        commit_step(engine, run, hot, positions, Step(orders=orders, market_time=clock))
        desk.gateway.deliver(run.account_id)
        return Progress(run.status, orders=len(orders.intents))
    reason = str(options.get("stop_reason", "stopped"))
    return finish(engine, desk, run, hot, positions, Step(market_time=desk.platform.now()), reason)


def cancel_unsent_entries(engine: Engine, run: RunRecord, why: str) -> int:
    """Take back the run's entries that nobody has claimed yet; return how many."""
    now = engine.now()
    cancelled = 0
    with engine.work(engine.service) as work:
        transaction = SqlTransaction(work)
        for intent in transaction.intents_in(run.account_id, [IntentState.NEW]):
            if intent.live_run_id == run.live_run_id and intent.action is Action.OPEN_TRADE:
                move(
                    transaction,
                    intent,
                    IntentState.CANCELLED,
                    actor=engine.service.name,
                    now=now,
                    detail=why,
                    reason="run_ended",
                )
                cancelled += 1
        work.commit()
    return cancelled


def fail(engine: Engine, run: RunRecord, message: str, **data: Any) -> Progress:
    """Set a run to ERROR: no entry leaves any more, protective stops stay at the platform, people are told."""
    now = engine.now()
    for _ in range(_ERROR_ATTEMPTS):
        try:
            with engine.work(engine.service) as work:
                current = Runs(work.connection, engine.service).peek(run.live_run_id)
                if current is None or current.status not in ("RUNNING", "STOPPING", "PAUSED"):
                    return Progress("ERROR" if current is None else current.status)
                Runs(work.connection, engine.service).save(
                    current,
                    status="ERROR",
                    last_error=message[:2000],
                    stopped_at=now,
                    last_action_at=now,
                    last_action="error",
                )
                add_event(work.connection, now, run, "error", message, level="error", data=data)
                work.commit()
        except LostRace:
            continue
        cancel_unsent_entries(engine, run, "run is in ERROR")
        return Progress("ERROR")
    return Progress(run.status, waiting="race")

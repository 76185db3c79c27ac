"""How a run ends: by its replay's end, by a stop (with or without flatten), or by an error that leaves it safe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolkit.clock import to_ns
from toolkit.errors import LostRace, ToolkitError
from toolkit.execution.idempotency import ai_key, signal_fingerprint
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.submit import make_intent, move, submit
from toolkit.execution.request import CancelRequest, RequestMetadata
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.commit import Step, commit_step, load_positions, unsettled_intents
from toolkit.live.stepping.decide import Orders, close_intent
from toolkit.live.stepping.managed.act import cancel_intent
from toolkit.live.stepping.managed.pending import settled_orders
from toolkit.live.stepping.program import Hot
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.run_book import Positions
from toolkit.live.stepping.run_state import Waiting
from toolkit.live.stepping.telling import tell_once
from toolkit.store.intents import SqlTransaction
from toolkit.store.runs import RunRecord, Runs, add_event, barrier_runs
from toolkit.telemetry.redaction import redact, redact_text

_ERROR_ATTEMPTS = 20
_CANCEL_ATTEMPTS = 3


def finish(
    engine: Engine, desk: Desk, run: RunRecord, hot: Hot, positions: Positions, step: Step, reason: str
) -> Progress:
    """Set a run to STOPPED after a last look at the book."""
    _last_try(engine, desk, run)
    desk.service.sync_book()
    positions = load_positions(engine, desk, run, hot)
    now = engine.now()
    still = f", {len(positions.open)} position(s) left open with their stops" if positions.open else ""
    step.changes.update(status="STOPPED", stopped_at=now, last_action_at=now, last_action=f"stopped: {reason}"[:200])
    step.events.append(("stopped", "info", f"stopped: {reason}{still}", {"open_positions": len(positions.open)}))
    commit_step(engine, run, hot, positions, step)
    return Progress("STOPPED", step.bars)


def _last_try(engine: Engine, desk: Desk, run: RunRecord) -> None:
    """Send a replay's waiting exits once more: its clock stands from here on, so what is not taken now never will be."""
    if not run.intents_count:
        return
    for intent_id in unsettled_intents(engine, run.live_run_id).waiting:
        after = desk.service.execute(intent_id, at_once=True)
        if after.waits:
            now = engine.now()
            with engine.work(engine.service) as work:
                why = "the replay has ended"
                move(SqlTransaction(work), after, IntentState.CANCELLED, actor=engine.service.name, now=now,
                     detail=why, reason="run_ended")  # fmt: skip
                add_event(work.connection, now, run, "exit_given_up", f"{after.action} was never taken: {why}",
                          level="warning")  # fmt: skip
                work.commit()


def step_stopping(engine: Engine, desk: Desk, run: RunRecord, hot: Hot) -> Progress:
    """Carry a stop on: take back what was not sent, deliver exits, flatten if asked, then STOPPED."""
    cancel_unsent_entries(engine, run, f"run is {run.status}")
    left = unsettled_intents(engine, run.live_run_id)
    if left.under_way or left.waiting:
        desk.gateway.deliver(run.account_id)
        left = unsettled_intents(engine, run.live_run_id)
        if left.under_way:
            return Progress(run.status, waiting="delivery")
    options = run.options
    waits = bool(left.waiting) and not hot.program.replayed
    if waits and not options.get("flatten"):
        return Progress(run.status, waiting="market")  # the run ends when its exits have gone
    if cancel_working_entries(engine, desk, run, f"run is {run.status}"):
        return Progress(run.status, waiting="delivery")
    unknown = _still_unknown(engine, desk, run) if options.get("flatten") else []
    if unsettled_intents(engine, run.live_run_id).under_way:
        return Progress(run.status, waiting="delivery")  # an exit was planned again
    desk.service.sync_book()
    hot.synced = True
    positions = load_positions(engine, desk, run, hot)
    taken_back = take_back_orders(engine, desk, run, hot, positions, Step(market_time=desk.platform.now()))
    if taken_back:
        return Progress(run.status, orders=taken_back)
    held = [t for t in positions.open if not (waits and Action.CLOSE_POSITION in left.exits_of(t.symbol))]
    if options.get("flatten") and held and all(action.is_entry for action in unknown):
        attempt = int(hot.state.extra.get("flattened", 0))
        if attempt >= 3:
            message = "positions could not be closed in three attempts: close them by hand, their stops are in place"
            return fail(engine, run, message, desk)
        clock = desk.platform.now()
        decision = Waiting(to_ns(clock), to_ns(clock), 0, 0, 0, None, True)
        orders = Orders(
            [
                close_intent(
                    hot.program.of(trade.symbol),
                    run.seen_as(trade.symbol),
                    trade,
                    decision,
                    "flatten",
                    engine.now(),
                    engine.service,
                    ordinal=attempt * 100 + n,
                )
                for n, trade in enumerate(held)
            ]
        )
        hot.state = replace(
            hot.state, extra={**hot.state.extra, "flattened": attempt + 1}, due=None, pending=(), entries=()
        )
        commit_step(engine, run, hot, positions, Step(orders=orders, market_time=clock))
        desk.gateway.deliver(run.account_id)
        return Progress(run.status, orders=len(orders.intents))
    if unknown:
        words = "an order whose fate is unknown may still become a position: it is looked for, and closed, before the run ends"
        tell_once(engine, run, "flatten_waits", words)
        return Progress(run.status, waiting=f"unknown: {words}")
    if waits:
        return Progress(run.status, waiting="market")
    reason = str(options.get("stop_reason", "stopped"))
    return finish(engine, desk, run, hot, positions, Step(market_time=desk.platform.now()), reason)


def _still_unknown(engine: Engine, desk: Desk, run: RunRecord) -> list[Action]:
    """Look for the run's orders of which it is not known what became; return what those still are about.

    Besides those without an answer, an entry that works no more although its end has not been booked: its fill may not be
    in the platform's history yet.
    """
    if not run.intents_count or not _open_ends(engine, desk, run):
        return []
    desk.service.reconcile()
    return _open_ends(engine, desk, run)


def _open_ends(engine: Engine, desk: Desk, run: RunRecord) -> list[Action]:
    with engine.work(engine.service, write=False) as work:
        found = SqlTransaction(work).intents_in(run.account_id, [IntentState.UNKNOWN, IntentState.WORKING])
    of_run = [intent for intent in found if intent.live_run_id == run.live_run_id]
    there = {o.order_id for o in desk.platform.book().orders} if of_run else set()
    return [i.action for i in of_run if i.state is IntentState.UNKNOWN or i.order_id not in there]


def take_back_orders(engine: Engine, desk: Desk, run: RunRecord, hot: Hot, positions: Positions, step: Step) -> int:
    """Cancel the pending orders of a run that is ending, and commit the step; return how many cancels were written.

    0 says that none works any more, or that the platform has refused to cancel it several times.
    """
    attempt = int(hot.state.extra.get("taken_back", 0))
    if not hot.program.managed or attempt >= _CANCEL_ATTEMPTS:
        return 0
    working = settled_orders(engine, desk, run)
    if not working:
        return 0
    # a replay ends at its own moment, so that a kill repeats the same keys; what a server says carries its milliseconds
    clock = to_ns(desk.platform.now()) if hot.program.data is None else hot.state.clock_ns
    decision = Waiting(clock, clock, 0, 0, 0, None, True)
    step.orders = Orders(
        [
            cancel_intent(
                hot.program, run, decision, order, "run_ended", engine.now(), engine.service, attempt * 100 + n
            )
            for n, order in enumerate(working)
        ]
    )
    hot.state = replace(hot.state, extra={**hot.state.extra, "taken_back": attempt + 1})
    commit_step(engine, run, hot, positions, step)
    desk.gateway.deliver(run.account_id)
    return len(step.orders.intents)


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


def cancel_working_entries(engine: Engine, desk: Desk, run: RunRecord, why: str) -> int:
    """Take the run's pending entries back from the platform, each once; return how many were asked for.

    The cancellations are intents like any other: durable, and carried out again after a kill.
    """
    now = engine.now()
    if not run.intents_count:
        return 0
    orders = desk.platform.book().orders
    if not orders:
        return 0
    there = {o.order_id for o in orders}
    with engine.work(engine.service) as work:
        transaction = SqlTransaction(work)
        working = [
            intent
            for intent in transaction.intents_in(run.account_id, [IntentState.WORKING, IntentState.PARTIAL])
            if intent.live_run_id == run.live_run_id and intent.action is Action.OPEN_TRADE and intent.order_id in there
        ]
        asked = sum(
            submit(transaction, _cancellation(engine, intent, why), engine.service).created for intent in working
        )
        work.commit()
    if asked:
        add = f"{asked} pending entr{'y' if asked == 1 else 'ies'} of the run taken back: {why}"
        with engine.work(engine.service) as work:
            add_event(work.connection, now, run, "pending_cancelled", add, level="warning")
            work.commit()
        desk.gateway.deliver(run.account_id)
    return asked


def _cancellation(engine: Engine, intent: IntentRecord, why: str) -> IntentRecord:
    order_id = str(intent.order_id)
    key = ai_key(
        account_id=intent.account_id,
        source="seatrial:ending",
        signal_id=f"{intent.live_run_id}:{order_id}",
        action=Action.CANCEL_ORDER.value,
    )
    request = CancelRequest(
        account_id=intent.account_id,
        symbol=intent.symbol,
        direction=intent.side,
        order_id=order_id,
        metadata=RequestMetadata(live_run_id=intent.live_run_id, signal_id=intent.signal_id, reason=why[:300]),
        idempotency_key=key,
    )
    return make_intent(
        request,
        action=Action.CANCEL_ORDER,
        key=key,
        fingerprint=signal_fingerprint("seatrial:ending", {"order": order_id}),
        principal=engine.service,
        now=engine.now(),
    )


def fail(engine: Engine, run: RunRecord, message: str, desk: Desk | None = None, **data: Any) -> Progress:
    """Set a run to ERROR: no entry leaves any more, pending ones are taken back, protective stops stay at the platform.

    Parameters
    ----------
    desk
        The account's, where it can be acted on; its lease is given back when no other run needs it.
    """
    now = engine.now()
    message, data = redact_text(message), redact(data)
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
        if desk is not None:
            _leave_safely(engine, desk, run)
        return Progress("ERROR")
    return Progress(run.status, waiting="race")


def _leave_safely(engine: Engine, desk: Desk, run: RunRecord) -> None:
    """Take pending entries back and let the account go; what cannot be done now is said, the error stands in any case."""
    try:
        cancel_working_entries(engine, desk, run, "run is in ERROR")
        with engine.work(engine.service, write=False) as work:
            others = barrier_runs(work.connection, run.account_id)
        if not others:
            desk.service.lease.release()
    except ToolkitError as error:
        with engine.work(engine.service) as work:
            words = f"pending entries may still work at the platform, look there: {error}"
            add_event(work.connection, engine.now(), run, "error", words, level="error")
            work.commit()

"""From a claimed intent to its recorded answer: SENDING durable, the last look, the send, the result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from toolkit.errors import LeaseLost, LostRace, PlatformError
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.bookkeeping import book_deals
from toolkit.execution.ledger.records import IntentRecord, OrderRecord, PlatformEventRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ledger.submit import move
from toolkit.execution.ports import (
    DealsByPosition,
    ModifyProtection,
    OpenOrder,
    OrderResult,
    Outcome,
    PlatformCommand,
    PlatformDeal,
)
from toolkit.execution.sending.answer import state_after
from toolkit.execution.sending.context import ServiceContext
from toolkit.execution.sending.entry_check import EntryPlan
from toolkit.execution.sending.market_view import MarketView

Deals = Sequence[PlatformDeal] | None
_NEVER_AGAIN = {
    "halted": IntentState.DENIED,
    "run_not_running": IntentState.CANCELLED,
    "expired": IntentState.EXPIRED,
}


class Sender:
    """Sends commands of one account."""

    def __init__(self, context: ServiceContext) -> None:
        self._c = context
        self._by_position = context.platform if isinstance(context.platform, DealsByPosition) else None

    def carry_out(
        self,
        claimed: IntentRecord,
        command: PlatformCommand,
        plan: EntryPlan | None,
        view: MarketView,
        outbox_id: int | None,
    ) -> IntentRecord:
        """Send one command of a claimed intent and record what came of it.

        Returns
        -------
        IntentRecord
            NEW when the platform provably did not accept it and it may be sent again.
        """
        c = self._c
        sending, deadline = self._start(claimed, command, plan, view)
        c.failpoint("FP3_sending")
        why = self._last_line(sending, deadline)
        if why is not None:
            return self._not_sent(sending, why, outbox_id)
        waited = (c.clock.now() - sending.created_at).total_seconds()
        started = c.clock.monotonic()
        answer = self._send(command)
        spent = c.clock.monotonic() - started
        c.watch.sent(c.platform.name, answer.outcome.value, spent, attempt=sending.attempt, waited_seconds=waited)
        latency_ms = round(spent * 1000)
        c.failpoint("FP5_answered")
        deals = self._deals_of(sending, command, answer)
        c.failpoint("FP6_deals_read")
        after = self._record(sending, command, answer, deals, latency_ms, outbox_id)
        c.failpoint("FP7_recorded")
        return after

    def _start(
        self, claimed: IntentRecord, command: PlatformCommand, plan: EntryPlan | None, view: MarketView
    ) -> tuple[IntentRecord, float]:
        c = self._c
        now = c.clock.now()
        with c.writing() as work:
            lease = c.lease.check(work, c.policy.send_budget_seconds)
            sending = move(
                work,
                claimed,
                IntentState.SENDING,
                actor=c.worker,
                now=now,
                attempt=claimed.attempt + 1,
                sent_at=view.now,
                lease_until=lease.until,
            )
            work.insert_order(_order_row(sending, command, plan, view))
            work.commit()
        return sending, lease.deadline

    def _last_line(self, sending: IntentRecord, deadline: float) -> str | None:
        """Return why nothing may be sent after all; the last thing looked at before the platform is called."""
        c = self._c
        c.failpoint("FP4_before_send")
        if c.clock.monotonic() + c.policy.send_budget_seconds > deadline:
            return "lease_ended"
        market_now = c.platform.now()
        with c.store.begin(c.principal, write=False) as work:
            now = work.intent(sending.intent_id)
            account = work.account(c.account_id)
            run = None if sending.live_run_id is None else work.run(sending.live_run_id)
        if now is None or (now.state, now.token) != (IntentState.SENDING, sending.token):
            return "lost_to_another_worker"
        if sending.action.is_entry:
            if account is None or account.halted_at is not None:
                return "halted"
            if sending.live_run_id is not None and (run is None or run.status != "RUNNING"):
                return "run_not_running"
            if sending.valid_until is not None and market_now > sending.valid_until:
                return "expired"
        # The reads may have taken their time; the deadline is looked at once more, on a clock nobody can turn.
        if c.clock.monotonic() + c.policy.send_budget_seconds > deadline:
            return "lease_ended"
        return None

    def _send(self, command: PlatformCommand) -> OrderResult:
        try:
            return self._c.platform.send(command)
        except Exception as error:  # noqa: BLE001 - after the point of no return every surprise is ambiguous
            return OrderResult(Outcome.UNKNOWN, code=type(error).__name__, message=str(error))

    def _not_sent(self, intent: IntentRecord, why: str, outbox_id: int | None) -> IntentRecord:
        c = self._c
        now = c.clock.now()
        with c.writing() as work:
            fresh = c.fresh(work, intent.intent_id)
            if (fresh.state, fresh.token) != (IntentState.SENDING, intent.token):
                return fresh
            work.update_order(intent.intent_id, intent.attempt, {"outcome": "NOT_SENT", "message": why})
            back = move(work, fresh, IntentState.NEW, actor=c.worker, now=now, detail=f"not sent: {why}")
            if why in _NEVER_AGAIN:
                back = move(work, back, _NEVER_AGAIN[why], actor=c.worker, now=now, detail=why, reason=why)
                c.tell(work, back, "entry_refused", f"{why} right before the send", "warning", None, now, code=why)
                c.handed_over(work, outbox_id, now)
            work.commit()
        if back.state is IntentState.NEW and back.attempt >= c.policy.max_sends:
            raise LeaseLost(
                f"intent {intent.intent_id} could not be sent within the lease {back.attempt} times: later again"
            )
        return back

    def _deals_of(self, intent: IntentRecord, command: PlatformCommand, answer: OrderResult) -> Deals:
        """Return the deals that an answer speaks of; None when history could not be read now."""
        c = self._c
        speaks = answer.outcome in (Outcome.DONE, Outcome.PARTIAL, Outcome.ALREADY)
        if not speaks or isinstance(command, ModifyProtection):
            return ()
        try:
            if answer.position_id is not None and self._by_position is not None:
                return self._by_position.deals_of(answer.position_id)
            sent_at = intent.sent_at or c.platform.now()
            since = sent_at - (c.policy.history_overlap if answer.outcome is Outcome.ALREADY else timedelta(minutes=1))
            history = c.platform.history(since, sent_at + timedelta(days=2))
        except PlatformError:
            return None
        wanted = set(answer.deal_ids)
        return tuple(
            d
            for d in history.deals
            if d.deal_id in wanted
            or d.tag_text == intent.client_tag
            or (answer.order_id is not None and d.order_id == answer.order_id)
            or (answer.position_id is not None and d.position_id == answer.position_id)
        )

    def _record(
        self,
        intent: IntentRecord,
        command: PlatformCommand,
        answer: OrderResult,
        deals: Deals,
        latency_ms: int,
        outbox_id: int | None,
    ) -> IntentRecord:
        c = self._c
        now = c.clock.now()
        market_time = self._market_time(intent)
        state = state_after(intent.action, answer, deals_seen=bool(deals))
        with c.writing() as work:
            # Platform events first: what was seen is kept even when the state belongs to somebody else by now.
            changes, _ = book_deals(work, deals or (), [intent], account_id=c.account_id, seen_at=now)
            if answer.order_id is not None:
                work.add_platform_event(_answer_event(intent, answer, market_time, now))
            work.update_order(
                intent.intent_id,
                intent.attempt,
                {
                    "outcome": answer.outcome.value,
                    "code": answer.code[:40],
                    "message": answer.message,
                    "order_id": answer.order_id,
                    "position_id": answer.position_id,
                    "answered_at": market_time,
                    "latency_ms": latency_ms,
                },
            )
            try:
                after = self._settle(work, intent, state, answer, now, market_time)
            except LostRace:
                c.tell_trades(work, changes, intent)
                work.commit()
                raise
            if isinstance(command, ModifyProtection) and state is IntentState.FILLED:
                c.keep_levels(work, command, now)
            c.tell_trades(work, changes, after)
            if after.state is not IntentState.NEW:
                c.handed_over(work, outbox_id, now)
            work.commit()
        return after

    def _market_time(self, intent: IntentRecord) -> datetime:
        try:
            return self._c.platform.now()
        except PlatformError:  # the answer is in hand and must be kept; its moment is then that of the send
            return intent.sent_at or self._c.clock.now()

    def _settle(
        self,
        work: Transaction,
        intent: IntentRecord,
        state: IntentState,
        answer: OrderResult,
        now: datetime,
        market_time: datetime,
    ) -> IntentRecord:
        c = self._c
        detail = f"{answer.outcome.value} {answer.code} {answer.message}".strip()
        why = ""
        if state is IntentState.NEW:
            late = intent.valid_until is not None and market_time > intent.valid_until
            if answer.outcome is Outcome.WAIT or intent.attempt >= c.policy.max_sends or late:
                why = "platform_closed" if answer.outcome is Outcome.WAIT else "not_accepted"
        waits = why != "" and not intent.action.is_entry
        after = move(
            work,
            intent,
            state,
            actor=c.worker,
            now=now,
            detail=detail,
            order_id=answer.order_id or intent.order_id,
            position_id=answer.position_id or intent.position_id,
            filled_lots=answer.filled_lots,
            average_price=answer.price,
            unknown_since=now if state is IntentState.UNKNOWN else None,
            empty_reads=0,
            reason=answer.code if state is IntentState.REJECTED else why,
            not_before=market_time + self._pause(intent.attempt) if waits else None,
        )
        trouble = {
            IntentState.UNKNOWN: ("intent_unknown", "error", f"the platform's answer is ambiguous: {detail}"),
            IntentState.REJECTED: ("order_rejected", "warning", detail),
            IntentState.WORKING: ("order_working", "info", f"accepted, not filled yet: {detail}"),
            IntentState.PROTECTION_PENDING: ("protection_pending", "warning", "filled, its stop is not confirmed yet"),
        }
        if state in trouble:
            kind, level, message = trouble[state]
            c.tell(work, after, kind, message, level, market_time, now)
        if waits and not intent.reason:  # told once, however often it is tried
            words = f"the platform would not take it now, it is sent again until its target is met: {detail}"
            c.tell(work, after, "exit_waits", words, "error", market_time, now)
        elif why and not waits:
            after = move(work, after, IntentState.EXPIRED, actor=c.worker, now=now, detail=detail, reason=why)
            c.tell(work, after, "order_expired", detail, "warning", market_time, now)
        return after

    def _pause(self, attempt: int) -> timedelta:
        """Return how long an exit waits before it is sent again, after so many sends."""
        policy = self._c.policy
        return timedelta(
            seconds=min(policy.exit_pause_seconds * 2 ** min(attempt - 1, 16), policy.exit_pause_limit_seconds)
        )


def _order_row(intent: IntentRecord, command: PlatformCommand, plan: EntryPlan | None, view: MarketView) -> OrderRecord:
    entry = command if isinstance(command, OpenOrder) else None
    return OrderRecord(
        order_pk=uuid4(),
        intent_id=intent.intent_id,
        account_id=intent.account_id,
        live_run_id=intent.live_run_id,
        attempt=intent.attempt,
        action=intent.action,
        order_type=entry.order_type.value if entry else "MARKET",
        symbol=intent.symbol,
        side=intent.side,
        lots=getattr(command, "lots", None),
        limit_price=entry.limit_price if entry else None,
        stop_loss=getattr(command, "stop_loss", None),
        take_profit=getattr(command, "take_profit", None),
        bid=view.quote.bid,
        ask=view.quote.ask,
        quote_at=view.quote.ts,
        equity=None if plan is None else plan.equity,
        projected_profit=None if plan is None else plan.projected_profit,
        projected_loss=None if plan is None else plan.projected_loss,
        rr_ratio=None if plan is None else plan.rr_ratio,
        sent_at=view.now,
    )


def _answer_event(
    intent: IntentRecord, answer: OrderResult, market_time: datetime, now: datetime
) -> PlatformEventRecord:
    code = "".join(ch for ch in answer.code if ch.isalnum() or ch in "_- .")
    return PlatformEventRecord(
        account_id=intent.account_id,
        kind="order",
        platform_id=answer.order_id or "",
        intent_id=intent.intent_id,
        position_id=answer.position_id,
        body_json=f'{{"outcome":"{answer.outcome.value}","code":"{code}"}}',
        at=market_time,
        seen_at=now,
    )

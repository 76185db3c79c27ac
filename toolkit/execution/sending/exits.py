"""Closing, reducing, moving levels, cancelling: read again, compare with the target, act only on the difference."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from toolkit.execution.guarding.refusal import Refusal
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ledger.submit import move
from toolkit.execution.request import AnyRequest, request_from_json
from toolkit.execution.sending.context import ServiceContext
from toolkit.execution.sending.entries import claim, refuse
from toolkit.execution.sending.exit_plan import AlreadySo, ExitPlan, NotOurs, plan_exit
from toolkit.execution.sending.market_view import LookAt, MarketView
from toolkit.execution.sending.sender import Sender


class Exits:
    """Carries out exits of one account; guardrails and halts never stand in their way."""

    def __init__(
        self, context: ServiceContext, sender: Sender, look_at: LookAt, book_what_happened: Callable[[], object]
    ) -> None:
        self._c = context
        self._sender = sender
        self._look_at = look_at
        self._book_what_happened = book_what_happened

    def execute(self, intent: IntentRecord, outbox_id: int | None) -> IntentRecord:
        """Bring the position to the target of the intent."""
        c = self._c
        request = request_from_json(intent.action.value, intent.payload_json)
        while True:
            view = self._look_at(intent.symbol)
            c.failpoint("FP1_before_claim")
            after, plan = self._claim(intent, request, view, outbox_id)
            if plan is None or isinstance(plan, AlreadySo | NotOurs):
                if isinstance(plan, AlreadySo):
                    self._book_what_happened()  # it may have gone without us: book how
                return after
            c.failpoint("FP2_claimed")
            intent = self._sender.carry_out(after, plan, None, view, outbox_id)
            if intent.state is not IntentState.NEW or intent.waits:
                return intent
            c.clock.sleep(c.policy.backoff_seconds * 2 ** min(intent.attempt - 1, c.policy.max_sends))
            c.lease.ensure(c.policy.send_budget_seconds)

    def _claim(
        self, intent: IntentRecord, request: AnyRequest, view: MarketView, outbox_id: int | None
    ) -> tuple[IntentRecord, ExitPlan | None]:
        c = self._c
        now = c.clock.now()
        with c.writing() as work:
            lease = c.lease.check(work, c.policy.send_budget_seconds)
            fresh = c.fresh(work, intent.intent_id)
            if fresh.state is not IntentState.NEW:
                return fresh, None
            if not work.may_act(c.account_id, c.principal):
                message = f"{c.principal.name} may not trade on account {c.account_id}"
                after = refuse(c, work, fresh, Refusal(IntentState.DENIED, "forbidden", message), view, now)
                c.handed_over(work, outbox_id, now)
                work.commit()
                return after, None
            position_id = getattr(request, "position_id", None)
            trade = None if position_id is None else work.trade_of_position(c.account_id, position_id)
            plan = plan_exit(fresh, request, view.book, trade)
            after = claim(c, work, fresh, lease, now)
            if isinstance(plan, AlreadySo | NotOurs):
                after = self._settle_unsent(work, after, plan, view, now)
                c.handed_over(work, outbox_id, now)
            work.commit()
        return after, plan

    def _settle_unsent(
        self, work: Transaction, claimed: IntentRecord, plan: AlreadySo | NotOurs, view: MarketView, now: datetime
    ) -> IntentRecord:
        c = self._c
        done = isinstance(plan, AlreadySo)
        sending = move(work, claimed, IntentState.SENDING, actor=c.worker, now=now, detail="nothing had to be sent")
        state = IntentState.FILLED if done else IntentState.REJECTED
        reason = "already_so" if done else "not_ours"
        after = move(work, sending, state, actor=c.worker, now=now, detail=plan.message, reason=reason)
        if isinstance(plan, AlreadySo) and plan.position is not None:
            c.keep_levels(work, plan.position, now)
        kind, level = ("exit_already_so", "info") if done else ("exit_refused", "error")
        c.tell(work, after, kind, plan.message, level, view.now, now)
        return after

"""Opening: look, claim with the guardrails in the same transaction, send; again only while provably not accepted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from toolkit.errors import RequestError
from toolkit.execution.guarding.checks import NeedsRates
from toolkit.execution.guarding.exposure import rate_symbols
from toolkit.execution.guarding.refusal import Refusal, keep_trip
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ledger.submit import move
from toolkit.execution.request import TradeRequest, request_from_json
from toolkit.execution.sending.context import ServiceContext
from toolkit.execution.sending.entry_check import EntryPlan, decide_entry
from toolkit.execution.sending.lease import HeldLease
from toolkit.execution.sending.market_view import LookAt, MarketView
from toolkit.execution.sending.sender import Sender


class Entries:
    """Carries out entries of one account."""

    def __init__(self, context: ServiceContext, sender: Sender, look_at: LookAt) -> None:
        self._c = context
        self._sender = sender
        self._look_at = look_at

    def execute(self, intent: IntentRecord, outbox_id: int | None) -> IntentRecord:
        """Open a position or place a pending order, at most once."""
        c = self._c
        request = request_from_json(intent.action.value, intent.payload_json)
        if not isinstance(request, TradeRequest):
            raise RequestError(f"intent {intent.intent_id} does not hold a TradeRequest")
        while True:
            view = self._look_at(intent.symbol)
            c.failpoint("FP1_before_claim")
            claimed, plan = self._claim(intent, request, view, outbox_id)
            if plan is None:
                return claimed
            c.failpoint("FP2_claimed")
            intent = self._sender.carry_out(claimed, plan.command, plan, view, outbox_id)
            if intent.state is not IntentState.NEW:
                return intent
            c.clock.sleep(c.policy.backoff_seconds * 2 ** min(intent.attempt - 1, c.policy.max_sends))
            c.lease.ensure(c.policy.send_budget_seconds)

    def _claim(
        self, intent: IntentRecord, request: TradeRequest, view: MarketView, outbox_id: int | None
    ) -> tuple[IntentRecord, EntryPlan | None]:
        c = self._c
        now = c.clock.now()
        before = c.quotes.swap(intent.symbol, view.quote)
        while True:
            after, decision = self._decide(intent, request, view, before, now, outbox_id)
            if not isinstance(decision, NeedsRates):
                return after, decision
            # read outside any transaction, then everything is looked at again inside a new one
            rated = rate_symbols(c.platform, decision.symbols, view.book.account.currency)
            view = replace(view, rated={**view.rated, **rated})

    def _decide(
        self,
        intent: IntentRecord,
        request: TradeRequest,
        view: MarketView,
        before: Decimal | None,
        now: datetime,
        outbox_id: int | None,
    ) -> tuple[IntentRecord, EntryPlan | NeedsRates | None]:
        c = self._c
        with c.writing() as work:
            lease = c.lease.check(work, c.policy.send_budget_seconds)
            fresh = c.fresh(work, intent.intent_id)
            if fresh.state is not IntentState.NEW:
                return fresh, None
            decision: EntryPlan | Refusal | NeedsRates
            if c.clock.monotonic() - view.read_at > c.policy.max_quote_age_seconds:
                words = "the look at the market became old before the claim: try again"
                decision = Refusal(IntentState.DENIED, "stale_look", words, trip="stale_look")
            else:
                decision = decide_entry(
                    work,
                    fresh,
                    request,
                    view,
                    c.principal,
                    wall_now=now,
                    max_quote_age_seconds=c.policy.max_quote_age_seconds,
                    day_end=c.day_end,
                    last_mid=before,
                )
            if isinstance(decision, NeedsRates):
                return fresh, decision
            if isinstance(decision, Refusal):
                refused = refuse(c, work, fresh, decision, view, now)
                c.handed_over(work, outbox_id, now)
                work.commit()
                return refused, None
            claimed = claim(c, work, fresh, lease, now)
            work.commit()
        return claimed, decision


def claim(c: ServiceContext, work: Transaction, intent: IntentRecord, lease: HeldLease, now: datetime) -> IntentRecord:
    """Take an intent: the next fencing token, and from here on its guardrail slot."""
    return move(
        work,
        intent,
        IntentState.CLAIMED,
        actor=c.worker,
        now=now,
        new_token=True,
        lease_owner=c.worker,
        lease_until=lease.until,
        not_before=None,
    )


def refuse(
    c: ServiceContext, work: Transaction, intent: IntentRecord, refusal: Refusal, view: MarketView, now: datetime
) -> IntentRecord:
    """End an intent that is not sent, with the reason on the row, and the guardrail's trip if one denied it."""
    after = move(work, intent, refusal.state, actor=c.worker, now=now, detail=refusal.message, reason=refusal.code)
    keep_trip(work, intent, refusal, view.now)
    c.tell(work, after, "entry_refused", refusal.message, "warning", view.now, now, code=refusal.code)
    return after

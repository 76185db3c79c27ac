"""The service that carries out intents on one account: claim, write, send, resolve.

The order of things is the whole point. What the platform shows is read before a transaction begins; the claim and the
guardrail slot are one transaction; SENDING is durable before the platform hears of the order; an ambiguous answer is
UNKNOWN and an entry is never sent again from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from toolkit.clock import Clock
from toolkit.errors import LostRace, NotFound, PlatformError, RequestError, WrongAccount
from toolkit.execution.intents import BARRIER_STATES, Action, IntentState
from toolkit.execution.ledger.bookkeeping import TradeChange, book_deals
from toolkit.execution.ledger.records import IntentRecord, OrderRecord, PlatformEventRecord, RunEventRecord, TripRecord
from toolkit.execution.ledger.store import IntentStore, Transaction
from toolkit.execution.ledger.submit import move
from toolkit.execution.ports import (
    History,
    ModifyProtection,
    OpenOrder,
    OrderResult,
    Outcome,
    PlatformCommand,
    PlatformDeal,
    TradingPlatform,
)
from toolkit.execution.principal import Principal
from toolkit.execution.request import TradeRequest, request_from_json
from toolkit.execution.sending.answer import state_after, trade_events
from toolkit.execution.sending.entry_check import EntryPlan, Refusal, decide_entry
from toolkit.execution.sending.exit_plan import AlreadySo, NotOurs, plan_exit
from toolkit.execution.sending.lease import HeldLease, LeaseKeeper
from toolkit.execution.sending.market_view import MarketView, look
from toolkit.execution.symbol_info import fetch_symbol_info_for_platform
from toolkit.market import Instrument


@dataclass(frozen=True, slots=True)
class ServicePolicy:
    """The limits a service works within.

    Attributes
    ----------
    max_quote_age_seconds
        A quote older than this on the platform's clock denies an entry.
    lease_seconds, send_budget_seconds
        How long the account is owned without renewal, and how much of it must be left when a send starts.
    max_sends
        How often one intent may be sent while the platform provably did not accept it.
    backoff_seconds
        Wait before the second send; doubled each time.
    history_overlap
        How far before the last complete read history is read again: deals inside a bar are stamped with its open.
    """

    max_quote_age_seconds: float = 10.0
    lease_seconds: float = 30.0
    send_budget_seconds: float = 5.0
    max_sends: int = 3
    backoff_seconds: float = 0.25
    history_overlap: timedelta = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a read of the platform's history changed."""

    changes: tuple[TradeChange, ...] = ()
    foreign_deals: tuple[PlatformDeal, ...] = ()
    foreign_positions: tuple[str, ...] = ()
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Sent:
    intent: IntentRecord
    command: PlatformCommand
    deadline: float


def no_failpoint(name: str) -> None:
    """Do nothing; tests replace it to stop, kill or delay a process at a named point."""


class TradeService:
    """Carries out the intents of one account on one platform session.

    Parameters
    ----------
    platform
        A connected session of the account.
    store
        Where intents live.
    clock
        Our own time; the platform's comes from ``platform.now()``.
    account_id, principal
        The account, and who acts on it (checked at every claim).
    worker
        Name of this process, unique among those running.
    failpoint
        Called with the name of each point between two durable steps; for tests.
    """

    def __init__(
        self,
        platform: TradingPlatform,
        store: IntentStore,
        clock: Clock,
        *,
        account_id: UUID,
        principal: Principal,
        worker: str,
        policy: ServicePolicy | None = None,
        failpoint: Callable[[str], None] = no_failpoint,
    ) -> None:
        self.platform = platform
        self.store = store
        self.clock = clock
        self.account_id = account_id
        self.principal = principal
        self.worker = worker
        self.policy = policy or ServicePolicy()
        self.failpoint = failpoint
        self.lease = LeaseKeeper(store, clock, principal, account_id, worker, self.policy.lease_seconds)
        self._instruments: dict[str, Instrument] = {}
        self._known_deals: set[str] = set()

    # dispatch
    def execute(self, intent_id: UUID, outbox_id: int | None = None) -> IntentRecord:
        """Carry out one intent, whatever its action; safe to call again with an intent that is under way or settled.

        Parameters
        ----------
        outbox_id
            Pointer to mark as handed over together with the last change this call makes.

        Returns
        -------
        IntentRecord
            As it stands afterwards.

        Raises
        ------
        LeaseLost
            When another worker holds the account; nothing was sent.
        PlatformError
            When the platform cannot be read; the intent stays NEW.
        """
        self.lease.ensure(self.policy.send_budget_seconds)
        with self.store.begin(self.principal, write=False) as work:
            intent = work.intent(intent_id)
        if intent is None:
            raise NotFound(f"intent {intent_id} does not exist")
        if intent.account_id != self.account_id:
            raise WrongAccount(
                f"intent {intent_id} is for account {intent.account_id}, this service acts on {self.account_id}"
            )
        if intent.state is not IntentState.NEW:
            self._mark_handed_over(intent, outbox_id)
            return intent
        handlers: dict[Action, Callable[[IntentRecord, int | None], IntentRecord]] = {
            Action.OPEN_TRADE: self.execute_trade,
            Action.CLOSE_POSITION: self.close_trade_globally,
            Action.REDUCE_POSITION: self.partially_close_trade,
            Action.MODIFY_SLTP: self.update_trade_protection_levels,
            Action.CANCEL_ORDER: self.cancel_pending_order,
        }
        return handlers[intent.action](intent, outbox_id)

    def execute_trade(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Open a position or place a pending order, at most once."""
        request = request_from_json(intent.action.value, intent.payload_json)
        if not isinstance(request, TradeRequest):
            raise RequestError(f"intent {intent.intent_id} does not hold a TradeRequest")
        while True:
            view = self._look(intent.symbol)
            self.failpoint("FP1_before_claim")
            claimed, plan = self._claim_entry(intent, request, view, outbox_id)
            if plan is None:
                return claimed
            intent = self._carry_out(claimed, plan.command, plan, view, outbox_id)
            if intent.state is not IntentState.NEW:
                return intent
            self.clock.sleep(self.policy.backoff_seconds * 2 ** (intent.attempt - 1))

    def close_trade_globally(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Bring the position to nothing; a position already gone is success."""
        return self._execute_exit(intent, outbox_id)

    def partially_close_trade(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Bring the position down to the remaining lots asked for."""
        return self._execute_exit(intent, outbox_id)

    def update_trade_stop_loss_globally(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Set the stop of a position; its target stays."""
        return self._execute_exit(intent, outbox_id)

    def update_trade_protection_levels(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Set the stop and the target of a position."""
        return self._execute_exit(intent, outbox_id)

    def cancel_pending_order(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Take back a working pending order."""
        return self._execute_exit(intent, outbox_id)

    # reading
    def instrument(self, symbol: str) -> Instrument:
        """Return the contract facts of a symbol, checked once per session."""
        known = self._instruments.get(symbol)
        if known is None:
            currency = self.platform.book().account.currency
            known = fetch_symbol_info_for_platform(self.platform, symbol, currency).instrument
            self._instruments[symbol] = known
        return known

    def _look(self, symbol: str) -> MarketView:
        return look(self.platform, self.instrument(symbol), self.clock.monotonic())

    # claiming
    def _claim_entry(
        self, intent: IntentRecord, request: TradeRequest, view: MarketView, outbox_id: int | None
    ) -> tuple[IntentRecord, EntryPlan | None]:
        now = self.clock.now()
        with self.store.begin(self.principal) as work:
            lease = self.lease.check(work, self.policy.send_budget_seconds)
            fresh = self._fresh(work, intent.intent_id)
            if fresh.state is not IntentState.NEW:
                return fresh, None
            decision = decide_entry(
                work,
                fresh,
                request,
                view,
                self.principal,
                wall_now=now,
                max_quote_age_seconds=self.policy.max_quote_age_seconds,
            )
            if isinstance(decision, Refusal):
                refused = self._refuse(work, fresh, decision, view, now)
                self._handed_over(work, outbox_id, now)
                work.commit()
                return refused, None
            claimed = self._to_claimed(work, fresh, lease, now)
            work.commit()
        self.failpoint("FP2_claimed")
        return claimed, decision

    def _to_claimed(self, work: Transaction, intent: IntentRecord, lease: HeldLease, now: datetime) -> IntentRecord:
        return move(
            work,
            intent,
            IntentState.CLAIMED,
            actor=self.worker,
            now=now,
            new_token=True,
            lease_owner=self.worker,
            lease_until=lease.until,
        )

    def _refuse(
        self, work: Transaction, intent: IntentRecord, refusal: Refusal, view: MarketView, now: datetime
    ) -> IntentRecord:
        after = move(
            work, intent, refusal.state, actor=self.worker, now=now, detail=refusal.message, reason=refusal.code
        )
        if refusal.trip:
            work.put_trip(
                TripRecord(
                    trip_id=uuid4(),
                    account_id=intent.account_id,
                    live_run_id=intent.live_run_id,
                    rule=refusal.trip,
                    symbol=intent.symbol,
                    reason=refusal.message,
                    tripped_at=view.now,
                    until=view.now,
                )
            )
        self._tell(work, after, "entry_refused", refusal.message, "warning", view.now, now, code=refusal.code)
        return after

    # sending
    def _carry_out(
        self,
        claimed: IntentRecord,
        command: PlatformCommand,
        plan: EntryPlan | None,
        view: MarketView,
        outbox_id: int | None,
    ) -> IntentRecord:
        sent = self._start_sending(claimed, command, plan, view)
        self.failpoint("FP3_sending")
        stopped = self._last_line(sent)
        if stopped is not None:
            return self._not_sent(sent.intent, stopped, outbox_id)
        started = self.clock.monotonic()
        answer = self._send(command)
        latency_ms = round((self.clock.monotonic() - started) * 1000)
        self.failpoint("FP5_answered")
        deals = self._deals_of(sent.intent, command, answer)
        return self._record(sent.intent, command, answer, deals, latency_ms, outbox_id)

    def _start_sending(
        self, claimed: IntentRecord, command: PlatformCommand, plan: EntryPlan | None, view: MarketView
    ) -> _Sent:
        now = self.clock.now()
        with self.store.begin(self.principal) as work:
            lease = self.lease.check(work, self.policy.send_budget_seconds)
            sending = move(
                work,
                claimed,
                IntentState.SENDING,
                actor=self.worker,
                now=now,
                attempt=claimed.attempt + 1,
                sent_at=view.now,
                lease_until=lease.until,
            )
            work.insert_order(_order_row(sending, command, plan, view))
            work.commit()
        return _Sent(sending, command, lease.deadline)

    def _last_line(self, sent: _Sent) -> str | None:
        """Return why nothing may be sent after all; the last thing read before the platform is called."""
        if self.clock.monotonic() + self.policy.send_budget_seconds > sent.deadline:
            return "lease_ended"
        with self.store.begin(self.principal, write=False) as work:
            now = work.intent(sent.intent.intent_id)
            account = work.account(self.account_id)
        if now is None or (now.state, now.token) != (IntentState.SENDING, sent.intent.token):
            return "lost_to_another_worker"
        if sent.intent.action.is_entry and (account is None or account.halted_at is not None):
            return "halted"
        return None

    def _send(self, command: PlatformCommand) -> OrderResult:
        try:
            return self.platform.send(command)
        except Exception as error:  # noqa: BLE001 - after the point of no return every surprise is ambiguous
            return OrderResult(Outcome.UNKNOWN, code=type(error).__name__, message=str(error))

    def _not_sent(self, intent: IntentRecord, why: str, outbox_id: int | None) -> IntentRecord:
        now = self.clock.now()
        with self.store.begin(self.principal) as work:
            fresh = self._fresh(work, intent.intent_id)
            if (fresh.state, fresh.token) != (IntentState.SENDING, intent.token):
                return fresh
            work.update_order(intent.intent_id, intent.attempt, {"outcome": "NOT_SENT", "message": why})
            back = move(work, fresh, IntentState.NEW, actor=self.worker, now=now, detail=f"not sent: {why}")
            if why == "halted":
                back = move(work, back, IntentState.DENIED, actor=self.worker, now=now, detail=why, reason=why)
                self._tell(work, back, "entry_refused", "the account was halted before the send", "warning", None, now)
                self._handed_over(work, outbox_id, now)
            work.commit()
        if why != "halted":
            self.lease.ensure(self.policy.send_budget_seconds)
        return back

    # answers
    def _deals_of(
        self, intent: IntentRecord, command: PlatformCommand, answer: OrderResult
    ) -> tuple[PlatformDeal, ...] | None:
        """Return the deals that an answer speaks of; None when history could not be read now."""
        if answer.outcome not in (Outcome.DONE, Outcome.PARTIAL, Outcome.ALREADY) or isinstance(
            command, ModifyProtection
        ):
            return ()
        sent_at = intent.sent_at or self.platform.now()
        since = sent_at - (self.policy.history_overlap if answer.outcome is Outcome.ALREADY else timedelta(minutes=1))
        try:
            history: History = self.platform.history(since, sent_at + timedelta(days=2))
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
        deals: Sequence[PlatformDeal] | None,
        latency_ms: int,
        outbox_id: int | None,
    ) -> IntentRecord:
        now = self.clock.now()
        market_time = self.platform.now()
        state = state_after(intent.action, answer, deals_seen=bool(deals))
        with self.store.begin(self.principal) as work:
            # Platform events first: what was seen is kept even when the state belongs to somebody else by now.
            changes, _ = book_deals(work, deals or (), [intent], account_id=self.account_id, seen_at=now)
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
                self._tell_trades(work, changes, intent)
                work.commit()
                raise
            if isinstance(command, ModifyProtection) and state is IntentState.FILLED:
                self._keep_levels(work, command, now)
            self._tell_trades(work, changes, after)
            if after.state is not IntentState.NEW:
                self._handed_over(work, outbox_id, now)
            work.commit()
        self.failpoint("FP6_recorded")
        return after

    def _settle(
        self,
        work: Transaction,
        intent: IntentRecord,
        state: IntentState,
        answer: OrderResult,
        now: datetime,
        market_time: datetime,
    ) -> IntentRecord:
        detail = f"{answer.outcome.value} {answer.code} {answer.message}".strip()
        after = move(
            work,
            intent,
            state,
            actor=self.worker,
            now=now,
            detail=detail,
            order_id=answer.order_id or intent.order_id,
            position_id=answer.position_id or intent.position_id,
            filled_lots=answer.filled_lots,
            average_price=answer.price,
            unknown_since=now if state is IntentState.UNKNOWN else None,
            reason=answer.code if state is IntentState.REJECTED else intent.reason,
        )
        if state is IntentState.UNKNOWN:
            self._tell(
                work,
                after,
                "intent_unknown",
                f"the platform's answer is ambiguous: {detail}",
                "error",
                market_time,
                now,
            )
        if state is IntentState.REJECTED:
            self._tell(work, after, "order_rejected", detail, "warning", market_time, now)
        if state is IntentState.NEW:
            give_up = answer.outcome is Outcome.WAIT or after.attempt >= self.policy.max_sends
            late = after.valid_until is not None and market_time > after.valid_until
            if give_up or late:
                why = "platform_closed" if answer.outcome is Outcome.WAIT else "not_accepted"
                after = move(work, after, IntentState.EXPIRED, actor=self.worker, now=now, detail=detail, reason=why)
                self._tell(work, after, "order_expired", detail, "warning", market_time, now)
        return after

    # exits
    def _execute_exit(self, intent: IntentRecord, outbox_id: int | None) -> IntentRecord:
        request = request_from_json(intent.action.value, intent.payload_json)
        while True:
            view = self._look(intent.symbol)
            now = self.clock.now()
            with self.store.begin(self.principal) as work:
                lease = self.lease.check(work, self.policy.send_budget_seconds)
                fresh = self._fresh(work, intent.intent_id)
                if fresh.state is not IntentState.NEW:
                    return fresh
                if not work.may_act(self.account_id, self.principal):
                    message = f"{self.principal.name} may not trade on account {self.account_id}"
                    refusal = Refusal(IntentState.DENIED, "forbidden", message)
                    refused = self._refuse(work, fresh, refusal, view, now)
                    self._handed_over(work, outbox_id, now)
                    work.commit()
                    return refused
                position_id = getattr(request, "position_id", None)
                trade = None if position_id is None else work.trade_of_position(self.account_id, position_id)
                plan = plan_exit(fresh, request, view.book, trade)
                claimed = self._to_claimed(work, fresh, lease, now)
                if isinstance(plan, AlreadySo | NotOurs):
                    settled = self._settle_unsent(work, claimed, plan, view, now)
                    self._handed_over(work, outbox_id, now)
                    work.commit()
                else:
                    settled = None
                    work.commit()
            if settled is not None:
                if isinstance(plan, AlreadySo) and trade is not None and trade.status == "open":
                    self.sync_book()  # it went without us: book how
                return settled
            if isinstance(plan, AlreadySo | NotOurs):  # pragma: no cover - settled above
                raise AssertionError("unreachable")
            self.failpoint("FP2_claimed")
            intent = self._carry_out(claimed, plan, None, view, outbox_id)
            if intent.state is not IntentState.NEW:
                return intent
            self.clock.sleep(self.policy.backoff_seconds * 2 ** (intent.attempt - 1))

    def _settle_unsent(
        self, work: Transaction, claimed: IntentRecord, plan: AlreadySo | NotOurs, view: MarketView, now: datetime
    ) -> IntentRecord:
        done = isinstance(plan, AlreadySo)
        sending = move(work, claimed, IntentState.SENDING, actor=self.worker, now=now, detail="nothing had to be sent")
        state = IntentState.FILLED if done else IntentState.REJECTED
        after = move(
            work,
            sending,
            state,
            actor=self.worker,
            now=now,
            detail=plan.message,
            reason="already_so" if done else "not_ours",
        )
        level = "info" if done else "error"
        self._tell(work, after, "exit_already_so" if done else "exit_refused", plan.message, level, view.now, now)
        return after

    def _keep_levels(self, work: Transaction, command: ModifyProtection, now: datetime) -> None:
        trade = work.trade_of_position(self.account_id, command.position_id)
        if trade is not None:
            work.put_trade(replace(trade, stop_loss=command.stop_loss, take_profit=command.take_profit, updated_at=now))

    # the book
    def sync_book(self, account_id: UUID | None = None) -> SyncReport:
        """Read the platform's history since the last complete read and book what is new.

        Exits by stop, target, stop-out or hand are booked to their trades; a late fill that carries our tag is adopted;
        what belongs to nobody of ours is listed and never touched.

        Raises
        ------
        ReadFailed
            When the platform's history could not be read completely; nothing is changed then.
        """
        if account_id not in (None, self.account_id):
            raise WrongAccount(f"this service acts on account {self.account_id}, not on {account_id}")
        with self.store.begin(self.principal, write=False) as work:
            account = work.account(self.account_id)
        if account is None:
            raise NotFound(f"account {self.account_id} does not exist")
        until = self.platform.now()
        start = account.book_synced_until
        since = datetime.fromtimestamp(0, until.tzinfo) if start is None else start - self.policy.history_overlap
        history = self.platform.history(since, until + timedelta(days=1))
        fresh = [d for d in history.deals if d.deal_id not in self._known_deals]
        if not fresh and start is not None and until - start < self.policy.history_overlap / 2:
            return SyncReport(until=until)
        now = self.clock.now()
        with self.store.begin(self.principal) as work:
            owners = work.intents_by_tag(
                self.account_id, {d.tag_text for d in fresh if d.tag_text}, {d.magic for d in fresh if d.magic}
            )
            changes, foreign = book_deals(work, fresh, owners, account_id=self.account_id, seen_at=now)
            self._tell_trades(work, changes, None)
            self._adopt(work, changes, now)
            work.set_synced_until(self.account_id, until)
            work.commit()
        self._known_deals.update(d.deal_id for d in fresh)
        return SyncReport(tuple(changes), tuple(foreign), tuple({d.position_id for d in foreign}), until)

    def _adopt(self, work: Transaction, changes: Sequence[TradeChange], now: datetime) -> None:
        for change in changes:
            if not change.opened:
                continue
            intent = work.intent(change.after.intent_id)
            if (
                intent is None
                or intent.state in (IntentState.FILLED, IntentState.PARTIAL)
                or intent.state is IntentState.SENDING
            ):
                continue  # SENDING: its worker is about to record it itself, or the reconciler will
            with suppress(LostRace):
                after = move(
                    work,
                    intent,
                    IntentState.FILLED,
                    actor=self.worker,
                    now=now,
                    detail="its deal was found at the platform",
                    new_token=True,
                    position_id=change.after.position_id,
                    filled_lots=change.after.lots,
                    average_price=change.after.entry_price,
                    unknown_since=None,
                )
                if intent.state is not IntentState.WORKING:
                    self._tell(
                        work, after, "late_fill_adopted", "a late fill was found and adopted", "error", None, now
                    )

    # small helpers
    def _fresh(self, work: Transaction, intent_id: UUID) -> IntentRecord:
        intent = work.intent(intent_id)
        if intent is None:
            raise NotFound(f"intent {intent_id} does not exist")
        return intent

    def _handed_over(self, work: Transaction, outbox_id: int | None, now: datetime) -> None:
        if outbox_id is not None:
            work.mark_published(outbox_id, now)

    def _mark_handed_over(self, intent: IntentRecord, outbox_id: int | None) -> None:
        if outbox_id is None or intent.state in BARRIER_STATES:
            return
        with self.store.begin(self.principal) as work:
            self._handed_over(work, outbox_id, self.clock.now())
            work.commit()

    def _tell_trades(self, work: Transaction, changes: list[TradeChange], intent: IntentRecord | None) -> None:
        for event in trade_events(changes, intent):
            work.add_run_event(event)

    def _tell(
        self,
        work: Transaction,
        intent: IntentRecord,
        kind: str,
        message: str,
        level: str,
        market_time: datetime | None,
        now: datetime,
        **data: str,
    ) -> None:
        work.add_run_event(
            RunEventRecord(
                live_run_id=intent.live_run_id,
                account_id=intent.account_id,
                intent_id=intent.intent_id,
                kind=kind,
                level=level,
                message=message,
                market_time=market_time,
                at=now,
                data={"action": intent.action.value, "symbol": intent.symbol, **data},
            )
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
    return PlatformEventRecord(
        account_id=intent.account_id,
        kind="order",
        platform_id=answer.order_id or "",
        intent_id=intent.intent_id,
        position_id=answer.position_id,
        body_json=f'{{"outcome":"{answer.outcome.value}","code":"{_plain(answer.code)}"}}',
        at=market_time,
        seen_at=now,
    )


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in "_- .")


__all__ = ["ServicePolicy", "SyncReport", "TradeService", "no_failpoint"]

"""The service that carries out intents on one account: claim, write, send, resolve.

The order of things is the whole point. What the platform shows is read before a transaction begins; the claim and the
guardrail slot are one transaction; SENDING is durable before the platform hears of the order; an ambiguous answer is
UNKNOWN and an entry is never sent again from there.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from uuid import UUID

from toolkit.clock import Clock
from toolkit.errors import ConversionRateMissing, NotFound, QuoteError, WrongAccount
from toolkit.execution.guarding.last_quotes import LastQuotes
from toolkit.execution.intents import BARRIER_STATES, Action, IntentState
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.store import IntentStore
from toolkit.execution.ports import NoWatch, ServiceWatch, TradingPlatform
from toolkit.execution.principal import Principal
from toolkit.execution.recovery.book_sync import BookSync, SyncReport
from toolkit.execution.recovery.reconcile import Reconciler, ReconcileReport
from toolkit.execution.sending.context import ServiceContext, ServicePolicy
from toolkit.execution.sending.entries import Entries
from toolkit.execution.sending.exits import Exits
from toolkit.execution.sending.lease import LeaseKeeper
from toolkit.execution.sending.market_view import MarketView, look
from toolkit.execution.sending.overdue import expire_overdue
from toolkit.execution.sending.sender import Sender
from toolkit.execution.symbol_info import fetch_symbol_info_for_platform
from toolkit.market import Instrument


def no_failpoint(name: str) -> None:
    """Do nothing; tests replace it to stop, kill or delay a process at a named point."""


class TradeService:
    """Carries out the intents of one account on one platform session; one thing at a time.

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
    day_end
        Name of the platform's clock, whose midnight ends the day that guards count by.
    failpoint
        Called with the name of each point between two durable steps; for tests.
    watch
        Told what the service does, for logs and metrics (`toolkit.telemetry.service_watch.TelemetryWatch`).
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
        day_end: str = "UTC",
        failpoint: Callable[[str], None] = no_failpoint,
        watch: ServiceWatch | None = None,
    ) -> None:
        self.platform = platform
        self.store = store
        self.clock = clock
        self.account_id = account_id
        self.principal = principal
        self.worker = worker
        self.policy = policy or ServicePolicy()
        watch = watch or NoWatch()
        self.lease = LeaseKeeper(
            store, clock, principal, account_id, worker, self.policy.lease_seconds, watch.lease_stolen
        )
        self.context = ServiceContext(
            platform,
            store,
            clock,
            account_id,
            principal,
            worker,
            self.policy,
            self.lease,
            LastQuotes(),
            day_end,
            failpoint,
            watch,
        )
        self._turn = RLock()
        self._instruments: dict[str, Instrument] = {}
        self._book = BookSync(self.context)
        sender = Sender(self.context)
        self._entries = Entries(self.context, sender, self._look)
        self._exits = Exits(self.context, sender, self._look, self._book.run)
        self._reconciler = Reconciler(self.context, self._book, self.execute)
        self._handlers: dict[Action, Callable[[IntentRecord, int | None], IntentRecord]] = {
            Action.OPEN_TRADE: self.execute_trade,
            Action.CLOSE_POSITION: self.close_trade_globally,
            Action.REDUCE_POSITION: self.partially_close_trade,
            Action.MODIFY_SLTP: self.update_trade_protection_levels,
            Action.CANCEL_ORDER: self.cancel_pending_order,
        }

    def execute(self, intent_id: UUID, outbox_id: int | None = None, *, at_once: bool = False) -> IntentRecord:
        """Carry out one intent, whatever its action; safe to call again with an intent that is under way or settled.

        Parameters
        ----------
        outbox_id
            Pointer to mark as handed over together with the last change this call makes.
        at_once
            Send an exit that waits because the platform would not take it, although its time has not come.

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
        with self._turn:
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
            if intent.waits and not (at_once or self.policy.pause_is_over(intent.not_before, self.platform.now())):
                return intent
            watch = self.context.watch
            with watch.executing(intent_id, intent.live_run_id, intent.signal_id):
                try:
                    after = self._handlers[intent.action](intent, outbox_id)
                except (QuoteError, ConversionRateMissing):
                    # Exits wait where markets are closed, and there a price may be missing too. It is read before the
                    # claim, so the row is untouched: the exit waits on, and the account's other work goes on.
                    if not intent.waits:
                        raise
                    return intent
                watch.carried_out(after.action.value, after.state.value, after.reason, after.attempt)
            return after

    def execute_trade(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Open a position or place a pending order, at most once."""
        with self._turn:
            return self._entries.execute(intent, outbox_id)

    def close_trade_globally(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Bring the position to nothing; a position already gone is success."""
        return self._exit(intent, outbox_id)

    def partially_close_trade(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Bring the position down to the remaining lots asked for."""
        return self._exit(intent, outbox_id)

    def update_trade_stop_loss_globally(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Set the stop of a position; its target stays."""
        return self._exit(intent, outbox_id)

    def update_trade_protection_levels(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Set the stop and the target of a position."""
        return self._exit(intent, outbox_id)

    def cancel_pending_order(self, intent: IntentRecord, outbox_id: int | None = None) -> IntentRecord:
        """Take back a working pending order."""
        return self._exit(intent, outbox_id)

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
        with self._turn:
            return self._book.run()

    def reconcile(self) -> ReconcileReport:
        """Settle what is half-way: take over from a dead worker, resolve UNKNOWN on evidence, guard protection.

        To be called when a process takes an account over, before it accepts anything new, and every few seconds afterwards.

        Raises
        ------
        LeaseLost
            When another worker holds the account.
        PlatformError
            When the platform cannot be read completely; a failing read is not evidence, nothing is concluded.
        """
        with self._turn:
            return self._reconciler.run()

    def keep_lease(self) -> None:
        """Renew the lease when half of it is over, unless something is being carried out right now (that renews it too).

        Raises
        ------
        LeaseLost
            When another worker holds the account by now: this one must stop acting on it.
        """
        if self._turn.acquire(blocking=False):
            try:
                self.lease.ensure(self.policy.send_budget_seconds)
            finally:
                self._turn.release()

    def expire_overdue(self, limit: int) -> list[UUID]:
        """Expire entries that nobody has begun and whose time has passed, and those that wait behind ``limit`` others.

        Returns
        -------
        list of UUID
            What was expired; empty also while something else is being carried out: the next look finds it again.
        """
        if not self._turn.acquire(blocking=False):
            return []
        try:
            expired = expire_overdue(self.context, limit)
        finally:
            self._turn.release()
        for _ in expired:
            self.context.watch.carried_out(Action.OPEN_TRADE.value, IntentState.EXPIRED.value, "expired", 0)
        return expired

    def instrument(self, symbol: str) -> Instrument:
        """Return the contract facts of a symbol, checked once per session."""
        known = self._instruments.get(symbol)
        if known is None:
            currency = self.platform.book().account.currency
            known = fetch_symbol_info_for_platform(self.platform, symbol, currency).instrument
            self._instruments[symbol] = known
        return known

    def _look(self, symbol: str) -> MarketView:
        started = self.clock.monotonic()
        return look(self.platform, self.instrument(symbol), started)

    def _exit(self, intent: IntentRecord, outbox_id: int | None) -> IntentRecord:
        with self._turn:
            return self._exits.execute(intent, outbox_id)

    def _mark_handed_over(self, intent: IntentRecord, outbox_id: int | None) -> None:
        if outbox_id is None or intent.state in BARRIER_STATES:
            return
        with self.store.begin(self.principal) as work:
            work.mark_published(outbox_id, self.clock.now())
            work.commit()


__all__ = ["ReconcileReport", "ServicePolicy", "SyncReport", "TradeService", "no_failpoint"]

"""What every step of a service works with: platform, store, clock, lease, limits, and the words it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from toolkit.clock import Clock
from toolkit.errors import NotFound
from toolkit.execution.guarding.last_quotes import LastQuotes
from toolkit.execution.ledger.bookkeeping import TradeChange
from toolkit.execution.ledger.records import IntentRecord, RunEventRecord
from toolkit.execution.ledger.store import IntentStore, Transaction
from toolkit.execution.ports import ModifyProtection, PlatformPosition, ServiceWatch, TradingPlatform
from toolkit.execution.principal import Principal
from toolkit.execution.sending.answer import trade_events
from toolkit.execution.sending.lease import LeaseKeeper


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
    abandon_after_seconds, abandon_after_reads
        An UNKNOWN entry is given up after that long and that many complete reads without a trace of it.
    replan_close_seconds, replan_reduce_seconds
        How long after an ambiguous answer an exit whose target is unmet may be planned again. A full close is pinned and
        cannot be done twice; a reduction could be, so it waits as long as an entry would.
    exit_pause_seconds, exit_pause_limit_seconds
        An exit that the platform would not take (closed, or not accepted ``max_sends`` times) waits that long on the
        platform's clock and is sent again; doubled each time, up to the limit. It never expires.
    protection_limit_seconds
        How long a position may be without its confirmed stop before it is closed.
    """

    max_quote_age_seconds: float = 10.0
    lease_seconds: float = 30.0
    send_budget_seconds: float = 5.0
    max_sends: int = 3
    backoff_seconds: float = 0.25
    history_overlap: timedelta = timedelta(days=2)
    abandon_after_seconds: float = 600.0
    abandon_after_reads: int = 3
    replan_close_seconds: float = 5.0
    replan_reduce_seconds: float = 600.0
    exit_pause_seconds: float = 5.0
    exit_pause_limit_seconds: float = 60.0
    protection_limit_seconds: float = 10.0

    def pause_is_over(self, not_before: datetime | None, now: datetime) -> bool:
        """Whether an exit that waits may be sent at that platform time.

        A pause that seems longer than any could be was measured by a clock that somebody has turned back since.
        """
        left = 0.0 if not_before is None else (not_before - now).total_seconds()
        return left <= 0 or left > self.exit_pause_limit_seconds


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """The parts of one TradeService, shared by its steps."""

    platform: TradingPlatform
    store: IntentStore
    clock: Clock
    account_id: UUID
    principal: Principal
    worker: str
    policy: ServicePolicy
    lease: LeaseKeeper
    quotes: LastQuotes
    day_end: str
    failpoint: Callable[[str], None]
    watch: ServiceWatch

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Open a writing transaction that other writers of the account wait for from its start."""
        with self.store.begin(self.principal) as work:
            work.lock_account(self.account_id)
            yield work

    def fresh(self, work: Transaction, intent_id: UUID) -> IntentRecord:
        """Return an intent as it is inside this transaction."""
        intent = work.intent(intent_id)
        if intent is None:
            raise NotFound(f"intent {intent_id} does not exist")
        return intent

    def handed_over(self, work: Transaction, outbox_id: int | None, now: datetime) -> None:
        """Mark a pointer as handed over, if there is one."""
        if outbox_id is not None:
            work.mark_published(outbox_id, now)

    def keep_levels(self, work: Transaction, shown: ModifyProtection | PlatformPosition, now: datetime) -> None:
        """Write the levels that were just set, or that the platform shows, to our trade of the position."""
        trade = work.trade_of_position(self.account_id, shown.position_id)
        if trade is not None:
            work.put_trade(replace(trade, stop_loss=shown.stop_loss, take_profit=shown.take_profit, updated_at=now))

    def tell(
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
        """Write what people are told about an intent."""
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

    def tell_trades(self, work: Transaction, changes: Sequence[TradeChange], intent: IntentRecord | None) -> None:
        """Write what people are told about trades that changed."""
        for event in trade_events(list(changes), intent):
            work.add_run_event(event)

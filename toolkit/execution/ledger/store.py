"""The store as execution sees it: transactions over small groups of tables.

Two implementations pass one contract suite: `toolkit.execution.ledger.memory.MemoryStore` and
`toolkit.store.intents.SqlIntentStore`. What is decided inside a transaction is decided once, in execution; a store only
keeps rows, compares and sets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import (
    AccountRecord,
    EquityMarkRecord,
    IntentEventRecord,
    IntentRecord,
    LeaseRecord,
    LinkRecord,
    OrderRecord,
    OutboxRecord,
    PlatformEventRecord,
    RunEventRecord,
    RunRecord,
    TradeRecord,
    TripRecord,
)
from toolkit.execution.principal import Principal


class IntentTable(Protocol):
    """Intents and the history of their states."""

    def intent(self, intent_id: UUID) -> IntentRecord | None:
        """Return one intent."""

    def intent_by_key(self, account_id: UUID, key: str) -> IntentRecord | None:
        """Return the intent of an idempotency key."""

    def intents_by_tag(
        self, account_id: UUID, tags: Collection[str], magics: Collection[int] = ()
    ) -> list[IntentRecord]:
        """Return the intents that carry one of the client tags or magics."""

    def intents_in(self, account_id: UUID, states: Collection[IntentState]) -> list[IntentRecord]:
        """Return the account's intents in these states, oldest first."""

    def insert_intent(self, intent: IntentRecord) -> None:
        """Insert a row; the caller has looked for the key first, inside this transaction."""

    def replace_intent(self, before: IntentRecord, after: IntentRecord) -> bool:
        """Write ``after`` if the row still has the state, token and version of ``before``; return whether it had."""

    def append_event(self, event: IntentEventRecord) -> None:
        """Append one row of history."""

    def events(self, intent_id: UUID) -> list[IntentEventRecord]:
        """Return an intent's history, oldest first."""


class LeaseTable(Protocol):
    """Leases of accounts."""

    def lease(self, account_id: UUID) -> LeaseRecord | None:
        """Return the lease, locked against other writers until this transaction ends."""

    def lock_account(self, account_id: UUID) -> None:
        """Let other writers of the account wait until this transaction ends, where the database does not do so anyway."""

    def put_lease(self, lease: LeaseRecord) -> None:
        """Insert or replace the lease."""


class OutboxTable(Protocol):
    """Pointers to hand over, and results to tell."""

    def add_outbox(self, account_id: UUID, intent_id: UUID, key: str, body: str, at: datetime) -> None:
        """Append a pointer."""

    def add_result(self, account_id: UUID, intent_id: UUID, body: str, at: datetime) -> None:
        """Append a result, if the account's gateway carries results."""

    def unpublished(self, account_id: UUID, limit: int = 100) -> list[OutboxRecord]:
        """Return the pointers that still have to be handed over, in order."""

    def unsent_results(self, account_id: UUID, limit: int = 100) -> list[OutboxRecord]:
        """Return the results that still have to be sent, in order."""

    def mark_published(self, outbox_id: int, at: datetime) -> None:
        """Note that a pointer or a result was handed over."""

    def mark_relayed(self, outbox_ids: Sequence[int], at: datetime) -> None:
        """Note that a message broker has these; the transaction need not survive a crash, they are handed over again then."""

    def reopen_outbox(self, intent_id: UUID) -> None:
        """Put the intent's pointer back: it has to be handed over again."""


class BookTable(Protocol):
    """Orders, deals, trades and links."""

    def insert_order(self, order: OrderRecord) -> None:
        """Insert what is about to be sent."""

    def update_order(self, intent_id: UUID, attempt: int, changes: Mapping[str, Any]) -> None:
        """Write the platform's answer to what was sent."""

    def orders(self, intent_id: UUID) -> list[OrderRecord]:
        """Return what was sent for an intent, by attempt."""

    def add_platform_event(self, event: PlatformEventRecord) -> bool:
        """Insert unless the account already has this kind and id; return whether it was new."""

    def deal_bodies(self, account_id: UUID, position_id: str) -> list[str]:
        """Return the stored deals of a position, oldest first."""

    def known_deals(self, account_id: UUID, deal_ids: Collection[str]) -> set[str]:
        """Return which of these deals are stored already."""

    def trade_of_position(self, account_id: UUID, position_id: str) -> TradeRecord | None:
        """Return the trade of a position."""

    def trades_of_intent(self, intent_id: UUID) -> list[TradeRecord]:
        """Return the trades an intent opened."""

    def open_trades(self, account_id: UUID) -> list[TradeRecord]:
        """Return the account's open trades, oldest first."""

    def trades_closed_since(self, account_id: UUID, since: datetime) -> list[TradeRecord]:
        """Return the account's trades closed at or after a moment of the platform, in the order of their exits."""

    def entries_sent_since(self, account_id: UUID, since: datetime) -> int:
        """Return how many entries were sent after a moment of the platform's clock."""

    def last_exit(self, live_run_id: UUID, symbol: str) -> datetime | None:
        """Return when the run last closed a position of the symbol."""

    def put_trade(self, trade: TradeRecord) -> None:
        """Insert or replace a trade."""

    def add_link(self, link: LinkRecord) -> None:
        """Link a trade to its run, once."""

    def links(self, live_run_id: UUID) -> list[LinkRecord]:
        """Return a run's links, oldest first."""


class FactTable(Protocol):
    """Accounts, runs, guardrail trips, equity marks and what people are told."""

    def account(self, account_id: UUID) -> AccountRecord | None:
        """Return an account."""

    def may_act(self, account_id: UUID, principal: Principal) -> bool:
        """Whether the principal owns the account or holds a grant that is not revoked."""

    def set_halt(self, account_id: UUID, at: datetime | None, by: str, reason: str) -> None:
        """Set or lift the kill switch."""

    def set_synced_until(self, account_id: UUID, until: datetime) -> None:
        """Note up to when the platform's history has been read completely."""

    def run(self, live_run_id: UUID) -> RunRecord | None:
        """Return a run."""

    def add_realised(self, live_run_id: UUID, amount: Decimal, fills: int, at: datetime) -> None:
        """Add what trades of the run have booked, and count its fills."""

    def standing_trips(self, account_id: UUID, now: datetime) -> list[TripRecord]:
        """Return trips that have not ended at that platform time, oldest first; those somebody has reset included."""

    def put_trip(self, trip: TripRecord) -> None:
        """Insert or replace a trip."""

    def equity_mark(self, account_id: UUID, scope: str) -> EquityMarkRecord | None:
        """Return the latest mark of a scope."""

    def put_equity_mark(self, mark: EquityMarkRecord) -> None:
        """Insert or replace the mark of its day."""

    def add_run_event(self, event: RunEventRecord) -> None:
        """Append what people are told."""

    def add_audit(self, at: datetime, principal: Principal, action: str, subject: str, detail: str) -> None:
        """Append to the audit chain."""


class Transaction(IntentTable, LeaseTable, OutboxTable, BookTable, FactTable, Protocol):
    """One transaction; leaving its block rolls back, only `commit` keeps."""

    def commit(self) -> None:
        """Make everything durable."""


class IntentStore(Protocol):
    """Where execution keeps its rows."""

    def begin(self, principal: Principal, *, write: bool = True) -> AbstractContextManager[Transaction]:
        """Open a transaction; a writing one excludes other writers of the account from its start."""


__all__ = ["BookTable", "FactTable", "IntentStore", "IntentTable", "LeaseTable", "OutboxTable", "Transaction"]

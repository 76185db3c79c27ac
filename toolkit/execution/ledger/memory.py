"""A store in memory: the paper ledger of tests and simulations, with the same rules as the database.

One writing transaction at a time; leaving its block without `commit` undoes it from an undo log. Nothing survives the
process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from threading import RLock
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from toolkit.errors import LostRace, NotFound, StoreError
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import (
    POINTERS,
    RESULTS,
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


class MemoryStore:
    """Rows in dicts; see `toolkit.execution.ledger.store.IntentStore`."""

    def __init__(self) -> None:
        self.intents: dict[UUID, IntentRecord] = {}
        self.keys: dict[tuple[UUID, str], UUID] = {}
        self.tags: dict[tuple[UUID, str], UUID] = {}
        self.intent_events: dict[UUID, list[IntentEventRecord]] = {}
        self.leases: dict[UUID, LeaseRecord] = {}
        self.outbox: dict[int, OutboxRecord] = {}
        self.orders: dict[tuple[UUID, int], OrderRecord] = {}
        self.platform_events: dict[tuple[UUID, str, str], PlatformEventRecord] = {}
        self.trades: dict[UUID, TradeRecord] = {}
        self.links: dict[UUID, LinkRecord] = {}
        self.accounts: dict[UUID, AccountRecord] = {}
        self.grants: set[tuple[UUID, UUID]] = set()
        self.runs: dict[UUID, RunRecord] = {}
        self.trips: dict[UUID, TripRecord] = {}
        self.marks: dict[tuple[UUID, str, datetime], EquityMarkRecord] = {}
        self.run_events: dict[int, RunEventRecord] = {}
        self.audit: dict[int, tuple[datetime, str, str, str, str]] = {}
        self.commits = 0
        self.lock = RLock()
        self._next = 0

    def begin(self, principal: Principal, *, write: bool = True) -> MemoryTransaction:
        """Open a transaction; writers wait for each other."""
        return MemoryTransaction(self, write=write)

    def add_account(self, account: AccountRecord) -> None:
        """Register an account, outside any transaction; what `toolkit.live` does in the database."""
        self.accounts[account.account_id] = account

    def add_run(self, run: RunRecord) -> None:
        """Register a run, outside any transaction."""
        self.runs[run.live_run_id] = run

    def next_id(self) -> int:
        """Return a number that was not used before, as a database sequence does; gaps stay."""
        self._next += 1
        return self._next


class MemoryTransaction:
    """One transaction over a `MemoryStore`; see `toolkit.execution.ledger.store.Transaction`."""

    def __init__(self, store: MemoryStore, *, write: bool) -> None:
        self._s = store
        self._write = write
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        self._s.lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        finally:
            self._s.lock.release()

    def commit(self) -> None:
        """Keep everything done so far."""
        self._undo.clear()
        if self._write:
            self._s.commits += 1

    def close(self) -> None:
        """Undo what was not committed."""
        while self._undo:
            self._undo.pop()()

    def _set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        if not self._write:
            raise StoreError("a reading transaction cannot write: open it with write=True")
        if key in table:
            old = table[key]
            self._undo.append(lambda: table.__setitem__(key, old))
        else:
            self._undo.append(lambda: table.__delitem__(key))
        table[key] = value

    # intents
    def intent(self, intent_id: UUID) -> IntentRecord | None:
        """Return one intent."""
        return self._s.intents.get(intent_id)

    def intent_by_key(self, account_id: UUID, key: str) -> IntentRecord | None:
        """Return the intent of an idempotency key."""
        found = self._s.keys.get((account_id, key))
        return None if found is None else self._s.intents[found]

    def intents_by_tag(
        self, account_id: UUID, tags: Collection[str], magics: Collection[int] = ()
    ) -> list[IntentRecord]:
        """Return the intents that carry one of the client tags or magics."""
        return [
            i
            for i in self._s.intents.values()
            if (i.client_tag in tags or i.magic in magics) and i.account_id == account_id
        ]

    def intents_in(self, account_id: UUID, states: Collection[IntentState]) -> list[IntentRecord]:
        """Return the account's intents in these states, oldest first."""
        return [i for i in self._s.intents.values() if i.state in states and i.account_id == account_id]

    def insert_intent(self, intent: IntentRecord) -> None:
        """Insert a row; a key or tag used before is refused, as by the unique constraint."""
        key = (intent.account_id, intent.idempotency_key)
        tag = (intent.account_id, intent.client_tag)
        if intent.intent_id in self._s.intents or key in self._s.keys or tag in self._s.tags:
            raise LostRace(f"intent {intent.idempotency_key} was written by somebody else meanwhile")
        self._set(self._s.intents, intent.intent_id, intent)
        self._set(self._s.keys, key, intent.intent_id)
        self._set(self._s.tags, tag, intent.intent_id)

    def replace_intent(self, before: IntentRecord, after: IntentRecord) -> bool:
        """Compare state, token and version, then set."""
        now = self._s.intents.get(before.intent_id)
        if now is None or (now.state, now.token, now.version) != (before.state, before.token, before.version):
            return False
        self._set(self._s.intents, after.intent_id, after)
        return True

    def append_event(self, event: IntentEventRecord) -> None:
        """Append one row of history."""
        rows = self._s.intent_events.get(event.intent_id, [])
        if any(row.seq == event.seq for row in rows):
            raise StoreError(f"event {event.seq} of intent {event.intent_id} exists already")
        self._set(self._s.intent_events, event.intent_id, [*rows, event])

    def events(self, intent_id: UUID) -> list[IntentEventRecord]:
        """Return an intent's history, oldest first."""
        return list(self._s.intent_events.get(intent_id, []))

    # leases
    def lease(self, account_id: UUID) -> LeaseRecord | None:
        """Return the lease."""
        return self._s.leases.get(account_id)

    def lock_account(self, account_id: UUID) -> None:
        """Do nothing: there is one writer at a time."""

    def put_lease(self, lease: LeaseRecord) -> None:
        """Insert or replace the lease."""
        self._set(self._s.leases, lease.account_id, lease)

    # outbox
    def add_outbox(self, account_id: UUID, intent_id: UUID, key: str, body: str, at: datetime) -> None:
        """Append a pointer."""
        self._add_outbox(POINTERS, account_id, intent_id, key, body, at)

    def add_result(self, account_id: UUID, intent_id: UUID, body: str, at: datetime) -> None:
        """Append a result, if the account's gateway carries results."""
        account = self._s.accounts.get(account_id)
        if account is not None and account.gateway == "kafka":
            self._add_outbox(RESULTS, account_id, intent_id, "", body, at)

    def unpublished(self, account_id: UUID, limit: int = 100) -> list[OutboxRecord]:
        """Return the pointers that still have to be handed over, in order."""
        return self._waiting(account_id, POINTERS)[:limit]

    def unsent_results(self, account_id: UUID, limit: int = 100) -> list[OutboxRecord]:
        """Return the results that still have to be sent, in order."""
        return self._waiting(account_id, RESULTS)[:limit]

    def mark_published(self, outbox_id: int, at: datetime) -> None:
        """Note that a pointer or a result was handed over."""
        row = self._s.outbox[outbox_id]
        self._set(self._s.outbox, outbox_id, replace(row, published_at=at, publish_count=row.publish_count + 1))

    def mark_relayed(self, outbox_ids: Sequence[int], at: datetime) -> None:
        """Note that a message broker has these."""
        for outbox_id in outbox_ids:
            self.mark_published(outbox_id, at)

    def reopen_outbox(self, intent_id: UUID) -> None:
        """Put the intent's pointer back."""
        for number, row in self._s.outbox.items():
            if row.intent_id == intent_id and row.topic == POINTERS and row.published_at is not None:
                self._set(self._s.outbox, number, replace(row, published_at=None))

    def _add_outbox(self, topic: str, account_id: UUID, intent_id: UUID, key: str, body: str, at: datetime) -> None:
        number = self._s.next_id()
        row = OutboxRecord(
            outbox_id=number,
            account_id=account_id,
            intent_id=intent_id,
            topic=topic,
            idempotency_key=key,
            body=body,
            created_at=at,
        )
        self._set(self._s.outbox, number, row)

    def _waiting(self, account_id: UUID, topic: str) -> list[OutboxRecord]:
        rows = [r for r in self._s.outbox.values() if r.account_id == account_id and r.topic == topic]
        return sorted((r for r in rows if r.published_at is None), key=lambda r: r.outbox_id)

    # book
    def insert_order(self, order: OrderRecord) -> None:
        """Insert what is about to be sent."""
        key = (order.intent_id, order.attempt)
        if key in self._s.orders:
            raise StoreError(f"attempt {order.attempt} of intent {order.intent_id} is recorded already")
        self._set(self._s.orders, key, order)

    def update_order(self, intent_id: UUID, attempt: int, changes: Mapping[str, Any]) -> None:
        """Write the platform's answer to what was sent."""
        row = self._s.orders.get((intent_id, attempt))
        if row is not None:
            self._set(self._s.orders, (intent_id, attempt), replace(row, **changes))

    def orders(self, intent_id: UUID) -> list[OrderRecord]:
        """Return what was sent for an intent, by attempt."""
        return sorted((o for o in self._s.orders.values() if o.intent_id == intent_id), key=lambda o: o.attempt)

    def add_platform_event(self, event: PlatformEventRecord) -> bool:
        """Insert unless it is known."""
        key = (event.account_id, event.kind, event.platform_id)
        if key in self._s.platform_events:
            return False
        self._set(self._s.platform_events, key, event)
        return True

    def deal_bodies(self, account_id: UUID, position_id: str) -> list[str]:
        """Return the stored deals of a position, oldest first."""
        return [
            e.body_json
            for e in self._s.platform_events.values()
            if e.position_id == position_id and e.kind == "deal" and e.account_id == account_id
        ]

    def known_deals(self, account_id: UUID, deal_ids: Collection[str]) -> set[str]:
        """Return which of these deals are stored already."""
        return {d for d in deal_ids if (account_id, "deal", d) in self._s.platform_events}

    def trade_of_position(self, account_id: UUID, position_id: str) -> TradeRecord | None:
        """Return the trade of a position."""
        for trade in self._s.trades.values():
            if trade.position_id == position_id and trade.account_id == account_id:
                return trade
        return None

    def trades_of_intent(self, intent_id: UUID) -> list[TradeRecord]:
        """Return the trades an intent opened."""
        return [t for t in self._s.trades.values() if t.intent_id == intent_id]

    def open_trades(self, account_id: UUID) -> list[TradeRecord]:
        """Return the account's open trades, oldest first."""
        return [t for t in self._s.trades.values() if t.status == "open" and t.account_id == account_id]

    def trades_closed_since(self, account_id: UUID, since: datetime) -> list[TradeRecord]:
        """Return the account's trades closed at or after a moment of the platform, in the order of their exits."""
        closed = [
            (t.exit_time, t.updated_at, t.entry_time, t)
            for t in self._s.trades.values()
            if t.account_id == account_id and t.status == "closed" and t.exit_time is not None and t.exit_time >= since
        ]
        return [t for *_, t in sorted(closed, key=lambda row: row[:3])]

    def entries_sent_since(self, account_id: UUID, since: datetime) -> int:
        """Return how many entries were sent after a moment of the platform's clock."""
        return sum(
            1
            for o in self._s.orders.values()
            if o.sent_at > since and o.action.is_entry and o.outcome != "NOT_SENT" and o.account_id == account_id
        )

    def last_exit(self, live_run_id: UUID, symbol: str) -> datetime | None:
        """Return when the run last closed a position of the symbol."""
        times = [
            t.exit_time
            for t in self._s.trades.values()
            if t.live_run_id == live_run_id and t.symbol == symbol and t.exit_time is not None and t.status == "closed"
        ]
        return max(times, default=None)

    def put_trade(self, trade: TradeRecord) -> None:
        """Insert or replace a trade; a position has one trade."""
        other = self.trade_of_position(trade.account_id, trade.position_id)
        if other is not None and other.trade_id != trade.trade_id:
            raise StoreError(f"position {trade.position_id} has trade {other.trade_id} already")
        self._set(self._s.trades, trade.trade_id, trade)

    def add_link(self, link: LinkRecord) -> None:
        """Link a trade to its run, once."""
        if link.trade_id not in self._s.links:
            self._set(self._s.links, link.trade_id, link)

    def links(self, live_run_id: UUID) -> list[LinkRecord]:
        """Return a run's links, oldest first."""
        return [link for link in self._s.links.values() if link.live_run_id == live_run_id]

    # facts
    def account(self, account_id: UUID) -> AccountRecord | None:
        """Return an account."""
        return self._s.accounts.get(account_id)

    def may_act(self, account_id: UUID, principal: Principal) -> bool:
        """Whether the principal owns the account or holds a grant."""
        account = self._s.accounts.get(account_id)
        if account is None:
            return False
        return account.owner_id == principal.user_id or (account_id, principal.user_id) in self._s.grants

    def set_halt(self, account_id: UUID, at: datetime | None, by: str, reason: str) -> None:
        """Set or lift the kill switch."""
        account = self._known_account(account_id)
        self._set(self._s.accounts, account_id, replace(account, halted_at=at, halt_reason=reason))

    def set_synced_until(self, account_id: UUID, until: datetime) -> None:
        """Note up to when the platform's history has been read completely."""
        self._set(self._s.accounts, account_id, replace(self._known_account(account_id), book_synced_until=until))

    def run(self, live_run_id: UUID) -> RunRecord | None:
        """Return a run."""
        return self._s.runs.get(live_run_id)

    def add_realised(self, live_run_id: UUID, amount: Decimal, fills: int, at: datetime) -> None:
        """Add what trades of the run have booked."""
        run = self._s.runs.get(live_run_id)
        if run is None:
            raise NotFound(f"run {live_run_id} does not exist")
        self._set(self._s.runs, live_run_id, replace(run, realised=run.realised + amount))

    def standing_trips(self, account_id: UUID, now: datetime) -> list[TripRecord]:
        """Return trips that have not ended at that platform time, oldest first; those somebody has reset included."""
        standing = [
            t for t in self._s.trips.values() if t.account_id == account_id and (t.until is None or t.until > now)
        ]
        return sorted(standing, key=lambda t: t.tripped_at)

    def put_trip(self, trip: TripRecord) -> None:
        """Insert or replace a trip."""
        self._set(self._s.trips, trip.trip_id, trip)

    def equity_mark(self, account_id: UUID, scope: str) -> EquityMarkRecord | None:
        """Return the latest mark of a scope."""
        rows = [m for (a, s, _), m in self._s.marks.items() if a == account_id and s == scope]
        return max(rows, key=lambda m: m.day, default=None)

    def put_equity_mark(self, mark: EquityMarkRecord) -> None:
        """Insert or replace the mark of its day."""
        self._set(self._s.marks, (mark.account_id, mark.scope, mark.day), mark)

    def add_run_event(self, event: RunEventRecord) -> None:
        """Append what people are told."""
        self._set(self._s.run_events, self._s.next_id(), event)

    def add_audit(self, at: datetime, principal: Principal, action: str, subject: str, detail: str) -> None:
        """Append to the audit chain."""
        self._set(self._s.audit, self._s.next_id(), (at, principal.name, action, subject, detail))

    def _known_account(self, account_id: UUID) -> AccountRecord:
        account = self._s.accounts.get(account_id)
        if account is None:
            raise NotFound(f"account {account_id} does not exist")
        return account

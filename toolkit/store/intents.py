"""The execution store in the database: `toolkit.execution.ledger.store.IntentStore` on SQLite and PostgreSQL.

Records and tables have the same field names, so mapping is by name. Statements are built once, at import.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine, Select, Table, bindparam, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import IntegrityError

from toolkit.errors import NotFound, StoreError
from toolkit.execution.intents import Action, IntentState
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
from toolkit.market import Side
from toolkit.store import audit, models
from toolkit.store.unit_of_work import UnitOfWork

R = TypeVar("R")


def _table(model: type[models.Base]) -> Table:
    table = model.__table__
    if not isinstance(table, Table):  # pragma: no cover - declarative models always map tables here
        raise TypeError(f"{model.__name__} does not map a table")
    return table


INTENTS = _table(models.ExecutionIntent)
EVENTS = _table(models.IntentEvent)
LEASES = _table(models.AccountLease)
OUTBOX = _table(models.Outbox)
ORDERS = _table(models.Order)
PLATFORM_EVENTS = _table(models.PlatformEvent)
TRADES = _table(models.Trade)
LINKS = _table(models.LiveRunTradeLink)
ACCOUNTS = _table(models.Account)
GRANTS = _table(models.AccountGrant)
RUNS = _table(models.LiveRun)
TRIPS = _table(models.GuardrailTrip)
MARKS = _table(models.EquityMark)
RUN_EVENTS = _table(models.RunEvent)

_ENUMS: dict[str, type[Action] | type[Side] | type[IntentState]] = {"action": Action, "side": Side, "state": IntentState}


_FIELDS: dict[type[Any], tuple[str, ...]] = {}
_ENUM_FIELDS: dict[type[Any], tuple[str, ...]] = {}
_SELECTS: dict[type[Any], Select[Any]] = {}


def _names(record: type[Any]) -> tuple[str, ...]:
    names = _FIELDS.get(record)
    if names is None:
        names = _FIELDS[record] = tuple(f.name for f in fields(record))
    return names


def _enum_names(record: type[Any]) -> tuple[str, ...]:
    names = _ENUM_FIELDS.get(record)
    if names is None:
        names = _ENUM_FIELDS[record] = tuple(n for n in _names(record) if n in _ENUMS)
    return names


def _select(table: Table, record: type[Any]) -> Select[Any]:
    query = _SELECTS.get(record)
    if query is None:
        query = _SELECTS[record] = select(*(table.c[name] for name in _names(record)))
    return query


def _to_record(record: type[R], row: Any) -> R:
    values = dict(row._mapping)
    for name in _enum_names(record):
        values[name] = _ENUMS[name](values[name])
    return record(**values)


def _to_row(record: Any) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _names(type(record))}
    for name in _enum_names(type(record)):
        values[name] = values[name].value
    for name in ("terms", "data"):
        if name in values:
            values[name] = dict(values[name])
    return values


class SqlIntentStore:
    """Opens transactions of execution on a database; see `toolkit.execution.ledger.store.IntentStore`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def begin(self, principal: Principal, *, write: bool = True) -> Iterator[SqlTransaction]:
        """Open a transaction; on SQLite a writing one holds the write lock from its start."""
        with UnitOfWork(self.engine, principal, write=write) as work:
            yield SqlTransaction(work)


class SqlTransaction:
    """Execution's tables inside one unit of work; see `toolkit.execution.ledger.store.Transaction`."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    @property
    def _db(self) -> Connection:
        return self._work.connection

    def commit(self) -> None:
        """Make everything durable."""
        self._work.commit()

    def _one(self, record: type[R], query: Select[Any]) -> R | None:
        row = self._db.execute(query).first()
        return None if row is None else _to_record(record, row)

    def _all(self, record: type[R], query: Select[Any]) -> list[R]:
        return [_to_record(record, row) for row in self._db.execute(query)]

    def _insert(self, table: Table, values: Mapping[str, Any]) -> None:
        try:
            self._db.execute(insert(table), dict(values))
        except IntegrityError as error:
            raise StoreError(f"a row of {table.name} breaks a rule of the database: {error.orig}") from error

    def _upsert(self, table: Table, keys: tuple[str, ...], values: Mapping[str, Any]) -> None:
        make = pg_insert if self._db.dialect.name == "postgresql" else sqlite_insert
        statement = make(table).values(dict(values))
        changed = {name: statement.excluded[name] for name in values if name not in keys}
        self._db.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=changed))

    def _insert_new(self, table: Table, keys: tuple[str, ...], values: Mapping[str, Any]) -> bool:
        make = pg_insert if self._db.dialect.name == "postgresql" else sqlite_insert
        # RETURNING, because the row count of such an insert is not reported by every driver
        statement = make(table).on_conflict_do_nothing(index_elements=list(keys)).returning(table.c[keys[0]])
        return self._db.execute(statement, dict(values)).first() is not None

    # intents
    def intent(self, intent_id: UUID) -> IntentRecord | None:
        """Return one intent."""
        return self._one(IntentRecord, _select(INTENTS, IntentRecord).where(INTENTS.c.intent_id == intent_id))

    def intent_by_key(self, account_id: UUID, key: str) -> IntentRecord | None:
        """Return the intent of an idempotency key."""
        query = _select(INTENTS, IntentRecord).where(
            INTENTS.c.account_id == account_id, INTENTS.c.idempotency_key == key
        )
        return self._one(IntentRecord, query)

    def intents_by_tag(
        self, account_id: UUID, tags: Collection[str], magics: Collection[int] = ()
    ) -> list[IntentRecord]:
        """Return the intents that carry one of the client tags or magics."""
        if not tags and not magics:
            return []
        query = _select(INTENTS, IntentRecord).where(
            INTENTS.c.account_id == account_id,
            or_(INTENTS.c.client_tag.in_(list(tags)), INTENTS.c.magic.in_(list(magics))),
        )
        return self._all(IntentRecord, query)

    def intents_in(self, account_id: UUID, states: Collection[IntentState]) -> list[IntentRecord]:
        """Return the account's intents in these states, oldest first."""
        query = (
            _select(INTENTS, IntentRecord)
            .where(INTENTS.c.account_id == account_id, INTENTS.c.state.in_(sorted(s.value for s in states)))
            .order_by(INTENTS.c.created_at, INTENTS.c.intent_id)
        )
        return self._all(IntentRecord, query)

    def insert_intent(self, intent: IntentRecord) -> None:
        """Insert a row."""
        self._insert(INTENTS, _to_row(intent))

    def replace_intent(self, before: IntentRecord, after: IntentRecord) -> bool:
        """Compare state, token and version, then set, in one statement."""
        changed = {
            name: getattr(after, name) for name in _names(IntentRecord) if getattr(after, name) != getattr(before, name)
        }
        if "state" in changed:
            changed["state"] = changed["state"].value
        if "terms" in changed:
            changed["terms"] = dict(changed["terms"])
        statement = (
            update(INTENTS)
            .where(
                INTENTS.c.intent_id == bindparam("b_id"),
                INTENTS.c.state == bindparam("b_state"),
                INTENTS.c.token == bindparam("b_token"),
                INTENTS.c.version == bindparam("b_version"),
            )
            .values({name: bindparam(name) for name in changed})
        )
        compared = {
            "b_id": before.intent_id,
            "b_state": before.state.value,
            "b_token": before.token,
            "b_version": before.version,
        }
        return self._db.execute(statement, compared | changed).rowcount == 1

    def append_event(self, event: IntentEventRecord) -> None:
        """Append one row of history."""
        self._insert(EVENTS, _to_row(event))

    def events(self, intent_id: UUID) -> list[IntentEventRecord]:
        """Return an intent's history, oldest first."""
        query = _select(EVENTS, IntentEventRecord).where(EVENTS.c.intent_id == intent_id).order_by(EVENTS.c.seq)
        return self._all(IntentEventRecord, query)

    # leases
    def lease(self, account_id: UUID) -> LeaseRecord | None:
        """Return the lease, its row locked on PostgreSQL (SQLite's writer excludes all others anyway)."""
        query = _select(LEASES, LeaseRecord).where(LEASES.c.account_id == account_id)
        return self._one(LeaseRecord, query.with_for_update())

    def put_lease(self, lease: LeaseRecord) -> None:
        """Insert or replace the lease."""
        self._upsert(LEASES, ("account_id",), _to_row(lease))

    # outbox
    def add_outbox(self, account_id: UUID, intent_id: UUID, key: str, body: str, at: datetime) -> None:
        """Append a pointer."""
        self._insert(
            OUTBOX,
            {
                "account_id": account_id,
                "intent_id": intent_id,
                "idempotency_key": key,
                "body": body,
                "created_at": at,
                "topic": "trade.intents.v1",
                "publish_count": 0,
            },
        )

    def unpublished(self, account_id: UUID, limit: int = 100) -> list[OutboxRecord]:
        """Return what still has to be handed over, in order."""
        query = (
            _select(OUTBOX, OutboxRecord)
            .where(OUTBOX.c.account_id == account_id, OUTBOX.c.published_at.is_(None))
            .order_by(OUTBOX.c.outbox_id)
            .limit(limit)
        )
        return self._all(OutboxRecord, query)

    def mark_published(self, outbox_id: int, at: datetime) -> None:
        """Note that a pointer was handed over."""
        self._db.execute(
            update(OUTBOX)
            .where(OUTBOX.c.outbox_id == outbox_id)
            .values(published_at=at, publish_count=OUTBOX.c.publish_count + 1)
        )

    def reopen_outbox(self, intent_id: UUID) -> None:
        """Put the intent's pointer back: it has to be handed over again."""
        self._db.execute(update(OUTBOX).where(OUTBOX.c.intent_id == intent_id).values(published_at=None))

    # book
    def insert_order(self, order: OrderRecord) -> None:
        """Insert what is about to be sent."""
        self._insert(ORDERS, _to_row(order))

    def update_order(self, intent_id: UUID, attempt: int, changes: Mapping[str, Any]) -> None:
        """Write the platform's answer to what was sent."""
        self._db.execute(
            update(ORDERS).where(ORDERS.c.intent_id == intent_id, ORDERS.c.attempt == attempt).values(**changes)
        )

    def orders(self, intent_id: UUID) -> list[OrderRecord]:
        """Return what was sent for an intent, by attempt."""
        query = _select(ORDERS, OrderRecord).where(ORDERS.c.intent_id == intent_id).order_by(ORDERS.c.attempt)
        return self._all(OrderRecord, query)

    def add_platform_event(self, event: PlatformEventRecord) -> bool:
        """Insert unless the account already has this kind and id; return whether it was new."""
        return self._insert_new(PLATFORM_EVENTS, ("account_id", "kind", "platform_id"), _to_row(event))

    def deal_bodies(self, account_id: UUID, position_id: str) -> list[str]:
        """Return the stored deals of a position, oldest first."""
        query = (
            select(PLATFORM_EVENTS.c.body_json)
            .where(
                PLATFORM_EVENTS.c.account_id == account_id,
                PLATFORM_EVENTS.c.position_id == position_id,
                PLATFORM_EVENTS.c.kind == "deal",
            )
            .order_by(PLATFORM_EVENTS.c.event_id)
        )
        return list(self._db.execute(query).scalars())

    def known_deals(self, account_id: UUID, deal_ids: Collection[str]) -> set[str]:
        """Return which of these deals are stored already."""
        query = select(PLATFORM_EVENTS.c.platform_id).where(
            PLATFORM_EVENTS.c.account_id == account_id,
            PLATFORM_EVENTS.c.kind == "deal",
            PLATFORM_EVENTS.c.platform_id.in_(list(deal_ids)),
        )
        return set(self._db.execute(query).scalars())

    def trade_of_position(self, account_id: UUID, position_id: str) -> TradeRecord | None:
        """Return the trade of a position."""
        query = _select(TRADES, TradeRecord).where(
            TRADES.c.account_id == account_id, TRADES.c.position_id == position_id
        )
        return self._one(TradeRecord, query)

    def trades_of_intent(self, intent_id: UUID) -> list[TradeRecord]:
        """Return the trades an intent opened."""
        return self._all(TradeRecord, _select(TRADES, TradeRecord).where(TRADES.c.intent_id == intent_id))

    def open_trades(self, account_id: UUID) -> list[TradeRecord]:
        """Return the account's open trades, oldest first."""
        query = (
            _select(TRADES, TradeRecord)
            .where(TRADES.c.account_id == account_id, TRADES.c.status == "open")
            .order_by(TRADES.c.entry_time, TRADES.c.position_id)
        )
        return self._all(TradeRecord, query)

    def last_exit(self, live_run_id: UUID, symbol: str) -> datetime | None:
        """Return when the run last closed a position of the symbol."""
        query = (
            select(TRADES.c.exit_time)
            .where(TRADES.c.live_run_id == live_run_id, TRADES.c.symbol == symbol, TRADES.c.status == "closed")
            .order_by(TRADES.c.exit_time.desc())
            .limit(1)
        )
        return self._db.execute(query).scalar()

    def put_trade(self, trade: TradeRecord) -> None:
        """Insert or replace a trade; a position has one trade."""
        try:
            self._upsert(TRADES, ("trade_id",), _to_row(trade))
        except IntegrityError as error:
            raise StoreError(f"position {trade.position_id} has a trade already: {error.orig}") from error

    def add_link(self, link: LinkRecord) -> None:
        """Link a trade to its run, once."""
        self._insert_new(LINKS, ("trade_id",), _to_row(link))

    def links(self, live_run_id: UUID) -> list[LinkRecord]:
        """Return a run's links, oldest first."""
        query = _select(LINKS, LinkRecord).where(LINKS.c.live_run_id == live_run_id).order_by(LINKS.c.link_id)
        return self._all(LinkRecord, query)

    # facts
    def account(self, account_id: UUID) -> AccountRecord | None:
        """Return an account."""
        return self._one(AccountRecord, _select(ACCOUNTS, AccountRecord).where(ACCOUNTS.c.account_id == account_id))

    def may_act(self, account_id: UUID, principal: Principal) -> bool:
        """Whether the principal owns the account or holds a grant that is not revoked."""
        owns = select(ACCOUNTS.c.account_id).where(
            ACCOUNTS.c.account_id == account_id, ACCOUNTS.c.owner_id == principal.user_id
        )
        granted = select(GRANTS.c.account_id).where(
            GRANTS.c.account_id == account_id,
            GRANTS.c.user_id == principal.user_id,
            GRANTS.c.revoked_at.is_(None),
        )
        return self._db.execute(owns.union_all(granted).limit(1)).first() is not None

    def set_halt(self, account_id: UUID, at: datetime | None, by: str, reason: str) -> None:
        """Set or lift the kill switch."""
        self._db.execute(
            update(ACCOUNTS)
            .where(ACCOUNTS.c.account_id == account_id)
            .values(halted_at=at, halted_by=by, halt_reason=reason)
        )

    def set_synced_until(self, account_id: UUID, until: datetime) -> None:
        """Note up to when the platform's history has been read completely."""
        self._db.execute(
            update(ACCOUNTS).where(ACCOUNTS.c.account_id == account_id).values(book_synced_until=until)
        )

    def run(self, live_run_id: UUID) -> RunRecord | None:
        """Return a run."""
        return self._one(RunRecord, _select(RUNS, RunRecord).where(RUNS.c.live_run_id == live_run_id))

    def add_realised(self, live_run_id: UUID, amount: Decimal, fills: int, at: datetime) -> None:
        """Add what trades of the run have booked, and count its fills; added in Python, exactly, on a locked row."""
        row = self._db.execute(
            select(RUNS.c.realised, RUNS.c.fills_count).where(RUNS.c.live_run_id == live_run_id).with_for_update()
        ).first()
        if row is None:
            raise NotFound(f"run {live_run_id} does not exist")
        self._db.execute(
            update(RUNS)
            .where(RUNS.c.live_run_id == live_run_id)
            .values(realised=row.realised + amount, fills_count=row.fills_count + fills, last_action_at=at)
        )

    def trips_in_force(self, account_id: UUID, now: datetime) -> list[TripRecord]:
        """Return trips that still deny entries at that platform time."""
        query = _select(TRIPS, TripRecord).where(
            TRIPS.c.account_id == account_id,
            TRIPS.c.reset_at.is_(None),
            or_(TRIPS.c.until.is_(None), TRIPS.c.until > now),
        )
        return self._all(TripRecord, query)

    def put_trip(self, trip: TripRecord) -> None:
        """Insert or replace a trip."""
        self._upsert(TRIPS, ("trip_id",), _to_row(trip))

    def equity_mark(self, account_id: UUID, scope: str) -> EquityMarkRecord | None:
        """Return the latest mark of a scope."""
        query = (
            _select(MARKS, EquityMarkRecord)
            .where(MARKS.c.account_id == account_id, MARKS.c.scope == scope)
            .order_by(MARKS.c.day.desc())
            .limit(1)
        )
        return self._one(EquityMarkRecord, query)

    def put_equity_mark(self, mark: EquityMarkRecord) -> None:
        """Insert or replace the mark of its day."""
        self._upsert(MARKS, ("account_id", "scope", "day"), _to_row(mark))

    def add_run_event(self, event: RunEventRecord) -> None:
        """Append what people are told."""
        self._insert(RUN_EVENTS, _to_row(event))

    def add_audit(self, at: datetime, principal: Principal, action: str, subject: str, detail: str) -> None:
        """Append to the audit chain."""
        audit.append(self._db, at, principal, action, subject, detail)


__all__ = ["SqlIntentStore", "SqlTransaction"]

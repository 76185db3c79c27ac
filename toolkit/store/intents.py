"""The execution store in the database: `toolkit.execution.ledger.store.IntentStore` on SQLite and PostgreSQL.

Records and tables have the same field names, so mapping is by name. Statements are compiled once (see `statements`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ClauseElement,
    Dialect,
    Engine,
    Select,
    Table,
    bindparam,
    func,
    literal,
    or_,
    select,
)

from toolkit.errors import LostRace, NotFound, StoreError
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.records import (
    AccountRecord,
    EquityMarkRecord,
    IntentEventRecord,
    IntentRecord,
    LeaseRecord,
    LinkRecord,
    OrderRecord,
    PlatformEventRecord,
    RunEventRecord,
    RunRecord,
    TradeRecord,
    TripRecord,
)
from toolkit.execution.principal import Principal
from toolkit.store.outbox import OutboxTables
from toolkit.store.people import audit
from toolkit.store.sql import models
from toolkit.store.sql.rows import changed_row, equals, select_by, statement, to_row
from toolkit.store.sql.unit_of_work import UnitOfWork


def _table(model: type[models.Base]) -> Table:
    table = model.__table__
    if not isinstance(table, Table):  # pragma: no cover - declarative models always map tables here
        raise TypeError(f"{model.__name__} does not map a table")
    return table


INTENTS = _table(models.ExecutionIntent)
EVENTS = _table(models.IntentEvent)
LEASES = _table(models.AccountLease)
ORDERS = _table(models.Order)
PLATFORM_EVENTS = _table(models.PlatformEvent)
TRADES = _table(models.Trade)
LINKS = _table(models.LiveRunTradeLink)
ACCOUNTS = _table(models.Account)
GRANTS = _table(models.AccountGrant)
USERS = _table(models.User)
RUNS = _table(models.LiveRun)
TRIPS = _table(models.GuardrailTrip)
MARKS = _table(models.EquityMark)
RUN_EVENTS = _table(models.RunEvent)


class SqlIntentStore:
    """Opens transactions of execution on a database; see `toolkit.execution.ledger.store.IntentStore`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def begin(self, principal: Principal, *, write: bool = True) -> Iterator[SqlTransaction]:
        """Open a transaction; on SQLite a writing one holds the write lock from its start."""
        with UnitOfWork(self.engine, principal, write=write) as work:
            yield SqlTransaction(work)


class SqlTransaction(OutboxTables):
    """Execution's tables inside one unit of work; see `toolkit.execution.ledger.store.Transaction`."""

    def commit(self) -> None:
        """Make everything durable."""
        self._work.commit()

    # intents
    def intent(self, intent_id: UUID) -> IntentRecord | None:
        """Return one intent."""
        return self._one(IntentRecord, INTENTS, intent_id=intent_id)

    def intent_by_key(self, account_id: UUID, key: str) -> IntentRecord | None:
        """Return the intent of an idempotency key."""
        return self._one(IntentRecord, INTENTS, account_id=account_id, idempotency_key=key)

    def intents_by_tag(
        self, account_id: UUID, tags: Collection[str], magics: Collection[int] = ()
    ) -> list[IntentRecord]:
        """Return the intents that carry one of the client tags or magics."""
        if not tags and not magics:
            return []
        query = (
            select(INTENTS.c.intent_id)
            .where(INTENTS.c.account_id == account_id)
            .where(or_(INTENTS.c.client_tag.in_(list(tags)), INTENTS.c.magic.in_(list(magics))))
        )
        found = (self.intent(intent_id) for intent_id in self._db.execute(query).scalars().all())
        return [intent for intent in found if intent is not None]

    def intents_in(self, account_id: UUID, states: Collection[IntentState]) -> list[IntentRecord]:
        """Return the account's intents in these states, oldest first."""
        wanted = tuple(sorted(s.value for s in states))

        def query() -> Select[Any]:
            # one comparison per state, because a list of changing length cannot be compiled once
            anyone = or_(*(INTENTS.c.state == literal(state) for state in wanted))
            found = select_by(INTENTS, IntentRecord, "account_id").where(anyone)
            return found.order_by(INTENTS.c.created_at, INTENTS.c.intent_id)

        return self._all(IntentRecord, ("intents_in", wanted), query, account_id=account_id) if wanted else []

    def insert_intent(self, intent: IntentRecord) -> None:
        """Insert a row.

        Raises
        ------
        LostRace
            When another process wrote the same intent since its key was looked for; PostgreSQL lets both look at once.
        """
        try:
            self._insert(INTENTS, to_row(intent))
        except StoreError as error:
            if _is_taken(error.__cause__):
                raise LostRace(f"intent {intent.idempotency_key} was written by another process meanwhile") from error
            raise

    def replace_intent(self, before: IntentRecord, after: IntentRecord) -> bool:
        """Compare state, token and version, then set, in one statement."""
        where = {
            "intent_id": before.intent_id,
            "state": before.state.value,
            "token": before.token,
            "version": before.version,
        }
        return self._update(INTENTS, where, changed_row(before, after)) == 1

    def append_event(self, event: IntentEventRecord) -> None:
        """Append one row of history."""
        self._insert(EVENTS, to_row(event))

    def events(self, intent_id: UUID) -> list[IntentEventRecord]:
        """Return an intent's history, oldest first."""
        return self._all(
            IntentEventRecord,
            "events",
            lambda: select_by(EVENTS, IntentEventRecord, "intent_id").order_by(EVENTS.c.seq),
            intent_id=intent_id,
        )

    # leases
    def lease(self, account_id: UUID) -> LeaseRecord | None:
        """Return the lease, its row locked on PostgreSQL (SQLite's writer excludes all others anyway)."""
        return self._one(LeaseRecord, LEASES, lock=True, account_id=account_id)

    def lock_account(self, account_id: UUID) -> None:
        """Lock the lease's row on PostgreSQL; everybody takes it first, so two workers cannot wait for each other."""
        if self._db.dialect.name != "sqlite":
            self.lease(account_id)

    def put_lease(self, lease: LeaseRecord) -> None:
        """Insert or replace the lease."""
        self._upsert(LEASES, ("account_id",), to_row(lease))

    # book
    def insert_order(self, order: OrderRecord) -> None:
        """Insert what is about to be sent."""
        self._insert(ORDERS, to_row(order))

    def update_order(self, intent_id: UUID, attempt: int, changes: Mapping[str, Any]) -> None:
        """Write the platform's answer to what was sent."""
        self._update(ORDERS, {"intent_id": intent_id, "attempt": attempt}, changes)

    def orders(self, intent_id: UUID) -> list[OrderRecord]:
        """Return what was sent for an intent, by attempt."""
        return self._all(
            OrderRecord,
            "orders",
            lambda: select_by(ORDERS, OrderRecord, "intent_id").order_by(ORDERS.c.attempt),
            intent_id=intent_id,
        )

    def add_platform_event(self, event: PlatformEventRecord) -> bool:
        """Insert unless the account already has this kind and id; return whether it was new."""
        return self._insert_new(PLATFORM_EVENTS, ("account_id", "kind", "platform_id"), to_row(event))

    def deal_bodies(self, account_id: UUID, position_id: str) -> list[str]:
        """Return the stored deals of a position, oldest first."""
        query = statement(
            "deal_bodies",
            lambda _d: (
                select(PLATFORM_EVENTS.c.body_json)
                .where(
                    *equals(PLATFORM_EVENTS, ("account_id", "position_id")), PLATFORM_EVENTS.c.kind == literal("deal")
                )
                .order_by(PLATFORM_EVENTS.c.event_id)
            ),
        )
        return [row[0] for row in query.rows(self._db, {"account_id": account_id, "position_id": position_id})]

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
        return self._one(TradeRecord, TRADES, account_id=account_id, position_id=position_id)

    def trades_of_intent(self, intent_id: UUID) -> list[TradeRecord]:
        """Return the trades an intent opened."""
        return self._all(
            TradeRecord, "trades_of_intent", lambda: select_by(TRADES, TradeRecord, "intent_id"), intent_id=intent_id
        )

    def open_trades(self, account_id: UUID) -> list[TradeRecord]:
        """Return the account's open trades, oldest first."""
        return self._all(
            TradeRecord,
            "open_trades",
            lambda: (
                select_by(TRADES, TradeRecord, "account_id")
                .where(TRADES.c.status == literal("open"))
                .order_by(TRADES.c.entry_time, TRADES.c.position_id)
            ),
            account_id=account_id,
        )

    def trades_closed_since(self, account_id: UUID, since: datetime) -> list[TradeRecord]:
        """Return the account's trades closed at or after a moment of the platform, in the order of their exits."""
        return self._all(
            TradeRecord,
            "trades_closed_since",
            lambda: (
                select_by(TRADES, TradeRecord, "account_id")
                .where(
                    TRADES.c.status == literal("closed"),
                    TRADES.c.exit_time >= bindparam("since", type_=TRADES.c.exit_time.type),
                )
                .order_by(TRADES.c.exit_time, TRADES.c.updated_at, TRADES.c.entry_time)
            ),
            account_id=account_id,
            since=since,
        )

    def entries_sent_since(self, account_id: UUID, since: datetime) -> int:
        """Return how many entries were sent after a moment of the platform's clock."""
        query = statement(
            "entries_sent_since",
            lambda _d: (
                select(func.count())
                .select_from(ORDERS)
                .where(
                    *equals(ORDERS, ("account_id",)),
                    ORDERS.c.action == literal(Action.OPEN_TRADE.value),
                    ORDERS.c.outcome != literal("NOT_SENT"),
                    ORDERS.c.sent_at > bindparam("since", type_=ORDERS.c.sent_at.type),
                )
            ),
        )
        return int(query.rows(self._db, {"account_id": account_id, "since": since})[0][0])

    def last_exit(self, live_run_id: UUID, symbol: str) -> datetime | None:
        """Return when the run last closed a position of the symbol."""
        query = statement(
            "last_exit",
            lambda _d: (
                select(TRADES.c.exit_time)
                .where(*equals(TRADES, ("live_run_id", "symbol")), TRADES.c.status == literal("closed"))
                .order_by(TRADES.c.exit_time.desc())
                .limit(1)
            ),
        )
        rows = query.rows(self._db, {"live_run_id": live_run_id, "symbol": symbol})
        return rows[0][0] if rows else None

    def put_trade(self, trade: TradeRecord) -> None:
        """Insert or replace a trade; a position has one trade."""
        self._upsert(TRADES, ("trade_id",), to_row(trade))

    def add_link(self, link: LinkRecord) -> None:
        """Link a trade to its run, once."""
        self._insert_new(LINKS, ("trade_id",), to_row(link))

    def links(self, live_run_id: UUID) -> list[LinkRecord]:
        """Return a run's links, oldest first."""
        return self._all(
            LinkRecord,
            "links",
            lambda: select_by(LINKS, LinkRecord, "live_run_id").order_by(LINKS.c.link_id),
            live_run_id=live_run_id,
        )

    # facts
    def account(self, account_id: UUID) -> AccountRecord | None:
        """Return an account."""
        return self._one(AccountRecord, ACCOUNTS, account_id=account_id)

    def may_act(self, account_id: UUID, principal: Principal) -> bool:
        """Whether the principal owns the account or holds a grant that is not revoked, and is no mere viewer."""

        def make(_dialect: Dialect) -> ClauseElement:
            me = bindparam("owner_id", type_=USERS.c.user_id.type)
            looks_only = select(USERS.c.user_id).where(USERS.c.user_id == me, USERS.c.role == "viewer").exists()
            owns = select(ACCOUNTS.c.account_id).where(*equals(ACCOUNTS, ("account_id", "owner_id")), ~looks_only)
            grant = GRANTS.c.user_id == bindparam("owner_id", type_=GRANTS.c.user_id.type)
            held = select(GRANTS.c.account_id).where(
                *equals(GRANTS, ("account_id",)), grant, GRANTS.c.revoked_at.is_(None), ~looks_only
            )
            return owns.union_all(held).limit(1)

        cursor = statement("may_act", make).run(self._db, {"account_id": account_id, "owner_id": principal.user_id})
        try:
            return cursor.fetchone() is not None
        finally:
            cursor.close()

    def set_halt(self, account_id: UUID, at: datetime | None, by: str, reason: str) -> None:
        """Set or lift the kill switch."""
        self._update(ACCOUNTS, {"account_id": account_id}, {"halted_at": at, "halted_by": by, "halt_reason": reason})

    def set_synced_until(self, account_id: UUID, until: datetime) -> None:
        """Note up to when the platform's history has been read completely."""
        self._update(ACCOUNTS, {"account_id": account_id}, {"book_synced_until": until})

    def run(self, live_run_id: UUID) -> RunRecord | None:
        """Return a run."""
        return self._one(RunRecord, RUNS, live_run_id=live_run_id)

    def add_realised(self, live_run_id: UUID, amount: Decimal, fills: int, at: datetime) -> None:
        """Add what trades of the run have booked, and count its fills; added in Python, exactly, on a locked row."""
        query = statement(
            "realised",
            lambda _d: (
                select(RUNS.c.realised, RUNS.c.fills_count).where(*equals(RUNS, ("live_run_id",))).with_for_update()
            ),
        )
        rows = query.rows(self._db, {"live_run_id": live_run_id})
        if not rows:
            raise NotFound(f"run {live_run_id} does not exist")
        realised, counted = rows[0]
        changes = {"realised": realised + amount, "fills_count": counted + fills, "last_action_at": at}
        self._update(RUNS, {"live_run_id": live_run_id}, changes)

    def standing_trips(self, account_id: UUID, now: datetime) -> list[TripRecord]:
        """Return trips that have not ended at that platform time, oldest first; those somebody has reset included."""
        return self._all(
            TripRecord,
            "standing_trips",
            lambda: (
                select_by(TRIPS, TripRecord, "account_id")
                .where(or_(TRIPS.c.until.is_(None), TRIPS.c.until > bindparam("now", type_=TRIPS.c.until.type)))
                .order_by(TRIPS.c.tripped_at)
            ),
            account_id=account_id,
            now=now,
        )

    def put_trip(self, trip: TripRecord) -> None:
        """Insert or replace a trip."""
        self._upsert(TRIPS, ("trip_id",), to_row(trip))

    def equity_mark(self, account_id: UUID, scope: str) -> EquityMarkRecord | None:
        """Return the latest mark of a scope."""
        found = self._all(
            EquityMarkRecord,
            "equity_mark",
            lambda: select_by(MARKS, EquityMarkRecord, "account_id", "scope").order_by(MARKS.c.day.desc()).limit(1),
            account_id=account_id,
            scope=scope,
        )
        return found[0] if found else None

    def put_equity_mark(self, mark: EquityMarkRecord) -> None:
        """Insert or replace the mark of its day."""
        self._upsert(MARKS, ("account_id", "scope", "day"), to_row(mark))

    def add_run_event(self, event: RunEventRecord) -> None:
        """Append what people are told."""
        self._insert(RUN_EVENTS, to_row(event))

    def add_audit(self, at: datetime, principal: Principal, action: str, subject: str, detail: str) -> None:
        """Append to the audit chain."""
        audit.append(self._db, at, principal, action, subject, detail)


def _is_taken(error: BaseException | None) -> bool:
    """Whether a driver refused a row because another has its key; the drivers are named, not imported."""
    return type(error).__name__ == "UniqueViolation" or "UNIQUE constraint failed" in str(error)


__all__ = ["SqlIntentStore", "SqlTransaction"]

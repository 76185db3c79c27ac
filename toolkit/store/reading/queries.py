"""The read side: plain SQL that returns frozen rows, each query limited to what its principal may see.

A principal sees the accounts it owns and those it was granted, an admin sees all; runs, intents, trades and events follow
their account. A row it may not see is not there: asking for it by id raises `NotFound`, exactly as for an id that does not
exist.

Pages follow changes by asking again from where they were. ``changed_since`` is compared with the wall-clock ``updated_at``,
which a transaction sets before it commits; so callers ask again from a little earlier (`OVERLAP`) and ignore rows that they
already have.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, Row, Select, and_, func, or_, select

from toolkit.errors import NotFound
from toolkit.execution.ledger.records import RESULTS
from toolkit.store.reading.records import (
    AccountRow,
    EquityPoint,
    EventRow,
    FleetRow,
    IntentRow,
    IntentStep,
    RunDetail,
    SystemState,
    TradeRow,
    TripRow,
    VersionRow,
)
from toolkit.store.sql.models import (
    Account,
    AccountGrant,
    AccountLease,
    Bot,
    BotVersion,
    EquityMark,
    ExecutionIntent,
    GuardrailTrip,
    IntentEvent,
    LiveRun,
    Order,
    Outbox,
    RunEvent,
    Trade,
    User,
)
from toolkit.store.sql.unit_of_work import READ_ONLY

OVERLAP: Final = timedelta(seconds=5)
EVENT_OVERLAP: Final = 200  # event ids: PostgreSQL may commit a lower id after a higher one
UNRESOLVED: Final = ("UNKNOWN", "ABANDONED")
_HEAVY: Final = frozenset({"state", "feed_json", "guards_json", "options_json"})


class Reader(Protocol):
    """All that the read side needs to know of a principal."""

    @property
    def user_id(self) -> UUID:
        """Key of the principal's row in ``users``."""


def visible_accounts(reader: Reader) -> Select[UUID]:
    """Return the sub-query of account ids that the principal may see."""
    granted = select(AccountGrant.account_id).where(
        AccountGrant.user_id == reader.user_id, AccountGrant.revoked_at.is_(None)
    )
    admin = select(User.user_id).where(User.user_id == reader.user_id, User.role == "admin").exists()
    return select(Account.account_id).where(
        or_(Account.owner_id == reader.user_id, Account.account_id.in_(granted), admin)
    )


class Totals:
    """Sums of the trades of each run, kept between reads so that a poll costs only the trades that changed.

    Decimals are text on SQLite, so they are added up here and not in SQL.
    """

    def __init__(self) -> None:
        self._trades: dict[UUID, tuple[UUID, bool, Decimal]] = {}  # trade -> run, open, net
        self.net: dict[UUID, Decimal] = {}
        self.open: dict[UUID, int] = {}
        self.closed: dict[UUID, int] = {}
        self.since: datetime | None = None
        self._ends: dict[UUID, dict[UUID, tuple[datetime, float]]] = {}  # run -> closed trade -> when, net
        self._sparks: dict[UUID, tuple[tuple[int, Decimal], tuple[float, ...]]] = {}

    def spark(self, run_id: UUID, count: int = 40) -> tuple[float, ...]:
        """Return the run's realised profit after each of its last ``count`` closed trades, oldest first."""
        ends = self._ends.get(run_id)
        if not ends:
            return ()
        state = (len(ends), self.net.get(run_id, Decimal(0)))
        known = self._sparks.get(run_id)
        if known is None or known[0] != state:
            last = sorted(ends.values())[-count:]
            total = sum(net for _, net in ends.values())
            before = total - sum(net for _, net in last)
            known = (state, tuple(accumulate((net for _, net in last), initial=before)))
            self._sparks[run_id] = known
        return known[1]

    def put(self, trade_id: UUID, run_id: UUID, *, is_open: bool, net: Decimal, ended: datetime | None = None) -> None:
        """Count a trade, replacing what was counted for it before."""
        if ended is not None:
            self._ends.setdefault(run_id, {})[trade_id] = (ended, float(net))
        old = self._trades.get(trade_id)
        if old is not None:
            self._add(*old, sign=-1)
        self._trades[trade_id] = (run_id, is_open, net)
        self._add(run_id, is_open, net, sign=1)

    def _add(self, run_id: UUID, is_open: bool, net: Decimal, *, sign: int) -> None:
        counts = self.open if is_open else self.closed
        counts[run_id] = counts.get(run_id, 0) + sign
        self.net[run_id] = self.net.get(run_id, Decimal(0)) + sign * net


class ReadSide:
    """Questions to the database that change nothing.

    Parameters
    ----------
    engine
        From ``toolkit.store.sql.engine.open_database``; reads never take SQLite's write lock.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _all(self, statement: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
        with self._engine.connect() as connection:
            return connection.execution_options(**{READ_ONLY: True}).execute(statement).all()

    # ---- runs

    def totals(self, reader: Reader, known: Totals | None = None, *, run_id: UUID | None = None) -> Totals:
        """Return sums over the trades of the visible runs, bringing ``known`` up to date when it is given."""
        totals = known or Totals()
        wanted = and_(Trade.live_run_id.is_not(None), Trade.account_id.in_(visible_accounts(reader)))
        if run_id is not None:
            wanted = and_(wanted, Trade.live_run_id == run_id)
        if totals.since is not None:
            wanted = and_(wanted, Trade.updated_at >= totals.since - OVERLAP)
        rows = self._all(
            select(Trade.trade_id, Trade.live_run_id, Trade.status, Trade.profit, Trade.commission, Trade.swap,
                   Trade.exit_time, Trade.updated_at).where(wanted)
        )  # fmt: skip
        for row in rows:
            net = row.profit + row.commission + row.swap
            is_open = row.status == "open"
            ended = None if is_open else row.exit_time
            totals.put(row.trade_id, row.live_run_id, is_open=is_open, net=net, ended=ended)
            if totals.since is None or row.updated_at > totals.since:
                totals.since = row.updated_at
        return totals

    def fleet(self, reader: Reader, *, totals: Totals | None = None, run_id: UUID | None = None) -> list[FleetRow]:
        """Return every run the principal may see, newest first, or only the one named.

        Parameters
        ----------
        totals
            From an earlier ``totals(reader)``, to be brought up to date in place; without it they are read anew.
        """
        totals = self.totals(reader, totals, run_id=run_id)
        wanted: ColumnElement[bool] = LiveRun.account_id.in_(visible_accounts(reader))
        if run_id is not None:
            wanted = and_(wanted, LiveRun.live_run_id == run_id)
        rows = self._all(
            select(*(column for column in LiveRun.__table__.c if column.name not in _HEAVY),
                   Account.name.label("account"), Account.platform, Account.environment, Account.currency,
                   Account.halted_at, Bot.name.label("bot"), BotVersion.number, BotVersion.version_hash)
            .join(Account, Account.account_id == LiveRun.account_id)
            .join(BotVersion, BotVersion.bot_version_id == LiveRun.bot_version_id)
            .join(Bot, Bot.bot_id == BotVersion.bot_id)
            .where(wanted)
            .order_by(LiveRun.created_at.desc(), LiveRun.live_run_id)
        )  # fmt: skip
        unresolved = self._unresolved(wanted)
        trips: dict[UUID, list[TripRow]] = {}
        for trip in self.trips(reader, active=True):
            trips.setdefault(trip.account_id, []).append(trip)
        return [_fleet_row(row, totals, unresolved, trips) for row in rows]

    def _unresolved(self, wanted: Any) -> dict[UUID, int]:
        rows = self._all(
            select(ExecutionIntent.live_run_id, func.count())
            .join(LiveRun, LiveRun.live_run_id == ExecutionIntent.live_run_id)
            .where(ExecutionIntent.state.in_(UNRESOLVED), wanted)
            .group_by(ExecutionIntent.live_run_id)
        )
        return {row[0]: row[1] for row in rows}

    def run(self, reader: Reader, run_id: UUID) -> FleetRow:
        """Return one run; `NotFound` when it does not exist or the principal may not see it."""
        rows = self.fleet(reader, run_id=run_id)
        if not rows:
            raise NotFound(f"run {run_id} is not there, or not visible to you: `seatrial status` lists your runs")
        return rows[0]

    def run_detail(self, reader: Reader, run_id: UUID) -> RunDetail:
        """Return what of a run never changes; `NotFound` as in `run`."""
        rows = self._all(
            select(LiveRun.live_run_id, Bot.name, BotVersion.number, BotVersion.version_hash, BotVersion.spec_json,
                   BotVersion.note, BotVersion.evidence_json, BotVersion.guards_json, BotVersion.instruments_json,
                   LiveRun.guards_json, LiveRun.options_json, LiveRun.feed_json)
            .join(BotVersion, BotVersion.bot_version_id == LiveRun.bot_version_id)
            .join(Bot, Bot.bot_id == BotVersion.bot_id)
            .where(LiveRun.live_run_id == run_id, LiveRun.account_id.in_(visible_accounts(reader)))
        )  # fmt: skip
        if not rows:
            raise NotFound(f"run {run_id} is not there, or not visible to you: `seatrial status` lists your runs")
        return RunDetail(*rows[0])

    # ---- what happens in runs

    def intents(
        self,
        reader: Reader,
        *,
        run_id: UUID | None = None,
        account_id: UUID | None = None,
        changed_since: datetime | None = None,
        states: Sequence[str] = (),
        limit: int = 500,
    ) -> list[IntentRow]:
        """Return the intents that changed last, latest change first, each with the latency of its latest order."""
        wanted: list[ColumnElement[bool]] = [ExecutionIntent.account_id.in_(visible_accounts(reader))]
        if run_id is not None:
            wanted.append(ExecutionIntent.live_run_id == run_id)
        if account_id is not None:
            wanted.append(ExecutionIntent.account_id == account_id)
        if changed_since is not None:
            wanted.append(ExecutionIntent.updated_at >= changed_since)
        if states:
            wanted.append(ExecutionIntent.state.in_(states))
        latency = (
            select(func.max(Order.latency_ms))
            .where(Order.intent_id == ExecutionIntent.intent_id, Order.attempt == ExecutionIntent.attempt)
            .correlate(ExecutionIntent)
            .scalar_subquery()
        )
        names = [name for name in IntentRow.__slots__ if name not in ("account", "latency_ms")]
        rows = self._all(
            select(*(getattr(ExecutionIntent, name) for name in names), Account.name.label("account"),
                   latency.label("latency_ms"))
            .join(Account, Account.account_id == ExecutionIntent.account_id)
            .where(*wanted)
            .order_by(ExecutionIntent.updated_at.desc(), ExecutionIntent.intent_id)
            .limit(limit)
        )  # fmt: skip
        return [IntentRow(**row._mapping) for row in rows]

    def intent_steps(self, reader: Reader, intent_id: UUID) -> list[IntentStep]:
        """Return every change of state of one intent, oldest first; `NotFound` when it is not visible."""
        rows = self._all(
            select(IntentEvent.seq, IntentEvent.from_state, IntentEvent.to_state, IntentEvent.actor, IntentEvent.at,
                   IntentEvent.detail)
            .join(ExecutionIntent, ExecutionIntent.intent_id == IntentEvent.intent_id)
            .where(IntentEvent.intent_id == intent_id,
                   ExecutionIntent.account_id.in_(visible_accounts(reader)))
            .order_by(IntentEvent.seq)
        )  # fmt: skip
        if not rows:
            raise NotFound(f"intent {intent_id} is not there, or not visible to you")
        return [IntentStep(*row) for row in rows]

    def trades(
        self,
        reader: Reader,
        *,
        run_id: UUID | None = None,
        changed_since: datetime | None = None,
        only_open: bool = False,
    ) -> list[TradeRow]:
        """Return trades, open ones too, in order of entry."""
        wanted: list[ColumnElement[bool]] = [Trade.account_id.in_(visible_accounts(reader))]
        if run_id is not None:
            wanted.append(Trade.live_run_id == run_id)
        if changed_since is not None:
            wanted.append(Trade.updated_at >= changed_since)
        if only_open:
            wanted.append(Trade.status == "open")
        rows = self._all(
            select(*(getattr(Trade, name) for name in TradeRow.__slots__))
            .where(*wanted)
            .order_by(Trade.entry_time, Trade.trade_id)
        )
        return [TradeRow(*row) for row in rows]

    def events(self, reader: Reader, *, run_id: UUID | None = None, after: int = 0, limit: int = 500) -> list[EventRow]:
        """Return the newest events with an id above ``after``, oldest first."""
        wanted = [RunEvent.event_id > after, RunEvent.account_id.in_(visible_accounts(reader))]
        if run_id is not None:
            # A run's events are found by the run; its account was checked when the run was read.
            owned = select(LiveRun.live_run_id).where(LiveRun.account_id.in_(visible_accounts(reader)))
            wanted = [RunEvent.event_id > after, RunEvent.live_run_id == run_id, RunEvent.live_run_id.in_(owned)]
        rows = self._all(
            select(*(getattr(RunEvent, name) for name in EventRow.__slots__))
            .where(*wanted)
            .order_by(RunEvent.event_id.desc())
            .limit(limit)
        )
        return [EventRow(*row) for row in reversed(rows)]

    def equity_points(self, reader: Reader, run_id: UUID) -> list[EquityPoint]:
        """Return the run's equity at each midnight of the platform, oldest first."""
        rows = self._all(
            select(EquityMark.day, EquityMark.base_equity, EquityMark.peak_equity)
            .where(EquityMark.scope == str(run_id), EquityMark.account_id.in_(visible_accounts(reader)))
            .order_by(EquityMark.day)
        )
        return [EquityPoint(*row) for row in rows]

    def trips(self, reader: Reader, *, active: bool = False, limit: int = 500) -> list[TripRow]:
        """Return guardrail trips, newest first; ``active`` leaves out those that were reset."""
        wanted = [GuardrailTrip.account_id.in_(visible_accounts(reader))]
        if active:
            wanted.append(GuardrailTrip.reset_at.is_(None))
        names = [name for name in TripRow.__slots__ if name != "account"]
        rows = self._all(
            select(*(getattr(GuardrailTrip, name) for name in names), Account.name.label("account"))
            .join(Account, Account.account_id == GuardrailTrip.account_id)
            .where(*wanted)
            .order_by(GuardrailTrip.tripped_at.desc(), GuardrailTrip.trip_id)
            .limit(limit)
        )
        return [TripRow(**row._mapping) for row in rows]

    # ---- the installation

    def accounts(self, reader: Reader) -> list[AccountRow]:
        """Return the accounts the principal may see, by name."""
        running = (
            select(func.count())
            .where(LiveRun.account_id == Account.account_id, LiveRun.status.in_(("RUNNING", "STOPPING")))
            .correlate(Account)
            .scalar_subquery()
        )
        holding = (
            select(func.count())
            .where(Trade.account_id == Account.account_id, Trade.status == "open")
            .correlate(Account)
            .scalar_subquery()
        )
        extra = {"owner", "lease_owner", "lease_until", "running", "open_positions"}
        names = [name for name in AccountRow.__slots__ if name not in extra]
        rows = self._all(
            select(*(getattr(Account, name) for name in names), User.name.label("owner"),
                   func.coalesce(AccountLease.owner, "").label("lease_owner"), AccountLease.until.label("lease_until"),
                   running.label("running"), holding.label("open_positions"))
            .join(User, User.user_id == Account.owner_id)
            .outerjoin(AccountLease, AccountLease.account_id == Account.account_id)
            .where(Account.account_id.in_(visible_accounts(reader)))
            .order_by(Account.name)
        )  # fmt: skip
        return [AccountRow(**row._mapping) for row in rows]

    def versions(self, reader: Reader) -> list[VersionRow]:
        """Return the principal's own bot versions and those running on accounts it may see, newest first."""
        seen = select(LiveRun.bot_version_id).where(LiveRun.account_id.in_(visible_accounts(reader)))
        runs = (
            select(func.count())
            .where(LiveRun.bot_version_id == BotVersion.bot_version_id,
                   LiveRun.account_id.in_(visible_accounts(reader)))
            .correlate(BotVersion)
            .scalar_subquery()
        )  # fmt: skip
        names = [name for name in VersionRow.__slots__ if name not in ("bot", "runs")]
        rows = self._all(
            select(*(getattr(BotVersion, name) for name in names), Bot.name.label("bot"), runs.label("runs"))
            .join(Bot, Bot.bot_id == BotVersion.bot_id)
            .where(or_(BotVersion.owner_id == reader.user_id, BotVersion.bot_version_id.in_(seen)))
            .order_by(BotVersion.created_at.desc(), BotVersion.number.desc())
        )
        return [VersionRow(**row._mapping) for row in rows]

    def system(self, reader: Reader) -> SystemState:
        """Return counts over what the principal may see: outbox, intents, runs, leases."""
        visible = visible_accounts(reader)
        waiting = self._all(
            select(func.count(), func.min(Outbox.created_at)).where(
                Outbox.published_at.is_(None), Outbox.topic != RESULTS, Outbox.account_id.in_(visible)
            )
        )[0]
        intents = self._all(
            select(ExecutionIntent.state, func.count())
            .where(ExecutionIntent.account_id.in_(visible))
            .group_by(ExecutionIntent.state)
        )
        runs = self._all(
            select(LiveRun.status, func.count()).where(LiveRun.account_id.in_(visible)).group_by(LiveRun.status)
        )
        leases = self._all(
            select(Account.name, AccountLease.owner, AccountLease.until)
            .join(Account, Account.account_id == AccountLease.account_id)
            .where(Account.account_id.in_(visible), AccountLease.owner != "")
            .order_by(Account.name)
        )
        return SystemState(
            outbox_depth=waiting[0],
            oldest_undelivered=waiting[1],
            intents_by_state={row[0]: row[1] for row in intents},
            runs_by_status={row[0]: row[1] for row in runs},
            leases=tuple((row[0], row[1], row[2]) for row in leases),
        )


def _fleet_row(
    row: Row[*tuple[Any, ...]],
    totals: Totals,
    unresolved: dict[UUID, int],
    trips: dict[UUID, list[TripRow]],
) -> FleetRow:
    run_id: UUID = row.live_run_id
    realised = totals.net.get(run_id, Decimal(0))
    in_force = {
        trip.rule
        for trip in trips.get(row.account_id, ())
        if trip.live_run_id in (None, run_id) and trip.in_force(row.cursor)
    }
    return FleetRow(
        **{name: getattr(row, name) for name in _PLAIN},
        version_number=row.number,
        symbols=tuple(row.symbols),
        realised=realised,
        closed_trades=totals.closed.get(run_id, 0),
        open_positions=totals.open.get(run_id, 0),
        unresolved_intents=unresolved.get(run_id, 0),
        trips=tuple(sorted(in_force)),
        halted=row.halted_at is not None,
        spark=totals.spark(run_id),
    )


_MADE: Final = frozenset(
    {"version_number", "symbols", "realised",  "open_profit", "closed_trades", "open_positions",
     "unresolved_intents", "trips", "halted", "day_base", "spark", "drift"}
)  # fmt: skip
_PLAIN: Final = tuple(name for name in FleetRow.__slots__ if name not in _MADE)

"""Bots, their immutable versions, and LiveRuns: every read and write asks who is asking.

A run's row is its whole life: ``advance`` reads it, thinks with no transaction open, and saves it with a compare-and-set on
its version and status, so that of two hosts only one can win a bar.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ClauseElement, Connection, Dialect, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from toolkit.errors import Forbidden, LostRace, NotFound
from toolkit.execution.principal import Principal
from toolkit.store.people import audit
from toolkit.store.people.accounts import may_act, may_see
from toolkit.store.sql.models import Account, AccountGrant, Bot, BotVersion, EquityMark, LiveRun, RunEvent, Trade
from toolkit.store.sql.statements import Statement

_BOTS: Any = Bot.__table__
_VERSIONS: Any = BotVersion.__table__
_RUNS: Any = LiveRun.__table__
_EVENTS: Any = RunEvent.__table__
_TRADES: Any = Trade.__table__
_MARKS: Any = EquityMark.__table__

ACTIVE = ("RUNNING", "PAUSED", "STOPPING")


@dataclass(frozen=True, slots=True, repr=False)
class VersionRecord:
    """An immutable BotVersion; the ``*_json`` fields are canonical JSON texts. Only its retirement is told later."""

    bot_version_id: UUID
    bot_id: UUID
    owner_id: UUID
    bot: str
    number: int
    version_hash: str
    spec_hash: str
    spec_json: str
    guards_json: str
    instruments_json: str
    evidence_json: str
    note: str
    created_at: datetime
    retired_at: datetime | None = None
    retired_by: str | None = None
    retire_reason: str | None = None

    @property
    def name(self) -> str:
        """Bot and number, as people call it: ``EmaCross v3``."""
        return f"{self.bot} v{self.number}"

    def __repr__(self) -> str:
        gone = "" if self.retired_at is None else f", retired: {self.retire_reason}"
        note = f", {self.note!r}" if self.note else ""
        return f"BotVersion({self.name}, {self.version_hash[:12]}{note}{gone})"

    @property
    def evidence(self) -> dict[str, Any]:
        """What the version was promoted on: sea trial, fingerprints, packages, parent."""
        stored: dict[str, Any] = json.loads(self.evidence_json)
        return stored


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A LiveRun as its row said at one moment; ``version`` is the compare-and-set counter."""

    live_run_id: UUID
    account_id: UUID
    bot_version_id: UUID
    owner_id: UUID
    symbols: tuple[str, ...]
    timeframe: str
    stage: str
    status: str
    host: str
    feed_json: str
    guards_json: str
    options_json: str
    last_error: str
    capital: Decimal
    cursor: datetime | None
    state: bytes | None
    version: int
    bars_hash: str
    bars_count: int
    heartbeat_at: datetime | None
    last_action_at: datetime | None
    last_action: str
    signals_count: int
    intents_count: int
    fills_count: int
    refused_count: int
    created_by: UUID
    created_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None

    @property
    def symbol(self) -> str:
        """The symbol a one-symbol run trades."""
        return self.symbols[0]

    def seen_as(self, symbol: str) -> RunRecord:
        """Return the run as one of its symbols sees it: what trades a single symbol works on it as it stands."""
        return self if self.symbols == (symbol,) else replace(self, symbols=(symbol,))

    @property
    def options(self) -> dict[str, Any]:
        """What was asked at start and since: stop-loss policy, flatten, the reason of a stop."""
        stored: dict[str, Any] = json.loads(self.options_json)
        return stored


_RUN_COLUMNS: list[Any] = [_RUNS.c[name] for name in RunRecord.__dataclass_fields__]
_SELECT_RUN: Any = select(*_RUN_COLUMNS)
# Asked at every step of every run, so compiled once.
_PEEK = Statement(
    lambda _: _SELECT_RUN.where(_RUNS.c.live_run_id == bindparam("live_run_id", type_=_RUNS.c.live_run_id.type))
)
_BARRIER = Statement(
    lambda _: _SELECT_RUN.where(
        _RUNS.c.account_id == bindparam("account_id", type_=_RUNS.c.account_id.type),
        or_(_RUNS.c.status == "RUNNING", _RUNS.c.status == "STOPPING"),
    )
)


class Versions:
    """Bots and versions as one principal sees them."""

    def __init__(self, connection: Connection, principal: Principal) -> None:
        self._connection = connection
        self._principal = principal

    def bot(self, name: str, at: datetime) -> UUID:
        """Return the principal's bot of that name, adding it when there is none."""
        found = self._connection.execute(
            select(_BOTS.c.bot_id).where(_BOTS.c.owner_id == self._principal.user_id, _BOTS.c.name == name)
        ).scalar()
        if found is not None:
            return UUID(str(found))
        bot_id = uuid4()
        self._connection.execute(
            insert(_BOTS).values(bot_id=bot_id, owner_id=self._principal.user_id, name=name, created_at=at)
        )
        return bot_id

    def add(self, bot_name: str, at: datetime, **fields: str) -> VersionRecord:
        """Store a version, or return the one of the same hash that is already there.

        Parameters
        ----------
        bot_name
            The strategy line it belongs to.
        at
            Moment of the promotion.
        fields
            ``version_hash``, ``spec_hash`` and the JSON texts of the row.
        """
        bot_id = self.bot(bot_name, at)
        same = self._connection.execute(
            select(_VERSIONS.c.bot_version_id).where(
                _VERSIONS.c.bot_id == bot_id, _VERSIONS.c.version_hash == fields["version_hash"]
            )
        ).scalar()
        if same is not None:
            return self.get(UUID(str(same)))
        highest = self._connection.execute(
            select(func.max(_VERSIONS.c.number)).where(_VERSIONS.c.bot_id == bot_id)
        ).scalar()
        version_id = uuid4()
        self._connection.execute(
            insert(_VERSIONS).values(
                bot_version_id=version_id,
                bot_id=bot_id,
                owner_id=self._principal.user_id,
                number=int(highest or 0) + 1,
                created_by=self._principal.user_id,
                created_at=at,
                **fields,
            )
        )
        audit.append(self._connection, at, self._principal, "version.promote", str(version_id), fields["version_hash"])
        return self.get(version_id)

    def get(self, bot_version_id: UUID) -> VersionRecord:
        """Return a version of this principal, or one that runs on an account it may see; NotFound otherwise."""
        rows = self._select(_VERSIONS.c.bot_version_id == bot_version_id)
        if rows:
            record = rows[0]
            if record.owner_id == self._principal.user_id or self._runs_for_me(bot_version_id):
                return record
        raise NotFound(f"bot version {bot_version_id} does not exist for {self._principal.name}: check the id")

    def latest(self, bot_name: str) -> VersionRecord | None:
        """Return the newest version of a bot of this principal, or None."""
        rows = self._select(_BOTS.c.name == bot_name, _VERSIONS.c.owner_id == self._principal.user_id)
        return rows[-1] if rows else None

    def all(self) -> list[VersionRecord]:
        """Return this principal's versions, oldest first."""
        return self._select(_VERSIONS.c.owner_id == self._principal.user_id)

    def retire(self, bot_version_id: UUID, at: datetime | None, now: datetime, reason: str) -> VersionRecord:
        """Let no new run of a version of this principal begin; None takes that back. What runs goes on."""
        version = self.get(bot_version_id)
        if version.owner_id != self._principal.user_id:
            raise Forbidden(f"{self._principal.name} may not retire {version.name}: it is another user's")
        told = {"retired_by": self._principal.name, "retire_reason": reason} if at is not None else {}
        changes = {"retired_at": at, "retired_by": None, "retire_reason": None, **told}
        self._connection.execute(
            update(_VERSIONS).where(_VERSIONS.c.bot_version_id == bot_version_id).values(**changes)
        )
        action = "version.retire" if at is not None else "version.restore"
        audit.append(self._connection, now, self._principal, action, str(bot_version_id), reason)
        return self.get(bot_version_id)

    def _runs_for_me(self, bot_version_id: UUID) -> bool:
        accounts = self._connection.execute(
            select(_RUNS.c.account_id).where(_RUNS.c.bot_version_id == bot_version_id).distinct()
        ).scalars()
        return any(may_see(self._connection, self._principal, account) for account in accounts)

    def _select(self, *where: Any) -> list[VersionRecord]:
        rows = self._connection.execute(
            select(_VERSIONS, _BOTS.c.name.label("bot"))
            .join(_BOTS, _BOTS.c.bot_id == _VERSIONS.c.bot_id)
            .where(*where)
            .order_by(_VERSIONS.c.created_at, _VERSIONS.c.number)
        )
        return [
            VersionRecord(**{name: getattr(row, name) for name in VersionRecord.__dataclass_fields__}) for row in rows
        ]


class Runs:
    """LiveRuns as one principal sees them."""

    def __init__(self, connection: Connection, principal: Principal) -> None:
        self._connection = connection
        self._principal = principal

    def add(self, at: datetime, **fields: Any) -> RunRecord:
        """Insert a run in status CREATED on an account this principal may act on."""
        self._must_act(fields["account_id"], at, "run.create")
        run_id = uuid4()
        self._connection.execute(
            insert(_RUNS).values(
                live_run_id=run_id,
                owner_id=self._principal.user_id,
                created_by=self._principal.user_id,
                created_at=at,
                status="CREATED",
                **fields,
            )
        )
        audit.append(self._connection, at, self._principal, "run.create", str(run_id), str(fields["account_id"]))
        return self.get(run_id)

    def get(self, live_run_id: UUID) -> RunRecord:
        """Return the run; NotFound when it is not this principal's to see."""
        run = self.peek(live_run_id)
        if run is None or not (
            run.owner_id == self._principal.user_id or may_see(self._connection, self._principal, run.account_id)
        ):
            raise NotFound(f"live run {live_run_id} does not exist for {self._principal.name}: check the id")
        return run

    def peek(self, live_run_id: UUID) -> RunRecord | None:
        """Return the run without a check of rights; for the toolkit's own use on the way of a bar."""
        rows = _PEEK.rows(self._connection, {"live_run_id": live_run_id})
        return _read_run(rows[0]) if rows else None

    def find(self, prefix: str) -> RunRecord:
        """Return the one visible run whose id starts with ``prefix``."""
        found = [run for run in self.all() if str(run.live_run_id).startswith(prefix.lower())]
        if len(found) != 1:
            what = "no run" if not found else f"{len(found)} runs"
            raise NotFound(f"run id must name one run, {what} start with {prefix!r}: `seatrial status` lists them")
        return found[0]

    def all(self, *, account_id: UUID | None = None, statuses: Sequence[str] = ()) -> list[RunRecord]:
        """Return the runs this principal may see, oldest first."""
        granted = select(AccountGrant.account_id).where(
            AccountGrant.user_id == self._principal.user_id, AccountGrant.revoked_at.is_(None)
        )
        owned = select(Account.account_id).where(Account.owner_id == self._principal.user_id)
        query = _SELECT_RUN.where(
            or_(
                _RUNS.c.owner_id == self._principal.user_id,
                _RUNS.c.account_id.in_(owned),
                _RUNS.c.account_id.in_(granted),
            )
        )
        if account_id is not None:
            query = query.where(_RUNS.c.account_id == account_id)
        if statuses:
            query = query.where(_RUNS.c.status.in_(list(statuses)))
        return [_run(row) for row in self._connection.execute(query.order_by(_RUNS.c.created_at, _RUNS.c.live_run_id))]

    def save(self, run: RunRecord, **changes: Any) -> RunRecord:
        """Write changes if nobody else has since the run was read.

        Raises
        ------
        LostRace
            When the row has another version or status by now; nothing was written.
        """
        values = {"run_": run.live_run_id, "version_": run.version, "status_": run.status, **changes}
        if _save_statement(tuple(sorted(changes))).changed(self._connection, values) != 1:
            raise LostRace(f"live run {run.live_run_id} was changed by somebody else since version {run.version}")
        merged = {name: getattr(run, name) for name in RunRecord.__dataclass_fields__}
        merged.update(changes, version=run.version + 1)
        return RunRecord(**merged)

    def beat(self, live_run_id: UUID, at: datetime) -> None:
        """Say that the run's host lives; takes no part in the compare-and-set."""
        self._connection.execute(update(_RUNS).where(_RUNS.c.live_run_id == live_run_id).values(heartbeat_at=at))

    def _must_act(self, account_id: UUID, at: datetime, action: str) -> None:
        if not may_act(self._connection, self._principal, account_id):
            # The refusal must outlive the rollback that follows it; see live_runs.create_live_run, which commits it.
            raise Forbidden(
                f"{self._principal.name} may not act on account {account_id}: use an account of your own, or ask for a grant"
            )


def barrier_runs(connection: Connection, account_id: UUID) -> list[RunRecord]:
    """Return every RUNNING or STOPPING run of an account, whoever owns it: the replay clock waits for all of them."""
    return [_read_run(row) for row in _BARRIER.rows(connection, {"account_id": account_id})]


def active_runs(connection: Connection, account_id: UUID) -> list[RunRecord]:
    """Return every run of an account that is under way, paused ones included."""
    rows = connection.execute(_SELECT_RUN.where(_RUNS.c.account_id == account_id, _RUNS.c.status.in_(ACTIVE)))
    return [_run(row) for row in rows]


def priced_runs(connection: Connection, account_id: UUID) -> list[RunRecord]:
    """Return every run of an account that is under way or still has a position: their series price the paper venue."""
    holding = select(_TRADES.c.live_run_id).where(_TRADES.c.account_id == account_id, _TRADES.c.status == "open")
    rows = connection.execute(
        _SELECT_RUN.where(
            _RUNS.c.account_id == account_id, or_(_RUNS.c.status.in_(ACTIVE), _RUNS.c.live_run_id.in_(holding))
        ).order_by(_RUNS.c.created_at)
    )
    return [_run(row) for row in rows]


def symbol_holders(connection: Connection, account_id: UUID, symbols: Iterable[str]) -> list[RunRecord]:
    """Return the active runs of an account that trade one of the symbols; a shadow trades nothing."""
    wanted = set(symbols)
    active = active_runs(connection, account_id)
    return [run for run in active if run.stage != "shadow" and wanted & set(run.symbols)]


def add_event(
    connection: Connection,
    at: datetime,
    run: RunRecord,
    kind: str,
    message: str,
    *,
    level: str = "info",
    market_time: datetime | None = None,
    intent_id: UUID | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Write one line of a run's history, inside the caller's transaction."""
    connection.execute(
        insert(_EVENTS).values(
            live_run_id=run.live_run_id,
            account_id=run.account_id,
            intent_id=intent_id,
            kind=kind,
            level=level,
            message=message,
            data=data or {},
            market_time=market_time,
            at=at,
        )
    )


def trades_of(connection: Connection, live_run_id: UUID) -> list[Any]:
    """Return the rows of ``trades`` of a run in the order they were entered."""
    return list(
        connection.execute(
            select(_TRADES)
            .where(_TRADES.c.live_run_id == live_run_id)
            .order_by(_TRADES.c.entry_time, _TRADES.c.exit_time)
        )
    )


def put_equity_mark(
    connection: Connection, run: RunRecord, day: datetime, equity: Decimal, peak: Decimal, at: datetime
) -> None:
    """Keep the equity at one midnight of the platform; the first to come stays, a repeated stretch changes nothing."""
    values = {
        "account_id": run.account_id,
        "scope": str(run.live_run_id),
        "day": day,
        "base_equity": equity,
        "peak_equity": peak,
        "updated_at": at,
    }
    _MARK.run(connection, values).close()


def _insert_mark(dialect: Dialect) -> ClauseElement:
    make = pg_insert if dialect.name == "postgresql" else sqlite_insert
    names = ("account_id", "scope", "day", "base_equity", "peak_equity", "updated_at")
    row = {name: bindparam(name, type_=_MARKS.c[name].type) for name in names}
    return make(_MARKS).values(**row).on_conflict_do_nothing(index_elements=["account_id", "scope", "day"])


_MARK = Statement(_insert_mark)


@cache
def _save_statement(columns: tuple[str, ...]) -> Statement:
    """Return the compare-and-set of these columns; a run uses few sets of them, each is compiled once."""
    new = {name: bindparam(name, type_=_RUNS.c[name].type) for name in columns}
    return Statement(
        lambda _: (
            update(_RUNS)
            .where(
                _RUNS.c.live_run_id == bindparam("run_", type_=_RUNS.c.live_run_id.type),
                _RUNS.c.version == bindparam("version_", type_=_RUNS.c.version.type),
                _RUNS.c.status == bindparam("status_", type_=_RUNS.c.status.type),
            )
            .values(version=_RUNS.c.version + 1, **new)
        )
    )


def _read_run(row: list[Any]) -> RunRecord:
    values = dict(zip(RunRecord.__dataclass_fields__, row, strict=True))
    values["symbols"] = tuple(values["symbols"])
    return RunRecord(**values)


def _run(row: Any) -> RunRecord:
    values = row._asdict()
    values["symbols"] = tuple(values["symbols"])
    return RunRecord(**values)

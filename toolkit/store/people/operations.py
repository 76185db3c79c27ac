"""What an operator asks of the installation, beside runs and accounts: people, the audit trail, rights on an account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row, Select, and_, case, func, or_, select

from toolkit.store.reading.queries import Reader, visible_accounts
from toolkit.store.reading.records import IntentStep
from toolkit.store.sql.models import (
    Account,
    AccountGrant,
    AccountLease,
    Audit,
    EquityMark,
    ExecutionIntent,
    IntentEvent,
    LiveRun,
    Order,
    RunEvent,
    User,
)
from toolkit.store.sql.unit_of_work import READ_ONLY
from toolkit.store.upkeep.alerts import AlertRow, list_alerts


@dataclass(frozen=True, slots=True)
class UserRow:
    """A person or the service principal, with how much it owns and was granted."""

    user_id: UUID
    name: str
    kind: str
    role: str
    accounts: int
    granted: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of the audit trail."""

    audit_id: int
    at: datetime
    principal: str
    action: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class StopMove:
    """A stop and a target as they were set at the platform, with the entry or after it."""

    position_id: str
    at: datetime
    stop_loss: Decimal | None
    take_profit: Decimal | None


@dataclass(frozen=True, slots=True)
class DayMark:
    """The latest day of a run that was marked: when it began, the equity it began with, the highest such equity so far."""

    day: datetime
    base: Decimal
    peak: Decimal


@dataclass(frozen=True, slots=True)
class DriftMark:
    """One measure of a run against its model, as the watchdog stored it; money in account currency, live minus model."""

    at: datetime
    level: str
    profit_gap: Decimal
    matched: int
    missing: int
    extra: int
    words: str


@dataclass(frozen=True, slots=True)
class Hosted:
    """An account with runs under way, and who carries them.

    Attributes
    ----------
    workers
        Runs under way that wait for a worker.
    heartbeat_at
        Latest sign of life of any of its runs under way.
    """

    account_id: UUID
    account: str
    gateway: str
    under_way: int
    workers: int
    heartbeat_at: datetime | None
    lease_owner: str
    lease_until: datetime | None


class Operations:
    """Questions of an operator; each shows an admin everything and everybody else only what is theirs.

    Parameters
    ----------
    engine
        From ``toolkit.store.sql.engine.open_database``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def role(self, reader: Reader) -> str:
        """Return the reader's role as its row says now; whoever has no row is a viewer."""
        rows = self._all(select(User.role).where(User.user_id == reader.user_id))
        return rows[0][0] if rows else "viewer"

    def users(self, reader: Reader) -> list[UserRow]:
        """Return all users to an admin, and to anybody else only themselves."""
        owned = (select(func.count()).where(Account.owner_id == User.user_id).correlate(User).scalar_subquery()).label(
            "accounts"
        )
        granted = (
            select(func.count())
            .where(AccountGrant.user_id == User.user_id, AccountGrant.revoked_at.is_(None))
            .correlate(User)
            .scalar_subquery()
        ).label("granted")
        rows = self._all(
            select(User.user_id, User.name, User.kind, User.role, owned, granted, User.created_at)
            .where(or_(User.user_id == reader.user_id, self._admin(reader)))
            .order_by(User.name)
        )
        return [UserRow(*row) for row in rows]

    def audit(self, reader: Reader, *, limit: int = 500) -> list[AuditRow]:
        """Return the newest lines of the audit trail: all to an admin, and to anybody else what they did themselves."""
        mine = select(User.name).where(User.user_id == reader.user_id).scalar_subquery()
        rows = self._all(
            select(Audit.audit_id, Audit.at, Audit.principal, Audit.action, Audit.subject, Audit.detail)
            .where(or_(Audit.principal == mine, self._admin(reader)))
            .order_by(Audit.audit_id.desc())
            .limit(limit)
        )
        return [AuditRow(*row) for row in rows]

    def day_marks(self, reader: Reader, run_ids: Sequence[UUID]) -> dict[UUID, DayMark]:
        """Return the latest platform day of each of these runs that was marked."""
        if not run_ids:
            return {}
        wanted = [EquityMark.scope.in_([str(run_id) for run_id in run_ids]),
                  EquityMark.account_id.in_(visible_accounts(reader))]  # fmt: skip
        latest = (
            select(EquityMark.account_id, EquityMark.scope, func.max(EquityMark.day).label("day"))
            .where(*wanted)
            .group_by(EquityMark.account_id, EquityMark.scope)
            .subquery()
        )
        rows = self._all(
            select(EquityMark.scope, EquityMark.day, EquityMark.base_equity, EquityMark.peak_equity).join(
                latest,
                and_(EquityMark.account_id == latest.c.account_id, EquityMark.scope == latest.c.scope,
                     EquityMark.day == latest.c.day),
            )
        )  # fmt: skip
        return {UUID(row[0]): DayMark(row[1], row[2], row[3]) for row in rows}

    def drift_history(self, reader: Reader, run_id: UUID, *, limit: int = 200) -> list[DriftMark]:
        """Return how far a run was from its model each time the watchdog measured it, newest first."""
        rows = self._all(
            select(RunEvent.at, RunEvent.level, RunEvent.data, RunEvent.message)
            .where(RunEvent.live_run_id == run_id, RunEvent.kind == "drift",
                   RunEvent.account_id.in_(visible_accounts(reader)))
            .order_by(RunEvent.event_id.desc())
            .limit(limit)
        )  # fmt: skip
        return [
            DriftMark(at, level, Decimal(str(data["profit_gap"])), int(data.get("matched", 0)),
                      len(data.get("missing", ())), len(data.get("extra", ())), words)
            for at, level, data, words in rows
            if "profit_gap" in (data or {})
        ]  # fmt: skip

    def drifts(self, reader: Reader, run_ids: Sequence[UUID]) -> dict[UUID, str]:
        """Return the profit gap that was last measured for each of these runs, as it was written; not all have one."""
        latest = (
            select(func.max(RunEvent.event_id))
            .where(RunEvent.live_run_id.in_(list(run_ids)), RunEvent.kind == "drift",
                   RunEvent.account_id.in_(visible_accounts(reader)))
            .group_by(RunEvent.live_run_id)
        )  # fmt: skip
        rows = self._all(select(RunEvent.live_run_id, RunEvent.data).where(RunEvent.event_id.in_(latest)))
        return {row[0]: str(row[1]["profit_gap"]) for row in rows if "profit_gap" in (row[1] or {})}

    def alerts(self, reader: Reader, run_id: UUID) -> list[AlertRow]:
        """Return the alerts that stand now and are about a run, newest first."""
        with self._engine.connect() as connection:
            found = list_alerts(connection.execution_options(**{READ_ONLY: True}), reader)
        return [row for row in found if row.key.endswith(str(run_id))]

    def stop_moves(self, reader: Reader, run_id: UUID) -> list[StopMove]:
        """Return the stops and targets of a run's positions as they were set, entries included, oldest first."""
        rows = self._all(
            select(Order.position_id, Order.sent_at, Order.stop_loss, Order.take_profit)
            .where(Order.live_run_id == run_id, Order.account_id.in_(visible_accounts(reader)),
                   Order.action.in_(("OPEN_TRADE", "MODIFY_SLTP")), Order.outcome.in_(("DONE", "PARTIAL", "ALREADY")),
                   Order.position_id.is_not(None))
            .order_by(Order.sent_at, Order.order_pk)
        )  # fmt: skip
        return [StopMove(*row) for row in rows]

    def steps(self, reader: Reader, intent_ids: Sequence[UUID]) -> dict[UUID, list[IntentStep]]:
        """Return every change of state of these intents, each intent's oldest first; those not visible are left out."""
        rows = self._all(
            select(IntentEvent.intent_id, IntentEvent.seq, IntentEvent.from_state, IntentEvent.to_state,
                   IntentEvent.actor, IntentEvent.at, IntentEvent.detail)
            .join(ExecutionIntent, ExecutionIntent.intent_id == IntentEvent.intent_id)
            .where(IntentEvent.intent_id.in_(list(intent_ids)),
                   ExecutionIntent.account_id.in_(visible_accounts(reader)))
            .order_by(IntentEvent.intent_id, IntentEvent.seq)
        )  # fmt: skip
        found: dict[UUID, list[IntentStep]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(IntentStep(*row[1:]))
        return found

    def hosted(self, reader: Reader) -> list[Hosted]:
        """Return the accounts that have runs under way, each with who holds it and when it last lived."""
        by_workers = func.sum(case((LiveRun.host == "workers", 1), else_=0))
        rows = self._all(
            select(Account.account_id, Account.name, Account.gateway, func.count(), by_workers,
                   func.max(LiveRun.heartbeat_at), func.coalesce(AccountLease.owner, ""), AccountLease.until)
            .join(LiveRun, LiveRun.account_id == Account.account_id)
            .outerjoin(AccountLease, AccountLease.account_id == Account.account_id)
            .where(Account.account_id.in_(visible_accounts(reader)), LiveRun.status.in_(("RUNNING", "STOPPING")))
            .group_by(Account.account_id, Account.name, Account.gateway, AccountLease.owner, AccountLease.until)
            .order_by(Account.name)
        )  # fmt: skip
        return [Hosted(*row) for row in rows]

    @staticmethod
    def _admin(reader: Reader) -> Any:
        me = select(func.count()).select_from(User).where(User.user_id == reader.user_id, User.role == "admin")
        return me.correlate(None).scalar_subquery() > 0

    def _all(self, statement: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
        with self._engine.connect() as connection:
            return connection.execution_options(**{READ_ONLY: True}).execute(statement).all()

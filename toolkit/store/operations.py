"""What an operator asks of the installation, beside runs and accounts: people, the audit trail, rights on an account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row, Select, func, or_, select

from toolkit.store.models import Account, AccountGrant, Audit, User
from toolkit.store.queries import Reader
from toolkit.store.unit_of_work import READ_ONLY


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


class Operations:
    """Questions of an operator; each shows an admin everything and everybody else only what is theirs.

    Parameters
    ----------
    engine
        From ``toolkit.store.engine.open_database``.
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

    @staticmethod
    def _admin(reader: Reader) -> Any:
        me = select(func.count()).select_from(User).where(User.user_id == reader.user_id, User.role == "admin")
        return me.correlate(None).scalar_subquery() > 0

    def _all(self, statement: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
        with self._engine.connect() as connection:
            return connection.execution_options(**{READ_ONLY: True}).execute(statement).all()

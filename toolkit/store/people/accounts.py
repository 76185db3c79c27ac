"""Users, accounts and grants: who there is, what they own, and who may act for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import Connection, Dialect, Select, and_, bindparam, exists, insert, or_, select, update

from toolkit.errors import BadInput, Forbidden, NotFound, must_be
from toolkit.execution.principal import Principal
from toolkit.store.people import audit
from toolkit.store.sql.models import Account, AccountGrant, User
from toolkit.store.sql.statements import Statement

LOCAL_USER = "local"
SERVICE_USER = "service"

Environment = Literal["paper", "demo", "real"]
Role = Literal["viewer", "trader", "admin"]

_USERS: Any = User.__table__
_ACCOUNTS: Any = Account.__table__
_GRANTS: Any = AccountGrant.__table__


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """A trading account as its row says; the secret is a reference, never the secret."""

    account_id: UUID
    owner_id: UUID
    name: str
    platform: str
    currency: str
    environment: Environment
    gateway: str
    login: str = ""
    server: str = ""
    secret_ref: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    armed_until: datetime | None = None
    halted_at: datetime | None = None
    halted_by: str = ""
    halt_reason: str = ""
    created_at: datetime | None = None

    @property
    def day_end(self) -> str:
        """The clock whose midnight ends the account's day: a paper account's own, a MetaTrader server's if stated, else UTC."""
        paper, mt5 = self.settings.get("paper", {}), self.settings.get("mt5", {})
        return str(paper.get("day_end") or mt5.get("clock") or "UTC")


def ensure_user(
    connection: Connection, at: datetime, name: str, kind: Literal["human", "service"], *, role: Role = "trader"
) -> Principal:
    """Return the principal of that name, adding the user when there is none; ``role`` counts only for a new one."""
    row = connection.execute(select(_USERS).where(_USERS.c.name == name)).first()
    if row is not None:
        return Principal(row.user_id, row.name, row.kind)
    principal = Principal(uuid4(), name, kind)
    connection.execute(insert(_USERS).values(user_id=principal.user_id, name=name, kind=kind, role=role, created_at=at))
    return principal


def find_user(connection: Connection, name: str) -> Principal:
    """Return the principal of that name.

    Raises
    ------
    NotFound
        When there is no such user.
    """
    row = connection.execute(select(_USERS).where(_USERS.c.name == name)).first()
    if row is None:
        raise NotFound(f"user {name!r} does not exist: run `seatrial init` or add the user")
    return Principal(row.user_id, row.name, row.kind)


def role_of(connection: Connection, principal: Principal) -> Role:
    """Return the principal's role as its row says now; whoever has no row may only look."""
    found: Role | None = connection.execute(select(_USERS.c.role).where(_USERS.c.user_id == principal.user_id)).scalar()
    return found or "viewer"


def may_act(connection: Connection, principal: Principal, account_id: UUID) -> bool:
    """Tell whether the principal may trade on the account: it owns it or was granted it, and is no mere viewer."""
    return _belongs(connection, principal, account_id) and role_of(connection, principal) != "viewer"


def may_see(connection: Connection, principal: Principal, account_id: UUID) -> bool:
    """Tell whether the principal may look at the account: it owns it, was granted it, or is an admin."""
    return _belongs(connection, principal, account_id) or role_of(connection, principal) == "admin"


def may_halt(connection: Connection, principal: Principal, account_id: UUID) -> bool:
    """Tell whether the principal may throw the account's kill switch: whoever may trade on it, and every admin."""
    return may_see(connection, principal, account_id) and role_of(connection, principal) != "viewer"


def _belongs(connection: Connection, principal: Principal, account_id: UUID) -> bool:
    owner = connection.execute(select(_ACCOUNTS.c.owner_id).where(_ACCOUNTS.c.account_id == account_id)).scalar()
    if owner == principal.user_id:
        return True
    grant = connection.execute(
        select(_GRANTS.c.account_id).where(
            _GRANTS.c.account_id == account_id,
            _GRANTS.c.user_id == principal.user_id,
            _GRANTS.c.revoked_at.is_(None),
        )
    ).first()
    return grant is not None


def gateway_of(connection: Connection, principal: Principal, account_id: UUID) -> str:
    """Return the gateway of an account that the principal owns or was granted; empty when it is neither. One short question."""
    found = _GATEWAY.rows(connection, {"account": account_id, "who": principal.user_id})
    return str(found[0][0]) if found else ""


def _gateway_query(_dialect: Dialect) -> Select[Any]:
    who, account = bindparam("who", type_=_GRANTS.c.user_id.type), bindparam("account", type_=_GRANTS.c.account_id.type)
    granted = exists().where(
        _GRANTS.c.account_id == _ACCOUNTS.c.account_id, _GRANTS.c.user_id == who, _GRANTS.c.revoked_at.is_(None)
    )
    query = select(_ACCOUNTS.c.gateway).where(_ACCOUNTS.c.account_id == account)
    return query.where(or_(_ACCOUNTS.c.owner_id == who, granted))


_GATEWAY = Statement(_gateway_query)


def read_account(connection: Connection, account_id: UUID) -> AccountRecord:
    """Return an account without a check of rights; for what belongs to a run that the caller may already see."""
    row = connection.execute(select(_ACCOUNTS).where(_ACCOUNTS.c.account_id == account_id)).first()
    if row is None:
        raise NotFound(f"account {account_id} does not exist")
    return _record(row)


class Accounts:
    """Accounts as one principal sees them; what is not his and not granted to him does not exist.

    Parameters
    ----------
    connection
        Inside a transaction of the caller.
    principal
        Who asks.
    """

    def __init__(self, connection: Connection, principal: Principal) -> None:
        self._connection = connection
        self._principal = principal

    def add(self, account: AccountRecord, at: datetime) -> AccountRecord:
        """Register an account of this principal and grant it to the service principal.

        Raises
        ------
        BadInput
            When the principal already has an account of that name.
        """
        if account.owner_id != self._principal.user_id:
            raise Forbidden(
                f"{self._principal.name} may register accounts of its own only, was for user {account.owner_id}"
            )
        if self._by_name(account.name) is not None:
            raise BadInput(
                must_be("account name", "new", repr(account.name), "choose another name, or use the account as it is")
            )
        values = {
            "account_id": account.account_id,
            "owner_id": account.owner_id,
            "name": account.name,
            "platform": account.platform,
            "login": account.login,
            "server": account.server,
            "currency": account.currency,
            "environment": account.environment,
            "gateway": account.gateway,
            "secret_ref": account.secret_ref,
            "settings": account.settings,
            "created_at": at,
        }
        self._connection.execute(insert(_ACCOUNTS).values(**values))
        service = self._connection.execute(select(_USERS.c.user_id).where(_USERS.c.name == SERVICE_USER)).scalar()
        if service is not None:
            self._connection.execute(
                insert(_GRANTS).values(account_id=account.account_id, user_id=service, granted_at=at)
            )
        audit.append(
            self._connection,
            at,
            self._principal,
            "account.add",
            account.name,
            f"{account.platform} {account.environment}",
        )
        return self.get(account.account_id)

    def get(self, account_id: UUID) -> AccountRecord:
        """Return the account; NotFound when it is not this principal's to see."""
        row = self._connection.execute(select(_ACCOUNTS).where(_ACCOUNTS.c.account_id == account_id)).first()
        if row is None or not may_see(self._connection, self._principal, account_id):
            raise NotFound(
                f"account {account_id} does not exist for {self._principal.name}: check the id, or ask for a grant"
            )
        return _record(row)

    def find(self, name: str) -> AccountRecord:
        """Return the account of that name; an id is accepted too."""
        row = self._by_name(name)
        if row is None:
            try:
                return self.get(UUID(name))
            except ValueError:
                pass
            known = ", ".join(a.name for a in self.all()) or "none yet"
            raise NotFound(
                f"account must be one of {self._principal.name}'s, was {name!r}: register it, e.g. with "
                f"tk.open_paper_account({name!r}, account) (known: {known})"
            )
        return _record(row)

    def all(self) -> list[AccountRecord]:
        """Return every account this principal owns or was granted, by name."""
        granted = select(_GRANTS.c.account_id).where(
            _GRANTS.c.user_id == self._principal.user_id, _GRANTS.c.revoked_at.is_(None)
        )
        rows = self._connection.execute(
            select(_ACCOUNTS)
            .where(or_(_ACCOUNTS.c.owner_id == self._principal.user_id, _ACCOUNTS.c.account_id.in_(granted)))
            .order_by(_ACCOUNTS.c.name)
        )
        return [_record(row) for row in rows]

    def grant(self, account_id: UUID, to: Principal, at: datetime) -> None:
        """Let another principal act on an account of this one."""
        self._must_own(account_id)
        held = self._connection.execute(
            update(_GRANTS)
            .where(_GRANTS.c.account_id == account_id, _GRANTS.c.user_id == to.user_id)
            .values(granted_at=at, revoked_at=None)
        )
        if held.rowcount == 0:
            self._connection.execute(insert(_GRANTS).values(account_id=account_id, user_id=to.user_id, granted_at=at))
        audit.append(self._connection, at, self._principal, "account.grant", str(account_id), to.name)

    def revoke(self, account_id: UUID, principal: Principal, at: datetime) -> None:
        """Take a grant back; what that principal was running on the account stops at its next step."""
        self._must_own(account_id)
        self._connection.execute(
            update(_GRANTS)
            .where(
                _GRANTS.c.account_id == account_id,
                _GRANTS.c.user_id == principal.user_id,
                _GRANTS.c.revoked_at.is_(None),
            )
            .values(revoked_at=at)
        )
        audit.append(self._connection, at, self._principal, "account.revoke", str(account_id), principal.name)

    def halt(self, account_id: UUID, at: datetime, reason: str) -> None:
        """Throw the account's kill switch: no entry leaves until it is resumed; an admin may for any account."""
        account = self.get(account_id)
        if not may_halt(self._connection, self._principal, account_id):
            raise Forbidden(f"{self._principal.name} may not halt {account.name}: a viewer only looks, ask its owner")
        self._connection.execute(
            update(_ACCOUNTS)
            .where(_ACCOUNTS.c.account_id == account_id)
            .values(halted_at=at, halted_by=self._principal.name, halt_reason=reason)
        )
        audit.append(self._connection, at, self._principal, "account.halt", str(account_id), reason)

    def resume(self, account_id: UUID, at: datetime) -> None:
        """Release the kill switch; only the owner may."""
        self._must_own(account_id)
        self._connection.execute(
            update(_ACCOUNTS)
            .where(_ACCOUNTS.c.account_id == account_id)
            .values(halted_at=None, halted_by="", halt_reason="")
        )
        audit.append(self._connection, at, self._principal, "account.resume", str(account_id))

    def set_gateway(self, account_id: UUID, gateway: str, at: datetime) -> None:
        """Change which gateway carries the account's intents; see `toolkit.live.cutover` for when that is safe."""
        self._must_own(account_id)
        self._connection.execute(update(_ACCOUNTS).where(_ACCOUNTS.c.account_id == account_id).values(gateway=gateway))
        audit.append(self._connection, at, self._principal, "account.gateway", str(account_id), gateway)

    def put_settings(self, account_id: UUID, settings: Mapping[str, Any], at: datetime) -> None:
        """Replace an account's settings; which options changed is audited, their values are not."""
        before = self.get(account_id).settings
        self._must_own(account_id)
        self._connection.execute(
            update(_ACCOUNTS).where(_ACCOUNTS.c.account_id == account_id).values(settings=dict(settings))
        )
        changed = sorted(k for k in {*before, *settings} if before.get(k) != settings.get(k))
        audit.append(self._connection, at, self._principal, "account.settings", str(account_id), ", ".join(changed))

    def arm(self, account_id: UUID, until: datetime | None, at: datetime) -> None:
        """Let a real account trade until a moment; only a human owner may, None disarms."""
        self._must_own(account_id)
        if self._principal.kind != "human":
            raise Forbidden(
                f"account {account_id} must be armed by a human, was {self._principal.name}: arm it yourself"
            )
        self._connection.execute(
            update(_ACCOUNTS).where(_ACCOUNTS.c.account_id == account_id).values(armed_until=until)
        )
        audit.append(self._connection, at, self._principal, "account.arm", str(account_id), str(until or "disarmed"))

    def _must_own(self, account_id: UUID) -> None:
        account = self.get(account_id)
        if account.owner_id != self._principal.user_id:
            raise Forbidden(
                f"account {account.name} must be {self._principal.name}'s own, was another user's: ask its owner"
            )
        if role_of(self._connection, self._principal) == "viewer":
            raise Forbidden(f"{self._principal.name} may not change {account.name}: a viewer only looks, ask an admin")

    def _by_name(self, name: str) -> Any:
        return self._connection.execute(
            select(_ACCOUNTS).where(and_(_ACCOUNTS.c.owner_id == self._principal.user_id, _ACCOUNTS.c.name == name))
        ).first()


def _record(row: Any) -> AccountRecord:
    return AccountRecord(
        account_id=row.account_id,
        owner_id=row.owner_id,
        name=row.name,
        platform=row.platform,
        currency=row.currency,
        environment=row.environment,
        gateway=row.gateway,
        login=row.login,
        server=row.server,
        secret_ref=row.secret_ref,
        settings=dict(row.settings or {}),
        armed_until=row.armed_until,
        halted_at=row.halted_at,
        halted_by=row.halted_by,
        halt_reason=row.halt_reason,
        created_at=row.created_at,
    )

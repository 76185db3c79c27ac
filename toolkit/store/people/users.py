"""Users and their roles: viewers look, traders act on their accounts, admins also see all and manage users."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, get_args
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from toolkit.errors import BadInput, Forbidden, NotFound, must_be
from toolkit.execution.principal import Principal
from toolkit.store.people import audit
from toolkit.store.people.accounts import Role, ensure_user, find_user, role_of
from toolkit.store.sql.models import User

ROLES: Final[tuple[str, ...]] = get_args(Role)
_USERS: Any = User.__table__


class Users:
    """The users of an installation, as an admin manages them.

    Parameters
    ----------
    connection
        Inside a transaction of the caller.
    principal
        Who asks; every change is refused to whoever is no admin.
    """

    def __init__(self, connection: Connection, principal: Principal) -> None:
        self._connection = connection
        self._principal = principal

    def add(self, name: str, role: str, at: datetime) -> Principal:
        """Add a person.

        Raises
        ------
        Forbidden
            When the principal is no admin.
        BadInput
            When the name is taken or the role unknown.
        """
        self._must_administer("add users")
        known = _role(role)
        if not name or len(name) > 100 or name != name.strip():
            raise BadInput(must_be("user name", "1 to 100 characters without spaces around", repr(name), "shorten it"))
        if self._connection.execute(select(_USERS.c.user_id).where(_USERS.c.name == name)).first() is not None:
            raise BadInput(must_be("user name", "new", repr(name), "choose another, or change that user's role"))
        made = ensure_user(self._connection, at, name, "human", role=known)
        audit.append(self._connection, at, self._principal, "user.add", name, role)
        return made

    def set_role(self, name: str, role: str, at: datetime) -> None:
        """Give a user another role; it holds from the next thing that user asks for.

        Raises
        ------
        Forbidden
            When the principal is no admin, or the user is the workers' service principal.
        BadInput
            When the role is unknown, or nobody would be admin any more.
        """
        self._must_administer("change roles")
        known = _role(role)
        user = find_user(self._connection, name)
        if user.kind == "service":
            raise Forbidden(f"{name} is what workers act as and keeps its role: revoke its grant to stop an account")
        admins = select(func.count()).where(_USERS.c.role == "admin", _USERS.c.user_id != user.user_id)
        if known != "admin" and not self._connection.execute(admins).scalar_one():
            raise BadInput(must_be("admins", "at least one", "none left", "make another user admin first"))
        self._connection.execute(update(_USERS).where(_USERS.c.user_id == user.user_id).values(role=known))
        audit.append(self._connection, at, self._principal, "user.role", name, role)

    def role(self, user_id: UUID) -> str:
        """Return the role of a user; ``NotFound`` when there is none of that id."""
        found = self._connection.execute(select(_USERS.c.role).where(_USERS.c.user_id == user_id)).scalar()
        if found is None:
            raise NotFound(f"user {user_id} does not exist: `seatrial user list` shows who there is")
        return str(found)

    def _must_administer(self, what: str) -> None:
        if role_of(self._connection, self._principal) != "admin":
            raise Forbidden(f"{self._principal.name} may not {what}: ask an admin")


def _role(role: str) -> Role:
    if role not in ROLES:
        raise BadInput(must_be("role", f"one of {', '.join(ROLES)}", repr(role), "spell it as listed"))
    return role  # type: ignore[return-value]  # just compared with the names that Role lists

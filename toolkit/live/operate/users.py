"""People and their roles, behind the command line and the page: every refusal is audited."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.errors import Forbidden
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.store.people import audit
from toolkit.store.people.users import Users


def add_user(engine: Engine, principal: Principal, name: str, role: str = "trader") -> Principal:
    """Add a person; ``role`` is viewer, trader or admin. Only an admin may."""
    made: list[Principal] = []
    _as_admin(engine, principal, name, lambda users: made.append(users.add(name, role, engine.now())))
    return made[0]


def change_role(engine: Engine, principal: Principal, name: str, role: str) -> None:
    """Give a user another role; only an admin may."""
    _as_admin(engine, principal, name, lambda users: users.set_role(name, role, engine.now()))


def _as_admin(engine: Engine, principal: Principal, subject: str, change: Callable[[Users], object]) -> None:
    with engine.work(principal) as work:
        try:
            change(Users(work.connection, principal))
        except Forbidden as refused:
            # Nothing was changed; the attempt is kept.
            audit.append(work.connection, engine.now(), principal, "user.refused", subject, str(refused))
            work.commit()
            raise
        work.commit()

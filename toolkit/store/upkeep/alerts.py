"""What people were told: one row per cause, shared by all processes, so that each cause is told once by one of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from toolkit.store.reading.queries import Reader, visible_accounts
from toolkit.store.sql.models import AlertState

_ALERTS: Any = AlertState.__table__


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One cause as its row says."""

    key: str
    account_id: UUID | None
    level: str
    title: str
    body: str
    first_at: datetime
    last_at: datetime
    told_at: datetime | None
    told_count: int
    cleared_at: datetime | None


_COLUMNS = [_ALERTS.c[name] for name in AlertRow.__dataclass_fields__]


def put_alert(
    connection: Connection, at: datetime, *, key: str, account_id: UUID | None, level: str, title: str, body: str
) -> None:
    """Note that a cause is there now."""
    fields = {"level": level, "title": title[:200], "body": body, "last_at": at, "cleared_at": None}
    changed = connection.execute(update(_ALERTS).where(_ALERTS.c.key == key).values(**fields))
    if changed.rowcount:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(_ALERTS).values(
        key=key, account_id=account_id, first_at=at, told_at=None, told_count=0, **fields
    )
    # another process may have noted the same cause since the line above
    connection.execute(new.on_conflict_do_update(index_elements=["key"], set_=fields))


def claim_alert(connection: Connection, key: str, at: datetime, repeat: timedelta) -> bool:
    """Take the right to tell a cause now; False when it was told within ``repeat``, by whatever process."""
    free = or_(_ALERTS.c.told_at.is_(None), _ALERTS.c.told_at <= at - repeat)
    claimed = connection.execute(
        update(_ALERTS).where(_ALERTS.c.key == key, free).values(told_at=at, told_count=_ALERTS.c.told_count + 1)
    )
    return bool(claimed.rowcount == 1)


def give_back(connection: Connection, key: str, told_at: datetime | None) -> None:
    """Undo a claim whose message did not arrive."""
    connection.execute(
        update(_ALERTS).where(_ALERTS.c.key == key).values(told_at=told_at, told_count=_ALERTS.c.told_count - 1)
    )


def told_since(connection: Connection, since: datetime) -> int:
    """Return how many causes were told after a moment."""
    return int(connection.execute(select(func.count()).where(_ALERTS.c.told_at > since)).scalar_one())


def clear_others(connection: Connection, at: datetime, *, still: Collection[str], looked_at: Collection[str]) -> int:
    """Mark causes whose key begins with one of ``looked_at`` and that are not among ``still`` as gone."""
    gone = 0
    for key in connection.execute(select(_ALERTS.c.key).where(_ALERTS.c.cleared_at.is_(None))).scalars().all():
        if key.startswith(tuple(looked_at)) and key not in still:
            connection.execute(update(_ALERTS).where(_ALERTS.c.key == key).values(cleared_at=at))
            gone += 1
    return gone


def list_alerts(connection: Connection, principal: Reader, *, active: bool = True) -> list[AlertRow]:
    """Return the alerts a principal may see, newest first; those of the whole installation are everybody's."""
    mine = or_(_ALERTS.c.account_id.is_(None), _ALERTS.c.account_id.in_(visible_accounts(principal)))
    query = select(*_COLUMNS).where(mine)
    if active:
        query = query.where(_ALERTS.c.cleared_at.is_(None))
    return [AlertRow(*row) for row in connection.execute(query.order_by(_ALERTS.c.last_at.desc(), _ALERTS.c.key))]


def told_at(connection: Connection, key: str) -> datetime | None:
    """Return when a cause was last told."""
    found: datetime | None = connection.execute(select(_ALERTS.c.told_at).where(_ALERTS.c.key == key)).scalar()
    return found

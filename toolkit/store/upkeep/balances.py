"""Balances: what the platform says beside what our trades booked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select

from toolkit.store.sql.models import BalanceCheck, Trade

_CHECKS: Any = BalanceCheck.__table__
_TRADES: Any = Trade.__table__


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """One check of an account's balance; ``difference`` is what no trade of ours explains since the check before."""

    account_id: UUID
    at: datetime
    platform_time: datetime
    balance: Decimal
    booked: Decimal
    difference: Decimal
    detail: str


_COLUMNS = [_CHECKS.c[name] for name in BalanceRow.__dataclass_fields__]


def booked_by_trades(connection: Connection, account_id: UUID) -> Decimal:
    """Return profit, commission and swap of all our trades on an account so far; summed exactly, in Python."""
    rows = connection.execute(
        select(_TRADES.c.profit, _TRADES.c.commission, _TRADES.c.swap).where(_TRADES.c.account_id == account_id)
    )
    return sum((row.profit + row.commission + row.swap for row in rows), Decimal(0))


def last_check(connection: Connection, account_id: UUID) -> BalanceRow | None:
    """Return the newest check of an account."""
    found = list_checks(connection, account_id, limit=1)
    return found[0] if found else None


def list_checks(connection: Connection, account_id: UUID, *, limit: int = 100) -> list[BalanceRow]:
    """Return an account's checks, newest first."""
    query = select(*_COLUMNS).where(_CHECKS.c.account_id == account_id)
    rows = connection.execute(query.order_by(_CHECKS.c.check_id.desc()).limit(limit))
    return [BalanceRow(*row) for row in rows]


def add_check(connection: Connection, check: BalanceRow) -> None:
    """Keep a check."""
    connection.execute(
        insert(_CHECKS).values(**{name: getattr(check, name) for name in BalanceRow.__dataclass_fields__})
    )

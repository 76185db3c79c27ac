"""A run's closed trades as a backtest writes them: a position that was closed in parts is a row for each part."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from toolkit.execution.ledger.bookkeeping import deal_from_json
from toolkit.execution.ports import PlatformDeal
from toolkit.simulation.account import from_minor, to_minor
from toolkit.simulation.managed.rules import share
from toolkit.store.runs import trades_of
from toolkit.store.sql.models import PlatformEvent

_EVENTS: Any = PlatformEvent.__table__


def closed_rows(connection: Connection, live_run_id: UUID, currency: str) -> list[dict[str, Any]]:
    """Return what a run has closed, oldest entry first, with the columns of ``trades``.

    Parameters
    ----------
    currency
        Of the account: the entry's commission is divided among the parts in its minor units, as the backtest does it.
    """
    found: list[dict[str, Any]] = []
    for trade in trades_of(connection, live_run_id):
        row = trade._asdict()
        if row["status"] == "closed" or row["open_lots"] < row["lots"]:
            deals = _deals(connection, row["account_id"], row["position_id"])
            exits = [d for d in deals if d.entry != "in"]
            found += [row] if len(exits) <= 1 and row["status"] == "closed" else _parts(row, deals, exits, currency)
    return found


def _deals(connection: Connection, account_id: UUID, position_id: str) -> list[PlatformDeal]:
    query = (
        select(_EVENTS.c.body_json)
        .where(_EVENTS.c.account_id == account_id, _EVENTS.c.position_id == position_id, _EVENTS.c.kind == "deal")
        .order_by(_EVENTS.c.event_id)
    )
    deals = [deal_from_json(body) for body in connection.execute(query).scalars()]
    return sorted(deals, key=lambda d: (d.at, d.entry != "in", len(d.deal_id), d.deal_id))


def _parts(
    row: dict[str, Any], deals: list[PlatformDeal], exits: list[PlatformDeal], currency: str
) -> list[dict[str, Any]]:
    paid = to_minor(sum((d.commission for d in deals if d.entry == "in"), Decimal(0)), currency)
    left = row["lots"]
    smallest = _unit([left, *(d.lots for d in exits)])
    parts = []
    for deal in exits:
        mine = share(paid, int(deal.lots / smallest), int(left / smallest)) if deal.lots < left else paid
        paid, left = paid - mine, left - deal.lots
        parts.append(
            {
                **row,
                "lots": deal.lots,
                "exit_time": deal.at,
                "exit_price": deal.price,
                "exit_reason": deal.reason,
                "profit": deal.profit,
                "commission": deal.commission + from_minor(mine, currency),
                "swap": deal.swap,
            }
        )
    return parts


def _unit(lots: list[Decimal]) -> Decimal:
    """Return a volume of which all of these are whole multiples."""
    return Decimal(1).scaleb(min(int(volume.as_tuple().exponent) for volume in lots))

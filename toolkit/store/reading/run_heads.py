"""Runs as a host of many sees them: by the few columns that say whether there is something to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, update

from toolkit.errors import StoreError
from toolkit.execution.principal import Principal
from toolkit.market import Timeframe
from toolkit.store.sql.models import Account, AccountGrant, ExecutionIntent, LiveRun

_RUNS: Any = LiveRun.__table__


@dataclass(frozen=True, slots=True)
class RunHead:
    """The few columns by which a host decides whether a run has something to do."""

    live_run_id: UUID
    account_id: UUID
    status: str
    cursor: datetime | None
    timeframe: str
    feed_json: str
    symbols: list[str]

    @property
    def is_replay(self) -> bool:
        """Whether the run replays recorded bars."""
        return '"replay"' in self.feed_json

    @property
    def next_close(self) -> datetime:
        """Earliest moment at which the bar after the cursor is closed: the open of the one behind it."""
        if self.cursor is None:
            raise StoreError(f"run {self.live_run_id} has no cursor yet")
        return self.cursor + 2 * timedelta(seconds=Timeframe(self.timeframe).seconds)


_HEADS = [_RUNS.c[name] for name in RunHead.__dataclass_fields__]


def hosted_heads(connection: Connection, principal: Principal, hosts: tuple[str, ...]) -> list[RunHead]:
    """Return the runs under way that name one of these hosts, on accounts of the local gateway granted to a principal."""
    granted = select(AccountGrant.account_id).where(
        AccountGrant.user_id == principal.user_id, AccountGrant.revoked_at.is_(None)
    )
    local = select(Account.account_id).where(Account.gateway == "local", Account.account_id.in_(granted))
    query = select(*_HEADS).where(
        _RUNS.c.status.in_(("RUNNING", "STOPPING")), _RUNS.c.host.in_(hosts), _RUNS.c.account_id.in_(local)
    )
    rows = connection.execute(query.order_by(_RUNS.c.account_id, _RUNS.c.created_at))
    return [RunHead(*row) for row in rows]


def accounts_with_waiting_exits(connection: Connection, principal: Principal) -> list[UUID]:
    """Return granted accounts of the local gateway on which an exit waits for its market, and no run lives to send it."""
    granted = select(AccountGrant.account_id).where(
        AccountGrant.user_id == principal.user_id, AccountGrant.revoked_at.is_(None)
    )
    query = select(ExecutionIntent.account_id).where(
        ExecutionIntent.state == "NEW", ExecutionIntent.not_before.is_not(None), ExecutionIntent.account_id.in_(granted)
    )
    lives = select(_RUNS.c.account_id).where(_RUNS.c.status.in_(("RUNNING", "STOPPING")))
    query = query.where(ExecutionIntent.account_id.not_in(lives))
    local = query.join(Account, Account.account_id == ExecutionIntent.account_id).where(Account.gateway == "local")
    return list(connection.execute(local.distinct()).scalars())


def beat_all(connection: Connection, runs: Sequence[UUID], at: datetime) -> None:
    """Say that the hosts of these runs live, in one statement per 500."""
    for first in range(0, len(runs), 500):
        some = list(runs[first : first + 500])
        connection.execute(update(_RUNS).where(_RUNS.c.live_run_id.in_(some)).values(heartbeat_at=at))

"""How the whole installation stands, in numbers without names: for pages of metrics and for health checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from toolkit.execution.ledger.records import RESULTS
from toolkit.store.sql.models import ExecutionIntent, LiveRun, Outbox, RunEvent

_INTENTS: Any = ExecutionIntent.__table__
_OUTBOX: Any = Outbox.__table__
_RUNS: Any = LiveRun.__table__
_EVENTS: Any = RunEvent.__table__
UNSETTLED = ("NEW", "CLAIMED", "SENDING", "WORKING", "PROTECTION_PENDING", "UNKNOWN", "ABANDONED")
RUN_STATES = ("CREATED", "RUNNING", "PAUSED", "STOPPING", "STOPPED", "ERROR")


@dataclass(frozen=True, slots=True)
class Pulse:
    """Counts over all accounts, and the ages of what has waited longest; 0 when nothing waits."""

    intents: Mapping[str, int]
    runs: Mapping[str, int]
    outbox_waiting: int
    oldest_unknown_seconds: float
    oldest_new_seconds: float
    oldest_outbox_seconds: float
    oldest_heartbeat_seconds: float
    late_fills: int


def read_pulse(connection: Connection, now: datetime) -> Pulse:
    """Read the numbers; every query goes over an index or a table of a few rows."""

    def age(since: datetime | None) -> float:
        return 0.0 if since is None else max(0.0, (now - since).total_seconds())

    # an UNKNOWN intent is as old as its doubt, any other as its row
    begun = func.min(func.coalesce(_INTENTS.c.unknown_since, _INTENTS.c.created_at, type_=_INTENTS.c.created_at.type))
    states = select(_INTENTS.c.state, func.count(), begun).where(_INTENTS.c.state.in_(UNSETTLED))
    found = {row[0]: (int(row[1]), row[2]) for row in connection.execute(states.group_by(_INTENTS.c.state))}
    runs = connection.execute(select(_RUNS.c.status, func.count()).group_by(_RUNS.c.status))
    waiting = select(func.count(), func.min(_OUTBOX.c.created_at)).where(
        _OUTBOX.c.published_at.is_(None), _OUTBOX.c.topic != RESULTS
    )
    count, oldest = connection.execute(waiting).one()
    beat = select(func.min(func.coalesce(_RUNS.c.heartbeat_at, _RUNS.c.created_at, type_=_RUNS.c.created_at.type)))
    late = select(func.count()).select_from(_EVENTS).where(_EVENTS.c.kind == "late_fill_adopted")
    return Pulse(
        intents={state: found.get(state, (0, None))[0] for state in UNSETTLED},
        runs=dict.fromkeys(RUN_STATES, 0) | {row[0]: int(row[1]) for row in runs},
        outbox_waiting=int(count),
        oldest_unknown_seconds=age(found.get("UNKNOWN", (0, None))[1]),
        oldest_new_seconds=age(found.get("NEW", (0, None))[1]),
        oldest_outbox_seconds=age(oldest),
        oldest_heartbeat_seconds=age(connection.execute(beat.where(_RUNS.c.status == "RUNNING")).scalar()),
        late_fills=int(connection.execute(late).scalar_one()),
    )

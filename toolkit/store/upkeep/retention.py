"""Retention: what is kept for a while only. Money, intents, trades and the audit trail are kept for ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete

from toolkit.clock import to_ns
from toolkit.store.sql.models import AlertState, BarSeen, RunEvent

_SEEN: Any = BarSeen.__table__
_EVENTS: Any = RunEvent.__table__
_ALERTS: Any = AlertState.__table__
#: What a run says again and again; everything else of its history is kept.
_CHATTER = ("equity", "retrying")


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went."""

    bars: int
    events: int
    alerts: int


def prune(connection: Connection, before: datetime, *, bars_before: datetime) -> Pruned:
    """Remove bars that were seen, repeated events and alerts that are gone, all older than a moment.

    Parameters
    ----------
    bars_before
        The moment for bars: no later than the first bar that a run under way has seen, see `toolkit.live.watch.retention`.
    """
    edge = min(before, bars_before)
    bars = connection.execute(delete(_SEEN).where(_SEEN.c.ts < to_ns(edge))).rowcount
    events = connection.execute(delete(_EVENTS).where(_EVENTS.c.at < before, _EVENTS.c.kind.in_(_CHATTER))).rowcount
    alerts = connection.execute(delete(_ALERTS).where(_ALERTS.c.cleared_at < before)).rowcount
    return Pruned(int(bars), int(events), int(alerts))

"""What a person should hear of: found in the database, so that any process can look, whoever hosts the runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from toolkit.execution.intents import BARRIER_STATES, Action
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.review.drift import DriftReport
from toolkit.settings import Settings
from toolkit.store.reading.queries import visible_accounts
from toolkit.store.sql.models import ExecutionIntent, GuardrailTrip, LiveRun

_RUNS: Any = LiveRun.__table__
_INTENTS: Any = ExecutionIntent.__table__
_TRIPS: Any = GuardrailTrip.__table__
#: How the keys of what `find_alerts` finds begin; what of them is not found any more is over.
STANDING = ("error:", "stale:", "unknown:", "exit:", "trip:")


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell.

    Attributes
    ----------
    key
        Names the cause; the same cause is told once per ``repeat`` of `AlertLimits`.
    level
        ``warning`` or ``error``.
    account_id
        The account it belongs to; None: the installation's.
    """

    key: str
    level: str
    title: str
    body: str
    account_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """When a state becomes an alert, and how often people are told.

    Attributes
    ----------
    unknown_after, stale_after, exit_after
        An UNKNOWN intent, a RUNNING run without a heartbeat, an exit that was not carried out, older than this.
    drift_percent
        Profit gap to the model in percent of capital.
    skew_seconds
        Difference between two of our clocks, or ours and the platform's.
    repeat
        The same cause is told again only after this.
    per_hour
        At most this many alerts in an hour; the last of them says that more were held back.
    """

    unknown_after: timedelta = timedelta(seconds=60)
    stale_after: timedelta = timedelta(seconds=120)
    exit_after: timedelta = timedelta(seconds=60)
    drift_percent: Decimal = Decimal("0.5")
    skew_seconds: float = 2.0
    repeat: timedelta = timedelta(hours=6)
    per_hour: int = 20

    @classmethod
    def of(cls, settings: Settings) -> AlertLimits:
        """Return the limits that the process's settings name."""
        return cls(
            unknown_after=timedelta(seconds=settings.alert_unknown_seconds),
            stale_after=timedelta(seconds=settings.alert_stale_seconds),
            exit_after=timedelta(seconds=settings.alert_exit_seconds),
            drift_percent=settings.alert_drift_percent,
        )


def find_alerts(engine: Engine, principal: Principal, limits: AlertLimits) -> list[Alert]:
    """Return what is wrong now on the accounts this principal sees: errors, UNKNOWN intents, trips, silent runs."""
    now = engine.now()
    mine = visible_accounts(principal)
    found: list[Alert] = []
    with engine.work(principal, write=False) as work:
        db = work.connection
        columns = (_RUNS.c.live_run_id, _RUNS.c.account_id, _RUNS.c.symbols, _RUNS.c.timeframe, _RUNS.c.status,
                   _RUNS.c.last_error, _RUNS.c.heartbeat_at)  # fmt: skip
        for run in db.execute(
            select(*columns).where(_RUNS.c.account_id.in_(mine), _RUNS.c.status.in_(("ERROR", "RUNNING", "STOPPING")))
        ):
            name = f"run {str(run.live_run_id)[:8]} ({', '.join(run.symbols)} {run.timeframe})"
            if run.status == "ERROR":
                title, body, kind = f"{name} is in ERROR", run.last_error, "error"
            elif run.heartbeat_at is None or now - run.heartbeat_at > limits.stale_after:
                seen = "never" if run.heartbeat_at is None else run.heartbeat_at.isoformat()
                title, body, kind = f"{name} is silent", f"last heartbeat: {seen}; is its host alive?", "stale"
            else:
                continue
            found.append(Alert(f"{kind}:{run.live_run_id}", "error", title, body, run.account_id))
        query = select(_INTENTS).where(_INTENTS.c.account_id.in_(mine), _INTENTS.c.state.in_(("UNKNOWN", "ABANDONED")))
        for intent in db.execute(query):
            since: datetime = intent.unknown_since or intent.updated_at
            if now - since > limits.unknown_after:
                what = f"{intent.action} {intent.side} {intent.symbol} is {intent.state} since {since.isoformat()}"
                title = "an order's fate is not known"
                found.append(Alert(f"unknown:{intent.intent_id}", "error", title, what, intent.account_id))
        exits = select(_INTENTS).where(
            _INTENTS.c.account_id.in_(mine),
            _INTENTS.c.action != Action.OPEN_TRADE.value,
            _INTENTS.c.state.in_(sorted(s.value for s in BARRIER_STATES)),
        )
        for intent in db.execute(exits):
            if now - intent.created_at > limits.exit_after:
                why = intent.reason or "not carried out yet"
                what = f"{intent.action} {intent.side} {intent.symbol} of {intent.created_at.isoformat()}: {why}"
                found.append(Alert(f"exit:{intent.intent_id}", "error", "an exit waits", what, intent.account_id))
        # In force by the run's own clock: a replay's trip belongs to the replayed day.
        trips = (
            select(_TRIPS, _RUNS.c.cursor)
            .outerjoin(_RUNS, _RUNS.c.live_run_id == _TRIPS.c.live_run_id)
            .where(
                _TRIPS.c.account_id.in_(mine),
                _TRIPS.c.reset_at.is_(None),
                or_(_TRIPS.c.live_run_id.is_(None), _RUNS.c.status.in_(("RUNNING", "PAUSED", "STOPPING"))),
            )
        )
        for trip in db.execute(trips):
            clock = trip.cursor or now
            if trip.until is None or trip.until > clock:
                title = f"guardrail {trip.rule} denies entries"
                found.append(Alert(f"trip:{trip.trip_id}", "warning", title, trip.reason, trip.account_id))
    return found


def drift_alert(
    report: DriftReport, capital: Decimal, limits: AlertLimits, account_id: UUID | None = None
) -> Alert | None:
    """Return an alert when a run's drift is above the limit."""
    if abs(report.profit_gap) / capital * 100 <= limits.drift_percent and not report.missed_bars:
        return None
    return Alert(
        f"drift:{report.live_run_id}",
        "warning",
        f"run {str(report.live_run_id)[:8]} drifts from its model",
        str(report),
        account_id,
    )

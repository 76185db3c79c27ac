"""Alerts: what a person should hear of, each once per cause and not more often than the limit allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol
from urllib import request

from sqlalchemy import select

from toolkit.clock import Clock
from toolkit.errors import BadInput, MissingPackage, must_be
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.review.drift import DriftReport
from toolkit.store.models import ExecutionIntent, GuardrailTrip, LiveRun
from toolkit.store.queries import visible_accounts

_RUNS: Any = LiveRun.__table__
_INTENTS: Any = ExecutionIntent.__table__
_TRIPS: Any = GuardrailTrip.__table__


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell.

    Attributes
    ----------
    key
        Names the cause; the same cause is told once per ``repeat`` of `AlertDesk`.
    level
        ``warning`` or ``error``.
    """

    key: str
    level: str
    title: str
    body: str


class Notifier(Protocol):
    """Carries an alert to people; False when it did not arrive."""

    def notify(self, alert: Alert) -> bool:
        """Send one alert."""


class AppriseNotifier:
    """Sends by Apprise: e-mail, chat, push or a webhook, one URL each.

    Raises
    ------
    MissingPackage
        When Apprise is not installed.
    BadInput
        When an address is not one that Apprise knows; the address itself is not repeated, it may hold a secret.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        try:
            import apprise
        except ImportError as error:
            raise MissingPackage("alerts need Apprise: pip install 'seatrial[worker]'") from error
        self._send = apprise.Apprise()
        for number, url in enumerate(urls, 1):
            if not self._send.add(url):
                raise BadInput(
                    must_be(
                        f"alert address {number}", "one that Apprise knows", "another", "see apprise's list of URLs"
                    )
                )

    def notify(self, alert: Alert) -> bool:
        """Send one alert."""
        kind = "failure" if alert.level == "error" else "warning"
        return bool(self._send.notify(title=alert.title, body=alert.body, notify_type=kind))


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """When a state becomes an alert, and how often people are told.

    Attributes
    ----------
    unknown_after, stale_after
        An UNKNOWN intent, a RUNNING run without a heartbeat, older than this.
    drift_percent
        Profit gap to the model in percent of capital.
    repeat
        The same cause is told again only after this.
    per_hour
        At most this many alerts in an hour; the last of them says that more were held back.
    """

    unknown_after: timedelta = timedelta(seconds=60)
    stale_after: timedelta = timedelta(seconds=120)
    drift_percent: Decimal = Decimal("0.5")
    repeat: timedelta = timedelta(hours=6)
    per_hour: int = 20


def find_alerts(engine: Engine, principal: Principal, limits: AlertLimits) -> list[Alert]:
    """Return what is wrong now on the accounts this principal sees: errors, UNKNOWN intents, trips, silent runs."""
    now = engine.now()
    mine = visible_accounts(principal)
    found: list[Alert] = []
    with engine.work(principal, write=False) as work:
        db = work.connection
        for run in db.execute(
            select(_RUNS).where(_RUNS.c.account_id.in_(mine), _RUNS.c.status.in_(("ERROR", "RUNNING")))
        ):
            name = f"run {str(run.live_run_id)[:8]} ({', '.join(run.symbols)} {run.timeframe})"
            if run.status == "ERROR":
                found.append(Alert(f"error:{run.live_run_id}", "error", f"{name} is in ERROR", run.last_error))
            elif run.heartbeat_at is None or now - run.heartbeat_at > limits.stale_after:
                seen = "never" if run.heartbeat_at is None else run.heartbeat_at.isoformat()
                found.append(Alert(f"stale:{run.live_run_id}", "error", f"{name} is silent", f"last heartbeat: {seen}"))
        query = select(_INTENTS).where(_INTENTS.c.account_id.in_(mine), _INTENTS.c.state.in_(("UNKNOWN", "ABANDONED")))
        for intent in db.execute(query):
            since: datetime = intent.unknown_since or intent.updated_at
            if now - since > limits.unknown_after:
                what = f"{intent.action} {intent.side} {intent.symbol} is {intent.state} since {since.isoformat()}"
                found.append(Alert(f"unknown:{intent.intent_id}", "error", "an order's fate is not known", what))
        trips = select(_TRIPS).where(_TRIPS.c.account_id.in_(mine), _TRIPS.c.reset_at.is_(None))
        found.extend(
            Alert(f"trip:{trip.trip_id}", "warning", f"guardrail {trip.rule} denied an entry", trip.reason)
            for trip in db.execute(trips)
            if now - trip.tripped_at <= timedelta(days=1)
        )
    return found


def drift_alert(report: DriftReport, capital: Decimal, limits: AlertLimits) -> Alert | None:
    """Return an alert when a run's drift is above the limit."""
    if abs(report.profit_gap) / capital * 100 <= limits.drift_percent and not report.missed_bars:
        return None
    return Alert(
        f"drift:{report.live_run_id}",
        "warning",
        f"run {str(report.live_run_id)[:8]} drifts from its model",
        str(report),
    )


@dataclass
class AlertDesk:
    """Tells people, rate-limited: each cause once per ``repeat``, and not more than ``per_hour`` in all."""

    notifier: Notifier
    clock: Clock
    limits: AlertLimits = field(default_factory=AlertLimits)
    _told: dict[str, datetime] = field(default_factory=dict)
    _sent: list[datetime] = field(default_factory=list)

    def tell(self, alerts: Iterable[Alert]) -> list[Alert]:
        """Send what is new and within the limits; return what arrived. What did not arrive is tried again next time."""
        arrived: list[Alert] = []
        for alert in alerts:
            now = self.clock.now()
            last = self._told.get(alert.key)
            if last is not None and now - last < self.limits.repeat:
                continue
            self._sent = [at for at in self._sent if now - at < timedelta(hours=1)]
            if len(self._sent) >= self.limits.per_hour:
                break
            if len(self._sent) == self.limits.per_hour - 1:
                more = f"{alert.body}\n(no more alerts for up to an hour: {self.limits.per_hour} were sent; look at the page)"
                alert = Alert(alert.key, alert.level, alert.title, more)
            if self.notifier.notify(alert):
                self._told[alert.key] = now
                self._sent.append(now)
                arrived.append(alert)
        return arrived


def dead_mans_heartbeat(url: str, *, opener: Callable[..., Any] = request.urlopen, timeout: float = 5.0) -> bool:
    """Call an outside address that raises the alarm when this stops; return whether it answered.

    Raises
    ------
    BadInput
        When the address is not http or https.
    """
    if not url.startswith(("https://", "http://")):
        raise BadInput(
            must_be("heartbeat address", "an http or https URL", url.split(":", 1)[0], "copy it from the service")
        )
    try:
        with opener(url, timeout=timeout) as answer:
            return 200 <= int(answer.status) < 300
    except OSError:
        return False  # the outside alarm will ring by itself; the caller counts it

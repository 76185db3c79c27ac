"""The watchdog: looks at the whole installation again and again, keeps what is wrong, tells people, says that we live.

Every process that hosts runs has one; `seatrial watch` is one that hosts nothing, on another machine if you like. What
each of them tells is agreed on in the database, so people hear of a cause once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from toolkit.errors import LeaseLost, ToolkitError
from toolkit.live.engine import Desk, Engine
from toolkit.live.hosting.turns import turn_of
from toolkit.live.review.drift import DriftReport, Model, measure_drift
from toolkit.live.watch.alerts import STANDING, Alert, AlertLimits, drift_alert, find_alerts
from toolkit.live.watch.balance import balance_alert, balance_due, check_balance, newest_check
from toolkit.live.watch.clocks import clock_alerts
from toolkit.live.watch.notify import AlertDesk, Nobody, Notifier, dead_mans_heartbeat, notifier_of
from toolkit.live.watch.retention import prune_older
from toolkit.store.runs import RunRecord, Runs, add_event
from toolkit.store.upkeep.alerts import clear_others
from toolkit.telemetry.logging import get_logger

_LOG = get_logger("watchdog")
_DRIFT_EVERY = timedelta(hours=1)
_PRUNE_EVERY = timedelta(days=1)


@dataclass(slots=True)
class _Seen:
    """What is known of one run's drift: when it was measured, over how many bars."""

    at: datetime
    bars: int
    alert: Alert | None


@dataclass
class Watchdog:
    """Looks once per `look`; nothing is remembered that the database does not know, but for when drift was measured.

    Parameters
    ----------
    engine
        The process's engine; desks that it has open are watched more closely (clock, balance).
    model
        The backtest that drift is measured against; None: drift is not measured here.
    notifier
        Who tells people; by the settings' addresses when left out.
    """

    engine: Engine
    model: Model | None = None
    notifier: Notifier | None = None
    limits: AlertLimits | None = None
    _drift: dict[UUID, _Seen] = field(default_factory=dict)
    _pruned: datetime | None = None

    def look(self) -> list[Alert]:
        """Look at everything once; return what is wrong now. A part that fails is logged and does not stop the others."""
        engine = self.engine
        limits = self.limits or AlertLimits.of(engine.settings)
        found = find_alerts(engine, engine.service, limits)
        looked_at = [*STANDING]
        desks = engine.open_desks()
        parts: list[tuple[list[str], Callable[[], list[Alert]]]] = [
            (["clock:database", *_keys("clock", desks)], lambda: clock_alerts(engine, desks, limits.skew_seconds)),
            (_keys("balance", desks), lambda: self._balances(desks)),
            (["drift:"] if self.model is not None else [], lambda: self._drifts(limits)),
        ]
        for keys, part in parts:
            try:
                found += part()
                looked_at += keys
            except ToolkitError as error:
                _LOG.warning("watch_retry", error=str(error))
        with engine.work(engine.service) as work:
            clear_others(work.connection, engine.now(), still={a.key for a in found}, looked_at=looked_at)
            work.commit()
        AlertDesk(engine, self._who(), limits).tell(found)
        self._prune()
        return found

    def beat(self) -> bool | None:
        """Call the outside alarm, if the settings name one; return whether it answered, None when there is none."""
        url = self.engine.settings.heartbeat_url.get_secret_value()
        if not url:
            return None
        heard = dead_mans_heartbeat(url)
        if not heard:
            _LOG.warning("heartbeat_not_heard")
        return heard

    def _who(self) -> Notifier:
        if self.notifier is None:
            try:
                self.notifier = notifier_of(self.engine.settings)
            except ToolkitError as error:
                # Runs go on without it; whoever reads the log or `seatrial doctor` sees why nobody is told.
                _LOG.error("alerts_not_sent", error=str(error))
                self.notifier = Nobody()
        return self.notifier

    def _balances(self, desks: list[Desk]) -> list[Alert]:
        """Check the balance of each open account once a platform day; a difference stands until the next day's check."""
        found: list[Alert] = []
        for desk in desks:
            with turn_of(self.engine, desk.account.account_id):
                try:
                    row = check_balance(self.engine, desk) if balance_due(self.engine, desk) else None
                except LeaseLost:
                    continue  # another process holds the account by now, and checks it
            alert = balance_alert(desk, row or newest_check(self.engine, desk))
            if alert is not None:
                found.append(alert)
        return found

    def _drifts(self, limits: AlertLimits) -> list[Alert]:
        """Measure the drift of each running run once an hour, keep it as an event, and return what is above the limit."""
        if self.model is None:
            return []
        engine = self.engine
        with engine.work(engine.service, write=False) as work:
            running = Runs(work.connection, engine.service).all(statuses=("RUNNING",))
        found: list[Alert] = []
        for run in running:
            seen = self._drift.get(run.live_run_id)
            due = seen is None or (engine.now() - seen.at >= _DRIFT_EVERY and run.bars_count != seen.bars)
            if run.stage != "shadow" and run.cursor is not None and due:
                seen = self._drift[run.live_run_id] = self._measure(run, self.model, limits)
            if seen is not None and seen.alert is not None:
                found.append(seen.alert)
        return found

    def _measure(self, run: RunRecord, model: Model, limits: AlertLimits) -> _Seen:
        engine = self.engine
        try:
            report = measure_drift(engine, engine.service, run.live_run_id, model)
        except ToolkitError as error:
            _LOG.warning("drift_not_measured", live_run_id=str(run.live_run_id), error=str(error))
            return _Seen(engine.now(), run.bars_count, None)
        keep_drift(engine, run, report)
        return _Seen(engine.now(), run.bars_count, drift_alert(report, run.capital, limits, run.account_id))

    def _prune(self) -> None:
        days = self.engine.settings.retention_days
        now = self.engine.now()
        if not days or (self._pruned is not None and now - self._pruned < _PRUNE_EVERY):
            return
        self._pruned = now
        prune_older(self.engine, now - timedelta(days=days))


def _keys(kind: str, desks: list[Desk]) -> list[str]:
    return [f"{kind}:{desk.account.account_id}" for desk in desks]


def keep_drift(engine: Engine, run: RunRecord, report: DriftReport) -> None:
    """Write a drift report into the run's history; the newest is the run's standing number."""
    level = "info" if report.is_zero else "warning"
    with engine.work(engine.service) as work:
        add_event(work.connection, engine.now(), run, "drift", str(report), level=level, data=report.as_dict())
        work.commit()


class WatchThread:
    """A watchdog on a thread of this process: looks every ``watch_seconds``, and once more when it is stopped."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look a last time and end."""
        self._stop.set()
        self._thread.join(30)

    def _watch(self) -> None:
        settings = self._watchdog.engine.settings
        clock = self._watchdog.engine.clock
        beaten = -1e9
        while True:
            ended = self._stop.wait(settings.watch_seconds)
            try:
                self._watchdog.look()
                if clock.monotonic() - beaten >= settings.heartbeat_seconds:
                    beaten = clock.monotonic()
                    self._watchdog.beat()
            except Exception as error:  # noqa: BLE001 - the one who raises alarms must outlive whatever it looks at
                _LOG.warning("watch_retry", error=str(error), error_class=type(error).__name__)
            if ended:
                return

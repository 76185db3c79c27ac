"""Prometheus metrics by the names operators alert on; without ``prometheus-client`` every call does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

# No label ever names an account, a run or a user: the page of metrics may be read by people who may not see those.
_COUNTERS = {
    "intents_total": ("Intents carried out, by the state they were left in", ("action", "state")),
    "sends_total": ("Commands sent to a platform, by outcome", ("platform", "outcome")),
    "resends_total": ("Commands sent again because the platform provably did not accept them", ("platform",)),
    "lease_steals_total": ("Accounts taken over from a worker that did not give them back", ()),
    "guardrail_trips_total": ("Entries denied, by guardrail", ("rule",)),
    "bars_total": ("Closed bars stepped by live runs", ("timeframe",)),
    "pointers_published_total": ("Pointers that a message broker has confirmed", ("gateway",)),
    "pointers_republished_total": ("Pointers sent again because the broker may have lost them", ("gateway",)),
    "results_published_total": ("Results that Kafka has confirmed", ()),
    "pointers_left_total": ("Pointers passed over because another worker or gateway has their account", ("why",)),
    "rebalances_total": ("Changes of this worker's partitions, by kind: assigned, revoked, lost", ("kind",)),
    "publish_failures_total": ("Pointers that the message broker did not take; they stay in the outbox", ("gateway",)),
    "messages_total": ("Messages that a worker has worked on", ("actor", "outcome")),
    "messages_refused_total": ("Messages that were not ours: forged, stale, foreign, oversized ...", ("why",)),
    "runs_revived_total": ("Runs that had gone silent and were advanced again by the watchdog", ()),
    "loop_failures_total": ("Looks of a worker's scheduler that failed and were tried again", ("loop",)),
}
_GAUGES = {
    "intents_now": ("Intents in a state that is not an end", ("state",)),
    "oldest_unknown_seconds": ("Age of the oldest UNKNOWN intent", ()),
    "oldest_new_seconds": ("Age of the oldest NEW intent", ()),
    "outbox_waiting": ("Pointers not yet handed over", ()),
    "oldest_outbox_seconds": ("Age of the oldest pointer not yet handed over", ()),
    "runs_now": ("Live runs, by status", ("status",)),
    "oldest_heartbeat_seconds": ("Seconds since the most silent RUNNING run last stepped", ()),
    "late_fills": ("Fills adopted after we had given them up, as recorded", ()),
    "foreign_positions": ("Positions at the platforms of this worker that are not ours", ()),
    "consumer_lag": ("Messages of this worker's partitions that it has not finished", ("partition",)),
    "accounts_held": ("Accounts that this worker serves now", ()),
}
_HISTOGRAMS = {
    "send_seconds": ("From the send to the platform's answer", ("platform",)),
    "signal_to_send_seconds": ("From the intent's row to the first line of the platform's call", ("gateway",)),
    "message_wait_seconds": ("From the sending of a message to the first line of its actor", ("actor",)),
    "message_seconds": ("How long an actor worked on a message", ("actor",)),
    "reconcile_seconds": ("One complete reconciliation of an account", ()),
    "advance_lag_seconds": ("From a bar's expected close to the step that took it", ("timeframe",)),
}
_BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.012, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


def metric_names() -> frozenset[str]:
    """Return every name that a page of metrics can show, as Prometheus writes them, buckets and sums included."""
    plain = {f"seatrial_{name}" for name in (*_COUNTERS, *_GAUGES)}
    return frozenset(plain | {f"seatrial_{name}_{part}" for name in _HISTOGRAMS for part in ("bucket", "sum", "count")})


class Metrics:
    """The metrics of this process.

    Parameters
    ----------
    registry
        A Prometheus registry; one of its own by default, so that two of them in one process do not collide.
    """

    def __init__(self, registry: Any = None) -> None:
        self._known: dict[str, Any] = {}
        try:
            import prometheus_client as prom
        except ImportError:
            self.registry: Any = None
            return
        self.registry = registry if registry is not None else prom.CollectorRegistry()
        for name, (text, labels) in _COUNTERS.items():
            self._known[name] = prom.Counter(f"seatrial_{name}", text, labels, registry=self.registry)
        for name, (text, labels) in _GAUGES.items():
            self._known[name] = prom.Gauge(f"seatrial_{name}", text, labels, registry=self.registry)
        for name, (text, labels) in _HISTOGRAMS.items():
            self._known[name] = prom.Histogram(
                f"seatrial_{name}", text, labels, registry=self.registry, buckets=_BUCKETS
            )

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded."""
        return self.registry is not None

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._check(name, _COUNTERS)
        if self.enabled:
            self._labelled(name, labels).inc(amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._check(name, _GAUGES)
        if self.enabled:
            self._labelled(name, labels).set(value)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add an observation to a histogram, in seconds."""
        self._check(name, _HISTOGRAMS)
        if self.enabled:
            self._labelled(name, labels).observe(seconds)

    @contextmanager
    def timed(self, name: str, **labels: str) -> Iterator[None]:
        """Observe how long the block takes."""
        started = perf_counter()
        try:
            yield
        finally:
            self.observe(name, perf_counter() - started, **labels)

    def exposition(self) -> str:
        """Return all metrics in Prometheus' text format; empty when disabled."""
        if not self.enabled:
            return ""
        import prometheus_client as prom

        return prom.generate_latest(self.registry).decode()

    def _labelled(self, name: str, labels: dict[str, str]) -> Any:
        metric = self._known[name]
        return metric.labels(**labels) if labels else metric

    @staticmethod
    def _check(name: str, table: dict[str, Any]) -> None:
        if name not in table:
            raise KeyError(f"metric must be one of {', '.join(table)}, was {name}: add it to toolkit.telemetry.metrics")


NO_METRICS = Metrics.__new__(Metrics)
NO_METRICS._known = {}
NO_METRICS.registry = None

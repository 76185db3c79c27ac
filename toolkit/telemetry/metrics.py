"""Prometheus metrics by the names operators alert on; without ``prometheus-client`` every call does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

_COUNTERS = {
    "intents_total": ("Intents that reached a state", ("action", "state")),
    "sends_total": ("Commands sent to a platform, by outcome", ("platform", "outcome")),
    "resends_total": ("Commands sent again because the platform provably did not accept them", ("platform",)),
    "lease_steals_total": ("Leases taken over after they ran out", ()),
    "late_fills_total": ("Fills adopted after we had given them up", ()),
    "guardrail_trips_total": ("Entries denied by a guardrail", ("rule",)),
    "bars_total": ("Closed bars stepped by live runs", ("timeframe",)),
}
_GAUGES = {
    "unknown_intents": ("Intents whose outcome at the platform is not known", ("account",)),
    "oldest_unknown_seconds": ("Age of the oldest UNKNOWN intent", ("account",)),
    "abandoned_intents": ("Intents given up on, still holding their slot", ("account",)),
    "foreign_positions": ("Positions at the platform that are not ours", ("account",)),
    "heartbeat_age_seconds": ("Seconds since a live run last stepped", ("live_run",)),
    "outbox_waiting": ("Pointers not yet handed over", ("account",)),
}
_HISTOGRAMS = {
    "send_seconds": ("From the send to the platform's answer", ("platform",)),
    "signal_to_fill_seconds": ("From the intent's row to the recorded fill", ("gateway",)),
    "reconcile_seconds": ("One complete reconciliation of an account", ()),
}
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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

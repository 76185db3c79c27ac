"""Log lines and metrics of a TradeService: one line per intent carried out, with its correlation ids."""

from __future__ import annotations

from contextlib import AbstractContextManager
from uuid import UUID

from toolkit.telemetry.logging import correlated, get_logger
from toolkit.telemetry.metrics import Metrics

_QUIET = frozenset({"FILLED", "WORKING", "DENIED", "CANCELLED"})


class TelemetryWatch:
    """What `toolkit.execution.trade_service.TradeService` is given as ``watch``.

    Parameters
    ----------
    account_id
        In every line of this service.
    metrics
        Where counts and times go.
    gateway
        What carries the account's intents; a label of the time from signal to send.
    """

    def __init__(self, account_id: UUID, metrics: Metrics, gateway: str = "local") -> None:
        self._account_id = account_id
        self._metrics = metrics
        self._gateway = gateway
        self._log = get_logger("execution")

    def executing(self, intent_id: UUID, live_run_id: UUID | None, signal_id: str) -> AbstractContextManager[None]:
        """Give every line written inside the ids of the intent."""
        return correlated(
            account_id=self._account_id, live_run_id=live_run_id, signal_id=signal_id or None, intent_id=intent_id
        )

    def carried_out(self, action: str, state: str, reason: str, attempt: int) -> None:
        """Count the state, and write one line; trouble as a warning."""
        self._metrics.count("intents_total", action=action, state=state)
        if state == "DENIED":
            self._metrics.count("guardrail_trips_total", rule=reason or "unnamed")
        write = self._log.info if state in _QUIET else self._log.warning
        write("intent_carried_out", action=action, state=state, reason=reason, attempt=attempt)

    def sent(self, platform: str, outcome: str, seconds: float, *, attempt: int, waited_seconds: float) -> None:
        """Count the outcome, and observe how long the intent waited and how long the platform took."""
        self._metrics.count("sends_total", platform=platform, outcome=outcome)
        self._metrics.observe("send_seconds", seconds, platform=platform)
        if attempt > 1:
            self._metrics.count("resends_total", platform=platform)
        else:
            self._metrics.observe("signal_to_send_seconds", waited_seconds, gateway=self._gateway)
        self._log.debug("sent", platform=platform, outcome=outcome, milliseconds=round(seconds * 1000, 3))

    def lease_stolen(self) -> None:
        """Count a takeover, and say so."""
        self._metrics.count("lease_steals_total")
        self._log.warning("lease_stolen", account_id=str(self._account_id))

"""What happens around each message: correlation ids in the log, counts, and a dead letter when an actor raises."""

from __future__ import annotations

import time
from typing import Any

import structlog
from dramatiq import Middleware
from dramatiq.broker import Broker, MessageProxy

from toolkit.telemetry.logging import get_logger
from toolkit.telemetry.metrics import NO_METRICS, Metrics

_LOG = get_logger("worker")
_STARTED = "seatrial_started"


class CorrelationContext(Middleware):
    """Binds message id and queue to the log for as long as the actor runs, and accepts the options our actors state."""

    @property
    def actor_options(self) -> set[str]:
        """What Dramatiq's Retries, TimeLimit and ShutdownNotifications would read; none of them is installed."""
        return {"max_retries", "time_limit", "notify_shutdown"}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Bind the ids."""
        structlog.contextvars.bind_contextvars(message_id=message.message_id, queue=message.queue_name)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Unbind them."""
        structlog.contextvars.unbind_contextvars("message_id", "queue")


class MessageMetrics(Middleware):
    """Counts messages by actor and outcome, and observes how long they waited and took.

    Parameters
    ----------
    metrics
        Set once the worker's engine is built.
    """

    def __init__(self) -> None:
        self.metrics: Metrics = NO_METRICS

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Note when the actor begins."""
        message.options[_STARTED] = time.perf_counter()
        waited = time.time() - message.message_timestamp / 1000
        self.metrics.observe("message_wait_seconds", max(0.0, waited), actor=self._known(broker, message))

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Count the outcome."""
        actor = self._known(broker, message)
        started = message.options.pop(_STARTED, None)
        if started is not None:
            self.metrics.observe("message_seconds", time.perf_counter() - started, actor=actor)
        self.metrics.count("messages_total", actor=actor, outcome="done" if exception is None else "dead_letter")

    @staticmethod
    def _known(broker: Broker, message: MessageProxy) -> str:
        # a name out of a message is not ours until it is one of our actors': nobody may invent labels
        return message.actor_name if message.actor_name in broker.actors else "unknown"


class DeadLetterOnError(Middleware):
    """A message whose actor raised is not tried again by the message broker; it is kept for an operator."""

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Fail the message, so that it is moved to the dead-letter queue."""
        if exception is not None:
            message.fail()
            _LOG.error(
                "dead_letter", message_id=message.message_id, queue=message.queue_name, error=repr(exception)[:500]
            )

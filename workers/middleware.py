"""What happens around each message: correlation ids in the log, and a dead letter when an actor raises."""

from __future__ import annotations

from typing import Any

import structlog
from dramatiq import Middleware
from dramatiq.broker import Broker, MessageProxy

from toolkit.telemetry.logging import get_logger

_LOG = get_logger("worker")


class CorrelationContext(Middleware):
    """Binds message id and queue to the log for as long as the actor runs."""

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Bind the ids."""
        structlog.contextvars.bind_contextvars(message_id=message.message_id, queue=message.queue_name)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Unbind them."""
        structlog.contextvars.unbind_contextvars("message_id", "queue")


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

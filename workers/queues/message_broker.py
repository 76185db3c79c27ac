"""The message broker of a worker process: ours, with exactly the middleware we want."""

from __future__ import annotations

from toolkit.errors import BadInput, must_be
from toolkit.gateways.envelope import KeyRing
from toolkit.gateways.message_brokers import DeadLetterBroker, make_message_broker
from toolkit.settings import Settings
from workers.queues.middleware import CorrelationContext, DeadLetterOnError, MessageMetrics


def open_message_broker(kind: str, settings: Settings, counting: MessageMetrics | None = None) -> DeadLetterBroker:
    """Make the message broker of a gateway, with our middleware only.

    Dramatiq's defaults are left out on purpose: its retries would send a stale entry days later, and its time limit raises
    inside a call to the platform and loses the answer. Retry and deadline belong to the intent's row.

    Raises
    ------
    BadInput
        When ``kind`` is not ``redis`` or ``rabbitmq``.
    """
    broker = make_message_broker(
        kind,
        redis_url=settings.redis_url.get_secret_value(),
        rabbitmq_url=settings.rabbitmq_url.get_secret_value(),
    )
    broker.add_middleware(CorrelationContext())
    if counting is not None:
        broker.add_middleware(counting)
    broker.add_middleware(DeadLetterOnError())
    return broker


def signing_ring(settings: Settings) -> KeyRing:
    """Return the signing keys; a bus does not start without one.

    Raises
    ------
    BadInput
        When no key is set or one is malformed.
    """
    text = settings.signing_key.get_secret_value()
    if not text:
        raise BadInput(
            must_be(
                "SEATRIAL_SIGNING_KEY",
                "set for a message broker",
                "empty",
                "set it to <id>:<secret of 16 bytes or more>",
            )
        )
    return KeyRing.parse(text)


__all__ = ["open_message_broker", "signing_ring"]

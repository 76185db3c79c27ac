"""Gateways over Dramatiq: they publish signed pointers from the outbox to the account's queue."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from dramatiq.errors import ConnectionClosed, ConnectionFailed
from dramatiq.message import Message
from redis.exceptions import RedisError

from toolkit.clock import Clock
from toolkit.errors import GatewayError
from toolkit.execution.ledger.store import IntentStore
from toolkit.execution.principal import Principal
from toolkit.gateways.envelope import KeyRing, Pointer, seal
from toolkit.gateways.message_brokers import DeadLetterBroker, intent_queue
from toolkit.gateways.outbox_relay import OutboxRelay, not_counted

EXECUTE_ACTOR = "execute_intent"


class _ExecutionGatewayBus(OutboxRelay):
    """Publishes an account's outbox to its queue on a message broker, in order.

    Parameters
    ----------
    broker
        Where to publish; see ``toolkit.gateways.message_brokers``.
    """

    def __init__(
        self,
        broker: DeadLetterBroker,
        ring: KeyRing,
        store: IntentStore,
        principal: Principal,
        clock: Clock,
        count: Callable[..., None] = not_counted,
    ) -> None:
        super().__init__(ring, store, principal, clock, count)
        self._broker = broker

    def _publish(self, account_id: UUID, intent_id: UUID, key: str) -> None:
        sealed = seal(Pointer(intent_id, account_id, key, self._clock.now()), self._ring)
        message: Message[None] = Message(
            queue_name=intent_queue(account_id), actor_name=EXECUTE_ACTOR, args=(sealed,), kwargs={}, options={}
        )
        try:
            self._broker.declare_queue(message.queue_name)
            self._broker.enqueue(message)
        except (ConnectionClosed, ConnectionFailed, RedisError, OSError) as error:
            self._count("publish_failures_total", gateway=self.name)
            raise GatewayError(
                f"the {self.name} message broker did not take intent {intent_id}: {error}; it stays in the outbox"
            ) from error


class ExecutionGatewayRedis(_ExecutionGatewayBus):
    """Publishes intents to Redis."""

    name = "redis"


class ExecutionGatewayRMQ(_ExecutionGatewayBus):
    """Publishes intents to RabbitMQ quorum queues, with confirms and mandatory routing."""

    name = "rabbitmq"


__all__ = ["EXECUTE_ACTOR", "ExecutionGatewayRMQ", "ExecutionGatewayRedis"]

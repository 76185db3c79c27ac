"""What carries an account's messages to this worker: queues of a Dramatiq broker, or Kafka; the rest is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import dramatiq
from dramatiq.errors import BrokerError
from pika.exceptions import AMQPError
from redis.exceptions import RedisError

from toolkit.clock import SYSTEM
from toolkit.errors import BadInput, must_be
from toolkit.execution.ledger.store import IntentStore
from toolkit.execution.principal import Principal
from toolkit.gateways.dramatiq_bus import ExecutionGatewayRedis, ExecutionGatewayRMQ
from toolkit.gateways.envelope import KeyRing
from toolkit.gateways.message_brokers import DeadLetterBroker, intent_queue, live_queue
from toolkit.gateways.outbox_relay import OutboxRelay
from toolkit.live.engine import Engine
from toolkit.settings import Settings
from workers.actors import AccountActors
from workers.queues.consuming import AccountWorker
from workers.queues.message_broker import open_message_broker
from workers.queues.middleware import MessageMetrics
from workers.roster import Roster

GATEWAYS = ("redis", "rabbitmq", "kafka")


class Carriage(Protocol):
    """How messages reach the actors of one worker process."""

    @property
    def broker(self) -> dramatiq.Broker:
        """What has the actors and the queues of `advance` calls."""

    def gateway(self, engine: Engine, store: IntentStore, principal: Principal) -> OutboxRelay:
        """Return a gateway that publishes here."""

    def bind(self, engine: Engine, roster: Roster, actors: AccountActors) -> None:
        """Learn whom messages are for; called once, before `start`."""

    def wants(self, account_id: UUID) -> bool:
        """Whether messages of the account come to this process."""

    def start(self) -> None:
        """Begin to consume, where that does not depend on accounts."""

    def join(self, account_id: UUID, worker: AccountWorker) -> None:
        """Begin to consume an account's messages."""

    def leave(self, account_id: UUID, worker: AccountWorker) -> None:
        """Consume an account's messages no more."""

    def trouble(self) -> str:
        """Return what keeps the message broker from answering; empty while it answers."""

    def stop(self) -> None:
        """Consume nothing more; what is being executed is finished."""

    def close(self) -> None:
        """Close the connections."""


class DramatiqCarriage:
    """Two queues for each account on Redis or RabbitMQ."""

    def __init__(self, kind: str, settings: Settings, ring: KeyRing, counting: MessageMetrics) -> None:
        self.broker: DeadLetterBroker = open_message_broker(kind, settings, counting)
        self._gateway = ExecutionGatewayRedis if kind == "redis" else ExecutionGatewayRMQ
        self._ring = ring

    def gateway(self, engine: Engine, store: IntentStore, principal: Principal) -> OutboxRelay:
        """Return a gateway that publishes here."""
        return self._gateway(self.broker, self._ring, store, principal, SYSTEM, engine.metrics.count)

    def bind(self, engine: Engine, roster: Roster, actors: AccountActors) -> None:
        """Do nothing: the actors are the broker's."""

    def wants(self, account_id: UUID) -> bool:
        """Every account's queues may be consumed here."""
        return True

    def start(self) -> None:
        """Do nothing: queues are consumed as accounts join."""

    def join(self, account_id: UUID, worker: AccountWorker) -> None:
        """Consume both queues of the account."""
        worker.attach(intent_queue(account_id))
        worker.attach(live_queue(account_id))

    def leave(self, account_id: UUID, worker: AccountWorker) -> None:
        """Consume neither."""
        worker.detach(intent_queue(account_id))
        worker.detach(live_queue(account_id))

    def trouble(self) -> str:
        """Return the name of the error that a ping raises."""
        try:
            self.broker.ping()
        except (BrokerError, RedisError, AMQPError, OSError) as error:
            return type(error).__name__
        return ""

    def stop(self) -> None:
        """Do nothing: Dramatiq's worker stops its consumers."""

    def close(self) -> None:
        """Close the broker."""
        self.broker.close()


def open_carriage(
    kind: str, settings: Settings, names: Sequence[str], ring: KeyRing, counting: MessageMetrics
) -> Carriage:
    """Return the carriage of a gateway by name.

    Raises
    ------
    BadInput
        When workers do not serve that gateway.
    """
    if kind not in GATEWAYS:
        raise BadInput(
            must_be("gateway of a worker", "redis, rabbitmq or kafka", kind, "a local gateway needs no worker")
        )
    if kind == "kafka":
        from workers.kafka.carriage import KafkaCarriage

        return KafkaCarriage(settings, names, ring, counting)
    return DramatiqCarriage(kind, settings, ring, counting)


__all__ = ["GATEWAYS", "Carriage", "DramatiqCarriage", "open_carriage"]

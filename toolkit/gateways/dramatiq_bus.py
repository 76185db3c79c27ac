"""Gateways over Dramatiq: they publish signed pointers from the outbox to the account's queue.

Publishing is at least once: a pointer is marked only after the message broker has it, so a crash between the two sends
it again, and a pointer whose intent is still NEW after a while is sent again in case the broker lost it. Both are
harmless: the intent's row decides whether there is anything left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from dramatiq.errors import ConnectionClosed, ConnectionFailed
from dramatiq.message import Message
from redis.exceptions import RedisError

from toolkit.clock import Clock
from toolkit.errors import GatewayError
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.store import IntentStore
from toolkit.execution.principal import Principal
from toolkit.gateways.envelope import KeyRing, Pointer, seal
from toolkit.gateways.message_brokers import DeadLetterBroker, intent_queue

EXECUTE_ACTOR = "execute_intent"
REPUBLISH_AFTER = timedelta(seconds=2)
_LONGEST_WAIT = timedelta(seconds=30)
_BATCH = 100


def _not_counted(_name: str, **_labels: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class _Repeat:
    due: datetime
    pause: timedelta  # after that


class _ExecutionGatewayBus:
    """Publishes an account's outbox to its queue on a message broker, in order.

    Parameters
    ----------
    broker
        Where to publish; see ``toolkit.gateways.message_brokers``.
    ring
        Signs the pointers.
    store, principal, clock
        Where the outbox is, who reads it, and the time that goes into the pointers.
    count
        Counts publications by the metric's name (``toolkit.telemetry.metrics.Metrics.count``).
    """

    name = ""

    def __init__(
        self,
        broker: DeadLetterBroker,
        ring: KeyRing,
        store: IntentStore,
        principal: Principal,
        clock: Clock,
        count: Callable[..., None] = _not_counted,
    ) -> None:
        self._broker = broker
        self._ring = ring
        self._store = store
        self._principal = principal
        self._clock = clock
        self._count = count
        self._again: dict[UUID, dict[UUID, _Repeat]] = {}  # by account and intent

    def deliver(self, account_id: UUID) -> Sequence[UUID]:
        """Publish what the outbox holds for the account, in order, each with the broker's confirm.

        Returns
        -------
        sequence of UUID
            Intents whose pointers the message broker has taken.

        Raises
        ------
        GatewayError
            When the message broker did not take a pointer; it and those after it stay in the outbox.
        """
        taken: list[UUID] = []
        while True:
            with self._store.begin(self._principal, write=False) as work:
                rows = work.unpublished(account_id, _BATCH)
            if not rows:
                return taken
            sent: list[int] = []
            try:
                for row in rows:
                    self._publish(account_id, row.intent_id, row.idempotency_key)
                    self._count("pointers_published_total", gateway=self.name)
                    sent.append(row.outbox_id)
                    taken.append(row.intent_id)
            finally:
                if sent:
                    with self._store.begin(self._principal) as work:
                        for outbox_id in sent:
                            work.mark_published(outbox_id, self._clock.now())
                        work.commit()

    def republish_lost(self, account_id: UUID) -> Sequence[UUID]:
        """Publish again the pointers of intents that were handed over and are still NEW: the broker may have lost them.

        The first time after two seconds, then after pauses that double up to half a minute: behind a slow platform a pointer
        that waits its turn must not be multiplied.

        Raises
        ------
        GatewayError
            When the message broker does not answer.
        """
        now = self._clock.now()
        with self._store.begin(self._principal, write=False) as work:
            waiting = {row.intent_id for row in work.unpublished(account_id, 10_000)}
            lost = [
                intent
                for intent in work.intents_in(account_id, {IntentState.NEW})
                if intent.intent_id not in waiting and intent.updated_at < now - REPUBLISH_AFTER
            ]
        before = self._again.get(account_id, {})
        repeats = {one.intent_id: before.get(one.intent_id, _Repeat(now, REPUBLISH_AFTER)) for one in lost}
        self._again[account_id] = repeats
        lost = [one for one in lost if repeats[one.intent_id].due <= now]
        for intent in lost:
            self._publish(account_id, intent.intent_id, intent.idempotency_key)
            pause = repeats[intent.intent_id].pause
            repeats[intent.intent_id] = _Repeat(now + pause, min(2 * pause, _LONGEST_WAIT))
            self._count("pointers_republished_total", gateway=self.name)
        return [intent.intent_id for intent in lost]

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

"""Dramatiq message brokers that fit one account, one queue, one worker.

Two subclasses of Dramatiq's own brokers. The Redis one blocks on a wake-up token instead of polling, hands a killed
worker's messages back within the heartbeat time-out, and keeps dead letters until an operator deals with them. The
RabbitMQ one declares quorum queues with a single active consumer, a delivery limit and an at-least-once dead-letter
queue, and waits for the broker's confirm on every publish.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import dramatiq
import pika
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer, _scripts
from dramatiq.common import current_millis, dq_name, xq_name
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message
from pika.exceptions import AMQPChannelError, AMQPConnectionError

from toolkit.errors import BadInput, must_be

if TYPE_CHECKING:
    from collections.abc import Callable

    from dramatiq.broker import Consumer, MessageProxy

NAMESPACE = "seatrial"
INTENT_QUEUE_PREFIX = "trade.intents.v1"
LIVE_QUEUE_PREFIX = "live.v1"
DELIVERY_LIMIT = 5
_DEAD_LETTER_TRIES = 4
_DECLARE_TRIES = 4
_INTERNAL_ERROR = 541
_ATTEND_SECONDS = 0.9
HEARTBEAT_TIMEOUT_MS = 5_000

# Ten years: a dead letter is evidence, only an operator removes it.
_DEAD_LETTER_TTL_MS = 10 * 365 * 86_400_000
# Tokens left over from messages that were fetched without waiting; each costs one empty fetch later.
_MAX_WAKE_TOKENS = 64

# Appended to Dramatiq's own dispatch script, so that message and token are one atomic step. Only the commands that end
# without a `return` come this far, and these two are the ones that make a message available.
_WAKE = f"""
if command == "enqueue" or command == "requeue" then
    redis.call("rpush", queue_full_name .. ".wake", "1")
    redis.call("ltrim", queue_full_name .. ".wake", {-_MAX_WAKE_TOKENS}, -1)
end
"""


def intent_queue(account_id: UUID) -> str:
    """Name of the queue (and routing key) that carries an account's intents."""
    return f"{INTENT_QUEUE_PREFIX}.{account_id}"


def live_queue(account_id: UUID) -> str:
    """Name of the queue that carries an account's ``advance`` calls."""
    return f"{LIVE_QUEUE_PREFIX}.{account_id}"


class _WokenConsumer(_RedisConsumer):
    """Waits on a token (BLPOP) while the queue is empty, and on the next ack while its prefetch is used up."""

    def __init__(self, broker: BlockingRedisBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self._wake_key = f"{broker.namespace}:{queue_name}.wake"
        self._room = threading.Event()
        # BLPOP holds its connection; a client of its own keeps it out of the pool that acks and publishes use
        self._waiter = broker.new_waiter()

    def ack(self, message: MessageProxy) -> None:
        super().ack(message)
        self._room.set()

    def nack(self, message: MessageProxy) -> None:
        super().nack(message)
        self._room.set()

    def close(self) -> None:
        self._waiter.close()

    def __next__(self) -> MessageProxy | None:
        try:
            while not self.message_cache:
                self._room.clear()
                room = self.prefetch - self.outstanding_message_count
                if room <= 0:
                    if not self._room.wait(self.timeout / 1000):
                        self.broker.do_fetch(self.queue_name, 0)  # keeps our heartbeat while a long call runs
                        return None
                    continue
                self.message_cache = self.broker.do_fetch(self.queue_name, room)
                if self.message_cache:
                    break
                if self._waiter.blpop([self._wake_key], timeout=max(self.timeout, 1) / 1000) is None:
                    return None
            data = self.message_cache.pop(0)
            if data is None:  # the id was queued, its body is gone (FLUSHALL between two commands): nothing to run
                return None
            message = Message.decode(data)
            self.queued_message_ids.add(message.message_id)
            return dramatiq.broker.MessageProxy(message)
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None


class BlockingRedisBroker(RedisBroker):
    """Dramatiq's Redis broker without its polling.

    Dramatiq's consumer sleeps up to a second while its queue is empty and while its prefetch is used up. Here every
    enqueue leaves a token in the same Lua call, and an idle consumer blocks on it. The blocking call times out after
    the worker's idle time-out (1 s), which is also the fallback poll and keeps the heartbeat.

    Maintenance of a queue runs by the clock, five times per `heartbeat_timeout`, instead of with one command in a thousand,
    so messages of a killed worker come back as soon as its heartbeat is older than that.

    Parameters
    ----------
    url
        ``redis://`` or ``rediss://``.
    heartbeat_timeout
        Milliseconds without a sign of life after which a worker's messages are handed to another.
    """

    def __init__(self, url: str, *, heartbeat_timeout: int = HEARTBEAT_TIMEOUT_MS, namespace: str = NAMESPACE) -> None:
        super().__init__(
            url=url,
            middleware=[],
            namespace=namespace,
            heartbeat_timeout=heartbeat_timeout,
            dead_message_ttl=_DEAD_LETTER_TTL_MS,
        )
        self._url = url
        self._maintained: dict[str, float] = {}
        self._maintain_every = heartbeat_timeout / 5000
        self.scripts["dispatch"] = self.client.register_script(_scripts["dispatch"] + _WAKE.encode())

    @property
    def consumer_class(self) -> type[Consumer]:
        return _WokenConsumer

    def _dispatch(self, command: str) -> Callable[..., Any]:
        script, keys = self.scripts["dispatch"], [self.namespace]

        def dispatch(queue_name: str, *args: Any) -> Any:
            due = int(self._maintenance_due(queue_name))
            head = (
                command,
                current_millis(),
                queue_name,
                self.broker_id,
                self.heartbeat_timeout,
                self.dead_message_ttl,
                due,
            )
            return script(args=[*head, self._max_unpack_size(), *args], keys=keys)

        setattr(self, f"do_{command}", dispatch)  # found without `__getattr__` from now on
        return dispatch

    def _maintenance_due(self, queue_name: str) -> bool:
        now = time.monotonic()
        if now - self._maintained.get(queue_name, -self._maintain_every) < self._maintain_every:
            return False
        self._maintained[queue_name] = now
        return True

    def new_waiter(self) -> redis.Redis:
        """Make a client with one connection, for a consumer to block on."""
        return redis.Redis.from_url(self._url, single_connection_client=True)

    def ping(self) -> None:
        """Ask the server for a sign of life; raises when there is none."""
        self.client.ping()

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """Return how many messages wait in a queue, in its delay queue and among its dead letters."""
        key = f"{self.namespace}:{queue_name}"
        with self.client.pipeline(transaction=False) as pipe:
            pipe.llen(key)
            pipe.llen(dq_name(key))
            pipe.zcard(xq_name(key))
            waiting, delayed, dead = pipe.execute()
        return int(waiting), int(delayed), int(dead)

    def dead_letters(self, queue_name: str) -> list[Message[Any]]:
        """Return the dead letters of a queue, oldest first, without removing them."""
        key = f"{self.namespace}:{xq_name(queue_name)}"
        ids = cast("list[bytes]", self.client.zrange(key, 0, -1))
        bodies = cast("list[bytes | None]", self.client.hmget(f"{key}.msgs", ids)) if ids else []
        return [Message.decode(body) for body in bodies if body is not None]

    def drop_dead_letter(self, queue_name: str, message_id: str) -> bool:
        """Remove one dead letter by its message id; return whether it was there."""
        key = f"{self.namespace}:{xq_name(queue_name)}"
        for redis_id, body in cast("dict[bytes, bytes]", self.client.hgetall(f"{key}.msgs")).items():
            if Message.decode(body).message_id == message_id:
                with self.client.pipeline(transaction=True) as pipe:
                    pipe.zrem(key, redis_id)
                    pipe.hdel(f"{key}.msgs", redis_id)
                    pipe.execute()
                return True
        return False


class _AttendedConsumer(_RabbitmqConsumer):
    """Makes sure, while it has nothing to do, that its queue still knows and serves it.

    When a quorum queue is deleted and declared again within a moment, RabbitMQ 3.10 may keep a consumer that belongs to neither,
    or one that is counted and never served: it is not cancelled, and messages wait before its eyes. Found by the chaos lane.
    A consumer that sees messages ready at two looks in a row while it holds none connects again.
    """

    def __init__(self, broker: QuorumRabbitmqBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self._looked_at = time.monotonic()
        self._passed_over = False

    def __next__(self) -> MessageProxy | None:
        message = cast("MessageProxy | None", super().__next__())
        if message is not None or self.known_tags:
            self._passed_over = False
        elif time.monotonic() - self._looked_at > _ATTEND_SECONDS:
            self._looked_at = time.monotonic()
            try:
                queue = self.channel.queue_declare(self.queue_name, passive=True).method
            except (AMQPConnectionError, AMQPChannelError) as error:
                if getattr(error, "reply_code", None) == 404:
                    self.broker.queues_pending.add(self.queue_name)
                raise ConnectionClosed(error) from None
            if queue.consumer_count == 0 or (queue.message_count and self._passed_over):
                raise ConnectionClosed(RuntimeError(f"queue {self.queue_name} has lost its consumer")) from None
            self._passed_over = bool(queue.message_count)
        return message


class QuorumRabbitmqBroker(RabbitmqBroker):
    """Dramatiq's RabbitMQ broker on quorum queues, with publisher confirms and mandatory routing.

    A queue has one active consumer at a time, so an account's intents keep their order and a second worker takes over
    when the first one's connection goes. A message that was delivered `DELIVERY_LIMIT` times without an ack moves to
    the dead-letter queue ``<queue>.XQ``, which keeps it until an operator deals with it.

    Parameters
    ----------
    url
        ``amqp://`` or ``amqps://``, with the virtual host.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url=url, middleware=[], confirm_delivery=True)

    @property
    def consumer_class(self) -> type[Consumer]:
        return _AttendedConsumer

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return cast("dict[str, Any]", super()._build_queue_arguments(queue_name)) | {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-dead-letter-strategy": "at-least-once",
        }

    def _ensure_queue(self, canonical_queue_name: str) -> None:
        # Declared again within a moment of its deletion, a quorum queue may meet what is left of the old one: RabbitMQ 3.10
        # answers 541 then. It is declared on a fresh connection after a pause, and a queue that stays broken is removed
        # first: it holds pointers only, which the outbox sends again.
        for attempt in range(_DECLARE_TRIES):
            if canonical_queue_name not in self.queues_pending:
                return
            try:
                self._declare_queue(canonical_queue_name)
                self._declare_dq_queue(canonical_queue_name)
                self._declare_xq_queue(canonical_queue_name)
                self.queues_pending.discard(canonical_queue_name)
            except (AMQPConnectionError, AMQPChannelError) as error:
                del self.connection
                code = getattr(error, "reply_code", None)
                if attempt + 1 == _DECLARE_TRIES or (code is None and attempt):
                    raise ConnectionClosed(error) from None
                if code == _INTERNAL_ERROR and attempt:
                    self._remove_broken(canonical_queue_name)
                if code is not None:
                    time.sleep(0.1 * 2**attempt)

    def _remove_broken(self, queue_name: str) -> None:
        """Remove an account's queue that the server cannot serve; never its dead letters."""
        try:
            self.channel.queue_delete(queue_name)
        except (AMQPConnectionError, AMQPChannelError):
            del self.connection

    def _declare_queue(self, queue_name: str) -> Any:
        arguments = self._build_queue_arguments(queue_name) | {
            "x-single-active-consumer": True,
            "x-delivery-limit": DELIVERY_LIMIT,
        }
        return self.channel.queue_declare(queue=queue_name, durable=True, arguments=arguments)

    def _declare_dq_queue(self, queue_name: str) -> Any:
        return self.channel.queue_declare(
            queue=dq_name(queue_name), durable=True, arguments=self._build_queue_arguments(queue_name)
        )

    def _declare_xq_queue(self, queue_name: str) -> Any:
        return self.channel.queue_declare(queue=xq_name(queue_name), durable=True, arguments={"x-queue-type": "quorum"})

    def ping(self) -> None:
        """Ask the server for a sign of life; raises when there is none."""
        connection = pika.BlockingConnection(parameters=self.parameters)
        connection.close()

    def dead_letters(self, queue_name: str) -> list[Message[Any]]:
        """Return the dead letters of a queue, oldest first, without removing them."""
        letters = [letter for letter, _ in self._walk_dead_letters(queue_name, drop="")]
        # a queue puts letters that were looked at back in any order, even behind ones that came meanwhile
        return sorted(letters, key=lambda letter: letter.message_timestamp)

    def drop_dead_letter(self, queue_name: str, message_id: str) -> bool:
        """Remove one dead letter by its message id; return whether it was there."""
        return any(dropped for _, dropped in self._walk_dead_letters(queue_name, drop=message_id))

    def _walk_dead_letters(self, queue_name: str, *, drop: str) -> list[tuple[Message[Any], bool]]:
        # RabbitMQ 3.10 may close the connection on a get from a quorum queue that was declared a moment ago and has no
        # leader yet. Nothing was acknowledged then, so the walk begins again on a new connection.
        for attempt in range(_DEAD_LETTER_TRIES):
            try:
                return self._dead_letters_once(queue_name, drop)
            except (AMQPConnectionError, AMQPChannelError):
                del self.connection
                if attempt + 1 == _DEAD_LETTER_TRIES:
                    raise
                time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _dead_letters_once(self, queue_name: str, drop: str) -> list[tuple[Message[Any], bool]]:
        found: list[tuple[Message[Any], bool]] = []
        kept: list[int] = []
        self.declare_queue(queue_name, ensure=True)
        channel = self.connection.channel()
        while True:
            method, _, body = channel.basic_get(xq_name(queue_name), auto_ack=False)
            if method is None or body is None:
                break
            letter: Message[Any] = Message.decode(body)
            dropped = bool(drop) and letter.message_id == drop
            found.append((letter, dropped))
            if dropped:
                channel.basic_ack(method.delivery_tag)
            else:
                kept.append(method.delivery_tag)
        for tag in kept:
            channel.basic_nack(tag, requeue=True)
        channel.close()  # an error before this leaves the channel to the broker, which requeues what was not acknowledged
        return found


DeadLetterBroker = BlockingRedisBroker | QuorumRabbitmqBroker


def make_message_broker(kind: str, *, redis_url: str = "", rabbitmq_url: str = "") -> DeadLetterBroker:
    """Make the message broker of a gateway by name; nothing connects before it is used.

    Raises
    ------
    BadInput
        When ``kind`` is not ``redis`` or ``rabbitmq``.
    """
    if kind == "redis":
        return BlockingRedisBroker(redis_url)
    if kind == "rabbitmq":
        return QuorumRabbitmqBroker(rabbitmq_url)
    raise BadInput(must_be("message broker", "redis or rabbitmq", kind, "set the account's gateway to one of them"))

"""Our two Dramatiq brokers on real servers: wake-up, redelivery, order, dead letters."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker

from toolkit.errors import BadInput
from toolkit.gateways.message_brokers import (
    BlockingRedisBroker,
    DeadLetterBroker,
    QuorumRabbitmqBroker,
    intent_queue,
    make_message_broker,
)

DEADLINE = 20.0


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[DeadLetterBroker]:
    """Each of our brokers on a real server."""
    url = request.getfixturevalue(f"{request.param}_url")
    made = make_message_broker(request.param, redis_url=url, rabbitmq_url=url)
    yield made
    made.close()


class Seen:
    """What an actor saw, with a deadline on waiting for it."""

    def __init__(self) -> None:
        self.items: list[object] = []
        self._news = threading.Condition()

    def add(self, item: object) -> None:
        with self._news:
            self.items.append(item)
            self._news.notify_all()

    def wait(self, count: int) -> list[object]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.items) >= count, DEADLINE), f"{len(self.items)} of {count}"
            return list(self.items)


def actor_on(broker: dramatiq.Broker, queue: str, seen: Seen, fails: bool = False) -> dramatiq.Actor:
    def record(value: int) -> None:
        seen.add(value)
        if fails:
            raise RuntimeError("planted")

    return dramatiq.actor(record, broker=broker, actor_name=f"record.{queue}", queue_name=queue)


@pytest.fixture
def running() -> Iterator[list[dramatiq.Worker]]:
    """Workers that are stopped when the test ends."""
    workers: list[dramatiq.Worker] = []
    yield workers
    for worker in workers:
        worker.stop(timeout=10_000)


def work(broker: dramatiq.Broker, running: list[dramatiq.Worker], queue: str, threads: int = 1) -> dramatiq.Worker:
    worker = dramatiq.Worker(broker, queues={queue}, worker_threads=threads, worker_timeout=1000)
    worker.queue_prefetch = 1
    worker.start()
    running.append(worker)
    return worker


def test_messages_of_one_queue_keep_their_order(broker: DeadLetterBroker, running: list[dramatiq.Worker]) -> None:
    """A thousand messages of one account arrive once each, in the order they were sent."""
    queue, seen = intent_queue(uuid4()), Seen()
    actor = actor_on(broker, queue, seen)
    work(broker, running, queue)
    for number in range(1000):
        actor.send(number)
    assert seen.wait(1000) == list(range(1000))


def test_how_much_waits_in_a_queue_is_counted_without_taking_any_of_it(broker: DeadLetterBroker) -> None:
    """A queue that nobody serves shows what was sent to it, again and again; one that was never used shows nothing."""
    queue = intent_queue(uuid4())
    actor = actor_on(broker, queue, Seen())
    for number in range(3):
        actor.send(number)
    deadline = time.monotonic() + DEADLINE
    while broker.get_queue_message_counts(queue) != (3, 0, 0) and time.monotonic() < deadline:
        time.sleep(0.05)  # RabbitMQ counts a confirmed message a moment later
    assert broker.get_queue_message_counts(queue) == (3, 0, 0)
    assert broker.get_queue_message_counts(intent_queue(uuid4())) == (0, 0, 0)


def test_a_failed_message_becomes_a_dead_letter_and_the_queue_goes_on(
    broker: DeadLetterBroker, running: list[dramatiq.Worker]
) -> None:
    """A message whose actor raises is kept as a dead letter, can be inspected, and is gone once dropped."""
    queue, seen = intent_queue(uuid4()), Seen()
    actor = actor_on(broker, queue, seen, fails=True)
    # no Retries middleware on our brokers: a failure is not sent again by the message broker
    broker.add_middleware(_FailOnError())
    work(broker, running, queue)
    first, second = actor.send(1), actor.send(2)
    seen.wait(2)
    deadline = time.monotonic() + DEADLINE
    while len(broker.dead_letters(queue)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [letter.message_id for letter in broker.dead_letters(queue)] == [first.message_id, second.message_id]
    assert broker.drop_dead_letter(queue, first.message_id)
    assert not broker.drop_dead_letter(queue, first.message_id)
    while len(broker.dead_letters(queue)) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)  # RabbitMQ puts looked-at letters back after the reading channel has closed
    assert [letter.message_id for letter in broker.dead_letters(queue)] == [second.message_id]


class _FailOnError(dramatiq.Middleware):
    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.broker.MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        if exception is not None:
            message.fail()


def test_an_idle_redis_worker_is_woken_at_once(redis_url: str, running: list[dramatiq.Worker]) -> None:
    """After two seconds of silence a message starts within a tenth of a second, where stock Dramatiq sleeps."""
    queue, seen = intent_queue(uuid4()), Seen()
    broker = BlockingRedisBroker(redis_url)
    actor = actor_on(broker, queue, seen)
    work(broker, running, queue)
    actor.send(0)
    seen.wait(1)
    time.sleep(2.2)
    started = time.monotonic()
    actor.send(1)
    seen.wait(2)
    assert time.monotonic() - started < 0.1


def test_redis_hands_a_dead_workers_message_to_the_next(redis_url: str, running: list[dramatiq.Worker]) -> None:
    """A message that was fetched and never acked comes back to another worker after the heartbeat time-out."""
    queue, seen = intent_queue(uuid4()), Seen()
    dead = BlockingRedisBroker(redis_url, heartbeat_timeout=1000)
    actor_on(dead, queue, Seen()).send(7)
    assert dead.do_fetch(queue, 1)  # fetched by a process that is never heard of again
    alive = BlockingRedisBroker(redis_url, heartbeat_timeout=1000)
    actor_on(alive, queue, seen)
    started = time.monotonic()
    work(alive, running, queue)
    assert seen.wait(1) == [7]
    assert time.monotonic() - started < 4.0


def test_the_wake_token_is_part_of_the_enqueue(redis_url: str) -> None:
    """Message and token appear together, and tokens do not pile up without bound."""
    queue = intent_queue(uuid4())
    broker = BlockingRedisBroker(redis_url)
    actor = actor_on(broker, queue, Seen())
    for number in range(100):
        actor.send(number)
    assert broker.client.llen(f"{broker.namespace}:{queue}") == 100
    assert broker.client.llen(f"{broker.namespace}:{queue}.wake") == 64


def test_our_script_still_extends_dramatiqs(redis_url: str) -> None:
    """Stock Dramatiq and our broker understand each other's queues, so a rollback to the stock one loses nothing."""
    queue = intent_queue(uuid4())
    ours, stock = BlockingRedisBroker(redis_url), RedisBroker(url=redis_url, namespace="seatrial", middleware=[])
    actor_on(ours, queue, Seen()).send(1)
    assert len(stock.do_fetch(queue, 10)) == 1


def test_rabbitmq_takes_over_in_order_when_the_active_consumer_goes(
    rabbitmq_url: str, running: list[dramatiq.Worker]
) -> None:
    """With two workers on one queue only one is active; when it stops the other goes on in order."""
    queue = intent_queue(uuid4())
    first, second = Seen(), Seen()
    one, two = QuorumRabbitmqBroker(rabbitmq_url), QuorumRabbitmqBroker(rabbitmq_url)
    actor = actor_on(one, queue, first)
    actor_on(two, queue, second)
    active = work(one, running, queue)
    actor.send(0)
    first.wait(1)
    work(two, running, queue)
    for number in range(1, 50):
        actor.send(number)
    assert first.wait(50) == list(range(50))
    assert second.items == []
    active.stop(timeout=10_000)
    running.remove(active)
    for number in range(50, 60):
        actor.send(number)
    assert second.wait(10) == list(range(50, 60))


def test_an_unknown_message_broker_is_refused() -> None:
    """Only redis and rabbitmq have a Dramatiq broker."""
    with pytest.raises(BadInput, match="must be redis or rabbitmq, was carrier-pigeon"):
        make_message_broker("carrier-pigeon")


def test_the_documented_redis_user_can_work_and_nothing_else(redis_url: str, running: list[dramatiq.Worker]) -> None:
    """The Redis user of deploy/ runs our broker, dead letters included, and may not flush or configure."""
    text = (Path(__file__).parents[2] / "deploy" / "redis" / "users.acl").read_text(encoding="utf-8")
    words = text[text.index("user worker on") :].replace("SEATRIAL_REDIS_PASSWORD", "secret").split()[1:]
    admin = redis.Redis.from_url(redis_url)
    admin.execute_command("ACL", "SETUSER", *words)
    try:
        url = redis_url.replace("redis://", "redis://worker:secret@")
        broker = BlockingRedisBroker(url)
        queue, seen = intent_queue(uuid4()), Seen()
        actor = actor_on(broker, queue, seen, fails=True)
        broker.add_middleware(_FailOnError())
        work(broker, running, queue)
        sent = actor.send(1)
        seen.wait(1)
        deadline = time.monotonic() + DEADLINE
        while not broker.dead_letters(queue) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert broker.drop_dead_letter(queue, sent.message_id)
        for forbidden in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["GET", "seatrial:x"], ["SET", "other", "1"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                broker.client.execute_command(*forbidden)
    finally:
        admin.execute_command("ACL", "DELUSER", "worker")

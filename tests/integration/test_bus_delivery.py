"""What a message broker is trusted with: order, poison, rotation of keys, and getting out of the way when it is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dramatiq
import pytest

from tests.plugins.live_support import EmaCross, Sea
from tests.plugins.servers import bus_settings, send_pointer, wait_until
from toolkit.bootstrap import build
from toolkit.clock import SYSTEM, now
from toolkit.errors import GatewayError, NotFound
from toolkit.gateways.dramatiq_bus import EXECUTE_ACTOR, ExecutionGatewayRedis
from toolkit.gateways.envelope import KeyRing, Pointer, seal
from toolkit.gateways.message_brokers import DeadLetterBroker, intent_queue, live_queue, make_message_broker
from toolkit.live.outside.dead_letters import (
    drop_dead_letter,
    inspect_dead_letter,
    list_dead_letters,
    replay_dead_letter,
)
from toolkit.market import Bars
from toolkit.settings import Settings
from toolkit.store.people.audit import first_broken_row
from workers.process import WorkerProcess
from workers.queues.consuming import AccountWorker

OLD = "k1:0123456789abcdef0123456789abcdef"
NEW = "k2:fedcba9876543210fedcba9876543210"
MESSAGES = int(os.environ.get("SEATRIAL_ORDER_MESSAGES", "3000"))  # the full figure is 100000


@pytest.fixture(params=["redis", "rabbitmq", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each message broker."""
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    """Its address."""
    return str(request.getfixturevalue(f"{kind}_url"))


def settings_with(kind: str, url: str, home: Path, keys: str) -> Settings:
    named: dict[str, Any] = {"home": home, "gateway": kind, "signing_key": keys} | bus_settings(kind, url)
    return Settings(_env_file=None, quote_interval_seconds=0.2, **named)  # type: ignore[call-arg]


@pytest.fixture
def workers() -> Iterator[list[WorkerProcess]]:
    """Workers that are stopped at the end."""
    started: list[WorkerProcess] = []
    yield started
    for worker in started:
        worker.stop()


def begin(settings: Settings, workers: list[WorkerProcess]) -> WorkerProcess:
    worker = WorkerProcess(settings, (), settings.gateway)
    workers.append(worker)
    worker.start()
    wait_until(lambda: len(worker.roster.serving()) == 1, "the worker serves the account")
    return worker


def refusals(sea: Sea) -> list[str]:
    with sea.engine.work(write=False) as work:
        assert first_broken_row(work.connection) is None
        found = work.connection.exec_driver_sql("SELECT subject FROM audit WHERE action = 'message.refused' ORDER BY 1")
        return [row[0] for row in found]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"], indirect=True)
def test_messages_of_four_accounts_keep_their_order_each(kind: str, url: str) -> None:
    """However many, the messages of an account arrive once each and in order, with a thread for each account."""
    broker: DeadLetterBroker = make_message_broker(kind, redis_url=url, rabbitmq_url=url)
    queues = [intent_queue(uuid4()) for _ in range(4)]
    seen: dict[str, list[int]] = {queue: [] for queue in queues}

    def record(queue: str, number: int) -> None:
        seen[queue].append(number)

    name = f"record-{uuid4().hex}"
    dramatiq.actor(record, broker=broker, actor_name=name, queue_name="seatrial.actors")
    worker = AccountWorker(broker, len(queues))
    worker.start()
    for queue in queues:
        worker.attach(queue)
    each = MESSAGES // len(queues)
    try:
        for number in range(each):
            for queue in queues:
                broker.enqueue(
                    dramatiq.Message(queue_name=queue, actor_name=name, args=(queue, number), kwargs={}, options={})
                )
        wait_until(lambda: all(len(found) >= each for found in seen.values()), f"{MESSAGES} messages", 1200)
        assert seen == {queue: list(range(each)) for queue in queues}
    finally:
        worker.stop(timeout=10_000)
        broker.close()


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"], indirect=True)
def test_poison_ends_as_a_dead_letter_and_in_the_database_and_the_queue_goes_on(
    kind: str, url: str, tmp_path: Path, workers: list[WorkerProcess], some_bars: Bars
) -> None:
    """Nonsense, unknown actors, wrong arguments and oversized messages in front of real work: kept, audited, passed by."""
    settings = settings_with(kind, url, tmp_path / "home", OLD)
    sea = Sea(build(settings))
    try:
        account = sea.account()
        worker = begin(settings, workers)
        queue, broker = intent_queue(account.account_id), worker.broker
        poison = [
            (EXECUTE_ACTOR, ("nonsense",)), (EXECUTE_ACTOR, ("[" * 4000,)), (EXECUTE_ACTOR, ("x" * 20_000,)),
            (EXECUTE_ACTOR, ()), ("no_such_actor", ("1",)), ("advance_live_run", ("not-a-uuid", "neither")),
        ]  # fmt: skip
        for actor, arguments in poison:
            broker.enqueue(dramatiq.Message(queue_name=queue, actor_name=actor, args=arguments, kwargs={}, options={}))
        run = sea.run(sea.version(EmaCross(), some_bars), account, some_bars[:150], host="workers", capital=10_000)
        wait_until(lambda: sea.read(run).status in ("STOPPED", "ERROR"), "the end of the run", 120)
        assert (sea.read(run).last_error, sea.read(run).intents_count > 0) == ("", True)
        engine, me = sea.engine, sea.engine.principal
        wait_until(lambda: len(list_dead_letters(engine, me, account.account_id)) == len(poison), "all poison is kept")
        assert refusals(sea) == ["malformed", "malformed", "oversized"]
        letters = list_dead_letters(engine, me, account.account_id)
        assert {letter.actor for letter in letters} == {EXECUTE_ACTOR, "no_such_actor", "advance_live_run"}
        assert not any(letter.replayable for letter in letters)
        for letter in letters:
            assert inspect_dead_letter(engine, me, account.account_id, letter.message_id).queue == queue
            drop_dead_letter(engine, me, account.account_id, letter.message_id)
        assert list_dead_letters(engine, me, account.account_id) == []
        with pytest.raises(NotFound, match="must be a dead letter of the account"):
            replay_dead_letter(engine, me, account.account_id, letters[0].message_id)
        assert broker.dead_letters(live_queue(account.account_id)) == []
    finally:
        sea.engine.close()


def test_a_signing_key_is_rotated_while_workers_run(
    kind: str, url: str, tmp_path: Path, workers: list[WorkerProcess]
) -> None:
    """Receivers learn the new key first, then senders sign with it, then the old one goes: nothing is refused on the way."""
    home = tmp_path / "home"
    sea = Sea(build(settings_with(kind, url, home, OLD)))
    try:
        account = sea.account()

        def send(keys: str, intent: Any) -> None:
            sealed = seal(Pointer(intent, account.account_id, "x" * 64, now()), KeyRing.parse(keys))
            send_pointer(workers[-1], kind, account.account_id, sealed)

        def answered(keys: str) -> str:
            before = refusals(sea)
            send(keys, uuid4())
            wait_until(lambda: len(refusals(sea)) > len(before), "the pointer is answered")
            rest = refusals(sea)
            for word in before:
                rest.remove(word)
            return rest[0]

        # a pointer to an intent that does not exist: `unknown_intent` says that its signature was accepted
        begin(settings_with(kind, url, home, f"{OLD},{NEW}"), workers)  # both known, the old one signs
        assert (answered(OLD), answered(NEW)) == ("unknown_intent", "unknown_intent")
        workers.pop().stop()
        begin(settings_with(kind, url, home, f"{NEW},{OLD}"), workers)  # both known, the new one signs
        assert (answered(OLD), answered(f"{NEW},{OLD}")) == ("unknown_intent", "unknown_intent")
        workers.pop().stop()
        begin(settings_with(kind, url, home, NEW), workers)  # the old one is gone
        assert (answered(NEW), answered(OLD)) == ("unknown_intent", "unknown_key")
    finally:
        sea.engine.close()


def test_pointers_stay_in_the_outbox_while_the_message_broker_is_gone(desk: Any) -> None:
    """A broker that does not answer costs nothing but time: the gateway says so, the pointer waits, entries may expire."""
    broker = make_message_broker("redis", redis_url="redis://127.0.0.1:1/0")
    gateway = ExecutionGatewayRedis(broker, KeyRing.parse(OLD), desk.store, desk.principal, SYSTEM)
    intent = desk.entry(valid_until=desk.platform.now() + timedelta(seconds=30))
    with pytest.raises(GatewayError, match="it stays in the outbox"):
        gateway.deliver(desk.account_id)
    with desk.read() as work:
        assert [row.intent_id for row in work.unpublished(desk.account_id)] == [intent.intent_id]
    desk.platform.tick(31)
    assert desk.service.expire_overdue(100) == [intent.intent_id]
    assert gateway.deliver(desk.account_id) == []


def test_a_waiting_pointer_is_sent_again_after_pauses_that_grow(redis_url: str, desk: Any) -> None:
    """What the broker may have lost is sent again at once and then ever more rarely, not at every look."""
    broker = make_message_broker("redis", redis_url=redis_url)
    gateway = ExecutionGatewayRedis(broker, KeyRing.parse(OLD), desk.store, desk.principal, desk.clock)
    intent = desk.entry()
    gateway.deliver(desk.account_id)
    sent = []
    for second in range(61):
        if gateway.republish_lost(desk.account_id):
            sent.append(second)
        desk.clock.advance(1)
    assert sent == [3, 5, 9, 17, 33]
    desk.service.execute(intent.intent_id)
    desk.clock.advance(100)
    assert gateway.republish_lost(desk.account_id) == []
    broker.close()

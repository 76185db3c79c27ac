"""Kafka on a real broker (noida-db): topics, delivery reports, what is received and refused, rebalances."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.plugins.live_support import EmaCross, Sea
from tests.plugins.servers import bus_settings, free_port, send_kafka_pointer, wait_until
from toolkit.bootstrap import build
from toolkit.clock import SYSTEM, now
from toolkit.errors import BadInput, GatewayError
from toolkit.gateways.envelope import KeyRing, Pointer, seal
from toolkit.gateways.kafka.dead_letters import KafkaDeadLetters
from toolkit.gateways.kafka.gateway import ExecutionGatewayKafka
from toolkit.gateways.kafka.history import read_topic
from toolkit.gateways.kafka.link import KafkaLink, Outgoing
from toolkit.gateways.kafka.messages import verify
from toolkit.gateways.kafka.registry import Codec, open_codec
from toolkit.gateways.kafka.topics import INTENTS, RESULTS, create_topics, must_exist, partition_of, plan, topics_of
from toolkit.live.outside.dead_letters import list_dead_letters, replay_dead_letter
from toolkit.market import Bars
from toolkit.settings import Settings
from toolkit.telemetry.metrics import Metrics
from workers.kafka_consumer import FULL, Errand, KafkaConsumer
from workers.process import WorkerProcess

KEY = "k1:0123456789abcdef0123456789abcdef"
RING = KeyRing.parse(KEY)


def settings_of(url: str, **more: Any) -> Settings:
    named = {"gateway": "kafka", "signing_key": KEY} | bus_settings("kafka", url) | more
    return Settings(_env_file=None, **named)  # type: ignore[call-arg]


@pytest.fixture
def link(kafka_url: str) -> Iterator[KafkaLink]:
    """A way to the session's broker."""
    made = KafkaLink(settings_of(kafka_url))
    yield made
    made.close()


@pytest.fixture(scope="module")
def codec() -> Codec:
    """A codec whose registry is in this process; its ids are those of every other such process."""
    return open_codec("mock://tests")


def over_kafka(desk: Any) -> Any:
    desk.store.accounts[desk.account_id] = _with_gateway(desk.store.accounts[desk.account_id])
    return desk


def _with_gateway(account: Any) -> Any:
    from dataclasses import replace

    return replace(account, gateway="kafka")


def test_kafka_topics_are_made_once_as_documented(kafka_server: Any, tmp_path: Path) -> None:
    """Twelve partitions and three copies unless said otherwise; more copies than brokers are refused with the remedy."""
    settings = settings_of(kafka_server.url)
    admin = KafkaLink(settings).admin()
    create_topics(admin, plan(6, 1))
    assert create_topics(admin, plan(6, 1)) == []
    assert must_exist(admin) == 6
    assert {name: topics_of(admin)[name] for name in (INTENTS, RESULTS, "trade.intents.dlq")} == {
        INTENTS: 6, RESULTS: 6, "trade.intents.dlq": 1
    }  # fmt: skip
    wide = plan(12, 3)
    assert {(one.partitions, one.replication, one.config["min.insync.replicas"]) for one in wide[:2]} == {(12, 3, "2")}


def test_a_kafka_worker_without_its_topics_names_the_command(tmp_path: Path) -> None:
    """librdkafka's own mock cluster has no topics: the worker says what makes them and does not start."""
    from confluent_kafka import Producer

    cluster = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 3, "log_level": 0})
    url = ",".join(f"{one.host}:{one.port}" for one in cluster.list_topics(timeout=10).brokers.values())
    with pytest.raises(
        GatewayError, match=r"topic trade\.intents must be there, was missing: run `seatrial kafka setup`"
    ):
        WorkerProcess(settings_of(url, home=tmp_path), (), "kafka")


def test_kafka_credentials_that_do_not_belong_together_are_refused() -> None:
    """SASL without a user, a user without SASL, no address: each with the variable's name."""
    with pytest.raises(BadInput, match="SEATRIAL_KAFKA_BOOTSTRAP must be"):
        KafkaLink(settings_of(""))
    with pytest.raises(BadInput, match="SEATRIAL_KAFKA_USERNAME and SEATRIAL_KAFKA_PASSWORD must be"):
        KafkaLink(settings_of("h:1", kafka_security="SASL_SSL"))
    with pytest.raises(BadInput, match="SEATRIAL_KAFKA_SECURITY must be SASL_SSL"):
        KafkaLink(settings_of("h:1", kafka_username="u"))


def test_an_accounts_kafka_partition_is_the_one_librdkafka_chooses(link: KafkaLink) -> None:
    """What a worker believes of an account's partition is where its messages go."""
    accounts = [uuid4() for _ in range(20)]
    began = now()
    assert link.send([Outgoing(RESULTS, str(one).encode(), b"x") for one in accounts]) == (20, "")
    keys = {str(one).encode(): one for one in accounts}
    found = {
        m.key(): m.partition() for m in read_topic(link, RESULTS, since=began - timedelta(seconds=1)) if m.key() in keys
    }
    assert found == {key: partition_of(account, 6) for key, account in keys.items()}


def test_pointers_and_results_leave_one_outbox_for_kafka(link: KafkaLink, codec: Codec, memory: Any) -> None:
    """Snapshot and pointer of each intent in order, then what came of it, signed; every row is marked once confirmed."""
    desk = over_kafka(memory)
    gateway = ExecutionGatewayKafka(link, codec, RING, desk.store, desk.principal, SYSTEM)
    first, second = desk.entry(), desk.entry()
    assert gateway.deliver(desk.account_id) == [first.intent_id, second.intent_id]
    desk.service.execute(first.intent_id)
    assert gateway.deliver_results(desk.account_id) == 2
    assert gateway.deliver(desk.account_id) == []
    assert gateway.deliver_results(desk.account_id) == 0
    key = str(desk.account_id).encode()
    sent = [codec.decode(m.value()) for m in read_topic(link, INTENTS) if m.key() == key]
    assert [(name, record["intent_id"]) for name, record in sent] == [
        (name, str(one.intent_id)) for one in (first, second) for name in ("snapshot", "pointer")
    ]
    told = [codec.decode(m.value())[1] for m in read_topic(link, RESULTS) if m.key() == key]
    assert [(one["kind"], one["state"]) for one in told] == [("trade", "open"), ("intent", "FILLED")]
    for record in [sent[0][1], *told]:
        verify(record, RING)


def test_a_row_is_marked_only_after_kafka_has_the_message(codec: Codec, memory: Any) -> None:
    """Without a broker the delivery report never comes: the gateway says so and the pointer stays in the outbox."""
    desk = over_kafka(memory)
    away = KafkaLink(settings_of(f"127.0.0.1:{free_port()}"))
    gateway = ExecutionGatewayKafka(away, codec, RING, desk.store, desk.principal, SYSTEM)
    intent = desk.entry()
    with pytest.raises(GatewayError, match=f"Kafka did not take intent {intent.intent_id}.*it stays in the outbox"):
        gateway.deliver(desk.account_id)
    with desk.read() as work:
        assert [row.intent_id for row in work.unpublished(desk.account_id)] == [intent.intent_id]
    away.close()


class Group:
    """One consumer that carries nothing out: it notes what it would have, and may be held up."""

    def __init__(self, link: KafkaLink, codec: Codec, group: str, accounts: list[UUID]) -> None:
        self.seen: list[UUID] = []
        self.refused: list[str] = []
        self.gate: dict[UUID, threading.Event] = {}
        self.metrics = Metrics()
        self.consumer = KafkaConsumer(
            link, codec, KafkaDeadLetters(link, codec), RING, group, 6,
            Errand(accounts.__contains__, self._carry_out, lambda e: self.refused.append(e.why), lambda a: None, self._moved),
            now, self.metrics,
        )  # fmt: skip
        self._accounts = accounts
        self.consumer.start()

    def _moved(self) -> None:
        mine = set(self.consumer._lanes)
        for account in self._accounts:
            if self.consumer.wants(account) and account not in mine:
                self.consumer.join(account)
            elif account in mine and not self.consumer.wants(account):
                threading.Thread(target=self.consumer.leave, args=(account,)).start()

    def _carry_out(self, pointer: Pointer) -> None:
        gate = self.gate.get(pointer.account_id)
        if gate is not None:
            gate.wait(60)
        self.seen.append(pointer.intent_id)


@pytest.fixture
def group(link: KafkaLink, codec: Codec) -> Iterator[Callable[..., Group]]:
    """Start consumers; they are stopped at the end."""
    started: list[Group] = []

    def start(accounts: list[UUID], name: str = "") -> Group:
        started.append(Group(link, codec, name or f"test.{uuid4().hex}", accounts))
        return started[-1]

    yield start
    for one in started:
        for gate in one.gate.values():
            gate.set()
        one.consumer.stop()


def point(link: KafkaLink, codec: Codec, account: UUID, *, to: UUID | None = None) -> UUID:
    intent = to or uuid4()
    send_kafka_pointer(link, codec, account, seal(Pointer(intent, account, "k" * 64, now()), RING))
    return intent


def committed(link: KafkaLink, name: str, account: UUID) -> int:
    from confluent_kafka import TopicPartition

    reader = link.consumer(name)
    try:
        return reader.committed([TopicPartition(INTENTS, partition_of(account, 6))], timeout=10)[0].offset
    finally:
        reader.close()


def warm(link: KafkaLink, codec: Codec, group: Group, *accounts: UUID) -> None:
    """Let a new group find its place: it begins at the end of the topic."""
    wait_until(lambda: all(group.consumer.wants(account) for account in accounts), "partitions are assigned")
    for account in accounts:
        first = [point(link, codec, account)]
        deadline = time.monotonic() + 20
        while first[0] not in group.seen and time.monotonic() < deadline:
            time.sleep(0.3)
            if first[0] not in group.seen:
                point(link, codec, account, to=first[0])
    wait_until(lambda: len(group.seen) >= len(accounts), "the group has found its place")
    time.sleep(0.3)
    group.seen.clear()


def test_a_busy_account_pauses_its_kafka_partition_and_no_other(
    link: KafkaLink, codec: Codec, group: Callable[..., Group]
) -> None:
    """Behind a hung platform its pointers wait, each once; the other accounts go on, and it goes on in order afterwards."""
    accounts = [uuid4() for _ in range(30)]
    busy = accounts[0]
    near = next(a for a in accounts[1:] if partition_of(a, 6) == partition_of(busy, 6))
    far = next(a for a in accounts[1:] if partition_of(a, 6) != partition_of(busy, 6))
    one = group([busy, near, far])
    warm(link, codec, one, busy, near, far)
    one.gate[busy] = threading.Event()
    waiting = [point(link, codec, busy) for _ in range(3)]
    point(link, codec, busy, to=waiting[1])  # a duplicate takes no place
    others = [point(link, codec, near), point(link, codec, far)]
    wait_until(lambda: set(one.seen) == set(others), "other accounts go on, in the same partition too", 20)
    waiting += [point(link, codec, busy) for _ in range(FULL + 5)]
    wait_until(lambda: partition_of(busy, 6) in one.consumer._paused, "the partition is paused", 20)
    behind, beside = point(link, codec, near), point(link, codec, far)
    wait_until(lambda: beside in one.seen, "another partition goes on", 20)
    assert behind not in one.seen
    one.gate[busy].set()
    wait_until(lambda: behind in one.seen and waiting[-1] in one.seen, "all of it is carried out", 20)
    mine = [intent for intent in one.seen if intent in waiting]
    assert mine == waiting


def test_a_kafka_partition_that_was_paused_when_it_was_lost_goes_on_afterwards(
    link: KafkaLink, codec: Codec, group: Callable[..., Group], kafka_server: Any
) -> None:
    """The broker dies behind a busy account: once the partition is ours again its pointers are received."""
    account = uuid4()
    one = group([account])
    warm(link, codec, one, account)
    one.gate[account] = threading.Event()
    for _ in range(FULL + 2):
        point(link, codec, account)
    number = partition_of(account, 6)
    wait_until(
        lambda: number in one.consumer._paused and one.consumer._lanes[account].waiting() >= FULL, "it is paused"
    )
    kafka_server.kill()
    kafka_server.start()
    wait_until(lambda: 'kind="lost"' in one.metrics.exposition(), "the partition is lost", 30)
    wait_until(lambda: one.consumer.wants(account), "the partition is ours again", 30)
    one.gate[account].set()
    again = point(link, codec, account)
    wait_until(lambda: again in one.seen, "pointers are received again", 30)


def test_a_kafka_offset_is_committed_after_the_work_and_the_rest_goes_to_the_next_member(
    link: KafkaLink, codec: Codec, group: Callable[..., Group]
) -> None:
    """What was not finished is received again by whoever gets the partition; what was finished is not."""
    account, name = uuid4(), f"test.{uuid4().hex}"
    one = group([account], name)
    warm(link, codec, one, account)
    done = point(link, codec, account)
    wait_until(lambda: done in one.seen, "the first is carried out")
    wait_until(lambda: committed(link, name, account) > 0, "it is committed")
    one.gate[account] = threading.Event()
    held, behind = point(link, codec, account), point(link, codec, account)
    wait_until(lambda: one.consumer._lanes[account].waiting() == 1, "one waits behind the one under way")
    before = committed(link, name, account)
    two = group([account], name)
    lane = one.consumer._lanes[account]
    stopping = threading.Thread(target=one.consumer.stop)
    stopping.start()
    wait_until(lambda: lane.waiting() == 0, "what was not begun is given back")
    one.gate[account].set()
    stopping.join(30)
    wait_until(lambda: behind in two.seen, "the next member carries out what was left", 30)
    assert done not in two.seen
    assert held in one.seen + two.seen
    wait_until(lambda: committed(link, name, account) >= before + 2, "all of it is committed", 20)


def test_a_kafka_pointer_of_an_aborted_transaction_is_never_received(
    link: KafkaLink, codec: Codec, group: Callable[..., Group], kafka_url: str
) -> None:
    """Consumers read what is committed."""
    from confluent_kafka import Producer

    account = uuid4()
    one = group([account])
    warm(link, codec, one, account)
    aborted, kept = uuid4(), uuid4()
    for intent in (aborted, kept):  # a producer each: noida-db hides what a producer commits after it has aborted
        producer = Producer(
            {"bootstrap.servers": kafka_url, "transactional.id": f"t-{intent}", "partitioner": "consistent"}
        )
        producer.init_transactions(20)
        producer.begin_transaction()
        record = json.loads(seal(Pointer(intent, account, "k" * 64, now()), RING))
        producer.produce(INTENTS, key=str(account).encode(), value=codec.encode("pointer", record))
        producer.flush(10)
        producer.abort_transaction(20) if intent == aborted else producer.commit_transaction(20)
    wait_until(lambda: one.seen == [kept], "the committed one is carried out", 20)
    assert aborted not in one.seen


def test_what_is_not_ours_on_kafka_is_refused_by_its_reason(
    link: KafkaLink, codec: Codec, group: Callable[..., Group]
) -> None:
    """Nonsense, another schema, a forged, a foreign and an oversized message: kept as dead letters, and the account goes on."""
    account = uuid4()
    one = group([account])
    warm(link, codec, one, account)
    forged = json.loads(seal(Pointer(uuid4(), account, "k" * 64, now()), RING)) | {"key": "x" * 64}
    other = seal(Pointer(uuid4(), uuid4(), "k" * 64, now()), RING)
    stranger = uuid4()
    key = str(account).encode()
    values = [
        (key, b"nonsense"), (key, b"\0\0\0\0\x63" + b"x" * 40), (key, codec.encode("pointer", forged)),
        (key, codec.encode("pointer", json.loads(other))), (key, b"\0\0\0\0\1" + b"x" * 20_000),
        (str(stranger).encode(), codec.encode("pointer", json.loads(seal(Pointer(uuid4(), stranger, "k" * 64, now()), RING)))),
    ]  # fmt: skip
    assert link.send([Outgoing(INTENTS, *pair) for pair in values]) == (len(values), "")
    good = point(link, codec, account)
    wait_until(lambda: good in one.seen and len(one.refused) == len(values), "all are answered", 20)
    assert sorted(one.refused) == ["foreign", "foreign", "forged", "malformed", "oversized", "unknown_schema"]
    letters = KafkaDeadLetters(link, codec)
    mine = letters.of_account(account)
    assert [letter.actor_name for letter in mine] == ["malformed", "unknown_schema", "forged", "foreign", "oversized"]
    assert json.loads(mine[2].args[0])["key"] == "x" * 64
    letters.drop(mine[0].message_id)
    assert [letter.message_id for letter in letters.of_account(account)] == [one.message_id for one in mine[1:]]
    assert one.seen == [good]


def test_a_kafka_rebalance_hands_accounts_over_while_runs_trade(
    kafka_url: str, tmp_path: Path, some_bars: Bars
) -> None:
    """A second worker takes its share of the accounts, then all of them; the trades stay those of the backtest."""
    import toolkit as tk
    from toolkit.research.comparison import normalise_all

    settings = settings_of(kafka_url, home=tmp_path / "home", quote_interval_seconds=0.2)
    sea = Sea(build(settings))
    workers = [WorkerProcess(settings, (), "kafka") for _ in range(2)]
    try:
        version = sea.version(EmaCross(), some_bars)
        accounts: dict[int, Any] = {}
        while len({number < 3 for number in accounts}) < 2:  # accounts on the partitions of both workers
            account = sea.account(f"paper-{len(accounts)}-{uuid4().hex[:4]}")
            accounts[partition_of(account.account_id, 6)] = account
        workers[0].start()
        runs = [sea.run(version, one, some_bars, host="workers", capital=10_000) for one in accounts.values()]
        wait_until(lambda: all(sea.read(run).intents_count > 2 for run in runs), "all runs trade", 60)
        workers[1].start()
        wait_until(lambda: bool(workers[1].roster.serving()), "the second worker has taken accounts over", 60)
        workers[0].stop()
        wait_until(
            lambda: all(sea.read(run).status in ("STOPPED", "ERROR") for run in runs), "the end of the runs", 120
        )
        terms = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
        expected = normalise_all(tk.backtest(EmaCross(), some_bars, account=terms).trade_records)
        assert [sea.read(run).last_error for run in runs] == [""] * len(runs)
        for run in runs:
            assert sea.trades(run) == expected
        said = workers[1].engine.metrics.exposition()
        assert 'seatrial_rebalances_total{kind="assigned"}' in said
        assert "seatrial_results_published_total" in said
    finally:
        for worker in workers:
            worker.stop()
        sea.engine.close()


def test_a_kafka_dead_letter_is_replayed_by_its_intent(
    kafka_url: str, tmp_path: Path, link: KafkaLink, codec: Codec
) -> None:
    """The commands for dead letters work on Kafka as on the other buses."""
    settings = settings_of(kafka_url, home=tmp_path / "home")
    sea = Sea(build(settings))
    try:
        account = sea.account()
        began = now()
        point(link, codec, account.account_id)
        (message,) = [
            m for m in read_topic(link, INTENTS, since=began - timedelta(seconds=1))
            if m.key() == str(account.account_id).encode()
        ]  # fmt: skip
        KafkaDeadLetters(link, codec).keep(message, "failed", "planted", account.account_id)
        (letter,) = list_dead_letters(sea.engine, sea.engine.principal, account.account_id)
        assert (letter.queue, letter.actor, letter.replayable) == (INTENTS, "failed", False)
        assert not replay_dead_letter(sea.engine, sea.engine.principal, account.account_id, letter.message_id)
        assert list_dead_letters(sea.engine, sea.engine.principal, account.account_id) == []
    finally:
        sea.engine.close()


def test_nothing_of_kafka_is_imported_without_the_extra(tmp_path: Path) -> None:
    """Without the client the other gateways work, and Kafka answers with the install command."""
    code = """
import sys
for name in ("confluent_kafka", "fastavro"): sys.modules[name] = None
import workers.process, toolkit.live.outside.dead_letters
from toolkit.errors import MissingPackage
from toolkit.settings import Settings
for module in list(sys.modules): assert not module.startswith("toolkit.gateways.kafka"), module
home, key = sys.argv[1:]
settings = Settings(_env_file=None, home=home, kafka_bootstrap="h:1", schema_registry_url="mock://x", signing_key=key)
try: workers.process.WorkerProcess(settings, (), "kafka")
except MissingPackage as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), KEY], capture_output=True, text=True, timeout=60)
    assert "pip install 'seatrial[kafka]'" in done.stdout, done.stderr

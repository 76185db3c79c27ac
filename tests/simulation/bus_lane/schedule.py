"""One schedule: an account, a run, two workers, and a few faults drawn from a seed."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import dramatiq
import psutil
from pika.exceptions import AMQPChannelError
from sqlalchemy import func, select
from worker_nest import WorkerNest

from tests.plugins.servers import send_kafka_pointer
from toolkit.clock import now
from toolkit.gateways.dramatiq_bus import EXECUTE_ACTOR
from toolkit.gateways.envelope import KeyRing, Pointer, seal
from toolkit.gateways.kafka.link import KafkaLink
from toolkit.gateways.kafka.topics import INTENTS, must_exist, partition_of
from toolkit.gateways.message_brokers import intent_queue, live_queue
from toolkit.live import live_runs
from toolkit.store.people.accounts import AccountRecord
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import AccountLease, ExecutionIntent, LiveRun
from workers.kafka.carriage import GROUP

from .berth import KEY, Berth, Template
from .checks import ENDED, Checks, intents_of
from .outcome import LEASE_SECONDS, Outcome

END_SECONDS = 120.0
LOOK_SECONDS = 0.02
POINTS = (
    "before_publish", "after_publish", "FP1_before_claim", "FP2_claimed", "FP3_sending", "FP4_before_send", "FP5_answered",
    "FP6_deals_read", "FP7_recorded",
)  # fmt: skip
_STACKS = threading.Lock()


class Schedule:
    """Played once; what came of it is added to the outcome."""

    def __init__(self, template: Template, berth: Berth, nest: WorkerNest, seed: int) -> None:
        self.template = template
        self.berth = berth
        self.nest = nest
        self.rng = random.Random(seed)
        self.seed = seed
        self.workers: list[int] = []
        self.faults: Counter[str] = Counter()
        self.recoveries: list[tuple[str, float]] = []
        self.takeovers: list[tuple[str, float]] = []
        self.account: AccountRecord = berth.sea.account(f"paper-{seed}")
        self.run: RunRecord = berth.sea.run(
            template.version, self.account, template.bars, host="workers", capital=10_000, start=False
        )

    def play(self, outcome: Outcome) -> bool:
        """Run the schedule, check what is left, and return whether all is well."""
        checks = Checks(self.template, self.berth, self.account, self.run)
        try:
            self._play()
        except (TimeoutError, OSError) as error:
            checks.wrong(f"{type(error).__name__}: {error}")
            self._tell_stacks()
        finally:
            for pid in self.workers:
                kill(pid, signal.SIGCONT)
                kill(pid, signal.SIGKILL)
        if not checks.found:
            checks.check()
        found = [f"{self.berth.bus} seed {self.seed}: {what}" for what in checks.found]
        outcome.add(self.faults, found, self.recoveries, self.takeovers, checks.intents)
        return not found

    def _play(self) -> None:
        rng = self.rng
        doomed = rng.random() < 0.5
        point, occurrence = rng.choice(POINTS), rng.randint(1, 8)
        if doomed:
            self.faults[f"die_at_{point}"] += 1
        self._start_worker(die_at=point if doomed else "", occurrence=occurrence)
        engine = self.berth.sea.engine
        self.run = live_runs.start_bot_live_run(engine, engine.principal, self.run.live_run_id)
        if doomed:  # the doomed one holds the account first; its death is a fault of its own
            self._wait(lambda: self._holder() is not None, "somebody holds the account")
        self._start_worker()
        kinds = self._draw()
        targets = sorted(rng.sample(range(1, len(self.template.signals)), len(kinds)))
        for target, fault in zip(targets, kinds, strict=True):
            self._wait(lambda target=target: self._progress() >= target or self._ended(), f"intent {target}")
            if self._ended():
                break
            time.sleep(rng.uniform(0, 0.03))
            name = fault.__name__
            self.faults[name] += 1
            before = self._progress()
            over = fault() or time.monotonic()
            self._wait(lambda before=before: self._progress() > before or self._ended(), f"recovery from {name}")
            self.recoveries.append((f"{name} in seed {self.seed}", time.monotonic() - over))
        if rng.random() < 0.15 and not self._ended():
            self.faults["stop_run"] += 1
            live_runs.stop_live_run(engine, engine.principal, self.run.live_run_id)
        self._wait(self._ended, "the end of the run")

    def _draw(self) -> list[Callable[[], float | None]]:
        common = [self.kill_holder, self.kill_all, self.freeze_holder, self.duplicates, self.third_worker]
        redis = [self.flush_all, self.restart_redis]
        rabbitmq = [self.purge_queues, self.delete_queues]
        kafka = [self.rebalance, self.restart_kafka, self.rewind]
        own = {"redis": redis, "rabbitmq": rabbitmq, "kafka": kafka}[self.berth.bus]
        chosen: list[Callable[[], float | None]] = self.rng.sample(common + own, self.rng.randint(2, 3))
        if self.berth.bus == "rabbitmq" and restarts_the_node(self.seed):
            chosen.append(self.restart_rabbitmq)
        return chosen

    # the faults
    def kill_holder(self) -> float | None:
        """Kill -9 the worker that has the account, relay and all; its supervisor starts another."""
        standby = self._stand_by()
        pid = self._signal_holder(signal.SIGKILL)
        killed = time.monotonic()
        self._start_worker()
        if pid is None or not standby:
            return None
        self._wait(lambda: self._holder() not in (None, pid) or self._ended(), "the takeover")
        self.takeovers.append(("kill_holder", time.monotonic() - killed))
        return killed

    def kill_all(self) -> None:
        """Kill -9 every worker, then start two."""
        for pid in self.workers:
            kill(pid, signal.SIGKILL)
        self._start_worker()
        self._start_worker()

    def freeze_holder(self) -> None:
        """Stop the holder for longer than its lease, then let it go on."""
        pid = self._signal_holder(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + self.rng.uniform(0.1, 0.6))
        if pid is not None:
            kill(pid, signal.SIGCONT)

    def duplicates(self) -> None:
        """Send pointers of the account again, many times, in any order: under way, done and not begun."""
        rows = intents_of(self.berth, self.run)
        ring = KeyRing.parse(KEY)
        picked = [self.rng.choice(rows) for _ in range(12)] if rows else []
        self.rng.shuffle(picked)
        for row in picked:
            sealed = seal(Pointer(row.intent_id, self.account.account_id, row.idempotency_key, now()), ring)
            if self.berth.bus == "kafka":
                send_kafka_pointer(self.berth.broker.link, self.berth.broker.codec, self.account.account_id, sealed)
                continue
            queue = intent_queue(self.account.account_id)
            self.berth.broker.declare_queue(queue)
            self.berth.broker.enqueue(
                dramatiq.Message(queue_name=queue, actor_name=EXECUTE_ACTOR, args=(sealed,), kwargs={}, options={})
            )

    def third_worker(self) -> None:
        """Start one more worker for the same account."""
        self._start_worker()

    def flush_all(self) -> None:
        """FLUSHALL."""
        self.berth.broker.client.flushall()

    def restart_redis(self) -> None:
        """Kill -9 Redis, which keeps nothing, and start it again."""
        self.berth.server.kill()
        time.sleep(self.rng.uniform(0, 0.5))
        self.berth.server.start()
        self.berth.reconnect()

    def purge_queues(self) -> None:
        """Lose every message that waits: what FLUSHALL is to Redis."""
        channel = self.berth.broker.connection.channel()
        for queue in (intent_queue(self.account.account_id), live_queue(self.account.account_id)):
            with suppress(AMQPChannelError):  # not declared yet
                channel.queue_purge(queue)
        if channel.is_open:
            channel.close()

    def delete_queues(self) -> None:
        """Delete the account's queues under its consumers, messages and all."""
        channel = self.berth.broker.connection.channel()
        for queue in (intent_queue(self.account.account_id), live_queue(self.account.account_id)):
            channel.queue_delete(queue)
        channel.close()

    def restart_rabbitmq(self) -> None:
        """Kill -9 the RabbitMQ node and start it again."""
        self.berth.server.kill()
        self.berth.server.start()
        self.berth.reconnect()

    def rebalance(self) -> None:
        """Let one more worker into the group and the holder out of it, in order, while it executes."""
        self._start_worker()
        self._signal_holder(signal.SIGTERM)

    def restart_kafka(self) -> None:
        """Kill -9 the broker: its messages survive, offsets committed in the last seconds do not."""
        self.berth.server.kill()
        time.sleep(self.rng.uniform(0, 0.5))
        self.berth.server.start()
        self.berth.reconnect()

    def rewind(self) -> None:
        """Kill -9 every worker and set the group's offsets back to the beginning: everything is delivered again."""
        for pid in self.workers:
            kill(pid, signal.SIGKILL)
        forget_offsets(self.berth.broker.link, self.account.account_id)
        self._start_worker()
        self._start_worker()

    # looking and acting
    def _start_worker(self, die_at: str = "", occurrence: int = 1) -> None:
        name = str(self.account.account_id)
        self.workers.append(
            self.nest.start(self.berth.bus, [name], die_at=die_at, occurrence=occurrence, **self.berth.environment)
        )

    def _signal_holder(self, number: signal.Signals) -> int | None:
        pid = self._holder()
        if pid is not None:
            kill(pid, number)
        return pid

    def _holder(self) -> int | None:
        t = AccountLease.__table__.c
        with self.berth.sea.engine.work(write=False) as work:
            query = select(t.owner).where(t.account_id == self.account.account_id)
            owner = work.connection.execute(query).scalar()
        pid = int(owner.split(":")[1]) if owner else None
        return pid if pid in self.workers else None

    def _stand_by(self) -> bool:
        """Whether a worker besides the holder has started and waits for the account."""
        holder = self._holder()
        return any(
            pid != holder and _lives(pid) and "worker_started" in self.nest.log_of[pid].read_text()
            for pid in self.workers
        )

    def _progress(self) -> int:
        """Count the intents that have an end: what a fault may hold up."""
        t = ExecutionIntent.__table__.c
        query = select(func.count()).where(t.live_run_id == self.run.live_run_id, t.state.in_(ENDED))
        with self.berth.sea.engine.work(write=False) as work:
            return int(work.connection.execute(query).scalar_one())

    def _ended(self) -> bool:
        t = LiveRun.__table__.c
        with self.berth.sea.engine.work(write=False) as work:
            query = select(t.status).where(t.live_run_id == self.run.live_run_id)
            return work.connection.execute(query).scalar() in ("STOPPED", "ERROR")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + END_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} within {END_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)

    def _tell_stacks(self) -> None:
        """Let every worker write what its threads are doing, and show it."""
        for pid in self.workers:
            kill(pid, signal.SIGUSR1)
        time.sleep(0.5)
        with _STACKS:
            for pid in self.workers:
                log = self.nest.log_of[pid]
                print(
                    f"--- seed {self.seed} {log.name}", *log.read_text().splitlines()[-120:], sep="\n", file=sys.stderr
                )


def restarts_the_node(seed: int) -> bool:
    """Whether a schedule kills the RabbitMQ node: such schedules have the node for themselves."""
    return seed % 10 == 0


def forget_offsets(link: KafkaLink, account_id: UUID) -> None:
    """Commit offset 0 for the group of the workers of an account, once its members are gone."""
    from confluent_kafka import KafkaException, TopicPartition

    group = f"{GROUP}.{hashlib.sha256(str(account_id).encode()).hexdigest()[:12]}"
    consumer = link.consumer(group, **{"session.timeout.ms": 6000})
    partition = TopicPartition(INTENTS, partition_of(account_id, must_exist(link.admin())), 0)
    deadline = time.monotonic() + 30
    while True:  # refused while the broker takes the killed ones for alive
        try:
            consumer.commit(offsets=[partition], asynchronous=False)
            break
        except KafkaException:
            if time.monotonic() > deadline:
                raise TimeoutError("the killed members are still in the group") from None
            time.sleep(0.5)
    consumer.close()


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED))
    except psutil.NoSuchProcess:
        return False

"""The consumer of ``trade.intents``: one member of a group, a thread for each account, offsets committed after the database.

A worker asks for the accounts whose partition it has been given; which worker may act on an account is still the database lease
alone. A rebalance is therefore a takeover: partitions that go are given up with their accounts (what is being sent is
answered first), partitions that come bring theirs. What falls between two workers stays NEW, and the outbox points at it
again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from toolkit.errors import GatewayError, ToolkitError
from toolkit.gateways.dramatiq_bus import EXECUTE_ACTOR
from toolkit.gateways.envelope import EnvelopeRefused, KeyRing, Pointer
from toolkit.gateways.kafka.dead_letters import KafkaDeadLetters
from toolkit.gateways.kafka.link import KafkaLink
from toolkit.gateways.kafka.messages import account_of_key, read_pointer
from toolkit.gateways.kafka.registry import Codec
from toolkit.gateways.kafka.topics import INTENTS, partition_of
from toolkit.telemetry.logging import get_logger
from toolkit.telemetry.metrics import Metrics
from workers.kafka.account_lanes import AccountLane, PartitionProgress, Waiting

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, TopicPartition

_LOG = get_logger("worker")
SESSION_MS = 6_000
# A partition is paused while this many pointers of one account wait behind the one that is being carried out.
FULL = 8
_COMMIT_SECONDS = 0.1
_LAG_SECONDS = 5.0
_HAND_OVER_SECONDS = 5.0
_AGAIN_SECONDS = 0.5
# A session's end, its discovery and a hand-over take 13 s at most.
_UNSETTLED_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Errand:
    """What a consumer does with messages.

    Attributes
    ----------
    known
        Whether an account is one of this installation that the worker was granted.
    carry_out
        Carries out a pointer; EnvelopeRefused (audited already) when its intent is not the account's.
    refuse
        Audits a message that is not ours.
    settled
        Told of the account whose pointer was carried out.
    moved
        Lets the worker compare its accounts with its partitions.
    """

    known: Callable[[UUID], bool]
    carry_out: Callable[[Pointer], None]
    refuse: Callable[[EnvelopeRefused], None]
    settled: Callable[[UUID], None]
    moved: Callable[[], None]


class KafkaConsumer:
    """Consumes until it is stopped.

    Parameters
    ----------
    group
        Members of one group share the partitions; all of them must serve the same accounts.
    partitions
        How many the topic has; which one is an account's follows from it.
    """

    def __init__(
        self,
        link: KafkaLink,
        codec: Codec,
        letters: KafkaDeadLetters,
        ring: KeyRing,
        group: str,
        partitions: int,
        errand: Errand,
        now: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._link = link
        self._codec = codec
        self._letters = letters
        self._ring = ring
        self._group = group
        self._partitions = partitions
        self._errand = errand
        self._now = now
        self._metrics = metrics
        self._assigned: frozenset[int] = frozenset()
        self._paused: set[int] = set()
        self._progress: dict[int, PartitionProgress] = {}
        self._lanes: dict[UUID, AccountLane] = {}
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._committed_at = self._measured_at = 0.0
        self._unsettled_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="kafka-consumer", daemon=True)

    def start(self) -> None:
        """Join the group and begin to receive."""
        self._thread.start()

    def wants(self, account_id: UUID) -> bool:
        """Whether the account's partition is ours now."""
        return partition_of(account_id, self._partitions) in self._assigned

    def join(self, account_id: UUID) -> None:
        """Carry out the account's pointers from now on."""
        lane = AccountLane(account_id, self._work, self._leave_to_sweeper)
        with self._guard:
            before = self._lanes.get(account_id)
            self._lanes[account_id] = lane
        if before is not None:
            before.end()

    def leave(self, account_id: UUID) -> None:
        """Begin no pointer of the account any more; the one under way is finished by its own thread."""
        with self._guard:
            lane = self._lanes.pop(account_id, None)
        if lane is not None:
            lane.end()
            lane.join(_HAND_OVER_SECONDS)

    def alive(self) -> bool:
        """Whether the receiving thread runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish what is under way, commit, and leave the group."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_HAND_OVER_SECONDS * 3)

    # receiving; everything below here runs on the consumer's thread, except what a lane calls
    def _run(self) -> None:
        from confluent_kafka import KafkaException

        while not self._stop.is_set():
            consumer = self._link.consumer(
                self._group,
                **{
                    "auto.offset.reset": "latest",  # a new group: what waits is pointed at again by the outbox
                    "session.timeout.ms": SESSION_MS,
                    "heartbeat.interval.ms": SESSION_MS // 4,
                    "statistics.interval.ms": int(_LAG_SECONDS * 1000),
                    "stats_cb": self._look_at_group,
                },
            )
            self._unsettled_since = None
            consumer.subscribe([INTENTS], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
            try:
                while not self._stop.is_set():
                    self._once(consumer)
            except (KafkaException, RuntimeError) as error:
                _LOG.warning("kafka_consumer_again", error=repr(error)[:500])
                self._stop.wait(_AGAIN_SECONDS)
            finally:
                consumer.close()  # leaves the group, and calls `_on_revoke` for what it had
                self._gone(self._assigned)

    def _once(self, consumer: Consumer) -> None:
        message = consumer.poll(_COMMIT_SECONDS)
        if self._unsettled_since is not None and time.monotonic() - self._unsettled_since > _UNSETTLED_SECONDS:
            raise RuntimeError("the group has given no partitions and no refusal for too long: joining again")
        if message is not None:
            error = message.error()
            if error is None:
                self._take(consumer, message)
            elif error.fatal():
                raise RuntimeError(f"the consumer is of no use any more: {error.str()}")
            else:
                _LOG.debug("kafka_consumer_error", error=error.str())
        self._hold_back(consumer)
        now = time.monotonic()
        if now - self._committed_at >= _COMMIT_SECONDS:
            self._committed_at = now
            self._commit(consumer, self._assigned, wait=False)
        if now - self._measured_at >= _LAG_SECONDS:
            self._measured_at = now
            self._measure(consumer)

    def _take(self, consumer: Consumer, message: Message) -> None:
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        progress = self._progress.setdefault(partition, PartitionProgress())
        progress.take(offset)
        try:
            if not self._dispatch(message, partition, offset):
                progress.done(offset)
        except Exception as error:  # noqa: BLE001 - registry, database or Kafka away, in whatever words: the same message comes again
            _LOG.warning("kafka_message_again", error=repr(error)[:500])
            progress.give_back(offset)
            self._stop.wait(_AGAIN_SECONDS)
            self._seek(consumer, partition, offset)

    def _dispatch(self, message: Message, partition: int, offset: int) -> bool:
        """Give a message to its account; return whether it is still to be finished."""
        account = account_of_key(_bytes(message.key()))
        try:
            name, record = self._codec.decode(_bytes(message.value()))
            if name == "snapshot":  # for whoever reads the topic later
                return False
            if name != "pointer":
                raise EnvelopeRefused("unknown_schema", f"a {name} is no message of {INTENTS}")
            pointer = read_pointer(record, self._ring, now=self._now())
            if pointer.account_id != account:
                raise EnvelopeRefused("foreign", f"a pointer to account {pointer.account_id} came under another key")
            with self._guard:
                lane = self._lanes.get(pointer.account_id)
            if lane is not None:
                return lane.put(Waiting(pointer, message, partition, offset))
            if not self._errand.known(pointer.account_id):
                raise EnvelopeRefused("foreign", f"account {pointer.account_id} is not served by this worker")
        except EnvelopeRefused as error:
            self._letters.keep(message, error.why, str(error), account)
            self._errand.refuse(error)
            self._metrics.count("messages_total", actor=EXECUTE_ACTOR, outcome="dead_letter")
            return False
        self._metrics.count("pointers_left_total", why="not_held")
        return False

    def _hold_back(self, consumer: Consumer) -> None:
        """Pause the partitions of accounts that have enough waiting, let the others go on."""
        from confluent_kafka import KafkaException, TopicPartition

        with self._guard:
            sizes = {account: lane.waiting() for account, lane in self._lanes.items()}
        busy: dict[int, int] = {}
        for account, size in sizes.items():
            number = partition_of(account, self._partitions)
            busy[number] = max(size, busy.get(number, 0))
        full = {number for number, size in busy.items() if size >= FULL} & self._assigned
        free = {number for number in self._paused if busy.get(number, 0) <= FULL // 2}
        try:
            if full - self._paused:
                consumer.pause([TopicPartition(INTENTS, number) for number in full - self._paused])
            if free & self._assigned:
                consumer.resume([TopicPartition(INTENTS, number) for number in free & self._assigned])
        except KafkaException as error:  # the partition went in this moment
            _LOG.debug("kafka_pause", error=str(error))
        self._paused = (self._paused | full) - free

    def _commit(self, consumer: Consumer, numbers: frozenset[int], *, wait: bool) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        offsets: list[TopicPartition] = []
        for number in numbers:
            progress = self._progress.get(number)
            to = None if progress is None else progress.to_commit()
            if to is not None:
                offsets.append(TopicPartition(INTENTS, number, to))
        if not offsets:
            return
        try:
            if wait:
                consumer.commit(offsets=offsets, asynchronous=False)
            else:
                consumer.commit(offsets=offsets, asynchronous=True)
        except (
            KafkaException
        ) as error:  # they are received again, by us or another: the intents' rows say that they are done
            _LOG.info("kafka_commit_lost", error=str(error))

    def _measure(self, consumer: Consumer) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        for number in self._assigned:
            progress = self._progress.get(number)
            try:
                _, high = consumer.get_watermark_offsets(TopicPartition(INTENTS, number), cached=True)
            except KafkaException:
                continue
            self._metrics.gauge("consumer_lag", 0 if progress is None else progress.behind(high), partition=str(number))

    def _seek(self, consumer: Consumer, partition: int, offset: int) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        try:
            consumer.seek(TopicPartition(INTENTS, partition, offset))
        except KafkaException as error:  # not ours any more: whoever has it receives it
            _LOG.info("kafka_seek", error=str(error))

    def _look_at_group(self, statistics: str) -> None:
        """Note since when a rebalance has been under way; members hand over within seconds, so a long one has lost an answer."""
        group = json.loads(statistics).get("cgrp", {})
        if group.get("state") != "up" or group.get("join_state") == "steady":
            self._unsettled_since = None
        elif self._unsettled_since is None:
            self._unsettled_since = time.monotonic()

    # rebalances
    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {one.partition for one in partitions}
        self._assigned |= numbers
        self._paused |= numbers  # one that was paused when it was lost comes back paused: the next look resumes it
        for number in numbers:
            self._progress[number] = PartitionProgress()
        self._tell("assigned", numbers)
        self._look_again()

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = frozenset(one.partition for one in partitions)
        self._tell("revoked", set(numbers))
        self._assigned -= numbers
        self._forget(numbers)
        self._look_again()
        self._wait_for_lanes(numbers)
        self._commit(consumer, numbers, wait=True)
        self._gone(numbers)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = frozenset(one.partition for one in partitions)
        self._tell("lost", set(numbers))
        self._assigned -= numbers
        self._forget(numbers)
        self._look_again()
        self._gone(numbers)

    def _forget(self, numbers: frozenset[int]) -> None:
        for lane in self._lanes_on(numbers):
            lane.forget()

    def _gone(self, numbers: frozenset[int]) -> None:
        self._assigned -= numbers
        self._paused -= numbers
        for number in numbers:
            self._progress.pop(number, None)

    def _wait_for_lanes(self, numbers: frozenset[int]) -> None:
        deadline = time.monotonic() + _HAND_OVER_SECONDS
        while self._lanes_on(numbers) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _lanes_on(self, numbers: frozenset[int]) -> list[AccountLane]:
        with self._guard:
            return [lane for account, lane in self._lanes.items() if partition_of(account, self._partitions) in numbers]

    def _look_again(self) -> None:
        try:
            self._errand.moved()
        except Exception as error:  # noqa: BLE001 - the database is away, in its driver's words: the next look sees the same partitions
            _LOG.warning("kafka_roster_later", error=repr(error)[:500])

    def _tell(self, kind: str, numbers: set[int]) -> None:
        if numbers:
            self._metrics.count("rebalances_total", kind=kind)
            _LOG.info("kafka_partitions", change=kind, partitions=sorted(numbers))

    # on an account's own thread
    def _work(self, item: Waiting) -> None:
        waited = time.time() - item.message.timestamp()[1] / 1000
        self._metrics.observe("message_wait_seconds", max(0.0, waited), actor=EXECUTE_ACTOR)
        started = time.perf_counter()
        why = detail = ""
        try:
            self._errand.carry_out(item.pointer)
        except EnvelopeRefused as error:
            why, detail = error.why, str(error)
        except Exception as error:  # noqa: BLE001 - kept as a dead letter, as on every bus; the intent's row stands as it is
            why, detail = "failed", repr(error)
            _LOG.error("dead_letter", intent_id=str(item.pointer.intent_id), error=detail[:500])
        self._metrics.observe("message_seconds", time.perf_counter() - started, actor=EXECUTE_ACTOR)
        self._metrics.count("messages_total", actor=EXECUTE_ACTOR, outcome="dead_letter" if why else "done")
        if not why or self._keep(item, why, detail):
            self._finish(item)
        try:
            self._errand.settled(item.pointer.account_id)
        except (ToolkitError, OSError) as error:  # results stay in the outbox, the next look sends them
            _LOG.info("results_later", error=str(error))

    def _keep(self, item: Waiting, why: str, detail: str) -> bool:
        while True:
            try:
                self._letters.keep(item.message, why, detail, item.pointer.account_id)
                return True
            except GatewayError as error:
                _LOG.warning("dead_letter_later", error=str(error))
                if self._stop.wait(_AGAIN_SECONDS):
                    return False  # not committed: it is received again

    def _finish(self, item: Waiting) -> None:
        progress = self._progress.get(item.partition)
        if progress is not None:
            progress.done(item.offset)

    def _leave_to_sweeper(self, item: Waiting) -> None:
        self._metrics.count("pointers_left_total", why="not_begun")
        self._finish(item)


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


__all__ = ["Errand", "KafkaConsumer"]

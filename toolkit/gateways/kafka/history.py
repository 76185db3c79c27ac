"""Reading a topic over a span of time, without a group and without committing anything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from toolkit.errors import GatewayError
from toolkit.gateways.kafka.link import KafkaLink

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, TopicPartition

_ANSWER_SECONDS = 15.0


def read_topic(
    link: KafkaLink,
    topic: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    seconds: float = 600.0,
) -> Iterator[Message]:
    """Give the messages that a topic holds now, of each partition in order, from a moment on and up to one.

    Parameters
    ----------
    since, until
        By the time Kafka has for each message; ``until`` is not included. None: from the oldest, up to the newest.
    seconds
        How long without a message before reading is given up.

    Raises
    ------
    GatewayError
        When Kafka does not answer.
    """
    from confluent_kafka import KafkaException

    consumer = link.consumer(
        f"seatrial.reader.{uuid4().hex}",
        **{"enable.partition.eof": True, "partition.assignment.strategy": "range", "auto.offset.reset": "earliest"},
    )
    try:
        yield from _read(consumer, topic, since, until, seconds)
    except KafkaException as error:
        raise GatewayError(f"Kafka does not answer: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _read(
    consumer: Consumer, topic: str, since: datetime | None, until: datetime | None, seconds: float
) -> Iterator[Message]:
    left = _spans(consumer, topic, since)
    consumer.assign([start for start, end in left.values() if start.offset < end])
    left = {number: span for number, span in left.items() if span[0].offset < span[1]}
    deadline = time.monotonic() + seconds
    while left:
        message = consumer.poll(0.5)
        if message is None:
            if time.monotonic() > deadline:
                raise GatewayError(f"{topic} could not be read to its end within {seconds:.0f} s")
            continue
        error, number = message.error(), message.partition()
        if error is not None:
            from confluent_kafka import KafkaError

            if error.code() == KafkaError._PARTITION_EOF:
                left.pop(number if number is not None else -1, None)
                continue
            raise GatewayError(f"{topic} cannot be read: {error.str()}")
        deadline = time.monotonic() + seconds
        if number is None or number not in left:
            continue
        offset = message.offset()
        late = until is not None and message.timestamp()[1] >= until.timestamp() * 1000
        if not late:
            yield message
        if offset is not None and offset + 1 >= left[number][1]:
            left.pop(number, None)


def _spans(consumer: Consumer, topic: str, since: datetime | None) -> dict[int, tuple[TopicPartition, int]]:
    """Return, for each partition, where to begin and the offset behind its newest message."""
    from confluent_kafka import TopicPartition

    found = consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
    if found.error is not None:
        raise GatewayError(f"topic {topic} cannot be read: {found.error.str()}; run `seatrial kafka setup` once")
    ends: dict[int, tuple[TopicPartition, int]] = {}
    for number in found.partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_ANSWER_SECONDS)
        ends[number] = (TopicPartition(topic, number, low), high)
    if since is None:
        return ends
    asked = [TopicPartition(topic, number, int(since.timestamp() * 1000)) for number in ends]
    for start in consumer.offsets_for_times(asked, timeout=_ANSWER_SECONDS):
        oldest, behind = ends[start.partition]
        at = behind if start.offset < 0 else max(start.offset, oldest.offset)  # negative: nothing is that young
        ends[start.partition] = (TopicPartition(topic, start.partition, at), behind)
    return ends


__all__ = ["read_topic"]

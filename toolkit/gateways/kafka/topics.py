"""The topics, their partitions and replication, and which partition an account's messages go to."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from toolkit.errors import GatewayError, must_be

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

INTENTS = "trade.intents"
RESULTS = "trade.results"
DEAD_LETTERS = "trade.intents.dlq"
_WAIT_SECONDS = 15.0
_WEEK_MS = 7 * 86_400_000
_YEAR_MS = 365 * 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """How a topic is made.

    Attributes
    ----------
    partitions
        How many workers can share the accounts; every account keeps to one.
    replication
        Copies of every message; 3 survives the loss of a broker while ``min.insync.replicas`` is 2.
    """

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


def plan(partitions: int, replication: int) -> tuple[Topic, ...]:
    """Return the topics as `seatrial kafka setup` makes them."""
    safe = {"min.insync.replicas": str(max(1, replication - 1)), "cleanup.policy": "delete"}
    return (
        Topic(INTENTS, partitions, replication, safe | {"retention.ms": str(_WEEK_MS)}),
        Topic(RESULTS, partitions, replication, safe | {"retention.ms": str(_YEAR_MS)}),
        Topic(DEAD_LETTERS, 1, replication, safe | {"retention.ms": "-1"}),
    )


def create_topics(admin: AdminClient, topics: tuple[Topic, ...]) -> list[str]:
    """Make the topics that are missing and return their names.

    Raises
    ------
    GatewayError
        When Kafka does not answer or refuses, e.g. more copies than it has brokers.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.cimpl import NewTopic

    there = topics_of(admin)
    wanted = [topic for topic in topics if topic.name not in there]
    if not wanted:
        return []
    new = [
        NewTopic(one.name, num_partitions=one.partitions, replication_factor=one.replication, config=one.config)
        for one in wanted
    ]
    made = []
    for name, future in admin.create_topics(new, request_timeout=_WAIT_SECONDS).items():
        try:
            future.result(_WAIT_SECONDS)
        except KafkaException as error:
            if error.args[0].name() == "TOPIC_ALREADY_EXISTS":
                continue
            raise GatewayError(
                must_be(
                    f"topic {name}",
                    "made by Kafka",
                    str(error.args[0].str()),
                    "give --replication no more than there are brokers, and the user the right to create topics",
                )
            ) from error
        made.append(name)
    return made


def topics_of(admin: AdminClient) -> dict[str, int]:
    """Return the topics that exist, with their number of partitions; GatewayError when Kafka does not answer."""
    from confluent_kafka import KafkaException

    try:
        found = admin.list_topics(timeout=_WAIT_SECONDS).topics
    except KafkaException as error:
        raise GatewayError(f"Kafka does not answer: {error.args[0].str()}") from error
    return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}


def must_exist(admin: AdminClient) -> int:
    """Refuse to work without our topics; return how many partitions the intents have.

    Raises
    ------
    GatewayError
        Naming what is missing, and the command that makes it.
    """
    there = topics_of(admin)
    missing = [name for name in (INTENTS, RESULTS, DEAD_LETTERS) if name not in there]
    if missing:
        raise GatewayError(must_be(f"topic {missing[0]}", "there", "missing", "run `seatrial kafka setup` once"))
    if there[RESULTS] != there[INTENTS]:
        raise GatewayError(
            must_be(
                f"partitions of {RESULTS}", f"as many as those of {INTENTS}", there[RESULTS], "add the missing ones"
            )
        )
    return there[INTENTS]


def partition_of(account_id: UUID, partitions: int) -> int:
    """Return the partition of an account's messages: librdkafka's ``consistent`` partitioner (CRC32) over its id."""
    return zlib.crc32(str(account_id).encode()) % partitions


__all__ = ["DEAD_LETTERS", "INTENTS", "RESULTS", "Topic", "create_topics", "must_exist", "partition_of", "plan"]

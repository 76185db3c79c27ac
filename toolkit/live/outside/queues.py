"""How much waits in the queues of accounts that trade through a message broker; only counts, nothing is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolkit.live.engine import Engine
from toolkit.store.reading.queries import Reader, ReadSide

BROKERS = ("redis", "rabbitmq")


@dataclass(frozen=True, slots=True)
class QueueLength:
    """One queue of one account.

    Attributes
    ----------
    carries
        ``intents`` or ``steps of runs``.
    waiting, delayed, dead
        Messages that no worker has taken, that wait for their time, and that an operator must look at; None when the message
        broker did not answer.
    trouble
        Why it did not; empty when it did.
    """

    account: str
    gateway: str
    carries: str
    waiting: int | None
    delayed: int | None
    dead: int | None
    trouble: str = ""


def queue_lengths(engine: Engine, reader: Reader) -> list[QueueLength]:
    """Return the queues of every account on a message broker that the reader may see, by account.

    A message broker that does not answer is asked once, and named.
    """
    accounts = [row for row in ReadSide(engine.database).accounts(reader) if row.gateway in BROKERS]
    found: list[QueueLength] = []
    for gateway in BROKERS:
        mine = [row for row in accounts if row.gateway == gateway]
        if mine:
            found += _of_broker(engine, gateway, mine)
    return sorted(found, key=lambda row: (row.account, row.carries))


def _of_broker(engine: Engine, gateway: str, accounts: list[Any]) -> list[QueueLength]:
    from dramatiq.errors import ConnectionClosed, ConnectionFailed
    from pika.exceptions import AMQPError
    from redis.exceptions import RedisError

    from toolkit.gateways.message_brokers import intent_queue, live_queue, make_message_broker

    found: list[QueueLength] = []
    trouble = ""
    broker = make_message_broker(
        gateway,
        redis_url=engine.settings.redis_url.get_secret_value(),
        rabbitmq_url=engine.settings.rabbitmq_url.get_secret_value(),
    )
    try:
        for row in accounts:
            queues = ((intent_queue(row.account_id), "intents"), (live_queue(row.account_id), "steps of runs"))
            for queue, carries in queues:
                counts: tuple[int | None, int | None, int | None] = (None, None, None)
                if not trouble:
                    try:
                        counts = broker.get_queue_message_counts(queue)
                    except (ConnectionClosed, ConnectionFailed, AMQPError, RedisError, OSError) as error:
                        trouble = f"{gateway} does not answer: {type(error).__name__}"
                found.append(QueueLength(row.name, gateway, carries, *counts, trouble))
    finally:
        broker.close()
    return found

"""The gateway over Kafka: signed pointers and snapshots to ``trade.intents``, results to ``trade.results``, from one outbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

from toolkit.clock import Clock
from toolkit.errors import GatewayError, NotFound
from toolkit.execution.ledger.records import OutboxRecord
from toolkit.execution.ledger.store import IntentStore
from toolkit.execution.principal import Principal
from toolkit.gateways.envelope import KeyRing, Pointer
from toolkit.gateways.kafka.link import KafkaLink, Outgoing
from toolkit.gateways.kafka.messages import pointer_record, result_record, snapshot_record
from toolkit.gateways.kafka.registry import Codec
from toolkit.gateways.kafka.topics import INTENTS, RESULTS
from toolkit.gateways.outbox_relay import OutboxRelay, not_counted

_BATCH = 100


class ExecutionGatewayKafka(OutboxRelay):
    """Publishes an account's outbox to Kafka, in order, keyed by account.

    A row is marked when the delivery reports say that all in-sync replicas have its message.

    Parameters
    ----------
    link, codec
        The process's way to Kafka, and to the schema registry.
    """

    name = "kafka"

    def __init__(
        self,
        link: KafkaLink,
        codec: Codec,
        ring: KeyRing,
        store: IntentStore,
        principal: Principal,
        clock: Clock,
        count: Callable[..., None] = not_counted,
    ) -> None:
        super().__init__(ring, store, principal, clock, count)
        self._link = link
        self._codec = codec
        self._turns: dict[UUID, threading.Lock] = {}

    def deliver_results(self, account_id: UUID) -> int:
        """Publish the account's results that are still in the outbox, in order; return how many.

        Raises
        ------
        GatewayError
            When Kafka did not take one; it and those after it stay in the outbox.
        """
        done = 0
        with self._turns.setdefault(account_id, threading.Lock()):  # two threads at once would send each result twice
            while True:
                with self._store.begin(self._principal, write=False) as work:
                    rows = work.unsent_results(account_id, _BATCH)
                if not rows:
                    return done
                key = str(account_id).encode()
                messages = [
                    Outgoing(RESULTS, key, self._codec.encode("result", result_record(row.body, self._ring)))
                    for row in rows
                ]
                taken, why = self._link.send(messages)
                self._mark([row.outbox_id for row in rows[:taken]])
                done += taken
                if taken:
                    self._count("results_published_total", taken)
                if why:
                    self._count("publish_failures_total", gateway=self.name)
                    raise GatewayError(f"Kafka did not take a result: {why}; it stays in the outbox")

    def _publish_all(self, account_id: UUID, rows: Sequence[OutboxRecord]) -> Iterator[OutboxRecord]:
        messages: list[Outgoing] = []
        with self._store.begin(self._principal, write=False) as work:
            intents = [work.intent(row.intent_id) for row in rows]
        for row, intent in zip(rows, intents, strict=True):
            if intent is None:  # pragma: no cover - a foreign key forbids it
                raise NotFound(f"intent {row.intent_id} of the outbox does not exist")
            messages.append(self._message(account_id, "snapshot", snapshot_record(intent, self._ring)))
            messages.append(self._pointer(account_id, row.intent_id, row.idempotency_key))
        taken, why = self._link.send(messages)
        yield from rows[: taken // 2]
        if why:
            self._fail(rows[taken // 2].intent_id, why)

    def _publish(self, account_id: UUID, intent_id: UUID, key: str) -> None:
        _, why = self._link.send([self._pointer(account_id, intent_id, key)])
        if why:
            self._fail(intent_id, why)

    def _pointer(self, account_id: UUID, intent_id: UUID, key: str) -> Outgoing:
        pointer = Pointer(intent_id, account_id, key, self._clock.now())
        return self._message(account_id, "pointer", pointer_record(pointer, self._ring))

    def _message(self, account_id: UUID, name: str, record: dict[str, object]) -> Outgoing:
        return Outgoing(INTENTS, str(account_id).encode(), self._codec.encode(name, record))

    def _fail(self, intent_id: UUID, why: str) -> None:
        self._count("publish_failures_total", gateway=self.name)
        raise GatewayError(f"Kafka did not take intent {intent_id}: {why}; it stays in the outbox")

    def _mark(self, outbox_ids: Sequence[int]) -> None:
        if outbox_ids:
            with self._store.begin(self._principal) as work:
                for outbox_id in outbox_ids:
                    work.mark_published(outbox_id, self._clock.now())
                work.commit()


__all__ = ["ExecutionGatewayKafka"]

"""Kafka's part of ``python tests/benchmarks/bus.py``: a signal to its result, beside raw produce and consume in the same run.

*Raw* is what the same broker and the same client do at best: one message produced with acks=all by an idempotent producer, until
a plain consumer has it. *Result* is the time from the return of the commit of an intent until a plain consumer of
``trade.results`` has the result: outbox read, pointer produced, received, checked, claimed, sent to the platform, recorded,
result produced, received. That is twice through the broker. The broker is noida-db behind the door of the tests.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from bus_execution import LatencyRig, put_intent, settings_for

from toolkit.gateways.kafka.link import Outgoing
from toolkit.gateways.kafka.topics import RESULTS

RAW = "bench.raw"


class KafkaLatencyRig(LatencyRig):
    """A worker of this process with one account, a raw topic, and a consumer of each."""

    def __init__(self, server_url: str, home: Path, database_url: str) -> None:
        from confluent_kafka.cimpl import NewTopic

        self.result_ms: list[float] = []
        self.raw_ms: list[float] = []
        self._results: Any = None
        super().__init__("kafka", settings_for("kafka", server_url, home, database_url))
        self._link = self._worker.carriage._link
        self._codec = self._worker.carriage._codec
        admin = self._link.admin()
        admin.create_topics([NewTopic(RAW, 1, 1)])[RAW].result(10)
        self._raw = self._tail(RAW)
        self._results = self._tail(RESULTS)
        for _ in range(3):
            self._raw_once()
        self.raw_ms.clear()

    def one(self, number: str) -> None:
        """Time one raw message, and one signal to the platform and to its result."""
        if self._results is not None:
            self._raw_once()
            while self._results.poll(0.05) is not None:
                continue
        self._called_ns = 0
        intent = put_intent(self._worker.engine, self._account, f"{self.name}-{number}")
        durable = time.perf_counter_ns()
        self._desk.gateway.deliver(self._account.account_id)
        if self._results is not None:
            self._await_result(str(intent))
            self.result_ms.append((time.perf_counter_ns() - durable) / 1e6)
        self._until(lambda: self._called_ns > 0)
        self.ms.append((self._called_ns - durable) / 1e6)
        time.sleep(0.05)

    def figures(self) -> dict[str, float]:
        """Return quantiles and the ratio to raw produce and consume."""
        return {
            "kafka_raw_p50_ms": round(median(self.raw_ms), 2),
            "kafka_raw_p99_ms": round(quantiles(self.raw_ms, n=100, method="inclusive")[98], 2),
            "kafka_signal_to_result_p50_ms": round(median(self.result_ms), 2),
            "kafka_signal_to_result_p99_ms": round(quantiles(self.result_ms, n=100, method="inclusive")[98], 2),
            "kafka_result_vs_raw": round(median(self.result_ms) / median(self.raw_ms), 1),
        }

    def close(self) -> None:
        """Stop the worker and the consumers."""
        self._raw.close()
        self._results.close()
        super().close()

    def _raw_once(self) -> None:
        value = uuid4().bytes
        begun = time.perf_counter_ns()
        taken, why = self._link.send([Outgoing(RAW, b"k", value)])
        if why:
            raise RuntimeError(why)
        deadline = time.monotonic() + 30
        while True:
            message = self._raw.poll(1)
            if message is not None and message.error() is None and message.value() == value:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{taken} raw message sent, none received")
        self.raw_ms.append((time.perf_counter_ns() - begun) / 1e6)

    def _await_result(self, intent: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            message = self._results.poll(1)
            if message is None or message.error() is not None:
                continue
            _, record = self._codec.decode(message.value())
            if record["intent_id"] == intent and record["kind"] == "intent":
                return
        raise TimeoutError("no result within 30 s")

    def _tail(self, topic: str) -> Any:
        from confluent_kafka import OFFSET_END, TopicPartition

        consumer = self._link.consumer(f"bench.{uuid4().hex}")
        numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_END) for number in numbers])
        consumer.poll(1)
        return consumer

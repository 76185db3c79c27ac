"""Message brokers side by side in one run: a no-op actor's wake-up and throughput, and a signal's way to the platform.

Run ``python tests/benchmarks/bus.py [--idle N] [--messages N] [--intents N] [--json]``. It starts its own Redis, RabbitMQ, Kafka
and PostgreSQL on free loopback ports. *idle* is the time from ``send`` to the first line of the actor after 2 to 4 s of
silence; the rate is that of a backlog, from its first message to its last. What the figures of intents mean is said in
``bus_execution.py`` and ``bus_kafka.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from bus_execution import LatencyRig, figures_of, latency_rig, throughput, wait_idle
from bus_kafka import KafkaLatencyRig
from postgres_process import PostgresServer

from tests.plugins.servers import KafkaServer, RabbitServer, RedisServer, _noida_program, _redis_program, make_topics
from toolkit.gateways.message_brokers import BlockingRedisBroker, QuorumRabbitmqBroker


class Rig:
    """One broker with one worker thread and a no-op actor that tells when it started."""

    def __init__(self, name: str, broker: dramatiq.Broker) -> None:
        self.name = name
        self.idle_us: list[float] = []
        self.rates: list[float] = []
        self._broker = broker
        self._started_ns = 0
        self._count = 0
        self._goal = 0
        self._done = threading.Event()
        self._first_ns = 0
        self._queue = f"bench.{uuid4().hex}"
        self._actor = dramatiq.actor(self._noop, broker=broker, actor_name=self._queue, queue_name=self._queue)
        self._worker = self._start()

    def _start(self) -> dramatiq.Worker:
        worker = dramatiq.Worker(self._broker, queues={self._queue}, worker_threads=1)
        worker.start()
        return worker

    def _noop(self) -> None:
        self._started_ns = time.monotonic_ns()
        self._first_ns = self._first_ns or self._started_ns
        self._count += 1
        if self._count == self._goal:
            self._done.set()

    def _expect(self, count: int) -> None:
        self._count, self._goal, self._first_ns = 0, count, 0
        self._done.clear()

    def _wait(self) -> None:
        if not self._done.wait(120):
            raise TimeoutError(f"{self.name}: {self._count} of {self._goal} messages arrived")

    def one(self) -> float:
        """Send one message and return microseconds until the actor's first line."""
        self._expect(1)
        sent = time.monotonic_ns()
        self._actor.send()
        self._wait()
        return (self._started_ns - sent) / 1000

    def drain(self, messages: int) -> float:
        """Return messages per second of a backlog on one thread."""
        self._worker.stop(timeout=10_000)
        self._expect(messages)
        for _ in range(messages):
            self._actor.send()
        self._worker = self._start()
        self._wait()
        return (messages - 1) * 1e9 / (self._started_ns - self._first_ns)

    def close(self) -> None:
        self._worker.stop(timeout=10_000)
        self._broker.close()


def run(idle: int, messages: int, intents: int) -> dict[str, Any]:
    """Measure every broker, interleaved, and return named figures."""
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        redis_program = _redis_program()
        if redis_program is None:
            raise SystemExit("redis-server must be installed")
        redis = RedisServer(redis_program, Path(folder))
        redis.start()
        script = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        rabbit = kafka = None
        postgres = PostgresServer()
        rigs: list[Rig] = []
        ways: list[LatencyRig] = []
        figures: dict[str, Any] = {}
        try:
            stock = RedisBroker(url=redis.url, namespace="stock", middleware=[])
            rigs = [Rig("stock redis", stock), Rig("redis", BlockingRedisBroker(redis.url))]
            if script.exists():
                (Path(folder) / "rabbit").mkdir()
                rabbit = RabbitServer(script, Path(folder) / "rabbit")
                rabbit.start()
                rigs.append(Rig("rabbitmq", QuorumRabbitmqBroker(rabbit.url)))
            urls = {"redis": redis.url} | ({"rabbitmq": rabbit.url} if rabbit is not None else {})
            if _noida_program() is not None:
                (Path(folder) / "kafka").mkdir()
                kafka = KafkaServer(str(_noida_program()), Path(folder) / "kafka")
                kafka.start()
                make_topics(kafka.url)
            for bus, url in urls.items():
                ways.append(latency_rig(bus, url, Path(folder) / f"home-{bus}", postgres.url))
            if kafka is not None:
                ways.append(KafkaLatencyRig(kafka.url, Path(folder) / "home-kafka", postgres.url))
                urls["kafka"] = kafka.url
            for rig in rigs:
                rig.one()
            for number in range(idle):
                wait_idle(rng)
                for rig in rng.sample(rigs, len(rigs)):
                    rig.idle_us.append(rig.one())
                wait_idle(rng)
                for way in rng.sample(ways, len(ways)):
                    way.one(str(number))
            for way in ways:
                figures |= figures_of(way)
                if isinstance(way, KafkaLatencyRig):
                    figures |= way.figures()
                way.close()
            ways.clear()
            for _ in range(3):
                for rig in rigs:
                    rig.rates.append(rig.drain(messages))
            for bus, url in urls.items():
                (Path(folder) / f"rate-{bus}").mkdir()
                figures |= throughput(bus, url, Path(folder) / f"rate-{bus}", postgres.url, intents=intents)
        finally:
            for way in ways:
                way.close()
            for rig in rigs:
                rig.close()
            redis.kill()
            if rabbit is not None:
                rabbit.close()
            if kafka is not None:
                kafka.close()
            postgres.close()
    for rig in rigs:
        key = rig.name.replace(" ", "_")
        figures[f"{key}_idle_p50_ms"] = round(median(rig.idle_us) / 1000, 2)
        figures[f"{key}_idle_p99_ms"] = round(quantiles(rig.idle_us, n=100, method="inclusive")[98] / 1000, 2)
        figures[f"{key}_messages_per_s"] = round(median(rig.rates))
    figures["idle_vs_stock"] = round(figures["stock_redis_idle_p50_ms"] / figures["redis_idle_p50_ms"], 1)
    figures["throughput_vs_stock"] = round(figures["redis_messages_per_s"] / figures["stock_redis_messages_per_s"], 1)
    return figures


def main() -> None:
    """Print a table, and with ``--json`` one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=20, help="idle pauses of 2 to 4 s")
    parser.add_argument("--messages", type=int, default=1000, help="messages per backlog")
    parser.add_argument("--intents", type=int, default=60, help="intents of each of ten accounts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = run(options.idle, options.messages, options.intents)
    figures["load_average"] = round(os.getloadavg()[0], 1)
    table = Table("figure", "value", title="message brokers")
    for name, value in figures.items():
        table.add_row(name, f"{value:,}")
    Console(stderr=options.json).print(table)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()

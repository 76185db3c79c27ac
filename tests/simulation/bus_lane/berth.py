"""Where a schedule takes place: a home with a version in it, copied for each, and the message broker it trades over."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from tests.plugins.servers import (
    KafkaServer,
    RabbitServer,
    RedisServer,
    _noida_program,
    _redis_program,
    bus_settings,
    make_topics,
)
from toolkit.bootstrap import build
from toolkit.gateways.kafka.link import KafkaLink
from toolkit.gateways.kafka.registry import open_codec
from toolkit.gateways.message_brokers import make_message_broker
from toolkit.market import Bars
from toolkit.research.comparison import normalise_all
from toolkit.risk.guardrails import Guards
from toolkit.settings import Settings
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import ExecutionIntent

from .outcome import LEASE_SECONDS

KEY = "k1:0123456789abcdef0123456789abcdef"


class Template:
    """A home in which the strategy of every schedule has been promoted, what its backtest trades, and what it decides."""

    def __init__(self, bus: str, folder: Path, bars: Bars) -> None:
        self.bus = bus
        self.bars = bars
        self.home = folder / "template"
        strategy, guards = EmaCross(fast=5, slow=20), Guards(max_open_per_symbol=1)
        terms = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
        self.expected = normalise_all(tk.backtest(strategy, bars, account=terms, guards=guards).trade_records)
        sea = Sea(build(settings_of("local", self.home)))
        self.version = sea.version(strategy, bars, guards=guards)
        sea.engine.close()
        self.signals = self._decided(folder / "local")

    def _decided(self, home: Path) -> list[tuple[Any, ...]]:
        """What the version decides over the local gateway: bar, action, side, ordinal and payload of each intent (I8)."""
        sea = Sea(build(settings_of("local", self.copy(home))))
        try:
            return signals_of(sea, sea.finish(sea.run(self.version, sea.account(), self.bars)))
        finally:
            sea.engine.close()

    def copy(self, home: Path) -> Path:
        """Make a home of its own for one schedule."""
        shutil.copytree(self.home, home)
        return home


def named_settings(bus: str, home: Path, url: str = "") -> dict[str, str]:
    """Return SEATRIAL_ variables without their prefix."""
    named = {"HOME": str(home), "GATEWAY": bus, "DATABASE_URL": "", "LEASE_SECONDS": str(LEASE_SECONDS)}
    if bus == "local":
        return named
    where = {name.upper(): value for name, value in bus_settings(bus, url).items()}
    return named | where | {"SIGNING_KEY": KEY, "QUOTE_INTERVAL_SECONDS": "0.2"}


def settings_of(bus: str, home: Path, url: str = "") -> Settings:
    """Return them as settings."""
    fields: dict[str, Any] = {name.lower(): value for name, value in named_settings(bus, home, url).items()}
    return Settings(_env_file=None, **fields)  # type: ignore[call-arg]


def signals_of(sea: Sea, run: RunRecord) -> list[tuple[Any, ...]]:
    """Return what a run decided, in order, without anything that names the run."""
    t = ExecutionIntent.__table__.c
    query = select(t.bar_time, t.action, t.side, t.ordinal, t.symbol, t.payload_hash)
    query = query.where(t.live_run_id == run.live_run_id).order_by(t.bar_time, t.action, t.ordinal)
    with sea.engine.work(write=False) as work:
        return [tuple(row) for row in work.connection.execute(query)]


def start_redis(folder: Path) -> RedisServer:
    """Start a Redis of its own for a schedule: it takes milliseconds."""
    folder.mkdir(parents=True)
    server = RedisServer(_redis_program() or "redis-server", folder)
    server.start()
    return server


def start_rabbitmq(folder: Path) -> RabbitServer:
    """Start a RabbitMQ node; it takes seconds, so schedules share it, with queues of their own."""
    folder.mkdir(parents=True)
    server = RabbitServer(Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), folder)
    server.start()
    return server


def start_kafka(folder: Path) -> KafkaServer:
    """Start a Kafka broker of its own for a schedule: it takes milliseconds."""
    folder.mkdir(parents=True)
    server = KafkaServer(_noida_program() or "noida-db", folder)
    server.start()
    make_topics(server.url)
    return server


class KafkaBroker:
    """A way to Kafka for those who play tricks."""

    def __init__(self, settings: Settings) -> None:
        self.link = KafkaLink(settings)
        self.codec = open_codec(settings.schema_registry_url.get_secret_value())

    def close(self) -> None:
        """Close it."""
        self.link.close()


@dataclass
class Berth:
    """One schedule's home and message broker."""

    bus: str
    home: Path
    server: Any

    def __post_init__(self) -> None:
        self.sea = Sea(build(settings_of(self.bus, self.home, self.server.url)))
        self.reconnect()

    def reconnect(self) -> None:
        """Connect to the message broker, again after the server was killed."""
        if self.bus == "kafka":
            self.broker: Any = KafkaBroker(settings_of(self.bus, self.home, self.server.url))
            return
        self.broker = make_message_broker(self.bus, redis_url=self.server.url, rabbitmq_url=self.server.url)

    @property
    def environment(self) -> dict[str, str]:
        """What a worker of this schedule is told."""
        named = named_settings(self.bus, self.home, self.server.url)
        return {f"SEATRIAL_{name}": value for name, value in named.items()}

    def close(self) -> None:
        """Give everything back; a Redis or Kafka of its own ends here."""
        self.broker.close()
        self.sea.engine.close()
        if self.bus == "kafka":
            self.server.close()
        if self.bus == "redis":
            self.server.kill()

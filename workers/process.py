"""One worker process: an engine with bus gateways, one Dramatiq worker, the scheduler and the relay."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType
from uuid import UUID

from dramatiq.errors import BrokerError
from pika.exceptions import AMQPError
from redis.exceptions import RedisError

from toolkit.bootstrap import build, drift_model
from toolkit.clock import SYSTEM
from toolkit.errors import BadInput, must_be
from toolkit.execution.ports import ExecutionGateway
from toolkit.execution.principal import Principal
from toolkit.gateways.dramatiq_bus import ExecutionGatewayRedis, ExecutionGatewayRMQ
from toolkit.gateways.message_brokers import intent_queue, live_queue
from toolkit.live.engine import Engine
from toolkit.live.watch.watchdog import Watchdog, WatchThread
from toolkit.settings import Settings
from toolkit.store.intents import SqlIntentStore
from toolkit.store.people.accounts import AccountRecord
from toolkit.telemetry.logging import get_logger
from workers.actors import AccountActors
from workers.consuming import AccountWorker
from workers.message_broker import open_message_broker, signing_ring
from workers.middleware import MessageMetrics
from workers.page import WorkerPage
from workers.roster import Roster
from workers.scheduler import Scheduler

_LOG = get_logger("worker")
_GATEWAYS: dict[str, type[ExecutionGatewayRedis] | type[ExecutionGatewayRMQ]] = {
    "redis": ExecutionGatewayRedis,
    "rabbitmq": ExecutionGatewayRMQ,
}
SHUTDOWN_MS = 30_000
THREADS_PER_ACCOUNT = 2  # one executes, one advances


class WorkerProcess:
    """Serves accounts that all use one message broker.

    Every account has threads of its own, so one whose platform hangs blocks no other. Accounts join and leave as their
    rows change gateway.

    Parameters
    ----------
    settings
        Database, message broker and signing key.
    names
        Accounts to serve, by name or id; empty: every account whose row names ``gateway``.
    gateway
        ``redis`` or ``rabbitmq``.
    """

    def __init__(self, settings: Settings, names: Sequence[str], gateway: str) -> None:
        if gateway not in _GATEWAYS:
            raise BadInput(
                must_be("gateway of a worker", "redis or rabbitmq", gateway, "a local gateway needs no worker")
            )
        ring = signing_ring(settings)
        counting = MessageMetrics()
        self.broker = open_message_broker(gateway, settings, counting)
        kind = _GATEWAYS[gateway]

        def make(account: AccountRecord, store: SqlIntentStore, principal: Principal) -> ExecutionGateway:
            return kind(self.broker, ring, store, principal, SYSTEM, self.engine.metrics.count)

        self.engine: Engine = build(settings, make_gateways={gateway: make})
        counting.metrics = self.engine.metrics
        self.roster = Roster(self.engine, gateway, names, self._join, self._leave)
        self.roster.must_serve_something()
        relay = kind(self.broker, ring, self.engine.store, self.engine.service, SYSTEM, self.engine.metrics.count)
        self.scheduler = Scheduler(self.engine, self.broker, relay, self.roster, settings.quote_interval_seconds)
        AccountActors(self.engine, ring, self.roster, self.scheduler).bind(self.broker)
        self.worker = AccountWorker(self.broker, THREADS_PER_ACCOUNT)
        self.page: WorkerPage | None = None
        if settings.metrics_port:
            self.page = WorkerPage(self.engine, self.scheduler.stuck, self._broker_trouble)
        self._watch: WatchThread | None = None

    def start(self) -> None:
        """Begin to consume, to schedule, to relay and to answer."""
        self.worker.start()
        self.roster.refresh()
        self.scheduler.start()
        if self.page is not None:
            self.page.start()
        self._watch = WatchThread(Watchdog(self.engine, drift_model()))
        _LOG.info("worker_started")

    def stop(self) -> None:
        """Finish what is being executed, hand back what is not, release leases and journals."""
        if self.page is not None:
            self.page.close()
        if self._watch is not None:
            self._watch.stop()
        self.scheduler.stop()
        self.roster.close()
        self.worker.stop(timeout=SHUTDOWN_MS)
        self.broker.close()
        self.engine.close()
        _LOG.info("worker_stopped")

    def _join(self, account_id: UUID) -> None:
        held = len(self.roster.serving())
        self.engine.metrics.gauge("accounts_held", held)
        self.worker.grow(THREADS_PER_ACCOUNT * held)
        self.worker.attach(intent_queue(account_id))
        self.worker.attach(live_queue(account_id))

    def _leave(self, account_id: UUID) -> None:
        self.engine.metrics.gauge("accounts_held", len(self.roster.serving()))
        self.worker.detach(intent_queue(account_id))
        self.worker.detach(live_queue(account_id))

    def _broker_trouble(self) -> str:
        try:
            self.broker.ping()
        except (BrokerError, RedisError, AMQPError, OSError) as error:
            return type(error).__name__
        return ""


def serve(settings: Settings, names: Sequence[str], gateway: str) -> None:
    """Run a worker until SIGTERM or SIGINT, then stop it in order."""
    done = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        done.set()

    process = WorkerProcess(settings, names, gateway)
    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    process.start()
    try:
        done.wait()
    finally:
        process.stop()

"""One worker process: an engine with bus gateways, what carries its messages, the scheduler and the relay."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any
from uuid import UUID

from toolkit.bootstrap import build, drift_model
from toolkit.execution.ports import ExecutionGateway
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.watch.watchdog import Watchdog, WatchThread
from toolkit.settings import Settings
from toolkit.store.intents import SqlIntentStore
from toolkit.store.people.accounts import AccountRecord
from toolkit.telemetry.logging import get_logger
from workers.actors import AccountActors
from workers.carriage import open_carriage
from workers.page import WorkerPage
from workers.queues.consuming import AccountWorker
from workers.queues.message_broker import signing_ring
from workers.queues.middleware import MessageMetrics
from workers.roster import Roster
from workers.scheduler import Scheduler

_LOG = get_logger("worker")
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
        ``redis``, ``rabbitmq`` or ``kafka``.
    """

    def __init__(self, settings: Settings, names: Sequence[str], gateway: str) -> None:
        ring = signing_ring(settings)
        counting = MessageMetrics()
        self.carriage = open_carriage(gateway, settings, names, ring, counting)
        self.broker: Any = self.carriage.broker

        def make(_account: AccountRecord, store: SqlIntentStore, principal: Principal) -> ExecutionGateway:
            return self.carriage.gateway(self.engine, store, principal)

        self.engine: Engine = build(settings, make_gateways={gateway: make})
        counting.metrics = self.engine.metrics
        self.roster = Roster(self.engine, gateway, names, self._join, self._leave, self.carriage.wants)
        self.roster.must_serve_something()
        relay = self.carriage.gateway(self.engine, self.engine.store, self.engine.service)
        self.scheduler = Scheduler(self.engine, self.broker, relay, self.roster, settings.quote_interval_seconds)
        actors = AccountActors(self.engine, ring, self.roster, self.scheduler)
        actors.bind(self.broker)
        self.carriage.bind(self.engine, self.roster, actors)
        self.worker = AccountWorker(self.broker, THREADS_PER_ACCOUNT)
        self.page: WorkerPage | None = None
        if settings.metrics_port:
            self.page = WorkerPage(self.engine, self.scheduler.stuck, self.carriage.trouble)
        self._watch: WatchThread | None = None

    def start(self) -> None:
        """Begin to consume, to schedule, to relay and to answer."""
        self.worker.start()
        self.carriage.start()
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
        self.carriage.stop()
        self.roster.close()  # Kafka's partitions went with their accounts just now
        self.worker.stop(timeout=SHUTDOWN_MS)
        self.carriage.close()
        self.engine.close()
        _LOG.info("worker_stopped")

    def _join(self, account_id: UUID) -> None:
        held = len(self.roster.serving())
        self.engine.metrics.gauge("accounts_held", held)
        self.worker.grow(THREADS_PER_ACCOUNT * held)
        self.carriage.join(account_id, self.worker)

    def _leave(self, account_id: UUID) -> None:
        self.engine.metrics.gauge("accounts_held", len(self.roster.serving()))
        self.carriage.leave(account_id, self.worker)


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

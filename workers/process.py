"""One worker process: an engine with bus gateways, one Dramatiq worker, the scheduler and the relay."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Sequence
from types import FrameType

import dramatiq
import structlog

from toolkit.bootstrap import build
from toolkit.clock import SYSTEM
from toolkit.errors import BadInput, RunError, must_be
from toolkit.execution.principal import Principal
from toolkit.gateways.dramatiq_bus import ExecutionGatewayRedis, ExecutionGatewayRMQ
from toolkit.gateways.message_brokers import intent_queue, live_queue
from toolkit.live.engine import Engine
from toolkit.settings import Settings
from toolkit.store.accounts import AccountRecord, Accounts
from toolkit.store.intents import SqlIntentStore
from workers.actors import AccountActors
from workers.message_broker import open_message_broker, signing_ring
from workers.scheduler import Scheduler

_LOG = structlog.get_logger(__name__)
_GATEWAYS: dict[str, type[ExecutionGatewayRedis] | type[ExecutionGatewayRMQ]] = {
    "redis": ExecutionGatewayRedis,
    "rabbitmq": ExecutionGatewayRMQ,
}
SHUTDOWN_MS = 30_000


class WorkerProcess:
    """Serves a list of accounts that all use one message broker.

    One thread executes and one advances for each account, so an account whose platform hangs blocks no other.

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
        self._settings = settings
        ring = signing_ring(settings)
        self.broker = open_message_broker(gateway, settings)
        kind = _GATEWAYS[gateway]

        def make(
            account: AccountRecord, store: SqlIntentStore, principal: Principal
        ) -> ExecutionGatewayRedis | ExecutionGatewayRMQ:
            return kind(self.broker, ring, store, principal, SYSTEM)

        self.engine: Engine = build(settings, make_gateways={gateway: make})
        accounts = _served(self.engine, names, gateway)
        self.accounts = tuple(account.account_id for account in accounts)
        self.scheduler = Scheduler(
            self.engine,
            self.broker,
            {account.account_id: make(account, self.engine.store, self.engine.service) for account in accounts},
            self.accounts,
            settings.quote_interval_seconds,
        )
        AccountActors(self.engine, ring, self.accounts, self.scheduler.wake).bind(self.broker)
        queues = {queue for account in self.accounts for queue in (intent_queue(account), live_queue(account))}
        self.worker = dramatiq.Worker(self.broker, queues=queues, worker_threads=2 * len(self.accounts))
        # One message of a queue at a time: order within the account, and nothing held back by a process that dies.
        self.worker.queue_prefetch = 1

    def start(self) -> None:
        """Begin to consume, to schedule and to relay."""
        self.worker.start()
        self.scheduler.start()
        _LOG.info("worker_started", accounts=[str(account) for account in self.accounts])

    def stop(self) -> None:
        """Finish what is being executed, hand back what is not, release leases and journals."""
        self.scheduler.stop()
        self.worker.stop(timeout=SHUTDOWN_MS)
        self.broker.close()
        self.engine.close()
        _LOG.info("worker_stopped")


def _served(engine: Engine, names: Sequence[str], gateway: str) -> list[AccountRecord]:
    with engine.work(engine.service, write=False) as work:
        known = Accounts(work.connection, engine.service)
        found: Collection[AccountRecord] = [known.find(name) for name in names] if names else known.all()
    served: list[AccountRecord] = []
    for account in found:
        if account.gateway == gateway:
            served.append(account)
        elif names:
            raise RunError(
                must_be(
                    f"gateway of {account.name}",
                    gateway,
                    account.gateway,
                    f"`seatrial gateway set {account.name} {gateway}`",
                )
            )
    if not served:
        raise RunError(
            must_be(
                "accounts", f"at least one with gateway {gateway}", "none", f"`seatrial gateway set ACCOUNT {gateway}`"
            )
        )
    return served


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

"""When the next ``advance`` of a run is due, and the relay that keeps outbox and message broker in step.

Everything is asked of the database, nothing is remembered elsewhere: whatever a message broker or a killed worker lost comes
back with the next look. A message too many is harmless, since ``advance`` and ``execute`` decide by the row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import dramatiq
from dramatiq.errors import BrokerError
from pika.exceptions import AMQPError
from redis.exceptions import RedisError

from toolkit.errors import PlatformError, StoreError
from toolkit.gateways.message_brokers import live_queue
from toolkit.gateways.outbox_relay import OutboxRelay
from toolkit.live.engine import Engine
from toolkit.store.runs import RunRecord, Runs
from toolkit.telemetry.logging import get_logger
from workers.actors import ADVANCE_ACTOR, RECONCILE_ACTOR, WATCHDOG_ACTOR
from workers.roster import Roster

_LOG = get_logger("worker")
SWEEP_SECONDS = 1.0
WATCHDOG_SECONDS = 5.0
RECONCILE_SECONDS = 15.0
# An `advance` that has not reached its actor after this long is taken to be lost, and another one may be sent.
LOST_SECONDS = 2.0
# A loop that has not come round for this long is stuck, and the process not well.
STUCK_SECONDS = 30.0


@dataclass(slots=True)
class _Loop:
    thread: threading.Thread
    came_round: float


class Scheduler:
    """Sends ``advance_live_run`` for runs of the worker's accounts: when woken, when a bar is due, and at every poll.

    Parameters
    ----------
    poll_seconds
        How often every run is looked at (`Settings.quote_interval_seconds`); it bounds how late a run notices
        a STOPPING or a halt. A closed bar is looked for when it is due, see `toolkit.live.hosting.due`.
    """

    def __init__(
        self,
        engine: Engine,
        broker: dramatiq.Broker,
        gateway: OutboxRelay,
        roster: Roster,
        poll_seconds: float,
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._gateway = gateway
        self._roster = roster
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._on_the_way: dict[UUID, float] = {}
        self._due: dict[UUID, tuple[float, RunRecord]] = {}
        self._sooner = threading.Event()
        self._loops: dict[str, _Loop] = {}
        for name, seconds, action in (
            ("poll", poll_seconds, self.poll),
            ("sweep", SWEEP_SECONDS, self.sweep),
            ("watchdog", WATCHDOG_SECONDS, self.send_watchdogs),
            ("reconcile", RECONCILE_SECONDS, self.send_reconciles),
        ):
            self._add_loop(name, self._every, name, seconds, action)
        self._add_loop("due", self._when_due)

    def start(self) -> None:
        """Start all loops."""
        for loop in self._loops.values():
            loop.came_round = time.monotonic()
            loop.thread.start()

    def stop(self) -> None:
        """Stop them and wait for them."""
        self._stop.set()
        self._sooner.set()
        for loop in self._loops.values():
            loop.thread.join(10)

    def stuck(self) -> list[str]:
        """Return the names of loops that have ended, or have not come round for half a minute."""
        now = time.monotonic()
        return [
            name
            for name, loop in self._loops.items()
            if not loop.thread.is_alive() or now - loop.came_round > STUCK_SECONDS
        ]

    def wake(self, run: RunRecord) -> None:
        """Send the run's ``advance`` now, unless one is on its way to the account: it steps the account's other runs too."""
        now = time.monotonic()
        with self._guard:
            sent = self._on_the_way.get(run.account_id)
            if sent is not None and now - sent < LOST_SECONDS:
                return
            self._on_the_way[run.account_id] = now
        try:
            self._send(run.account_id, ADVANCE_ACTOR, str(run.live_run_id), str(run.account_id))
        except (BrokerError, RedisError, AMQPError, OSError) as error:
            self.arrived(run.account_id)  # it is not on its way; the next poll sends another
            _LOG.warning("wake_later", error=repr(error))

    def arrived(self, account_id: UUID) -> None:
        """Note that an ``advance`` of the account has reached its actor: the next one may be sent."""
        with self._guard:
            self._on_the_way.pop(account_id, None)

    def look_at(self, run: RunRecord, seconds: float) -> None:
        """Send the run's ``advance`` after that time; a later plan for the run replaces an earlier one."""
        with self._guard:
            self._due[run.live_run_id] = (time.monotonic() + seconds, run)
        self._sooner.set()

    def republish(self, account_id: UUID) -> None:
        """Publish again the pointers of intents that are still NEW though their message was sent."""
        self._gateway.republish_lost(account_id)

    def poll(self) -> None:
        """Send an ``advance`` for one run of every account that has work."""
        self._roster.refresh()
        for account in self._roster.serving():
            with self._engine.work(self._engine.service, write=False) as work:
                runs = Runs(work.connection, self._engine.service).all(
                    account_id=account, statuses=("RUNNING", "STOPPING")
                )
            for run in runs:
                if run.host == "workers":
                    self.wake(run)
                    break

    def sweep(self) -> None:
        """Expire what waited too long, publish what the outbox still holds, and again what the broker may have lost."""
        limit = self._engine.settings.outbox_limit
        for account in self._roster.serving():
            desk = self._roster.desk(account)
            if desk is None:  # it left a moment ago; asking the engine would open its session again, for nobody
                continue
            try:
                desk.service.expire_overdue(limit)
            except (PlatformError, StoreError) as error:
                _LOG.warning("expire_later", account=str(account), error=str(error))
            self._gateway.deliver(account)
            self._gateway.republish_lost(account)

    def send_watchdogs(self) -> None:
        """Let every account be looked at for silent runs."""
        for account in self._roster.serving():
            self._send(account, WATCHDOG_ACTOR, str(account))

    def send_reconciles(self) -> None:
        """Let every account be reconciled with its platform."""
        for account in self._roster.serving():
            self._send(account, RECONCILE_ACTOR, str(account))

    def _send(self, account_id: UUID, actor: str, *arguments: str) -> None:
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=live_queue(account_id), actor_name=actor, args=arguments, kwargs={}, options={}
        )
        self._broker.enqueue(message)

    def _add_loop(self, name: str, action: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=action, args=arguments, name=f"scheduler-{name}", daemon=True)
        self._loops[name] = _Loop(thread, time.monotonic())

    def _every(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        while not self._stop.wait(seconds):
            self._attempt(name, action)

    def _when_due(self) -> None:
        while not self._stop.is_set():
            self._sooner.wait(self._until_next())
            self._sooner.clear()
            self._attempt("due", self._send_due)

    def _until_next(self) -> float:
        with self._guard:
            moments = [at for at, _ in self._due.values()]
        return max(0.0, min([at - time.monotonic() for at in moments] + [1.0]))

    def _send_due(self) -> None:
        now = time.monotonic()
        with self._guard:
            ready = [run for at, run in self._due.values() if at <= now]
            for run in ready:
                del self._due[run.live_run_id]
        for run in ready:
            self.wake(run)

    def _attempt(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - database or broker away, in whatever words: the next look tries again
            self._engine.metrics.count("loop_failures_total", loop=name)
            _LOG.warning("scheduler_retry", loop=name, error=repr(error))
        self._loops[name].came_round = time.monotonic()

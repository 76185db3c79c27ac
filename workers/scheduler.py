"""When the next ``advance`` of a run is due, and the relay that keeps outbox and message broker in step.

Everything is asked of the database, nothing is remembered elsewhere: whatever a message broker or a killed worker lost comes
back with the next look. A message too many is harmless, since ``advance`` and ``execute`` decide by the row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import dramatiq
from dramatiq.errors import BrokerError
from redis.exceptions import RedisError

from toolkit.errors import ToolkitError
from toolkit.gateways.dramatiq_bus import ExecutionGatewayRedis, ExecutionGatewayRMQ
from toolkit.gateways.message_brokers import live_queue
from toolkit.live.engine import Engine
from toolkit.store.runs import RunRecord, Runs
from toolkit.telemetry.logging import get_logger
from workers.actors import ADVANCE_ACTOR
from workers.roster import Roster

_LOG = get_logger("worker")
SWEEP_SECONDS = 2.0


class Scheduler:
    """Sends ``advance_live_run`` for runs of the worker's accounts: at once when woken, else at every poll.

    Parameters
    ----------
    poll_seconds
        How often every run is looked at (`Settings.quote_interval_seconds`); it bounds how late a run notices a closed bar,
        a STOPPING or a halt.
    """

    def __init__(
        self,
        engine: Engine,
        broker: dramatiq.Broker,
        gateway: ExecutionGatewayRedis | ExecutionGatewayRMQ,
        roster: Roster,
        poll_seconds: float,
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._gateway = gateway
        self._roster = roster
        self._poll = poll_seconds
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._loop, args=(self._poll, self.poll), name="advance-scheduler", daemon=True),
            threading.Thread(target=self._loop, args=(SWEEP_SECONDS, self.sweep), name="outbox-relay", daemon=True),
        ]

    def start(self) -> None:
        """Start polling and sweeping."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop both and wait for them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def wake(self, run: RunRecord) -> None:
        """Send the run's ``advance`` now."""
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=live_queue(run.account_id),
            actor_name=ADVANCE_ACTOR,
            args=(str(run.live_run_id), str(run.account_id)),
            kwargs={},
            options={},
        )
        self._broker.enqueue(message)

    def poll(self) -> None:
        """Send an ``advance`` for one run of every account that has work; it steps the account's other runs too."""
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
        """Publish what the outbox still holds, and again what the message broker may have lost."""
        for account in self._roster.serving():
            self._gateway.deliver(account)
            self._gateway.republish_lost(account)

    def _loop(self, seconds: float, action: Callable[[], None]) -> None:
        while not self._stop.wait(seconds):
            try:
                action()
            except (ToolkitError, BrokerError, RedisError, OSError) as error:
                # database or message broker away: the next look tries again
                _LOG.warning("scheduler_retry", error=str(error))

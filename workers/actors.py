"""What a message makes a worker do: execute an intent, advance a run, reconcile an account.

Actors are bound to one worker's engine, not to a module global, so importing this module starts nothing. Every actor
takes the account's lock: in this process one thread at a time works on an account, whatever queues its messages came
from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import dramatiq
import structlog

from toolkit.errors import LeaseLost, LostRace, NotFound, PlatformError, ToolkitError, WrongAccount
from toolkit.execution.intents import IntentState
from toolkit.gateways.dramatiq_bus import EXECUTE_ACTOR
from toolkit.gateways.envelope import EnvelopeRefused, KeyRing, Pointer, unseal
from toolkit.live.advance import advance
from toolkit.live.engine import Engine
from toolkit.live.hosting.due import lag_seconds, next_look
from toolkit.live.opening.recovery import take_back
from toolkit.store.people import audit
from toolkit.store.runs import RunRecord, Runs
from toolkit.telemetry.logging import get_logger
from workers.roster import Roster

ADVANCE_ACTOR = "advance_live_run"
RECONCILE_ACTOR = "reconcile_account"
WATCHDOG_ACTOR = "watchdog"
OPTIONS: dict[str, Any] = {"max_retries": 0, "time_limit": float("inf"), "notify_shutdown": False}
# A run whose heartbeat is older than this is advanced by the watchdog.
SILENT = timedelta(seconds=10)
# How long one message keeps stepping an account's runs before it lets other messages of the account through.
SLICE_SECONDS = 0.5

_LOG = get_logger("worker")


class Agenda(Protocol):
    """What actors ask of the scheduler."""

    def wake(self, run: RunRecord) -> None:
        """Send the run's ``advance`` now."""

    def arrived(self, account_id: UUID) -> None:
        """Note that an ``advance`` of the account has reached its actor."""

    def look_at(self, run: RunRecord, seconds: float) -> None:
        """Send the run's ``advance`` after that time."""

    def republish(self, account_id: UUID) -> None:
        """Publish again what the message broker may have lost."""


class AccountActors:
    """The actors of one worker process.

    Parameters
    ----------
    engine
        Made by ``toolkit.bootstrap.build`` with bus gateways.
    ring
        Verifies pointers.
    roster
        The accounts this worker serves; a pointer to another one is refused.
    agenda
        The scheduler.
    """

    def __init__(self, engine: Engine, ring: KeyRing, roster: Roster, agenda: Agenda) -> None:
        self._engine = engine
        self._ring = ring
        self._roster = roster
        self._agenda = agenda

    def bind(self, broker: dramatiq.Broker) -> None:
        """Declare the actors; the queues are declared as accounts join."""
        # The actors' own queue only gives them a home; every message names its account's queue.
        home = "seatrial.actors"
        actors: dict[str, Callable[..., None]] = {
            EXECUTE_ACTOR: self.execute_intent,
            ADVANCE_ACTOR: self.advance_live_run,
            RECONCILE_ACTOR: self.reconcile_account,
            WATCHDOG_ACTOR: self.watchdog,
        }
        for name, function in actors.items():
            # What Dramatiq's own middleware would do is said here as well, should somebody add it: no retry, because a stale
            # entry could fire days later, and no time limit, because one that strikes inside a send loses the answer.
            dramatiq.actor(actor_name=name, broker=broker, queue_name=home, **OPTIONS)(function)

    def execute_intent(self, sealed: str) -> None:
        """Carry out the intent that a signed pointer names.

        What is not ours is refused, audited and raised (a dead letter). What may succeed later is left to the outbox
        sweeper, which points at every intent that stays NEW.
        """
        try:
            pointer = unseal(sealed, self._ring, now=self._engine.now())
            if not self._roster.knows(pointer.account_id):
                raise EnvelopeRefused("foreign", f"account {pointer.account_id} is not served by this worker")
        except EnvelopeRefused as error:
            self.refuse(error)
            raise
        self.carry_out(pointer)

    def carry_out(self, pointer: Pointer) -> None:
        """Carry out the intent of a pointer that was checked, and wake its run.

        Raises
        ------
        EnvelopeRefused
            When there is no such intent of the account; audited already.
        """
        with structlog.contextvars.bound_contextvars(intent_id=str(pointer.intent_id)):
            run_id = self._execute(pointer)
        if run_id is not None:
            self._wake_run(run_id)

    def advance_live_run(self, live_run_id: str, account_id: str) -> None:
        """Step a run, and the others of its account that its step lets go on, for at most a slice of time."""
        run_id, account = UUID(live_run_id), UUID(account_id)
        self._agenda.arrived(account)
        with self._roster.holding(account) as mine, structlog.contextvars.bound_contextvars(live_run_id=live_run_id):
            if mine:
                for run in self._step_account(run_id, account):
                    self._agenda.wake(run)

    def reconcile_account(self, account_id: str) -> None:
        """Settle what is half-way at the platform, on evidence, whether or not a run of the account is alive."""
        account = UUID(account_id)
        with self._roster.holding(account) as mine:
            if not mine:
                return
            metrics = self._engine.metrics
            try:
                with metrics.timed("reconcile_seconds"):
                    report = self._engine.desk(account).service.reconcile()
            except ToolkitError as error:
                if not (error.retryable or isinstance(error, LeaseLost | LostRace)):
                    raise
                _LOG.warning("reconcile_later", error=str(error))
                return
            metrics.gauge("foreign_positions", len(report.sync.foreign_positions))

    def watchdog(self, account_id: str) -> None:
        """Advance runs of the account that have gone silent, and point again at intents that nobody has begun."""
        account = UUID(account_id)
        with self._roster.holding(account) as mine:
            if not mine:
                return
            now = self._engine.now()
            for run in self._hosted_runs(account):
                if run.heartbeat_at is None or now - run.heartbeat_at > SILENT:
                    self._engine.metrics.count("runs_revived_total")
                    _LOG.warning("run_revived", live_run_id=str(run.live_run_id), heartbeat_at=str(run.heartbeat_at))
                    self._agenda.wake(run)
        self._agenda.republish(account)

    def _execute(self, pointer: Pointer) -> UUID | None:
        with self._roster.holding(pointer.account_id) as mine:
            if not mine:
                return None  # another process has the account by now; the outbox points at the intent again
            service = self._engine.desk(pointer.account_id).service
            try:
                try:
                    intent = service.execute(pointer.intent_id)
                except (LeaseLost, LostRace) as error:
                    # Frozen past its lease: if nobody took the account meanwhile, nobody else gives the claim back.
                    _LOG.warning("intent_taken_back", error=str(error))
                    take_back(service)
                    intent = service.execute(pointer.intent_id)
            except NotFound as error:
                refused = EnvelopeRefused("unknown_intent", str(error))
                self.refuse(refused)
                raise refused from error
            except WrongAccount as error:
                refused = EnvelopeRefused("foreign", str(error))
                self.refuse(refused)
                raise refused from error
            except ToolkitError as error:
                if not (error.retryable or isinstance(error, LeaseLost | LostRace)):
                    raise
                _LOG.warning("intent_left_to_sweeper", error=str(error))
                return None
        return None if intent.state is IntentState.NEW else intent.live_run_id

    def _step_account(self, first: UUID, account: UUID) -> list[RunRecord]:
        """Step runs until none of them can go on or the slice is over; return those that still can."""
        deadline = time.monotonic() + SLICE_SECONDS
        runs = self._hosted_runs(account)
        runs.sort(key=lambda run: run.live_run_id != first)
        ready = runs
        live: set[UUID] = set()
        while ready and time.monotonic() < deadline:
            moved: list[RunRecord] = []
            held: list[RunRecord] = []
            for run in ready:
                progress = advance(self._engine, run.live_run_id, account)
                if progress.bars:
                    self._engine.metrics.count("bars_total", progress.bars, timeframe=run.timeframe)
                if progress.ended:
                    continue
                if progress.waiting == "barrier":
                    held.append(run)
                elif not progress.waiting:
                    moved.append(run)
                if '"replay"' not in run.feed_json:
                    live.add(run.live_run_id)
                    self._note_lag(run, account, progress.bars)
            # a barrier is lifted by the steps of the others, so it is worth asking again only if one of them moved
            ready = moved + held if moved else []
        if live:
            self._plan_looks(live, account)
        return ready

    def _note_lag(self, run: RunRecord, account: UUID, bars: int) -> None:
        if not bars:
            return
        after = self._peek(run.live_run_id)
        late = None if after is None else lag_seconds(run.timeframe, after.cursor, self._platform_now(account))
        if late is not None:
            self._engine.metrics.observe("advance_lag_seconds", late, timeframe=run.timeframe)

    def _plan_looks(self, live: set[UUID], account: UUID) -> None:
        """Look again when the bar that is forming should have closed; the regular poll goes on beside it."""
        offset = self._engine.settings.advance_offset_seconds
        for run in self._hosted_runs(account):
            if run.live_run_id in live:
                seconds = next_look(run.timeframe, run.cursor, self._platform_now(account), offset)
                if seconds is not None:
                    self._agenda.look_at(run, seconds)

    def _platform_now(self, account: UUID) -> datetime:
        try:
            return self._engine.desk(account).platform.now()
        except PlatformError:  # the platform is away: its clock is taken to be ours until it answers
            return self._engine.now()

    def _hosted_runs(self, account: UUID) -> list[RunRecord]:
        with self._engine.work(self._engine.service, write=False) as work:
            found = Runs(work.connection, self._engine.service).all(
                account_id=account, statuses=("RUNNING", "STOPPING")
            )
        return [run for run in found if run.host == "workers"]

    def _peek(self, live_run_id: UUID) -> RunRecord | None:
        with self._engine.work(self._engine.service, write=False) as work:
            return Runs(work.connection, self._engine.service).peek(live_run_id)

    def _wake_run(self, live_run_id: UUID) -> None:
        run = self._peek(live_run_id)
        if run is not None and run.status in ("RUNNING", "STOPPING") and run.host == "workers":
            self._agenda.wake(run)

    def refuse(self, error: EnvelopeRefused) -> None:
        """Audit a message that is not ours, and count it."""
        with self._engine.work(self._engine.service) as work:
            audit.append(
                work.connection, self._engine.now(), self._engine.service, "message.refused", error.why, str(error)
            )
            work.commit()
        self._engine.metrics.count("messages_refused_total", why=error.why)
        _LOG.error("message_refused", why=error.why)

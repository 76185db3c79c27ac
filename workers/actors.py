"""What a message makes a worker do: execute an intent, advance a run, reconcile an account.

Actors are bound to one worker's engine, not to a module global, so importing this module starts nothing. Every actor
takes the account's lock: in this process one thread at a time works on an account, whatever queues its messages came
from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

import dramatiq
import structlog

from toolkit.errors import LeaseLost, LostRace, NotFound, ToolkitError, WrongAccount
from toolkit.execution.intents import IntentState
from toolkit.gateways.dramatiq_bus import EXECUTE_ACTOR
from toolkit.gateways.envelope import EnvelopeRefused, KeyRing, Pointer, unseal
from toolkit.live.advance import advance
from toolkit.live.engine import Engine
from toolkit.store import audit
from toolkit.store.runs import RunRecord, Runs
from toolkit.telemetry.logging import get_logger
from workers.roster import Roster

ADVANCE_ACTOR = "advance_live_run"
RECONCILE_ACTOR = "reconcile_account"
# How long one message keeps stepping an account's runs before it lets other messages of the account through.
SLICE_SECONDS = 0.5

_LOG = get_logger("worker")


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
    wake
        Called with a run that can go on at once.
    """

    def __init__(self, engine: Engine, ring: KeyRing, roster: Roster, wake: Callable[[RunRecord], None]) -> None:
        self._engine = engine
        self._ring = ring
        self._roster = roster
        self._wake = wake

    def bind(self, broker: dramatiq.Broker) -> None:
        """Declare the actors; the queues are declared as accounts join."""
        # The actors' own queue only gives them a home; every message names its account's queue.
        home = "seatrial.actors"
        actors: dict[str, Callable[..., None]] = {
            EXECUTE_ACTOR: self.execute_intent,
            ADVANCE_ACTOR: self.advance_live_run,
            RECONCILE_ACTOR: self.reconcile_account,
        }
        for name, function in actors.items():
            dramatiq.actor(actor_name=name, broker=broker, queue_name=home)(function)

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
            self._audit_refusal(error)
            raise
        with structlog.contextvars.bound_contextvars(intent_id=str(pointer.intent_id)):
            run_id = self._execute(pointer)
        if run_id is not None:
            self._wake_run(run_id)

    def advance_live_run(self, live_run_id: str, account_id: str) -> None:
        """Step a run, and the others of its account that its step lets go on, for at most a slice of time."""
        run_id, account = UUID(live_run_id), UUID(account_id)
        with self._roster.holding(account) as mine, structlog.contextvars.bound_contextvars(live_run_id=live_run_id):
            if mine:
                for run in self._step_account(run_id, account):
                    self._wake(run)

    def reconcile_account(self, account_id: str) -> None:
        """Read the account's book and settle what the platform can tell."""
        account = UUID(account_id)
        with self._roster.holding(account) as mine:
            if mine:
                self._engine.desk(account).service.sync_book()

    def _execute(self, pointer: Pointer) -> UUID | None:
        with self._roster.holding(pointer.account_id) as mine:
            if not mine:
                return None  # the account has another gateway by now, which has the pointer too
            try:
                intent = self._engine.desk(pointer.account_id).service.execute(pointer.intent_id)
            except NotFound as error:
                refused = EnvelopeRefused("unknown_intent", str(error))
                self._audit_refusal(refused)
                raise refused from error
            except WrongAccount as error:
                refused = EnvelopeRefused("foreign", str(error))
                self._audit_refusal(refused)
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
        while ready and time.monotonic() < deadline:
            moved: list[RunRecord] = []
            held: list[RunRecord] = []
            for run in ready:
                progress = advance(self._engine, run.live_run_id, account)
                if progress.ended:
                    continue
                if progress.waiting == "barrier":
                    held.append(run)
                elif not progress.waiting:
                    moved.append(run)
            # a barrier is lifted by the steps of the others, so it is worth asking again only if one of them moved
            ready = moved + held if moved else []
        return ready

    def _hosted_runs(self, account: UUID) -> list[RunRecord]:
        with self._engine.work(self._engine.service, write=False) as work:
            found = Runs(work.connection, self._engine.service).all(
                account_id=account, statuses=("RUNNING", "STOPPING")
            )
        return [run for run in found if run.host == "workers"]

    def _wake_run(self, live_run_id: UUID) -> None:
        with self._engine.work(self._engine.service, write=False) as work:
            run = Runs(work.connection, self._engine.service).peek(live_run_id)
        if run is not None and run.status in ("RUNNING", "STOPPING") and run.host == "workers":
            self._wake(run)

    def _audit_refusal(self, error: EnvelopeRefused) -> None:
        with self._engine.work(self._engine.service) as work:
            audit.append(
                work.connection, self._engine.now(), self._engine.service, "message.refused", error.why, str(error)
            )
            work.commit()
        _LOG.error("message_refused", why=error.why)

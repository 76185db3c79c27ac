"""``advance``: one step of one LiveRun, by whoever hosts it. Stateless; it may be killed at any instruction.

It reads the row, thinks and asks the platform with no transaction open, and commits cursor, memory, intents and outbox in
one short transaction guarded by the row's version and status. A lost race is discarded and tried again by the next call.
"""

from __future__ import annotations

import traceback
from typing import cast
from uuid import UUID

from toolkit.clock import from_ns
from toolkit.errors import (
    ConversionRateMissing,
    Forbidden,
    GatewayError,
    LeaseLost,
    LostRace,
    NotFound,
    PlatformError,
    QuoteError,
    StoreError,
    ToolkitError,
)
from toolkit.execution.ports import ReplayVenue
from toolkit.live.engine import Desk, Engine
from toolkit.live.hosting.turns import turn_of
from toolkit.live.opening.recovery import take_back
from toolkit.live.stepping.commit import Unsettled, unsettled_intents
from toolkit.live.stepping.ending import fail, step_stopping
from toolkit.live.stepping.joint.platform_feed import step_joint_platform
from toolkit.live.stepping.joint.replay import step_joint_replay
from toolkit.live.stepping.program import forget, hot_run
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.run_state import ready_of
from toolkit.live.stepping.sources.platform_feed import step_platform
from toolkit.live.stepping.sources.replay import step_replay
from toolkit.live.stepping.telling import tell_once
from toolkit.store.intents import SqlTransaction
from toolkit.store.people import audit
from toolkit.store.runs import RunRecord, Runs, barrier_runs

MAX_BARS = 1_000


def advance(engine: Engine, live_run_id: UUID, account_id: UUID, *, limit: int = MAX_BARS) -> Progress:
    """Take one step of a run.

    Parameters
    ----------
    live_run_id, account_id
        The pair must match the run's row; anything else is refused and audited.
    limit
        At most this many bars are stepped and committed together.

    Returns
    -------
    Progress
        What was done and what the run waits for.

    Raises
    ------
    Forbidden
        When run and account do not belong together.
    NotFound
        When there is no such run.
    PlatformError, RunError
        When this process can never open the account's desk as things stand; the run is left as it is.
    """
    with turn_of(engine, account_id):
        return _advance(engine, live_run_id, account_id, limit)


def _advance(engine: Engine, live_run_id: UUID, account_id: UUID, limit: int) -> Progress:
    run, peers, allowed = _read(engine, live_run_id, account_id)
    if run.status not in ("RUNNING", "STOPPING"):
        return Progress(run.status, waiting="paused" if run.status == "PAUSED" else "")
    if not allowed:
        return fail(engine, run, f"{engine.service.name} has no grant on the account any more: its owner revoked it")
    # What keeps this process from the account is no fault of the run. Another process that still holds it is waited for: a
    # worker takes over from a dead one, or from the local gateway, this way. An account that is elsewhere for good raises.
    try:
        desk = engine.desk(account_id)
    except (QuoteError, ConversionRateMissing) as error:
        return Progress(run.status, waiting=f"retry: {error}")
    except PlatformError as error:
        if not error.retryable:
            raise
        return Progress(run.status, waiting=f"retry: {error}")
    try:
        return _step(engine, desk, run, peers, limit)
    except LostRace:
        forget(engine, live_run_id)
        return Progress(run.status, waiting="race")
    except LeaseLost as error:
        forget(engine, live_run_id)
        take_back(desk.service)
        return Progress(run.status, waiting=f"account: {error}")
    except (QuoteError, ConversionRateMissing) as error:
        # a price that is not there now is no fault of the run: its exits must not end with it
        forget(engine, live_run_id)
        tell_once(engine, run, "retrying", str(error))
        return Progress(run.status, waiting=f"retry: {error}")
    except (PlatformError, StoreError, GatewayError) as error:
        # an intent that a message broker did not take is in the outbox, and goes out when the broker is back
        forget(engine, live_run_id)
        if error.retryable:
            tell_once(engine, run, "retrying", str(error))
            return Progress(run.status, waiting=f"retry: {error}")
        return fail(engine, run, str(error), desk, error=type(error).__name__)
    except ToolkitError as error:
        forget(engine, live_run_id)
        return fail(engine, run, str(error), desk, error=type(error).__name__)
    except Exception as error:  # noqa: BLE001 - a fault in one run must not take its host's other runs down
        forget(engine, live_run_id)
        return fail(engine, run, f"{type(error).__name__}: {error}", desk, traceback=traceback.format_exc(limit=20))
    except BaseException:  # a worker's time limit, an interrupted notebook: the process may go on, its memory must not
        forget(engine, live_run_id)
        raise


def _read(engine: Engine, live_run_id: UUID, account_id: UUID) -> tuple[RunRecord, list[RunRecord], bool]:
    with engine.work(engine.service, write=False) as work:
        run = Runs(work.connection, engine.service).peek(live_run_id)
        if run is not None and run.account_id == account_id:
            # Only a replay waits for the others of its account; a run on live bars has no use for their rows.
            active = barrier_runs(work.connection, account_id) if '"replay"' in run.feed_json else []
            peers = [r for r in active if r.live_run_id != live_run_id]
            return run, peers, SqlTransaction(work).may_act(account_id, engine.service)
    if run is None:
        raise NotFound(f"live run {live_run_id} does not exist")
    with engine.work(engine.service) as work:
        audit.append(
            work.connection,
            engine.now(),
            engine.service,
            "run.refused",
            str(live_run_id),
            f"asked for account {account_id}",
        )
        work.commit()
    raise Forbidden(
        f"run {live_run_id} must be advanced for its own account {run.account_id}, was asked for {account_id}"
    )


def _step(engine: Engine, desk: Desk, run: RunRecord, peers: list[RunRecord], limit: int) -> Progress:
    hot = hot_run(engine, desk, run)
    if run.status == "STOPPING":
        return step_stopping(engine, desk, run, hot)
    left = Unsettled()
    if run.intents_count:
        left = unsettled_intents(engine, run.live_run_id)
        if left.under_way or left.waiting:
            if hot.program.replayed:
                # After a kill a paper venue's clock may stand earlier: the order must meet the quote it was made for.
                cast("ReplayVenue", desk.platform).advance_clock_to(from_ns(hot.state.clock_ns))
            desk.gateway.deliver(run.account_id)
            left = unsettled_intents(engine, run.live_run_id)
            if left.under_way:
                return Progress(run.status, waiting="delivery")
        if left.unknown:
            desk.service.reconcile()
            left = unsettled_intents(engine, run.live_run_id)
            if left.under_way:
                return Progress(run.status, waiting="delivery")  # an exit was planned again: it goes before any bar
    several = len(run.symbols) > 1
    if not hot.program.replayed:
        live = step_joint_platform if several else step_platform
        return live(engine, desk, run, hot, limit=limit, left=left)
    if left.waiting:
        limit = 1  # the venue's clock moves with the bars, so at each open it may take the exit
    others = [ready_of(peer.state) for peer in peers if peer.status == "RUNNING" and '"replay"' in peer.feed_json]
    play = step_joint_replay if several else step_replay
    return play(engine, desk, run, hot, barrier_ns=min(others, default=None), limit=limit, left=left)

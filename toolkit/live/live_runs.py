"""Creating, starting and stopping LiveRuns: the only doors, behind ``tk.start``, the command line and the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from toolkit.clock import from_ns
from toolkit.errors import Forbidden, LostRace, RunError, StageRefused, must_be
from toolkit.execution.builder import StopPolicy
from toolkit.execution.ports import AccountSnapshot
from toolkit.execution.principal import Principal
from toolkit.live.engine import Desk, Engine
from toolkit.live.feed import FeedSpec, Replay, load_replay, stored_bars
from toolkit.live.opening.run_checks import (
    check_facts,
    check_identity,
    check_stage,
    checked_symbols,
    feed_spec,
    tightened_guards,
)
from toolkit.market import Bars
from toolkit.market.series.several import shared_moments
from toolkit.risk.guardrails import Guards
from toolkit.store.people import audit
from toolkit.store.people.accounts import AccountRecord, Accounts, may_act
from toolkit.store.runs import RunRecord, Runs, VersionRecord, Versions, add_event, symbol_holders

STAGES = ("shadow", "paper", "demo", "real")
LOCAL = "local"
_STOP_ATTEMPTS = 50


def create_live_run(
    engine: Engine,
    principal: Principal,
    version: VersionRecord | UUID,
    account_id: UUID,
    *,
    symbols: Sequence[str],
    timeframe: str,
    stage: str = "paper",
    feed: Replay | FeedSpec | None = None,
    capital: Decimal | int | str | None = None,
    guards: Guards | None = None,
    stop_policy: StopPolicy | None = None,
    host: str = "notebook",
    reverse: bool = True,
    earned_by: UUID | None = None,
) -> RunRecord:
    """Create a run in status CREATED; nothing trades yet.

    Parameters
    ----------
    principal
        Who asks; must own the account or hold a grant on it.
    version
        The BotVersion to run.
    account_id
        The account it trades on; a bot has none of its own.
    symbols, timeframe
        Must be those of the version's sea trial.
    feed
        ``Replay(bars)``, or None for the account's own platform.
    capital
        What the run calls its own; risk percent applies to it. The account's balance when left out.
    guards
        May only tighten the version's.
    reverse
        Whether an opposite entry closes the position first (the default) or is ignored.
    earned_by
        The run, one stage below and of the same version, whose evidence earned this one; set by
        ``stages.advance_stage``. Demo and real cannot be had without it.

    Raises
    ------
    Forbidden
        When the account is not this principal's to trade; the attempt is audited.
    RunError
        When symbol, timeframe, stage, guards or capital do not fit.
    """
    account = _account(engine, principal, account_id)
    with engine.work(principal, write=False) as work:
        version = Versions(work.connection, principal).get(
            version if isinstance(version, UUID) else version.bot_version_id
        )
    if version.retired_at is not None:
        raise RunError(
            must_be(f"version {version.name}", "in service", f"retired: {version.retire_reason}",
                    "promote another, or take it back with tk.restore_version")
        )  # fmt: skip
    named = checked_symbols(version, symbols, timeframe)
    if stage not in STAGES:
        raise RunError(must_be("stage", f"one of {', '.join(STAGES)}", repr(stage), "begin with stage='paper'"))
    check_stage(account, stage)
    _check_earned(engine, principal, version, stage, earned_by)
    if stage == "real" and host == "notebook":
        raise RunError(must_be("host of a real account", "'workers'", "'notebook'", "let `seatrial worker` host it"))
    tightened = tightened_guards(version, guards)
    spec = feed_spec(engine, feed, named, timeframe)
    money = Decimal(str(capital)) if capital is not None else _balance(engine, account).balance
    if not money.is_finite() or money <= 0:
        raise RunError(must_be("capital", "above 0", capital, "say how much of the account the run may call its own"))
    with engine.work(principal) as work:
        run = Runs(work.connection, principal).add(
            engine.now(),
            account_id=account_id,
            bot_version_id=version.bot_version_id,
            symbols=list(named),
            timeframe=timeframe,
            stage=stage,
            host=host,
            capital=money,
            feed_json=_json(spec.as_dict()),
            guards_json=_json(tightened.facts()),
            options_json=_json(
                {"stop_policy": _policy_facts(stop_policy), "reverse": reverse, "warm_up": spec.kind == "platform"}
            ),
        )
        add_event(work.connection, engine.now(), run, "created", f"created on {account.name}, stage {stage}")
        work.commit()
    return run


def _check_earned(
    engine: Engine, principal: Principal, version: VersionRecord, stage: str, earned_by: UUID | None
) -> None:
    """Refuse demo and real to a version that has not shown itself one stage below."""
    if stage in ("shadow", "paper"):
        return
    below = STAGES[STAGES.index(stage) - 1]
    if earned_by is not None:
        with engine.work(principal, write=False) as work:
            run = Runs(work.connection, principal).get(earned_by)
        if run.bot_version_id == version.bot_version_id and run.stage == below:
            return
    raise StageRefused(
        must_be(f"stage {stage}", f"earned by a run of this version at stage {below}", "asked for directly",
                f"use run.advance_stage(account=...) on its {below} run")
    )  # fmt: skip


def start_bot_live_run(engine: Engine, principal: Principal, live_run_id: UUID) -> RunRecord:
    """Set a created (or stopped, never begun) run to RUNNING, after comparing it with the platform.

    Raises
    ------
    RunError
        When the platform's contract facts differ from the version's, naming each difference; when a netting account already
        has a run on the symbol; when the replay begins before the paper venue's clock; when the run has already ended, or
        its version was retired.
    Forbidden
        When this principal may see the run but not act on its account; audited.
    """
    _must_act_audited(engine, principal, live_run_id)
    with engine.work(principal, write=False) as work:
        run = Runs(work.connection, principal).get(live_run_id)
        version = Versions(work.connection, principal).get(run.bot_version_id)
        account = Accounts(work.connection, principal).get(run.account_id)
    if run.status == "RUNNING":
        return run
    if run.status != "CREATED":
        raise RunError(must_be("run status", "CREATED", run.status, "create a new run; an ended one stays as it is"))
    hedging = True
    if account.gateway == LOCAL:
        desk = engine.desk(run.account_id)
        load_feed(engine, desk, FeedSpec.from_dict(json.loads(run.feed_json)), run)
        hedging = must_fit_platform(desk, version, run.symbols).hedging
    elif run.host != "workers":
        raise RunError(
            must_be(
                f"host of a run on {account.name}",
                "workers",
                run.host,
                f"its gateway is {account.gateway}: pass host='workers'",
            )
        )
    else:
        # the platform session belongs to a worker, which compares account and facts before the first step
        hedging = account.settings.get("paper", {}).get("mode", "hedging") != "netting"
    with engine.work(principal) as work:
        principal_must_act(work.connection, principal, run)
        if Versions(work.connection, principal).get(run.bot_version_id).retired_at is not None:
            raise RunError(
                must_be(f"version {version.bot} v{version.number}", "in use", "retired", "use another version")
            )
        if not hedging and run.stage != "shadow":
            others = [
                r
                for r in symbol_holders(work.connection, run.account_id, run.symbols)
                if r.live_run_id != run.live_run_id
            ]
            if others:
                raise RunError(
                    must_be(
                        f"{', '.join(run.symbols)} on the netting account {account.name}",
                        "traded by one run only",
                        f"already traded by run {others[0].live_run_id}",
                        "stop that run, or use another account",
                    )
                )
        now = engine.now()
        run = Runs(work.connection, principal).save(
            run, status="RUNNING", started_at=now, heartbeat_at=now, last_action_at=now, last_action="started"
        )
        audit.append(work.connection, now, principal, "run.start", str(run.live_run_id))
        add_event(work.connection, now, run, "started", f"running {version.bot} v{version.number} on {account.name}")
        work.commit()
    return get_run(engine, principal, live_run_id)


def get_run(engine: Engine, principal: Principal, live_run_id: UUID) -> RunRecord:
    """Return a run this principal may see."""
    with engine.work(principal, write=False) as work:
        return Runs(work.connection, principal).get(live_run_id)


def list_runs(engine: Engine, principal: Principal, *, statuses: Sequence[str] = ()) -> list[RunRecord]:
    """Return the runs this principal may see, oldest first."""
    with engine.work(principal, write=False) as work:
        return Runs(work.connection, principal).all(statuses=statuses)


def stop_live_run(
    engine: Engine, principal: Principal, live_run_id: UUID, *, flatten: bool = False, reason: str = "stopped by hand"
) -> RunRecord:
    """Ask a run to stop: no entry leaves any more; with ``flatten`` its positions are closed first.

    The run's host carries it out (STOPPING, then STOPPED); a run that never began is STOPPED at once.
    """
    return _change_status(
        engine,
        principal,
        live_run_id,
        allowed=("CREATED", "RUNNING", "PAUSED", "ERROR"),
        to=lambda run: "STOPPED" if run.status == "CREATED" else "STOPPING",
        options={"flatten": flatten, "stop_reason": reason},
        action="run.stop",
        message=f"stop asked by {principal.name}: {reason}" + (", closing its positions" if flatten else ""),
        settled=("STOPPED", "STOPPING"),
    )


def pause_live_run(
    engine: Engine, principal: Principal, live_run_id: UUID, *, reason: str = "paused by hand"
) -> RunRecord:
    """Let a run make no decision until it is resumed; its stops stay at the platform."""
    return _change_status(
        engine, principal, live_run_id, allowed=("RUNNING",), to=lambda _: "PAUSED", options={"pause_reason": reason},
        action="run.pause", message=f"paused by {principal.name}: {reason}", settled=("PAUSED",),
    )  # fmt: skip


def resume_live_run(engine: Engine, principal: Principal, live_run_id: UUID) -> RunRecord:
    """Let a paused run go on; what it missed is caught up without stale entries."""
    return _change_status(
        engine, principal, live_run_id, allowed=("PAUSED",), to=lambda _: "RUNNING", options={"resumed": True},
        action="run.resume", message=f"resumed by {principal.name}", settled=("RUNNING",),
    )  # fmt: skip


def halt_account(engine: Engine, principal: Principal, account_id: UUID, *, reason: str = "halted by hand") -> None:
    """Throw the account's kill switch: no entry of any run leaves until it is resumed; exits still do."""
    with engine.work(principal) as work:
        Accounts(work.connection, principal).halt(account_id, engine.now(), reason)
        work.commit()


def resume_account(engine: Engine, principal: Principal, account_id: UUID) -> None:
    """Release the account's kill switch."""
    with engine.work(principal) as work:
        Accounts(work.connection, principal).resume(account_id, engine.now())
        work.commit()


def load_feed(engine: Engine, desk: Desk, feed: FeedSpec, run: RunRecord) -> dict[str, Bars] | None:
    """Give a replay's bars to the account's paper venue; return the run's own by symbol, None for a platform feed.

    Raises
    ------
    RunError
        When the account's platform has no clock that a replay could move, or the replay lies in the venue's past.
    """
    if feed.kind == "platform":
        return None
    if not hasattr(desk.platform, "load_replay"):
        raise RunError(
            must_be(
                "feed",
                "the platform's own on a live account",
                "a replay",
                f"leave feed= out, or replay on a paper account, not {desk.account.name}",
            )
        )
    series = {bars.symbol: bars for bars in (stored_bars(engine.settings.home, f) for f in feed.series)}
    begin = from_ns(int(shared_moments(series.values())[1]))  # the first open at which a decision is carried out
    if run.status == "CREATED" and desk.platform.now() > begin:
        raise RunError(
            must_be(
                "replay",
                f"beginning at or after the venue's clock {desk.platform.now().isoformat()}",
                f"beginning at {begin.isoformat()}",
                "open another paper account for this replay",
            )
        )
    load_replay(engine.settings.home, desk.platform, feed)
    return series


def _account(engine: Engine, principal: Principal, account_id: UUID) -> AccountRecord:
    with engine.work(principal) as work:
        if not may_act(work.connection, principal, account_id):
            # Committed on its own: the refusal must be on record although nothing else happens.
            audit.append(work.connection, engine.now(), principal, "account.refused", str(account_id), "create run")
            work.commit()
            raise Forbidden(
                f"{principal.name} may not trade on account {account_id}: use an account of your own, or ask for a grant"
            )
        return Accounts(work.connection, principal).get(account_id)


def _balance(engine: Engine, account: AccountRecord) -> AccountSnapshot:
    if account.gateway != LOCAL:
        raise RunError(
            must_be(
                "capital", f"given for {account.name}", "left out", "its platform belongs to the workers: pass capital="
            )
        )
    return engine.desk(account.account_id).platform.connect()


def must_fit_platform(desk: Desk, version: VersionRecord, symbols: Sequence[str]) -> AccountSnapshot:
    """Compare the session with the account's row and the platform's contract facts with the version's.

    Raises
    ------
    RunError
        Naming each difference.
    """
    snapshot = desk.platform.connect()
    check_identity(desk.account, snapshot)
    check_facts(desk, version, symbols)
    return snapshot


def _change_status(
    engine: Engine,
    principal: Principal,
    live_run_id: UUID,
    *,
    allowed: tuple[str, ...],
    to: Any,
    options: dict[str, Any],
    action: str,
    message: str,
    settled: tuple[str, ...],
) -> RunRecord:
    """Compare-and-set the status; a host committing bars at the same moment makes us read again, not fail."""
    for _ in range(_STOP_ATTEMPTS):
        with engine.work(principal) as work:
            runs = Runs(work.connection, principal)
            run = runs.get(live_run_id)
            now = (
                engine.now()
            )  # after the row is read: what a host committed while we waited for it was before the stop
            principal_must_act(work.connection, principal, run)
            if run.status in settled:
                return run
            if run.status not in allowed:
                raise RunError(
                    must_be("run status", " or ".join(allowed), run.status, "look at the run with `seatrial status`")
                )
            wanted = to(run)
            changes: dict[str, Any] = {
                "status": wanted,
                "options_json": _json({**run.options, **options}),
                "last_action_at": now,
                "last_action": message[:200],
            }
            if wanted == "STOPPED":
                changes["stopped_at"] = now
            try:
                run = runs.save(run, **changes)
            except LostRace:
                continue
            audit.append(work.connection, now, principal, action, str(live_run_id), message)
            add_event(work.connection, now, run, wanted.lower(), message)
            work.commit()
        return get_run(engine, principal, live_run_id)
    raise RunError(f"run {live_run_id} kept changing while it was to be changed to another status: try again")


def _must_act_audited(engine: Engine, principal: Principal, live_run_id: UUID) -> None:
    """Refuse a principal that may not act on a run's account, and keep that it was tried."""
    with engine.work(principal, write=False) as work:
        run = Runs(work.connection, principal).get(live_run_id)
        allowed = may_act(work.connection, principal, run.account_id)
    if allowed:
        return
    with engine.work(principal) as work:
        audit.append(work.connection, engine.now(), principal, "run.refused", str(live_run_id), "start without a grant")
        work.commit()
    raise Forbidden(f"{principal.name} may not act on account {run.account_id}: ask its owner for a grant")


def principal_must_act(connection: Any, principal: Principal, run: RunRecord) -> None:
    """Refuse a principal that may see a run but not act on its account."""
    if not may_act(connection, principal, run.account_id):
        raise Forbidden(f"{principal.name} may not act on account {run.account_id}: ask its owner for a grant")


def _policy_facts(policy: StopPolicy | None) -> dict[str, str]:
    policy = policy or StopPolicy()
    return {"kind": policy.kind, "value": str(policy.value)}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)

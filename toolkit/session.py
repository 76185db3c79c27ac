"""The notebook's words for what happens outside research: accounts, promotion, runs, and the kill switch.

They work on an engine that is built on first use from the environment's settings. `use` puts another in its place.
"""

from __future__ import annotations

import atexit
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from toolkit.bootstrap import build
from toolkit.errors import RunError, must_be
from toolkit.execution.builder import StopPolicy
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.recovery.kill_switch import FlattenReport
from toolkit.live import live_runs
from toolkit.live.engine import Engine
from toolkit.live.feed import Replay
from toolkit.live.hosting.host import RunThread, host_run
from toolkit.live.opening.paper_accounts import open_paper_account as _open_paper_account
from toolkit.live.outside.ai import AiRules, AiSignal
from toolkit.live.outside.ai import execute_ai_trade as _execute_ai_trade
from toolkit.live.promoting import versions as _versions
from toolkit.live.promoting.promotion import promote as _promote
from toolkit.live.promoting.versions import VersionDifference
from toolkit.live.review.closed_rows import closed_rows
from toolkit.live.run_handle import LiveRunHandle
from toolkit.live.safety import guards as safety
from toolkit.live.safety.flatten import halt_and_flatten
from toolkit.live.watch.watchdog import Watchdog, WatchThread
from toolkit.market import Bars
from toolkit.research.backtest import model_trades
from toolkit.research.comparison import TradeRecord, normalise_all
from toolkit.research.trial.report import TrialReport
from toolkit.research.trial.sea_trial import sea_trial as _sea_trial
from toolkit.research.trial.views import Series
from toolkit.risk.account_guards import AccountGuards
from toolkit.risk.guardrails import Guards
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.accounts import AccountRecord, Accounts
from toolkit.store.reading.records import TripRow
from toolkit.store.runs import Runs, VersionRecord
from toolkit.strategy.spec import StrategySpec

_guard = threading.RLock()
_default: list[Engine] = []
_threads: dict[UUID, RunThread] = {}
_watch: list[WatchThread] = []


def default_engine() -> Engine:
    """Return this process's engine, building it from the environment on first use."""
    with _guard:
        if not _default:
            _default.append(build())
            atexit.register(close)
        return _default[0]


def use(engine: Engine | None) -> None:
    """Let the words of this module work on another engine; None goes back to one built from the environment."""
    with _guard:
        leave_all()
        _default.clear()
        if engine is not None:
            _default.append(engine)


def close() -> None:
    """Stop hosting, give journals and connections back. Runs stay RUNNING; ``seatrial run ID`` takes them up."""
    with _guard:
        leave_all()
        for engine in _default:
            engine.close()
        _default.clear()


def leave_all() -> None:
    """Stop the threads that host runs in this process."""
    for thread in list(_threads.values()):
        thread.leave()
    _threads.clear()
    for watching in _watch:
        watching.stop()
    _watch.clear()


def open_paper_account(name: str, account: PaperAccount) -> AccountRecord:
    """Register a paper account, or return the one of that name and those terms."""
    return _open_paper_account(default_engine(), name, account)


def account(name: str) -> AccountRecord:
    """Return an account of yours by name."""
    engine = default_engine()
    with engine.work(write=False) as work:
        return Accounts(work.connection, engine.principal).find(name)


def sea_trial(
    strategy: Any,
    bars: Series,
    *,
    account: PaperAccount,
    guards: Guards | None = None,
    conversion: Mapping[str, Bars] | None = None,
) -> TrialReport:
    """Put a strategy through the four checks between research and live; see `toolkit.research.trial.sea_trial`.

    The live replay runs through the real execution path in a temporary data folder; nothing of it stays.
    """

    def live_replay(spec: StrategySpec, series: Series, terms: PaperAccount, limits: Guards) -> list[TradeRecord]:
        return replay_in_temporary_home(spec, series, account=terms, guards=limits, conversion=conversion)

    return _sea_trial(strategy, bars, account=account, guards=guards, live_replay=live_replay, conversion=conversion)


def replay_in_temporary_home(
    strategy: Any,
    bars: Series,
    *,
    account: PaperAccount,
    guards: Guards | None = None,
    conversion: Mapping[str, Bars] | None = None,
) -> list[TradeRecord]:
    """Run a strategy over bars on the live path, in a data folder of its own, and return its closed trades.

    Raises
    ------
    RunError
        When the run ended in ERROR; the message is the run's own.
    """
    from toolkit.live.opening.rehearsal import rehearsal_version

    with tempfile.TemporaryDirectory(prefix="seatrial-", ignore_cleanup_errors=True) as folder:
        settings = Settings(home=Path(folder), database_url="", gateway="local")  # type: ignore[arg-type]
        engine = build(settings)
        feed = Replay(bars, conversion=tuple((conversion or {}).values()))
        try:
            record = _open_paper_account(engine, "sea-trial", account)
            version = rehearsal_version(engine, StrategySpec.from_strategy(strategy), bars, guards or Guards())
            run = live_runs.create_live_run(
                engine,
                engine.principal,
                version,
                record.account_id,
                symbols=tuple(feed.series),
                timeframe=str(next(iter(feed.series.values())).timeframe),
                feed=feed,
                capital=account.balance,
            )
            live_runs.start_bot_live_run(engine, engine.principal, run.live_run_id)
            host_run(engine, run.live_run_id)
            ended = live_runs.get_run(engine, engine.principal, run.live_run_id)
            if ended.status != "STOPPED":
                raise RunError(f"the live replay of the sea trial ended in {ended.status}: {ended.last_error}")
            with engine.work(write=False) as work:
                return normalise_all(closed_rows(work.connection, run.live_run_id, account.currency))
        finally:
            engine.close()


def promote(
    strategy: Any,
    *,
    trial: TrialReport,
    note: str = "",
    bot: str | None = None,
    guards: Guards | None = None,
    bars: Series | None = None,
    statistics: Mapping[str, Any] | None = None,
) -> VersionRecord:
    """Store a strategy as a BotVersion, with the sea trial it passed; an equal one is returned, not stored twice.

    Parameters
    ----------
    trial
        The report of its sea trial; a failed one, or one of another strategy, is refused.
    note
        Why it is promoted; kept for ever.
    bot
        Name of the strategy line; the strategy's own name when left out.
    guards
        Those of the trial when left out. They may be tighter, never wider.
    bars
        When given, the trial must have been made on exactly these.
    statistics
        Figures of the sweep it was chosen from, with the number of sets tried.
    """
    return _promote(
        default_engine(), strategy, trial=trial, note=note, bot=bot, guards=guards, bars=bars, statistics=statistics
    )


def versions(bot: str | None = None, *, retired: bool = False) -> list[VersionRecord]:
    """Return your versions, oldest first; with ``retired`` also those that were retired."""
    engine = default_engine()
    return _versions.list_versions(engine, engine.principal, bot=bot, retired=retired)


def version(name: str | UUID) -> VersionRecord:
    """Return a version of yours: ``"EmaCross v3"``, the bot's name for its newest, or the beginning of an id or hash."""
    engine = default_engine()
    return _versions.find_version(engine, engine.principal, name)


def compare_versions(first: VersionRecord | str, second: VersionRecord | str) -> VersionDifference:
    """Return in words what is different in the second version."""
    one, two = (v if isinstance(v, VersionRecord) else version(v) for v in (first, second))
    return _versions.compare_versions(one, two)


def retire(version: VersionRecord | str, reason: str) -> VersionRecord:
    """Let no new run of a version begin; what runs goes on."""
    engine = default_engine()
    return _versions.retire_version(engine, engine.principal, version, reason=reason)


def restore_version(version: VersionRecord | str) -> VersionRecord:
    """Take a retirement back."""
    engine = default_engine()
    return _versions.restore_version(engine, engine.principal, version)


def start(
    version: VersionRecord | str,
    *,
    account: str,
    symbols: Sequence[str],
    timeframe: str,
    stage: str = "paper",
    feed: Replay | None = None,
    capital: Decimal | int | str | None = None,
    guards: Guards | None = None,
    host: str = "notebook",
) -> LiveRunHandle:
    """Create and start a LiveRun; with ``host="notebook"`` a thread of this process hosts it.

    Parameters
    ----------
    version
        What `promote` returned, or its name, ``"EmaCross v3"``.
    account
        Name of an account of yours.
    host
        ``notebook``: a thread here; ``workers``: whoever runs ``seatrial worker``; ``none``: nobody yet.
    """
    if host not in ("notebook", "workers", "none"):
        raise RunError(
            must_be("host", "'notebook', 'workers' or 'none'", repr(host), "leave it out to host the run here")
        )
    engine = default_engine()
    with engine.work(write=False) as work:
        record = Accounts(work.connection, engine.principal).find(account)
    run = live_runs.create_live_run(
        engine,
        engine.principal,
        version if isinstance(version, VersionRecord) else _versions.find_version(engine, engine.principal, version),
        record.account_id,
        symbols=symbols,
        timeframe=timeframe,
        stage=stage,
        feed=feed,
        capital=capital,
        guards=guards,
        host=host,
    )
    live_runs.start_bot_live_run(engine, engine.principal, run.live_run_id)
    if host == "notebook":
        _threads[run.live_run_id] = RunThread(engine, run.live_run_id)
        with _guard:
            if not _watch:
                _watch.append(WatchThread(Watchdog(engine, model_trades)))
    return LiveRunHandle(engine, run.live_run_id, _threads.get(run.live_run_id), model_trades)


def run(run_id: UUID | str) -> LiveRunHandle:
    """Return a run by its id, or by the beginning of it."""
    engine = default_engine()
    with engine.work(write=False) as work:
        found = Runs(work.connection, engine.principal).find(str(run_id))
    return LiveRunHandle(engine, found.live_run_id, _threads.get(found.live_run_id), model_trades)


def runs() -> list[LiveRunHandle]:
    """Return your runs, oldest first."""
    engine = default_engine()
    found = live_runs.list_runs(engine, engine.principal)
    return [LiveRunHandle(engine, r.live_run_id, _threads.get(r.live_run_id), model_trades) for r in found]


def halt(
    account: str, reason: str = "halted by hand", *, flatten: bool = False, timeout_seconds: float = 60.0
) -> FlattenReport | None:
    """Throw an account's kill switch: no entry of any run leaves until it is resumed; exits still do.

    Parameters
    ----------
    flatten
        Also close every position and cancel every order of ours, again and again until the platform says that nothing of
        ours is left, or the time is over.

    Returns
    -------
    FlattenReport or None
        With ``flatten``: what was closed, and what remains.
    """
    engine = default_engine()
    account_id = _account_id(engine, account)
    if flatten:
        return halt_and_flatten(engine, engine.principal, account_id, reason=reason, timeout_seconds=timeout_seconds)
    live_runs.halt_account(engine, engine.principal, account_id, reason=reason)
    return None


def resume(account: str) -> None:
    """Release an account's kill switch."""
    engine = default_engine()
    live_runs.resume_account(engine, engine.principal, _account_id(engine, account))


def account_guards(account: str) -> AccountGuards:
    """Return the guards of an account."""
    engine = default_engine()
    return safety.account_guards(engine, engine.principal, _account_id(engine, account))


def set_account_guards(account: str, guards: AccountGuards) -> None:
    """Replace the guards of an account of yours; they hold beside those of every run, from the next entry on."""
    engine = default_engine()
    safety.set_account_guards(engine, engine.principal, _account_id(engine, account), guards)


def guardrail_trips(account: str | None = None, *, active: bool = True) -> list[TripRow]:
    """Return guardrail trips, newest first: with ``active`` those that go on denying entries, else every denial."""
    engine = default_engine()
    account_id = None if account is None else _account_id(engine, account)
    return safety.guardrail_trips(engine, engine.principal, account_id=account_id, active=active)


def reset_guardrail(account: str, rule: str | None = None, *, run: UUID | str | None = None) -> int:
    """Lift trips of an account that hold on, audited; return how many. See `toolkit.live.safety.guards.reset_trips`."""
    engine = default_engine()
    live_run_id = None
    if run is not None:
        with engine.work(write=False) as work:
            live_run_id = Runs(work.connection, engine.principal).find(str(run)).live_run_id
    account_id = _account_id(engine, account)
    return len(safety.reset_trips(engine, engine.principal, account_id, rule=rule, live_run_id=live_run_id))


def _account_id(engine: Engine, name: str) -> UUID:
    with engine.work(write=False) as work:
        return Accounts(work.connection, engine.principal).find(name).account_id


def execute_ai_trade(
    signal: AiSignal | dict[str, Any],
    *,
    account: str,
    rules: AiRules | None = None,
    stop_policy: StopPolicy | None = None,
    journal: bool = False,
    attachments: Sequence[str] = (),
) -> IntentRecord:
    """Carry out an AI's signal on an account of yours, once; see `toolkit.live.outside.ai.execute_ai_trade`."""
    engine = default_engine()
    return _execute_ai_trade(
        engine,
        engine.principal,
        signal,
        account=account,
        rules=rules,
        stop_policy=stop_policy or StopPolicy(),
        journal=journal,
        attachments=attachments,
    )


def version_facts(version: VersionRecord) -> dict[str, Any]:
    """Return a version's evidence as data."""
    facts: dict[str, Any] = json.loads(version.evidence_json)
    return facts

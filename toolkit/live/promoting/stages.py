"""Stages: shadow, paper, demo, real, one step at a time, each on evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from toolkit.errors import StageRefused, must_be
from toolkit.execution.principal import Principal
from toolkit.live import live_runs
from toolkit.live.engine import Engine
from toolkit.live.feed import FeedSpec, Replay
from toolkit.live.review.drift import DriftReport
from toolkit.store.people import audit
from toolkit.store.people.accounts import AccountRecord, Accounts
from toolkit.store.runs import RunRecord, Runs, add_event
from toolkit.store.sql.models import ExecutionIntent, Trade

_INTENTS: Any = ExecutionIntent.__table__
_TRADES: Any = Trade.__table__


@dataclass(frozen=True, slots=True)
class StageRule:
    """What a run must have shown before its version goes one stage up.

    Attributes
    ----------
    min_bars, min_trades
        Bars stepped and trades closed at the stage.
    max_drift_percent
        Largest profit gap between run and model, in percent of the run's capital; None: drift is not asked.
    """

    min_bars: int
    min_trades: int
    max_drift_percent: Decimal | None = None


RULES: dict[str, StageRule] = {
    "shadow": StageRule(min_bars=50, min_trades=0),
    "paper": StageRule(min_bars=500, min_trades=20, max_drift_percent=Decimal("0.5")),
    "demo": StageRule(min_bars=500, min_trades=20, max_drift_percent=Decimal(1)),
}


def next_stage(stage: str) -> str:
    """Return the stage above.

    Raises
    ------
    StageRefused
        When there is none.
    """
    above = live_runs.STAGES.index(stage) + 1
    if above == len(live_runs.STAGES):
        raise StageRefused(must_be("stage", "below real", stage, "there is no stage above"))
    return live_runs.STAGES[above]


def stage_findings(
    engine: Engine, principal: Principal, run: RunRecord, *, drift: Callable[[], DriftReport] | None, rule: StageRule
) -> list[str]:
    """Return what a run still lacks for the next stage, in words; empty when it lacks nothing."""
    found: list[str] = []
    with engine.work(principal, write=False) as work:
        db = work.connection
        closed = int(
            db.execute(
                select(func.count())
                .select_from(_TRADES)
                .where(_TRADES.c.live_run_id == run.live_run_id, _TRADES.c.status == "closed")
            ).scalar_one()
        )
        unresolved = int(
            db.execute(
                select(func.count())
                .select_from(_INTENTS)
                .where(_INTENTS.c.live_run_id == run.live_run_id, _INTENTS.c.state.in_(("UNKNOWN", "ABANDONED")))
            ).scalar_one()
        )
    if run.status == "ERROR":
        found.append(f"the run ended in ERROR: {run.last_error}")
    if run.bars_count < rule.min_bars:
        found.append(must_be("bars", f"at least {rule.min_bars}", run.bars_count, "let it run longer"))
    if closed < rule.min_trades:
        found.append(must_be("closed trades", f"at least {rule.min_trades}", closed, "let it run longer"))
    if unresolved:
        found.append(must_be("unresolved intents", "none", unresolved, "resolve them first"))
    if rule.max_drift_percent is not None and drift is not None:
        report = drift()
        percent = abs(report.profit_gap) / run.capital * 100
        if percent > rule.max_drift_percent:
            found.append(
                must_be(
                    "drift",
                    f"at most {rule.max_drift_percent} % of capital",
                    f"{percent:.3f} % ({report})",
                    "find its cause",
                )
            )
    return found


def advance_stage(
    engine: Engine,
    principal: Principal,
    live_run_id: UUID,
    *,
    account: str,
    feed: Replay | FeedSpec | None = None,
    capital: Decimal | int | str | None = None,
    confirm: str = "",
    drift: Callable[[], DriftReport] | None = None,
    rules: dict[str, StageRule] | None = None,
) -> RunRecord:
    """Create a run of the same version one stage up, on an account of that kind. The old run goes on as it is.

    Parameters
    ----------
    account
        Name of the account the next stage trades on.
    confirm
        For ``real``: the account's name, typed by a human.
    drift
        Measures the run's drift; asked where the rule has a limit.

    Raises
    ------
    StageRefused
        Naming everything that is missing.
    """
    with engine.work(principal, write=False) as work:
        run = Runs(work.connection, principal).get(live_run_id)
        target = Accounts(work.connection, principal).find(account)
    stage = next_stage(run.stage)
    lacking = stage_findings(engine, principal, run, drift=drift, rule={**RULES, **(rules or {})}[run.stage])
    if stage == "real":
        lacking += _arming(engine, principal, target, confirm)
    if lacking:
        raise StageRefused(f"run {live_run_id} cannot go from {run.stage} to {stage}: " + "; ".join(lacking))
    fresh = live_runs.create_live_run(
        engine,
        principal,
        run.bot_version_id,
        target.account_id,
        symbols=run.symbols,
        timeframe=run.timeframe,
        stage=stage,
        feed=feed,
        capital=capital,
        host="workers" if stage == "real" else run.host,
        earned_by=run.live_run_id,
    )
    now = engine.now()
    with engine.work(principal) as work:
        audit.append(
            work.connection,
            now,
            principal,
            "run.advance_stage",
            str(live_run_id),
            f"{run.stage} -> {stage}: {fresh.live_run_id}",
        )
        add_event(work.connection, now, run, "stage", f"went on to {stage} as run {fresh.live_run_id} on {target.name}")
        work.commit()
    return fresh


def _arming(engine: Engine, principal: Principal, account: AccountRecord, confirm: str) -> list[str]:
    found: list[str] = []
    if principal.kind != "human":
        found.append(must_be("principal", "a human", principal.name, "a person decides on real money"))
    if account.armed_until is None or account.armed_until <= engine.now():
        found.append(
            must_be(f"account {account.name}", "armed", "not armed now", f"run `seatrial account arm {account.name}`")
        )
    if confirm != account.name:
        found.append(must_be("confirm", f"the account's name {account.name!r}, typed", repr(confirm), "type it"))
    return found

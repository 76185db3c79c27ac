"""Stages go up one at a time, on evidence, and real money needs a human."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from tests.plugins.live_support import EmaCross, Sea
from toolkit.errors import Forbidden, StageRefused
from toolkit.live.feed import Replay
from toolkit.live.live_runs import create_live_run
from toolkit.live.promoting.stages import RULES, StageRule, advance_stage, next_stage, stage_findings
from toolkit.live.review.drift import measure_drift
from toolkit.market import Bars
from toolkit.research.backtest import model_trades
from toolkit.store.people.accounts import AccountRecord, Accounts


@pytest.mark.parametrize(("stage", "above"), [("shadow", "paper"), ("paper", "demo"), ("demo", "real")])
def test_stage_goes_up_one_at_a_time(stage: str, above: str) -> None:
    """Each stage has one above it."""
    assert next_stage(stage) == above


def test_stage_real_is_the_last() -> None:
    """There is nothing above real."""
    with pytest.raises(StageRefused, match="below real"):
        next_stage("real")


def test_stage_without_enough_bars_is_refused_with_all_reasons(sea: Sea, some_bars: Bars) -> None:
    """A run of sixty bars has neither the bars nor the trades that paper asks for."""
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars[:60]))
    with pytest.raises(StageRefused, match="bars must be at least 500") as refused:
        advance_stage(sea.engine, sea.engine.principal, run.live_run_id, account="paper-1")
    assert "closed trades must be at least 20" in str(refused.value)


def test_stage_evidence_of_a_full_replay_suffices(sea: Sea, some_bars: Bars) -> None:
    """With its bars, its trades, no drift and nothing unresolved a run lacks nothing."""
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars))
    lacking = stage_findings(
        sea.engine,
        sea.engine.principal,
        run,
        drift=lambda: measure_drift(sea.engine, sea.engine.principal, run.live_run_id, model_trades),
        rule=RULES["paper"],
    )
    assert lacking == []


def test_stage_shadow_goes_to_paper_as_a_new_run(sea: Sea, some_bars: Bars) -> None:
    """The next stage is a run of the same version on the account named; the old one stays as it is."""
    sea.account()
    shadow = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars[:100], stage="shadow")
    sea.finish(shadow)
    sea.account("paper-2")
    fresh = advance_stage(
        sea.engine, sea.engine.principal, shadow.live_run_id, account="paper-2", feed=Replay(some_bars), capital=10_000
    )
    assert (fresh.stage, fresh.status, fresh.bot_version_id) == ("paper", "CREATED", shadow.bot_version_id)
    assert sea.read(shadow).status == "STOPPED"


def real_account(sea: Sea) -> AccountRecord:
    """Register a real account; nothing connects to it."""
    with sea.engine.work() as work:
        record = Accounts(work.connection, sea.engine.principal).add(
            AccountRecord(
                account_id=uuid4(), owner_id=sea.engine.principal.user_id, name="live-1", platform="metatrader5",
                currency="USD", environment="real", gateway="local", login="1", server="s", secret_ref="env:NOWHERE",
            ),
            sea.engine.now(),
        )  # fmt: skip
        work.commit()
    return record


def test_stage_real_needs_an_armed_account_and_a_typed_confirmation(sea: Sea, some_bars: Bars) -> None:
    """Everything that is missing is named at once."""
    account = real_account(sea)
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars[:100]))
    _at_demo(sea, run)
    rules = {"demo": StageRule(min_bars=1, min_trades=0)}
    with pytest.raises(StageRefused, match="account live-1 must be armed") as refused:
        advance_stage(sea.engine, sea.engine.principal, run.live_run_id, account="live-1", rules=rules)
    assert "confirm must be the account's name" in str(refused.value)
    with sea.engine.work() as work:
        until = sea.engine.now() + timedelta(hours=1)
        Accounts(work.connection, sea.engine.principal).arm(account.account_id, until, sea.engine.now())
        work.commit()
    fresh = advance_stage(
        sea.engine,
        sea.engine.principal,
        run.live_run_id,
        account="live-1",
        rules=rules,
        confirm="live-1",
        capital=Decimal(500),
    )
    assert fresh.stage == "real"


def _at_demo(sea: Sea, run: Any) -> None:
    """Put a finished run's row at stage demo, as if it had been traded there."""
    from sqlalchemy import update

    from toolkit.store.sql.models import LiveRun

    with sea.engine.work() as work:
        work.connection.execute(update(LiveRun).where(LiveRun.live_run_id == run.live_run_id).values(stage="demo"))
        work.commit()


def test_stage_real_cannot_be_had_directly(sea: Sea, some_bars: Bars) -> None:
    """Without a run one stage below there is no demo and no real run, whoever asks."""
    account = real_account(sea)
    with pytest.raises(StageRefused, match="earned by a run of this version at stage demo"):
        create_live_run(
            sea.engine, sea.engine.principal, sea.version(EmaCross(), some_bars), account.account_id, symbols=["EURUSD"],
            timeframe="H1", stage="real", capital=100,
        )  # fmt: skip


def test_only_a_human_arms_an_account(sea: Sea) -> None:
    """The service principal may hold a grant and still not arm."""
    account = real_account(sea)
    with sea.engine.work(sea.engine.service) as work, pytest.raises(Forbidden):
        Accounts(work.connection, sea.engine.service).arm(account.account_id, None, sea.engine.now())

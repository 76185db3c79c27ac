"""A run on several symbols that polls its platform, that is killed, and that shares an account with other runs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.e2e.replay_files import DATA
from tests.integration.test_joint_run import EXPOSED, TERMS
from tests.integration.test_portfolio_equals_platform import Spread, yen_pairs
from tests.plugins.live_support import RsiReversal, Sea
from toolkit.clock import from_ns
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.feed import Replay
from toolkit.live.opening.rehearsal import rehearsal_version
from toolkit.live.review.drift import measure_drift
from toolkit.live.review.explain import explain
from toolkit.live.stepping import program
from toolkit.live.stepping.joint.platform_feed import TOGETHER
from toolkit.market import Bars
from toolkit.market.series.several import shared_moments
from toolkit.research.backtest import model_trades
from toolkit.research.comparison import by_entry, normalise_all
from toolkit.risk.guardrails import Guards
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import RunEvent
from toolkit.strategy.spec import StrategySpec

pytestmark = [
    pytest.mark.skipif(not DATA.exists(), reason="the shared price files are not here"),
    pytest.mark.timeout(300),
]
WARM = 150


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, sea: Sea) -> Sea:
    """An engine below the system's temporary folder, where an untried version may be stored."""
    monkeypatch.setattr("toolkit.live.opening.rehearsal.gettempdir", lambda: str(sea.home.parent))
    return sea


def begin(
    sea: Sea, strategy: Any, series: dict[str, Bars], feed: Any, guards: Guards | None = None, **given: Any
) -> RunRecord:
    """Start a run on all of these symbols."""
    engine = sea.engine
    spec = StrategySpec.from_strategy(strategy)
    version = rehearsal_version(
        engine, spec, series if len(series) > 1 else next(iter(series.values())), guards or Guards()
    )
    account = given.pop("account")
    run = live_runs.create_live_run(
        engine, engine.principal, version, account.account_id, symbols=list(series), timeframe="H1", feed=feed,
        capital=given.pop("capital", 20_000),
    )  # fmt: skip
    return live_runs.start_bot_live_run(engine, engine.principal, run.live_run_id)


def paper(sea: Sea, name: str = "joint", **changed: Any) -> Any:
    return sea.account(name, balance=20_000, leverage=35, commission_per_lot="3.5", day_end="Europe/Athens", **changed)


def test_polled_moment_by_moment_it_does_not_drift_from_the_joint_backtest(home: Sea) -> None:
    """Bars that come late, gaps of one symbol and the order of symbols: the trades are those of the joint backtest."""
    series = yen_pairs(420)
    account = paper(home)
    platform: Any = home.engine.desk(account.account_id).platform
    for symbol, bars in series.items():
        platform.load_replay(symbol, bars)
    moments = shared_moments(series.values()).tolist()
    platform.advance_clock_to(from_ns(moments[WARM]))
    guards = Guards(cooldown_bars=2, max_open=2)
    run = begin(home, RsiReversal(), series, None, guards, account=account)
    for moment in moments[WARM:]:
        for clock in (from_ns(moment), from_ns(moment) + TOGETHER):
            platform.advance_clock_to(clock)
            while advance(home.engine, run.live_run_id, run.account_id).waiting != "feed":
                pass
    ended = home.read(run)
    assert (ended.status, ended.last_error) == ("RUNNING", "")
    report = measure_drift(home.engine, home.engine.principal, run.live_run_id, model_trades)
    assert report.is_zero, str(report)
    assert report.matched >= 10
    assert {t["symbol"] for t in home.trades(run)} == set(series)
    decided = next(t for t in home.trades(run) if t["symbol"] == "GBPJPY")
    bars = series["GBPJPY"]
    row = int(bars.ts.searchsorted(int(decided["entry_time"].timestamp()) * 10**9, side="right")) - 2
    said = explain(home.engine, home.engine.principal, run.live_run_id, from_ns(int(bars.ts[row])), "GBPJPY")
    assert any(word.startswith("enter") for word in said.decision)
    assert any("FILLED" in line for line in said.why)


def test_a_symbol_whose_bars_stand_still_does_not_stop_the_others(home: Sea) -> None:
    """One symbol ends, and later a gap of another is told by its name; the third is traded on."""
    series = yen_pairs(400)
    short = {**series, "GBPJPY": series["GBPJPY"][:170]}
    account = paper(home)
    platform: Any = home.engine.desk(account.account_id).platform
    for symbol, bars in short.items():
        platform.load_replay(symbol, bars)
    moments = shared_moments(short.values()).tolist()
    platform.advance_clock_to(from_ns(moments[WARM]))
    run = begin(home, RsiReversal(), short, None, account=account)
    advance(home.engine, run.live_run_id, run.account_id)
    for moment in moments[WARM + 1 : WARM + 160]:
        platform.advance_clock_to(from_ns(moment) + TOGETHER)
        advance(home.engine, run.live_run_id, run.account_id)
    platform.advance_clock_to(from_ns(moments[-1]) + TOGETHER)
    advance(home.engine, run.live_run_id, run.account_id)
    assert home.read(run).status == "RUNNING"
    assert {t["symbol"] for t in home.trades(run)} >= {"USDJPY", "EURJPY"}
    with home.engine.work(write=False) as work:
        words = work.connection.execute(
            select(RunEvent.message).where(RunEvent.kind.in_(("gap", "holiday", "weekend", "stale_entry")))
        ).scalars()
        assert any(word.startswith("EURJPY: ") for word in words)
    live_runs.stop_live_run(home.engine, home.engine.principal, run.live_run_id, flatten=True)
    for _ in range(10):
        if advance(home.engine, run.live_run_id, run.account_id).ended:
            break
    assert home.read(run).status == "STOPPED"
    assert platform.book().positions == ()


@pytest.mark.parametrize("every", [1, 3])
def test_restart_a_replay_that_is_forgotten_at_every_step_goes_on_where_it_was(home: Sea, every: int) -> None:
    """The memory of all symbols is in the row: a process that knows nothing makes the same trades from it."""
    series = yen_pairs(260)
    run = begin(home, Spread(), series, Replay(series), EXPOSED, account=paper(home))
    for step in range(100_000):
        if step % every == 0:
            program._cache.clear()
        if advance(home.engine, run.live_run_id, run.account_id, limit=7).ended:
            break
    expected = tk.backtest(Spread(), series, account=TERMS, guards=EXPOSED)
    assert home.read(run).status == "STOPPED"
    assert len(expected.trade_records) > 10
    assert by_entry(home.trades(run)) == by_entry(normalise_all(expected.trade_records))


def test_runs_of_an_account_each_keep_their_equity_and_the_joint_run_shares_its_own(home: Sea) -> None:
    """Two runs on one symbol and one on all three, on one account and barrier: each makes the trades of its own backtest."""
    series = yen_pairs(260)
    account = paper(home, "many")
    first = {"USDJPY": series["USDJPY"]}
    runs = [
        (begin(home, RsiReversal(), first, Replay(first), account=account, capital=7_000), first, 7_000),
        (begin(home, Spread(), series, Replay(series), account=account, capital=20_000), series, 20_000),
        (begin(home, RsiReversal(), first, Replay(first), account=account, capital=9_000), first, 9_000),
    ]
    waiting = [run for run, _, _ in runs]
    for _ in range(100_000):
        waiting = [r for r in waiting if not advance(home.engine, r.live_run_id, r.account_id).ended]
        if not waiting:
            break
    for (run, given, capital), strategy in zip(runs, (RsiReversal(), Spread(), RsiReversal()), strict=True):
        terms = tk.PaperAccount("USD", capital, leverage=35, commission_per_lot="3.5", day_end="Europe/Athens")
        expected = tk.backtest(strategy, given, account=terms).trade_records
        assert len(expected) > 5
        assert home.read(run).status == "STOPPED", home.read(run).last_error
        assert by_entry(home.trades(run)) == by_entry(normalise_all(expected))

"""A run on several symbols: its live replay is the joint backtest, trade by trade, through the real way of an order."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.e2e.replay_files import DATA
from tests.integration.test_portfolio_equals_platform import Bold, Spread, yen_pairs
from tests.plugins.live_support import EmaCross, RsiReversal, Sea
from toolkit.errors import PromotionRefused, RunError
from toolkit.live import live_runs
from toolkit.live.feed import Replay
from toolkit.live.opening.paper_accounts import open_paper_account
from toolkit.live.promoting.promotion import promote
from toolkit.market import Bars
from toolkit.research.comparison import by_entry, normalise_all
from toolkit.research.trial.checks import Drivers, check_drivers_agree, check_look_ahead
from toolkit.research.trial.report import TrialReport
from toolkit.session import replay_in_temporary_home
from toolkit.store.runs import RunRecord
from toolkit.strategy.drivers.columnar import evaluate
from toolkit.strategy.spec import StrategySpec

pytestmark = [
    pytest.mark.skipif(not DATA.exists(), reason="the shared price files are not here"),
    pytest.mark.timeout(300),
]
TERMS = tk.PaperAccount(
    "USD", 20_000, leverage=35, commission_per_lot="3.5", day_end="Europe/Athens", stop_out_percent=100
)
TIGHT = tk.Guards(
    daily_loss_percent="0.6", drawdown_percent=4, max_consecutive_losses=3, max_open=2, cooldown_bars=3, max_exposure=12
)
EXPOSED = tk.Guards(max_exposure=5, max_consecutive_losses=2)


DENIED = {
    id(TIGHT): {"guard_daily_loss", "guard_drawdown", "guard_max_open", "guard_cooldown"},
    id(EXPOSED): {"guard_max_exposure", "guard_losing_streak"},
}


@pytest.mark.parametrize(
    ("strategy", "guards"),
    [(EmaCross(), None), (Bold(), None), (Spread(), None), (RsiReversal(), TIGHT), (RsiReversal(), EXPOSED)],
    ids=["ema_cross", "bold", "spread", "reversal_guarded", "reversal_exposed"],
)
def test_a_run_on_three_symbols_makes_the_trades_of_the_joint_backtest(strategy: Any, guards: Any) -> None:
    """Every column of every trade is equal: shared equity, margin, swap, conversion, guards and the order of symbols."""
    series = yen_pairs(700, swap_mode="points", swap_long="-4.1", swap_short="1.3")
    result = tk.backtest(strategy, series, account=TERMS, guards=guards)
    expected = by_entry(normalise_all(result.trade_records))
    assert {row["symbol"] for row in expected} == set(series)
    assert len(expected) > 20
    denied = {skip.reason for skip in result.denied}
    assert denied >= DENIED[id(guards)] if guards is not None else not denied
    live = replay_in_temporary_home(strategy, series, account=TERMS, guards=guards)
    assert by_entry(live) == expected


def test_a_strategy_on_several_symbols_passes_its_sea_trial_and_is_promoted_and_run(sea: Sea) -> None:
    """Four checks, a version with the data of every symbol, and a replay that earns the joint backtest's trades."""
    series = yen_pairs(400)
    report = tk.sea_trial(Spread(), series, account=TERMS, guards=EXPOSED)
    assert report.passed, str(report)
    assert [each["symbol"] for each in report.series] == list(series)
    assert [each["fingerprint"] for each in report.series] == [bars.fingerprint for bars in series.values()]
    assert TrialReport.from_json(report.to_json()).intact
    version = promote(sea.engine, Spread(), trial=report, bars=series)
    assert set(json.loads(version.instruments_json)) == set(series)
    with pytest.raises(PromotionRefused, match="on these bars"):
        promote(sea.engine, Spread(), trial=report, bars={**series, "GBPJPY": series["GBPJPY"][:-1]})
    account = open_paper_account(sea.engine, "joint", TERMS)
    with pytest.raises(RunError, match="in its order"):
        _create(sea, version, account, series, symbols=["EURJPY", "USDJPY", "GBPJPY"])
    run = _create(sea, version, account, series)
    ended = sea.finish(live_runs.start_bot_live_run(sea.engine, sea.engine.principal, run.live_run_id))
    assert (ended.status, ended.last_error) == ("STOPPED", "")
    assert ended.bars_count == sum(map(len, series.values()))
    expected = tk.backtest(Spread(), series, account=TERMS, guards=EXPOSED)
    assert by_entry(sea.trades(run)) == by_entry(normalise_all(expected.trade_records))


def _create(sea: Sea, version: Any, account: Any, series: dict[str, Any], **changed: Any) -> RunRecord:
    given: dict[str, Any] = {"symbols": list(series), "timeframe": "H1", "feed": Replay(series), "capital": 20_000}
    principal = sea.engine.principal
    return live_runs.create_live_run(sea.engine, principal, version, account.account_id, **{**given, **changed})


def test_a_leak_across_symbols_fails_the_trial_by_name() -> None:
    """A decision that reads another symbol's unfinished bar is found where it changes, with symbol and bar."""
    series = yen_pairs(300)

    def early(spec: Any, bars: Any) -> Any:
        own, *others = bars.values()
        moved = {own.symbol: own}
        for other in others:
            ahead = {name: np.append(column[1:], column[-1]) for name, column in other.columns.items()}
            moved[other.symbol] = Bars.from_arrays(
                other.symbol, other.timeframe, other.ts, instrument=other.instrument, **ahead
            )
        return evaluate(spec, moved, frame=True)

    leaky = Drivers(columnar=early)
    spec = StrategySpec.from_strategy(Spread())
    found = check_look_ahead(spec, series, leaky)
    assert not found.passed
    assert found.node in ("other", "slow")
    assert "EURJPY" in found.detail and "reads the future" in found.detail
    assert check_look_ahead(spec, series, Drivers()).passed
    agree = check_drivers_agree(spec, series, leaky)
    assert not agree.passed and agree.detail.startswith("GBPJPY bar")

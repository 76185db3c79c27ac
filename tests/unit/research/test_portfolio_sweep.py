"""Sweeps and walk-forward over several symbols: every number is that of a backtest with the set's parameters."""

from __future__ import annotations

import numpy as np
import pytest

import toolkit as tk
from tests.plugins.live_support import EmaCross
from tests.unit.research.test_portfolio_result import two_symbols
from toolkit.errors import BadInput
from toolkit.research.portfolio_result import PortfolioResult
from toolkit.research.stats import STATISTICS
from toolkit.research.sweeps.engine import Job, run_sets

ACCOUNT = tk.PaperAccount("USD", 20_000, commission_per_lot="3.5")
GUARDS = tk.Guards(max_open=1, cooldown_bars=2)
GRID = {"fast": [6, 12, 20], "slow": [26, 50]}


def test_every_set_has_the_statistics_of_its_backtest() -> None:
    """Rows, a repeated row and rows computed elsewhere are the same numbers; a joint sweep counts its trials."""
    series = two_symbols(500)
    sweep = tk.sweep(EmaCross, series, grid=GRID, account=ACCOUNT, guards=GUARDS, progress=False)
    assert len(sweep) == 6 and sweep.complete
    for row, values in enumerate(sweep.sets):
        one = tk.backtest(EmaCross(**values), series, account=ACCOUNT, guards=GUARDS)
        for name in STATISTICS:
            mine, theirs = sweep.results[name].iloc[row], one.statistics[name]
            assert mine == theirs or (mine != mine and theirs != theirs), (values, name)
    again = sweep.backtest(3)
    assert isinstance(again, PortfolioResult)
    assert again.statistics["trades"] == sweep.results["trades"].iloc[3] > 5
    part = run_sets(Job(sweep.setup, (sweep.spec,), [(0, s) for s in sweep.sets]), [3, 1])
    assert part.totals.tolist() == sweep.outcome.totals[[3, 1]].tolist()
    assert "EURUSD, GBPUSD" in repr(sweep)
    assert sweep.overfitting.trials >= 6


def test_a_joint_sweep_is_resumed_on_the_same_terms_only() -> None:
    """Sets of an earlier sweep are taken over; another symbol's bars are refused."""
    series = two_symbols(300)
    first = tk.sweep(EmaCross, series, grid={"fast": [6, 12]}, account=ACCOUNT, progress=False)
    more = tk.sweep(EmaCross, series, grid={"fast": [6, 12, 20]}, account=ACCOUNT, progress=False, resume=first)
    whole = tk.sweep(EmaCross, series, grid={"fast": [6, 12, 20]}, account=ACCOUNT, progress=False)
    assert more.results.equals(whole.results)
    for other in (two_symbols(299), {"EURUSD": series["EURUSD"]}, series["EURUSD"]):
        with pytest.raises(BadInput, match="resume"):
            tk.sweep(EmaCross, other, grid={"fast": [6]}, account=ACCOUNT, progress=False, resume=first)


def test_guided_search_takes_several_symbols() -> None:
    """Its sets are sets of the sweep."""
    series = two_symbols(300)
    found = tk.guided_search(EmaCross, series, grid=GRID, trials=4, account=ACCOUNT, progress=False)
    one = tk.backtest(EmaCross(**found.sets[0]), series, account=ACCOUNT)
    assert found.results["total_return"].iloc[0] == one.statistics["total_return"]
    assert np.isfinite(found.results["sharpe"]).any()


def test_walk_forward_trades_each_span_with_the_best_set_of_the_span_before() -> None:
    """Windows are cut by time for all symbols; a window is the joint backtest of its span, and capital is carried on."""
    series = two_symbols(600)
    found = tk.walk_forward(
        EmaCross, series, grid={"fast": [6, 12], "slow": [26, 50]}, account=ACCOUNT, guards=GUARDS, train="12D",
        test="5D", select="sharpe",
    )  # fmt: skip
    assert len(found) >= 2
    opening = ACCOUNT.balance_minor
    for window in found.parts:
        assert window.opening == opening
        first, last = (int(found.line.ts[r]) for r in (window.rows[0], window.rows[1] - 1))
        span = {
            s: b[int(b.ts.searchsorted(first)) : int(b.ts.searchsorted(last, side="right"))] for s, b in series.items()
        }
        scores = {
            (fast, slow): tk.backtest(EmaCross(fast=fast, slow=slow), span, account=ACCOUNT, guards=GUARDS).statistics
            for fast in (6, 12)
            for slow in (26, 50)
        }
        chosen = scores[window.params["fast"], window.params["slow"]]
        assert chosen["sharpe"] == max(s["sharpe"] for s in scores.values())
        assert isinstance(window.backtest, PortfolioResult)
        rows = window.backtest.trade_records
        assert all(row["entry_time"] >= window.test_start for row in rows)
        opening = int(window.equity[-1])
    assert {t for w in found.parts if w.backtest for t in w.backtest.trades["symbol"]} == {"EURUSD", "GBPUSD"}
    assert found.equity.iloc[-1] == float(found.final_equity)
    assert found.statistics["trades"] == len(found.trades)
    assert len(found.windows) == len(found)
    assert tk.monte_carlo(found, runs=50).real["max_drawdown"] > 0
    found.plot()

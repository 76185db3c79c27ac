"""tk.sweep: the same numbers as single backtests, whatever the threads, blocks and budgets; and its warnings."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from toolkit.errors import BadInput, StrategyError
from toolkit.research.backtest import backtest
from toolkit.research.sweeps import engine as sweep_engine
from toolkit.research.sweeps.sweep import guided_search, sweep
from toolkit.research.validation.trial_count import trials
from toolkit.risk.guardrails import Guards
from toolkit.simulation.account import PaperAccount
from toolkit.strategy import Choice, Entry, Lots, crossed_above, crossed_below, ema, sma

ACCOUNT = PaperAccount("USD", 10_000, commission_per_lot="3.5")
GRID = {"fast": range(5, 15), "slow": range(20, 80, 6)}


def same(a, b):
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


@pytest.fixture(scope="module")
def swept(ema_cross, year):
    return sweep(ema_cross, year, account=ACCOUNT, grid=GRID, progress=False)


def test_every_statistic_equals_that_of_a_single_backtest(swept, ema_cross, year):
    """Random grid points: each statistic of the row is == that of tk.backtest with the same parameters."""
    assert len(swept) == 100
    for row in random.Random(7).sample(range(100), 12):
        single = backtest(ema_cross(**swept.sets[row]), year, account=ACCOUNT)
        for name, value in single.statistics.items():
            assert same(swept.results.iloc[row][name], value), (row, name)


@pytest.mark.parametrize("changes", [{"threads": 1}, {"threads": 3, "memory_mb": 1}])
def test_threads_and_budget_do_not_change_a_number(changes, swept, ema_cross, year, monkeypatch):
    """One thread or three, blocks large or tiny: the table is the same to the bit."""
    monkeypatch.setattr(sweep_engine, "BLOCK", 7)
    again = sweep(ema_cross, year, account=ACCOUNT, grid=GRID, progress=False, **changes)
    assert again.results.equals(swept.results)


def test_guards_and_conversion_hold_in_a_sweep(make_bars, fixed_pips):
    """A converted symbol with guards gives the statistics of its single backtest."""
    bars = make_bars(5000, symbol="USDJPY", timeframe="H1", price=110_000)
    guards = Guards(daily_loss_percent=1, cooldown_bars=4)
    found = sweep(
        fixed_pips, bars, account=ACCOUNT, guards=guards, grid={"fast": [5, 9], "slow": [20, 30]}, progress=False
    )
    single = backtest(fixed_pips(fast=9, slow=20), bars, account=ACCOUNT, guards=guards)
    assert single.statistics["skipped"] > 0
    assert all(same(found.results.iloc[2][k], v) for k, v in single.statistics.items())


def test_a_choice_changes_the_graph_and_is_swept_too(ema_cross, year):
    """Each option of tk.Choice is traced once and its rows equal the option's own backtest."""

    class Average(ema_cross):
        kind = Choice("ema", ["ema", "sma"])

        def indicators(self, bars):
            average = ema if self.kind == "ema" else sma
            return {**super().indicators(bars), "fast": average(bars.close, self.fast)}

        def entry(self, x):
            return Entry(long=crossed_above(x.fast, x.slow), short=crossed_below(x.fast, x.slow))

    found = sweep(Average, year, account=ACCOUNT, grid={"kind": ["ema", "sma"], "fast": [8, 12]}, progress=False)
    assert [(s["kind"], s["fast"]) for s in found.sets] == [("ema", 8), ("ema", 12), ("sma", 8), ("sma", 12)]
    before = int(trials())
    single = backtest(Average(kind="sma", fast=8), year, account=ACCOUNT)
    assert int(trials()) == before, "the sweep has counted it, under the option's own graph"
    assert found.results.iloc[2]["final_equity"] == single.statistics["final_equity"]
    assert found.results.iloc[2]["final_equity"] != found.results.iloc[0]["final_equity"]


def test_a_swept_risk_sizes_each_set_by_its_own(ema_cross, year):
    """The volume itself may be a parameter."""

    class Sized(ema_cross):
        def risk(self):
            return Lots(self.k)

    found = sweep(Sized, year, account=ACCOUNT, grid={"k": [1.0, 2.0]}, progress=False)
    single = backtest(Sized(k=2.0), year, account=ACCOUNT)
    assert found.results.iloc[1]["commission"] == single.statistics["commission"]


def test_a_random_sample_is_part_of_the_grid_and_repeatable(swept, ema_cross, year):
    """Sampled rows are rows of the full sweep; the seed fixes the draw."""
    part = sweep(ema_cross, year, account=ACCOUNT, grid=GRID, samples=15, seed=3, progress=False)
    again = sweep(ema_cross, year, account=ACCOUNT, grid=GRID, samples=15, seed=3, progress=False)
    assert part.sets == again.sets
    assert len({(s["fast"], s["slow"]) for s in part.sets}) == 15
    full = {(s["fast"], s["slow"]): row for row, s in enumerate(swept.sets)}
    for row, s in enumerate(part.sets):
        assert part.results.iloc[row].equals(swept.results.iloc[full[s["fast"], s["slow"]]])


def test_an_interrupt_keeps_what_is_done(ema_cross, year, monkeypatch):
    """Ctrl-C ends the sweep with the sets that were finished, and says so."""
    real, calls = sweep_engine.wait, []

    def interrupted(futures):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(futures)

    monkeypatch.setattr(sweep_engine, "wait", interrupted)
    part = sweep(
        ema_cross, year, account=ACCOUNT, grid={"fast": range(5, 45), "slow": range(50, 150, 5)}, progress=False
    )
    assert not part.complete
    assert 1 <= len(part) < 800
    assert any("interrupted" in text for text in part.warnings("total_return"))
    assert np.isfinite(part.results["final_equity"]).all()


def test_a_sweep_goes_on_where_an_earlier_one_stopped(swept, ema_cross, year, monkeypatch):
    """Sets taken over are not run again, and the whole has the numbers of a sweep in one go; another account is refused."""
    axes = {name: list(values) for name, values in swept.axes.items()}
    some = {**axes, "fast": axes["fast"][:2]}
    part = sweep(ema_cross, year, account=ACCOUNT, grid=some, progress=False)
    ran = []
    real = sweep_engine._Worker._one
    monkeypatch.setattr(
        sweep_engine._Worker, "_one", lambda self, row, *rest: (ran.append(row), real(self, row, *rest))
    )
    whole = sweep(ema_cross, year, account=ACCOUNT, grid=axes, progress=False, resume=part)
    assert whole.complete and whole.results.equals(swept.results)
    assert len(ran) == len(whole) - len(part)
    with pytest.raises(BadInput, match="resume must be a sweep of this strategy"):
        sweep(ema_cross, year, account=PaperAccount("USD", 77), grid=axes, progress=False, resume=part)


def test_best_plateau_and_warnings(swept):
    """The best row has the maximum; the plateau averages neighbours; a best at the rim is reported."""
    best = swept.best("total_return")
    assert best["total_return"] == swept.results["total_return"].max()
    assert swept.best("max_drawdown")["max_drawdown"] == swept.results["max_drawdown"].min()
    flat = swept.plateau("total_return")
    row = flat.iloc[0]
    near = swept.results[
        swept.results["fast"].between(row["fast"] - 1, row["fast"] + 1)
        & swept.results["slow"].between(row["slow"] - 6, row["slow"] + 6)
    ]
    assert row["neighbourhood"] == pytest.approx(near["total_return"].mean(), rel=1e-12)
    assert row["neighbours"] == len(near) - 1
    assert row["worst_neighbour"] == near["total_return"].min()
    edge = best["fast"] in (5, 14) or best["slow"] in (20, 74)
    assert edge == any("edge of the grid" in text for text in swept.warnings("total_return"))


def test_a_lonely_peak_is_called_a_slope(swept, monkeypatch):
    """A best set whose neighbours fall by most of the range is reported."""
    results = swept.results.copy()
    results["total_return"] = 0.0
    results.loc[55, "total_return"] = 1.0
    monkeypatch.setitem(swept.__dict__, "results", results)
    assert any("slope" in text for text in swept.warnings("total_return"))


def test_daily_returns_compound_to_the_total(swept):
    """Days times sets, each column compounding to the set's total return."""
    returns = swept.daily_returns
    assert returns.shape[1] == len(swept)
    assert np.prod(1 + returns, axis=0) - 1 == pytest.approx(swept.results["total_return"].to_numpy(), abs=1e-9)


def test_daily_equity_is_thinned_when_it_would_not_fit(swept, ema_cross, year, monkeypatch):
    """With little room every n-th day end is kept, the last always."""
    monkeypatch.setattr(sweep_engine, "MOST_DAILY_BYTES", 100 * 8 * 20)
    thin = sweep(ema_cross, year, account=ACCOUNT, grid=GRID, progress=False)
    assert thin.daily_returns.shape[0] <= 20
    assert np.prod(1 + thin.daily_returns, axis=0) - 1 == pytest.approx(
        swept.results["total_return"].to_numpy(), abs=1e-9
    )


def test_dask_returns_the_same_numbers(swept, ema_cross, year):
    """Chunks run by Dask workers give the table of the local engine."""
    pytest.importorskip("distributed")
    again = sweep(ema_cross, year, account=ACCOUNT, grid=GRID, engine="dask", threads=1, progress=False)
    assert again.results.equals(swept.results)


def test_guided_search_tries_sets_of_the_grid(swept, ema_cross, year):
    """Optuna's sets are grid points with the sweep's numbers, and its best is the best it tried."""
    pytest.importorskip("optuna")
    found = guided_search(ema_cross, year, account=ACCOUNT, grid=GRID, trials=25, seed=1, progress=False)
    full = {(s["fast"], s["slow"]): row for row, s in enumerate(swept.sets)}
    assert 5 <= len(found) <= 25
    for row, s in enumerate(found.sets):
        assert found.results.iloc[row]["sharpe"] == swept.results.iloc[full[s["fast"], s["slow"]]]["sharpe"]


def test_heatmap_renders(swept):
    """A heat map of two parameters renders as Bokeh."""
    import holoviews as hv

    assert hv.renderer("bokeh").get_plot(swept.heatmap("fast", "slow", "sharpe")).state is not None


def test_refusals_name_requirement_and_remedy(ema_cross, year):
    """Unknown parameters, values out of bounds, empty grids and unknown engines are refused at the door."""
    cases = [
        ({"grid": {}}, BadInput, "grid must be at least one parameter with values, was empty"),
        ({"grid": {"fats": [1]}}, StrategyError, "fats"),
        ({"grid": {"fast": [5, 5000]}}, StrategyError, "fast must be between 2 and 50"),
        ({"grid": {"fast": []}}, BadInput, r"grid\['fast'\] must be at least one value"),
        ({"grid": {"fast": [5]}, "samples": 9}, BadInput, "samples must be from 1 to 1"),
        ({"grid": {"fast": [5]}, "engine": "ray"}, BadInput, "engine must be 'local' or 'dask', was 'ray'"),
    ]
    for given, error, message in cases:
        with pytest.raises(error, match=message):
            sweep(ema_cross, year, progress=False, **given)


def test_sweep_prints_its_findings(swept):
    """The representation names the grid, the best set and what speaks against it."""
    text = repr(swept)
    assert "100 (fast 10 values, slow 10 values)" in text
    assert "best" in text
    assert swept._repr_html_().startswith("<table>")


def test_overfitting_counts_every_trial_of_the_session(swept):
    """The sweep's verdict is made from its own daily returns and all trials counted on these bars."""
    verdict = swept.overfitting
    assert verdict.trials >= len(swept)
    assert 0.0 <= verdict.pbo <= 1.0
    assert verdict.deflated <= verdict.probabilistic
    assert verdict.sharpe == pytest.approx(swept.results["sharpe"].max(), rel=1e-9)

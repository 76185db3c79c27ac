"""What a backtest of several symbols shows: pictures, node values, a vectorbt portfolio, and its place among the trials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.plugins.live_support import EmaCross
from toolkit.clock import to_ns
from toolkit.errors import BadInput
from toolkit.market import Bars
from toolkit.research.portfolio_result import PortfolioResult
from toolkit.research.validation.trial_count import reset_trials, trials


def two_symbols(rows: int = 600, **facts: Any) -> dict[str, Bars]:
    """EURUSD, and other hours of it under the name of GBPUSD with some of them missing."""
    sample = tk.sample_bars("EURUSD", "H1")
    keep = np.array([i for i in range(rows) if i > 20 and i % 11])
    columns = {name: column[2_000 : 2_000 + rows][keep] for name, column in sample.columns.items()}
    other = Bars.from_arrays("GBPUSD", "H1", sample.ts[:rows][keep], instrument=tk.find_instrument("GBPUSD"), **columns)
    return {"EURUSD": sample[:rows], "GBPUSD": other}


@pytest.fixture(scope="module")
def result() -> PortfolioResult:
    """Some forty trades of the average cross on two symbols."""
    return tk.backtest(EmaCross(), two_symbols(), account=tk.PaperAccount("USD", 20_000, commission_per_lot="3.5"))


def test_frame_has_the_nodes_of_each_symbol_on_the_shared_moments(result: PortfolioResult) -> None:
    """A symbol's columns are those of its own backtest; where it has no bar there is nothing."""
    frame = result.frame
    assert frame.index.astype("int64").tolist() == sorted(set(result.run.ts.tolist()))
    alone = tk.backtest(EmaCross(), two_symbols()["GBPUSD"]).frame
    mine = frame["GBPUSD"].dropna(how="all")
    assert list(mine.columns) == list(alone.columns)
    assert mine["fast"].tolist() == alone["fast"].tolist() or np.array_equal(
        mine["fast"], alone["fast"], equal_nan=True
    )
    assert len(mine) == len(alone) < len(frame)


def test_portfolio_has_the_fills_of_each_symbol_and_the_value_of_the_shared_equity(result: PortfolioResult) -> None:
    """vectorbt's value at the last row of each moment is our equity, and its orders are our fills."""
    portfolio = result.portfolio
    value = portfolio.value()
    last = value.groupby(value.index.floor("s")).last().to_numpy()
    assert np.allclose(last, result.equity.to_numpy(), rtol=0, atol=1e-6)
    fills = 2 * len(result.trades) + len(result.open_positions)
    assert len(portfolio.orders.records) == fills
    total = float(portfolio.total_return())
    assert math.isclose(total, result.statistics["total_return"], rel_tol=1e-9)


def test_portfolio_names_the_symbols_that_vectorbt_would_leave_unconverted() -> None:
    """A yen pair on a dollar account is refused by name."""
    series = two_symbols(200)
    yen = series["GBPUSD"]
    columns = {name: column // 1 for name, column in yen.columns.items()}
    series["USDJPY"] = Bars.from_arrays("USDJPY", "H1", yen.ts, instrument=tk.find_instrument("USDJPY"), **columns)
    mixed = tk.backtest(EmaCross(), series, account=tk.PaperAccount("USD", 20_000))
    with pytest.raises(BadInput, match="USDJPY in JPY"):
        _ = mixed.portfolio


def test_plot_shows_every_symbol_over_the_shared_equity(result: PortfolioResult) -> None:
    """One pane a symbol and two of equity, which a browser can draw."""
    import holoviews as hv

    view = result.plot()
    assert len(view) == 4
    titles = [str(hv.Store.lookup_options("bokeh", pane, "plot").kwargs.get("title", "")) for pane in view]
    assert [t.split(" ")[0] for t in titles[:2]] == ["EURUSD", "GBPUSD"]
    hv.renderer("bokeh").get_plot(view)
    sides = {side.bars.symbol: side for side in result.sides()}
    for symbol, side in sides.items():
        entered = [to_ns(row["entry_time"]) for row in result.trade_records if row["symbol"] == symbol]
        assert side.bars.ts[side.run.trades[:, 2]].tolist() == entered


def test_trials_on_several_symbols_count_once_and_for_each_of_them() -> None:
    """A joint trial is one trial; it is among those on each symbol's bars, and its data is all of them."""
    reset_trials()
    series = two_symbols(200)
    for _ in range(2):
        tk.backtest(EmaCross(), dict(series))
    tk.backtest(EmaCross(fast=9), dict(series))
    tk.backtest(EmaCross(), series["GBPUSD"])
    found = trials()
    assert found.count == 3
    assert (found.on(series), found.on(series["EURUSD"]), found.on(series["GBPUSD"])) == (2, 2, 3)
    assert "EURUSD, GBPUSD H1" in repr(found)
    reset_trials()

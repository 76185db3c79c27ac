"""Pictures: nothing lost by thinning, few glyphs for many bars, every element renders."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.research.backtest import backtest
from toolkit.research.pictures import plots
from toolkit.simulation.account import PaperAccount


def test_thinned_line_keeps_every_stretch_extreme():
    """The highest and lowest value of the whole line, and its ends, survive."""
    values = np.random.default_rng(0).normal(size=500_000).cumsum()
    rows = plots.thinned(values, 4000)
    assert len(rows) <= 4100
    assert {0, len(values) - 1, int(values.argmin()), int(values.argmax())} <= set(rows.tolist())
    assert (np.diff(rows) > 0).all()


def test_thinned_line_passes_over_unknown_values():
    """Rows that are NaN in the warm-up do not hide the extremes."""
    values = np.concatenate([np.full(5000, np.nan), np.arange(5000.0)])
    rows = plots.thinned(values, 400)
    assert np.nanmax(values[rows]) == 4999.0


def test_merged_candles_keep_open_high_low_close(make_bars):
    """A merged candle opens at its first bar, closes at its last, and spans the range between."""
    bars = make_bars(1000)
    c = plots.merged_candles(bars, 0, 1000, 100)
    assert len(c["open"]) == 100
    assert c["open"][7] == bars.open[70]
    assert c["close"][7] == bars.close[79]
    assert c["high"][7] == bars.high[70:80].max()
    assert c["low"][7] == bars.low[70:80].min()


@pytest.mark.parametrize("n", [600, 500_000])
def test_backtest_view_renders_with_few_glyphs(n, make_bars, ema_cross):
    """Price, nodes, equity and drawdown render as Bokeh; half a million bars send a few thousand points."""
    import holoviews as hv
    from bokeh.models import ColumnDataSource

    result = backtest(ema_cross(), make_bars(n), account=PaperAccount("USD", 1_000_000))
    figure = hv.renderer("bokeh").get_plot(result.plot()).state
    sizes = [len(next(iter(source.data.values()), ())) for source in figure.select({"type": ColumnDataSource})]
    assert sizes
    assert max(sizes) <= 2 * 4_200  # an area sends its outline, there and back


def test_stop_levels_are_those_the_trades_were_opened_with(year, ema_cross):
    """Each trade that ended at its stop, not gapped, left at exactly the level drawn."""
    result = backtest(ema_cross(), year, account=PaperAccount("USD", 10_000))
    levels = plots.stop_levels(result)
    stopped = (result.trades["exit_reason"] == "stop_loss").to_numpy()
    exact = levels[stopped] == result.trades["exit_price"].to_numpy()[stopped]
    assert stopped.sum() > 20
    assert exact.mean() > 0.9


def test_distributions_render(year, ema_cross):
    """Histograms of nets and daily returns are built from the closed trades."""
    import holoviews as hv

    result = backtest(ema_cross(), year, account=PaperAccount("USD", 10_000))
    assert hv.renderer("bokeh").get_plot(plots.returns_view(result)).state is not None

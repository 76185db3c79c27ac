"""Pictures of cross-validation, walk-forward and Monte Carlo render as Bokeh with few glyphs."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.research.backtest import backtest
from toolkit.research.validation.monte_carlo import monte_carlo
from toolkit.research.validation.overfitting import overfitting
from toolkit.research.validation.walk_forward import walk_forward


def drawn(view):
    """Largest column sent to the browser, and the titles of all panes."""
    import holoviews as hv
    from bokeh.models import ColumnDataSource, Title

    state = hv.renderer("bokeh").get_plot(view).state
    sizes = [len(next(iter(source.data.values()), ())) for source in state.select({"type": ColumnDataSource})]
    return max(sizes), " | ".join(t.text for t in state.select({"type": Title}))


def test_cross_validation_draws_logits_and_degradation():
    """12,870 choices are thinned; the verdicts stand in the titles."""
    found = overfitting(np.random.default_rng(0).normal(0, 1, (64, 5)))
    most, titles = drawn(found.plot())
    assert 10 < most <= 3_000
    assert f"probability of overfitting {found.pbo:.1%}" in titles
    assert f"{found.probability_of_loss:.1%} lose" in titles


def test_monte_carlo_draws_bands_and_drawdowns(ema_cross, year):
    """Bands hold a few hundred points however many trades there are; the run's place stands in the title."""
    found = monte_carlo(backtest(ema_cross(), year), method="bootstrap", runs=200)
    most, titles = drawn(found.plot())
    assert most <= 2 * 201
    assert "200 by bootstrap" in titles
    assert "of the paths fall less than the run" in titles


@pytest.mark.parametrize("grid", [{"fast": [5, 12, 20]}, {"fast": [5, 12], "slow": [30, 60]}])
def test_walk_forward_draws_bands_returns_and_parameters(ema_cross, year, grid):
    """One pane for equity over bands, one for both samples, one a parameter."""
    found = walk_forward(ema_cross, year, grid=grid, train="90D", test="30D", threads=1)
    view = found.plot()
    assert len(view) == 2 + len(grid)
    most, titles = drawn(view)
    assert most <= 4_200
    assert "10 rolling windows out of sample" in titles


def test_walk_forward_draws_choices_and_idle_windows(ema_cross, year):
    """A parameter of words is drawn by its place; windows without a choice leave a gap, not an error."""
    from toolkit.strategy import Choice, Entry, Lots

    class Sided(ema_cross):
        side = Choice("never", ("long", "never"))

        def entry(self, x):
            return Entry(long=x.close > (0.0 if self.side == "long" else 1e9))

        def risk(self):
            return Lots(0.01)

    found = walk_forward(Sided, year[:2500], grid={"side": ["never", "long"]}, train="60D", test="20D", threads=1)
    assert {w.params["side"] for w in found.parts} == {"long"}
    assert drawn(found.plot())[0] > 10
    idle = walk_forward(Sided, year[:2500], grid={"side": ["never"]}, train="60D", test="20D", threads=1)
    assert drawn(idle.plot())[0] > 10

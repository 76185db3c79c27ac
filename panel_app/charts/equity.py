"""The equity chart: the whole run at a glance, its drawdown, and the handle that moves the price chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, DataRange1d, HoverTool, NumeralTickFormatter, Range1d, RangeTool, Span
from bokeh.plotting import figure

from panel_app.charts.axis import bar_ticks, plain
from panel_app.charts.series import EquityCurve, thin
from panel_app.look import theme

if TYPE_CHECKING:
    from toolkit.market import Bars
    from toolkit.research.validation.expectation import Expectation

MOST_POINTS = 3000
BAND_POINTS = 200


class EquityChart:
    """Equity and drawdown over all bars seen so far.

    Parameters
    ----------
    bars
        For the times of the axis.
    price_range
        The price chart's range; dragging the shaded window moves it.
    expected
        From the version's sea trial: drawn as a band around the likely equity, and as the drawdown it had; None draws neither.
    """

    def __init__(
        self,
        bars: Bars,
        capital: float,
        price_range: Range1d,
        *,
        expected: Expectation | None = None,
        height: int = 190,
    ) -> None:
        self._bars = bars
        self._capital = capital
        self._expected = expected
        self.band = ColumnDataSource(data={"x": [], "low": [], "middle": [], "high": []})
        self.source = ColumnDataSource(data={"x": [], "ms": [], "equity": [], "fall": []})
        self.axis = ColumnDataSource(data={"n": [], "ms": []})
        self.x_range = Range1d(start=0, end=1)
        self.equity = self._figure(height, "0,0", "equity")
        self.equity.varea("x", y1="low", y2="high", source=self.band, fill_color=theme.NEUTRAL, fill_alpha=0.16)
        self.equity.line("x", "middle", source=self.band, color=theme.NEUTRAL, line_width=1, line_dash="dashed")
        self.equity.line("x", "equity", source=self.source, color=theme.ACCENT, line_width=1.8)
        self.equity.add_layout(
            Span(location=capital, dimension="width", line_color=theme.NEUTRAL, line_dash="dotted", line_width=1)
        )
        self.equity.xaxis.visible = False
        window = RangeTool(x_range=price_range)
        window.overlay.fill_color = theme.ACCENT
        window.overlay.fill_alpha = 0.10
        window.overlay.line_color = theme.ACCENT
        window.overlay.line_alpha = 0.5
        self.equity.add_tools(window)
        self.fall = self._figure(max(80, height // 2), "0.0", "drawdown")
        self.fall.varea("x", y1=0, y2="fall", source=self.source, fill_color=theme.LOSS, fill_alpha=0.25)
        self.fall.line("x", "fall", source=self.source, color=theme.LOSS, line_width=1.2)
        if expected is not None and expected.max_drawdown_percent < 0:
            self.fall.add_layout(
                Span(location=expected.max_drawdown_percent, dimension="width", line_color=theme.NEUTRAL,
                     line_dash="dashed", line_width=1)
            )  # fmt: skip
        self.layout = column(self.equity, self.fall, sizing_mode="stretch_width", spacing=0)

    def show(self, curve: EquityCurve, bars: Bars | None = None) -> None:
        """Draw the curve as it is now, thinned to what a screen can show without losing a peak; ``bars`` when they grew."""
        if bars is not None:
            self._bars = bars
        count = len(curve.equity)
        if not count:
            return
        rows = np.union1d(thin(curve.equity, MOST_POINTS), thin(curve.fall, MOST_POINTS // 2))
        ms = self._bars.ts[rows] / 1e6
        self.source.data = {"x": rows, "ms": ms, "equity": curve.equity[rows].round(2), "fall": curve.fall[rows]}
        self.axis.data = {"n": rows, "ms": ms}
        self._show_band(count)
        self.x_range.update(start=-0.01 * count, end=count * 1.01 + 1)

    def outside(self, curve: EquityCurve) -> int:
        """Return -1 when equity is below the band now, 1 when it is above, 0 inside or when nothing is expected."""
        count = len(curve.equity)
        if self._expected is None or not count or not self._expected.trades:
            return 0
        low, _, high = self._expected.band(self._capital, np.array([count]))
        equity = curve.equity[-1]
        return -1 if equity < low[0] else 1 if equity > high[0] else 0

    def _show_band(self, count: int) -> None:
        if self._expected is None or not self._expected.trades:
            return
        rows = np.unique(np.linspace(0, count - 1, num=min(count, BAND_POINTS)).astype(np.int64))
        low, middle, high = self._expected.band(self._capital, rows + 1)
        self.band.data = {"x": rows, "low": low, "middle": middle, "high": high}

    def _figure(self, height: int, number: str, name: str) -> Any:
        plot = figure(
            height=height, sizing_mode="stretch_width", x_range=self.x_range, y_range=DataRange1d(range_padding=0.12),
            tools="", toolbar_location=None, y_axis_location="right", name=name,
        )  # fmt: skip
        plain(plot)
        plot.yaxis.ticker.desired_num_ticks = 4
        plot.yaxis.formatter = NumeralTickFormatter(format=number)
        plot.xaxis.formatter = bar_ticks(self.axis, self.x_range)
        plot.add_tools(
            HoverTool(
                tooltips=[("time", "@ms{%F %H:%M} UTC"), ("equity", "@equity{0,0.00}"), ("drawdown", "@fall{0.00} %")],
                formatters={"@ms": "datetime"}, mode="vline", point_policy="follow_mouse", attachment="above",
            )
        )  # fmt: skip
        return plot

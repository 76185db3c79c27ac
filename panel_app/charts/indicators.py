"""The named values of a strategy as lines: those among the prices on the price chart, the others in panes below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import ColumnDataSource, DataRange1d, HoverTool, NumeralTickFormatter, Range1d
from bokeh.plotting import figure
from numpy.typing import NDArray

from panel_app.charts.axis import plain

if TYPE_CHECKING:
    from toolkit.market import Bars

Floats = NDArray[np.float64]
MOST_LINES = 6
MOST_PANES = 2
#: Okabe and Ito's set without the two that mean money here.
COLOURS = ("#0e7c86", "#cc79a7", "#8a6d00", "#7a4fbf", "#4c7a00", "#5b6b7a")


def node_columns(spec_json: str, bars: Bars) -> dict[str, Floats]:
    """Return the strategy's named values on every bar, by name; conditions are left out.

    Raises
    ------
    ToolkitError
        When this toolkit cannot read or evaluate the spec.
    """
    from toolkit.strategy import StrategySpec
    from toolkit.strategy.authoring.management import FEATURES
    from toolkit.strategy.drivers.columnar import evaluate

    spec = StrategySpec.from_json(spec_json)
    frame = evaluate(spec, bars, frame=True, supports=FEATURES).frame or {}
    return {name: values for name, values in frame.items() if values.dtype == np.float64}


def split(columns: dict[str, Floats], bars: Bars) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return the columns that lie among the prices, and those that need a pane of their own."""
    low, high = float(bars.low.min()), float(bars.high.max())
    among: dict[str, Floats] = {}
    apart: dict[str, Floats] = {}
    for name, values in columns.items():
        known = values[~np.isnan(values)]
        inside = known.size > 0 and low * 0.9 <= float(np.median(known)) <= high * 1.1
        (among if inside else apart)[name] = values
    return dict(list(among.items())[:MOST_LINES]), dict(list(apart.items())[:MOST_PANES])


class IndicatorLines:
    """Lines on a price chart and panes below it, all fed by one source that holds what is in view.

    Parameters
    ----------
    columns
        Values on every bar, by name.
    bars
        The same bars.
    plot
        The price figure that the lines among the prices are drawn on.
    """

    def __init__(self, columns: dict[str, Floats], bars: Bars, plot: Any, x_range: Range1d) -> None:
        among, apart = split(columns, bars)
        self.columns = {**among, **apart}
        self.source = ColumnDataSource(data={"x": [], **{name: [] for name in self.columns}})
        colours = dict(zip(self.columns, COLOURS * 2, strict=False))
        self.legend = [(name, colours[name]) for name in among]
        for name in among:
            plot.line("x", name, source=self.source, color=colours[name], line_width=1.4, alpha=0.9, level="underlay")
        self.panes = [self._pane(name, colours[name], x_range) for name in apart]

    def load(self, start: int, stop: int, factor: int) -> None:
        """Hold the values of bars ``start`` to ``stop``, every ``factor``-th of them."""
        rows = np.arange(start, min([stop, *(len(values) for values in self.columns.values())]), factor)
        self.source.data = {"x": rows, **{name: values[rows] for name, values in self.columns.items()}}

    def extend(self, start: int, stop: int, rollover: int) -> None:
        """Add the values of bars ``start`` to ``stop``."""
        rows = np.arange(start, min([stop, *(len(values) for values in self.columns.values())]))
        fresh = {"x": rows, **{name: values[rows] for name, values in self.columns.items()}}
        self.source.stream(fresh, rollover=rollover)

    def _pane(self, name: str, colour: str, x_range: Range1d) -> Any:
        plot = figure(
            height=110, sizing_mode="stretch_width", x_range=x_range, y_range=DataRange1d(range_padding=0.1),
            window_axis="x", tools="", toolbar_location=None, y_axis_location="right", name=f"pane {name}", title=name,
        )  # fmt: skip
        drawn = plot.line("x", name, source=self.source, color=colour, line_width=1.4)
        plot.add_tools(HoverTool(renderers=[drawn], tooltips=[(name, f"@{{{name}}}")], mode="vline"))
        plain(plot)
        plot.xaxis.visible = False
        plot.yaxis.ticker.desired_num_ticks = 3
        plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[00000]")
        plot.title.text_font_size = "11px"
        plot.title.text_color = colour
        return plot

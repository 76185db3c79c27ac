"""The live price chart, on Bokeh column sources.

The horizontal axis counts bars, so nights and weekends leave no holes; labels and tooltips show the time. The browser
holds only the candles around the visible span: panning past its edge asks the server for more, zooming out merges bars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.events import DoubleTap, Tap
from bokeh.models import (
    ColumnDataSource,
    DataRange1d,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from panel_app.charts import series
from panel_app.charts.axis import bar_ticks, plain
from panel_app.charts.indicators import Floats, IndicatorLines
from panel_app.look import theme
from panel_app.look.formatting import money, sentence
from toolkit.clock import from_ns, to_ns

if TYPE_CHECKING:
    from toolkit.market import Bars
    from toolkit.store.people.operations import StopMove
    from toolkit.store.reading.records import TradeRow

MOST_CANDLES = 1500  # in the browser at once, about three screens full
FIRST_SPAN = 180  # bars shown when a run is opened

_MARK = ("x", "y", "text", "colour")
_LINK = ("x0", "y0", "x1", "y1", "colour")
_LEVEL = ("x0", "x1", "y", "colour")
_SHAPES = {"long": "triangle", "short": "inverted_triangle", "exit": "circle"}


class PriceChart:
    """Candles of the bid with entries, exits, stops and targets.

    Parameters
    ----------
    bars
        All bars that the run may come to see; only rows below ``stop`` are ever shown.
    stop
        How many bars the run has seen.
    on_pick
        Called with the open of the bar that is clicked.
    """

    def __init__(
        self, bars: Bars, stop: int, *, height: int = 420, on_pick: Callable[[datetime], None] | None = None
    ) -> None:
        self.bars = bars
        self._on_pick = on_pick
        self.indicators: IndicatorLines | None = None
        self.stop = stop
        self._span = (0, 0)  # rows held by the browser
        self._factor = 1
        end = max(stop, 1) + 6.0
        self.x_range = Range1d(start=max(-2.0, end - FIRST_SPAN), end=end, min_interval=20)
        self.candles = ColumnDataSource(series.candles(bars, 0, 0))
        self.axis = ColumnDataSource(data={"n": [], "ms": []})
        self._digits = bars.instrument.digits or 5
        self._drawn: set[object] = set()
        self.marks = {name: ColumnDataSource(data={c: [] for c in _MARK}) for name in _SHAPES}
        self.links = ColumnDataSource(data={c: [] for c in _LINK})
        self.past_levels = ColumnDataSource(data={c: [] for c in _LEVEL})
        self.open_marks = ColumnDataSource(data={c: [] for c in (*_MARK, "marker")})
        self.open_levels = ColumnDataSource(data={c: [] for c in _LEVEL})
        self.figure = self._draw(height)
        self._load()
        for edge in ("start", "end"):
            self.x_range.on_change(edge, self._range_changed)

    # ---- what changes

    def add_indicators(self, columns: dict[str, Floats]) -> IndicatorLines:
        """Draw the strategy's values; those that do not lie among the prices get panes of their own."""
        self.indicators = IndicatorLines(columns, self.bars, self.figure, self.x_range)
        self.indicators.load(*self._span, self._factor)
        return self.indicators

    def grow(self, stop: int, bars: Bars | None = None) -> None:
        """Show bars up to row ``stop`` and, when the newest bars are in view, move along with them.

        Parameters
        ----------
        bars
            The series with more rows at its end, when it has grown.
        """
        if bars is not None:
            self.bars = bars
        if stop <= self.stop:
            return
        following = self.x_range.end >= self.stop
        old, self.stop = self.stop, stop
        if following:
            width = self.x_range.end - self.x_range.start
            self.x_range.update(start=stop + 6 - width, end=stop + 6)
        if self._factor == 1 and self._span[1] == old and stop - old <= MOST_CANDLES and following:
            self.candles.stream(series.candles(self.bars, old, stop), rollover=MOST_CANDLES)
            if self.indicators is not None:
                self.indicators.extend(old, stop, MOST_CANDLES)
            self._span = (max(self._span[0], stop - MOST_CANDLES), stop)
            self._load_axis()
        elif following:
            self._load()

    def redraw_indicators(self, columns: dict[str, Floats]) -> None:
        """Draw the strategy's values anew after the series has grown; lines and panes stay as they are."""
        if self.indicators is not None:
            self.indicators.columns.update({name: columns[name] for name in self.indicators.columns if name in columns})
            self.indicators.load(*self._span, self._factor)

    def show_trades(self, trades: Sequence[TradeRow], moves: Mapping[str, Sequence[StopMove]] | None = None) -> None:
        """Draw the closed trades that are not drawn yet, and all open ones anew.

        Parameters
        ----------
        moves
            Stops and targets as they were set, by position, oldest first; drawn as steps.
        """
        moves = moves or {}
        marks: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _SHAPES}
        links: list[tuple[Any, ...]] = []
        past: list[tuple[Any, ...]] = []
        now: list[tuple[Any, ...]] = []
        levels: list[tuple[Any, ...]] = []
        for trade in trades:
            shape = "long" if trade.side == "BUY" else "short"
            x0, entry = self._row(trade.entry_time), float(trade.entry_price)
            mark = (x0, entry, f"{trade.side} {trade.lots} at {trade.entry_price:.{self._digits}f}", theme.ACCENT)
            if trade.exit_time is None or trade.exit_price is None:
                now.append((*mark, _SHAPES[shape]))
                levels.extend(self._levels(trade, x0, self.stop + 4, moves))
            elif trade.trade_id not in self._drawn:
                self._drawn.add(trade.trade_id)
                x1, left = self._row(trade.exit_time), float(trade.exit_price)
                colour = theme.money_colour(float(trade.profit))
                words = f"{sentence(trade.exit_reason)} {money(trade.net, signed=True)}"
                marks[shape].append(mark)
                marks["exit"].append((x1, left, words, colour))
                links.append((x0, entry, x1, left, colour))
                past.extend(self._levels(trade, x0, max(x1, x0 + 0.6), moves))
        for name, rows in marks.items():
            if rows:
                self.marks[name].stream(_columns(_MARK, rows))
        if links:
            self.links.stream(_columns(_LINK, links))
        if past:
            self.past_levels.stream(_columns(_LEVEL, past))
        self.open_marks.data = _columns((*_MARK, "marker"), now)
        self.open_levels.data = _columns(_LEVEL, levels)

    def go_to(self, moment: datetime) -> None:
        """Bring the bar of that moment to the middle of the chart."""
        width = self.x_range.end - self.x_range.start
        middle = self._row(moment)
        self.x_range.update(start=middle - width / 2, end=middle + width / 2)

    def show_all(self) -> None:
        """Show every bar that the run has seen."""
        self.x_range.update(start=-2.0, end=self.stop + 6.0)

    def follow(self, span: int = FIRST_SPAN) -> None:
        """Show the newest ``span`` bars and move along with them."""
        self.x_range.update(start=max(-2.0, self.stop + 6.0 - span), end=self.stop + 6.0)

    # ---- how

    def _levels(
        self, trade: TradeRow, x0: float, x1: float, moves: Mapping[str, Sequence[StopMove]]
    ) -> list[tuple[Any, ...]]:
        steps = moves.get(trade.position_id, ())
        if not steps:
            return _level(x0, x1, trade.stop_loss, trade.take_profit)
        drawn: list[tuple[Any, ...]] = []
        edges = [x0, *(min(max(float(self._row(step.at)), x0), x1) for step in steps[1:]), x1]
        for step, left, right in zip(steps, edges, edges[1:], strict=False):
            drawn.extend(_level(left, right, step.stop_loss, step.take_profit))
        return drawn

    def _picked(self, event: Any) -> None:
        row = round(event.x) if event.x is not None else -1
        if self._on_pick is not None and 0 <= row < self.stop:
            self.picked.location = row
            self.picked.visible = True
            self._on_pick(from_ns(int(self.bars.ts[row])))

    def _row(self, moment: datetime) -> int:
        return int(series.row_of(self.bars.ts, np.array([to_ns(moment)], dtype=np.int64))[0])

    def _range_changed(self, attr: str, old: float, new: float) -> None:
        start, end = self.x_range.start, self.x_range.end
        left, right = max(0, int(start)), min(self.stop, int(end) + 1)
        factor = series.merge_factor(max(1, right - left), MOST_CANDLES // 2)
        if factor == self._factor and left >= self._span[0] and right <= self._span[1]:
            return
        self._load()

    def _load(self) -> None:
        start, end = self.x_range.start, self.x_range.end
        left, right = max(0, int(start)), max(0, min(self.stop, int(end) + 1))
        visible = max(1, right - left)
        self._factor = series.merge_factor(visible, MOST_CANDLES // 2)
        margin = max(0, (MOST_CANDLES * self._factor - visible) // 2)
        self._span = (max(0, left - margin), min(self.stop, right + margin))
        self.candles.data = series.candles(self.bars, *self._span, self._factor)
        if self.indicators is not None:
            self.indicators.load(*self._span, self._factor)
        self._load_axis()

    def _load_axis(self) -> None:
        rows = np.linspace(0, max(0, self.stop - 1), num=min(self.stop, 3000)).astype(np.int64)
        near = np.arange(self._span[0], self._span[1], self._factor)
        rows = np.unique(np.concatenate([rows, near]))
        self.axis.data = {"n": rows, "ms": self.bars.ts[rows] / 1e6} if self.stop else {"n": [], "ms": []}

    def _draw(self, height: int) -> Any:
        plot = figure(
            height=height,
            sizing_mode="stretch_width",
            x_range=self.x_range,
            y_range=DataRange1d(range_padding=0.08),
            window_axis="x",
            tools="xpan,xwheel_zoom,xbox_zoom,reset,save",
            active_drag="xpan",
            active_scroll="xwheel_zoom",
            toolbar_location="above",
            y_axis_location="right",
            name="price",
        )
        plain(plot)
        digits = self.bars.instrument.digits or 5
        plot.yaxis.formatter = NumeralTickFormatter(format=f"0.{'0' * digits}")
        plot.xaxis.formatter = bar_ticks(self.axis, self.x_range)
        wick = {"color": theme.CANDLE, "line_width": 1}
        plot.segment("x", "high", "x", "top", source=self.candles, **wick)
        plot.segment("x", "bottom", "x", "low", source=self.candles, **wick)
        # Not vbar: bokeh clamps bars outside the view to its edge, where their outlines pile up as a line.
        body = plot.rect(
            "x", "middle", width="width", height="height", source=self.candles,
            line_color=theme.CANDLE, fill_color=theme.CANDLE, fill_alpha="fill",
        )  # fmt: skip
        plot.add_tools(
            HoverTool(
                renderers=[body], mode="vline", point_policy="follow_mouse",
                tooltips=[("time", "@ms{%F %H:%M} UTC"), ("open", "@open"), ("high", "@high"), ("low", "@low"),
                          ("close", "@close")],
                formatters={"@ms": "datetime"},
            )
        )  # fmt: skip
        for source, alpha in ((self.past_levels, 0.55), (self.open_levels, 1.0)):
            plot.segment("x0", "y", "x1", "y", source=source, color="colour", line_width=1.5, line_dash="dotted",
                         alpha=alpha)  # fmt: skip
        plot.segment("x0", "y0", "x1", "y1", source=self.links, color="colour", line_width=1.5, line_dash="dashed")
        edge = {"color": "colour", "line_color": "white", "line_width": 1}
        drawn = [
            plot.scatter("x", "y", source=self.marks[name], marker=shape, size=8 if name == "exit" else 12, **edge)
            for name, shape in _SHAPES.items()
        ]
        drawn.append(plot.scatter("x", "y", source=self.open_marks, marker="marker", size=14, **edge))
        plot.add_tools(HoverTool(renderers=drawn, tooltips="@text", point_policy="snap_to_data"))
        self.picked = Span(location=0, dimension="height", line_color=theme.ACCENT, line_width=1, visible=False)
        plot.add_layout(self.picked)
        plot.on_event(DoubleTap, lambda _: self.follow())
        plot.on_event(Tap, self._picked)
        return plot


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _level(x0: float, x1: float, stop: Any, target: Any) -> list[tuple[Any, ...]]:
    both = ((stop, theme.LEVEL_STOP), (target, theme.LEVEL_TARGET))
    return [(x0, x1, float(level), colour) for level, colour in both if level is not None]

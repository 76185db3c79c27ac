"""Pictures of a backtest, as HoloViews elements for JupyterLab and Panel alike.

Half a million bars are never sent to a browser: candles are merged and lines keep the lowest and highest point of each
stretch, so no extreme is lost. With a live kernel or server behind it, zooming fetches the detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, MissingPackage, must_be
from toolkit.market import money_digits
from toolkit.simulation.portfolio.run import PortfolioRun

if TYPE_CHECKING:
    from toolkit.market import Bars
    from toolkit.research.portfolio_result import PortfolioResult, SymbolSide
    from toolkit.research.result import BacktestResult

__all__ = [
    "backtest_view",
    "equity_view",
    "merged_candles",
    "portfolio_view",
    "price_view",
    "returns_view",
    "sweep_heatmap",
    "thinned",
]

Ints = npt.NDArray[np.int64]


class Timed(Protocol):
    """Anything with rows in time: bars, or the moments that several symbols share."""

    @property
    def ts(self) -> Ints:
        """Opens of the rows, UTC nanoseconds."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Moments:
    ts: Ints

    def __len__(self) -> int:
        return len(self.ts)


MOST_CANDLES = 1_500
MOST_POINTS = 4_000
MOST_TRADES = 1_500
UP, DOWN, LINE, FALL = "#2a9d6f", "#c8553d", "#2f6f9f", "#c8553d"
_NODE_COLOURS = ("#d08700", "#6b4fa3", "#00818a", "#a3456b", "#5b6c2f")


def _holoviews() -> Any:
    try:
        import holoviews as hv
    except ImportError as e:
        raise MissingPackage(
            "holoviews must be installed for plots, was missing: pip install seatrial[research]"
        ) from e
    if "bokeh" not in hv.Store.renderers:
        hv.extension("bokeh", logo=False)
    return hv


def thinned(values: npt.NDArray[Any], most: int) -> Ints:
    """Rows that keep the shape of a line: the first, lowest, highest and last row of each stretch, in order.

    Parameters
    ----------
    values : ndarray, shape (n,)
    most : int
        About how many rows to keep; all of them when there are fewer.
    """
    n = len(values)
    if n <= most:
        return np.arange(n)
    width = -(-n // max(1, most // 4))
    whole = n // width
    block = np.asarray(values[: whole * width], np.float64).reshape(whole, width)
    filled = np.where(np.isnan(block), np.inf, block)
    low = filled.argmin(axis=1)
    high = np.where(np.isnan(block), -np.inf, block).argmax(axis=1)
    starts = np.arange(whole) * width
    rows = np.concatenate([starts, starts + low, starts + high, starts + width - 1, np.arange(whole * width, n)])
    return np.unique(rows)


def merged_candles(bars: Bars, start: int, stop: int, most: int = MOST_CANDLES) -> dict[str, npt.NDArray[Any]]:
    """Candles of the bid over rows [start, stop), merged into at most about ``most``: left, right (ns), open .. close."""
    width = max(1, -(-(stop - start) // most))
    first = np.arange(start, stop, width)
    last = np.minimum(first + width, stop) - 1
    scale = float(bars.instrument.scale)
    return {
        "left": bars.ts[first],
        "right": bars.ts[last] + bars.timeframe.ns,
        "open": bars.bid_open[first] / scale,
        "high": np.maximum.reduceat(bars.bid_high[start:stop], first - start) / scale,
        "low": np.minimum.reduceat(bars.bid_low[start:stop], first - start) / scale,
        "close": bars.bid_close[last] / scale,
    }


def _times(ns: npt.NDArray[Any]) -> npt.NDArray[np.datetime64]:
    return np.asarray(ns, np.int64).view("datetime64[ns]")


def _rows(bars: Timed, x_range: tuple[Any, Any] | None) -> tuple[int, int]:
    n = len(bars)
    if x_range is None or x_range[0] is None or x_range[1] is None:
        return 0, n
    # a browser's range comes back as datetime64, as a datetime or as a Timestamp, always in UTC
    low, high = (
        np.datetime64(x.replace(tzinfo=None) if hasattr(x, "tzinfo") else x, "ns").astype(np.int64) for x in x_range
    )
    i, j = np.searchsorted(bars.ts, low), np.searchsorted(bars.ts, high, side="right")
    pad = max(1, int(j - i) // 4)
    return max(0, int(i) - pad), min(n, max(int(j) + pad, int(i) + 2))


def _candles(hv: Any, bars: Bars, start: int, stop: int) -> Any:
    c = merged_candles(bars, start, stop)
    left, right = _times(c["left"]), _times(c["right"])
    middle = left + (right - left) // 2
    inset = (right - left) // 6
    colour = np.where(c["close"] >= c["open"], UP, DOWN)
    wicks = hv.Segments((middle, c["low"], middle, c["high"], colour), ["time", "price", "time2", "price2"], "colour")
    bodies = hv.Rectangles(
        (left + inset, np.minimum(c["open"], c["close"]), right - inset, np.maximum(c["open"], c["close"]), colour),
        ["time", "price", "time2", "price2"],
        "colour",
    )
    return wicks.opts(color="colour", line_width=1) * bodies.opts(color="colour", line_color="colour", line_width=1)


def stop_levels(result: BacktestResult | SymbolSide) -> npt.NDArray[np.float64]:
    """Stop price each closed trade was opened with, NaN where there was none, or where a pending order was filled."""
    from toolkit.strategy.authoring.management import FEATURES
    from toolkit.strategy.drivers.columnar import evaluate

    trades, bars = result.run.trades, result.bars
    if {"limit_entry", "stop_entry"} & result.spec.features:  # placed on some earlier bar
        return np.full(len(trades), np.nan)
    stops = evaluate(result.spec, result.given, supports=FEATURES).stop_points
    decided = trades[:, 2] - (0 if result.fill_at == "close" else 1)
    points = stops[decided] if len(stops) > 1 else np.full(len(trades), stops[0])
    quote = trades[:, 3] - trades[:, 0] * result.account.slippage_points
    level = (quote - trades[:, 0] * points) / float(bars.instrument.scale)
    return np.where(points > 0, level, np.nan)


def _trades(hv: Any, result: BacktestResult | SymbolSide, stops: npt.NDArray[np.float64], start: int, stop: int) -> Any:
    t, bars = result.run.trades, result.bars
    seen = np.flatnonzero((t[:, 4] >= start) & (t[:, 2] < stop))
    net = t[:, 7] + t[:, 8] + t[:, 9]
    if len(seen) > MOST_TRADES:
        seen = np.sort(seen[np.argsort(-np.abs(net[seen]), kind="stable")[:MOST_TRADES]])
    scale = float(bars.instrument.scale)
    entered, left = _times(bars.ts[t[seen, 2]]), _times(bars.ts[t[seen, 4]])
    entry, leave = t[seen, 3] / scale, t[seen, 5] / scale
    colour = np.where(net[seen] > 0, UP, DOWN)
    links = hv.Segments((entered, entry, left, leave, colour), ["time", "price", "time2", "price2"], "colour")
    levels = hv.Segments((entered, stops[seen], left, stops[seen]), ["time", "price", "time2", "price2"])
    size = 8 if len(seen) < 100 else 5
    layers = [
        levels.opts(color=FALL, line_dash="dotted", line_width=1),
        links.opts(color="colour", line_width=1.5),
    ]
    for side, marker in ((1, "triangle"), (-1, "inverted_triangle")):
        mine = t[seen, 0] == side
        points = hv.Points((entered[mine], entry[mine]), ["time", "price"])
        layers.append(points.opts(marker=marker, color=LINE, size=size, line_color="white"))
    layers.append(hv.Points((left, leave, colour), ["time", "price"], "colour").opts(color="colour", size=size - 2))
    return hv.Overlay(layers)


def _line(hv: Any, bars: Timed, values: npt.NDArray[Any], start: int, stop: int, name: str) -> Any:
    rows = start + thinned(values[start:stop], MOST_POINTS)
    return hv.Curve((_times(bars.ts[rows]), np.asarray(values, np.float64)[rows]), "time", name)


def _dynamic(hv: Any, bars: Timed, draw: Any, most: int) -> Any:
    """Draw once when everything fits, else again whenever the visible range changes."""
    if len(bars) <= most:
        return draw(0, len(bars))
    return hv.DynamicMap(lambda x_range: draw(*_rows(bars, x_range)), streams=[hv.streams.RangeX()])


def price_view(result: BacktestResult | SymbolSide, *, nodes: bool = True, height: int = 380, width: int = 900) -> Any:
    """Candles of the bid with entries (triangles), exits, stops (dotted) and the nodes that live on the price scale."""
    hv = _holoviews()
    bars = result.bars
    stops = stop_levels(result)
    overlays, _ = _split_nodes(result) if nodes else ({}, {})

    def draw(start: int, stop: int) -> Any:
        layers = _candles(hv, bars, start, stop)
        for colour, (name, values) in zip(_NODE_COLOURS * 9, overlays.items(), strict=False):
            layers = layers * _line(hv, bars, values, start, stop, "price").relabel(name).opts(
                color=colour, line_width=1, alpha=0.8
            )
        return layers * _trades(hv, result, stops, start, stop)

    title = f"{bars.symbol} {bars.timeframe}, {len(result.run.trades):,} trades"
    if len(result.run.trades) > MOST_TRADES:
        title += f" (the {MOST_TRADES:,} largest in view are drawn)"
    view = _dynamic(hv, bars, draw, MOST_CANDLES)
    return view.opts(
        hv.opts.Overlay(
            title=title,
            height=height,
            width=width,
            xlabel="",
            show_grid=True,
            legend_position="top_left",
            active_tools=["wheel_zoom"],
        )
    )


def _split_nodes(result: BacktestResult | SymbolSide) -> tuple[dict[str, Any], dict[str, Any]]:
    """Named nodes that lie among the prices, and those that need a pane of their own."""
    frame = result.frame
    low, high = float(frame["low"].min()), float(frame["high"].max())
    on_price: dict[str, Any] = {}
    apart: dict[str, Any] = {}
    for name in frame.columns:
        if name in ("open", "high", "low", "close", "decision"):
            continue
        values = frame[name].to_numpy(np.float64)
        known = values[~np.isnan(values)]
        inside = known.size > 0 and low * 0.9 <= float(np.median(known)) <= high * 1.1
        (on_price if inside else apart)[str(name)] = values
    return on_price, apart


def equity_view(result: BacktestResult | PortfolioResult, *, height: int = 170, width: int = 900) -> Any:
    """Equity at bar closes over its fall from the peak, two panes with one time axis."""
    hv = _holoviews()
    bars = _Moments(result.run.ts) if isinstance(result.run, PortfolioRun) else result.bars
    equity = result.run.equity / float(10 ** money_digits(result.account.currency))
    peak = np.maximum.accumulate(np.maximum(equity, float(result.account.balance)))
    fall = (equity - peak) / peak * 100.0
    money = f"equity, {result.account.currency}"
    top = _dynamic(hv, bars, lambda i, j: _line(hv, bars, equity, i, j, money).opts(color=LINE), MOST_POINTS)

    def area(start: int, stop: int) -> Any:
        rows = start + thinned(fall[start:stop], MOST_POINTS)
        return hv.Area((_times(bars.ts[rows]), fall[rows]), "time", "drawdown, %").opts(
            color=FALL, alpha=0.4, line_color=None
        )

    size = {"width": width, "show_grid": True, "xlabel": ""}
    bottom = _dynamic(hv, bars, area, MOST_POINTS)
    return [top.opts(hv.opts.Curve(height=height, **size)), bottom.opts(hv.opts.Area(height=height * 2 // 3, **size))]


def returns_view(result: BacktestResult, *, height: int = 260, width: int = 900) -> Any:
    """Distributions of the trades' nets and of the daily returns."""
    hv = _holoviews()
    unit = float(10 ** money_digits(result.account.currency))
    t, daily = result.run.trades, result.run.daily
    net = t[:, 7:10].sum(axis=1) / unit
    before = np.concatenate([[result.account.balance_minor], daily[:-1]])
    change = (daily - before) / before * 100.0
    parts = []
    for values, label in ((net, f"net of a trade, {result.account.currency}"), (change, "return of a day, %")):
        if len(values) == 0:
            raise BadInput(must_be("trades", "at least 1", 0, "a distribution needs closed trades"))
        counts, edges = np.histogram(values, bins=min(60, max(10, int(np.sqrt(len(values))))))
        histogram = hv.Histogram((edges, counts), kdims=label, vdims="count").opts(color=LINE, line_color="white")
        parts.append(histogram.opts(height=height, width=width // 2, show_grid=True))
    return hv.Layout(parts).cols(2).opts(shared_axes=False)


def portfolio_view(result: PortfolioResult, *, nodes: bool = True, height: int = 260, width: int = 900) -> Any:
    """Each symbol's price with its trades and stops, then the shared equity and drawdown, on one linked time axis.

    Parameters
    ----------
    nodes
        Whether to draw the named nodes that lie among a symbol's prices.
    height, width
        Of a price pane, in pixels.
    """
    hv = _holoviews()
    panes = [
        price_view(side, nodes=nodes, height=height, width=width).redim(
            price=f"{side.bars.symbol}", price2=f"{side.bars.symbol} to"
        )
        for side in result.sides()
    ]
    return hv.Layout([*panes, *equity_view(result, width=width)]).cols(1)


def backtest_view(result: BacktestResult, *, nodes: bool = True, height: int = 380, width: int = 900) -> Any:
    """Price with trades and stops, indicator panes, equity and drawdown, on one linked time axis.

    Parameters
    ----------
    nodes
        Whether to draw the strategy's named nodes.
    height, width
        Of the price pane, in pixels.
    """
    hv = _holoviews()
    bars = result.bars
    panes = [price_view(result, nodes=nodes, height=height, width=width)]
    apart = _split_nodes(result)[1] if nodes else {}

    def pane(name: str, values: Any, colour: str) -> Any:
        drawn = _dynamic(hv, bars, lambda i, j: _line(hv, bars, values, i, j, name).opts(color=colour), MOST_POINTS)
        return drawn.opts(hv.opts.Curve(height=130, width=width, show_grid=True, xlabel=""))

    panes += [pane(name, v, c) for c, (name, v) in zip(_NODE_COLOURS * 9, apart.items(), strict=False)]
    panes += equity_view(result, width=width)
    return hv.Layout(panes).cols(1)


def sweep_heatmap(results: Any, x: str, y: str, metric: str, *, width: int = 640, height: int = 460) -> Any:
    """A statistic over two swept parameters; sets that differ in other parameters are averaged."""
    hv = _holoviews()
    table = results.groupby([x, y], sort=True, observed=True)[metric].mean().reset_index()
    element = hv.HeatMap(table, [x, y], metric)
    lowest, highest = float(table[metric].min()), float(table[metric].max())
    both_signs = lowest < 0.0 < highest
    most = max(abs(lowest), abs(highest))
    return element.opts(
        cmap="RdYlGn" if both_signs else "Viridis",
        clim=(-most, most) if both_signs else (lowest, highest),
        colorbar=True,
        width=width,
        height=height,
        xrotation=45,
        tools=["hover"],
        title=f"{metric} over {x} and {y}",
    )

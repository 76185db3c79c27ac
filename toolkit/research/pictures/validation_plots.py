"""Pictures of what speaks for or against a result: cross-validated choice, walk-forward, Monte Carlo.

HoloViews elements for JupyterLab and Panel alike, a few thousand points at most whatever the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.market import money_digits
from toolkit.research.pictures.plots import DOWN, FALL, LINE, MOST_POINTS, UP, _holoviews, thinned

if TYPE_CHECKING:
    from toolkit.research.validation.monte_carlo import MonteCarlo
    from toolkit.research.validation.overfitting import CrossValidation
    from toolkit.research.validation.walk_forward_result import WalkForward, Window

__all__ = ["monte_carlo_view", "overfitting_view", "walk_forward_view"]

_MOST_DOTS = 3_000
_BAND_TINTS = ("#5b84b1", "#d9b26f")


def _histogram(hv: Any, values: npt.NDArray[np.float64], label: str, **options: Any) -> Any:
    counts, edges = np.histogram(values, bins=min(60, max(10, int(np.sqrt(len(values))))))
    histogram = hv.Histogram((edges, counts), kdims=label, vdims="count")
    return histogram.opts(color=LINE, line_color="white", show_grid=True, **options)


def overfitting_view(result: CrossValidation, *, height: int = 300, width: int = 900) -> Any:
    """Logits (left of the line: overfit) beside out-of-sample against in-sample performance with its line."""
    hv = _holoviews()
    half = width // 2
    logits = _histogram(hv, result.logits, "logit of the rank out of sample", height=height, width=half)
    border = hv.VLine(0.0).opts(color=FALL, line_dash="dashed", line_width=1.5)
    left = (logits * border).opts(title=f"probability of overfitting {result.pbo:.1%}")
    some = np.unique(np.linspace(0, len(result.logits) - 1, min(_MOST_DOTS, len(result.logits))).astype(np.int64))
    x, y = result.in_sample, result.out_of_sample
    colour = np.where(y[some] < 0, DOWN, UP)
    axes = [f"in sample, {result.metric} a period", f"out of sample, {result.metric} a period"]
    dots = hv.Points((x[some], y[some], colour), axes, "colour").opts(color="colour", size=3, alpha=0.5)
    layers = dots
    slope, intercept, _ = result.degradation
    if np.isfinite(slope):
        ends = np.array([x.min(), x.max()])
        layers = dots * hv.Curve((ends, intercept + slope * ends), *axes).opts(color=LINE, line_width=2)
    right = layers.opts(
        hv.opts.Overlay(height=height, width=half, show_grid=True), hv.opts.Points(height=height, width=half)
    )
    title = f"slope {slope:.2f}, {result.probability_of_loss:.1%} lose"
    return hv.Layout([left, right.opts(title=title)]).cols(2).opts(shared_axes=False)


def monte_carlo_view(result: MonteCarlo, *, height: int = 320, width: int = 900) -> Any:
    """Bands of equity (1 to 99, 5 to 95, 25 to 75 percent) by trade with the run's own path, beside the drawdowns."""
    hv = _holoviews()
    half = width // 2
    money = f"equity, {result.currency}"
    layers = [
        hv.Area((result.band_at, result.band[low], result.band[-1 - low]), "trades", [money, "high"]).opts(
            color=LINE, alpha=alpha, line_color=None
        )
        for low, alpha in ((0, 0.12), (1, 0.2), (2, 0.3))
    ]
    layers.append(hv.Curve((result.band_at, result.band[3]), "trades", money).opts(color=LINE, line_dash="dashed"))
    layers.append(hv.Curve((result.band_at, result.real_path), "trades", money).opts(color=FALL, line_width=2))
    title = f"{result.runs:,} by {result.method}, the run in red"
    left = hv.Overlay(layers).opts(height=height, width=half, show_grid=True, title=title)
    falls = _histogram(hv, result.max_drawdown * 100.0, "max drawdown, %", height=height, width=half)
    own = hv.VLine(100.0 * result.real["max_drawdown"]).opts(color=FALL, line_width=2)
    share = f"{result.percentile('max_drawdown'):.0%} of the paths fall less than the run"
    return hv.Layout([left, (falls * own).opts(title=share)]).cols(2).opts(shared_axes=False)


def walk_forward_view(result: WalkForward, *, height: int = 300, width: int = 900) -> Any:
    """Out-of-sample equity over a band for each test span, returns a year of both samples, and the chosen values.

    A band is tinted by whether the span gained. Parameter values that are words are drawn by their place in the grid.
    """
    hv = _holoviews()
    unit = float(10 ** money_digits(result.account.currency))
    money = f"equity, {result.account.currency}"
    edges = np.array([[_moment(w.test_start), _moment(w.test_end)] for w in result.parts])
    gained = np.array([int(w.equity[-1]) > w.opening for w in result.parts])
    bands = []
    for won, tint in ((True, _BAND_TINTS[0]), (False, _BAND_TINTS[1])):
        mine = edges[gained == won]
        if len(mine):
            spans = hv.VSpans((mine[:, 0], mine[:, 1]), ["time", "time2"])
            bands.append(spans.opts(color=tint, alpha=0.18, line_color="white"))
    equity = result.equity_minor / unit
    times = result.line.ts[result.test_rows].view("datetime64[ns]")
    rows = thinned(equity, MOST_POINTS)
    curve = hv.Curve((times[rows], equity[rows]), "time", money).opts(color=LINE, line_width=1.5)
    panes = [hv.Overlay([*bands, curve]).opts(height=height, width=width, show_grid=True, title=_title(result))]

    middles = edges[:, 0] + (edges[:, 1] - edges[:, 0]) // 2
    size = {"height": height // 2, "width": width, "show_grid": True, "xlabel": ""}
    inside, outside = _yearly(result)
    label = "return a year, %"
    both = [
        hv.Curve((middles, values), "time", label, label=name).opts(color=colour, line_width=1.5)
        * hv.Scatter((middles, values), "time", label, label=name).opts(color=colour, size=6)
        for values, name, colour in ((inside, "in sample", FALL), (outside, "out of sample", LINE))
    ]
    returns = both[0] * both[1] * hv.HLine(0.0).opts(color="grey", line_width=1)
    panes.append(returns.opts(legend_position="top", legend_cols=2, **size))
    for name in result.axes:
        values = np.array([_place(result, name, w) for w in result.parts])
        line = hv.Curve((middles, values), "time", name).opts(interpolation="steps-mid", color=LINE)
        panes.append((line * hv.Scatter((middles, values), "time", name).opts(color=LINE, size=6)).opts(**size))
    return hv.Layout(panes).cols(1)


def _moment(moment: Any) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "ns")


def _title(result: WalkForward) -> str:
    kind = "anchored" if result.anchored else "rolling"
    return f"{len(result.parts)} {kind} windows out of sample, efficiency {result.overall_efficiency:.0%}"


def _yearly(result: WalkForward) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    year = 365.25 * 86_400.0
    inside = [
        100.0 * w.in_sample.get("total_return", np.nan) * year / (w.train_end - w.train_start).total_seconds()
        for w in result.parts
    ]
    outside = [
        100.0 * s["total_return"] * year / (w.test_end - w.test_start).total_seconds()
        for w, s in zip(result.parts, result.window_statistics, strict=True)
    ]
    return np.array(inside), np.array(outside)


def _place(result: WalkForward, name: str, window: Window) -> float:
    if name not in window.params:
        return float("nan")
    value = window.params[name]
    if result.spec.params[name].type == "choice":
        return float(list(dict.fromkeys(result.axes[name])).index(value))
    return float(value)

"""Columns for the charts: candles merged to what a screen can show, and long curves thinned without losing an extreme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from toolkit.market import Bars

Columns = dict[str, NDArray[Any]]
CANDLE_COLUMNS = ("x", "width", "ms", "open", "high", "low", "close", "top", "bottom", "kind")


def merge_factor(count: int, most: int) -> int:
    """Return how many bars one candle must hold so that ``count`` bars make at most ``most`` candles: 1, 2, 4, 8 ..."""
    factor = 1
    while -(-count // factor) + 1 > most:
        factor *= 2
    return factor


def candles(bars: Bars, start: int, stop: int, factor: int = 1) -> Columns:
    """Return candles of bars ``start`` to ``stop`` (row numbers), ``factor`` bars to one candle.

    Groups are aligned to row 0, so the same bar always lands in the same candle, wherever the span begins.

    Returns
    -------
    dict
        ``x`` centre and ``width`` in bar numbers, ``ms`` open time in epoch milliseconds, ``open high low close`` (bid),
        ``top`` and ``bottom`` of the body, ``kind`` "up" or "down".
    """
    start = max(0, (start // factor) * factor)
    stop = min(stop, len(bars))
    if stop <= start:
        return {name: np.empty(0, dtype=object if name == "kind" else np.float64) for name in CANDLE_COLUMNS}
    edges = np.arange(start, stop, factor)
    lasts = np.minimum(edges + factor, stop) - 1
    opened = bars.open[edges]
    closed = bars.close[lasts]
    offsets = edges - start
    high = np.maximum.reduceat(bars.high[start:stop], offsets)
    low = np.minimum.reduceat(bars.low[start:stop], offsets)
    return {
        "x": edges + (factor - 1) / 2.0,
        "width": np.full(len(edges), 0.72 * factor),
        "ms": bars.ts[edges] / 1e6,
        "open": opened,
        "high": high,
        "low": low,
        "close": closed,
        "top": np.maximum(opened, closed),
        "bottom": np.minimum(opened, closed),
        "kind": np.where(closed >= opened, "up", "down").astype(object),
    }


def row_of(ts: NDArray[np.int64], moments_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each moment, the number of the bar that was open then (the last one opened at or before it)."""
    rows: NDArray[np.int64] = np.searchsorted(ts, moments_ns, side="right").astype(np.int64) - 1
    return rows


def thin(x: NDArray[Any], y: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return the row numbers to draw so that at most ``most`` points keep first, last and every bucket's low and high."""
    count = len(y)
    if count <= most:
        return np.arange(count)
    buckets = max(1, (most - 2) // 2)
    edges = np.linspace(0, count, buckets + 1).astype(np.int64)
    keep = {0, count - 1}
    for left, right in zip(edges[:-1], edges[1:], strict=True):
        part = y[left:right]
        keep.add(int(left + part.argmin()))
        keep.add(int(left + part.argmax()))
    return np.array(sorted(keep), dtype=np.int64)


def drawdown(equity: NDArray[np.float64], peak: float = -np.inf) -> NDArray[np.float64]:
    """Return the fall from the highest equity so far, in percent (0 or negative); ``peak`` is the highest before."""
    if not len(equity):
        return np.empty(0)
    top = np.maximum.accumulate(np.maximum(equity, peak))
    return np.where(top > 0, (equity / top - 1.0) * 100.0, 0.0)

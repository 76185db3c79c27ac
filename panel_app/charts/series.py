"""Columns for the charts: candles merged to what a screen can show, and long curves thinned without losing an extreme."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.clock import to_ns

if TYPE_CHECKING:
    from toolkit.market import Bars
    from toolkit.store.reading.records import TradeRow

Columns = dict[str, NDArray[Any]]
CANDLE_COLUMNS = ("x", "width", "ms", "open", "high", "low", "close", "top", "bottom", "middle", "height", "fill")


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
        ``top``, ``bottom``, ``middle`` and ``height`` of the body, ``fill`` its opacity: falling bars are solid.
    """
    start = max(0, (start // factor) * factor)
    stop = min(stop, len(bars))
    if stop <= start:
        return {name: np.empty(0) for name in CANDLE_COLUMNS}
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
        "middle": (opened + closed) / 2.0,
        "height": np.abs(closed - opened),
        "fill": np.where(closed >= opened, 0.12, 1.0),
    }


def row_of(ts: NDArray[np.int64], moments_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each moment, the number of the bar that was open then (the last one opened at or before it)."""
    rows: NDArray[np.int64] = np.searchsorted(ts, moments_ns, side="right").astype(np.int64) - 1
    return rows


def thin(y: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return the row numbers to draw so that at most ``most`` points keep first, last and every bucket's low and high."""
    count = len(y)
    if count <= most:
        return np.arange(count)
    buckets = max(1, (most - 2) // 2)
    edges = np.linspace(0, count, buckets + 1).astype(np.int64)
    keep = {0, count - 1}
    for left, right in itertools.pairwise(edges):
        part = y[left:right]
        keep.add(int(left + part.argmin()))
        keep.add(int(left + part.argmax()))
    return np.array(sorted(keep), dtype=np.int64)


def drawdown(equity: NDArray[np.float64], peak: float = -np.inf) -> NDArray[np.float64]:
    """Return the fall from the highest equity so far, in percent (0 or negative); ``peak`` is the highest before."""
    if not len(equity):
        return np.empty(0)
    top = np.maximum.accumulate(np.maximum(equity, peak))
    ratio = np.divide(equity, top, out=np.ones_like(equity), where=top > 0)
    return (ratio - 1.0) * 100.0


class EquityCurve:
    """A run's equity at the close of each bar, for drawing: exact realised money plus open profit at the bar's close.

    Open profit converts at the close itself when the account's currency is one of the pair's two; otherwise only realised
    money is drawn, and ``marked`` is False.

    Attributes
    ----------
    equity, fall
        Account currency, and drawdown in percent, one value for each bar seen so far.
    """

    def __init__(self, bars: Bars | None, capital: Decimal, currency: str) -> None:
        self._capital = float(capital)
        self._currency = currency
        self._take(bars)
        self.equity: NDArray[np.float64] = np.empty(0)
        self.fall: NDArray[np.float64] = np.empty(0)
        self.version = 0

    def _take(self, bars: Bars | None) -> None:
        self._bars = bars
        self._inverse = bars is not None and self._currency == bars.instrument.base_currency
        self.marked = self._inverse or (bars is not None and self._currency == bars.instrument.quote_currency)

    def update(self, stop: int, trades: Sequence[TradeRow], bars: Bars | None = None) -> None:
        """Compute the curve for the first ``stop`` bars; ``bars`` replaces the series when it has grown."""
        if bars is not None and bars is not self._bars:
            self._take(bars)
        bars = self._bars
        if bars is None or stop == 0:
            return
        steps = np.zeros(stop)
        floating = np.zeros(stop)
        for trade in trades:
            first = self._row(trade.entry_time, stop)
            last = stop if trade.exit_time is None else self._row(trade.exit_time, stop)
            if trade.exit_time is not None and last < stop:
                steps[last] += float(trade.net)
            elif trade.exit_time is None:
                steps[min(first, stop - 1)] += float(trade.net)  # commission of the entry, partial closes
            if self.marked and last > first:
                floating[first:last] += self._open_profit(trade, first, last)
        equity = self._capital + np.cumsum(steps) + floating
        self.equity, self.fall = equity, drawdown(equity)
        self.version += 1

    def _row(self, moment: datetime, stop: int) -> int:
        assert self._bars is not None
        row = int(row_of(self._bars.ts, np.array([to_ns(moment)], dtype=np.int64))[0])
        return min(max(row, 0), stop)

    def _open_profit(self, trade: TradeRow, first: int, last: int) -> NDArray[np.float64]:
        bars = self._bars
        assert bars is not None
        points = bars.bid_close if trade.side == "BUY" else bars.ask_close
        close = points[first:last] / bars.instrument.scale
        sign = 1.0 if trade.side == "BUY" else -1.0
        lots = float(trade.open_lots if trade.exit_time is None else trade.lots)
        profit = (close - float(trade.entry_price)) * sign * lots * float(bars.instrument.contract_size)
        result: NDArray[np.float64] = profit / close if self._inverse else profit
        return result

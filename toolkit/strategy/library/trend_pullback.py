"""Trend pullback: buy the dip of a rising trend with a limit order, take half off, let the rest trail."""

from __future__ import annotations

from typing import Any

import toolkit.strategy as tk


class TrendPullback(tk.SectionedStrategy):
    """Wait for a better price in the direction of the trend, bank half of it early and follow with the rest.

    While the close is above a rising average, a limit order lies below it, at a distance that follows the range of the
    bars; it is renewed at every such close and given up after a few bars. Half of the position is closed at one times the
    risk, when the stop also goes to the entry price; the rest follows the best price until the stop, or the bars, run out.
    Short the other way round.
    """

    n = tk.Int(50, 10, 200)
    depth = tk.Float(0.8, 0.1, 3.0)
    k = tk.Float(2.0, 0.5, 5.0)
    patience = tk.Int(3, 1, 20)
    life = tk.Int(48, 5, 500)

    def indicators(self, bars: Any) -> dict[str, Any]:
        trend = tk.ema(bars.close, self.n)
        return {"trend": trend, "before": trend.shift(1), "atr": tk.atr(bars, 14)}

    def entry(self, x: Any) -> tk.Entry:
        away = self.depth * x.atr
        return tk.Entry(
            long=(x.close > x.trend) & (x.trend > x.before),
            short=(x.close < x.trend) & (x.trend < x.before),
            order=tk.LimitEntry(long=x.close - away, short=x.close + away, bars=self.patience),
        )

    def protection(self, x: Any) -> tk.Protection:
        return tk.Protection(
            stop_loss=self.k * x.atr,
            partials=[tk.Partial(at=tk.RR(1), fraction="0.5")],
            break_even=tk.RR(1),
            trailing_stop=tk.Trail(self.k * x.atr, after=tk.RR(1)),
            max_bars=self.life,
        )

    def risk(self) -> tk.RiskPercent:
        return tk.RiskPercent(1.0)

"""The demo's strategy, written as a quant would type it in a notebook cell."""

from __future__ import annotations

from typing import Any

import toolkit as tk


class EmaCross(tk.SectionedStrategy):
    """Follow the trend when the fast average crosses the slow one."""

    fast = tk.Int(12, 5, 50)
    slow = tk.Int(26, 20, 200)
    k = tk.Float(2.0, 0.5, 5.0)

    def indicators(self, bars: Any) -> Any:
        """Two averages of the close, and the range that the stop is measured in."""
        return dict(fast=tk.ema(bars.close, self.fast), slow=tk.ema(bars.close, self.slow), atr=tk.atr(bars, 14))

    def entry(self, x: Any) -> Any:
        """Enter when the fast average crosses the slow one."""
        return tk.Entry(long=tk.crossed_above(x.fast, x.slow), short=tk.crossed_below(x.fast, x.slow))

    def exit(self, x: Any) -> Any:
        """Leave on the opposite cross."""
        return tk.Exit(long=tk.crossed_below(x.fast, x.slow), short=tk.crossed_above(x.fast, x.slow))

    def protection(self, x: Any) -> Any:
        """Stop at a multiple of the average true range, target at twice the stop."""
        return tk.Protection(stop_loss=self.k * x.atr, take_profit=tk.RR(2.0))

    def risk(self) -> Any:
        """Risk one percent of equity on each trade."""
        return tk.RiskPercent(1.0)

"""Moving-average cross with a volatility stop: the plainest trend follower."""

from __future__ import annotations

from typing import Any

import toolkit.strategy as tk


class EmaCross(tk.SectionedStrategy):
    """Follow the trend when the fast average crosses the slow one.

    Earns in long moves and pays for them in sideways markets, where it is turned round again and again. The stop is a
    multiple of the average true range, so it is wide when the market is; the target is twice the stop.
    """

    fast = tk.Int(12, 5, 50)
    slow = tk.Int(26, 20, 200)
    k = tk.Float(2.0, 0.5, 5.0)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {
            "fast": tk.ema(bars.close, self.fast),
            "slow": tk.ema(bars.close, self.slow),
            "atr": tk.atr(bars, 14),
        }

    def entry(self, x: Any) -> tk.Entry:
        return tk.Entry(long=tk.crossed_above(x.fast, x.slow), short=tk.crossed_below(x.fast, x.slow))

    def exit(self, x: Any) -> tk.Exit:
        return tk.Exit(long=tk.crossed_below(x.fast, x.slow), short=tk.crossed_above(x.fast, x.slow))

    def protection(self, x: Any) -> tk.Protection:
        return tk.Protection(stop_loss=self.k * x.atr, take_profit=tk.RR(2.0))

    def risk(self) -> tk.RiskPercent:
        return tk.RiskPercent(1.0)

"""SuperTrend follower with a strength filter."""

from __future__ import annotations

from typing import Any

import toolkit.strategy as tk


class SuperTrendFollower(tk.SectionedStrategy):
    """Follow SuperTrend when it turns, but only while the ADX says that there is a trend.

    The stop lies where the trailing band is at the entry; the position is left when the band is crossed.
    """

    n = tk.Int(10, 5, 50)
    k = tk.Float(3.0, 1.0, 6.0)
    strength = tk.Float(20.0, 0.0, 60.0)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {"trend": tk.supertrend(bars, self.n, self.k), "adx": tk.adx(bars, 14)}

    def filters(self, x: Any) -> Any:
        return x.adx > self.strength

    def entry(self, x: Any) -> tk.Entry:
        return tk.Entry(long=tk.crossed_above(x.trend.side, 0.0), short=tk.crossed_below(x.trend.side, 0.0))

    def exit(self, x: Any) -> tk.Exit:
        return tk.Exit(long=x.trend.side < 0.0, short=x.trend.side > 0.0)

    def protection(self, x: Any) -> tk.Protection:
        return tk.Protection(stop_loss=abs(x.close - x.trend.line), take_profit=tk.RR(3.0))

    def risk(self) -> tk.RiskPercent:
        return tk.RiskPercent(1.0)

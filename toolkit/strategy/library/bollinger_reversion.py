"""Bollinger mean reversion inside the liquid hours."""

from __future__ import annotations

from typing import Any

import toolkit.strategy as tk


class BollingerReversion(tk.SectionedStrategy):
    """Enter when the close comes back inside the bands, leave at the middle.

    Entries are filtered to the hours in which spreads are narrow. A band as wide as the market moves, and a stop of one
    more band width, keep the risk in proportion.
    """

    n = tk.Int(20, 10, 100)
    k = tk.Float(2.0, 1.0, 4.0)
    start = tk.Float(6.0, 0.0, 24.0)
    end = tk.Float(20.0, 0.0, 24.0)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {"bands": tk.bollinger(bars.close, self.n, self.k), "std": tk.std(bars.close, self.n)}

    def filters(self, x: Any) -> Any:
        return tk.hour_between(self.start, self.end)

    def entry(self, x: Any) -> tk.Entry:
        return tk.Entry(
            long=tk.crossed_above(x.close, x.bands.lower),
            short=tk.crossed_below(x.close, x.bands.upper),
        )

    def exit(self, x: Any) -> tk.Exit:
        return tk.Exit(long=x.close > x.bands.middle, short=x.close < x.bands.middle)

    def protection(self, x: Any) -> tk.Protection:
        return tk.Protection(stop_loss=self.k * x.std, take_profit=tk.RR(1.5))

    def risk(self) -> tk.RiskPercent:
        return tk.RiskPercent(0.5)

"""Donchian breakout: the channel of the turtles."""

from __future__ import annotations

from typing import Any

import toolkit.strategy as tk


class DonchianBreakout(tk.SectionedStrategy):
    """Enter when the close leaves the channel of the last bars, leave at the opposite, shorter channel.

    Both channels are shifted by one bar: with the closing bar left in, no close could ever lie outside. There is no
    target; the exit channel lets profits run.
    """

    enter = tk.Int(55, 10, 200)
    leave = tk.Int(20, 5, 100)
    n = tk.Int(20, 5, 50)
    k = tk.Float(2.0, 0.5, 5.0)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {
            "top": tk.highest(bars.high, self.enter).shift(1),
            "bottom": tk.lowest(bars.low, self.enter).shift(1),
            "floor": tk.lowest(bars.low, self.leave).shift(1),
            "ceiling": tk.highest(bars.high, self.leave).shift(1),
            "atr": tk.atr(bars, self.n),
        }

    def entry(self, x: Any) -> tk.Entry:
        return tk.Entry(long=x.close > x.top, short=x.close < x.bottom)

    def exit(self, x: Any) -> tk.Exit:
        return tk.Exit(long=x.close < x.floor, short=x.close > x.ceiling)

    def protection(self, x: Any) -> tk.Protection:
        return tk.Protection(stop_loss=self.k * x.atr)

    def risk(self) -> tk.RiskPercent:
        return tk.RiskPercent(1.0)

"""RSI reversal with fixed pips: buy what has fallen too fast, sell what has risen too fast."""

from __future__ import annotations

from typing import Any

import toolkit.strategy as tk


class RsiReversal(tk.SectionedStrategy):
    """Enter when the RSI comes back out of its extreme zone, leave in the middle.

    Waiting for the way back avoids buying while prices still fall. Fixed stop and target suit a quiet market; in a
    strong trend the losses come in rows.
    """

    n = tk.Int(14, 5, 50)
    low = tk.Float(30.0, 10.0, 45.0)
    high = tk.Float(70.0, 55.0, 90.0)
    stop = tk.Float(25.0, 5.0, 100.0)
    target = tk.Float(40.0, 5.0, 200.0)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {"rsi": tk.rsi(bars.close, self.n)}

    def entry(self, x: Any) -> tk.Entry:
        return tk.Entry(long=tk.crossed_above(x.rsi, self.low), short=tk.crossed_below(x.rsi, self.high))

    def exit(self, x: Any) -> tk.Exit:
        return tk.Exit(long=x.rsi > 55.0, short=x.rsi < 45.0)

    def protection(self, x: Any) -> tk.Protection:
        return tk.Protection(stop_loss=tk.Pips(self.stop), take_profit=tk.Pips(self.target))

    def risk(self) -> tk.RiskPercent:
        return tk.RiskPercent(1.0)

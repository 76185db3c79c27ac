"""Managed strategies for the parity tests: each feature alone, and all together."""

from __future__ import annotations

from typing import Any

import toolkit as tk


class Managed(tk.SectionedStrategy):
    """Cross of two averages; what happens to its entries is for the classes below to say."""

    fast = tk.Int(8, 2, 50)
    slow = tk.Int(21, 5, 200)

    def indicators(self, bars: Any) -> Any:
        return dict(
            fast=tk.ema(bars.close, self.fast),
            slow=tk.ema(bars.close, self.slow),
            atr=tk.atr(bars, 14),
            top=tk.highest(bars.high, 6),
            bottom=tk.lowest(bars.low, 6),
        )

    def entry(self, x: Any) -> Any:
        return tk.Entry(
            long=tk.crossed_above(x.fast, x.slow), short=tk.crossed_below(x.fast, x.slow), order=self.order(x)
        )

    def order(self, x: Any) -> Any:
        return None

    def protection(self, x: Any) -> Any:
        return tk.Protection(stop_loss=2 * x.atr, take_profit=tk.RR(3), **self.managed(x))

    def managed(self, x: Any) -> dict[str, Any]:
        return {}

    def risk(self) -> Any:
        return tk.RiskPercent(1.0)


class TimeExit(Managed):
    """Out after nine bars."""

    def managed(self, x: Any) -> dict[str, Any]:
        return {"max_bars": 9}


class Trailing(Managed):
    """The stop follows at once."""

    def managed(self, x: Any) -> dict[str, Any]:
        return {"trailing_stop": 1.5 * x.atr}


class BreakEven(Managed):
    """To the entry, and two pips, at half the risk."""

    def managed(self, x: Any) -> dict[str, Any]:
        return {"break_even": tk.BreakEven(tk.RR(0.5), plus=tk.Pips(2))}


class Partials(Managed):
    """Two parts close together, so that one bar often reaches both."""

    def managed(self, x: Any) -> dict[str, Any]:
        return {"partials": [tk.Partial(tk.RR(0.5), 0.3), tk.Partial(0.8 * x.atr, 0.3)]}


class StopEntries(Managed):
    """Breakouts, given up after four bars."""

    def order(self, x: Any) -> Any:
        return tk.StopEntry(long=x.top, short=x.bottom, bars=4)


class LimitEntries(Managed):
    """Pullbacks, replaced while the averages say so, given up after three bars; an exit takes them back."""

    def entry(self, x: Any) -> Any:
        return tk.Entry(
            long=(x.fast > x.slow) & (x.close > x.open),
            short=(x.fast < x.slow) & (x.close < x.open),
            order=tk.LimitEntry(long=x.close - 0.5 * x.atr, short=x.close + 0.5 * x.atr, bars=3),
        )

    def exit(self, x: Any) -> Any:
        return tk.Exit(long=x.close < x.bottom + 0.1 * x.atr, short=x.close > x.top - 0.1 * x.atr)


class Busy(Managed):
    """An entry on every bar: whoever takes a bar for one without a position trades on it."""

    def entry(self, x: Any) -> Any:
        return tk.Entry(long=x.fast > x.slow, short=x.fast < x.slow)

    def managed(self, x: Any) -> dict[str, Any]:
        return {"trailing_stop": 1.2 * x.atr, "partials": [tk.Partial(tk.RR(0.4), 0.4)]}


class Everything(StopEntries):
    """All of it."""

    def managed(self, x: Any) -> dict[str, Any]:
        return {
            "trailing_stop": tk.Trail(1.2 * x.atr, after=tk.RR(0.8)),
            "break_even": tk.RR(0.6),
            "partials": [tk.Partial(tk.RR(0.7), 0.5)],
            "max_bars": 14,
        }


ALL = (TimeExit, Trailing, BreakEven, Partials, StopEntries, LimitEntries, Everything)

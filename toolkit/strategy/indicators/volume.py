"""Indicators of volume."""

from __future__ import annotations

from math import nan

from toolkit.strategy.authoring.expressions import Expr, make
from toolkit.strategy.authoring.symbols import as_bars
from toolkit.strategy.indicators.windows import clock_field, day_of
from toolkit.strategy.registry import step


@step("vwap_day", "ffff", state=(nan, 0.0, 0.0, 0.0, 0.0), warm=lambda: 1440)
def vwap_day_step(
    price: float, volume: float, day: float, minute: float, last: float, whole: float, c: float, pv: float, v: float
) -> tuple[float, float, float, float, float, float]:
    if day != last:
        # the first day counts only when its first bar was seen
        whole = 1.0 if last == last or minute == 0.0 else 0.0
        c = price
        pv = 0.0
        v = 0.0
    pv = pv + (price - c) * volume
    v = v + volume
    return (c + pv / v if whole == 1.0 and v > 0.0 else nan), day, whole, c, pv, v


def vwap(bars: object) -> Expr:
    """Return the volume-weighted average of the typical price since the UTC day's first bar.

    NaN until a day's start has been seen, so it does not depend on where the run began.
    """
    source = as_bars(bars, "vwap")
    price = source.hlc3
    return make("vwap_day", (price, source.volume, day_of(price), clock_field("minute", price)))


@step("obv", "ff", state=(nan, 0.0), warm=lambda: 1)
def obv_step(close: float, volume: float, prev: float, total: float) -> tuple[float, float, float]:
    if close != close or volume != volume:
        return nan, nan, 0.0
    if prev != prev:
        total = volume
    elif close > prev:
        total = total + volume
    elif close < prev:
        total = total - volume
    return total, close, total


def obv(bars: object) -> Expr:
    """Return on-balance volume: volume added on rising closes and taken away on falling ones.

    It starts with the first bar's volume, as in TA-Lib: its level depends on where the run began, its changes do not.
    """
    source = as_bars(bars, "obv")
    return make("obv", (source.close, source.volume))

"""Measures of how far prices move."""

from __future__ import annotations

from math import nan

from toolkit.strategy.authoring.expressions import Expr, as_expr, make, numeric, scalar
from toolkit.strategy.authoring.symbols import Outputs, as_bars
from toolkit.strategy.indicators.averages import ema, wilder
from toolkit.strategy.indicators.windows import sma, std
from toolkit.strategy.registry import step


@step("true_range", "fff", state=(nan,), warm=lambda: 1)
def true_range_step(high: float, low: float, close: float, prev: float) -> tuple[float, float]:
    up = high - prev
    down = prev - low
    r = high - low
    if up > r:
        r = up
    if down > r:
        r = down
    return (r if prev == prev else nan), close


def true_range(bars: object) -> Expr:
    """Return the larger of high - low and the distances to the previous close; NaN on the first bar."""
    source = as_bars(bars, "true_range")
    return make("true_range", (source.high, source.low, source.close))


def atr(bars: object, n: object = 14, *, seed: str = "first") -> Expr:
    """Return the average true range (Wilder's average of `true_range`), NaN for the first n bars; seeds as `ema`."""
    return wilder(true_range(as_bars(bars, "atr")), n, seed=seed)


def bollinger(x: object, n: object = 20, k: object = 2.0) -> Outputs:
    """Return ``upper``, ``middle`` and ``lower``: the mean of n values, k standard deviations (divided by n) around it."""
    value = as_expr(x, "bollinger")
    middle = sma(value, n)
    width = numeric("mul", scalar(k, "bollinger"), std(value, n))
    return Outputs(upper=middle + width, middle=middle, lower=middle - width)


def keltner(bars: object, n: object = 20, k: object = 2.0, atr_n: object = 10, *, seed: str = "first") -> Outputs:
    """Return ``upper``, ``middle`` and ``lower``: ema(close, n), k times atr(atr_n) around it."""
    source = as_bars(bars, "keltner")
    middle = ema(source.close, n, seed=seed)
    width = numeric("mul", scalar(k, "keltner"), atr(source, atr_n, seed=seed))
    return Outputs(upper=middle + width, middle=middle, lower=middle - width)

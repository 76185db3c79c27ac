"""Oscillators."""

from __future__ import annotations

from math import nan

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.expressions import Expr, as_expr, make, window
from toolkit.strategy.registry import step, whole


def bind_rsi(n: float) -> tuple[float, float]:
    """Derive Wilder's weight."""
    bars = whole(n, "window of rsi")
    return float(bars), 1.0 / bars


def warm_rsi(n: float, alpha: float) -> int:
    """Return the bars until the first change weighs less than 1e-9."""
    return int(n + 21.0 / alpha) + 1


@step("rsi", "f", settings=1, bound="ff", bind=bind_rsi, state=(nan, 0.0, 0.0, 0.0), warm=warm_rsi)
def rsi_step(
    x: float, n: float, alpha: float, prev: float, g: float, f: float, k: float
) -> tuple[float, float, float, float, float]:
    if x != x:
        return nan, nan, 0.0, 0.0, 0.0
    if prev != prev:
        return nan, x, 0.0, 0.0, 0.0
    d = x - prev
    up = d if d > 0.0 else 0.0
    down = -d if d < 0.0 else 0.0
    if k > 0.0:
        g = g + alpha * (up - g)
        f = f + alpha * (down - f)
    else:
        g = up
        f = down
    k = k + 1.0
    t = g + f
    return (100.0 * g / t if k >= n and t > 0.0 else nan), x, g, f, k


@step("rsi_sma", "f", settings=1, bound="ff", bind=bind_rsi, state=(nan, 0.0, 0.0, 0.0), warm=warm_rsi)
def rsi_sma_step(
    x: float, n: float, alpha: float, prev: float, g: float, f: float, k: float
) -> tuple[float, float, float, float, float]:
    if x != x:
        return nan, nan, 0.0, 0.0, 0.0
    if prev != prev:
        return nan, x, 0.0, 0.0, 0.0
    d = x - prev
    up = d if d > 0.0 else 0.0
    down = -d if d < 0.0 else 0.0
    k = k + 1.0
    if k <= n:
        g = g + (up - g) / k
        f = f + (down - f) / k
    else:
        g = g + alpha * (up - g)
        f = f + alpha * (down - f)
    t = g + f
    return (100.0 * g / t if k >= n and t > 0.0 else nan), x, g, f, k


def rsi(x: object, n: object = 14, *, seed: str = "first") -> Expr:
    """Return Wilder's relative strength index, 0 to 100, NaN for the first n bars and while nothing has moved.

    The averages of gains and losses start from the first change (``seed="first"``) or from the mean of the first n
    changes (``seed="sma"``, as TA-Lib does).
    """
    if seed not in ("first", "sma"):
        raise StrategyError(must_be("seed of rsi", "'first' or 'sma'", repr(seed), "'sma' is TA-Lib's way"))
    return make("rsi" if seed == "first" else "rsi_sma", (as_expr(x, "rsi"),), (window(n, "rsi"),))

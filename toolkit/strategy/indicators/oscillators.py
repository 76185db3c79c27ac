"""Oscillators."""

from __future__ import annotations

from math import nan
from typing import Any

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.authoring.expressions import Expr, as_expr, make, window
from toolkit.strategy.authoring.symbols import Outputs, as_bars
from toolkit.strategy.indicators.averages import ema
from toolkit.strategy.indicators.channels import highest, lowest
from toolkit.strategy.indicators.windows import sma
from toolkit.strategy.registry import step, whole

Window = Any


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


def macd(x: object, fast: object = 12, slow: object = 26, signal: object = 9, *, seed: str = "first") -> Outputs:
    """Return ``line`` = ema(fast) - ema(slow), ``signal`` = its ema, ``histogram`` = line - signal.

    TA-Lib starts the fast average only where the slow one starts, so the first few hundred bars differ from it.
    """
    line = ema(x, fast, seed=seed) - ema(x, slow, seed=seed)
    smooth = ema(line, signal, seed=seed)
    return Outputs(line=line, signal=smooth, histogram=line - smooth)


def roc(x: object, n: object = 10) -> Expr:
    """Return the change over n bars in percent: 100 (x / x n bars ago - 1)."""
    value = as_expr(x, "roc")
    return 100.0 * (value / value.shift(n) - 1.0)


def momentum(x: object, n: object = 10) -> Expr:
    """Return the change over n bars: x - x n bars ago."""
    value = as_expr(x, "momentum")
    return value - value.shift(n)


def stochastic(bars: object, n: object = 14, smooth: object = 3, d: object = 3) -> Outputs:
    """Return ``k``: where the close lies in the range of n bars, 0 to 100, averaged over ``smooth``; ``d``: its average.

    A range of zero gives NaN, which restarts the averages (TA-Lib counts it as 0).
    """
    source = as_bars(bars, "stochastic")
    low = lowest(source.low, n)
    fast = 100.0 * (source.close - low) / (highest(source.high, n) - low)
    k = sma(fast, smooth)
    return Outputs(k=k, d=sma(k, d))


def williams(bars: object, n: object = 14) -> Expr:
    """Return Williams' %R: -100 (highest high - close) / (highest high - lowest low), -100 to 0; NaN at zero range."""
    source = as_bars(bars, "williams")
    high = highest(source.high, n)
    return -100.0 * (high - source.close) / (high - lowest(source.low, n))


def bind_cci(n: float) -> tuple[int]:
    """Check the window."""
    return (whole(n, "window of cci", 2),)


@step("cci", "f", settings=1, bound="i", bind=bind_cci, state=(0.0, 0.0), buffer=lambda n: n, warm=lambda n: n)
def cci_step(x: float, n: int, k: float, pos: float, w: Window) -> tuple[float, float, float]:
    if x != x:
        return nan, 0.0, 0.0
    w[int(pos)] = x
    pos = pos + 1.0
    if pos >= n:
        pos = 0.0
    if k < n:
        k = k + 1.0
    if k < n:
        return nan, k, pos
    # oldest first, relative to the newest, so that the answer depends on the window alone
    s = 0.0
    j = int(pos)
    for _ in range(n):
        s = s + (w[j] - x)
        j = j + 1
        if j >= n:
            j = 0
    mean = s / n
    spread = 0.0
    j = int(pos)
    for _ in range(n):
        d = (w[j] - x) - mean
        spread = spread + (d if d > 0.0 else -d)
        j = j + 1
        if j >= n:
            j = 0
    return (-mean * n / (0.015 * spread) if spread > 0.0 else nan), k, pos


def cci(bars: object, n: object = 20) -> Expr:
    """Return the commodity channel index: (typical price - its mean) / (0.015 mean deviation); NaN if all are equal."""
    return make("cci", (as_bars(bars, "cci").hlc3,), (window(n, "cci"),))

"""Moving averages."""

from __future__ import annotations

from math import nan
from typing import Any

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.authoring.expressions import Expr, as_expr, make, numeric, window
from toolkit.strategy.indicators.windows import wma
from toolkit.strategy.registry import step, whole

Window = Any


def bind_ema(n: float) -> tuple[float, float]:
    """Derive the usual weight 2 / (n + 1)."""
    bars = whole(n, "window of ema")
    return float(bars), 2.0 / (bars + 1.0)


def bind_wilder(n: float) -> tuple[float, float]:
    """Derive Wilder's weight 1 / n."""
    bars = whole(n, "window of wilder")
    return float(bars), 1.0 / bars


def warm_average(n: float, alpha: float) -> int:
    """Return the bars until the first value weighs less than 1e-9 of a price."""
    return int(n + 21.0 / alpha)


@step("ema", "f", settings=1, bound="ff", bind=bind_ema, state=(nan, 0.0), warm=warm_average)
def ema_step(x: float, n: float, alpha: float, e: float, k: float) -> tuple[float, float, float]:
    if x != x:
        return nan, nan, 0.0
    e = e + alpha * (x - e) if k > 0.0 else x
    k = k + 1.0
    return (e if k >= n else nan), e, k


@step("wilder", "f", settings=1, bound="ff", bind=bind_wilder, state=(nan, 0.0), warm=warm_average)
def wilder_step(x: float, n: float, alpha: float, e: float, k: float) -> tuple[float, float, float]:
    if x != x:
        return nan, nan, 0.0
    e = e + alpha * (x - e) if k > 0.0 else x
    k = k + 1.0
    return (e if k >= n else nan), e, k


@step("ema_sma", "f", settings=1, bound="ff", bind=bind_ema, state=(0.0, 0.0), warm=warm_average)
def ema_sma_step(x: float, n: float, alpha: float, e: float, k: float) -> tuple[float, float, float]:
    if x != x:
        return nan, 0.0, 0.0
    k = k + 1.0
    e = e + (x - e) / k if k <= n else e + alpha * (x - e)
    return (e if k >= n else nan), e, k


@step("wilder_sma", "f", settings=1, bound="ff", bind=bind_wilder, state=(0.0, 0.0), warm=warm_average)
def wilder_sma_step(x: float, n: float, alpha: float, e: float, k: float) -> tuple[float, float, float]:
    if x != x:
        return nan, 0.0, 0.0
    k = k + 1.0
    e = e + (x - e) / k if k <= n else e + alpha * (x - e)
    return (e if k >= n else nan), e, k


def _seeded(op: str, x: object, n: object, seed: str, what: str) -> Expr:
    if seed not in ("first", "sma"):
        raise StrategyError(must_be(f"seed of {what}", "'first' or 'sma'", repr(seed), "'sma' is TA-Lib's way"))
    return make(op if seed == "first" else op + "_sma", (as_expr(x, what),), (window(n, what),))


def ema(x: object, n: object, *, seed: str = "first") -> Expr:
    """Return the exponential moving average with weight 2 / (n + 1), NaN for the first n - 1 bars.

    It starts from the first value (``seed="first"``) or from the mean of the first n (``seed="sma"``, as TA-Lib
    does); a NaN restarts it.
    """
    return _seeded("ema", x, n, seed, "ema")


def wilder(x: object, n: object, *, seed: str = "first") -> Expr:
    """Return Wilder's smoothed average with weight 1 / n (also called RMA or SMMA), seeded as `ema`."""
    return _seeded("wilder", x, n, seed, "wilder")


def dema(x: object, n: object, *, seed: str = "first") -> Expr:
    """Return the double exponential average 2 e - ema(e), with e = ema(x, n)."""
    once = ema(x, n, seed=seed)
    return 2.0 * once - ema(once, n, seed=seed)


def tema(x: object, n: object, *, seed: str = "first") -> Expr:
    """Return the triple exponential average 3 e1 - 3 e2 + e3, each the ema of the one before."""
    once = ema(x, n, seed=seed)
    twice = ema(once, n, seed=seed)
    return 3.0 * once - 3.0 * twice + ema(twice, n, seed=seed)


def hma(x: object, n: object) -> Expr:
    """Return Hull's average: wma(2 wma(x, n // 2) - wma(x, n), whole part of sqrt(n))."""
    value, bars = as_expr(x, "hma"), window(n, "hma")
    raw = 2.0 * wma(value, numeric("floordiv", bars, 2)) - wma(value, bars)
    return wma(raw, numeric("floordiv", numeric("sqrt", bars), 1))


def bind_kama(n: float, fast: float, slow: float) -> tuple[int, float, float]:
    """Derive the two weights."""
    quick, calm = 2.0 / (whole(fast, "fast of kama") + 1.0), 2.0 / (whole(slow, "slow of kama") + 1.0)
    return whole(n, "window of kama"), quick, calm


def warm_kama(n: int, quick: float, calm: float) -> int:
    """Return the bars until the first value weighs less than 1e-9 even in a market without direction."""
    return int(n + 21.0 / (calm * calm))


@step(
    "kama",
    "f",
    settings=3,
    bound="iff",
    bind=bind_kama,
    state=(nan, 0.0, 0.0),
    buffer=lambda n, q, c: n,
    warm=warm_kama,
)
def kama_step(
    x: float, n: int, quick: float, calm: float, e: float, k: float, pos: float, w: Window
) -> tuple[float, float, float, float]:
    if x != x:
        return nan, nan, 0.0, 0.0
    if k < n:
        w[int(k)] = x
        k = k + 1.0
        return nan, x, k, 0.0
    j = int(pos)
    oldest = w[j]
    before = oldest
    path = 0.0
    for _ in range(n - 1):
        j = j + 1
        if j >= n:
            j = 0
        d = w[j] - before
        path = path + (d if d > 0.0 else -d)
        before = w[j]
    d = x - before
    path = path + (d if d > 0.0 else -d)
    way = x - oldest
    if way < 0.0:
        way = -way
    ratio = 1.0 if path <= way else way / path
    weight = ratio * (quick - calm) + calm
    e = e + weight * weight * (x - e)
    w[int(pos)] = x
    pos = pos + 1.0
    if pos >= n:
        pos = 0.0
    return e, e, k, pos


def kama(x: object, n: object = 10, fast: object = 2, slow: object = 30) -> Expr:
    """Return Kaufman's adaptive average; NaN for the first n bars, started from the value before its first one."""
    settings = (window(n, "kama"), window(fast, "kama"), window(slow, "kama"))
    return make("kama", (as_expr(x, "kama"),), settings)

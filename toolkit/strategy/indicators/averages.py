"""Moving averages."""

from __future__ import annotations

from math import nan
from typing import Any

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.expressions import Expr, as_expr, make, window
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


def bind_sma(n: float) -> tuple[int]:
    """Check the window."""
    return (whole(n, "window of sma"),)


@step(
    "sma",
    "ff",
    settings=1,
    bound="i",
    bind=bind_sma,
    state=(0.0, 0.0, 0.0, 0.0, nan),
    buffer=lambda n: n,
    warm=lambda n: n,
)
def sma_step(
    x: float, day: float, n: int, c: float, s: float, k: float, pos: float, last: float, w: Window
) -> tuple[float, float, float, float, float, float]:
    if x != x:
        return nan, 0.0, 0.0, 0.0, 0.0, day
    if k < n:
        if k == 0.0:
            c = x
            s = 0.0
        w[int(k)] = x
        k = k + 1.0
        s = s + (x - c)
    else:
        i = int(pos)
        s = s + ((x - c) - (w[i] - c))
        w[i] = x
        pos = pos + 1.0
        if pos >= n:
            pos = 0.0
    if day != last:
        # summed anew, oldest first, at each UTC day's first bar: the value does not depend on where the run began
        j = int(pos)
        c = w[j]
        s = 0.0
        for _ in range(int(k)):
            s = s + (w[j] - c)
            j = j + 1
            if j >= n:
                j = 0
    return (c + s / n if k >= n else nan), c, s, k, pos, day


DAY = Expr("field", ("day",))


def day_of(x: Expr) -> Expr:
    """Return the UTC day number on the clock that ``x`` lives on."""
    return DAY if not x.clock else Expr("resampled", ("day", x.clock), clock=x.clock)


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


def sma(x: object, n: object) -> Expr:
    """Return the mean of the last n values, NaN until there are n; a NaN restarts it."""
    value = as_expr(x, "sma")
    return make("sma", (value, day_of(value)), (window(n, "sma"),))

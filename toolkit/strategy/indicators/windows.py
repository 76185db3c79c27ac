"""Statistics of the last n values."""

from __future__ import annotations

from math import nan, sqrt
from typing import Any

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.authoring.expressions import Expr, as_expr, make, numeric, plain_number, scalar, window
from toolkit.strategy.registry import step, whole

Window = Any

# Sums are kept on centred values and summed anew, oldest first, at each UTC day's first bar: a value does not depend on
# where the run began, and rounding cannot pile up.


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


def clock_field(name: str, x: Expr) -> Expr:
    """Return a time field on the clock that ``x`` lives on."""
    return Expr("field", (name,)) if not x.clock else Expr("resampled", (name, x.clock), clock=x.clock)


def day_of(x: Expr) -> Expr:
    """Return the UTC day number on the clock that ``x`` lives on."""
    return clock_field("day", x)


def sma(x: object, n: object) -> Expr:
    """Return the mean of the last n values, NaN until there are n; a NaN restarts it."""
    value = as_expr(x, "sma")
    return make("sma", (value, day_of(value)), (window(n, "sma"),))


def bind_wma(n: float) -> tuple[int]:
    """Check the window."""
    return (whole(n, "window of wma"),)


@step(
    "wma",
    "ff",
    settings=1,
    bound="i",
    bind=bind_wma,
    state=(0.0, 0.0, 0.0, 0.0, 0.0, nan),
    buffer=lambda n: n,
    warm=lambda n: n,
)
def wma_step(
    x: float, day: float, n: int, c: float, s: float, t: float, k: float, pos: float, last: float, w: Window
) -> tuple[float, float, float, float, float, float, float]:
    if x != x:
        return nan, 0.0, 0.0, 0.0, 0.0, 0.0, day
    if k < n:
        if k == 0.0:
            c = x
            s = 0.0
            t = 0.0
        w[int(k)] = x
        k = k + 1.0
        s = s + (x - c)
        t = t + k * (x - c)
    else:
        i = int(pos)
        t = t + (n * (x - c) - s)
        s = s + ((x - c) - (w[i] - c))
        w[i] = x
        pos = pos + 1.0
        if pos >= n:
            pos = 0.0
    if day != last:
        j = int(pos)
        c = w[j]
        s = 0.0
        t = 0.0
        for i in range(int(k)):
            s = s + (w[j] - c)
            t = t + (i + 1.0) * (w[j] - c)
            j = j + 1
            if j >= n:
                j = 0
    return (c + t / (0.5 * n * (n + 1.0)) if k >= n else nan), c, s, t, k, pos, day


def wma(x: object, n: object) -> Expr:
    """Return the mean of the last n values weighted 1 to n, the newest most."""
    value = as_expr(x, "wma")
    return make("wma", (value, day_of(value)), (window(n, "wma"),))


def bind_std(n: float) -> tuple[int, float]:
    """Check the window and derive the weight of one value."""
    bars = whole(n, "window of std", 2)
    return bars, 1.0 / bars


@step(
    "std",
    "ff",
    settings=1,
    bound="if",
    bind=bind_std,
    state=(0.0, 0.0, 0.0, 0.0, 0.0, nan, 0.0, nan),
    buffer=lambda n, one: n,
    warm=lambda n, one: n,
)
def std_step(
    x: float,
    day: float,
    n: int,
    one: float,
    c: float,
    s: float,
    q: float,
    k: float,
    pos: float,
    last: float,
    flat: float,
    before: float,
    w: Window,
) -> tuple[float, float, float, float, float, float, float, float, float]:
    if x != x:
        return nan, 0.0, 0.0, 0.0, 0.0, 0.0, day, 0.0, nan
    flat = flat + 1.0 if x == before else 1.0
    if k < n:
        if k == 0.0:
            c = x
            s = 0.0
            q = 0.0
        w[int(k)] = x
        k = k + 1.0
        d = x - c
        s = s + d
        q = q + d * d
    else:
        i = int(pos)
        d = x - c
        o = w[i] - c
        s = s + (d - o)
        q = q + (d * d - o * o)
        w[i] = x
        pos = pos + 1.0
        if pos >= n:
            pos = 0.0
    if day != last:
        j = int(pos)
        c = w[j]
        s = 0.0
        q = 0.0
        for _ in range(int(k)):
            d = w[j] - c
            s = s + d
            q = q + d * d
            j = j + 1
            if j >= n:
                j = 0
    if k < n:
        return nan, c, s, q, k, pos, day, flat, x
    m = s * one
    v = q * one - m * m
    # n equal values have no spread at all, whatever rounding left in the sums
    v = sqrt(v) if v > 0.0 and flat < n else 0.0
    return v, c, s, q, k, pos, day, flat, x


def std(x: object, n: object, *, ddof: int = 0) -> Expr:
    """Return the standard deviation of the last n values; divided by n (``ddof=0``) or n - 1 (``ddof=1``)."""
    value, bars = as_expr(x, "std"), window(n, "std")
    found = make("std", (value, day_of(value)), (bars,))
    if ddof not in (0, 1):
        raise StrategyError(must_be("ddof of std", "0 or 1", ddof, "0 divides by n, 1 by n - 1"))
    return found if ddof == 0 else found * numeric("sqrt", bars / (bars - 1.0))


def zscore(x: object, n: object) -> Expr:
    """Return how many standard deviations (divided by n) the value lies from the mean of the last n; NaN if all equal."""
    value = as_expr(x, "zscore")
    return (value - sma(value, n)) / std(value, n)


def linear_regression(x: object, n: object) -> Expr:
    """Return the last point of the least-squares line through the last n values: 3 wma - 2 sma."""
    return 3.0 * wma(x, n) - 2.0 * sma(x, n)


def slope(x: object, n: object) -> Expr:
    """Return the rise per bar of the least-squares line through the last n values (n of at least 2)."""
    bars = window(n, "slope")
    return 6.0 * (wma(x, bars) - sma(x, bars)) / (bars - 1.0)


def bind_quantile(n: float, q: float) -> tuple[int, float]:
    """Check window and fraction."""
    if not 0.0 <= q <= 1.0:
        raise StrategyError(must_be("q of quantile", "between 0 and 1", q, "0.5 is the median"))
    return whole(n, "window of quantile"), float(q)


@step(
    "quantile",
    "f",
    settings=2,
    bound="if",
    bind=bind_quantile,
    state=(0.0, 0.0),
    buffer=lambda n, q: 2 * n,
    warm=lambda n, q: n,
)
def quantile_step(x: float, n: int, q: float, k: float, pos: float, w: Window) -> tuple[float, float, float]:
    # w: n values in the order they came, then the same sorted
    if x != x:
        return nan, 0.0, 0.0
    held = int(k)
    if held < n:
        w[held] = x
        k = k + 1.0
        j = n + held
    else:
        i = int(pos)
        old = w[i]
        w[i] = x
        pos = pos + 1.0
        if pos >= n:
            pos = 0.0
        j = n
        while w[j] != old:
            j = j + 1
        while j < n + n - 1 and w[j + 1] < x:
            w[j] = w[j + 1]
            j = j + 1
    while j > n and w[j - 1] > x:
        w[j] = w[j - 1]
        j = j - 1
    w[j] = x
    if k < n:
        return nan, k, pos
    at = q * (n - 1)
    i = int(at)
    part = at - i
    low = w[n + i]
    if part > 0.0:
        low = low + part * (w[n + i + 1] - low)
    return low, k, pos


def quantile(x: object, n: object, q: object) -> Expr:
    """Return the value below which the fraction ``q`` of the last n values lies, interpolated linearly."""
    number = plain_number(q)
    if number is not None and not 0 <= number <= 1:
        raise StrategyError(must_be("q of quantile", "between 0 and 1", q, "0.5 is the median"))
    return make("quantile", (as_expr(x, "quantile"),), (window(n, "quantile"), scalar(q, "quantile")))


def median(x: object, n: object) -> Expr:
    """Return the middle of the last n values, the mean of the two middle ones when n is even."""
    return quantile(x, n, 0.5)

"""Highest and lowest values of a window, and channels made of them."""

from __future__ import annotations

from math import nan
from typing import Any

from toolkit.strategy.authoring.expressions import Expr, as_expr, make, window
from toolkit.strategy.authoring.symbols import Outputs, as_bars
from toolkit.strategy.registry import step, whole

Window = Any


def bind_extreme(n: float) -> tuple[int]:
    """Check the window."""
    return (whole(n, "window of highest or lowest"),)


@step(
    "highest",
    "f",
    settings=1,
    bound="i",
    bind=bind_extreme,
    state=(nan, 0.0, 0.0, 0.0),
    buffer=lambda n: n,
    warm=lambda n: n,
)
def highest_step(
    x: float, n: int, best: float, age: float, k: float, pos: float, w: Window
) -> tuple[float, float, float, float, float]:
    if x != x:
        return nan, nan, 0.0, 0.0, 0.0
    w[int(pos)] = x
    pos = pos + 1.0
    if pos >= n:
        pos = 0.0
    if k < n:
        k = k + 1.0
    age = age + 1.0
    if k == 1.0 or x >= best:
        best = x
        age = 0.0
    elif age >= n:
        j = int(pos)
        best = w[j]
        age = n - 1.0
        for i in range(1, n):
            j = j + 1
            if j >= n:
                j = 0
            if w[j] >= best:
                best = w[j]
                age = n - 1.0 - i
    return (best if k >= n else nan), best, age, k, pos


@step(
    "lowest",
    "f",
    settings=1,
    bound="i",
    bind=bind_extreme,
    state=(nan, 0.0, 0.0, 0.0),
    buffer=lambda n: n,
    warm=lambda n: n,
)
def lowest_step(
    x: float, n: int, best: float, age: float, k: float, pos: float, w: Window
) -> tuple[float, float, float, float, float]:
    if x != x:
        return nan, nan, 0.0, 0.0, 0.0
    w[int(pos)] = x
    pos = pos + 1.0
    if pos >= n:
        pos = 0.0
    if k < n:
        k = k + 1.0
    age = age + 1.0
    if k == 1.0 or x <= best:
        best = x
        age = 0.0
    elif age >= n:
        j = int(pos)
        best = w[j]
        age = n - 1.0
        for i in range(1, n):
            j = j + 1
            if j >= n:
                j = 0
            if w[j] <= best:
                best = w[j]
                age = n - 1.0 - i
    return (best if k >= n else nan), best, age, k, pos


def highest(x: object, n: object) -> Expr:
    """Return the highest of the last n values, this bar included; write ``.shift(1)`` to leave this bar out."""
    return make("highest", (as_expr(x, "highest"),), (window(n, "highest"),))


def lowest(x: object, n: object) -> Expr:
    """Return the lowest of the last n values, this bar included; write ``.shift(1)`` to leave this bar out."""
    return make("lowest", (as_expr(x, "lowest"),), (window(n, "lowest"),))


def donchian(bars: object, n: object = 20) -> Outputs:
    """Return ``upper`` (highest high of n bars), ``lower`` (lowest low) and ``middle``, this bar included.

    A breakout compares the close with ``upper.shift(1)``: with this bar left in, it can never be above.
    """
    source = as_bars(bars, "donchian")
    upper, lower = highest(source.high, n), lowest(source.low, n)
    return Outputs(upper=upper, lower=lower, middle=(upper + lower) / 2.0)

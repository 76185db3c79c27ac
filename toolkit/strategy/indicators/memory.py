"""Nodes that remember single earlier values: shifts and crossings."""

from __future__ import annotations

from math import nan
from typing import Any

from toolkit.strategy.authoring.expressions import Expr, as_expr, make
from toolkit.strategy.registry import step, whole

Window = Any  # a Python list in the live step, a float64 array in the kernel


def bind_lag(n: float) -> tuple[int]:
    """Check a shift."""
    return (whole(n, "shift", 0),)


@step("shift", "f", settings=1, bound="i", bind=bind_lag, state=(0.0,), buffer=lambda n: n, warm=lambda n: n)
def shift_step(x: float, n: int, pos: float, w: Window) -> tuple[float, float]:
    if n == 0:
        return x, pos
    i = int(pos)
    old = w[i]
    w[i] = x
    pos = pos + 1.0
    if pos >= n:
        pos = 0.0
    return old, pos


@step(
    "shift_logic",
    "i",
    settings=1,
    bound="i",
    bind=bind_lag,
    state=(0.0,),
    buffer=lambda n: n,
    fill=1.0,
    out="i1",
    warm=lambda n: n,
)
def shift_logic_step(x: int, n: int, pos: float, w: Window) -> tuple[int, float]:
    if n == 0:
        return x, pos
    i = int(pos)
    old = int(w[i])
    w[i] = float(x)
    pos = pos + 1.0
    if pos >= n:
        pos = 0.0
    return old, pos


@step("crossed_above", "ff", state=(nan, nan), out="i1", warm=lambda: 1)
def crossed_above_step(a: float, b: float, pa: float, pb: float) -> tuple[int, float, float]:
    now = 2 if a > b else (0 if a <= b else 1)
    was = 2 if pa <= pb else (0 if pa > pb else 1)
    return (now if now < was else was), a, b


@step("crossed_below", "ff", state=(nan, nan), out="i1", warm=lambda: 1)
def crossed_below_step(a: float, b: float, pa: float, pb: float) -> tuple[int, float, float]:
    now = 2 if a < b else (0 if a >= b else 1)
    was = 2 if pa >= pb else (0 if pa < pb else 1)
    return (now if now < was else was), a, b


def crossed_above(a: object, b: object) -> Expr:
    """Return true on the bar where ``a`` is above ``b`` and on the bar before was not; unknown with a NaN in either."""
    return make("crossed_above", (as_expr(a, "crossed_above"), as_expr(b, "crossed_above")), kind="i1")


def crossed_below(a: object, b: object) -> Expr:
    """Return true on the bar where ``a`` is below ``b`` and on the bar before was not; unknown with a NaN in either."""
    return make("crossed_below", (as_expr(a, "crossed_below"), as_expr(b, "crossed_below")), kind="i1")

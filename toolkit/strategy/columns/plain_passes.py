"""Whole columns of the commonest nodes with memory where numba is absent: the step's arithmetic, without a call a bar.

Equal to the bit to the step function, state included; a column with a missing value is left to the step itself.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]


def average(columns: list[Column], bound: tuple[Any, ...], state: Column, out: Column) -> bool:
    """Run `ema` or `wilder` over a column without missing values; False leaves it alone."""
    (x,) = columns
    n, alpha = bound
    if not len(x) or np.isnan(x).any() or (state[1] > 0.0 and state[0] != state[0]):
        return False
    values = x.tolist()
    seen = int(state[1])
    if seen:
        means = list(accumulate(values, lambda e, v: e + alpha * (v - e), initial=float(state[0])))[1:]
    else:
        means = list(accumulate(values, lambda e, v: e + alpha * (v - e)))
    out[:] = means
    out[: max(0, int(n) - 1 - seen)] = np.nan
    state[0], state[1] = means[-1], float(seen + len(values))
    return True


def _above(a: Column, b: Column) -> Column:
    return np.where(a > b, np.int8(2), np.where(a <= b, np.int8(0), np.int8(1)))


def _crossed(a: Column, b: Column, state: Column, out: Column) -> None:
    now = _above(a, b)
    before = _above(np.append(state[0], a[:-1]), np.append(state[1], b[:-1]))
    np.minimum(now, 2 - before, out=out)


def crossed_above(columns: list[Column], bound: tuple[Any, ...], state: Column, out: Column) -> bool:
    """Run `crossed_above` over two columns."""
    a, b = columns
    if not len(a):
        return False
    _crossed(a, b, state, out)
    state[0], state[1] = a[-1], b[-1]
    return True


def crossed_below(columns: list[Column], bound: tuple[Any, ...], state: Column, out: Column) -> bool:
    """Run `crossed_below` over two columns: the first crosses below where the second crosses above."""
    a, b = columns
    if not len(a):
        return False
    _crossed(b, a, state[::-1], out)
    state[0], state[1] = a[-1], b[-1]
    return True


PASSES: dict[str, Callable[[list[Column], tuple[Any, ...], Column, Column], bool]] = {
    "ema": average,
    "wilder": average,
    "crossed_above": crossed_above,
    "crossed_below": crossed_below,
}

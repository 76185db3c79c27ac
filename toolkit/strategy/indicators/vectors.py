"""The memoryless step functions over whole numpy columns, bit for bit the same; used only where numba is absent."""

from __future__ import annotations

from typing import Any

import numpy as np

Column = Any
Result = Any


def add(a: Column, b: Column) -> Result:
    return np.add(a, b)


def sub(a: Column, b: Column) -> Result:
    return np.subtract(a, b)


def mul(a: Column, b: Column) -> Result:
    return np.multiply(a, b)


def div(a: Column, b: Column) -> Result:
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b != 0.0)


def neg(a: Column) -> Result:
    return np.negative(a)


def absolute(a: Column) -> Result:
    return np.abs(a)


def root(a: Column) -> Result:
    return np.sqrt(a, out=np.full(np.shape(a), np.nan), where=np.asarray(a) >= 0.0)


def smaller(a: Column, b: Column) -> Result:
    return np.where(np.less_equal(a, b), a, np.where(np.less(b, a), b, np.nan))


def larger(a: Column, b: Column) -> Result:
    return np.where(np.greater_equal(a, b), a, np.where(np.greater(b, a), b, np.nan))


def _three(yes: Result, no: Result) -> Result:
    return np.where(yes, np.int8(2), np.where(no, np.int8(0), np.int8(1))).astype(np.int8)


def gt(a: Column, b: Column) -> Result:
    return _three(np.greater(a, b), np.less_equal(a, b))


def ge(a: Column, b: Column) -> Result:
    return _three(np.greater_equal(a, b), np.less(a, b))


def lt(a: Column, b: Column) -> Result:
    return _three(np.less(a, b), np.greater_equal(a, b))


def le(a: Column, b: Column) -> Result:
    return _three(np.less_equal(a, b), np.greater(a, b))


def both(a: Column, b: Column) -> Result:
    return np.minimum(np.asarray(a, np.int8), np.asarray(b, np.int8))


def either(a: Column, b: Column) -> Result:
    return np.maximum(np.asarray(a, np.int8), np.asarray(b, np.int8))


def opposite(a: Column) -> Result:
    return np.int8(2) - np.asarray(a, np.int8)

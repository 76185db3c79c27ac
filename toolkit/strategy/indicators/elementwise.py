"""Nodes without memory: arithmetic, comparison, three-valued logic (0 false, 1 unknown, 2 true)."""

from __future__ import annotations

from math import nan, sqrt
from typing import Any

from toolkit.strategy.authoring.expressions import Expr, as_expr, elementwise, numeric
from toolkit.strategy.indicators import vectors
from toolkit.strategy.registry import step

# The step functions below are also the source of the compiled kernels: + - * / sqrt and comparisons only, no min/max of
# Python (their answer with a NaN depends on the order), no division that may meet a zero outside `div`.


@step("add", "ff", vector=vectors.add)
def add(a: float, b: float) -> float:
    return a + b


@step("sub", "ff", vector=vectors.sub)
def sub(a: float, b: float) -> float:
    return a - b


@step("mul", "ff", vector=vectors.mul)
def mul(a: float, b: float) -> float:
    return a * b


@step("div", "ff", vector=vectors.div)
def div(a: float, b: float) -> float:
    return nan if b == 0.0 else a / b


@step("floordiv", "ff")
def floordiv(a: float, b: float) -> float:
    if b == 0.0 or a != a or b != b:
        return nan
    q = a / b
    if q > 9.0e15 or q < -9.0e15:
        return nan
    whole = float(int(q))
    return whole - 1.0 if whole > q else whole


@step("neg", "f", vector=vectors.neg)
def neg(a: float) -> float:
    return -a


@step("abs", "f", vector=vectors.absolute)
def absolute(a: float) -> float:
    return -a if a < 0.0 else a + 0.0


@step("sqrt", "f", vector=vectors.root)
def root(a: float) -> float:
    return sqrt(a) if a >= 0.0 else nan


@step("min", "ff", vector=vectors.smaller)
def smaller(a: float, b: float) -> float:
    return a if a <= b else (b if b < a else nan)


@step("max", "ff", vector=vectors.larger)
def larger(a: float, b: float) -> float:
    return a if a >= b else (b if b > a else nan)


@step("gt", "ff", out="i1", vector=vectors.gt)
def gt(a: float, b: float) -> int:
    return 2 if a > b else (0 if a <= b else 1)


@step("ge", "ff", out="i1", vector=vectors.ge)
def ge(a: float, b: float) -> int:
    return 2 if a >= b else (0 if a < b else 1)


@step("lt", "ff", out="i1", vector=vectors.lt)
def lt(a: float, b: float) -> int:
    return 2 if a < b else (0 if a >= b else 1)


@step("le", "ff", out="i1", vector=vectors.le)
def le(a: float, b: float) -> int:
    return 2 if a <= b else (0 if a > b else 1)


@step("eq", "ff", out="i1")
def eq(a: float, b: float) -> int:
    return 2 if a == b else (1 if a != a or b != b else 0)


@step("ne", "ff", out="i1")
def ne(a: float, b: float) -> int:
    return 0 if a == b else (1 if a != a or b != b else 2)


@step("and", "ii", out="i1", vector=vectors.both)
def both(a: int, b: int) -> int:
    return a if a < b else b


@step("or", "ii", out="i1", vector=vectors.either)
def either(a: int, b: int) -> int:
    return a if a > b else b


@step("not", "i", out="i1", vector=vectors.opposite)
def opposite(a: int) -> int:
    return 2 - a


@step("where", "iff")
def choose(c: int, a: float, b: float) -> float:
    return a if c == 2 else (b if c == 0 else nan)


@step("where_logic", "iii", out="i1")
def choose_logic(c: int, a: int, b: int) -> int:
    return a if c == 2 else (b if c == 0 else 1)


@step("known", "f", out="i1")
def known_value(a: float) -> int:
    return 2 if a == a else 0


@step("in_session", "fff", out="i1")
def in_session(minute: float, start: float, end: float) -> int:
    if start <= end:
        return 2 if start <= minute and minute < end else 0
    return 2 if minute >= start or minute < end else 0


def where(condition: object, then: object, otherwise: object) -> Expr:
    """Return ``then`` where the condition is true, ``otherwise`` where it is false, unknown where it is unknown."""
    test = as_expr(condition, "where", "i1")
    logic = any(isinstance(v, bool) or (isinstance(v, Expr) and v.kind == "i1") for v in (then, otherwise))
    kind = "i1" if logic else "f8"
    operands = (test, as_expr(then, "where", kind), as_expr(otherwise, "where", kind))
    return elementwise("where_logic" if logic else "where", operands, kind)


def known(value: object) -> Expr:
    """Return whether a value exists on this bar: true or false, never unknown."""
    return elementwise("known", (as_expr(value, "known"),), "i1")


def sqrt_of(value: object) -> Expr:
    """Return the square root; NaN for a negative number."""
    return numeric("sqrt", value)


def absolute_of(value: object) -> Expr:
    """Return the absolute value."""
    return numeric("abs", value)


def _fold(op: str, values: tuple[Any, ...]) -> Expr:
    result = as_expr(values[0], op)
    for value in values[1:]:
        result = numeric(op, result, value)
    return result


def minimum(first: object, *others: object) -> Expr:
    """Return the smallest of the values on each bar; NaN if any of them is NaN."""
    return _fold("min", (first, *others))


def maximum(first: object, *others: object) -> Expr:
    """Return the largest of the values on each bar; NaN if any of them is NaN."""
    return _fold("max", (first, *others))

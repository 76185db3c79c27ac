"""The expressions a strategy is written in: immutable nodes with a type, which refuse misuse where it is written."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, NoReturn

import numpy as np

from toolkit.errors import LookAheadError, StrategyError, must_be, suggest

LEAVES = ("field", "param", "lit")
PRICES = ("open", "high", "low", "close")
FIELDS = (*PRICES, "volume", "time", "day", "minute", "weekday")
BASE = ""

_WORD_REMEDY = "use & for and, | for or, ~ for not, tk.where(c, a, b) for if, and put comparisons in parentheses"
_SYMBOL_REMEDY = (
    "it is a symbol that stands for every value of a sweep; declare it as tk.Choice to branch or loop on it"
)


class Expr:
    """One node of a strategy's graph.

    ``kind`` is ``"f8"`` (a number) or ``"i1"`` (0 false, 1 unknown, 2 true); ``scalar`` says that it is the same on
    every bar; ``clock`` names the higher timeframe it lives on, empty for the strategy's own bars.
    """

    __slots__ = ("args", "clock", "kind", "op", "scalar")
    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __init__(
        self, op: str, args: tuple[Any, ...], kind: str = "f8", *, scalar: bool = False, clock: str = BASE
    ) -> None:
        self.op = op
        self.args = args
        self.kind = kind
        self.scalar = scalar
        self.clock = clock

    # arithmetic
    def __add__(self, other: object) -> Expr:
        return numeric("add", self, other)

    def __radd__(self, other: object) -> Expr:
        return numeric("add", other, self)

    def __sub__(self, other: object) -> Expr:
        return numeric("sub", self, other)

    def __rsub__(self, other: object) -> Expr:
        return numeric("sub", other, self)

    def __mul__(self, other: object) -> Expr:
        return numeric("mul", self, other)

    def __rmul__(self, other: object) -> Expr:
        return numeric("mul", other, self)

    def __truediv__(self, other: object) -> Expr:
        return numeric("div", self, other)

    def __rtruediv__(self, other: object) -> Expr:
        return numeric("div", other, self)

    def __floordiv__(self, other: object) -> Expr:
        return numeric("floordiv", self, other)

    def __rfloordiv__(self, other: object) -> Expr:
        return numeric("floordiv", other, self)

    def __neg__(self) -> Expr:
        return numeric("neg", self)

    def __pos__(self) -> Expr:
        return self

    def __abs__(self) -> Expr:
        return numeric("abs", self)

    def __pow__(self, other: object) -> NoReturn:
        raise StrategyError(
            must_be(
                "an expression", "combined with + - * /", "raised to a power with **", "write x * x, or tk.sqrt_of(x)"
            )
        )

    __rpow__ = __pow__

    def __mod__(self, other: object) -> NoReturn:
        raise StrategyError(
            must_be(
                "an expression",
                "combined with + - * /",
                "used with %",
                "use tk.hour_between, tk.weekday or tk.minute_of_day for times",
            )
        )

    __rmod__ = __mod__

    # comparison
    def __gt__(self, other: object) -> Expr:
        return compare("gt", self, other)

    def __ge__(self, other: object) -> Expr:
        return compare("ge", self, other)

    def __lt__(self, other: object) -> Expr:
        return compare("lt", self, other)

    def __le__(self, other: object) -> Expr:
        return compare("le", self, other)

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]
        return compare("eq", self, other)

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]
        return compare("ne", self, other)

    # logic
    def __and__(self, other: object) -> Expr:
        return logical("and", self, other)

    def __rand__(self, other: object) -> Expr:
        return logical("and", other, self)

    def __or__(self, other: object) -> Expr:
        return logical("or", self, other)

    def __ror__(self, other: object) -> Expr:
        return logical("or", other, self)

    def __xor__(self, other: object) -> NoReturn:
        raise StrategyError(must_be("an expression", "combined with & | ~", "used with ^", "write (a & ~b) | (b & ~a)"))

    __rxor__ = __xor__

    def __invert__(self) -> Expr:
        return logical("not", self)

    # time
    def shift(self, bars: object = 1) -> Expr:
        """Return this expression's value ``bars`` bars ago; unknown until there are that many.

        Raises
        ------
        LookAheadError
            If ``bars`` is negative: that would read a bar that has not closed.
        """
        number = plain_number(bars)
        if number is not None and number < 0:
            raise LookAheadError(must_be("shift", "0 or more bars", bars, "a negative shift reads the future"))
        lag = window(bars, "shift")
        if self.scalar or (lag.op == "lit" and lag.args[0] == 0):
            return self
        return make("shift" if self.kind == "f8" else "shift_logic", (self,), (lag,), kind=self.kind)

    # refusals
    def __bool__(self) -> bool:
        if self.op == "param":
            raise StrategyError(
                must_be(
                    f"parameter {self.args[0]!r}",
                    "used in an expression",
                    "tested with if, and, or, not",
                    _SYMBOL_REMEDY,
                )
            )
        raise StrategyError(
            must_be(
                "an expression",
                "combined with & | ~ and tk.where",
                "tested with if, and, or, not, in or a chained comparison",
                _WORD_REMEDY,
            )
        )

    def _refuse_number(self, how: str) -> NoReturn:
        if self.op == "param":
            raise StrategyError(must_be(f"parameter {self.args[0]!r}", "used in an expression", how, _SYMBOL_REMEDY))
        raise StrategyError(
            must_be(
                "an expression",
                "used in an expression",
                how,
                "it has one value per bar and none while the strategy is traced",
            )
        )

    def __int__(self) -> int:
        self._refuse_number("turned into a number by int()")

    def __index__(self) -> int:  # noqa: PLE0305
        self._refuse_number("used as a whole number by range() or an index")

    def __float__(self) -> float:
        self._refuse_number("turned into a number by float() or math")

    def __round__(self, digits: int | None = None) -> int:
        self._refuse_number("rounded by round()")

    __floor__ = __ceil__ = __trunc__ = __round__

    def __iter__(self) -> NoReturn:
        self._refuse_number("looped over")

    def __len__(self) -> int:  # noqa: PLE0303
        self._refuse_number("measured by len()")

    def __getitem__(self, item: object) -> NoReturn:
        raise StrategyError(
            must_be(
                "an expression",
                "read with .shift(n)",
                f"indexed with [{item!r}]",
                "x.shift(1) is the value one bar ago",
            )
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in ("ndim", "shape", "dtype"):
            _refuse_data("a Series or array")
        raise StrategyError(
            must_be(
                "an expression",
                "combined with operators, .shift(n) and tk functions",
                f"asked for .{name}",
                f"there is no such thing on it{suggest(name, ('shift',))}; pandas methods have tk functions instead",
            )
        )

    def __repr__(self) -> str:
        from toolkit.strategy.words import expression_words

        return expression_words(self)


def plain_number(value: object) -> int | float | None:
    """Return a Python, numpy or Decimal number as a plain one; None for anything else, truth values included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, np.integer):
        return int(value)
    return float(value) if isinstance(value, (np.floating, Decimal)) else None


def literal(value: object, kind: str = "f8") -> Expr:
    """Return a number or truth value written in the strategy as a node."""
    if kind == "i1":
        return Expr("lit", (bool(value),), "i1", scalar=True)
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise StrategyError(must_be("a number in a strategy", "finite", value, "write tk.where for missing cases"))
    return Expr("lit", (number,), "f8", scalar=True)


def _refuse_data(name: str, where: str = "an expression") -> NoReturn:
    raise StrategyError(
        must_be(
            f"the operand of {where}",
            "an expression, a parameter or a number",
            f"a captured {name}",
            "data from outside the strategy may know the future; compute it from the bars of indicators()",
        )
    )


def refuse_captured(value: object, where: str) -> NoReturn:
    """Refuse anything that is not an expression, a parameter or a number, with the remedy."""
    name = type(value).__name__
    remedy = "read it from the bars given to indicators(), or write a number"
    if value is None:
        remedy = "the name is empty; did a function forget its return?"
    elif name in {"Outputs", "BarsSymbol"}:
        remedy = "name one of its values, such as bars.close or bands.upper"
    elif hasattr(value, "__array__") or hasattr(value, "bid_close"):
        _refuse_data(name, where)
    raise StrategyError(must_be(f"the operand of {where}", "an expression, a parameter or a number", name, remedy))


def as_expr(value: object, where: str, kind: str = "f8") -> Expr:
    """Return ``value`` as an expression of ``kind``, or refuse it with the remedy."""
    if isinstance(value, Expr):
        if value.kind != kind:
            if kind == "i1":
                raise StrategyError(
                    must_be(
                        f"the operand of {where}",
                        "a condition",
                        "a number",
                        "compare it with something first, such as x.rsi < 30",
                    )
                )
            raise StrategyError(
                must_be(
                    f"the operand of {where}",
                    "a number",
                    "a condition",
                    "use tk.where(condition, a, b) to turn it into a number",
                )
            )
        return value
    if isinstance(value, (bool, np.bool_)):
        if kind == "i1":
            return literal(value, "i1")
        raise StrategyError(must_be(f"the operand of {where}", "a number", value, "write 1.0 or 0.0"))
    number = plain_number(value)
    if number is not None:
        if kind == "i1":
            raise StrategyError(must_be(f"the operand of {where}", "a condition", value, "write True or False"))
        return literal(number)
    refuse_captured(value, where)


def window(value: object, what: str) -> Expr:
    """Return a window length: a whole number of bars, a parameter, or arithmetic on those."""
    if isinstance(value, Expr):
        if not value.scalar or value.kind != "f8":
            raise StrategyError(
                must_be(
                    f"the window of {what}",
                    "a number of bars or a parameter",
                    "an expression that changes from bar to bar",
                    "use a fixed window",
                )
            )
        return value
    number = plain_number(value)
    if number is not None:
        if not math.isfinite(number) or number != int(number):
            raise StrategyError(must_be(f"the window of {what}", "a whole number of bars", value, "round it"))
        return Expr("lit", (int(number),), "f8", scalar=True)
    refuse_captured(value, what)


def scalar(value: object, what: str) -> Expr:
    """Return a setting that is the same on every bar: a number, a parameter, or arithmetic on those."""
    node = as_expr(value, what)
    if not node.scalar:
        raise StrategyError(
            must_be(
                f"the setting of {what}",
                "a number or a parameter",
                "an expression that changes from bar to bar",
                "use a fixed value",
            )
        )
    return node


def make(op: str, columns: tuple[Expr, ...], scalars: tuple[Expr, ...] = (), *, kind: str = "f8") -> Expr:
    """Build a stateful node: ``columns`` change from bar to bar, ``scalars`` do not."""
    columns, clock = on_one_clock(columns)
    return Expr(op, (*columns, *scalars), kind, clock=clock)


def elementwise(op: str, operands: tuple[Expr, ...], kind: str) -> Expr:
    """Build a node without memory; it is a scalar when all of its operands are."""
    operands, clock = on_one_clock(operands)
    return Expr(op, operands, kind, scalar=all(e.scalar for e in operands), clock=clock)


def on_one_clock(operands: tuple[Expr, ...]) -> tuple[tuple[Expr, ...], str]:
    """Bring operands of different timeframes to the base bars, higher ones held at their last known value."""
    clocks = {e.clock for e in operands if not e.scalar}
    if len(clocks) <= 1:
        return operands, next(iter(clocks), BASE)
    return tuple(hold(e) for e in operands), BASE


def hold(value: Expr) -> Expr:
    """Return a higher-timeframe expression as the base bars know it: the value of the last completed bar."""
    if value.scalar or value.clock == BASE:
        return value
    return Expr("hold" if value.kind == "f8" else "hold_logic", (value,), value.kind)


_SIGN = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "floordiv": "//",
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "eq": "==",
    "ne": "!=",
    "and": "&",
    "or": "|",
    "not": "~",
    "neg": "-",
}


def numeric(op: str, *operands: object) -> Expr:
    """Build arithmetic on numbers."""
    return elementwise(op, tuple(as_expr(o, _SIGN.get(op, op)) for o in operands), "f8")


def compare(op: str, *operands: object) -> Expr:
    """Build a comparison; with a NaN on either side it is unknown."""
    return elementwise(op, tuple(as_expr(o, _SIGN.get(op, op)) for o in operands), "i1")


def logical(op: str, *operands: object) -> Expr:
    """Build three-valued logic on conditions."""
    return elementwise(op, tuple(as_expr(o, _SIGN.get(op, op), "i1") for o in operands), "i1")

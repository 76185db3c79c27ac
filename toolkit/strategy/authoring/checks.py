"""Refusals of a stop or target on the wrong side: a negative distance, or a price level where a distance belongs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.authoring.expressions import PRICES, Expr
from toolkit.strategy.authoring.params import ParamSpec

Sign = Literal["+", "-", "0", "?"]

# nodes whose value is never below zero, whatever their inputs
_NOT_NEGATIVE = {"true_range", "std", "abs", "sqrt", "rsi", "rsi_sma", "minute"}
# nodes that keep the sign, or the kind of quantity, of their first input
_KEEP = {
    "ema",
    "ema_sma",
    "wilder",
    "wilder_sma",
    "sma",
    "wma",
    "kama",
    "highest",
    "lowest",
    "shift",
    "hold",
    "median",
    "quantile",
    "last_day_first",
    "session_max",
    "session_min",
    "min",
    "max",
}


def sign(expr: Expr, params: Mapping[str, ParamSpec]) -> Sign:
    """Return what is certain about the sign of an expression."""
    op, args = expr.op, expr.args
    if op == "lit":
        return "0" if args[0] == 0 else ("+" if args[0] > 0 else "-")
    if op == "param":
        spec = params[args[0]]
        if spec.low is not None and spec.low >= 0:
            return "+"
        return "-" if spec.high is not None and spec.high < 0 else "?"
    if op in ("field", "resampled"):
        return "+"
    if op in _NOT_NEGATIVE:
        return "+"
    if op == "neg":
        return _flip(sign(args[0], params))
    if op in ("mul", "div"):
        left, right = sign(args[0], params), sign(args[1], params)
        if "?" in (left, right):
            return "?"
        if left == "0" or (op == "mul" and right == "0"):
            return "0"
        return left if right == "+" else _flip(left)
    if op in ("add", "min", "max") and sign(args[0], params) == sign(args[1], params):
        return sign(args[0], params)
    if op in _KEEP and op not in ("min", "max"):
        return sign(args[0], params)
    return "?"


def _flip(value: Sign) -> Sign:
    return "-" if value == "+" else ("+" if value == "-" else value)


def is_level(expr: Expr) -> bool:
    """Return whether an expression certainly is a price level, such as a close or an average of closes."""
    op, args = expr.op, expr.args
    if op in ("field", "resampled"):
        return args[0] in PRICES
    if op in _KEEP:
        return is_level(args[0])
    if op == "where":
        return is_level(args[1]) and is_level(args[2])
    if op == "add":
        return (is_level(args[0]) and _is_distance(args[1])) or (is_level(args[1]) and _is_distance(args[0]))
    if op == "sub":
        return is_level(args[0]) and _is_distance(args[1])
    return False


def _is_distance(expr: Expr) -> bool:
    op, args = expr.op, expr.args
    if op in ("lit", "param", "true_range", "std"):
        return True
    if op == "sub":
        return is_level(args[0]) and is_level(args[1])
    if op in ("mul", "div", "add", "min", "max"):
        return _is_distance(args[0]) and _is_distance(args[1])
    return (op in _KEEP or op in ("neg", "abs")) and _is_distance(args[0])


def refuse_negative(expr: Expr, what: str, params: Mapping[str, ParamSpec]) -> None:
    """Refuse a distance that is certainly zero or negative."""
    found = sign(expr, params)
    if found in ("-", "0"):
        raise StrategyError(
            must_be(
                what,
                "a distance greater than 0",
                f"{expr!r}, which is never above 0",
                "give its size; a long's stop lies below and a short's above by itself",
            )
        )


def refuse_level(expr: Expr, what: str) -> None:
    """Refuse a price level where a distance is wanted."""
    if is_level(expr):
        raise StrategyError(
            must_be(
                what,
                "a distance from the entry price",
                f"the price level {expr!r}",
                "subtract: x.close - x.low is a distance, or use tk.Pips",
            )
        )

"""Strategies in words: expressions, whole specs, and what differs between two of them."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolkit.strategy.authoring import management
from toolkit.strategy.authoring.expressions import Expr

if TYPE_CHECKING:
    from toolkit.strategy.spec import StrategySpec

_INFIX = {
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
    "and": "and",
    "or": "or",
}
_HIDDEN = {"day", "time"}


def number_words(value: Any) -> str:
    """Return a literal as one would write it."""
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _render(op: str, args: list[str], raw: tuple[Any, ...]) -> str:
    if op == "field":
        return str(raw[0]) if len(raw) == 1 else f"{raw[1]}.{raw[0]}"
    if op == "resampled":
        return f"{raw[1]}.{raw[0]}"
    if op == "param":
        return str(raw[0])
    if op == "lit":
        return number_words(raw[0])
    if op in _INFIX:
        return f"({args[0]} {_INFIX[op]} {args[1]})"
    if op == "crossed_above":
        return f"({args[0]} crosses above {args[1]})"
    if op == "crossed_below":
        return f"({args[0]} crosses below {args[1]})"
    if op == "not":
        return f"not {args[0]}"
    if op == "neg":
        return f"-{args[0]}"
    if op in ("hold", "hold_logic"):
        return args[0]
    if op in ("shift", "shift_logic"):
        return f"{args[0]} {args[1]} bars ago"
    if op == "in_session":
        return f"the bar opens between minute {args[1]} and {args[2]} of the UTC day"
    if op.startswith("user_"):
        op = op[5:].rpartition("_")[0]
    shown = [a for a in args if a.split(".")[-1] not in _HIDDEN]
    return f"{op.replace('_sma', '')}({', '.join(shown)})"


def expression_words(expr: Expr) -> str:
    """Return an expression in words."""
    if expr.op in ("field", "resampled", "param", "lit"):
        return _render(expr.op, [], expr.args)
    return _outer(_render(expr.op, [expression_words(a) for a in expr.args], expr.args))


def _outer(text: str) -> str:
    return text


def node_words(spec: StrategySpec) -> list[str]:
    """Return every node of a spec in words; a named node is called by its name where others use it."""
    names = {index: name for name, index in spec.named.items()}
    words: list[str] = []
    for node in spec.graph.nodes:
        leaf = node.op in ("field", "resampled", "param", "lit")
        args = [] if leaf else [names.get(a, words[a]) for a in node.args]
        words.append(_render(node.op, args, node.args))
    return words


def _bare(text: str) -> str:
    if text.startswith("(") and text.endswith(")"):
        depth = 0
        for i, letter in enumerate(text):
            depth += (letter == "(") - (letter == ")")
            if depth == 0 and i < len(text) - 1:
                return text
        return text[1:-1]
    return text


def _lines(spec: StrategySpec) -> dict[str, str]:
    words = node_words(spec)
    names = {index: name for name, index in spec.named.items()}

    def say(index: int) -> str:
        return names.get(index, _bare(words[index]))

    lines: dict[str, str] = {}
    if spec.function is not None:
        found = spec.function
        lines["function"] = f"{found.path}, source {found.source[:12]}, on the last {found.window} bars"
    for name, param in spec.params.items():
        if param.type == "choice":
            bounds = "one of " + ", ".join(map(repr, param.options))
        else:
            bounds = f"{param.low} to {param.high}" if param.low is not None or param.high is not None else "any"
        lines[f"parameter {name}"] = f"{param.value!r} ({bounds})"
    for name, index in sorted(spec.named.items()):
        lines[name] = _bare(words[index])
    for root, title in (
        ("entry_long", "enter long when"),
        ("entry_short", "enter short when"),
        ("exit_long", "leave a long when"),
        ("exit_short", "leave a short when"),
    ):
        if root in spec.roots:
            lines[title] = say(spec.roots[root])
    lines.update(_protection_lines(spec, say))
    kind = spec.sizing["kind"]
    size = say(spec.sizing["node"]) if "node" in spec.sizing else spec.sizing["value"]
    lines["risk"] = f"{size} % of equity per trade" if kind == "risk_percent" else f"{size} lots per trade"
    return lines


def _distance_words(part: dict[str, Any], say: Callable[[int], str]) -> str:
    kind = part["kind"]
    if kind == "none":
        return "none"
    if kind == "column":
        return f"the column {part['name']}, in price"
    if kind == "pips":
        return f"{say(part['node'])} pips"
    if kind == "rr":
        return f"{say(part['node'])} times the stop distance"
    return f"{say(part['node'])} in price"


def _protection_lines(spec: StrategySpec, say: Callable[[int], str]) -> dict[str, str]:
    return {
        "stop loss": _distance_words(spec.protection["stop"], say),
        "take profit": _distance_words(spec.protection["target"], say),
        **management.lines(spec.management, say, lambda part: _distance_words(part, say)),
    }


def spec_words(spec: StrategySpec) -> str:
    """Return a spec in words, one line per part."""
    head = f"{spec.name}: {spec.doc}" if spec.doc else spec.name
    return "\n".join([head, *(f"  {title}: {text}" for title, text in _lines(spec).items())])


def spec_differences(old: StrategySpec, new: StrategySpec) -> list[str]:
    """Return what differs, one sentence each."""
    if old.hash == new.hash:
        return []
    changes = [
        f"{title}: {a!r} becomes {b!r}"
        for title, a, b in (("name", old.name, new.name), ("doc", old.doc, new.doc))
        if a != b
    ]
    before, after = _lines(old), _lines(new)
    for title in [*before, *(t for t in after if t not in before)]:
        if title not in after:
            changes.append(f"{title}: {before[title]} is gone")
        elif title not in before:
            changes.append(f"{title}: {after[title]} is new")
        elif before[title] != after[title]:
            changes.append(f"{title}: {before[title]} becomes {after[title]}")
    return changes or ["the same words, another graph"]


def spec_html(spec: StrategySpec) -> str:
    """Return a spec as a small HTML table for a notebook."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(t)}</th><td style='text-align:left'>{html.escape(w)}</td></tr>"
        for t, w in _lines(spec).items()
    )
    title = html.escape(f"{spec.name}: {spec.doc}" if spec.doc else spec.name)
    return f"<b>{title}</b> <code>{spec.hash[:12]}</code><table>{rows}</table>"

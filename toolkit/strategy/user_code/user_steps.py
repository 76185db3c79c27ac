"""Step functions of the user: compiled from an allow-listed syntax tree, shipped as hashed source, never ``exec``."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from toolkit.errors import SpecError, StrategyError, must_be, suggest
from toolkit.strategy.authoring.expressions import Expr, as_expr, elementwise, make, scalar
from toolkit.strategy.indicators.elementwise import absolute, div, larger, root, smaller
from toolkit.strategy.registry import STEPS, Step

VERSION = 1
#: What the functions may call: the toolkit's own, each defined for NaN, zero and negative numbers.
#: The second half are the names that the stored, canonical form uses for the same things.
CALLS: dict[str, tuple[str, int]] = {
    "min": ("smaller", 2),
    "max": ("larger", 2),
    "abs": ("absolute", 1),
    "sqrt": ("root", 1),
    "smaller": ("smaller", 2),
    "larger": ("larger", 2),
    "absolute": ("absolute", 1),
    "root": ("root", 1),
    "div": ("div", 2),
}
_GLOBALS: dict[str, Any] = {
    "nan": math.nan,
    "div": div,
    "smaller": smaller,
    "larger": larger,
    "absolute": absolute,
    "root": root,
    "__builtins__": {},
}
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


class _Checker:
    """Rewrites a function's tree into the allowed subset, or says what is not allowed and where."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refuse(self, node: ast.AST, what: str, remedy: str) -> NoReturn:
        line = getattr(node, "lineno", "?")
        raise StrategyError(
            must_be(
                f"line {line} of @tk.indicator {self.name}",
                "arithmetic, comparison, if, min, max, abs, sqrt",
                what,
                remedy,
            )
        )

    def block(self, statements: Sequence[ast.stmt], known: set[str], width: int) -> tuple[list[ast.stmt], bool]:
        """Return the statements rewritten and whether they always return; ``known`` gains the names they set."""
        result: list[ast.stmt] = []
        for at, statement in enumerate(statements):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # a docstring
            if isinstance(statement, ast.Return):
                result.append(ast.Return(self.returned(statement, known, width)))
                if at + 1 < len(statements):
                    self.refuse(statements[at + 1], "code after return", "remove it")
                return result, True
            if isinstance(statement, ast.If):
                test = self.test(statement.test, known)
                first, second = set(known), set(known)
                body, ends = self.block(statement.body, first, width)
                other, other_ends = self.block(statement.orelse, second, width)
                result.append(ast.If(test, body or [ast.Pass()], other))
                if ends and other_ends:
                    if at + 1 < len(statements):
                        self.refuse(statements[at + 1], "code after return", "remove it")
                    return result, True
                known |= second if ends else (first if other_ends else first & second)
                continue
            result.append(self.assignment(statement, known))
        return result, False

    def assignment(self, statement: ast.stmt, known: set[str]) -> ast.stmt:
        """Return an assignment to one name, rewritten."""
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        elif isinstance(statement, ast.AugAssign):
            target = statement.target
            value = ast.BinOp(ast.Name(getattr(target, "id", ""), ast.Load()), statement.op, statement.value)
            ast.copy_location(value, statement)
        else:
            self.refuse(statement, type(statement).__name__.lower(), "only assignments, if and return are allowed")
        if not isinstance(target, ast.Name):
            self.refuse(statement, "an assignment to something that is no plain name", "assign one name at a time")
        if target.id in _GLOBALS or target.id in CALLS:
            self.refuse(statement, f"an assignment to {target.id!r}", "choose another name")
        rewritten = self.value(value, known)
        known.add(target.id)
        return ast.Assign([ast.Name(target.id, ast.Store())], rewritten)

    def returned(self, statement: ast.Return, known: set[str], width: int) -> ast.expr:
        """Return what is given back: the value, then each new state."""
        value = statement.value
        values = list(value.elts) if isinstance(value, ast.Tuple) else [] if value is None else [value]
        if len(values) != width:
            self.refuse(
                statement,
                f"return of {len(values)} values",
                f"return {width}: the indicator's value, then each state in order",
            )
        rewritten = [self.value(v, known) for v in values]
        return rewritten[0] if width == 1 else ast.Tuple(rewritten, ast.Load())

    def value(self, node: ast.expr, known: set[str]) -> ast.expr:
        """Return a number expression rewritten."""
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return ast.Constant(float(node.value))
        if isinstance(node, ast.Name):
            if node.id not in known and node.id != "nan":
                self.refuse(
                    node,
                    f"the name {node.id!r}, which is neither an argument nor set on every way here",
                    "globals are not shipped: pass it as a setting" + suggest(node.id, known),
                )
            return ast.Name(node.id, ast.Load())
        if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
            left, right = self.value(node.left, known), self.value(node.right, known)
            if isinstance(node.op, ast.Div):
                return ast.Call(ast.Name("div", ast.Load()), [left, right], [])
            return ast.BinOp(left, node.op, right)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            inner = self.value(node.operand, known)
            return ast.UnaryOp(ast.USub(), inner) if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.IfExp):
            return ast.IfExp(self.test(node.test, known), self.value(node.body, known), self.value(node.orelse, known))
        if isinstance(node, ast.Call):
            return self.call(node, known)
        self.refuse(node, type(node).__name__.lower(), "write it with plain numbers")

    def call(self, node: ast.Call, known: set[str]) -> ast.expr:
        """Return a call of an allowed function rewritten."""
        words = ast.unparse(node.func)
        name = words.removeprefix("math.").removeprefix("tk.")
        if name not in CALLS or node.keywords:
            self.refuse(node, f"a call of {words!r}", "it would have to be shipped: write it out")
        own, count = CALLS[name]
        args = [self.value(a, known) for a in node.args]
        if (count == 1 and len(args) != 1) or (count == 2 and len(args) < 2):
            self.refuse(node, f"{name} of {len(args)} values", "give it plain numbers")
        result = args[0]
        if count == 1:
            return ast.Call(ast.Name(own, ast.Load()), [result], [])
        for other in args[1:]:
            result = ast.Call(ast.Name(own, ast.Load()), [result, other], [])
        return result

    def test(self, node: ast.expr, known: set[str]) -> ast.expr:
        """Return a condition rewritten."""
        if isinstance(node, ast.Compare) and all(isinstance(o, _COMPARISONS) for o in node.ops):
            return ast.Compare(self.value(node.left, known), node.ops, [self.value(c, known) for c in node.comparators])
        if isinstance(node, ast.BoolOp):
            return ast.BoolOp(node.op, [self.test(v, known) for v in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ast.UnaryOp(ast.Not(), self.test(node.operand, known))
        self.refuse(node, "a condition that compares nothing", "write a comparison such as x > 0")


def _canonical(source: str, inputs: Sequence[str], settings: Sequence[str], state: Sequence[str]) -> tuple[str, str]:
    """Return name and canonical source of a step function, checked."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError as problem:
        raise StrategyError(must_be("@tk.indicator", "Python source", str(problem), "it is damaged")) from problem
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    if len(functions) != 1 or len(tree.body) != 1:
        raise StrategyError(must_be("@tk.indicator", "one plain function", "something else", "write one def"))
    function = functions[0]
    given = function.args
    names = [a.arg for a in given.args]
    if given.posonlyargs or given.kwonlyargs or given.vararg or given.kwarg or given.defaults:
        raise StrategyError(
            must_be(f"the arguments of {function.name}", "plain names", "others", "no defaults or stars")
        )
    if names != [*inputs, *settings, *state]:
        raise StrategyError(
            must_be(
                f"the arguments of {function.name}",
                "the inputs, then the settings, then the states: " + ", ".join([*inputs, *settings, *state]),
                ", ".join(names),
                "reorder them",
            )
        )
    checker = _Checker(function.name)
    for name in names:
        if name in _GLOBALS or name in CALLS:
            checker.refuse(function, f"an argument called {name!r}", "choose another name")
    body, ends = checker.block(function.body, set(names), 1 + len(state))
    if not ends:
        checker.refuse(function, "a way through without return", "return on every way")
    arguments = ast.arguments([], [ast.arg(n) for n in names], None, [], [], None, [])
    clean = ast.FunctionDef(function.name, arguments, body, [], None)
    if hasattr(clean, "type_params") or "type_params" in ast.FunctionDef._fields:
        clean.type_params = []  # type: ignore[attr-defined,unused-ignore]
    return function.name, ast.unparse(ast.fix_missing_locations(ast.Module([clean], []))) + "\n"


def _function(name: str, source: str) -> Callable[..., Any]:
    """Make the function from its code object, with nothing in reach but the allowed names."""
    code = compile(source, f"<indicator {name}>", "exec")
    inner = next(c for c in code.co_consts if isinstance(c, types.CodeType))
    return types.FunctionType(inner, dict(_GLOBALS), name)


def register(
    source: str, inputs: Sequence[str], settings: Sequence[str], state: Mapping[str, float], warmup: int
) -> str:
    """Check a step function's source and make it a node type; return the type's name, which holds its hash."""
    name, text = _canonical(source, inputs, settings, list(state))
    shipped = json.dumps([text, list(inputs), list(settings), [[k, repr(float(v))] for k, v in state.items()], warmup])
    op = f"user_{name}_{hashlib.sha256(shipped.encode()).hexdigest()[:24]}"
    if op not in STEPS:
        STEPS[op] = Step(
            op,
            _function(name, text),
            "f" * len(inputs),
            len(settings),
            "f" * len(settings),
            lambda *values: tuple(float(v) for v in values),
            tuple(float(v) for v in state.values()),
            None,
            math.nan,
            "f8",
            VERSION,
            lambda *_: warmup,
            None,
            shipped,
        )
    return op


def shipped_steps(ops: Sequence[str]) -> dict[str, Any]:
    """Return the sources that a spec ships, by node type."""
    return {op: json.loads(STEPS[op].source) for op in sorted(set(ops)) if op in STEPS and STEPS[op].source}


def receive(steps: Mapping[str, Any]) -> None:
    """Check and register the sources a stored spec ships."""
    for op, (text, inputs, settings, state, warmup) in steps.items():
        if register(text, inputs, settings, {k: float(v) for k, v in state}, int(warmup)) != op:
            raise SpecError(must_be(f"the source of {op}", "what its hash says", "another", "the spec is damaged"))


def indicator(
    fn: Callable[..., Any] | None = None,
    *,
    settings: Sequence[str] = (),
    state: Mapping[str, float] | None = None,
    warmup: int = 0,
) -> Any:
    """Add a step function of your own: called once per bar, it returns its value and its new state.

    Parameters
    ----------
    fn : function
        Arguments: the inputs (values of this bar), then the settings, then the states. It may use arithmetic, comparison,
        ``if``, ``min``, ``max``, ``abs``, ``sqrt`` and ``nan``; ``a / 0`` is NaN.
    settings : sequence of str
        Arguments that are the same on every bar; they may be given a parameter.
    state : mapping of str to float
        Arguments that carry over from bar to bar, with what they are before the first.
    warmup : int
        Bars after which a value no longer depends on where the run began.

    Raises
    ------
    StrategyError
        If the function uses anything else; a global it would need is named.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Expr]:
        try:
            source = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError) as problem:
            raise StrategyError(
                must_be(f"the source of {function.__name__}", "at hand", "not", "write it in a cell or file")
            ) from problem
        lines = source.splitlines()
        source = "\n".join(lines[next(i for i, text in enumerate(lines) if text.startswith("def ")) :])
        held = dict(state or {})
        names = list(inspect.signature(function).parameters)
        inputs = [n for n in names if n not in settings and n not in held]
        if not inputs:
            raise StrategyError(
                must_be(f"@tk.indicator {function.__name__}", "given an input", "none", "add an argument")
            )
        op = register(source, inputs, list(settings), held, warmup)

        def node(*args: object) -> Expr:
            if len(args) != len(inputs) + len(settings):
                raise StrategyError(
                    must_be(
                        f"{function.__name__}()",
                        f"given {', '.join([*inputs, *settings])}",
                        f"{len(args)} values",
                        "give one of each, in order",
                    )
                )
            columns = tuple(as_expr(a, function.__name__) for a in args[: len(inputs)])
            fixed = tuple(scalar(a, function.__name__) for a in args[len(inputs) :])
            return elementwise(op, columns, "f8") if STEPS[op].elementwise else make(op, columns, fixed)

        node.__name__, node.__doc__ = function.__name__, function.__doc__
        node.__wrapped__ = function  # type: ignore[attr-defined]
        return node

    return decorate if fn is None else decorate(fn)

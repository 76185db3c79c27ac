"""The graph of a strategy: expressions lowered to a list of nodes, equal ones once, children before parents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import toolkit.strategy.indicators  # noqa: F401  registers every node type
from toolkit.errors import BadInput, SpecError, must_be
from toolkit.strategy.authoring.expressions import BASE, FIELDS, LEAVES, Expr
from toolkit.strategy.higher import parse_clock
from toolkit.strategy.registry import STEPS, Step, get_step

HOLDS = ("hold", "hold_logic")
AVERAGES = ("ema", "wilder", "rsi")  # each bar waits for the last: side by side they hardly cost more than one
WINDOWS = ("sma", "std")
CROSSINGS = ("crossed_above", "crossed_below")


class Node(NamedTuple):
    """One node: its type and its arguments (indexes of earlier nodes, or the words of a leaf)."""

    op: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a node before any value: its kind, whether it is the same on every bar, and its timeframe."""

    kind: str
    scalar: bool
    clock: str
    step: Step | None
    columns: tuple[int, ...]
    settings: tuple[int, ...]


class Band(NamedTuple):
    """A mean with lines some deviations above and below it: node numbers, ``factor`` being the scalar."""

    mean: int
    deviation: int
    width: int
    factor: int
    upper: int
    lower: int


class Order(NamedTuple):
    """How columns are computed: one after the other, or with others in one pass."""

    columns: tuple[int, ...]
    together: dict[int, tuple[int, ...]]
    bands: dict[int, Band]


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order with the shape of each."""

    nodes: tuple[Node, ...]
    shapes: tuple[Shape, ...] = field(compare=False)

    @classmethod
    def of(cls, nodes: Iterable[Node], params: Mapping[str, str]) -> Graph:
        """Build a graph and check every node; ``params`` maps parameter names to ``"f8"`` or ``"i1"``.

        Raises
        ------
        SpecError
            If a node type is unknown, an argument is not an earlier node, or kinds do not fit.
        """
        listed = tuple(nodes)
        # 1, 1.0 and True are equal but not the same literal; a step of one name may be written anew in a notebook
        words = tuple([type(node.args[0]) if node.op == "lit" and node.args else None for node in listed])
        key = (listed, words, tuple(params.items()), tuple([id(STEPS.get(node.op)) for node in listed]))
        found = _BUILT.get(key)
        if found is None:
            shapes: list[Shape] = []
            for index, node in enumerate(listed):
                shapes.append(_shape(index, node, shapes, params))
            found = cls(listed, tuple(shapes))
            if len(_BUILT) >= MOST_BUILT:
                _BUILT.clear()
            _BUILT[key] = found
        return found

    def versions(self) -> dict[str, int]:
        """Return the semantics version of every node type used."""
        return {op: STEPS[op].version for op in sorted({node.op for node in self.nodes}) if op in STEPS}

    @property
    def clocks(self) -> tuple[str, ...]:
        """The higher timeframes that are read, sorted."""
        return tuple(sorted({shape.clock for shape in self.shapes if shape.clock}))

    def order(self, wanted: tuple[int, ...], *, alone: bool = False) -> Order:
        """Return the columns to compute for ``wanted``, in order, and those of them that go in one pass.

        Averages that do not depend on each other stand side by side, and so do the two directions of a crossing, and mean
        and deviation of one window. ``alone`` says that no other run shares the columns: then a band around a mean comes
        with it, and what only the band reads is not kept.
        """
        key = (wanted, alone)
        found = self._orders.get(key)
        if found is None:
            found = self._orders[key] = self._ordered(wanted, alone)
        return found

    @cached_property
    def _orders(self) -> dict[tuple[tuple[int, ...], bool], Order]:
        return {}

    def _ordered(self, wanted: tuple[int, ...], alone: bool) -> Order:
        needed = self.needed(wanted)
        depth: list[int] = []
        alike: dict[tuple[Any, ...], list[int]] = {}
        for index, (node, shape) in enumerate(zip(self.nodes, self.shapes, strict=True)):
            own = node.op in AVERAGES and not shape.scalar
            depth.append(max((depth[c] for c in shape.columns), default=0) + own)
            if not needed[index] or shape.scalar:
                continue
            if own:
                alike.setdefault(("average", shape.clock, depth[index]), []).append(index)
            elif node.op in CROSSINGS:
                alike.setdefault(("crossing", shape.columns), []).append(index)
            elif node.op in WINDOWS:
                alike.setdefault(("window", shape.columns, shape.settings), []).append(index)
        ranked = sorted((depth[i], node.op not in AVERAGES, i) for i, node in enumerate(self.nodes))
        columns = [i for _, _, i in ranked if needed[i] and not self.shapes[i].scalar]
        together = {i: tuple(group) for group in alike.values() if len(group) > 1 for i in group}
        bands: dict[int, Band] = {}
        if alone:
            for group in alike.values():
                band = self._band(group, columns, wanted) if len(group) == 2 else None
                if band is not None:
                    bands[band.mean] = band
                    together[band.mean] = (band.mean,)
                    columns = [i for i in columns if i not in (band.deviation, band.width)]
        return Order(tuple(columns), together, bands)

    def _band(self, pair: list[int], columns: list[int], wanted: tuple[int, ...]) -> Band | None:
        """Return the band made of a mean and a deviation, if nothing else reads the deviation."""
        if self.nodes[pair[0]].op not in WINDOWS:
            return None
        mean, deviation = sorted(pair, key=lambda i: WINDOWS.index(self.nodes[i].op))

        def readers(index: int) -> list[int]:
            return [i for i in columns if index in self.shapes[i].columns]

        widths = readers(deviation)
        if len(widths) != 1 or {deviation, widths[0]} & set(wanted):
            return None
        width = widths[0]
        factors = [c for c in self.shapes[width].columns if c != deviation]
        if self.nodes[width].op != "mul" or len(factors) != 1 or not self.shapes[factors[0]].scalar:
            return None
        edges = {self.nodes[i].op: i for i in readers(width) if self.shapes[i].columns == (mean, width)}
        if set(edges) != {"add", "sub"} or len(readers(width)) != 2:
            return None
        return Band(mean, deviation, width, factors[0], edges["add"], edges["sub"])

    def needed(self, roots: Iterable[int]) -> list[bool]:
        """Return, per node, whether one of the roots depends on it."""
        marks = [False] * len(self.nodes)
        for root in roots:
            marks[root] = True
        for index in range(len(self.nodes) - 1, -1, -1):
            if marks[index]:
                for child in (*self.shapes[index].columns, *self.shapes[index].settings):
                    marks[child] = True
        return marks


def _shape(index: int, node: Node, shapes: list[Shape], params: Mapping[str, str]) -> Shape:
    op, args = node
    if op == "field":
        if not args or args[0] not in FIELDS:
            raise SpecError(must_be("a field", "one of " + ", ".join(FIELDS), args, "the spec is damaged or newer"))
        return Shape("f8", False, BASE, None, (), ())
    if op == "resampled":
        if len(args) != 2 or args[0] not in FIELDS:
            raise SpecError(
                must_be("a resampled field", "a field and a timeframe", args, "the spec is damaged or newer")
            )
        try:
            parse_clock(args[1])
        except (BadInput, AttributeError) as problem:
            raise SpecError(must_be("a higher timeframe", "known to this toolkit", args[1], "upgrade it")) from problem
        return Shape("f8", False, args[1], None, (), ())
    if op == "param":
        if len(args) != 1 or args[0] not in params:
            raise SpecError(must_be("a parameter", "one of " + ", ".join(params), args, "the spec is damaged"))
        return Shape(params[args[0]], True, BASE, None, (), ())
    if op == "lit":
        if len(args) != 1 or not isinstance(args[0], (bool, int, float)):
            raise SpecError(must_be("a literal", "one number or truth value", args, "the spec is damaged"))
        return Shape("i1" if isinstance(args[0], bool) else "f8", True, BASE, None, (), ())
    for arg in args:
        if not isinstance(arg, int) or isinstance(arg, bool) or not 0 <= arg < index:
            raise SpecError(
                must_be(
                    f"an argument of node {index} ({op})", "the index of an earlier node", arg, "the spec is damaged"
                )
            )
    if op in HOLDS:
        kind = "f8" if op == "hold" else "i1"
        if len(args) != 1 or shapes[args[0]].kind != kind or not shapes[args[0]].clock:
            raise SpecError(
                must_be(f"node {index} ({op})", "given one node of a higher timeframe", args, "it is damaged")
            )
        return Shape(kind, False, BASE, None, tuple(args), ())
    step = get_step(op)
    count = len(step.inputs)
    if len(args) != count + step.settings:
        raise SpecError(
            must_be(
                f"node {index} ({op})", f"given {count + step.settings} arguments", len(args), "the spec is damaged"
            )
        )
    columns, settings = tuple(args[:count]), tuple(args[count:])
    for letter, child in zip(step.inputs, columns, strict=True):
        wanted = "f8" if letter == "f" else "i1"
        if shapes[child].kind != wanted:
            raise SpecError(
                must_be(f"an input of node {index} ({op})", wanted, shapes[child].kind, "the spec is damaged")
            )
    for child in settings:
        if not shapes[child].scalar:
            raise SpecError(
                must_be(f"a setting of node {index} ({op})", "the same on every bar", "a column", "the spec is damaged")
            )
    clocks = {shapes[c].clock for c in columns if not shapes[c].scalar}
    if len(clocks) > 1:
        raise SpecError(
            must_be(f"the inputs of node {index} ({op})", "on one timeframe", sorted(clocks), "the spec is damaged")
        )
    scalar = step.elementwise and all(shapes[c].scalar for c in columns)
    return Shape(step.out, scalar, next(iter(clocks), BASE), step, columns, settings)


_BUILT: dict[Any, Graph] = {}
MOST_BUILT = 256


class Lowering:
    """Turns expressions into nodes; the same expression, or an equal one, becomes the same node."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._index: dict[tuple[str, tuple[Any, ...], str], int] = {}
        self._seen: dict[int, tuple[Expr, int]] = {}

    def add(self, expr: Expr) -> int:
        """Return the index of an expression's node, adding what is missing (without recursion)."""
        stack = [expr]
        while stack:
            top = stack[-1]
            if id(top) in self._seen:
                stack.pop()
                continue
            if top.op in LEAVES or top.op == "resampled":
                args = top.args
            else:
                missing = [a for a in top.args if id(a) not in self._seen]
                if missing:
                    stack.extend(reversed(missing))
                    continue
                args = tuple(self._seen[id(a)][1] for a in top.args)
            # 1, 1.0 and True are equal keys in Python but not the same literal
            key = (top.op, args, type(args[0]).__name__ if top.op == "lit" else "")
            if top.op == "lit" and args[0] == 0.0:
                key = (top.op, (repr(args[0]),), key[2])
            found = self._index.get(key)
            if found is None:
                found = len(self.nodes)
                self.nodes.append(Node(top.op, args))
                self._index[key] = found
            self._seen[id(top)] = (top, found)
            stack.pop()
        return self._seen[id(expr)][1]

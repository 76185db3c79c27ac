"""What both drivers need before the first bar: scalar values, bound settings and the layout of the state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.strategy.authoring.params import Value
from toolkit.strategy.graph import Graph
from toolkit.strategy.higher import STATE

if TYPE_CHECKING:
    from toolkit.strategy.spec import StrategySpec


def scalar_value(graph: Graph, index: int, values: Mapping[str, Value], scalars: list[Any]) -> Any:
    """Return a node's value if it is the same on every bar (float, or int 0/2 for conditions), else None."""
    node, shape = graph.nodes[index], graph.shapes[index]
    if not shape.scalar:
        return None
    if node.op == "lit":
        word = node.args[0]
        return (2 if word else 0) if isinstance(word, bool) else float(word)
    if node.op == "param":
        return float(values[node.args[0]])
    assert shape.step is not None
    return shape.step.fn(*(scalars[c] for c in shape.columns))


def bind_node(graph: Graph, index: int, scalars: list[Any]) -> tuple[Any, ...]:
    """Return the derived settings of a node with memory; impossible ones (a window of 0) are refused here."""
    shape = graph.shapes[index]
    if shape.step is None or shape.step.elementwise:
        return ()
    return tuple(shape.step.bind(*(scalars[s] for s in shape.settings)))


@dataclass(frozen=True, slots=True)
class Binding:
    """A graph with parameter values: scalars, and the derived settings of every node with memory."""

    scalars: list[Any]
    bound: list[tuple[Any, ...]]


def scalar_values(graph: Graph, values: Mapping[str, Value]) -> list[Any]:
    """Return the value of each node that is the same on every bar, None for the others."""
    scalars: list[Any] = []
    for index in range(len(graph.nodes)):
        scalars.append(scalar_value(graph, index, values, scalars))
    return scalars


def bind(graph: Graph, values: Mapping[str, Value]) -> Binding:
    """Bind parameter values; impossible settings (a window of 0) are refused here."""
    scalars = scalar_values(graph, values)
    return Binding(scalars, [bind_node(graph, index, scalars) for index in range(len(graph.nodes))])


def state_sizes(graph: Graph, binding: Binding) -> list[tuple[int, int]]:
    """Return, per node, how many float64 its state and its buffer take."""
    sizes: list[tuple[int, int]] = []
    for shape, bound in zip(graph.shapes, binding.bound, strict=True):
        if shape.step is None or shape.step.elementwise or shape.scalar:
            # what a higher timeframe showed last is held from bar to bar
            sizes.append((1 if shape.step is None and shape.columns else 0, 0))
        else:
            step = shape.step
            sizes.append((len(step.state), step.buffer(*bound) if step.buffer is not None else 0))
    return sizes + [(STATE, 0)] * len(graph.clocks)


def fresh_state(graph: Graph, sizes: list[tuple[int, int]]) -> list[float]:
    """Return the state of every node, then of every higher timeframe, before the first bar."""
    flat: list[float] = []
    for shape, (scalars, buffer) in zip(graph.shapes, sizes, strict=False):
        if shape.step is None:
            flat += [math.nan if shape.kind == "f8" else 1.0] * scalars
        elif scalars + buffer:
            flat += shape.step.state
            flat += [shape.step.fill] * buffer
    return flat + [0.0] * (STATE * len(graph.clocks))


def warm_up(spec: StrategySpec) -> int:
    """Return the largest sum of warm-up bars along any path of the graph."""
    binding = bind(spec.graph, spec.values)
    need: list[int] = []
    for shape, bound in zip(spec.graph.shapes, binding.bound, strict=True):
        own = 0
        if shape.step is not None and not shape.scalar:
            own = shape.step.warm(*bound)
        need.append(own + max((need[c] for c in shape.columns), default=0))
    return max(need, default=0)

"""Parameter sets of one strategy on one cache of columns: what sets have in common is bound once.

Most nodes of a graph depend on few of the swept parameters. Scalars, derived settings and column numbers are
remembered by the values of just those parameters, so a set costs what is new in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.strategy.authoring.params import Value
from toolkit.strategy.columns.cache import ColumnCache
from toolkit.strategy.drivers.plan import Binding, bind_node, scalar_value
from toolkit.strategy.spec import ROOTS, StrategySpec

__all__ = ["BoundSet", "SetBinder"]


@dataclass(frozen=True, slots=True)
class BoundSet:
    """One parameter set.

    Attributes
    ----------
    binding
        Scalars and settings.
    keys
        Number of every node's column, then of every other column of `extra`.
    extra
        Numbers of the columns made from nodes, by name: the decisions, the distances in points.
    """

    binding: Binding
    keys: list[int]
    extra: dict[tuple[Any, ...], int]


class SetBinder:
    """Binds the sets of one spec; equal to `plan.bind` and `ColumnCache.keys` of each."""

    def __init__(self, spec: StrategySpec, cache: ColumnCache) -> None:
        self.spec = spec
        self.cache = cache
        graph = spec.graph
        depends: list[frozenset[str]] = []
        for node, shape in zip(graph.nodes, graph.shapes, strict=True):
            if node.op == "param":
                depends.append(frozenset((node.args[0],)))
            else:
                below = (*shape.columns, *shape.settings)
                depends.append(frozenset().union(*(depends[c] for c in below)))
        names = [name for name in spec.params if any(name in found for found in depends)]
        groups: dict[tuple[str, ...], list[int]] = {}
        for index, found in enumerate(depends):
            groups.setdefault(tuple(n for n in names if n in found), []).append(index)
        # the nodes of a group read its own earlier nodes and those of groups with fewer parameters
        self._groups = sorted(groups.items(), key=lambda item: len(item[0]))
        roots = tuple(spec.roots.get(name, -1) for name in ROOTS)
        self._extra: list[tuple[tuple[Any, ...], tuple[int, ...]]] = [(("code",), roots)]
        for name, whole_pips in (("stop", True), ("target", False)):
            part = spec.protection[name]
            if part["kind"] == "distance" and not graph.shapes[part["node"]].scalar:
                self._extra.append((("points", part["node"], whole_pips), (part["node"],)))
        self._memo: list[dict[tuple[Value, ...], list[tuple[int, Any, Any, int]]]] = [{} for _ in self._groups]

    def bind(self, params: Mapping[str, Value]) -> BoundSet:
        """Bind one set; parameters left out keep the spec's values."""
        graph, cache = self.spec.graph, self.cache
        values = {**self.spec.values, **params}
        size = len(graph.nodes)
        scalars: list[Any] = [None] * size
        bound: list[Any] = [()] * size
        keys: list[int] = [0] * size
        for (names, indexes), memo in zip(self._groups, self._memo, strict=True):
            at = tuple([values[n] for n in names])
            found = memo.get(at)
            if found is None:
                found = []
                for index in indexes:
                    scalars[index] = scalar_value(graph, index, values, scalars)
                    bound[index] = bind_node(graph, index, scalars)
                    keys[index] = cache.key(graph, index, scalars, bound, keys)
                    found.append((index, scalars[index], bound[index], keys[index]))
                memo[at] = found
            else:
                for index, scalar, settings, key in found:
                    scalars[index] = scalar
                    bound[index] = settings
                    keys[index] = key
        extra = {
            name: cache.number((*name[:1], *name[2:], *(keys[i] if i >= 0 else -1 for i in made_from)))
            for name, made_from in self._extra
        }
        return BoundSet(Binding(scalars, bound), [*keys, *extra.values()], extra)

"""One evaluation of a graph over columns: which nodes, in which order, by which kernels, in whose memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.risk.rounding import points_from_distance, stop_points_from_distance
from toolkit.strategy.authoring.expressions import BASE
from toolkit.strategy.columns import kernels
from toolkit.strategy.columns.cache import KINDS, ColumnCache
from toolkit.strategy.columns.sets import BoundSet
from toolkit.strategy.drivers.packing import col_points, col_stop_points
from toolkit.strategy.drivers.plan import Binding
from toolkit.strategy.graph import AVERAGES, CROSSINGS, WINDOWS
from toolkit.strategy.spec import StrategySpec

Column = NDArray[Any]


class States:
    """The state of every node as views into one flat array."""

    def __init__(self, sizes: list[tuple[int, int]], flat: Column) -> None:
        self.views: list[tuple[Column, Column]] = []
        at = 0
        for scalars, buffer in sizes:
            self.views.append((flat[at : at + scalars], flat[at + scalars : at + scalars + buffer]))
            at += scalars + buffer


class NodeRun:
    """One evaluation: computes the nodes that are needed, in order, sharing columns through the store."""

    def __init__(
        self,
        spec: StrategySpec,
        store: ColumnCache,
        binding: Binding,
        states: States | None,
        wanted: Iterable[int],
        bound: BoundSet | None = None,
    ) -> None:
        self.graph = spec.graph
        self.store = store
        self.binding = binding
        self.states = states
        self.bound = bound
        self.keys = store.keys(spec.graph, binding, states is not None) if bound is None else bound.keys
        self.columns: dict[int, Column] = {}
        kept = tuple(wanted)
        self.order = self.graph.order(kept, alone=not store.shared and states is None and kernels.available())
        # a caller's own columns are given back after their last reader; shared ones live by the store's counts
        left = self._readers(kept) if not store.shared and states is None else None
        for index in self.order.columns:
            self._compute(index)
            if left is not None:
                self._give_back(self.graph.shapes[index].columns, left)

    def _readers(self, kept: tuple[int, ...]) -> dict[int, int]:
        left: dict[int, int] = {}
        for index in self.order.columns:
            for child in self.graph.shapes[index].columns:
                left[self.keys[child]] = left.get(self.keys[child], 0) + 1
        for index in kept:
            left[self.keys[index]] = left.get(self.keys[index], 0) + 1
        return left

    def _give_back(self, children: tuple[int, ...], left: dict[int, int]) -> None:
        for child in children:
            key = self.keys[child]
            left[key] -= 1
            if not left[key]:
                self.columns.pop(child, None)
                self.store.release([key])

    def column(self, index: int, clock: str = BASE) -> Column:
        """Return a node as a column, a scalar spread over all bars."""
        shape = self.graph.shapes[index]
        if shape.scalar:
            dtype = np.float64 if shape.kind == "f8" else np.int8
            return np.full(self.store.rows(clock), self.binding.scalars[index], dtype)
        return self.columns[index]

    def points(self, index: int, scale: int, per_pip: int | None) -> NDArray[np.int32]:
        """Return a distance node in points (rounded up to whole pips with ``per_pip``)."""
        shape = self.graph.shapes[index]
        if shape.scalar:
            value = self.binding.scalars[index]
            whole = (
                points_from_distance(value, scale)
                if per_pip is None
                else stop_points_from_distance(value, scale, per_pip)
            )
            return np.array([whole], np.int32)
        column = self.columns[index]

        def fill(out: Column) -> None:
            if per_pip is None:
                (kernels.get("points") if kernels.available() else col_points)(column, scale, out)
            else:
                (kernels.get("stop_points") if kernels.available() else col_stop_points)(column, scale, per_pip, out)

        return self.shared(("points", index, per_pip is not None), "i4", fill)

    def known(self, part: dict[str, Any]) -> Any:
        """Return on which bars a distance is a number: a column, or one answer for all."""
        index = part["node"]
        if self.graph.shapes[index].scalar:
            return self.binding.scalars[index] == self.binding.scalars[index]
        return ~np.isnan(self.columns[index])

    def shared(self, name: tuple[Any, ...], kind: str, fill: Callable[[Column], None]) -> Column:
        """Return a column that is no node's own, computed by ``fill``, once for all sets that have it in common."""
        key = None if self.bound is None else self.bound.extra.get(name)
        found = None if key is None else self.store.get(key)
        if found is None:
            found = self.store.buffer(kind) if key is not None else np.empty(self.store.length, KINDS[kind])
            fill(found)
            if key is not None:
                self.store.put(key, found, made=True)
        return found

    def done(self) -> None:
        """Give back the columns nobody needs any more."""
        self.columns.clear()

    def _compute(self, index: int) -> None:
        found = self.store.get(self.keys[index])
        if found is not None:
            self.columns[index] = found
        elif index in self.order.together and kernels.available():
            self._pass([i for i in self.order.together[index] if i == index or self.store.get(self.keys[i]) is None])
            if index not in self.columns:  # another node of the pass has the same column, as with two equal windows
                shared = self.store.get(self.keys[index])
                if shared is None:
                    self._alone(index)
                else:
                    self.columns[index] = shared
        else:
            self._alone(index)

    def _alone(self, index: int) -> None:
        self.columns[index] = self._fresh(index)
        self.store.put(self.keys[index], self.columns[index], made=self._made(index))

    def _made(self, index: int) -> bool:
        shape = self.graph.shapes[index]
        return shape.step is not None and not shape.clock

    def _pass(self, indexes: list[int]) -> None:
        """Compute nodes of one kind in one pass, as many at a time as there is a kernel for."""
        op = self.graph.nodes[indexes[0]].op
        indexes = list({self.keys[i]: i for i in indexes}.values())
        if op in AVERAGES:
            self._averages(indexes)
        elif op in WINDOWS and (len(indexes) == 2 or indexes[0] in self.order.bands):
            self._window(indexes)
        elif op in CROSSINGS and len(indexes) == 2:
            self._crossings(indexes)
        else:
            self._alone(indexes[0])

    def _out(self, index: int) -> Column:
        shape = self.graph.shapes[index]
        column = self.store.buffer(shape.kind, shape.clock)
        self.columns[index] = column
        self.store.put(self.keys[index], column, made=self._made(index))
        return column

    def _averages(self, indexes: list[int]) -> None:
        graph = self.graph
        strengths = [i for i in indexes if graph.nodes[i].op == "rsi"]
        averages = [i for i in indexes if i not in strengths]
        while averages or strengths:
            mixes = [m for m in kernels.MIXES if m[0] <= len(averages) and m[1] <= len(strengths)]
            if not mixes:
                self._alone((averages or strengths).pop())
                continue
            a, r = mixes[0]
            taken, averages, strengths = averages[:a] + strengths[:r], averages[a:], strengths[r:]
            arguments: list[Any] = []
            for index in taken:
                shape = graph.shapes[index]
                source = self.column(shape.columns[0], shape.clock)
                arguments += [source, *self.binding.bound[index], self._state(index)[0], self._out(index)]
            kernels.get_lanes(f"averages_{a}_{r}")(*arguments)

    def _crossings(self, indexes: list[int]) -> None:
        above, below = sorted(indexes, key=lambda i: CROSSINGS.index(self.graph.nodes[i].op))
        shape = self.graph.shapes[above]
        inputs = [self.column(c, shape.clock) for c in shape.columns]
        states = self._state(above)[0], self._state(below)[0]
        kernels.get_lanes("crossings_2")(*inputs, states[0], self._out(above), states[1], self._out(below))

    def _window(self, indexes: list[int]) -> None:
        """Mean and deviation of one window, or a mean with the band around it."""
        graph, nothing = self.graph, np.empty(0)
        band = self.order.bands.get(indexes[0]) if len(indexes) == 1 else None
        if band is None:
            mean, deviation = sorted(indexes, key=lambda i: WINDOWS.index(graph.nodes[i].op))
            factor, upper, lower = 0.0, nothing, nothing
        else:
            mean, deviation = band.mean, band.deviation
            factor, upper, lower = self.binding.scalars[band.factor], self._out(band.upper), self._out(band.lower)
        shape = graph.shapes[mean]
        inputs = [self.column(c, shape.clock) for c in shape.columns]
        states = (*self._state(mean), self._out(mean), *self._state(deviation))
        spread = nothing if band is not None else self._out(deviation)
        kernels.get_lanes("window")(*inputs, *self.binding.bound[deviation], factor, *states, spread, upper, lower)

    def _state(self, index: int) -> tuple[Column, Column]:
        if self.states is not None:
            return self.states.views[index]
        step = self.graph.shapes[index].step
        if step is None:
            raise TypeError(f"node {index} has no state")
        bound = self.binding.bound[index]
        size = step.buffer(*bound) if step.buffer is not None else 0
        return np.array(step.state, np.float64), np.full(size, step.fill, np.float64)

    def _fresh(self, index: int) -> Column:
        node, shape = self.graph.nodes[index], self.graph.shapes[index]
        if node.op == "field":
            return self.store.field(*node.args)
        step = shape.step
        if node.op == "resampled":
            return self.store.higher_field(*node.args)
        if step is None:
            source = shape.columns[0]
            return self.store.held(self.graph.shapes[source].clock, self.columns[source])
        out = self.store.buffer(step.out, shape.clock)
        scalars = self.binding.scalars
        if step.elementwise:
            mix = "".join("s" if self.graph.shapes[c].scalar else "a" for c in shape.columns)
            operands = [scalars[c] if m == "s" else self.columns[c] for c, m in zip(shape.columns, mix, strict=True)]
            kernels.run_elementwise(step, operands, mix, out)
            return out
        state, w = self._state(index)
        columns = [self.column(c, shape.clock) for c in shape.columns]
        kernels.run_stateful(step, columns, self.binding.bound[index], state, w, out)
        return out

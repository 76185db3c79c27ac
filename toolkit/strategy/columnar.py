"""The columnar driver: a strategy over whole columns of bars, equal sub-expressions computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import StrategyError, must_be
from toolkit.risk.rounding import points_from_distance, stop_points_from_distance
from toolkit.strategy import kernels, management
from toolkit.strategy.cache import ColumnCache
from toolkit.strategy.expressions import BASE
from toolkit.strategy.management import Management
from toolkit.strategy.packing import col_pack, col_points, col_stop_points
from toolkit.strategy.params import Value
from toolkit.strategy.plan import Binding, bind, state_sizes
from toolkit.strategy.spec import ROOTS, StrategySpec

if TYPE_CHECKING:
    from toolkit.market import Bars, Instrument

Column = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What a strategy decides on each closed bar.

    Attributes
    ----------
    code : uint8[n]
        1 enter long, 2 enter short, 4 exit long, 8 exit short.
    stop_points : int32[n] or int32[1]
        Stop distance in points, whole pips; 0 where there is none (the entry is skipped).
    target_points : int32[n], int32[1] or None
        Target distance in points where the target is a distance.
    rr : float or None
        Target as a multiple of the stop distance.
    frame : dict of str to column
        Values of the named nodes, when asked for.
    has_stop : bool
        False when the strategy declares no stop at all (fixed lots only).
    management : Management or None
        Pending entries, trailing, break-even, partials, time exit; None for plain market entries.
    """

    code: NDArray[np.uint8]
    stop_points: NDArray[np.int32]
    target_points: NDArray[np.int32] | None = None
    rr: float | None = None
    frame: dict[str, Column] | None = None
    has_stop: bool = True
    management: Management | None = None


def evaluate(
    spec: StrategySpec,
    bars: Bars | Mapping[str, Bars],
    *,
    frame: bool = False,
    params: Mapping[str, Value] | None = None,
    cache: ColumnCache | None = None,
    instrument: Instrument | None = None,
    supports: Iterable[str] = (),
) -> Decisions:
    """Evaluate a strategy on every bar.

    Parameters
    ----------
    spec : StrategySpec
        The strategy.
    bars : Bars
        Closed bars, oldest first.
    frame : bool
        Whether to return the columns of the named nodes too.
    params : mapping, optional
        Parameter values instead of the spec's own (already checked, see `StrategySpec.with_params`).
    cache : ColumnCache, optional
        Columns shared between the sets of a sweep; must have been made for these bars.
    instrument : Instrument, optional
        Digits and pip size; defaults to the bars' own.
    supports : iterable of str
        Features of `management.FEATURES` that the caller's engine can do; a strategy that needs others is refused.

    Returns
    -------
    Decisions
    """
    management.refuse_unsupported(spec.features, supports, spec.name)
    values = spec.values if params is None else {**spec.values, **params}
    main = bars if not isinstance(bars, Mapping) else next(iter(bars.values()))
    store = cache if cache is not None else ColumnCache(bars, shared=False)
    decisions = _decide(spec, store, bind(spec.graph, values), frame, instrument or main.instrument, None)
    return decisions


def column_keys(spec: StrategySpec, cache: ColumnCache, params: Mapping[str, Value] | None = None) -> list[int]:
    """Return the numbers of the columns a set needs, for `ColumnCache.retain` and `ColumnCache.release`."""
    values = spec.values if params is None else {**spec.values, **params}
    return cache.keys(spec.graph, bind(spec.graph, values))


def advance(
    spec: StrategySpec, bars: Bars | Mapping[str, Bars], state: bytes | None = None, *, frame: bool = False
) -> tuple[Decisions, bytes]:
    """Evaluate a block of bars from a saved state (None: from the first bar) and return the state after it.

    The state is that of `incremental.Incremental`: either driver continues where the other stopped.
    """
    from toolkit.strategy.incremental import pack_state, unpack_state

    if spec.graph.clocks:
        raise StrategyError(
            must_be(
                "a strategy advanced in blocks", "on one timeframe", ", ".join(spec.graph.clocks), "use Incremental"
            )
        )
    binding = bind(spec.graph, spec.values)
    sizes = state_sizes(spec.graph, binding)
    flat = unpack_state(spec, sizes, state)
    held = np.array(flat, np.float64)
    main = bars if not isinstance(bars, Mapping) else next(iter(bars.values()))
    decisions = _decide(
        spec, ColumnCache(bars, shared=False), binding, frame, main.instrument, _States(sizes, held), every=True
    )
    return decisions, pack_state(spec, held.tolist())


class _States:
    """The state of every node as views into one flat array."""

    def __init__(self, sizes: list[tuple[int, int]], flat: Column) -> None:
        self.views: list[tuple[Column, Column]] = []
        at = 0
        for scalars, buffer in sizes:
            self.views.append((flat[at : at + scalars], flat[at + scalars : at + scalars + buffer]))
            at += scalars + buffer


def _decide(
    spec: StrategySpec,
    store: ColumnCache,
    binding: Binding,
    frame: bool,
    instrument: Instrument,
    states: _States | None,
    every: bool = False,
) -> Decisions:
    stop, target = spec.protection["stop"], spec.protection["target"]
    wanted = list(spec.roots.values())
    wanted += [part["node"] for part in (stop, target) if "node" in part]
    wanted += management.nodes(spec.management)
    if frame or every:
        wanted += list(spec.named.values())
    run = _Run(spec, store, binding, states, wanted if not every else range(len(spec.graph.nodes)))
    n = store.length
    conditions = [run.column(spec.roots[r]) if r in spec.roots else store.never() for r in ROOTS]
    code = np.empty(n, np.uint8)
    if kernels.available():
        kernels.get("pack")(*conditions, code)
    else:
        _plain_pack(conditions, code)
    has_stop = stop["kind"] != "none"
    stop_points = np.zeros(1, np.int32)
    scale, per_pip = instrument.scale, instrument.points_per_pip
    if stop["kind"] == "pips":
        stop_points[0] = stop_points_from_distance(binding.scalars[stop["node"]] * per_pip, 1, per_pip)
    elif stop["kind"] == "distance":
        stop_points = run.points(stop["node"], scale, per_pip)
    target_points: NDArray[np.int32] | None = None
    rr: float | None = None
    if target["kind"] == "rr":
        rr = binding.scalars[target["node"]]
    elif target["kind"] == "pips":
        target_points = np.array([points_from_distance(binding.scalars[target["node"]] * per_pip, 1)], np.int32)
    elif target["kind"] == "distance":
        target_points = run.points(target["node"], scale, None)
    managed = None
    if spec.management:

        def points(part: dict[str, Any], up: bool) -> NDArray[np.int32]:
            if part["kind"] == "distance":
                return run.points(part["node"], scale, per_pip if up else None)
            pips = binding.scalars[part["node"]] * per_pip
            whole = stop_points_from_distance(pips, 1, per_pip) if up else points_from_distance(pips, 1)
            return np.array([whole], np.int32)

        managed = management.resolve(spec.management, binding.scalars, points)
    named: dict[str, Column] | None = None
    if frame:
        # a shared cache uses the memory again, a caller's own does not
        columns = {name: run.column(node) for name, node in spec.named.items()}
        named = {name: c.copy() for name, c in columns.items()} if store.shared else columns
    run.done()
    return Decisions(code, stop_points, target_points, rr, named, has_stop, managed)


def _plain_pack(conditions: list[Column], code: Column) -> None:
    long, short, leave_long, leave_short = (c == 2 for c in conditions)
    code[:] = leave_long * 4 + leave_short * 8 + (long & ~short & ~leave_long) * 1 + (short & ~long & ~leave_short) * 2


class _Run:
    """One evaluation: computes the nodes that are needed, in order, sharing columns through the store."""

    def __init__(
        self, spec: StrategySpec, store: ColumnCache, binding: Binding, states: _States | None, wanted: Any
    ) -> None:
        self.graph = spec.graph
        self.store = store
        self.binding = binding
        self.states = states
        self.keys = store.keys(spec.graph, binding, states is not None)
        self.columns: dict[int, Column] = {}
        kept = list(wanted)
        needed = self.graph.needed(kept)
        # a caller's own columns are given back after their last reader; shared ones live by the store's counts
        left = self._readers(needed, kept) if not store.shared and states is None else None
        for index, shape in enumerate(self.graph.shapes):
            if needed[index] and not shape.scalar:
                self._compute(index)
                if left is not None:
                    self._give_back(shape.columns, left)

    def _readers(self, needed: list[bool], kept: list[int]) -> dict[int, int]:
        left: dict[int, int] = {}
        for index, shape in enumerate(self.graph.shapes):
            if needed[index]:
                for child in shape.columns:
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
        out = np.empty(self.store.length, np.int32)
        column = self.columns[index]
        if per_pip is None:
            (kernels.get("points") if kernels.available() else col_points)(column, scale, out)
        else:
            (kernels.get("stop_points") if kernels.available() else col_stop_points)(column, scale, per_pip, out)
        return out

    def done(self) -> None:
        """Give back the columns nobody needs any more."""
        self.columns.clear()

    def _compute(self, index: int) -> None:
        key = self.keys[index]
        found = self.store.get(key)
        if found is None:
            found = self._fresh(index)
            self.store.put(key, found, made=self._made(index))
        self.columns[index] = found

    def _made(self, index: int) -> bool:
        shape = self.graph.shapes[index]
        return shape.step is not None and not shape.clock

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
        bound = self.binding.bound[index]
        if self.states is None:
            state = np.array(step.state, np.float64)
            w = np.full(step.buffer(*bound) if step.buffer is not None else 0, step.fill, np.float64)
        else:
            state, w = self.states.views[index]
        kernels.run_stateful(step, [self.column(c, shape.clock) for c in shape.columns], bound, state, w, out)
        return out


__all__ = ["ColumnCache", "Decisions", "advance", "col_pack", "evaluate"]

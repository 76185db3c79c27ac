"""The columnar driver: a strategy over whole columns of bars, equal sub-expressions computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import StrategyError, must_be
from toolkit.risk.rounding import points_from_distance, stop_points_from_distance
from toolkit.strategy.authoring import management
from toolkit.strategy.authoring.management import Management
from toolkit.strategy.authoring.params import Value
from toolkit.strategy.columns import kernels
from toolkit.strategy.columns.cache import ColumnCache
from toolkit.strategy.columns.node_run import NodeRun, States
from toolkit.strategy.columns.sets import BoundSet
from toolkit.strategy.drivers.packing import col_pack
from toolkit.strategy.drivers.plan import Binding, bind, state_sizes
from toolkit.strategy.spec import ROOTS, StrategySpec
from toolkit.strategy.user_code import functions

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
    if spec.function is not None:
        return _of_function(spec, main, values, frame, instrument or main.instrument)
    store = cache if cache is not None else ColumnCache(bars, shared=False)
    decisions = _decide(spec, store, bind(spec.graph, values), frame, instrument or main.instrument, None)
    return decisions


def _of_function(
    spec: StrategySpec, bars: Bars, values: Mapping[str, Value], frame: bool, instrument: Instrument
) -> Decisions:
    """Call a function strategy once on all bars."""
    columns = functions.call(spec, values, bars.ts, functions.bar_columns(bars))
    stop = functions.point_column(spec, columns, "stop", instrument)
    target = spec.protection["target"]
    return Decisions(
        functions.codes_of(columns, len(bars)),
        np.zeros(1, np.int32) if stop is None else stop,
        functions.point_column(spec, columns, "target", instrument),
        spec.scalar(target["node"]) if target["kind"] == "rr" else None,
        functions.shown(columns) if frame else None,
        stop is not None,
    )


def _refuse_function(spec: StrategySpec, what: str) -> None:
    if spec.function is not None:
        raise StrategyError(
            must_be(
                what, "given as sections", f"the function {spec.function.path}", "rewrite it as a tk.SectionedStrategy"
            )
        )


def evaluate_set(spec: StrategySpec, bound: BoundSet, cache: ColumnCache, supports: Iterable[str] = ()) -> Decisions:
    """Evaluate one bound parameter set of a sweep on the bars of its cache; equal to `evaluate` with its values."""
    management.refuse_unsupported(spec.features, supports, spec.name)
    _refuse_function(spec, "a strategy that is swept")
    return _decide(spec, cache, bound.binding, False, cache.bars.instrument, None, bound=bound)


def advance(
    spec: StrategySpec, bars: Bars | Mapping[str, Bars], state: bytes | None = None, *, frame: bool = False
) -> tuple[Decisions, bytes]:
    """Evaluate a block of bars from a saved state (None: from the first bar) and return the state after it.

    The state is that of `incremental.Incremental`: either driver continues where the other stopped.
    """
    from toolkit.strategy.drivers.incremental import pack_state, unpack_state

    _refuse_function(spec, "a strategy advanced in blocks")
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
        spec, ColumnCache(bars, shared=False), binding, frame, main.instrument, States(sizes, held), every=True
    )
    return decisions, pack_state(spec, held.tolist())


def _decide(
    spec: StrategySpec,
    store: ColumnCache,
    binding: Binding,
    frame: bool,
    instrument: Instrument,
    states: States | None,
    every: bool = False,
    bound: BoundSet | None = None,
) -> Decisions:
    stop, target = spec.protection["stop"], spec.protection["target"]
    wanted = list(spec.roots.values())
    wanted += [part["node"] for part in (stop, target) if "node" in part]
    wanted += management.nodes(spec.management)
    if frame or every:
        wanted += list(spec.named.values())
    run = NodeRun(spec, store, binding, states, wanted if not every else range(len(spec.graph.nodes)), bound)
    code = run.shared(("code",), "u1", lambda out: _pack(spec, run, out))
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

        managed = management.Resolver(spec.management, binding.scalars).resolve(points, run.known)
    named: dict[str, Column] | None = None
    if frame:
        # a shared cache uses the memory again, a caller's own does not
        columns = {name: run.column(node) for name, node in spec.named.items()}
        named = {name: c.copy() for name, c in columns.items()} if store.shared else columns
    run.done()
    return Decisions(code, stop_points, target_points, rr, named, has_stop, managed)


def _pack(spec: StrategySpec, run: NodeRun, code: Column) -> None:
    conditions = [run.column(spec.roots[r]) if r in spec.roots else run.store.never() for r in ROOTS]
    if kernels.available():
        kernels.get("pack")(*conditions, code)
    else:
        _plain_pack(conditions, code)


def _plain_pack(conditions: list[Column], code: Column) -> None:
    long, short, leave_long, leave_short = (c == 2 for c in conditions)
    code[:] = leave_long * 4 + leave_short * 8 + (long & ~short & ~leave_long) * 1 + (short & ~long & ~leave_short) * 2


__all__ = ["ColumnCache", "Decisions", "advance", "col_pack", "evaluate", "evaluate_set"]

"""The incremental driver: the same node list, one closed bar at a time, with plain Python functions."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.errors import SpecError, StrategyError, must_be
from toolkit.market.timeframes import Timeframe
from toolkit.risk.rounding import points_from_distance, stop_points_from_distance
from toolkit.strategy.authoring import management
from toolkit.strategy.authoring.expressions import BASE, FIELDS, PRICES
from toolkit.strategy.authoring.management import Management
from toolkit.strategy.drivers.packing import pack_code
from toolkit.strategy.drivers.plan import Binding, bind, fresh_state, state_sizes
from toolkit.strategy.drivers.walk import walk
from toolkit.strategy.higher import STATE, Resampler
from toolkit.strategy.spec import ROOTS, StrategySpec
from toolkit.strategy.times import time_values
from toolkit.strategy.user_code.functions import FunctionWalker

if TYPE_CHECKING:
    from toolkit.market import Instrument

_HEADER = struct.Struct("<4s16sI")
_MAGIC = b"SEA1"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a strategy decides on one closed bar; the fields of `columnar.Decisions`."""

    code: int
    stop_points: int
    target_points: int
    rr: float | None = None
    has_stop: bool = True
    management: Management | None = None


class Incremental:
    """A strategy advanced bar by bar, equal to the bit to the columnar driver from the same first bar.

    Parameters
    ----------
    spec : StrategySpec
        The strategy with its parameter values.
    instrument : Instrument
        Digits and pip size for the distances.
    state : bytes, optional
        What `state` returned earlier, for the same spec.
    supports : iterable of str
        Features of `management.FEATURES` that the caller can execute; a strategy that needs others is refused.
    timeframe : Timeframe or str, optional
        Timeframe of the bars; only needed by a strategy that reads higher timeframes.
    symbols : iterable of str
        Symbols whose bars `see` brings; a strategy that reads another one is refused.
    """

    def __init__(
        self,
        spec: StrategySpec,
        instrument: Instrument,
        state: bytes | None = None,
        *,
        supports: Iterable[str] = (),
        timeframe: Timeframe | str | None = None,
        symbols: Iterable[str] = (),
    ) -> None:
        management.refuse_unsupported(spec.features, supports, spec.name)
        self.spec = spec
        self.instrument = instrument
        self._walker = None if spec.function is None else FunctionWalker(spec, instrument, _window(spec, state))
        if self._walker is not None:
            state = None
        graph = spec.graph
        binding = bind(graph, spec.values)
        self._sizes = state_sizes(graph, binding)
        self._values: list[Any] = list(binding.scalars)
        self._state: list[list[float]] = []
        self._buffers: list[list[float]] = []
        self._fields: list[tuple[int, int]] = []
        self._foreign: dict[str, list[tuple[int, int]]] = {}
        known = frozenset(symbols)
        self._uses_time = False
        flat = unpack_state(spec, self._sizes, state)
        at = 0
        clocks: dict[str, list[Callable[[], None]]] = {clock: [] for clock in (BASE, *graph.clocks)}
        higher: dict[str, list[tuple[int, int]]] = {clock: [] for clock in graph.clocks}
        for index, (node, shape) in enumerate(zip(graph.nodes, graph.shapes, strict=True)):
            scalars, buffer = self._sizes[index]
            held, w = flat[at : at + scalars], flat[at + scalars : at + scalars + buffer]
            at += scalars + buffer
            self._state.append(held)
            self._buffers.append(w)
            if shape.scalar:
                continue
            if node.op == "field":
                position = FIELDS.index(node.args[0])
                other = node.args[1] if len(node.args) > 1 else instrument.symbol
                if other == instrument.symbol:
                    self._uses_time = self._uses_time or position >= len(PRICES) + 1
                    self._fields.append((index, position))
                elif other in known:
                    self._foreign.setdefault(other, []).append((index, position))
                    self._values[index] = math.nan  # until its first bar
                else:
                    raise StrategyError(
                        must_be(f"bars[{other!r}]", "among the symbols of the run", "missing", "give its bars as well")
                    )
            elif node.op == "resampled":
                higher[shape.clock].append((index, FIELDS.index(node.args[0])))
            elif shape.step is None:
                self._values[index] = held[0] if shape.kind == "f8" else int(held[0])
                clocks[graph.shapes[shape.columns[0]].clock].append(_hold(self._values, index, shape.columns[0], held))
            else:
                tail = (w,) if shape.step.buffer is not None else ()
                bound = binding.bound[index]
                clocks[shape.clock].append(walk(shape.step, self._values, index, shape.columns, bound, held, tail))
        self._steps = tuple(clocks[BASE])
        self._higher: list[tuple[Resampler, list[tuple[int, int]], tuple[Callable[[], None], ...]]] = []
        for clock in graph.clocks:
            if timeframe is None:
                words = must_be(
                    "timeframe",
                    f"given for a strategy that reads {clock}",
                    "missing",
                    "Incremental(..., timeframe='H1')",
                )
                raise StrategyError(words)
            held = flat[at : at + STATE]
            at += STATE
            self._state.append(held)
            self._buffers.append([])
            self._higher.append((Resampler(clock, Timeframe(timeframe), held), higher[clock], tuple(clocks[clock])))
        never = len(self._values)
        self._values.append(0)
        self._roots = tuple(spec.roots.get(name, never) for name in ROOTS)
        self._stop, self._target = self._protection(binding)
        target = spec.protection["target"]
        self._rr: float | None = binding.scalars[target["node"]] if target["kind"] == "rr" else None
        self._resolver = management.Resolver(spec.management, binding.scalars) if spec.management else None
        self._has_stop = spec.protection["stop"]["kind"] != "none"

    def _protection(self, binding: Binding) -> tuple[Callable[[], int], Callable[[], int]]:
        scale, per_pip, values = self.instrument.scale, self.instrument.points_per_pip, self._values
        stop, target = self.spec.protection["stop"], self.spec.protection["target"]
        fixed_stop = fixed_target = 0
        if stop["kind"] == "pips":
            fixed_stop = stop_points_from_distance(binding.scalars[stop["node"]] * per_pip, 1, per_pip)
        if target["kind"] == "pips":
            fixed_target = points_from_distance(binding.scalars[target["node"]] * per_pip, 1)
        stop_node, target_node = stop.get("node"), target.get("node")
        if stop["kind"] == "distance":
            stop_of = lambda: stop_points_from_distance(values[stop_node], scale, per_pip)  # noqa: E731
        else:
            stop_of = lambda: fixed_stop  # noqa: E731
        if target["kind"] == "distance":
            target_of = lambda: points_from_distance(values[target_node], scale)  # noqa: E731
        else:
            target_of = lambda: fixed_target  # noqa: E731
        return stop_of, target_of

    def step(
        self, ts_ns: int, open: float, high: float, low: float, close: float, volume: float = float("nan")
    ) -> Decision:
        """Take one closed bar (times in epoch nanoseconds of its open, prices of the bid side) and decide."""
        if self._walker is not None:
            code, stop, target = self._walker.step((ts_ns, open, high, low, close, volume))
            return Decision(code, stop, target, self._rr, self._has_stop)
        values = self._values
        bar: tuple[float, ...] = (open, high, low, close, volume)
        if self._uses_time:
            bar += time_values(ts_ns)
        for index, position in self._fields:
            values[index] = bar[position]
        for resampler, fields, steps in self._higher:
            for done in resampler.push(ts_ns, open, high, low, close, volume):
                for index, position in fields:
                    values[index] = done[position]
                for run in steps:
                    run()
        for run in self._steps:
            run()
        a, b, c, d = self._roots
        code = pack_code(values[a], values[b], values[c], values[d])
        managed = None
        if self._resolver is not None and code & 3:
            managed = self._resolver.resolve(self._points, self._known)
        return Decision(code, self._stop(), self._target(), self._rr, self._has_stop, managed)

    def see(
        self, symbol: str, ts_ns: int, open: float, high: float, low: float, close: float, volume: float = math.nan
    ) -> None:
        """Take a closed bar of another symbol: what the next bar's decision reads of it."""
        fields = self._foreign.get(symbol)
        if fields:
            bar = (open, high, low, close, volume, *time_values(ts_ns))
            for index, position in fields:
                self._values[index] = bar[position]

    def _points(self, part: dict[str, Any], up: bool) -> int:
        scale, per_pip = self.instrument.scale, self.instrument.points_per_pip
        value = self._values[part["node"]]
        if part["kind"] == "pips":
            value, scale = value * per_pip, 1
        return stop_points_from_distance(value, scale, per_pip) if up else points_from_distance(value, scale)

    def _known(self, part: dict[str, Any]) -> bool:
        value = self._values[part["node"]]
        return bool(value == value)

    @property
    def values(self) -> dict[str, Any]:
        """Values of the named nodes at the last bar; conditions as 0 false, 1 unknown, 2 true."""
        return {name: self._values[index] for name, index in self.spec.named.items()}

    def state(self) -> bytes:
        """Return everything needed to go on later, exactly; bounded by the windows."""
        if self._walker is not None:
            return _HEADER.pack(_MAGIC, bytes.fromhex(self.spec.hash)[:16], 0) + self._walker.state()
        flat: list[float] = []
        for held, w in zip(self._state, self._buffers, strict=True):
            flat += held
            flat += w
        return pack_state(self.spec, flat)


def _window(spec: StrategySpec, state: bytes | None) -> bytes | None:
    """Return the bars that a function strategy was given last."""
    if state is None:
        return None
    if len(state) < _HEADER.size or _HEADER.unpack_from(state)[:2] != (_MAGIC, bytes.fromhex(spec.hash)[:16]):
        raise SpecError(
            must_be("a strategy state", f"made by {spec.name}", "another's", "start from a warm-up instead")
        )
    return state[_HEADER.size :]


def pack_state(spec: StrategySpec, flat: list[float]) -> bytes:
    """Return a state as bytes: a header that names the spec, then little-endian float64."""
    body = array("d", flat)
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        body.byteswap()
    return _HEADER.pack(_MAGIC, bytes.fromhex(spec.hash)[:16], len(flat)) + body.tobytes()


def unpack_state(spec: StrategySpec, sizes: list[tuple[int, int]], state: bytes | None) -> list[float]:
    """Return a state as a flat list of float; None gives the state before the first bar.

    Raises
    ------
    SpecError
        If the state belongs to another spec or is damaged.
    """
    if state is None:
        return fresh_state(spec.graph, sizes)
    size = sum(a + b for a, b in sizes)
    if len(state) < _HEADER.size:
        raise SpecError(must_be("a strategy state", f"at least {_HEADER.size} bytes", len(state), "it is damaged"))
    magic, owner, count = _HEADER.unpack_from(state)
    if magic != _MAGIC or owner != bytes.fromhex(spec.hash)[:16]:
        raise SpecError(
            must_be(
                "a strategy state",
                f"made by {spec.name} with hash {spec.hash[:12]}",
                "another's",
                "start from a warm-up instead",
            )
        )
    body = array("d")
    body.frombytes(state[_HEADER.size :])
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        body.byteswap()
    if count != size or len(body) != size:
        raise SpecError(must_be("a strategy state", f"{size} numbers", len(body), "it is damaged"))
    return body.tolist()


def _hold(values: list[Any], index: int, source: int, held: list[float]) -> Callable[[], None]:
    def run() -> None:
        values[index] = values[source]
        held[0] = float(values[source])

    return run

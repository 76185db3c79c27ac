"""Prototypes: a pandas function in an importable module, recomputed on a window of bars where it runs live.

Unlike a `SectionedStrategy` its code is not data. The spec holds where the function lives and the hash of its module's
source; whoever runs it imports it from there and refuses another source. What it decided on a bar must not depend on
more than the last ``window`` bars, which the sea trial checks on every bar.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import MissingPackage, SpecError, StrategyError, must_be
from toolkit.risk.rounding import points_from_distance, stop_points_from_distance
from toolkit.strategy.authoring.expressions import literal
from toolkit.strategy.authoring.params import ParamSpec, Value
from toolkit.strategy.authoring.sections import RR, Lots, Pips, RiskPercent
from toolkit.strategy.drivers.packing import pack_code
from toolkit.strategy.graph import Graph, Lowering
from toolkit.strategy.user_code.loaded import changed_since_import

if TYPE_CHECKING:
    from toolkit.market import Bars, Instrument
    from toolkit.strategy.spec import StrategySpec

CONDITIONS = ("entry_long", "entry_short", "exit_long", "exit_short")
_FIELDS = ("open", "high", "low", "close", "volume")

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """Where a function lives, the hash of its module's source, and how many bars it is given live."""

    path: str
    source: str
    window: int

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return {"path": self.path, "source": self.source, "window": self.window}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FunctionRef:
        """Rebuild what is stored; nothing is imported."""
        return cls(str(data["path"]), str(data["source"]), int(data["window"]))


class FunctionStrategy:
    """A strategy written as one pandas function.

    Parameters
    ----------
    signals
        ``signals(bars, **params)``: takes a DataFrame with open, high, low, close (bid) and volume, indexed by the bars'
        opens in UTC, and returns a DataFrame or a mapping of equally long columns. ``entry_long``, ``entry_short``,
        ``exit_long`` and ``exit_short`` are bools; other columns are shown in ``bt.frame``. It must live in a module that
        can be imported where it runs.
    stop_loss
        `Pips`, the name of a column that holds the distance in price, or None (with `Lots` only).
    take_profit
        `RR`, `Pips`, the name of a column that holds the distance in price, or None.
    risk
        `RiskPercent` or `Lots`.
    window
        Live, the function is given this many closed bars.
    params
        Values of the function's keyword parameters, instead of its defaults.

    Raises
    ------
    StrategyError
        When the function cannot be found again by its import path, or a parameter has no plain default.
    """

    def __init__(
        self,
        signals: Callable[..., Any],
        *,
        stop_loss: Pips | str | None,
        take_profit: RR | Pips | str | None = None,
        risk: RiskPercent | Lots | None = None,
        window: int = 500,
        **params: Value,
    ) -> None:
        self.signals = signals
        self.stop_loss = stop_loss
        self.take_profit = take_profit
        self.risk = risk if risk is not None else RiskPercent(1)
        if isinstance(window, bool) or not isinstance(window, int) or not 1 <= window <= 100_000:
            raise StrategyError(must_be("window", "a whole number of bars from 1 to 100000", repr(window), "write 500"))
        self.reference = FunctionRef(_path_of(signals), _source_hash(inspect.getmodule(signals)), window)
        self._params = _param_specs(signals, params)
        if stop_loss is None and isinstance(self.risk, RiskPercent):
            raise StrategyError(
                must_be("stop_loss", "given when the risk is tk.RiskPercent", "None", "add one, or use tk.Lots")
            )
        if isinstance(take_profit, RR) and stop_loss is None:
            raise StrategyError(must_be("take_profit", "a distance where there is no stop", "RR", "give a stop_loss"))

    def to_spec(self) -> StrategySpec:
        """Return the strategy as data: import path, source hash, parameters, protection and risk."""
        from toolkit.strategy.spec import StrategySpec, check

        lowering = Lowering()
        protection = {
            "stop": _stored(self.stop_loss, "stop_loss", lowering),
            "target": _stored(self.take_profit, "take_profit", lowering),
        }
        percent = isinstance(self.risk, RiskPercent)
        number = self.risk.percent if isinstance(self.risk, RiskPercent) else self.risk.lots
        spec = StrategySpec(
            self.signals.__name__,
            (inspect.getdoc(self.signals) or "").split("\n")[0],
            self._params,
            Graph.of(lowering.nodes, {n: "f8" for n, p in self._params.items() if p.type != "choice"}),
            {},
            {},
            protection,
            {"kind": "risk_percent" if percent else "lots", "value": str(number)},
            function=self.reference,
        )
        check(spec)
        return spec

    def __repr__(self) -> str:
        values = "".join(f", {n}={p.value!r}" for n, p in self._params.items())
        return f"FunctionStrategy({self.reference.path}{values})"


def _path_of(signals: Callable[..., Any]) -> str:
    name, module = getattr(signals, "__qualname__", ""), getattr(signals, "__module__", "")
    remedy = "put it at the top level of a module file, import it from there, and pass what it needs as parameters"
    if not inspect.isfunction(signals):
        what = type(signals).__name__
        raise StrategyError(must_be("signals of tk.FunctionStrategy", "a plain function", what, remedy))
    if name == "<lambda>" or "<locals>" in name or signals.__closure__:
        raise StrategyError(must_be("signals of tk.FunctionStrategy", "a top-level function", name, remedy))
    if module in ("__main__", "builtins", "") or "." in name:
        where = "typed in a notebook or a script" if module == "__main__" else f"{module}.{name}"
        raise StrategyError(must_be(f"the module of {name}", "one that can be imported", where, remedy))
    found = getattr(importlib.import_module(module), name, None)
    if found is not signals:
        raise StrategyError(must_be(f"{module}.{name}", "this very function", "another object", remedy))
    return f"{module}:{name}"


def _source_hash(module: Any) -> str:
    try:
        text = inspect.getsource(module)
    except (OSError, TypeError) as error:
        name = getattr(module, "__name__", module)
        raise StrategyError(
            must_be(f"the source of {name}", "readable", str(error), "keep it in a .py file")
        ) from error
    stale = changed_since_import(module, text)
    if stale:
        raise StrategyError(
            must_be(
                f"the module {module.__name__}",
                "as it is on disk",
                f"imported before {stale} was changed there",
                "restart the kernel, or importlib.reload the module",
            )
        )
    return hashlib.sha256(text.encode()).hexdigest()


def _param_specs(signals: Callable[..., Any], given: Mapping[str, Value]) -> dict[str, ParamSpec]:
    names = list(inspect.signature(signals).parameters.values())[1:]
    found: dict[str, ParamSpec] = {}
    for p in names:
        value = given.get(p.name, p.default)
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or type(value) not in (int, float, bool, str):
            raise StrategyError(
                must_be(
                    f"parameter {p.name} of {signals.__name__}",
                    "a number, bool or text by name",
                    "without a plain default" if value is p.empty else repr(value),
                    f"write {p.name}=14 in the signature",
                )
            )
        if isinstance(value, (bool, str)):
            found[p.name] = ParamSpec("choice", value, options=(value,))
        else:
            found[p.name] = ParamSpec("int" if isinstance(value, int) else "float", value)
    unknown = set(given) - set(found)
    if unknown:
        known = ", ".join(found) or "none"
        raise StrategyError(
            must_be(
                f"parameters of {signals.__name__}", f"among {known}", ", ".join(sorted(unknown)), "correct the name"
            )
        )
    return found


def _stored(value: Any, what: str, lowering: Lowering) -> dict[str, Any]:
    if value is None:
        return {"kind": "none"}
    if isinstance(value, str):
        return {"kind": "column", "name": value}
    if isinstance(value, Pips):
        return {"kind": "pips", "node": lowering.add(literal(float(value.pips)))}
    if isinstance(value, RR) and what == "take_profit":
        return {"kind": "rr", "node": lowering.add(literal(float(value.ratio)))}
    raise StrategyError(must_be(what, "tk.Pips, the name of a column or None", repr(value), "write tk.Pips(20)"))


@cache
def find_function(reference: FunctionRef) -> Callable[..., Any]:
    """Import the function of a spec, and refuse it when its module's source is not the promoted one.

    Raises
    ------
    SpecError
        When module or function are not here, or the source differs.
    """
    name, _, attribute = reference.path.partition(":")
    try:
        module = importlib.import_module(name)
        found: Callable[..., Any] = getattr(module, attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            must_be(f"the function {reference.path}", "importable here", str(error), "install its module where it runs")
        ) from error
    if _source_hash(module) != reference.source:
        raise SpecError(
            must_be(
                f"the source of {name}",
                f"the promoted one ({reference.source[:12]})",
                "another",
                "restore that version of the module, or test and promote the new one",
            )
        )
    return found


def call(spec: StrategySpec, values: Mapping[str, Value], ts: Any, fields: Columns) -> Columns:
    """Call a spec's function on columns of bars and return its columns, checked.

    Raises
    ------
    StrategyError
        When it returns something else than equally long columns with bool conditions.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingPackage("a FunctionStrategy needs pandas: pip install 'seatrial[research]'") from error
    if spec.function is None:
        raise AssertionError("the spec has a function")
    frame = pd.DataFrame(fields, index=pd.DatetimeIndex(ts, tz="UTC", name="ts"), copy=True)
    result = find_function(spec.function)(frame, **values)
    columns: Columns = {}
    if not isinstance(result, (pd.DataFrame, Mapping)):
        raise _wrong(spec, "a DataFrame or a mapping of columns", type(result).__name__)
    for name, column in dict(result).items():
        array_ = np.asarray(column)
        if array_.shape != (len(frame),):
            raise _wrong(spec, f"columns of {len(frame)} values", f"{name} of shape {array_.shape}")
        if name in CONDITIONS and array_.dtype != np.bool_:
            raise _wrong(spec, f"{name} as bools without gaps", str(array_.dtype))
        columns[str(name)] = array_
    if not {"entry_long", "entry_short"} & set(columns):
        raise _wrong(spec, "entry_long, entry_short or both", ", ".join(columns) or "nothing")
    for part in ("stop", "target"):
        rule = spec.protection[part]
        if rule["kind"] == "column" and rule["name"] not in columns:
            raise _wrong(spec, f"the column {rule['name']} of the {part}", ", ".join(columns))
    return columns


def _wrong(spec: StrategySpec, wanted: str, was: str) -> StrategyError:
    return StrategyError(must_be(f"what {spec.name} returns", wanted, was, "see tk.FunctionStrategy"))


def bar_columns(bars: Bars) -> Columns:
    """Return what a function reads of bars: bid prices as floats, and volume."""
    volume = bars.volume if bars.volume is not None else np.full(len(bars), np.nan)
    return {"open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close, "volume": volume}


def codes_of(columns: Columns, rows: int) -> npt.NDArray[np.uint8]:
    """Return the decision byte of each bar; contradictions are cleared as everywhere."""
    never = np.zeros(rows, np.bool_)
    long, short, leave_long, leave_short = (columns.get(name, never) for name in CONDITIONS)
    code = leave_long * 4 + leave_short * 8 + (long & ~short & ~leave_long) * 1 + (short & ~long & ~leave_short) * 2
    packed: npt.NDArray[np.uint8] = code.astype(np.uint8)
    return packed


class FunctionWalker:
    """A function strategy one closed bar at a time: the function is called again on the last ``window`` bars."""

    def __init__(self, spec: StrategySpec, instrument: Instrument, state: bytes | None) -> None:
        if spec.function is None:
            raise AssertionError("the spec has a function")
        find_function(spec.function)
        self.spec = spec
        self.instrument = instrument
        self._window = spec.function.window
        self._rows: list[tuple[float, ...]] = []
        if state:
            held = array("d")
            held.frombytes(state)
            width = len(_FIELDS) + 1
            self._rows = [tuple(held[i : i + width]) for i in range(0, len(held), width)]

    def step(self, bar: tuple[float, ...]) -> tuple[int, int, int]:
        """Take one bar (open time in ns, prices, volume); return decision byte, stop and target distance in points."""
        self._rows.append(bar)
        del self._rows[: -self._window]
        table = np.array(self._rows, np.float64)
        fields = {name: table[:, i + 1] for i, name in enumerate(_FIELDS)}
        columns = call(self.spec, self.spec.values, table[:, 0].astype(np.int64), fields)
        flags = (2 * int(columns[n][-1]) if n in columns else 0 for n in CONDITIONS)
        return pack_code(*flags), self._points(columns, "stop"), self._points(columns, "target")

    def _points(self, columns: Columns, part: str) -> int:
        rule, per_pip = self.spec.protection[part], self.instrument.points_per_pip
        if rule["kind"] not in ("pips", "column"):
            return 0
        if rule["kind"] == "pips":
            distance, scale = self.spec.scalar(rule["node"]) * per_pip, 1
        else:
            distance, scale = float(columns[rule["name"]][-1]), self.instrument.scale
        if part == "stop":
            return stop_points_from_distance(distance, scale, per_pip)
        return points_from_distance(distance, scale)

    def state(self) -> bytes:
        """Return the window of bars."""
        # A bar's open in ns is a multiple of a minute, which a float64 holds exactly.
        return array("d", [x for row in self._rows for x in row]).tobytes()


def point_column(
    spec: StrategySpec, columns: Columns, part: str, instrument: Instrument
) -> npt.NDArray[np.int32] | None:
    """Return the distances of a function strategy's stop or target in points; None where it has none of its own."""
    rule, per_pip = spec.protection[part], instrument.points_per_pip
    if rule["kind"] == "pips":
        pips = spec.scalar(rule["node"]) * per_pip
        whole = stop_points_from_distance(pips, 1, per_pip) if part == "stop" else points_from_distance(pips, 1)
        return np.array([whole], np.int32)
    if rule["kind"] != "column":
        return None
    values, scale = columns[rule["name"]].astype(np.float64).tolist(), instrument.scale
    if part == "stop":
        points = [stop_points_from_distance(v, scale, per_pip) for v in values]
    else:
        points = [points_from_distance(v, scale) for v in values]
    return np.array(points, np.int32)


def shown(columns: Columns) -> Columns:
    """Return the columns that are neither conditions nor decided: what ``bt.frame`` shows besides prices."""
    return {n: c for n, c in columns.items() if n not in CONDITIONS}


__all__ = ["FunctionRef", "FunctionStrategy", "FunctionWalker"]

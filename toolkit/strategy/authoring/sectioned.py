"""Strategies written as a class with sections, traced once into a graph."""

from __future__ import annotations

import copy
import html
import inspect
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, NoReturn
from weakref import WeakKeyDictionary

from toolkit.errors import StrategyError, must_be, suggest
from toolkit.strategy.authoring import management
from toolkit.strategy.authoring.checks import refuse_level, refuse_negative
from toolkit.strategy.authoring.expressions import Expr, as_expr, hold, literal, logical
from toolkit.strategy.authoring.params import Param, ParamSpec, Value, unknown_param
from toolkit.strategy.authoring.sections import RR, Entry, Exit, Lots, Pips, Protection, RiskPercent
from toolkit.strategy.authoring.symbols import BarsSymbol, Outputs
from toolkit.strategy.graph import Graph, Lowering
from toolkit.strategy.spec import StrategySpec, check


class Nodes:
    """What ``indicators`` returned, read as attributes in the other sections; prices are there as well: ``x.close``."""

    __slots__ = ("_bars", "_items", "_owner")

    def __init__(self, owner: str, items: Mapping[str, Expr | Outputs], bars: BarsSymbol) -> None:
        self._owner = owner
        self._items = items
        self._bars = bars

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._items:
            return self._items[name]
        if name == "bars":
            return self._bars
        if name in ("open", "high", "low", "close", "volume", "hl2", "hlc3", "ohlc4"):
            return getattr(self._bars, name)
        known = [*self._items, "open", "high", "low", "close", "volume"]
        raise StrategyError(
            must_be(
                f"x.{name} in {self._owner}",
                "returned by indicators(), or a price",
                "neither",
                "known are " + ", ".join(known) + suggest(name, known),
            )
        )

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class SectionedStrategy:
    """A trading strategy: parameters as class attributes, sections as methods.

    Sections are ``indicators(self, bars) -> dict``, ``entry(self, x) -> Entry``, ``exit(self, x) -> Exit`` (optional),
    ``protection(self, x) -> Protection``, ``risk(self) -> RiskPercent | Lots`` and ``filters(self, x)`` (optional:
    one condition or several, all of which an entry needs). The methods run once, on symbols, to record what is
    computed; they never see a price.
    """

    _params: ClassVar[dict[str, Param]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        found: dict[str, Param] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, Param):
                    if name in _RESERVED:
                        raise StrategyError(
                            must_be(
                                "the name of a parameter", "other than a section's", repr(name), "choose another name"
                            )
                        )
                    value.check_default(cls.__name__)
                    found[name] = value
                elif name in found:
                    del found[name]
        cls._params = found

    def __init__(self, **params: Value) -> None:
        values: dict[str, Value] = {name: p.spec.value for name, p in self._params.items()}
        for name, value in params.items():
            if name not in self._params:
                raise unknown_param(name, self._params, type(self).__name__)
            values[name] = self._params[name].spec.with_value(name, value).value
        self.__dict__["_values"] = values

    @property
    def params(self) -> dict[str, Value]:
        """Parameter values by name."""
        return dict(self.__dict__["_values"])

    # sections, to be written by the quant

    def indicators(self, bars: Any) -> Mapping[str, Any]:
        """Name the values the other sections use."""
        return {}

    def entry(self, x: Any) -> Entry:
        """Say when to enter."""
        _missing(self, "entry", "return tk.Entry(long=..., short=...)")

    def exit(self, x: Any) -> Exit | None:
        """Say when to leave by signal."""
        return Exit()

    def protection(self, x: Any) -> Protection:
        """Say where stop and target lie."""
        _missing(self, "protection", "return tk.Protection(stop_loss=tk.Pips(20), take_profit=tk.RR(2))")

    def risk(self) -> RiskPercent | Lots:
        """Say how large a position is."""
        _missing(self, "risk", "return tk.RiskPercent(1.0) or tk.Lots(0.1)")

    def filters(self, x: Any) -> Any:
        """Name conditions that every entry needs."""
        return ()

    # tracing

    def trace(self) -> Graph:
        """Return the strategy's graph."""
        return self.to_spec().graph

    def to_spec(self) -> StrategySpec:
        """Trace the strategy twice and return it as data; two different graphs are refused.

        Where an earlier trace of the class gave the same graph, that one counts as the second.
        """
        first = _trace(self)
        text = _text(first)
        if _TRACED.get(type(self)) == text:
            return first
        second = _trace(self)
        _TRACED[type(self)] = text
        if _text(second) != text and first.hash != second.hash:
            changes = "; ".join(first.diff(second)) or "their text"
            raise StrategyError(
                must_be(
                    f"tracing {type(self).__name__}",
                    "the same every time",
                    f"different in {changes}",
                    "sections must not use random numbers, the time, files or counters",
                )
            )
        return first

    def describe(self) -> str:
        """Return the strategy in words."""
        return self.to_spec().describe()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self.params.items())})"

    def _repr_html_(self) -> str:
        try:
            return self.to_spec()._repr_html_()
        except StrategyError as refusal:
            return f"<b>{html.escape(repr(self))}</b><p>{html.escape(str(refusal))}</p>"


_TRACED: WeakKeyDictionary[type, tuple[Any, ...]] = WeakKeyDictionary()
_RESERVED = ("indicators", "entry", "exit", "protection", "risk", "filters", "params", "trace", "to_spec", "describe")


def _missing(strategy: SectionedStrategy, section: str, remedy: str) -> NoReturn:
    raise StrategyError(must_be(f"{type(strategy).__name__}.{section}", "defined", "missing", f"add it: {remedy}"))


def _section(strategy: SectionedStrategy, name: str, wanted: tuple[type, ...], remedy: str, *args: Any) -> Any:
    result = getattr(strategy, name)(*args)
    if not isinstance(result, wanted):
        shown = "None" if result is None else type(result).__name__
        raise StrategyError(
            must_be(
                f"what {type(strategy).__name__}.{name} returns", " or ".join(w.__name__ for w in wanted), shown, remedy
            )
        )
    return result


def _named(owner: str, items: Mapping[str, Any]) -> dict[str, Expr | Outputs]:
    named: dict[str, Expr | Outputs] = {}
    for name, value in items.items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise StrategyError(must_be(f"a name in {owner}.indicators", "a plain word", repr(name), "rename it"))
        if isinstance(value, (Outputs, Expr)):
            named[name] = value
        else:
            named[name] = as_expr(value, f"indicators()[{name!r}]")
    return named


def _condition(value: object, where: str) -> Expr:
    return hold(as_expr(value, where, "i1"))


def _trace(strategy: SectionedStrategy) -> StrategySpec:
    cls = type(strategy)
    traced = copy.copy(strategy)
    traced.__dict__["_tracing"] = True
    bars = BarsSymbol()
    listed = _section(traced, "indicators", (Mapping,), "return dict(name=expression, ...)", bars)
    named = _named(cls.__name__, listed)
    x = Nodes(cls.__name__, named, bars)
    entry = _section(traced, "entry", (Entry,), "return tk.Entry(long=..., short=...)", x)
    leave = traced.exit(x)
    if not isinstance(leave, Exit):
        raise StrategyError(
            must_be(
                f"what {cls.__name__}.exit returns",
                "Exit",
                "None" if leave is None else type(leave).__name__,
                "return tk.Exit(long=..., short=...), or leave the section out",
            )
        )
    protection = _section(
        traced, "protection", (Protection,), "return tk.Protection(stop_loss=..., take_profit=...)", x
    )
    risk = _section(traced, "risk", (RiskPercent, Lots), "return tk.RiskPercent(1.0) or tk.Lots(0.1)")
    filters = _filters(traced, x)

    lowering = Lowering()
    index: dict[str, int] = {}
    for name, value in named.items():
        pairs = value.items() if isinstance(value, Outputs) else (("", value),)
        for part, expr in pairs:
            index[f"{name}.{part}" if part else name] = lowering.add(hold(expr))
    roots: dict[str, int] = {}
    for side in ("long", "short"):
        condition = getattr(entry, side)
        if condition is not None:
            root = _condition(condition, f"Entry({side}=...)")
            for test in filters:
                root = logical("and", root, test)
            roots[f"entry_{side}"] = lowering.add(root)
        condition = getattr(leave, side)
        if condition is not None:
            roots[f"exit_{side}"] = lowering.add(_condition(condition, f"Exit({side}=...)"))
    specs = {
        name: ParamSpec(p.spec.type, strategy.params[name], p.spec.low, p.spec.high, p.spec.options)
        for name, p in cls._params.items()
    }
    stored = _protection(protection, lowering, specs)

    def management_distance(value: Any, what: str) -> dict[str, Any]:
        if isinstance(value, RR) and what not in ("trailing_stop", "break_even plus"):
            return {"kind": "rr", "node": _fixed(value.ratio, lowering)}
        return distance(value, what, lowering, specs)

    managed = management.store(entry, protection, lowering, management_distance)
    if managed:
        stored["management"] = managed
    sizing = _sizing(risk, lowering)
    if stored["stop"]["kind"] == "none" and sizing["kind"] == "risk_percent":
        raise StrategyError(
            must_be(
                "stop_loss",
                "given when the risk is tk.RiskPercent",
                "None",
                "the size follows from the stop: add one, or use tk.Lots",
            )
        )
    graph = Graph.of(lowering.nodes, {n: "f8" for n, p in specs.items() if p.type != "choice"})
    doc = (inspect.getdoc(cls) or "").split("\n")[0] if cls.__doc__ else ""

    def retrace(values: dict[str, Value]) -> StrategySpec:
        again = copy.copy(strategy)
        again.__dict__["_values"] = values
        return again.to_spec()

    spec = StrategySpec(cls.__name__, doc, specs, graph, index, roots, stored, sizing, retrace)
    check(spec)
    return spec


def _text(spec: StrategySpec) -> tuple[Any, ...]:
    """Return what a trace wrote down: equal ones are of the same strategy, different ones have to be compared by hash."""
    return id(spec.graph), spec.graph, spec.named, spec.roots, spec.protection, spec.sizing


def _filters(strategy: SectionedStrategy, x: Nodes) -> list[Expr]:
    result = strategy.filters(x)
    if result is None:
        raise StrategyError(
            must_be(
                f"what {type(strategy).__name__}.filters returns",
                "a condition or several",
                "None",
                "return a condition, a list of them, or leave the section out",
            )
        )
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, Expr) or not isinstance(result, Iterable):
        result = [result]
    return [_condition(value, "filters()") for value in result]


def _sizing(risk: RiskPercent | Lots, lowering: Lowering) -> dict[str, Any]:
    kind, number = ("risk_percent", risk.percent) if isinstance(risk, RiskPercent) else ("lots", risk.lots)
    if isinstance(number, Expr):
        return {"kind": kind, "node": lowering.add(number)}
    return {"kind": kind, "value": str(number)}


def _fixed(number: Decimal | Expr, lowering: Lowering) -> int:
    return lowering.add(number if isinstance(number, Expr) else literal(float(number)))


def distance(value: Any, what: str, lowering: Lowering, params: Mapping[str, ParamSpec]) -> dict[str, Any]:
    """Store a distance given as pips, a number or an expression; a negative one or a price level is refused."""
    if isinstance(value, Pips):
        return {"kind": "pips", "node": _fixed(value.pips, lowering)}
    if isinstance(value, RR):
        raise StrategyError(must_be(what, "a distance", "RR", "a multiple of the stop is for take_profit"))
    expr = hold(as_expr(value, what))
    refuse_negative(expr, what, params)
    refuse_level(expr, what)
    return {"kind": "distance", "node": lowering.add(expr)}


def _protection(protection: Protection, lowering: Lowering, params: Mapping[str, ParamSpec]) -> dict[str, Any]:
    stop: dict[str, Any] = {"kind": "none"}
    target: dict[str, Any] = {"kind": "none"}
    if protection.stop_loss is not None:
        stop = distance(protection.stop_loss, "stop_loss", lowering, params)
    if isinstance(protection.take_profit, RR):
        if stop["kind"] == "none":
            raise StrategyError(must_be("take_profit", "a distance where there is no stop", "RR", "give a stop_loss"))
        target = {"kind": "rr", "node": _fixed(protection.take_profit.ratio, lowering)}
    elif protection.take_profit is not None:
        target = distance(protection.take_profit, "take_profit", lowering, params)
    return {"stop": stop, "target": target}

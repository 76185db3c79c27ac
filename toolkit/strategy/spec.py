"""A strategy as data: canonical JSON that is hashed, stored, diffed, put in words and rebuilt without running code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from toolkit.errors import SpecError, StrategyError, must_be
from toolkit.strategy.authoring import management
from toolkit.strategy.authoring.params import ParamSpec, Value, unknown_param
from toolkit.strategy.authoring.sections import Lots, RiskPercent
from toolkit.strategy.graph import Graph, Node
from toolkit.strategy.registry import STEPS
from toolkit.strategy.user_code.functions import FunctionRef
from toolkit.strategy.user_code.user_steps import receive, shipped_steps

FORMAT = 1
FILL_RULES = 1
ROOTS = ("entry_long", "entry_short", "exit_long", "exit_short")
_STOPS = ("distance", "pips", "none")
_TARGETS = ("none", "rr", "distance", "pips")


@dataclass(frozen=True)
class StrategySpec:
    """One strategy with its parameter values.

    Attributes
    ----------
    name, doc : str
        Class name and its first docstring line.
    params : dict of str to ParamSpec
        Values with their bounds.
    graph : Graph
        Every node, children first.
    named : dict of str to int
        Nodes that the strategy's ``indicators`` section named.
    roots : dict of str to int
        Entry and exit conditions, filters already applied.
    protection, sizing : dict
        Stop and target, and the risk, with node references.
    function : FunctionRef or None
        The pandas function that decides instead of a graph (`toolkit.strategy.user_code.functions`).
    """

    name: str
    doc: str
    params: dict[str, ParamSpec]
    graph: Graph
    named: dict[str, int]
    roots: dict[str, int]
    protection: dict[str, Any]
    sizing: dict[str, Any]
    retrace: Callable[[dict[str, Value]], StrategySpec] | None = field(default=None, compare=False, repr=False)
    function: FunctionRef | None = None

    @classmethod
    def from_strategy(cls, strategy: Any) -> StrategySpec:
        """Trace a strategy, twice, and return it as data.

        Raises
        ------
        StrategyError
            If a section is missing or misused, or tracing twice gives two different graphs.
        """
        if isinstance(strategy, StrategySpec):
            return strategy
        if isinstance(strategy, type):
            raise StrategyError(
                must_be("the strategy", "an object", f"the class {strategy.__name__}", f"write {strategy.__name__}()")
            )
        if not hasattr(strategy, "to_spec"):
            raise StrategyError(
                must_be(
                    "the strategy",
                    "a SectionedStrategy",
                    type(strategy).__name__,
                    "derive the class from tk.SectionedStrategy",
                )
            )
        spec: StrategySpec = strategy.to_spec()
        return spec

    # values

    @cached_property
    def values(self) -> dict[str, Value]:
        """Parameter values by name."""
        return {name: p.value for name, p in self.params.items()}

    def with_params(self, changes: Mapping[str, object] | None = None, /, **more: object) -> StrategySpec:
        """Return the spec with other parameter values, checked against their bounds."""
        wanted = {**(changes or {}), **more}
        params = dict(self.params)
        retrace = False
        for name, value in wanted.items():
            if name not in params:
                raise unknown_param(name, params, self.name)
            changed = params[name].with_value(name, value)
            retrace = retrace or (changed.type == "choice" and changed.value != params[name].value)
            params[name] = changed
        if retrace:
            if self.retrace is None:
                raise StrategyError(
                    must_be(
                        "the value of a tk.Choice",
                        "the traced one in a stored spec",
                        "another",
                        "a choice changes the graph: make the spec from the strategy class",
                    )
                )
            return self.retrace({name: p.value for name, p in params.items()})
        spec = dataclasses.replace(self, params=params)
        if "plan" in self.__dict__:
            spec.__dict__["plan"] = self.__dict__["plan"]
        return spec

    def scalar(self, node: int, values: Mapping[str, Value] | None = None) -> Any:
        """Return the value of a node that is the same on every bar."""
        from toolkit.strategy.drivers.plan import scalar_values

        return scalar_values(self.graph, self.values if values is None else values)[node]

    @cached_property
    def risk(self) -> RiskPercent | Lots:
        """The sizing rule with its exact number."""
        kind = RiskPercent if self.sizing["kind"] == "risk_percent" else Lots
        if "node" in self.sizing:
            return kind(Decimal(repr(self.scalar(self.sizing["node"]))))
        return kind(Decimal(self.sizing["value"]))

    @cached_property
    def management(self) -> dict[str, Any]:
        """Pending entries, trailing, break-even, partials and time exit, as stored; empty for plain entries."""
        found: dict[str, Any] = self.protection.get("management", {})
        return found

    @cached_property
    def features(self) -> frozenset[str]:
        """What an engine must be able to do beyond stop, target and market entries (`management.FEATURES`)."""
        return management.features(self.management)

    @cached_property
    def literals(self) -> tuple[float, ...]:
        """Numbers written in the strategy that are not parameters, sorted, for the report."""
        found = {float(n.args[0]) for n in self.graph.nodes if n.op == "lit" and not isinstance(n.args[0], bool)}
        return tuple(sorted(found))

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Other symbols whose bars the strategy reads."""
        return tuple(sorted({n.args[1] for n in self.graph.nodes if n.op == "field" and len(n.args) > 1}))

    @cached_property
    def warmup_bars(self) -> int:
        """Declared upper estimate of the bars after which no value depends on where the run began."""
        from toolkit.strategy.drivers.plan import warm_up

        return warm_up(self) if self.function is None else self.function.window

    # data

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain data."""
        return {
            "format": FORMAT,
            "name": self.name,
            "doc": self.doc,
            "params": {name: p.to_json() for name, p in self.params.items()},
            "nodes": [[n.op, *n.args] for n in self.graph.nodes],
            "named": self.named,
            "roots": self.roots,
            "protection": self.protection,
            "risk": self.sizing,
            **({} if self.function is None else {"function": self.function.to_json()}),
            **({"steps": shipped} if (shipped := shipped_steps([n.op for n in self.graph.nodes])) else {}),
            "semantics": {"fill_rules": FILL_RULES, "nodes": self.graph.versions()},
        }

    @cached_property
    def _json(self) -> str:
        # sorted keys, no spaces, numbers in Python's shortest exact form, NaN refused: equal specs are equal texts
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    def to_json(self) -> str:
        """Return the canonical JSON; equal strategies give the same text."""
        return self._json

    @cached_property
    def hash(self) -> str:
        """Sha256 of the canonical JSON, in hex."""
        return hashlib.sha256(self._json.encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> StrategySpec:
        """Rebuild a spec from its JSON; nothing of the quant's code is imported or run.

        Raises
        ------
        SpecError
            If the text is damaged, or written by a toolkit whose nodes or fill rules mean something else.
        """
        try:
            data = json.loads(text)
        except (TypeError, ValueError) as problem:
            raise SpecError(
                must_be("a spec", "JSON text", str(problem), "read it from StrategySpec.to_json()")
            ) from problem
        try:
            spec = cls._from_dict(data)
        except (KeyError, TypeError, AttributeError, IndexError, ArithmeticError) as problem:
            raise SpecError(
                must_be(
                    "a spec", "complete", f"{type(problem).__name__}: {problem}", "read it from StrategySpec.to_json()"
                )
            ) from problem
        return spec

    @classmethod
    def _from_dict(cls, data: Mapping[str, Any]) -> StrategySpec:
        if data.get("format") != FORMAT:
            raise SpecError(must_be("the spec's format", str(FORMAT), data.get("format"), "upgrade the toolkit"))
        if data["semantics"]["fill_rules"] != FILL_RULES:
            raise SpecError(
                must_be(
                    "the fill rules' version",
                    str(FILL_RULES),
                    data["semantics"]["fill_rules"],
                    "run it with the toolkit that made it, or test and promote it again",
                )
            )
        receive(data.get("steps", {}))
        for op, version in data["semantics"]["nodes"].items():
            have = STEPS[op].version if op in STEPS else None
            if have != version:
                raise SpecError(
                    must_be(
                        f"the version of node {op!r}",
                        str(have),
                        version,
                        "run it with the toolkit that made it, or test and promote it again",
                    )
                )
        params = {name: ParamSpec.from_json(name, p) for name, p in data["params"].items()}
        kinds = {n: "f8" for n, p in params.items() if p.type != "choice"}
        graph = Graph.of((Node(n[0], tuple(n[1:])) for n in data["nodes"]), kinds)
        spec = cls(
            data["name"],
            data["doc"],
            params,
            graph,
            dict(data["named"]),
            dict(data["roots"]),
            data["protection"],
            data["risk"],
            function=FunctionRef.from_json(data["function"]) if "function" in data else None,
        )
        check(spec)
        if set(graph.versions()) != set(data["semantics"]["nodes"]):
            raise SpecError(
                must_be("the spec's list of node versions", "complete", "missing some", "the spec is damaged")
            )
        return spec

    # words

    def describe(self) -> str:
        """Return the strategy in words."""
        from toolkit.strategy.words import spec_words

        return spec_words(self)

    def diff(self, other: StrategySpec) -> list[str]:
        """Return, in words, what is different in ``other``; empty when the specs are equal."""
        from toolkit.strategy.words import spec_differences

        return spec_differences(self, other)

    def __hash__(self) -> int:
        return hash(self.hash)

    def __reduce__(self) -> tuple[Callable[[str], StrategySpec], tuple[str]]:
        # a class typed in a notebook cell does not pickle; the graph does
        return StrategySpec.from_json, (self._json,)

    def __repr__(self) -> str:
        values = ", ".join(f"{n}={v!r}" for n, v in self.values.items())
        return f"StrategySpec({self.name}({values}), {len(self.graph.nodes)} nodes, hash {self.hash[:12]})"

    def _repr_html_(self) -> str:
        from toolkit.strategy.words import spec_html

        return spec_html(self)


def check(spec: StrategySpec) -> None:
    """Check the references and kinds of a spec's sections; the graph itself is already checked."""
    shapes = spec.graph.shapes

    def node(index: object, what: str, kind: str, scalar: bool | None = None) -> None:
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(shapes):
            raise SpecError(must_be(what, "a node of the graph", index, "the spec is damaged"))
        shape = shapes[index]
        if shape.kind != kind or shape.clock or (scalar is not None and shape.scalar != scalar):
            raise SpecError(
                must_be(what, f"a {kind} node of the base bars", spec.graph.nodes[index].op, "the spec is damaged")
            )

    for name, index in spec.roots.items():
        if name not in ROOTS:
            raise SpecError(must_be("a root", "one of " + ", ".join(ROOTS), name, "upgrade the toolkit"))
        node(index, name, "i1")
    for name, index in spec.named.items():
        if not isinstance(index, int) or not 0 <= index < len(shapes) or shapes[index].clock:
            raise SpecError(must_be(f"the named node {name}", "a node of the base bars", index, "the spec is damaged"))
    unknown = set(spec.protection) - {"stop", "target", "management"}
    if unknown:
        raise SpecError(must_be("protection", "known to this toolkit", sorted(unknown), "upgrade the toolkit"))
    management.check(spec.management, node)
    stop, target = spec.protection["stop"], spec.protection["target"]
    for part, kinds, what in ((stop, _STOPS, "stop"), (target, _TARGETS, "target")):
        if part["kind"] not in (kinds if spec.function is None else (*kinds, "column")):
            raise SpecError(
                must_be(f"the kind of {what}", "one of " + ", ".join(kinds), part["kind"], "upgrade the toolkit")
            )
        if part["kind"] not in ("none", "column"):
            node(part["node"], what, "f8", True if part["kind"] in ("pips", "rr") else None)
    if spec.sizing["kind"] not in ("risk_percent", "lots"):
        raise SpecError(must_be("the risk", "risk_percent or lots", spec.sizing["kind"], "upgrade the toolkit"))
    if "node" in spec.sizing:
        node(spec.sizing["node"], "risk", "f8", True)
    else:
        try:
            good = Decimal(spec.sizing["value"]) > 0
        except (InvalidOperation, TypeError, ValueError):
            good = False
        if not good:
            raise SpecError(must_be("the risk", "a number above 0", spec.sizing["value"], "the spec is damaged"))

"""Parameters of a strategy: declared with a default and bounds, symbols while the strategy is traced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import SpecError, StrategyError, must_be, suggest
from toolkit.strategy.authoring.expressions import Expr, plain_number

Value = int | float | bool | str


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """A parameter as a spec stores it: ``type`` is int, float or choice; bounds for numbers, options for a choice."""

    type: str
    value: Value
    low: float | int | None = None
    high: float | int | None = None
    options: tuple[Value, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        if self.type == "choice":
            return {"type": "choice", "value": self.value, "options": list(self.options)}
        return {"type": self.type, "value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any]) -> ParamSpec:
        """Rebuild a stored parameter and check its value again."""
        kind = data.get("type")
        if kind not in ("int", "float", "choice"):
            raise SpecError(
                must_be(f"the type of parameter {name}", "int, float or choice", kind, "the spec is damaged")
            )
        spec = cls(kind, data["value"], data.get("low"), data.get("high"), tuple(data.get("options", ())))
        return spec.with_value(name, spec.value)

    def with_value(self, name: str, value: object) -> ParamSpec:
        """Return the parameter with another value.

        Raises
        ------
        StrategyError
            If the value has the wrong type or lies outside the bounds.
        """
        return ParamSpec(self.type, check_value(self, name, value), self.low, self.high, self.options)


def check_value(spec: ParamSpec, name: str, value: object) -> Value:
    """Return ``value`` as the parameter's own type, or refuse it."""
    if spec.type == "choice":
        for option in spec.options:
            if type(option) is type(value) and option == value:
                return option
        raise StrategyError(
            must_be(
                name, "one of " + ", ".join(repr(o) for o in spec.options), repr(value), "choose one of the options"
            )
        )
    given = plain_number(value)
    if given is None:
        kind = "a whole number" if spec.type == "int" else "a number"
        raise StrategyError(must_be(name, kind, repr(value), "give a plain number"))
    number: int | float = float(given)
    if not math.isfinite(number):
        raise StrategyError(must_be(name, "a finite number", value, "give a plain number"))
    if spec.type == "int":
        if number != int(given):
            raise StrategyError(must_be(name, "a whole number", value, "round it"))
        number = int(given)
    if (spec.low is not None and number < spec.low) or (spec.high is not None and number > spec.high):
        raise StrategyError(
            must_be(
                name,
                f"between {spec.low} and {spec.high}",
                number,
                "choose a value inside the bounds or widen them where the parameter is declared",
            )
        )
    return number


class Param:
    """Base of the parameter declarations; a descriptor that gives the value, or a symbol while traced."""

    def __init__(self, spec: ParamSpec) -> None:
        self.spec = spec
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def check_default(self, owner: str) -> None:
        """Refuse a default outside the bounds, where the class is written."""
        try:
            self.spec = self.spec.with_value(self.name, self.spec.value)
        except StrategyError as refusal:
            raise StrategyError(f"default of {owner}.{refusal}") from None

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if instance.__dict__.get("_tracing", False) and self.spec.type != "choice":
            return Expr("param", (self.name,), "f8", scalar=True)
        return instance.__dict__["_values"][self.name]

    def __set__(self, instance: Any, value: object) -> None:
        raise StrategyError(
            must_be(
                f"parameter {self.name!r}",
                "given when the strategy is made",
                "assigned later",
                f"write {type(instance).__name__}({self.name}={value!r})",
            )
        )


class Int(Param):
    """A whole-number parameter: ``fast = tk.Int(12, 5, 50)`` is 12, and may be 5 to 50, both included."""

    def __init__(self, default: int, low: int | None = None, high: int | None = None) -> None:
        super().__init__(ParamSpec("int", default, low, high))


class Float(Param):
    """A number parameter: ``k = tk.Float(2.0, 0.5, 5.0)`` is 2.0, and may be 0.5 to 5.0, both included."""

    def __init__(self, default: float, low: float | None = None, high: float | None = None) -> None:
        super().__init__(
            ParamSpec("float", default, None if low is None else float(low), None if high is None else float(high))
        )


class Choice(Param):
    """One of a few values, known while tracing, so ``if self.kind == "ema":`` works: one graph per value."""

    def __init__(self, default: Value, options: tuple[Value, ...] | list[Value]) -> None:
        if not options:
            raise StrategyError(must_be("the options of tk.Choice", "at least one value", "empty", "list them"))
        super().__init__(ParamSpec("choice", default, None, None, tuple(options)))


class Bool(Choice):
    """True or False, known while the strategy is traced, so ``if self.use_filter:`` works: one graph per value."""

    def __init__(self, default: bool = False) -> None:
        super().__init__(default, (False, True))


def unknown_param(name: str, known: Mapping[str, object], owner: str) -> StrategyError:
    """Return the refusal of a parameter that is not declared, with the closest name."""
    listed = ", ".join(known) or "none"
    return StrategyError(
        must_be(
            f"a parameter of {owner}",
            f"one of {listed}",
            repr(name),
            "declare it as tk.Int, tk.Float or tk.Choice in the class" + suggest(name, known),
        )
    )

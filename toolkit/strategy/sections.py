"""What the sections of a strategy return: entry, exit, protection, risk."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.expressions import Expr


def _exact(value: object, what: str) -> Decimal | Expr:
    if isinstance(value, Expr):
        if not value.scalar:
            raise StrategyError(
                must_be(
                    what,
                    "a number or a parameter",
                    "an expression that changes from bar to bar",
                    "use a price distance for moving stops",
                )
            )
        return value
    if isinstance(value, bool):
        raise StrategyError(must_be(what, "a number", value, "write it as a number"))
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise StrategyError(must_be(what, "a number", repr(value), "write it as a number")) from None
    if not number.is_finite() or number <= 0:
        raise StrategyError(must_be(what, "greater than 0", value, "give its size; the side follows from the entry"))
    return number


@dataclass(frozen=True, slots=True, eq=False)
class Pips:
    """A fixed distance in pips of the instrument: ``tk.Pips(20)`` or ``tk.Pips(self.stop)``."""

    pips: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "pips", _exact(self.pips, "tk.Pips"))


@dataclass(frozen=True, slots=True, eq=False)
class RR:
    """A target as a multiple of the stop distance: ``tk.RR(2)``."""

    ratio: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", _exact(self.ratio, "tk.RR"))


@dataclass(frozen=True, slots=True)
class RiskPercent:
    """Risk this percentage of the run's equity on each trade, from entry to stop; 1.0 is one percent."""

    percent: Any

    def __post_init__(self) -> None:
        number = _exact(self.percent, "tk.RiskPercent")
        if isinstance(number, Decimal) and number > 100:
            raise StrategyError(must_be("tk.RiskPercent", "at most 100", self.percent, "1.0 is one percent"))
        object.__setattr__(self, "percent", number)


@dataclass(frozen=True, slots=True)
class Lots:
    """Trade this fixed volume in lots."""

    lots: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "lots", _exact(self.lots, "tk.Lots"))


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """When to enter; either side may be left out."""

    long: Any = None
    short: Any = None

    def __post_init__(self) -> None:
        if self.long is None and self.short is None:
            raise StrategyError(must_be("tk.Entry", "given long=, short= or both", "empty", "name a condition"))


@dataclass(frozen=True, slots=True, eq=False)
class Exit:
    """When to leave a position by signal; either side may be left out."""

    long: Any = None
    short: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Protection:
    """Stop loss and target of an entry, as distances from the entry price (never as price levels).

    Parameters
    ----------
    stop_loss : Pips, expression, number or None
        Distance in price; rounded to the nearest point, then up to whole pips. None only with `Lots`.
    take_profit : RR, Pips, expression, number or None
        Distance in price, or a multiple of the stop distance.
    """

    stop_loss: Any = None
    take_profit: Any = None

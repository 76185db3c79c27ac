"""What the sections of a strategy return: entry, exit, protection, risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.authoring.expressions import Expr


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
class LimitEntry:
    """Enter at a better price: a pending order at these price levels, given up after ``bars`` bars."""

    long: Any = None
    short: Any = None
    bars: Any = 1


@dataclass(frozen=True, slots=True, eq=False)
class StopEntry:
    """Enter on a breakout: a pending stop order at these price levels, given up after ``bars`` bars."""

    long: Any = None
    short: Any = None
    bars: Any = 1


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """When to enter; either side may be left out. ``order`` is None for a market order at the next open."""

    long: Any = None
    short: Any = None
    order: LimitEntry | StopEntry | None = None

    def __post_init__(self) -> None:
        if self.long is None and self.short is None:
            raise StrategyError(must_be("tk.Entry", "given long=, short= or both", "empty", "name a condition"))
        if self.order is not None and not isinstance(self.order, (LimitEntry, StopEntry)):
            raise StrategyError(
                must_be(
                    "order of tk.Entry", "tk.LimitEntry or tk.StopEntry", type(self.order).__name__, "or leave it out"
                )
            )


@dataclass(frozen=True, slots=True, eq=False)
class Exit:
    """When to leave a position by signal; either side may be left out."""

    long: Any = None
    short: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Trail:
    """A stop that follows the best price at ``distance``, from a profit of ``after`` on (at once when None)."""

    distance: Any
    after: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class BreakEven:
    """Move the stop to the entry price, plus ``plus``, once the profit reaches ``after`` (a distance or `RR`)."""

    after: Any
    plus: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """Close ``fraction`` of the entry's volume once the profit reaches ``at`` (a distance or `RR`)."""

    at: Any
    fraction: Any

    def __post_init__(self) -> None:
        number = _exact(self.fraction, "fraction of tk.Partial")
        if isinstance(number, Expr) or number >= 1:
            raise StrategyError(
                must_be("fraction of tk.Partial", "a number below 1", self.fraction, "the target closes the rest")
            )
        object.__setattr__(self, "fraction", number)


@dataclass(frozen=True, slots=True, eq=False)
class Protection:
    """Stop loss and target of an entry, as distances from the entry price (never as price levels).

    Parameters
    ----------
    stop_loss : Pips, expression, number or None
        Distance in price; rounded to the nearest point, then up to whole pips. None only with `Lots`.
    take_profit : RR, Pips, expression, number or None
        Distance in price, or a multiple of the stop distance.
    trailing_stop : Trail, Pips, expression, number or None
        Distance of a stop that follows the best price.
    break_even : BreakEven, RR, Pips, expression, number or None
        Profit at which the stop moves to the entry price.
    partials : sequence of Partial
        Parts of the volume closed on the way to the target.
    max_bars : int, parameter or None
        Close the position this many bars after its fill.
    """

    stop_loss: Any = None
    take_profit: Any = None
    trailing_stop: Any = None
    break_even: Any = None
    partials: Sequence[Partial] = ()
    max_bars: Any = None

    def __post_init__(self) -> None:
        partials = self.partials if isinstance(self.partials, (list, tuple)) else (self.partials,)
        if not all(isinstance(p, Partial) for p in partials):
            raise StrategyError(
                must_be("partials", "a list of tk.Partial", self.partials, "tk.Partial(at=tk.RR(1), fraction=0.5)")
            )
        if sum(p.fraction for p in partials) >= 1:
            raise StrategyError(
                must_be("the fractions of partials", "below 1 together", "1 or more", "leave a rest open")
            )
        if self.stop_loss is None and (self.trailing_stop is not None or self.break_even is not None):
            raise StrategyError(
                must_be("stop_loss", "given with trailing_stop or break_even", "None", "both move the stop")
            )
        object.__setattr__(self, "partials", tuple(partials))

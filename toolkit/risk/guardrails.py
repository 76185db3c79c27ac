"""Guardrails: rules that may deny an entry, never an exit.

The arithmetic is scalar integer functions, called plainly by the live path and compiled into the backtest loop, so
that a guard denies the same entries in both. Money is minor units of the account currency; a limit of 0 switches a
guard off.

Guards are asked at the moment an entry would be made: the open of a bar, after the exits of the same open. Equity
includes open profit. The day's base is the equity at the first bar open of the platform's day, before anything
happens at that open.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from toolkit.errors import BadInput, must_be

__all__ = [
    "COOLDOWN",
    "DAILY_LOSS",
    "GUARD_REASONS",
    "MAX_OPEN",
    "MAX_SPREAD",
    "Guards",
    "cooldown_active",
    "daily_loss_reached",
    "entry_denied",
    "max_open_reached",
    "spread_too_wide",
]

_PPM = 1_000_000

# why a guard denied an entry; the codes continue those of toolkit.simulation.rules.SKIP_REASONS
DAILY_LOSS = 16
MAX_OPEN = 17
COOLDOWN = 18
MAX_SPREAD = 19
GUARD_REASONS = {
    DAILY_LOSS: "guard_daily_loss",
    MAX_OPEN: "guard_max_open_per_symbol",
    COOLDOWN: "guard_cooldown",
    MAX_SPREAD: "guard_max_spread",
}


def daily_loss_reached(day_base: int, equity: int, limit_ppm: int) -> bool:
    """Whether equity has lost ``limit_ppm`` millionths of the day's base or more; exact, never rounded."""
    if limit_ppm <= 0:
        return False
    loss = day_base - equity
    if day_base <= 0 or loss >= day_base:
        return True
    if loss <= 0:
        return False
    # loss * 10**6 >= base * ppm, split so that no product passes 63 bits for any base below 2**62
    whole = (day_base // _PPM) * limit_ppm
    rest = (day_base % _PPM) * limit_ppm
    need = whole + (rest + _PPM - 1) // _PPM
    return loss >= need


def cooldown_active(bars_since_exit: int, cooldown_bars: int) -> bool:
    """Whether the bar lies within ``cooldown_bars`` bars after the bar of the last exit (that bar itself included).

    ``bars_since_exit`` is the index of the entry's bar minus that of the exit's bar; negative when there was no exit
    yet.
    """
    return cooldown_bars > 0 and 0 <= bars_since_exit <= cooldown_bars


def max_open_reached(open_positions: int, limit: int) -> bool:
    """Whether the symbol already holds as many positions of the run as allowed."""
    return limit > 0 and open_positions >= limit


def spread_too_wide(spread_points: int, limit_points: int) -> bool:
    """Whether the spread at the entry's quote is above the limit."""
    return limit_points > 0 and spread_points > limit_points


def entry_denied(
    day_base: int,
    equity: int,
    daily_loss_ppm: int,
    open_positions: int,
    max_open: int,
    bars_since_exit: int,
    cooldown_bars: int,
    spread_points: int,
    max_spread_points: int,
) -> int:
    """First guard that denies the entry, as a code (0: none), in the fixed order daily loss, open, cooldown, spread."""
    if daily_loss_reached(day_base, equity, daily_loss_ppm):
        return DAILY_LOSS
    if max_open_reached(open_positions, max_open):
        return MAX_OPEN
    if cooldown_active(bars_since_exit, cooldown_bars):
        return COOLDOWN
    if spread_too_wide(spread_points, max_spread_points):
        return MAX_SPREAD
    return 0


def _percent(name: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    percent = Decimal(str(value))
    if not percent.is_finite() or not 0 < percent <= 100 or percent != percent.quantize(Decimal("0.0001")):
        raise BadInput(
            must_be(name, "above 0 and at most 100 with at most 4 decimals", value, f"write {name}=2 for 2 %")
        )
    return percent.normalize()


def _count(name: str, value: Any, smallest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
        raise BadInput(must_be(name, f"a whole number of {smallest} or more", repr(value), f"write {name}={smallest}"))
    return value


@dataclass(frozen=True, slots=True)
class Guards:
    """The guardrails of a run; the same object serves a backtest, a sea trial and a live run.

    Parameters
    ----------
    daily_loss_percent
        Deny entries once equity, open profit included, is this many percent below the day's base; None: off.
    max_open_per_symbol
        Deny an entry while the run holds this many positions in the symbol; None: off.
    cooldown_bars
        Deny entries on this many bars after the bar of the last exit in the symbol; 0: off.
    max_spread_pips
        Deny an entry while the spread is wider; None: off.

    Raises
    ------
    BadInput
        When a number is out of range.
    """

    daily_loss_percent: Decimal | None = None
    max_open_per_symbol: int | None = None
    cooldown_bars: int = 0
    max_spread_pips: Decimal | None = None

    def __init__(
        self,
        daily_loss_percent: Decimal | float | str | None = None,
        max_open_per_symbol: int | None = None,
        cooldown_bars: int = 0,
        max_spread_pips: Decimal | float | str | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "daily_loss_percent", _percent("daily_loss_percent", daily_loss_percent))
        put(
            self,
            "max_open_per_symbol",
            None if max_open_per_symbol is None else _count("max_open_per_symbol", max_open_per_symbol, 1),
        )
        put(self, "cooldown_bars", _count("cooldown_bars", cooldown_bars, 0))
        spread = None if max_spread_pips is None else Decimal(str(max_spread_pips))
        if spread is not None and not (spread.is_finite() and spread > 0):
            raise BadInput(must_be("max_spread_pips", "above 0", max_spread_pips, "leave it out for no limit"))
        put(self, "max_spread_pips", spread)

    @property
    def daily_loss_ppm(self) -> int:
        """Daily loss limit in millionths of the day's base, 0 when off."""
        return 0 if self.daily_loss_percent is None else int(self.daily_loss_percent * 10_000)

    def max_spread_points(self, points_per_pip: int) -> int:
        """Spread limit in whole points (rounded down, at least 1), 0 when off."""
        return 0 if self.max_spread_pips is None else max(1, int(self.max_spread_pips * points_per_pip))

    def facts(self) -> dict[str, Any]:
        """Canonical JSON-able form, stored with a version."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            out[f.name] = str(value) if isinstance(value, Decimal) else value
        return out

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Guards:
        """Rebuild from `facts`; an unknown key is refused rather than dropped."""
        unknown = sorted(set(facts) - {f.name for f in fields(cls)})
        if unknown:
            raise BadInput(must_be("guards", "known to this toolkit", ", ".join(unknown), "use a newer toolkit"))
        return cls(**facts)

    def at_least_as_tight_as(self, other: Guards) -> bool:
        """Whether these guards deny all that the other ones deny (a live run may only tighten its version's)."""

        def tighter(mine: Decimal | int | None, theirs: Decimal | int | None) -> bool:
            return theirs is None or (mine is not None and mine <= theirs)

        return (
            tighter(self.daily_loss_percent, other.daily_loss_percent)
            and tighter(self.max_open_per_symbol, other.max_open_per_symbol)
            and self.cooldown_bars >= other.cooldown_bars
            and tighter(self.max_spread_pips, other.max_spread_pips)
        )

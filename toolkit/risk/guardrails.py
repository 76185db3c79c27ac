"""The guardrails of a run or an account, as one record: rules that may deny an entry, never an exit.

Their arithmetic is in `toolkit.risk.guard_rules`, called plainly by the live path and compiled into the backtest loop, so
that a guard denies the same entries in both.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Never

from toolkit.errors import BadInput, must_be, suggest
from toolkit.risk import guard_rules as rules
from toolkit.risk.trading_hours import TradingHours

__all__ = ["GUARD_REASONS", "Guards"]

GUARD_REASONS = {
    rules.DAILY_LOSS: "guard_daily_loss",
    rules.MAX_OPEN: "guard_max_open_per_symbol",
    rules.COOLDOWN: "guard_cooldown",
    rules.MAX_SPREAD: "guard_max_spread",
    rules.DRAWDOWN: "guard_drawdown",
    rules.LOSING_STREAK: "guard_losing_streak",
    rules.MAX_OPEN_RUN: "guard_max_open",
    rules.MAX_LOTS: "guard_max_lots",
    rules.MAX_EXPOSURE: "guard_max_exposure",
    rules.TRADING_HOURS: "guard_trading_hours",
}


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


def _decimal(name: str, value: Any, digits: int) -> Decimal | None:
    if value is None:
        return None
    number = Decimal(str(value))
    if not (number.is_finite() and number > 0 and number == number.quantize(Decimal(1).scaleb(-digits))):
        raise BadInput(must_be(name, f"above 0 with at most {digits} decimals", value, "leave it out for no limit"))
    return number.normalize()


def _limit(name: str, value: Any) -> int | None:
    return None if value is None else _count(name, value, 1)


@dataclass(frozen=True, slots=True)
class Guards:
    """The guardrails of a run; the same object serves a backtest, a sea trial and a live run.

    Every limit is None (off) when left out. Equity includes open profit. In a backtest and live alike guards are asked at the
    moment an entry would be made.

    Parameters
    ----------
    daily_loss_percent
        Deny entries, to the end of the platform's day, once equity is this many percent below the day's first.
    max_open_per_symbol, max_open
        Deny an entry while this many positions are open in the symbol, or in all.
    cooldown_bars
        Deny entries on this many bars after the bar of the last exit in the symbol; 0: off.
    max_spread_pips
        Deny an entry while the spread is wider.
    drawdown_percent
        Deny entries, until somebody resets it, once equity is this many percent below the highest equity at the start
        of any day so far.
    max_consecutive_losses
        Deny entries, to the end of the platform's day, after this many losing trades in a row on that day.
    max_lots
        Deny an entry that would bring the open volume in the symbol above this many lots.
    max_exposure
        Deny an entry that would bring the notional value of all open positions above this many times equity.
    trading_hours
        Allow entries only in these hours, for example ``"Mon-Fri 08:00-20:00 Europe/London"``.
    max_quote_age_seconds
        Live only: deny an entry when the platform's quote is older. A backtest's quote is never old.

    Raises
    ------
    BadInput
        When a number is out of range.
    """

    daily_loss_percent: Decimal | None = None
    max_open_per_symbol: int | None = None
    cooldown_bars: int = 0
    max_spread_pips: Decimal | None = None
    drawdown_percent: Decimal | None = None
    max_open: int | None = None
    max_consecutive_losses: int | None = None
    max_lots: Decimal | None = None
    max_exposure: Decimal | None = None
    trading_hours: TradingHours | None = None
    max_quote_age_seconds: Decimal | None = None

    def __init__(
        self,
        daily_loss_percent: Decimal | float | str | None = None,
        max_open_per_symbol: int | None = None,
        cooldown_bars: int = 0,
        max_spread_pips: Decimal | float | str | None = None,
        *,
        drawdown_percent: Decimal | float | str | None = None,
        max_open: int | None = None,
        max_consecutive_losses: int | None = None,
        max_lots: Decimal | float | str | None = None,
        max_exposure: Decimal | float | str | None = None,
        trading_hours: TradingHours | str | None = None,
        max_quote_age_seconds: Decimal | float | str | None = None,
        **unknown: Never,
    ) -> None:
        if unknown:
            name, known = next(iter(unknown)), [f.name for f in fields(self)]
            raise BadInput(must_be("a limit of tk.Guards", ", ".join(known), name, f"correct it{suggest(name, known)}"))
        put = object.__setattr__
        put(self, "daily_loss_percent", _percent("daily_loss_percent", daily_loss_percent))
        put(self, "max_open_per_symbol", _limit("max_open_per_symbol", max_open_per_symbol))
        put(self, "cooldown_bars", _count("cooldown_bars", cooldown_bars, 0))
        spread = None if max_spread_pips is None else Decimal(str(max_spread_pips))
        if spread is not None and not (spread.is_finite() and spread > 0):
            raise BadInput(must_be("max_spread_pips", "above 0", max_spread_pips, "leave it out for no limit"))
        put(self, "max_spread_pips", spread)
        put(self, "drawdown_percent", _percent("drawdown_percent", drawdown_percent))
        put(self, "max_open", _limit("max_open", max_open))
        put(self, "max_consecutive_losses", _limit("max_consecutive_losses", max_consecutive_losses))
        put(self, "max_lots", _decimal("max_lots", max_lots, 8))
        put(self, "max_exposure", _decimal("max_exposure", max_exposure, 2))
        hours = TradingHours(trading_hours) if isinstance(trading_hours, str) else trading_hours
        put(self, "trading_hours", hours)
        put(self, "max_quote_age_seconds", _decimal("max_quote_age_seconds", max_quote_age_seconds, 3))

    @property
    def daily_loss_ppm(self) -> int:
        """Daily loss limit in millionths of the day's base, 0 when off."""
        return 0 if self.daily_loss_percent is None else int(self.daily_loss_percent * 10_000)

    @property
    def drawdown_ppm(self) -> int:
        """Drawdown limit in millionths of the peak, 0 when off."""
        return 0 if self.drawdown_percent is None else int(self.drawdown_percent * 10_000)

    @property
    def exposure_centi(self) -> int:
        """Largest notional value in hundredths of equity, 0 when off."""
        return 0 if self.max_exposure is None else int(self.max_exposure * 100)

    def max_spread_points(self, points_per_pip: int) -> int:
        """Spread limit in whole points (rounded down, at least 1), 0 when off."""
        return 0 if self.max_spread_pips is None else max(1, int(self.max_spread_pips * points_per_pip))

    def max_steps(self, volume_step: Decimal) -> int:
        """Volume limit in whole steps of the instrument, 0 when off; -1, which denies every entry, when it is below one."""
        return 0 if self.max_lots is None else int(self.max_lots / volume_step) or -1

    def facts(self) -> dict[str, Any]:
        """Canonical JSON-able form, stored with a version; limits that later toolkits added appear only when set."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None and f.name not in _FIRST_FIELDS:
                continue
            if isinstance(value, TradingHours):
                value = value.text
            out[f.name] = format(value, "f") if isinstance(value, Decimal) else value
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
        return not self.wider_than(other)

    def wider_than(self, other: Guards) -> dict[str, tuple[Any, Any]]:
        """Return the limits that deny less than the other ones', by name: this one's and the other's."""
        mine, theirs = _values(self), _values(other)
        wider = {
            name
            for name in _SMALLER_IS_TIGHTER
            if theirs[name] is not None and (mine[name] is None or mine[name] > theirs[name])
        }
        if self.cooldown_bars < other.cooldown_bars:
            wider.add("cooldown_bars")
        if other.trading_hours is not None and (
            self.trading_hours is None or not self.trading_hours.within(other.trading_hours)
        ):
            wider.add("trading_hours")
        return {name: (mine[name], theirs[name]) for name in mine if name in wider}

    def words(self) -> str:
        """Return the limits that are set, as ``daily_loss_percent 2, cooldown_bars 3``; ``none`` without any."""
        return ", ".join(f"{name} {value}" for name, value in self.facts().items() if value) or "none"


def _values(guards: Guards) -> dict[str, Any]:
    return {f.name: getattr(guards, f.name) for f in fields(guards)}


_FIRST_FIELDS = frozenset({"daily_loss_percent", "max_open_per_symbol", "cooldown_bars", "max_spread_pips"})
_SMALLER_IS_TIGHTER = (
    "daily_loss_percent", "max_open_per_symbol", "max_spread_pips", "drawdown_percent", "max_open",
    "max_consecutive_losses", "max_lots", "max_exposure", "max_quote_age_seconds",
)  # fmt: skip

"""The account a simulation trades on, its costs, and the exact value of a point on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from toolkit.errors import BadInput, must_be
from toolkit.market import money_digits
from toolkit.market.platform_clock import find_clock

if TYPE_CHECKING:
    from toolkit.market import Instrument

__all__ = ["Costs", "PaperAccount", "from_minor", "point_value", "to_minor"]

_NUM_LIMIT = 1 << 31
_DEN_LIMIT = 1 << 61


def to_minor(amount: Decimal | float | str, currency: str) -> int:
    """Account money as minor units (USD cents, JPY yen), rounded half away from zero."""
    scaled = Decimal(str(amount)).scaleb(money_digits(currency))
    return int(scaled.quantize(Decimal(1), ROUND_HALF_UP))


def from_minor(minor: int, currency: str) -> Decimal:
    """Minor units as an exact Decimal with the currency's digits."""
    return Decimal(int(minor)).scaleb(-money_digits(currency))


@lru_cache(maxsize=256)
def point_value(instrument: Instrument, account_currency: str, rate_num: int = 1, rate_den: int = 1) -> tuple[int, int]:
    """Account minor units gained by one volume step over one point, as a reduced rational.

    Parameters
    ----------
    instrument
        Contract facts.
    account_currency
        Currency of the account.
    rate_num, rate_den
        Rate from the quote currency to the account currency; 1/1 when they are the same.

    Raises
    ------
    BadInput
        When the rational does not fit the simulation's integers.
    """
    value = (
        Fraction(instrument.contract_size)
        * Fraction(instrument.point)
        * Fraction(instrument.volume_step)
        * 10 ** money_digits(account_currency)
        * Fraction(rate_num, rate_den)
    )
    num, den = value.numerator, value.denominator
    if not (0 < num < _NUM_LIMIT and 0 < den < _DEN_LIMIT):
        raise BadInput(
            must_be(
                f"the point value of {instrument.symbol}",
                "a rational that fits 31 over 61 bits",
                value,
                "check contract_size, pip_size and volume_step",
            )
        )
    return num, den


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a deal in the simulation's integers.

    Attributes
    ----------
    commission_num, commission_den
        Commission of one step and one side in account minor units, as a rational.
    slippage_points
        Points every market fill is worse than the quote.
    """

    commission_num: int = 0
    commission_den: int = 1
    slippage_points: int = 0


@dataclass(frozen=True, slots=True)
class PaperAccount:
    """Terms of a simulated account.

    Parameters
    ----------
    currency
        Account currency, for example ``"USD"``.
    balance
        Opening balance in that currency; rounded to its digits.
    leverage
        Margin of a position is its notional divided by this; an entry beyond the free margin is not made. None or 0:
        no limit, no margin and no stop-out.
    commission_per_lot
        Commission per lot and side in the account currency.
    slippage_points
        Points a market fill is worse than its quote; stops and targets fill at their level.
    mode
        ``"hedging"`` or ``"netting"``.
    day_end
        The platform's clock, whose midnight ends the trading day: ``"UTC"``, ``"New York + 7"``, ``"Europe/Athens"``.
    stop_out_percent
        Positions are closed, worst first, while equity is below this share of the margin. 50 is the rule for retail
        accounts in the European Union and the default; venues elsewhere use 20 to 100.

    Raises
    ------
    BadInput
        When a number is out of range or the currency is unknown.
    """

    currency: str
    balance: Decimal
    leverage: int | None = 30
    commission_per_lot: Decimal = Decimal(0)
    slippage_points: int = 0
    mode: Literal["hedging", "netting"] = "hedging"
    day_end: str = "UTC"
    stop_out_percent: int = 50

    def __init__(
        self,
        currency: str = "USD",
        balance: Decimal | float | str = 10_000,
        leverage: int | None = 30,
        commission_per_lot: Decimal | float | str = 0,
        slippage_points: int = 0,
        mode: Literal["hedging", "netting"] = "hedging",
        day_end: str = "UTC",
        stop_out_percent: int = 50,
    ) -> None:
        put = object.__setattr__
        put(self, "currency", currency)
        money_digits(currency)  # refuses an unknown currency
        put(self, "balance", from_minor(to_minor(_number("balance", balance), currency), currency))
        if self.balance <= 0:
            raise BadInput(must_be("balance", "above 0", balance, "open the account with money on it"))
        whole = isinstance(leverage, int) and not isinstance(leverage, bool)
        if leverage is not None and not (whole and 0 <= leverage <= 5000):
            raise BadInput(
                must_be("leverage", "a whole number from 1 to 5000, or None", leverage, "write leverage=30 for 30:1")
            )
        put(self, "leverage", leverage or None)
        commission = _number("commission_per_lot", commission_per_lot)
        if commission < 0:
            raise BadInput(must_be("commission_per_lot", "0 or more", commission, "write costs as positive numbers"))
        put(self, "commission_per_lot", commission)
        if isinstance(slippage_points, bool) or not isinstance(slippage_points, int) or slippage_points < 0:
            raise BadInput(
                must_be("slippage_points", "whole points, 0 or more", slippage_points, "write 3 for 3 points")
            )
        put(self, "slippage_points", slippage_points)
        if mode not in ("hedging", "netting"):
            raise BadInput(must_be("mode", "'hedging' or 'netting'", repr(mode), "use the mode of the real account"))
        put(self, "mode", mode)
        put(self, "day_end", find_clock(day_end).name)
        whole = isinstance(stop_out_percent, int) and not isinstance(stop_out_percent, bool)
        if not whole or not 0 <= stop_out_percent <= 100:
            raise BadInput(
                must_be("stop_out_percent", "a whole number from 0 to 100", stop_out_percent, "write 50 for 50 %")
            )
        put(self, "stop_out_percent", stop_out_percent)

    @property
    def balance_minor(self) -> int:
        """Opening balance in minor units."""
        return to_minor(self.balance, self.currency)

    def money(self, minor: int) -> Decimal:
        """Minor units as account money."""
        return from_minor(minor, self.currency)

    def costs(self, instrument: Instrument) -> Costs:
        """Costs of deals in this instrument, in the simulation's integers."""
        per_step = (
            Fraction(self.commission_per_lot) * Fraction(instrument.volume_step) * 10 ** money_digits(self.currency)
        )
        return Costs(per_step.numerator, per_step.denominator, self.slippage_points)

    def facts(self) -> dict[str, Any]:
        """Canonical JSON-able form, stored with evidence."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            out[f.name] = str(value) if isinstance(value, Decimal) else value
        return out

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> PaperAccount:
        """Rebuild from `facts`."""
        return cls(**facts)


def _number(name: str, value: Decimal | float | str) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite() or (isinstance(value, float) and not math.isfinite(value)):
        raise BadInput(must_be(name, "a finite number", value, "write it as 10000 or '10000.00'"))
    return number

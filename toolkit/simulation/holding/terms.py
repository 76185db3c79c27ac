"""What an account and an instrument ask of a position that is held, in the simulation's integers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be
from toolkit.market import money_digits
from toolkit.market.platform_clock import day_ids
from toolkit.simulation.holding.margin import MARGIN_OF_NOTIONAL, MARGIN_OFF, MARGIN_PER_STEP, margin_needed
from toolkit.simulation.holding.swap import (
    SWAP_MONEY,
    SWAP_OF_PRICE,
    SWAP_OFF,
    SWAP_POINTS,
    nights_charged,
    swap_money,
)

if TYPE_CHECKING:
    from toolkit.market import Instrument
    from toolkit.simulation.account import PaperAccount

__all__ = ["MarginTerms", "SwapTerms", "margin_terms", "nights_before", "swap_terms"]

Int64 = npt.NDArray[np.int64]

_LIMIT = 1 << 31
_DAYS_OF_A_YEAR = 360  # as MetaTrader counts interest


@dataclass(frozen=True, slots=True)
class MarginTerms:
    """How much margin a position blocks, and when the platform closes it; see `margin_needed`."""

    mode: int = MARGIN_OFF
    num: int = 0
    den: int = 1
    stop_out_percent: int = 0

    def needed(self, price: int, steps: int, value: tuple[int, int]) -> int:
        """Margin of an entry at ``price`` in minor units."""
        return margin_needed(self.mode, price, steps, *value, self.num, self.den)


@dataclass(frozen=True, slots=True)
class SwapTerms:
    """Swap of one night for each side; see `swap_money`."""

    mode: int = SWAP_OFF
    long: int = 0
    short: int = 0
    den: int = 1
    triple_weekday: int = 2

    def money(self, side: int, price: int, steps: int, nights: int, value: tuple[int, int]) -> int:
        """Swap of ``nights`` for a position of ``side``, in minor units."""
        if self.mode == SWAP_OFF or nights == 0:
            return 0
        return swap_money(self.mode, self.long if side > 0 else self.short, self.den, price, steps, nights, *value)

    def nights(self, first_day: int, last_day: int) -> int:
        """Nights charged for the midnights that end these days."""
        return nights_charged(first_day, last_day, self.triple_weekday)


def margin_terms(account: PaperAccount, instrument: Instrument) -> MarginTerms:
    """Margin of this account on this instrument.

    Raises
    ------
    BadInput
        When the margin rate does not fit the simulation's integers.
    """
    if account.leverage is None:
        return MarginTerms()
    rate = Fraction(instrument.margin_rate)
    forex = instrument.margin_mode.startswith("forex")
    if instrument.margin_mode in ("forex", "cfd_leverage"):
        rate /= account.leverage
    mode = MARGIN_OF_NOTIONAL
    if forex and instrument.base_currency == account.currency:
        mode = MARGIN_PER_STEP
        units = Fraction(instrument.contract_size) * Fraction(instrument.volume_step)
        rate *= units * 10 ** money_digits(account.currency)
    _must_fit(f"margin_rate of {instrument.symbol}", rate)
    return MarginTerms(mode, rate.numerator, rate.denominator, account.stop_out_percent)


def swap_terms(account: PaperAccount, instrument: Instrument) -> SwapTerms:
    """Swap of this account on this instrument.

    Raises
    ------
    BadInput
        When a rate does not fit the simulation's integers.
    """
    how = instrument.swap_mode
    rates = [Fraction(instrument.swap_long), Fraction(instrument.swap_short)]
    if how == "none" or not any(rates):
        return SwapTerms()
    contract = Fraction(instrument.contract_size)
    mode = SWAP_POINTS
    factor = Fraction(1)
    if how == "money":  # quote currency a lot
        factor = 1 / (contract * Fraction(instrument.point))
    elif how == "money_account":
        mode = SWAP_MONEY
        factor = Fraction(instrument.volume_step) * 10 ** money_digits(account.currency)
    elif how == "money_base":
        mode = SWAP_OF_PRICE
        factor = 1 / contract
    elif how == "percent":
        mode = SWAP_OF_PRICE
        factor = Fraction(1, 100 * _DAYS_OF_A_YEAR)
    rates = [rate * factor for rate in rates]
    den = max(r.denominator for r in rates)
    if any(den % r.denominator for r in rates):
        den = rates[0].denominator * rates[1].denominator
    scaled = [rate * den for rate in rates]
    for side, rate in zip(("swap_long", "swap_short"), scaled, strict=True):
        _must_fit(f"{side} of {instrument.symbol}", rate, den)
    return SwapTerms(mode, int(scaled[0]), int(scaled[1]), den, instrument.swap_triple_weekday)


def nights_before(ts: Int64, day_last: Int64, day_end: str, terms: SwapTerms) -> Int64:
    """Nights charged at the first bar of each platform day that has bars; 0 for the first."""
    days = day_ids(ts[day_last], day_end).tolist()
    return np.array([0, *(terms.nights(before, day - 1) for before, day in pairwise(days))], np.int64)


def _must_fit(what: str, rate: Fraction, den: int = 1) -> None:
    if not (abs(rate.numerator) < _LIMIT and 0 < rate.denominator < _LIMIT and 0 < den < _LIMIT):
        raise BadInput(must_be(what, "a rational that fits 31 over 31 bits", rate, "give it with fewer digits"))

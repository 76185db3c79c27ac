"""Exact conversion between currencies: a rate is a ratio of two integers and is never assumed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import gcd
from typing import ClassVar

from toolkit.errors import BadInput, ConversionRateMissing, must_be
from toolkit.market.exact import EXACT, Number, ratio, to_decimal
from toolkit.market.instruments import Instrument
from toolkit.market.quotes import Quote


@dataclass(frozen=True, slots=True)
class Rate:
    """An exchange rate as an exact ratio ``num / den``, both positive integers, reduced.

    One unit of the currency converted from is worth ``num / den`` of the currency converted to.
    """

    num: int
    den: int = 1

    ONE: ClassVar[Rate]

    def __post_init__(self) -> None:
        num, den = int(self.num), int(self.den)
        if num <= 0 or den <= 0:
            raise BadInput(
                must_be("rate", "a ratio of two positive integers", f"{self.num}/{self.den}", "check the quote")
            )
        common = gcd(num, den)
        object.__setattr__(self, "num", num // common)
        object.__setattr__(self, "den", den // common)

    @classmethod
    def of(cls, value: Number | Rate) -> Rate:
        """Return a rate from a decimal number, exactly as it is written."""
        if isinstance(value, Rate):
            return value
        number = to_decimal(value, "rate")
        if number <= 0:
            raise BadInput(must_be("rate", "above 0", number, "check the quote"))
        return cls(*number.as_integer_ratio())

    @property
    def decimal(self) -> Decimal:
        """Return the rate as a Decimal, rounded to 28 digits when it has more."""
        return ratio(self.num, self.den)

    @property
    def inverse(self) -> Rate:
        """Return the rate of the way back."""
        return Rate(self.den, self.num)

    def __mul__(self, other: Rate) -> Rate:
        return Rate(self.num * other.num, self.den * other.den)


Rate.ONE = Rate(1, 1)


def mid_rate(bid_points: int, ask_points: int, digits: int) -> Rate:
    """Return the mid of a pair as an exact rate from its base to its quote currency."""
    return Rate(int(bid_points) + int(ask_points), 2 * 10**digits)


def rate_from_quote(pair: Instrument, quote: Quote, frm: str, to: str) -> Rate:
    """Return the exact mid rate from one currency to another given by one pair, used directly or inversely.

    Raises
    ------
    ConversionRateMissing
        When the pair does not join the two currencies.
    """
    if frm == to:
        return Rate.ONE
    if {pair.base_currency, pair.quote_currency} != {frm, to}:
        raise ConversionRateMissing(
            must_be(
                "conversion pair",
                f"one of {frm} and {to}",
                pair.symbol,
                f"give a quote of {frm}{to} or {to}{frm}",
            )
        )
    num, den = EXACT.add(quote.bid, quote.ask).as_integer_ratio()
    direct = Rate(num, 2 * den)
    return direct if pair.base_currency == frm else direct.inverse


def find_rate(frm: str, to: str, quotes: Iterable[tuple[Instrument, Quote]]) -> Rate:
    """Return the exact mid rate from one currency to another: one pair, else two through a common currency.

    Pairs are tried in the order given, so that the result does not depend on a hash.

    Raises
    ------
    ConversionRateMissing
        When no pair and no chain of two pairs joins the currencies.
    """
    if frm == to:
        return Rate.ONE
    links: list[tuple[str, str, Rate]] = []
    for pair, quote in quotes:
        if pair.base_currency is None:
            continue
        rate = rate_from_quote(pair, quote, pair.base_currency, pair.quote_currency)
        links.append((pair.base_currency, pair.quote_currency, rate))
        links.append((pair.quote_currency, pair.base_currency, rate.inverse))
    for a, b, rate in links:
        if (a, b) == (frm, to):
            return rate
    for a, via, first in links:
        if a != frm:
            continue
        for via2, b, second in links:
            if via2 == via and b == to:
                return first * second
    have = ", ".join(sorted({f"{a}{b}" for a, b, _ in links[::2]})) or "none"
    raise ConversionRateMissing(
        must_be(
            f"rate {frm} to {to}",
            "known",
            f"missing (pairs given: {have})",
            f"add a quote of {frm}{to} or {to}{frm}",
        )
    )

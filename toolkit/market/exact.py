"""Exact numbers at the door: anything a user may write becomes a finite Decimal, or is refused."""

from __future__ import annotations

from decimal import Clamped, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

Number = Decimal | int | float | str
"""What a user may write where the toolkit needs an exact number."""

EXACT = Context(prec=200, traps=[InvalidOperation, DivisionByZero, Overflow, Clamped, Inexact])
"""Context for sums and products that must be exact, whatever decimal context a notebook has set; raises otherwise."""

ROUNDING = Context(prec=200, traps=[InvalidOperation, DivisionByZero, Overflow])
"""The same for steps that are meant to round, such as booking money."""

_WORDS = Context(prec=28, traps=[InvalidOperation, DivisionByZero, Overflow])

_MONEY_DIGITS = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
    "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0, "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3,
    "TND": 3, "BTC": 8, "ETH": 8, "USDT": 2, "USDC": 2,
}  # fmt: skip
"""Minor-unit digits that differ from 2 (ISO 4217 list one), plus what crypto accounts are booked in."""


def to_decimal(value: object, what: str, error: type[BadInput] = BadInput) -> Decimal:
    """Return ``value`` as a finite Decimal; a float counts as the shortest decimal that prints as it.

    Raises
    ------
    BadInput
        (or ``error``) when the value is not a number or not finite.
    """
    number: Decimal
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, bool):
        raise error(must_be(what, "a number", value, "give it as str, Decimal, int or float"))
    elif isinstance(value, Integral):
        number = Decimal(int(value))
    elif isinstance(value, float):
        number = Decimal(float.__repr__(value))
    elif isinstance(value, str | Real):
        try:
            number = Decimal(str(value).strip())
        except InvalidOperation:
            raise error(must_be(what, "a number", repr(value), "write it like '1.25'")) from None
    else:
        raise error(must_be(what, "a number", repr(value), "give it as str, Decimal, int or float"))
    if not number.is_finite():
        raise error(must_be(what, "finite", value, "find out why the number is missing before trading on it"))
    return number


def ratio(num: int, den: int) -> Decimal:
    """Return an exact ratio as a Decimal: exact when it has at most 28 digits, else correctly rounded to 28."""
    return _WORDS.divide(Decimal(num), Decimal(den))


def plain(number: Decimal) -> str:
    """Return the one way a Decimal is written in canonical JSON: no exponent, no trailing zeros."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def money_digits(currency: str) -> int:
    """Return how many decimals money of a currency is booked with (USD 2, JPY 0)."""
    code = currency.upper()
    if not code.isalnum() or not 3 <= len(code) <= 5:
        raise BadInput(
            must_be("currency", "a code of 3 to 5 letters such as USD", repr(currency), "use the ISO 4217 code")
        )
    return _MONEY_DIGITS.get(code, 2)

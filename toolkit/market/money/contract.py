"""What a position is worth: profit, pip value and margin from contract facts, exact until the caller rounds.

Formulas as the MQL5 reference gives them for ``ENUM_SYMBOL_CALC_MODE``; results are Decimals of 28
significant digits and are booked with `round_money`.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from toolkit.errors import BadInput, must_be
from toolkit.market.exact import EXACT, ROUNDING, Number, money_digits, ratio, to_decimal
from toolkit.market.instruments import Instrument
from toolkit.market.money.conversion import Rate
from toolkit.market.quotes import Side


def round_money(amount: Decimal, currency: str) -> Decimal:
    """Return an amount rounded to the currency's digits, half away from zero: what is booked."""
    return amount.quantize(Decimal(1).scaleb(-money_digits(currency)), ROUND_HALF_UP, context=ROUNDING)


def pip_value(instrument: Instrument, quote_to_account: Rate | Number = Rate.ONE) -> Decimal:
    """Return what one pip of one lot is worth in account currency."""
    rate = Rate.of(quote_to_account)
    return _times(EXACT.multiply(instrument.pip_size, instrument.contract_size), rate)


def profit(
    instrument: Instrument,
    side: Side,
    lots: Number,
    open_price: Number,
    close_price: Number,
    quote_to_account: Rate | Number = Rate.ONE,
) -> Decimal:
    """Return the profit of a position in account currency, commission and swap apart.

    Parameters
    ----------
    instrument
        Contract facts.
    side
        BUY gains when the price rises.
    lots
        Volume, more than 0.
    open_price, close_price
        What was paid and got: a BUY opens at an ask and closes at a bid.
    quote_to_account
        Rate from the instrument's quote currency to the account's; 1 only when they are the same.
    """
    volume = _positive(lots, "lots")
    move = EXACT.subtract(_positive(close_price, "close_price"), _positive(open_price, "open_price"))
    units = EXACT.multiply(volume, instrument.contract_size)
    return _times(
        EXACT.multiply(move if Side(side) is Side.BUY else move.copy_negate(), units), Rate.of(quote_to_account)
    )


def margin(
    instrument: Instrument,
    lots: Number,
    price: Number,
    *,
    leverage: Number,
    to_account: Rate | Number = Rate.ONE,
    tick_size: Number | None = None,
    tick_value: Number | None = None,
    mode: str | None = None,
) -> Decimal:
    """Return the margin a position blocks, in account currency.

    Parameters
    ----------
    lots, price
        Volume and the price it opens at.
    leverage
        Of the account, e.g. 30; used by the modes ``forex`` and ``cfd_leverage``.
    to_account
        Rate to the account currency from the margin currency: the base currency in the two forex modes, else
        the quote currency.
    tick_size, tick_value
        Only for ``cfd_index``: the price step and what one lot earns on it.
    mode
        Overrides the instrument's ``margin_mode``.

    Raises
    ------
    BadInput
        When a number is not positive or the mode is unknown, or ``cfd_index`` lacks its tick.
    """
    how = mode if mode is not None else instrument.margin_mode
    num = EXACT.multiply(EXACT.multiply(_positive(lots, "lots"), instrument.contract_size), instrument.margin_rate)
    den = Decimal(1)
    at = _positive(price, "price")
    times_leverage = _positive(leverage, "leverage")
    if how in ("forex", "cfd_leverage"):
        den = times_leverage
    elif how not in ("forex_no_leverage", "cfd", "cfd_index"):
        raise BadInput(must_be("margin mode", "a known one", repr(how), "see toolkit.market.instruments.MARGIN_MODES"))
    if how in ("cfd", "cfd_index", "cfd_leverage"):
        num = EXACT.multiply(num, at)
    if how == "cfd_index":
        if tick_size is None or tick_value is None:
            raise BadInput(must_be("tick_size and tick_value", "given for cfd_index", "missing", "ask the platform"))
        num = EXACT.multiply(num, _positive(tick_value, "tick_value"))
        den = EXACT.multiply(den, _positive(tick_size, "tick_size"))
    rate = Rate.of(to_account)
    num_n, num_d = num.as_integer_ratio()
    den_n, den_d = den.as_integer_ratio()
    return ratio(num_n * den_d * rate.num, num_d * den_n * rate.den)


def _times(amount: Decimal, rate: Rate) -> Decimal:
    num, den = amount.as_integer_ratio()
    return ratio(num * rate.num, den * rate.den)


def _positive(value: Number, what: str) -> Decimal:
    number = to_decimal(value, what)
    if number <= 0:
        raise BadInput(must_be(what, "above 0", number, "check where the number comes from"))
    return number

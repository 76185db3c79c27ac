"""The only live reader of contract facts: what the platform says a symbol is, and what a pip of it is worth.

The pip value is reached by three routes: contract arithmetic, the platform's own point value, and the platform's profit
calculation. They must agree, else nothing is traded: a wrong contract size turns 1 % of risk into 100 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from toolkit.errors import ConversionRateMissing, PlatformError, QuoteError, SizingError, UnknownSymbol
from toolkit.execution.ports import ConversionRates, TickValues, TradingPlatform
from toolkit.market import Instrument, Quote, Rate, Side, money_digits, rate_from_quote

TOLERANCE = Decimal("0.01")  # routes use bid, ask or mid of the conversion pair, so they may differ by a spread
_PROBE_PIPS = 100


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """What execution knows of a symbol at a platform.

    Attributes
    ----------
    instrument
        Contract facts as the platform states them.
    quote_to_account
        Rate from the quote currency to the account's, of the moment.
    pip_value_per_lot
        By contract arithmetic, in account currency.
    routes
        Name and pip value of each route that could be taken.
    """

    instrument: Instrument
    quote_to_account: Rate
    pip_value_per_lot: Decimal
    routes: tuple[tuple[str, Decimal], ...]


def fetch_symbol_info_for_platform(
    platform: TradingPlatform,
    symbol: str,
    account_currency: str,
    *,
    tolerance: Decimal = TOLERANCE,
) -> SymbolInfo:
    """Read a symbol's contract facts and check its pip value by every route the platform offers.

    Raises
    ------
    UnknownSymbol
        When the platform does not have the symbol.
    ConversionRateMissing
        When the quote currency cannot be converted.
    SizingError
        When two routes disagree by more than ``tolerance`` (a fraction); the message shows all of them.
    """
    instrument = platform.instrument(symbol)
    rate = conversion_rate(platform, instrument.quote_currency, account_currency)
    arithmetic = instrument.pip_size * instrument.contract_size * rate.decimal
    routes: list[tuple[str, Decimal]] = [("contract arithmetic", arithmetic)]
    stated = _stated_value(platform, instrument)
    if stated is not None:
        routes.append(("platform's point value", stated))
    calculated = _calculated_value(platform, instrument)
    if calculated is not None:
        routes.append(("platform's profit calculation", calculated))
    # The profit calculation is rounded to whole minor units, once over _PROBE_PIPS pips.
    rounding = Decimal(1).scaleb(-money_digits(account_currency)) / _PROBE_PIPS
    for name, value in routes[1:]:
        if abs(value - arithmetic) > tolerance * arithmetic + rounding:
            listed = "; ".join(f"{n}: {v.normalize():f} {account_currency} a pip and lot" for n, v in routes)
            raise SizingError(
                f"pip value of {symbol} must agree on all routes, was not so by {name} ({listed}; "
                f"contract {instrument.contract_size:f}, pip {instrument.pip_size:f}, rate "
                f"{rate.num}/{rate.den}): compare contract size and pip size with the platform's symbol window"
            )
    return SymbolInfo(instrument, rate, arithmetic, tuple(routes))


def conversion_rate(platform: TradingPlatform, frm: str, to: str) -> Rate:
    """Return the rate between two currencies at a platform: its own, else the mid of the one direct or inverse pair.

    Raises
    ------
    ConversionRateMissing
        When the platform quotes neither pair; a rate is never assumed.
    """
    if frm == to:
        return Rate.ONE
    if hasattr(platform, "conversion_rate"):
        return cast("ConversionRates", platform).conversion_rate(frm, to)
    for name in (f"{frm}{to}", f"{to}{frm}"):
        try:
            pair = platform.instrument(name)
            quote = platform.quote(name)
        except (UnknownSymbol, QuoteError):
            continue
        return rate_from_quote(pair, quote, frm, to)
    raise ConversionRateMissing(
        f"rate {frm} to {to} must be quoted by the platform, was not: add {frm}{to} or {to}{frm} to its symbols"
    )


def _stated_value(platform: TradingPlatform, instrument: Instrument) -> Decimal | None:
    if not hasattr(platform, "point_value"):
        return None
    value = cast("TickValues", platform).point_value(instrument.symbol)
    return None if value is None else value * instrument.points_per_pip


def _calculated_value(platform: TradingPlatform, instrument: Instrument) -> Decimal | None:
    lots = min(max(Decimal(1), instrument.volume_min), instrument.volume_max)
    try:
        quote: Quote = platform.quote(instrument.symbol)
        away = quote.bid + _PROBE_PIPS * instrument.pip_size
        return platform.profit(instrument.symbol, Side.BUY, lots, quote.bid, away) / _PROBE_PIPS / lots
    except (PlatformError, QuoteError):
        return None  # the platform does not offer this route now; the others still have to agree

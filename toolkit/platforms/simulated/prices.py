"""What the venue knows of symbols: contract facts, quotes, the value of a point and margin."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.errors import BadInput, ConversionRateMissing, UnknownSymbol, must_be
from toolkit.market import Bars, Instrument, Rate, contract
from toolkit.market.conversion import mid_rate
from toolkit.platforms.simulated.records import VenueState
from toolkit.platforms.simulated.replay import Replay
from toolkit.simulation.account import Costs, PaperAccount, point_value, to_minor


class VenuePrices:
    """Prices and money arithmetic of one account.

    A symbol is priced by its replay, when one is loaded, else by the last quote pushed to the venue.
    """

    def __init__(self, account: PaperAccount, instruments: Mapping[str, Instrument], state: VenueState) -> None:
        self.account = account
        self.instruments: dict[str, Instrument] = dict(instruments)
        self.replays: dict[str, Replay] = {}
        self.state = state
        self._costs: dict[str, Costs] = {}
        self._values: dict[tuple[str, int, int], tuple[int, int]] = {}

    def load(self, symbol: str, bars: Bars) -> None:
        """Price a symbol by recorded bars from now on."""
        if len(bars) == 0:
            raise BadInput(must_be("replay", "at least one bar", "empty", "load bars with rows"))
        self.replays[symbol] = Replay(bars)

    def instrument(self, symbol: str) -> Instrument:
        """Return the contract facts of a symbol."""
        try:
            return self.instruments[symbol]
        except KeyError:
            have = ", ".join(self.instruments) or "none"
            raise UnknownSymbol(
                must_be("symbol", f"one of {have}", repr(symbol), "load its replay or pass its instrument")
            ) from None

    def quote(self, symbol: str, ns: int) -> tuple[int, int, int] | None:
        """Return bid points, ask points and the quote's moment, or None before the first price."""
        replay = self.replays.get(symbol)
        return replay.quote(ns) if replay is not None else self.state.quotes.get(symbol)

    def costs(self, symbol: str) -> Costs:
        """Return commission and slippage of the account on this symbol."""
        found = self._costs.get(symbol)
        if found is None:
            found = self._costs[symbol] = self.account.costs(self.instrument(symbol))
        return found

    def rate(self, frm: str, ns: int) -> Rate:
        """Return the rate into the account's currency by the last mids at or before ``ns``: one pair, else two.

        Raises
        ------
        ConversionRateMissing
            When no price of a joining pair is known at that moment; a rate is never assumed.
        """
        to = self.account.currency
        if frm == to:
            return Rate.ONE
        links: list[tuple[str, str, Rate]] = []
        for symbol, pair in self.instruments.items():
            if pair.base_currency is None:
                continue
            last = self._last(symbol, ns)
            if last is None:
                continue
            rate = mid_rate(last[0], last[1], pair.digits)
            if (pair.base_currency, pair.quote_currency) == (frm, to):
                return rate
            if (pair.quote_currency, pair.base_currency) == (frm, to):
                return rate.inverse
            links.append((pair.base_currency, pair.quote_currency, rate))
            links.append((pair.quote_currency, pair.base_currency, rate.inverse))
        for a, via, first in links:
            for b, c, second in links:
                if a == frm and b == via and c == to:
                    return first * second
        raise ConversionRateMissing(
            must_be(f"rate {frm} to {to}", "known to the venue", "missing", f"load a replay of {frm}{to} or {to}{frm}")
        )

    def _last(self, symbol: str, ns: int) -> tuple[int, int] | None:
        replay = self.replays.get(symbol)
        if replay is not None:
            return replay.last_close(ns)
        pushed = self.state.quotes.get(symbol)
        return None if pushed is None else (pushed[0], pushed[1])

    def point_value(self, symbol: str, ns: int) -> tuple[int, int]:
        """Return account minor units per point and step, as the rational of `toolkit.simulation.rules`."""
        instrument = self.instrument(symbol)
        rate = self.rate(instrument.quote_currency, ns)
        key = (symbol, rate.num, rate.den)
        found = self._values.get(key)
        if found is None:
            if len(self._values) > 4096:
                self._values.clear()
            found = self._values[key] = point_value(instrument, self.account.currency, rate.num, rate.den)
        return found

    def margin(self, symbol: str, steps: int, price_points: int, ns: int) -> int:
        """Return the margin of a position in minor units, by its margin mode and the leverage."""
        instrument = self.instrument(symbol)
        by_base = instrument.margin_mode.startswith("forex") and instrument.base_currency is not None
        currency = str(instrument.base_currency) if by_base else instrument.quote_currency
        mode = instrument.margin_mode
        if not by_base and mode in ("forex", "forex_no_leverage"):
            mode = "cfd_leverage" if mode == "forex" else "cfd"  # no base currency to speak of: by the price
        elif mode == "cfd_index":
            mode = "cfd"  # a tick of the venue is always worth its points
        if currency == instrument.base_currency and instrument.quote_currency == self.account.currency:
            # the pair converts itself: at the price of the position, as MetaTrader 5 does at its opening
            rate = Rate(price_points, instrument.scale)
        else:
            rate = self.rate(currency, ns)
        amount = contract.margin(
            instrument,
            instrument.lots(steps),
            instrument.price(price_points),
            leverage=self.account.leverage,
            to_account=rate,
            mode=mode,
        )
        return to_minor(amount, self.account.currency)

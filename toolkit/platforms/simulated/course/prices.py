"""What the venue knows of symbols: contract facts, quotes, the value of a point and margin."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from toolkit.errors import BadInput, ConversionRateMissing, UnknownSymbol, must_be
from toolkit.market import Bars, Instrument, Rate
from toolkit.market.money.conversion import mid_rate
from toolkit.market.platform_clock import day_ids, day_starts
from toolkit.platforms.simulated.book.records import VenueState
from toolkit.platforms.simulated.course.replay import Replay
from toolkit.simulation.account import Costs, PaperAccount, point_value
from toolkit.simulation.holding.margin import MARGIN_OFF
from toolkit.simulation.holding.terms import MarginTerms, SwapTerms, margin_terms, swap_terms


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
        self._margins: dict[str, MarginTerms] = {}
        self._swaps: dict[str, SwapTerms] = {}
        self._most: dict[str, tuple[int, int] | None] = {}
        self._values: dict[tuple[str, int, int], tuple[int, int]] = {}

    def load(self, symbol: str, bars: Bars) -> None:
        """Price a symbol by recorded bars from now on."""
        if len(bars) == 0:
            raise BadInput(must_be("replay", "at least one bar", "empty", "load bars with rows"))
        self.replays[symbol] = Replay(bars)
        self._most.clear()

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

    def most(self, symbol: str) -> tuple[int, int] | None:
        """Return a point value that none of the symbol's replayed future exceeds, None where prices are pushed."""
        instrument = self.instrument(symbol)
        frm, to = instrument.quote_currency, self.account.currency
        if frm == to:
            return point_value(instrument, to)
        if symbol not in self._most:
            self._most[symbol] = self._largest(instrument, frm, to)
        return self._most[symbol]

    def _largest(self, instrument: Instrument, frm: str, to: str) -> tuple[int, int] | None:
        links: list[tuple[str, str, Rate]] = []
        for symbol, pair in self.instruments.items():
            if pair.base_currency is None:
                continue
            replay = self.replays.get(symbol)
            if replay is None:
                if symbol in self.state.quotes:
                    return None
                continue
            low, high = replay.mid_range
            links.append((pair.base_currency, pair.quote_currency, mid_rate(high, 0, pair.digits)))
            links.append((pair.quote_currency, pair.base_currency, mid_rate(low, 0, pair.digits).inverse))
        found = [rate for a, b, rate in links if (a, b) == (frm, to)]
        found += [first * second for a, via, first in links for b, c, second in links if (a, b, c) == (frm, via, to)]
        if not found:
            return None
        largest = max(found, key=lambda rate: Fraction(rate.num, rate.den))
        return point_value(instrument, to, largest.num, largest.den)

    def forget_bounds(self) -> None:
        """Drop what was computed from the series alone; called when a symbol is pushed for the first time."""
        self._most.clear()

    def margin_terms(self, symbol: str) -> MarginTerms:
        """Return the account's margin on this symbol."""
        found = self._margins.get(symbol)
        if found is None:
            found = self._margins[symbol] = margin_terms(self.account, self.instrument(symbol))
        return found

    def swap_terms(self, symbol: str) -> SwapTerms:
        """Return the account's swap on this symbol."""
        found = self._swaps.get(symbol)
        if found is None:
            found = self._swaps[symbol] = swap_terms(self.account, self.instrument(symbol))
        return found

    def margin(self, symbol: str, steps: int, price_points: int, ns: int) -> int:
        """Return the margin in minor units of an entry of that moment."""
        terms = self.margin_terms(symbol)
        if terms.mode == MARGIN_OFF:
            return 0
        return terms.needed(price_points, steps, self.point_value(symbol, ns))

    def day(self, ns: int) -> int:
        """Return the platform's day of a moment, as whole days since 1970-01-01."""
        return int(day_ids(np.array([ns], dtype=np.int64), self.account.day_end)[0])

    def day_start(self, day: int) -> int:
        """Return the moment a platform day begins at."""
        return int(day_starts(np.array([day], dtype=np.int64), self.account.day_end)[0])

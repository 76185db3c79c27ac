"""The reference of the price collar."""

from __future__ import annotations

from decimal import Decimal

from toolkit.market import Quote


class LastQuotes:
    """The mid of the last quote this process looked at, by symbol; the reference of the price collar."""

    def __init__(self) -> None:
        self._last: dict[str, Decimal] = {}

    def swap(self, symbol: str, quote: Quote) -> Decimal | None:
        """Keep a quote's mid and return the one before it, None at the first look."""
        before = self._last.get(symbol)
        self._last[symbol] = quote.mid
        return before

"""What can be traded at right now: a side, and a bid with its ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from toolkit.clock import to_utc
from toolkit.errors import QuoteError, must_be
from toolkit.market.exact import EXACT, to_decimal

_TWO = Decimal(2)


class Side(StrEnum):
    """The direction of a position or an order."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """Return +1 for BUY and -1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """Return the other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


@dataclass(frozen=True, slots=True)
class Quote:
    """A bid and an ask of one moment, in price units of the symbol.

    Parameters
    ----------
    bid, ask
        Prices as str, Decimal, int or float; kept as Decimal.
    ts
        Moment of the quote, tz-aware (kept in UTC), or None when unknown.

    Raises
    ------
    QuoteError
        When a price is not positive or not finite, the ask is below the bid, or the time is naive.
    """

    bid: Decimal
    ask: Decimal
    ts: datetime | None = None

    def __post_init__(self) -> None:
        bid = to_decimal(self.bid, "bid", QuoteError)
        ask = to_decimal(self.ask, "ask", QuoteError)
        if bid <= 0:
            raise QuoteError(must_be("bid", "above 0", bid, "drop the quote"))
        if ask < bid:
            raise QuoteError(
                must_be(
                    "ask",
                    f"at or above the bid {bid}",
                    ask,
                    "swap the two if they are mixed up, else drop the quote",
                )
            )
        object.__setattr__(self, "bid", bid)
        object.__setattr__(self, "ask", ask)
        if self.ts is not None:
            try:
                object.__setattr__(self, "ts", to_utc(self.ts))
            except ValueError as e:
                raise QuoteError(str(e)) from e

    @property
    def mid(self) -> Decimal:
        """Return the middle between bid and ask."""
        return EXACT.divide(EXACT.add(self.bid, self.ask), _TWO)

    @property
    def spread(self) -> Decimal:
        """Return ask minus bid, in price units."""
        return EXACT.subtract(self.ask, self.bid)

    def price_for(self, side: Side) -> Decimal:
        """Return what an order of that side is executed at: BUY pays the ask, SELL gets the bid."""
        return self.ask if side is Side.BUY else self.bid

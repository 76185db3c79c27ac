"""Guards against a run that went wild: too many orders a minute, or a price far from the last one seen."""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from toolkit.market import Quote


class RunawayGuard:
    """Counts the sends of one account in this process and compares each quote with the one before it.

    Parameters
    ----------
    orders_per_minute
        Entries sent within any 60 seconds of our monotonic clock; 0 switches the cap off.
    price_collar_percent
        Largest move of the mid from one accepted look to the next; 0 switches the collar off. A quote outside is refused
        once and becomes the new reference: a market that really moved trades on with the next look.
    """

    def __init__(self, orders_per_minute: int = 0, price_collar_percent: Decimal = Decimal(0)) -> None:
        self._cap = orders_per_minute
        self._collar = price_collar_percent
        self._sends: deque[float] = deque()
        self._last: dict[str, Decimal] = {}

    def refusal(self, symbol: str, quote: Quote, monotonic: float) -> tuple[str, str] | None:
        """Return code and message of a refusal, or None when the entry may go on."""
        before = self._last.get(symbol)
        self._last[symbol] = quote.mid
        if self._collar > 0 and before is not None and abs(quote.mid - before) * 100 > before * self._collar:
            return (
                "price_collar",
                f"mid of {symbol} must be within {self._collar:f} % of the last one seen {before:f}, was {quote.mid:f}: "
                "the next look takes it as reference",
            )
        while self._sends and monotonic - self._sends[0] >= 60:
            self._sends.popleft()
        if self._cap > 0 and len(self._sends) >= self._cap:
            return (
                "orders_per_minute",
                f"entries of this account must be at most {self._cap} a minute, were {len(self._sends)}: find out which run "
                "went wild before raising the cap",
            )
        return None

    def sent(self, monotonic: float) -> None:
        """Count one entry that was sent."""
        self._sends.append(monotonic)

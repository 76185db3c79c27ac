"""The last look before a claim: what the platform shows, read before the transaction begins and stamped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from toolkit.execution.guarding.exposure import Rated
from toolkit.execution.ledger.records import IntentRecord, RunRecord, TradeRecord
from toolkit.execution.ports import Book, PlatformPosition, TradingPlatform
from toolkit.execution.symbol_info import conversion_rate
from toolkit.market import Instrument, Quote, Rate


@dataclass(frozen=True, slots=True)
class MarketView:
    """Book, quote and conversion rate of one moment.

    Attributes
    ----------
    now
        The platform's clock.
    read_at
        Our monotonic clock when the reading began; a view that has become old in our hands is refused as well.
    rated
        Further symbols valued in account currency, read only when a guard counts what is open in them.
    """

    now: datetime
    book: Book
    quote: Quote
    instrument: Instrument
    quote_to_account: Rate
    read_at: float
    rated: Mapping[str, Rated] = field(default_factory=dict)

    def position(self, position_id: str) -> PlatformPosition | None:
        """Return an open position by its lasting id."""
        return next((p for p in self.book.positions if p.position_id == position_id), None)

    def quote_age_seconds(self) -> float:
        """Return how old the quote is on the platform's own clock; a replay's clock counts, not the wall's."""
        return 0.0 if self.quote.ts is None else (self.now - self.quote.ts).total_seconds()


LookAt: TypeAlias = Callable[[str], MarketView]


def look(platform: TradingPlatform, instrument: Instrument, read_at: float) -> MarketView:
    """Read what a decision needs; any failing read raises, because a partial look is no look."""
    book = platform.book()
    quote = platform.quote(instrument.symbol)
    rate = conversion_rate(platform, instrument.quote_currency, book.account.currency)
    return MarketView(platform.now(), book, quote, instrument, rate, read_at)


def run_equity(run: RunRecord, open_trades: Iterable[TradeRecord], book: Book) -> Decimal:
    """Return a run's own equity: its capital, what its trades have booked and the open profit of its positions."""
    ours = {t.position_id for t in open_trades if t.live_run_id == run.live_run_id}
    open_profit = sum((p.profit + p.swap for p in book.positions if p.position_id in ours), Decimal(0))
    return run.capital + run.realised + open_profit


def equity_for(intent: IntentRecord, run: RunRecord | None, open_trades: Iterable[TradeRecord], book: Book) -> Decimal:
    """Return the equity an entry is sized by: the run's own, or the account's for a request without a run."""
    return book.account.equity if run is None else run_equity(run, open_trades, book)

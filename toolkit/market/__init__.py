"""Prices and contract facts: bars, quotes, instruments, conversion, timeframes."""

from toolkit.market.exact import money_digits
from toolkit.market.instruments import Instrument, find_instrument, known_symbols
from toolkit.market.money.conversion import Rate, find_rate, mid_rate, rate_from_quote
from toolkit.market.money.rates_table import RatesTable, load_rates
from toolkit.market.platform_clock import PlatformClock, day_ids, day_starts, find_clock
from toolkit.market.quotes import Quote, Side
from toolkit.market.samples import sample_bars, sample_cards
from toolkit.market.series.aggregation import Aggregation, aggregate
from toolkit.market.series.bars import Bars
from toolkit.market.series.loading import inspect_bars, load_bars
from toolkit.market.series.quality import QualityReport
from toolkit.market.timeframes import Timeframe

__all__ = [
    "Aggregation",
    "Bars",
    "Instrument",
    "PlatformClock",
    "QualityReport",
    "Quote",
    "Rate",
    "RatesTable",
    "Side",
    "Timeframe",
    "aggregate",
    "day_ids",
    "day_starts",
    "find_clock",
    "find_instrument",
    "find_rate",
    "inspect_bars",
    "known_symbols",
    "load_bars",
    "load_rates",
    "mid_rate",
    "money_digits",
    "rate_from_quote",
    "sample_bars",
    "sample_cards",
]

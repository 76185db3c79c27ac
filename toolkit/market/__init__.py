"""Prices and contract facts: bars, quotes, instruments, conversion, timeframes."""

from toolkit.market.bars import Bars
from toolkit.market.conversion import Rate, find_rate, mid_rate, rate_from_quote
from toolkit.market.instruments import Instrument, find_instrument, known_symbols
from toolkit.market.loading import load_bars
from toolkit.market.exact import money_digits
from toolkit.market.quotes import Quote, Side
from toolkit.market.samples import sample_bars
from toolkit.market.timeframes import Timeframe

__all__ = [
    "Bars",
    "Instrument",
    "Quote",
    "Rate",
    "Side",
    "Timeframe",
    "find_instrument",
    "find_rate",
    "known_symbols",
    "load_bars",
    "mid_rate",
    "money_digits",
    "rate_from_quote",
    "sample_bars",
]

"""Indicators: each module holds plain step functions and the notebook's words for them."""

from __future__ import annotations

from toolkit.strategy.indicators.averages import ema, sma, wilder
from toolkit.strategy.indicators.channels import highest, lowest
from toolkit.strategy.indicators.elementwise import absolute_of, known, maximum, minimum, sqrt_of, where
from toolkit.strategy.indicators.memory import crossed_above, crossed_below
from toolkit.strategy.indicators.oscillators import rsi
from toolkit.strategy.indicators.sessions import hour_between, minute_of_day, weekday
from toolkit.strategy.indicators.volatility import atr, true_range

__all__ = [
    "absolute_of",
    "atr",
    "crossed_above",
    "crossed_below",
    "ema",
    "highest",
    "hour_between",
    "known",
    "lowest",
    "maximum",
    "minimum",
    "minute_of_day",
    "rsi",
    "sma",
    "sqrt_of",
    "true_range",
    "weekday",
    "where",
    "wilder",
]

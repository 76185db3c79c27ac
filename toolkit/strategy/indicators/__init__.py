"""Indicators: each module holds plain step functions and the notebook's words for them."""

from __future__ import annotations

from toolkit.strategy.indicators.averages import dema, ema, hma, kama, tema, wilder
from toolkit.strategy.indicators.channels import donchian, highest, lowest
from toolkit.strategy.indicators.elementwise import absolute_of, known, maximum, minimum, sqrt_of, where
from toolkit.strategy.indicators.memory import crossed_above, crossed_below
from toolkit.strategy.indicators.oscillators import cci, macd, momentum, roc, rsi, stochastic, williams
from toolkit.strategy.indicators.sessions import (
    day_high,
    day_low,
    day_open,
    hour_between,
    minute_of_day,
    session_high,
    session_low,
    session_open,
    weekday,
)
from toolkit.strategy.indicators.trend import adx, dmi, parabolic_sar, supertrend
from toolkit.strategy.indicators.volatility import atr, bollinger, keltner, true_range
from toolkit.strategy.indicators.volume import obv, vwap
from toolkit.strategy.indicators.windows import linear_regression, median, quantile, slope, sma, std, wma, zscore

__all__ = [
    "absolute_of",
    "adx",
    "atr",
    "bollinger",
    "cci",
    "crossed_above",
    "crossed_below",
    "day_high",
    "day_low",
    "day_open",
    "dema",
    "dmi",
    "donchian",
    "ema",
    "highest",
    "hma",
    "hour_between",
    "kama",
    "keltner",
    "known",
    "linear_regression",
    "lowest",
    "macd",
    "maximum",
    "median",
    "minimum",
    "minute_of_day",
    "momentum",
    "obv",
    "parabolic_sar",
    "quantile",
    "roc",
    "rsi",
    "session_high",
    "session_low",
    "session_open",
    "slope",
    "sma",
    "sqrt_of",
    "std",
    "stochastic",
    "supertrend",
    "tema",
    "true_range",
    "vwap",
    "weekday",
    "where",
    "wilder",
    "williams",
    "wma",
    "zscore",
]

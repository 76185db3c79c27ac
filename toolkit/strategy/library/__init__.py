"""Six documented example strategies, written as a quant would; copy one into a cell and change it."""

from __future__ import annotations

from toolkit.strategy.library.bollinger_reversion import BollingerReversion
from toolkit.strategy.library.donchian_breakout import DonchianBreakout
from toolkit.strategy.library.ema_cross import EmaCross
from toolkit.strategy.library.rsi_reversal import RsiReversal
from toolkit.strategy.library.supertrend_follower import SuperTrendFollower
from toolkit.strategy.library.trend_pullback import TrendPullback

__all__ = [
    "BollingerReversion",
    "DonchianBreakout",
    "EmaCross",
    "RsiReversal",
    "SuperTrendFollower",
    "TrendPullback",
]

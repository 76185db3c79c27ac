"""cTrader behind the ``TradingPlatform`` protocol, over the Open API; needs the extra ``ctrader``."""

from toolkit.platforms.ctrader.platform import CTraderPlatform

__all__ = ["CTraderPlatform"]

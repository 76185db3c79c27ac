"""Adapters to trading platforms: the paper venue, MetaTrader 5 and its simulator, each behind ``TradingPlatform``."""

"""The adapter to MetaTrader 5, over the vendor's package, a remote one, or its simulator."""

from toolkit.platforms.metatrader5.platform import MetaTrader5Platform

__all__ = ["MetaTrader5Platform"]

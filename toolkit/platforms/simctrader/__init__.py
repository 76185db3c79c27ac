"""A cTrader server on this machine over a paper venue: for tests, for notebooks, and as a sandbox for users."""

from toolkit.platforms.simctrader.platform import SimCTraderPlatform
from toolkit.platforms.simctrader.server import Sandbox

__all__ = ["Sandbox", "SimCTraderPlatform"]

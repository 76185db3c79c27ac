"""A strict double of the MetaTrader5 module over the paper venue, for tests, notebooks and CI anywhere."""

from toolkit.platforms.simmt5.platform import SimMT5Platform
from toolkit.platforms.simmt5.session import VenueClock
from toolkit.platforms.simmt5.terminal import SimMT5
from toolkit.platforms.simulated.desk import VenueRules

#: What a MetaTrader server checks and a backtest does not.
STRICT = VenueRules()

__all__ = ["STRICT", "SimMT5", "SimMT5Platform", "VenueClock"]

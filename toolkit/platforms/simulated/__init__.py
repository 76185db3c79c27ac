"""The paper platform: the backtest's fill rules behind a venue with its own durable book."""

from toolkit.platforms.simulated.desk import VenueRules
from toolkit.platforms.simulated.faults import Fault, FaultKind, FaultScript
from toolkit.platforms.simulated.platform import SimulatedPlatform

__all__ = ["Fault", "FaultKind", "FaultScript", "SimulatedPlatform", "VenueRules"]

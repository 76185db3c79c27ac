"""The MetaTrader 5 adapter over the double, as one platform whose clock a replay moves."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from toolkit.market import Bars
from toolkit.platforms.metatrader5.platform import MetaTrader5Platform
from toolkit.platforms.simmt5.running import RunningMT5
from toolkit.platforms.simmt5.terminal import SimMT5
from toolkit.platforms.simulated import SimulatedPlatform


class SimMT5Platform(MetaTrader5Platform):
    """`MetaTrader5Platform` on a `SimMT5`: what a LiveRun needs to replay bars through the MetaTrader 5 path.

    Parameters
    ----------
    platform
        The venue; it is closed with this object.
    simulator
        Words for `SimMT5`, for example ``suffix`` or ``clock``; with ``begin`` and ``since`` for `RunningMT5`.
    """

    def __init__(self, platform: SimulatedPlatform, **simulator: Any) -> None:
        self.venue_platform = platform
        self.terminal = RunningMT5(platform, **simulator) if "begin" in simulator else SimMT5(platform, **simulator)
        login, server, mode = self.terminal.logged_in
        super().__init__(
            self.terminal,
            login=login,
            server=server,
            environment="real" if mode == self.terminal.ACCOUNT_TRADE_MODE_REAL else "demo",
            clock=self.terminal.server.time.clock,
            suffix=simulator.get("suffix", ""),
            symbols=simulator.get("names"),
            utc=self.terminal.clock,
        )

    def close(self) -> None:
        """End the session and give the venue's journal back; safe to call twice."""
        super().close()
        self.venue_platform.close()

    def load_replay(self, symbol: str, bars: Bars) -> None:
        """Price a symbol by recorded bars."""
        self.venue_platform.load_replay(symbol, bars)

    def advance_clock_to(self, moment: datetime) -> int:
        """Move the venue's clock forward; return the number of new deals."""
        return self.venue_platform.advance_clock_to(moment)

    def first_touch(self, until: datetime) -> datetime | None:
        """Return the moment up to which the clock must move for something to fall due."""
        return self.venue_platform.first_touch(until)

    def has_received(self, tag_text: str) -> bool:
        """Tell whether a command with this tag ever reached the venue; a real server cannot be asked that."""
        return self.venue_platform.has_received(tag_text)

    def duplicate_orders(self) -> int:
        """Return how many accepted orders repeat the tag of an earlier one."""
        return self.venue_platform.duplicate_orders()

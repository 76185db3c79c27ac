"""A simulated terminal whose server's clock runs by itself, so that a live feed can be tried without a broker."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import BadInput, must_be
from toolkit.platforms.simmt5.terminal import SimMT5
from toolkit.platforms.simulated import SimulatedPlatform


class RunningMT5(SimMT5):
    """`SimMT5` on a server that lives through recorded bars at its own pace.

    Parameters
    ----------
    platform
        The venue, with its replays loaded.
    begin, since
        The server's moment at the wall time ``since``; both are kept with the account, so that a restarted terminal finds
        the server where it would be had it never been away.
    speed
        Seconds of the server for one of the wall.
    wall
        This machine's clock.
    simulator
        Words for `SimMT5`.
    """

    def __init__(
        self,
        platform: SimulatedPlatform,
        *,
        begin: datetime,
        since: datetime,
        speed: float = 1.0,
        wall: Clock = SYSTEM,
        **simulator: Any,
    ) -> None:
        if not speed > 0:
            raise BadInput(must_be("speed", "above 0", speed, "1 is real time, 60 a minute a second"))
        self._begin, self._since, self._speed, self._wall = begin, since, speed, wall
        super().__init__(platform, **simulator)
        self.server.ticks_within_bars = True
        self._let_time_pass()

    def _let_time_pass(self) -> None:
        passed = (self._wall.now() - self._since).total_seconds() * self._speed
        self.platform.advance_clock_to(self._begin + timedelta(seconds=max(0.0, passed)))

    def _open(self) -> bool:
        self._let_time_pass()
        return super()._open()

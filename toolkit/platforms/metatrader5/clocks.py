"""Which wall clock a MetaTrader server runs on: measured against UTC now, and guessed from its bars for the rest of the year.

The package never states the server's zone. A fresh tick gives the difference to UTC of this hour exactly; which
daylight-saving dates the server follows shows only in the few weeks in which America and Europe disagree. The first
bars of the weeks help little there: many servers open at 00:00 of their own Monday whatever New York does. So a
finding names its rivals, and an account may state its clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from toolkit.clock import to_ns
from toolkit.market.platform_clock import NEW_YORK_PLUS_7, UTC_CLOCK, PlatformClock

#: Clocks that brokers use, the common ones first; of two that fit equally the first is taken.
CANDIDATES = (
    NEW_YORK_PLUS_7,
    PlatformClock("Europe/Athens"),
    UTC_CLOCK,
    PlatformClock("UTC", 120),
    PlatformClock("UTC", 180),
    PlatformClock("Europe/London"),
    PlatformClock("America/New_York"),
)
_DAY = 86_400
_HALF_HOUR = 1_800
_FRESH_SECONDS = 300
_NEW_YORK = PlatformClock("America/New_York")


@dataclass(frozen=True, slots=True)
class ClockFinding:
    """A clock and the evidence for it.

    Attributes
    ----------
    clock
        The best candidate.
    rivals
        Candidates that the evidence does not exclude.
    offset_minutes
        Server wall time minus UTC as measured from a fresh tick, None when the market was closed.
    weeks
        How many weeks of bars were looked at.
    """

    clock: PlatformClock
    rivals: tuple[PlatformClock, ...]
    offset_minutes: int | None
    weeks: int

    def __str__(self) -> str:
        measured = "not measured" if self.offset_minutes is None else f"UTC{self.offset_minutes / 60:+g} h now"
        rivals = ", ".join(r.name for r in self.rivals) or "none"
        return (
            f"server clock taken as {self.clock.name} ({measured}, {self.weeks} week openings); not excluded: {rivals}; "
            "state it in the account's settings to be sure"
        )


def measured_offset(tick_wall_seconds: int, utc_now: datetime) -> int | None:
    """Return server wall time minus UTC in minutes, from the time of the last tick; None when that tick is not fresh.

    An offset is a multiple of half an hour, and a tick is at most a few minutes old while the market is open.
    """
    difference = tick_wall_seconds - to_ns(utc_now) // 1_000_000_000
    nearest = round(difference / _HALF_HOUR) * _HALF_HOUR
    if abs(nearest) > _DAY * 14 // 24 or not -_FRESH_SECONDS <= difference - nearest <= 60:
        return None
    return nearest // 60


def find_server_clock(wall_seconds: Any, utc_now: datetime, offset_minutes: int | None) -> ClockFinding:
    """Find the server's clock.

    Parameters
    ----------
    wall_seconds
        Open times of intraday bars as the server states them; a year of H1 bars if there are.
    utc_now
        This moment.
    offset_minutes
        From `measured_offset`; a candidate that disagrees with it is out.
    """
    seconds = np.sort(np.asarray(wall_seconds, dtype=np.int64))
    opens = seconds[1:][np.diff(seconds) > _DAY]
    now_ns = np.array([to_ns(utc_now)], dtype=np.int64)
    left = [
        clock
        for clock in CANDIDATES
        if offset_minutes is None or int(clock.offsets(now_ns)[0]) == offset_minutes * 60 * 1_000_000_000
    ]
    if not left and offset_minutes is not None:
        left = [PlatformClock("UTC", offset_minutes)]
    scores = [_fit(clock, opens) for clock in left]
    # a tenth is within what holidays and broken weeks do
    fitting = [clock for clock, score in zip(left, scores, strict=True) if score >= max(scores) - 0.1]
    return ClockFinding(fitting[0], tuple(fitting[1:]), offset_minutes, len(opens))


def _fit(clock: PlatformClock, opens: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """Return the part of the weeks that began between Sunday 16:55 and 18:30 in New York."""
    if len(opens) == 0:
        return 0.0
    local = _NEW_YORK.from_utc(clock.first_utc(opens * 1_000_000_000)) // 1_000_000_000
    sunday = (local // _DAY + 3) % 7 == 6  # day 0 was a Thursday; Monday is 0
    late = local % _DAY - 17 * 3600
    return float(np.mean(sunday & (late >= -300) & (late < 5400)))

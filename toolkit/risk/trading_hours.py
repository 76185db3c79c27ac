"""Hours in which entries are allowed: words like ``Mon-Fri 08:00-20:00 Europe/London``, asked by moment or by column."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be
from toolkit.market.platform_clock import PlatformClock, find_clock

__all__ = ["TradingHours"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MINUTE_NS = 60 * 1_000_000_000
_WEEK = 7 * 24 * 60
_MONDAY = 4 * 24 * 60  # 1970-01-01 was a Thursday: the first Monday midnight, in minutes
_SPAN = re.compile(
    r"(?:(?P<first>[A-Za-z]{3})(?:-(?P<last>[A-Za-z]{3}))?\s+)?(?P<from>\d{1,2}:\d{2})-(?P<to>\d{1,2}:\d{2})"
)


@dataclass(frozen=True, slots=True)
class TradingHours:
    """Spans of the week in which entries are allowed, on a named clock.

    Parameters
    ----------
    text
        Spans joined by commas, each ``[Mon[-Fri]] HH:MM-HH:MM``, then the clock: ``Mon-Thu 07:00-22:00, Fri
        07:00-17:00 Europe/London``. Days left out mean Monday to Friday, a clock left out means UTC. A span begins with its
        first minute and ends before its last; one that ends at or before it begins goes on into the next day.

    Raises
    ------
    BadInput
        When the words cannot be read.
    """

    text: str
    clock: PlatformClock = field(compare=False)
    _open: npt.NDArray[np.bool_] = field(compare=False, repr=False)

    def __init__(self, text: str) -> None:
        words = str(text).strip()
        spans = list(_SPAN.finditer(words))
        if not spans:
            raise _unreadable(words)
        zone = words[spans[-1].end() :].strip(" ,")
        between = [words[: spans[0].start()]]
        between += [words[a.end() : b.start()] for a, b in pairwise(spans)]
        if any(gap.strip(" ,;") for gap in between):
            raise _unreadable(words)
        minutes: npt.NDArray[np.bool_] = np.zeros(_WEEK, np.bool_)
        for span in spans:
            first = _day(span["first"] or "Mon", words)
            last = _day(span["last"] or span["first"] or "Fri", words)
            begins, ends = _minute(span["from"], words), _minute(span["to"], words)
            length = ends - begins if ends > begins else ends - begins + 24 * 60
            day = first
            while True:
                at = day * 24 * 60 + begins
                minutes[np.arange(at, at + length) % _WEEK] = True
                if day == last:
                    break
                day = (day + 1) % 7
        minutes.flags.writeable = False
        object.__setattr__(self, "text", words)
        object.__setattr__(self, "clock", find_clock(zone) if zone else PlatformClock())
        object.__setattr__(self, "_open", minutes)

    def allows(self, moment_ns: int) -> bool:
        """Whether an entry at this UTC moment (epoch nanoseconds) is within the hours."""
        return bool(self.allowed(np.array([moment_ns], dtype=np.int64))[0])

    def allowed(self, ts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each UTC moment (epoch nanoseconds) is within the hours."""
        minute = (self.clock.from_utc(ts) // _MINUTE_NS - _MONDAY) % _WEEK
        inside: npt.NDArray[np.bool_] = self._open[minute]
        return inside

    def within(self, other: TradingHours) -> bool:
        """Whether every minute of a year of these hours is allowed by the other hours too (their clocks may differ)."""
        year = np.arange(366 * 24 * 60, dtype=np.int64) * _MINUTE_NS + 1_767_225_600_000_000_000  # from 2026
        return bool((~self.allowed(year) | other.allowed(year)).all())


def _day(name: str, words: str) -> int:
    try:
        return _DAYS.index(name.capitalize())
    except ValueError as error:
        raise _unreadable(words) from error


def _minute(text: str, words: str) -> int:
    hours, minutes = (int(part) for part in text.split(":"))
    if hours > 24 or minutes > 59 or hours * 60 + minutes > 24 * 60:
        raise _unreadable(words)
    return hours * 60 + minutes


def _unreadable(words: str) -> BadInput:
    return BadInput(
        must_be(
            "trading_hours", "spans of the week and a clock", repr(words), "write 'Mon-Fri 08:00-20:00 Europe/London'"
        )
    )

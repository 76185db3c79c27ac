"""The wall clock of a trading platform: bar times as MetaTrader shows them, and where its trading day ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from toolkit.clock import from_ns, to_ns
from toolkit.errors import BadInput, must_be
from toolkit.market.exact import Ints

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PlatformClock:
    """A wall clock: that of a time zone, shifted by whole minutes.

    Parameters
    ----------
    zone
        IANA zone whose daylight-saving dates the platform follows, e.g. ``America/New_York``, or ``UTC``.
    shift_minutes
        What the platform shows minus what that zone shows: 420 for "New York + 7".
    """

    zone: str = "UTC"
    shift_minutes: int = 0

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as e:
            raise BadInput(
                must_be("zone", "an IANA time zone", repr(self.zone), "write it like 'Europe/Athens'")
            ) from e
        if (
            isinstance(self.shift_minutes, bool)
            or not isinstance(self.shift_minutes, int)
            or abs(self.shift_minutes) > 1440
        ):
            raise BadInput(
                must_be("shift_minutes", "whole minutes within a day", repr(self.shift_minutes), "7 h are 420")
            )

    @property
    def name(self) -> str:
        """Return the words `find_clock` reads back."""
        if self.zone == "America/New_York" and self.shift_minutes % 60 == 0 and self.shift_minutes:
            return f"New York {'+' if self.shift_minutes > 0 else '-'} {abs(self.shift_minutes) // 60}"
        if not self.shift_minutes:
            return self.zone
        hours, minutes = divmod(abs(self.shift_minutes), 60)
        return f"{self.zone}{'+' if self.shift_minutes > 0 else '-'}{hours:02d}:{minutes:02d}"

    def offsets(self, ts: Ints) -> Ints:
        """Return wall minus UTC in nanoseconds for each UTC moment."""
        moments, offsets = _transitions(self)
        return offsets[np.searchsorted(moments, ts, side="right") - 1]

    def from_utc(self, ts: Ints) -> Ints:
        """Return the platform's wall clock, as nanoseconds since 1970-01-01 00:00 on that clock, of UTC moments."""
        ts = np.asarray(ts, dtype=np.int64)
        return ts + self.offsets(ts)

    def to_utc(self, wall: Ints) -> Ints:
        """Return UTC moments of wall clock times.

        Raises
        ------
        BadInput
            When a daylight-saving change skipped a wall time or showed it twice, so that its moment is unknown.
        """
        first, second, first_ok, second_ok, _ = self._candidates(wall)
        ambiguous = first_ok & second_ok & (first != second)
        skipped = ~first_ok & ~second_ok
        bad = ambiguous | skipped
        if bad.any():
            i = int(np.argmax(bad))
            shown = (_FIRST + timedelta(microseconds=int(wall[i]) // 1000)).replace(tzinfo=None).isoformat()
            was = "shown twice" if ambiguous[i] else "skipped"
            raise BadInput(
                must_be(
                    f"time {shown} of row {i} on the clock {self.name}",
                    "shown once",
                    f"{was} by a daylight-saving change",
                    "drop the row or give UTC times",
                )
            )
        utc: Ints = np.where(first_ok, first, second)
        return utc

    def first_utc(self, wall: Ints) -> Ints:
        """Return the first UTC moment at which the clock shows each wall time or, if it was skipped, has passed it."""
        first, second, first_ok, second_ok, change = self._candidates(wall)
        utc: Ints = np.where(first_ok, first, np.where(second_ok, second, change))
        return utc

    def _candidates(self, wall: Ints) -> tuple[Ints, Ints, npt.NDArray[np.bool_], npt.NDArray[np.bool_], Ints]:
        # A wall time can belong to the offset before or after the one change that lies near it.
        wall = np.asarray(wall, dtype=np.int64)
        moments, offsets = _transitions(self)
        k = np.searchsorted(moments, wall - offsets.max(), side="right") - 1
        later = np.minimum(k + 1, len(moments) - 1)
        first, second = wall - offsets[k], wall - offsets[later]
        return first, second, self.from_utc(first) == wall, self.from_utc(second) == wall, moments[later]


def find_clock(name: PlatformClock | str) -> PlatformClock:
    """Return the clock of these words: ``UTC``, ``New York + 7``, ``Europe/Athens``, ``UTC+02:00``."""
    if isinstance(name, PlatformClock):
        return name
    text = str(name).strip()
    if m := re.fullmatch(r"(?i)new[ _]?york\s*([+-])\s*(\d{1,2})\s*h?", text):
        return PlatformClock("America/New_York", int(m[1] + m[2]) * 60)
    try:
        return PlatformClock(text)
    except BadInput:
        if not re.search(r"[+-]", text):
            raise
    if m := re.fullmatch(r"(.+?)([+-])(\d{1,2})(?::(\d{2}))?", text):
        minutes = int(m[3]) * 60 + int(m[4] or 0)
        return PlatformClock(m[1].strip(), minutes if m[2] == "+" else -minutes)
    return PlatformClock(text)


UTC_CLOCK = PlatformClock()
NEW_YORK_PLUS_7 = PlatformClock("America/New_York", 420)


def day_ids(ts: Ints, clock: PlatformClock | str = UTC_CLOCK) -> Ints:
    """Return the platform's day of each UTC moment, as whole days since 1970-01-01 on its clock.

    Parameters
    ----------
    ts : ndarray of int64, shape (n,)
        UTC epoch nanoseconds.
    """
    return find_clock(clock).from_utc(ts) // _DAY_NS


def day_starts(days: Ints, clock: PlatformClock | str = UTC_CLOCK) -> Ints:
    """Return the first UTC moment (ns) of each platform day given by `day_ids`."""
    return find_clock(clock).first_utc(np.asarray(days, dtype=np.int64) * _DAY_NS)


def day_span(moment: datetime, clock: PlatformClock | str = UTC_CLOCK) -> tuple[datetime, datetime]:
    """Return the first moment (UTC) of the platform's day a moment lies in, and that of the next day."""
    day = day_ids(np.array([to_ns(moment)], dtype=np.int64), clock)[0]
    first, after = day_starts(np.array([day, day + 1], dtype=np.int64), clock)
    return from_ns(int(first)), from_ns(int(after))


@cache
def _transitions(clock: PlatformClock) -> tuple[Ints, Ints]:
    """Return from when each offset holds and the offsets (wall minus UTC), in nanoseconds, 1970 to 2100."""
    zone = ZoneInfo(clock.zone)
    shift = timedelta(minutes=clock.shift_minutes)

    def offset(second: int) -> int:
        found = (_FIRST + timedelta(seconds=second)).astimezone(zone).utcoffset()
        if found is None:
            raise BadInput(must_be("zone", "one with an offset", clock.zone, "use an IANA time zone"))
        return int((found + shift).total_seconds())

    end = int((_LAST - _FIRST).total_seconds())
    step = 7 * 86_400
    moments, offsets = [-(2**62)], [offset(0) * _SECOND_NS]
    before = 0
    for at in range(step, end + step, step):
        if offset(at) != offset(before):
            low, high = before, at
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offset(before) else (low, middle)
            moments.append(high * _SECOND_NS)
            offsets.append(offset(high) * _SECOND_NS)
        before = at
    return np.array(moments, dtype=np.int64), np.array(offsets, dtype=np.int64)

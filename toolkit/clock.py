"""The only place that reads the time of day, so that everything else can be given a clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """What the toolkit needs to know about time."""

    def now(self) -> datetime:
        """Return the current moment, tz-aware UTC."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards; only differences mean anything."""

    def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the current moment, tz-aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds of a clock that never runs backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        time.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is told to move; for tests and simulations."""

    def __init__(self, start: datetime) -> None:
        self._now = to_utc(start)
        self._mono = 0.0

    def now(self) -> datetime:
        """Return the moment the clock was set to."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds the clock has been moved forward."""
        return self._mono

    def sleep(self, seconds: float) -> None:
        """Move the clock forward instead of waiting."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by ``seconds``."""
        self._now += timedelta(seconds=seconds)
        self._mono += seconds

    def jump(self, to: datetime) -> None:
        """Set the time of day only, forwards or backwards, as an operator or NTP would."""
        self._now = to_utc(to)


def to_utc(moment: datetime) -> datetime:
    """Return the moment in UTC; a naive datetime is refused."""
    if moment.tzinfo is None:
        raise ValueError(f"time must be tz-aware, was naive {moment.isoformat()}: attach a timezone, e.g. tzinfo=UTC")
    return moment.astimezone(UTC)


def from_ns(ns: int) -> datetime:
    """Return epoch nanoseconds as an aware UTC datetime (microsecond resolution)."""
    return _EPOCH + timedelta(microseconds=int(ns) // 1000)


def to_ns(moment: datetime) -> int:
    """Return an aware datetime as epoch nanoseconds, exactly."""
    return ((to_utc(moment) - _EPOCH) // _MICROSECOND) * 1000


SYSTEM: Clock = SystemClock()


def now() -> datetime:
    """Return the current moment of the system clock, tz-aware UTC."""
    return SYSTEM.now()

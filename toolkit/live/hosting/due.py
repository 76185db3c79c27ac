"""When a run on a live feed should be looked at next for a bar that has closed."""

from __future__ import annotations

from datetime import datetime, timedelta

from toolkit.market.timeframes import Timeframe

# A bar is known to be closed when the next one has opened, and that waits for a tick.
EAGER_SECONDS = 0.25
EAGER_FOR_SECONDS = 10.0


def expected_close(timeframe: str, cursor: datetime) -> datetime:
    """Return when the bar that is forming now should close, given the open of the newest bar that was taken."""
    return cursor + timedelta(seconds=2 * Timeframe(timeframe).seconds)


def next_look(timeframe: str, cursor: datetime | None, platform_now: datetime, offset_seconds: float) -> float | None:
    """Return the seconds until the run should be looked at; None when the regular poll is soon enough.

    Parameters
    ----------
    cursor
        Open of the newest bar the run has taken, on the platform's clock.
    offset_seconds
        How long after the expected close the bar is looked for first. When it is not there yet (no tick since), the look is
        repeated every quarter of a second for ten seconds; after that the market is taken to be quiet or closed.
    """
    if cursor is None:
        return None
    left = (expected_close(timeframe, cursor) - platform_now).total_seconds() + offset_seconds
    if left > 0:
        return left
    return EAGER_SECONDS if left > -EAGER_FOR_SECONDS else None


def lag_seconds(timeframe: str, cursor: datetime | None, platform_now: datetime) -> float | None:
    """Return how late the newest bar was taken; None when a gap in the feed hides its real close."""
    if cursor is None:
        return None
    length = Timeframe(timeframe).seconds
    late = (platform_now - cursor).total_seconds() - length
    return late if 0 <= late < length else None

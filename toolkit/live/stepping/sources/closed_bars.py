"""Reading a platform's closed bars so that one bad bar costs one bar: what cannot be right is set aside and said.

A platform hands out a batch or refuses it as a whole. So after a refusal the good bars before the bad one are asked for,
and once there is a good bar behind it, the bad one is stepped over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from toolkit.clock import from_ns, to_ns
from toolkit.errors import BarsError
from toolkit.live.feed import poll_closed
from toolkit.market import Bars, Timeframe
from toolkit.market.platform_clock import find_clock

GAP_BARS = 3
_LINEAR = 64
_HOLIDAY = timedelta(hours=8)
_MICROSECOND = timedelta(microseconds=1)


class BarSource(Protocol):
    """What closed bars are read from: a platform, or what a round shares of one."""

    def now(self) -> datetime:
        """Return the platform's clock."""

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars:
        """Return closed bars whose open is later than ``after``, oldest first, at most ``limit``."""


@dataclass(frozen=True, slots=True)
class ClosedBars:
    """What a platform had to say since the last look.

    Attributes
    ----------
    bars
        Closed bars after the cursor, oldest first; None when there is none that can be taken.
    again
        The bar at the cursor as the platform shows it now, when it was read again.
    quarantined
        In words: bars that were stepped over because they cannot be right.
    stuck
        Why nothing can be taken although the platform has something newer; empty when that is not so.
    """

    bars: Bars | None
    again: Bars | None = None
    quarantined: tuple[str, ...] = ()
    stuck: str = ""


def read_closed(
    platform: BarSource, symbol: str, timeframe: str, after: datetime | None, limit: int, *, again: bool = False
) -> ClosedBars:
    """Read the closed bars after a moment.

    Parameters
    ----------
    again
        Read the bar at ``after`` once more, to see whether it was revised.
    """
    try:
        since = after - _MICROSECOND if again and after is not None else after
        found = poll_closed(platform, symbol, timeframe, since, limit + (1 if again else 0))
    except BarsError as error:
        return _around(platform, symbol, timeframe, after, limit, error)
    if found is None:
        return ClosedBars(None)
    cut = 0 if after is None else int(found.ts.searchsorted(to_ns(after), side="right"))
    return ClosedBars(found[cut:] if cut < len(found) else None, found[:cut] if cut else None)


def _around(
    platform: BarSource, symbol: str, timeframe: str, after: datetime | None, limit: int, error: BarsError
) -> ClosedBars:
    """Return what is good: the bars before the bad one, else those behind it."""
    good = _good_prefix(platform, symbol, timeframe, after, limit)
    if good is not None:
        return ClosedBars(good)
    if after is None:
        return ClosedBars(None, stuck=str(error))
    step = timedelta(seconds=Timeframe(timeframe).seconds)
    now = platform.now()
    moment, jump = after, 1
    while moment <= now:
        before, moment = moment, moment + step * jump
        if (moment - after) / step > _LINEAR:
            jump *= 2
        behind = _one(platform, symbol, timeframe, moment)
        if behind is False:
            continue
        if behind is None:
            break  # nothing newer than the bad bar yet
        last = _last_refused(platform, symbol, timeframe, before, moment, step)
        rest = _good_prefix(platform, symbol, timeframe, last, limit)
        return ClosedBars(rest, quarantined=(f"a bar up to {last.isoformat()} was set aside: {error}",))
    return ClosedBars(None, stuck=str(error))


def _good_prefix(platform: BarSource, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars | None:
    """Return as many bars as can be read before the first bad one, None when the next is bad or there is none."""
    low, high, best = 0, limit, None
    while low < high:
        count = (low + high + 1) // 2
        try:
            best = poll_closed(platform, symbol, timeframe, after, count) or best
            low = count
        except BarsError:
            high = count - 1
    return best if low else None


def _one(platform: BarSource, symbol: str, timeframe: str, after: datetime) -> Bars | bool | None:
    """Return the first bar after a moment; None when there is none, False when it is bad."""
    try:
        return poll_closed(platform, symbol, timeframe, after, 1)
    except BarsError:
        return False


def _last_refused(
    platform: BarSource, symbol: str, timeframe: str, low: datetime, high: datetime, step: timedelta
) -> datetime:
    """Return the first moment behind the bad bar, between one that still meets it and one that does not."""
    while high - low > step:
        middle = low + step * ((high - low) // step // 2)
        if _one(platform, symbol, timeframe, middle) is False:
            low = middle
        else:
            high = middle
    return high


def gap_words(cursor: datetime, bars: Bars) -> tuple[str, str, str] | None:
    """Return kind, level and words of a stretch without bars before these, None when there is none worth telling.

    A weekend is what it is; hours on end without a bar on other days read as a holiday; the rest is a gap.
    """
    first = from_ns(int(bars.ts[0]))
    missed = (int(bars.ts[0]) - to_ns(cursor)) // bars.timeframe.ns - 1
    if missed < GAP_BARS:
        return None
    words = f"{missed} bars between {cursor.isoformat()} and {first.isoformat()} do not exist"
    length = first - cursor
    if cursor.weekday() >= 4 and first.weekday() in (6, 0) and length <= timedelta(days=4):
        return "weekend", "info", f"weekend: {words}"
    if length >= _HOLIDAY:
        return "holiday", "info", f"the market seems to have been closed: {words}"
    return "gap", "warning", words


def clock_change(cursor: datetime, bars: Bars, day_end: str) -> str:
    """Return in words that the platform's clock was changed between the cursor and the newest of these bars, or nothing."""
    clock = find_clock(day_end)
    moments = np.array([to_ns(cursor), int(bars.ts[-1])], dtype=np.int64)
    before, after = clock.offsets(moments).tolist()
    if before == after:
        return ""
    hours = (after - before) / 3.6e12
    return f"the platform's clock ({clock.name}) was put {abs(hours):g} h {'forward' if hours > 0 else 'back'}"

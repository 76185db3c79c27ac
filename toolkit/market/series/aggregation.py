"""Bars of a higher timeframe from bars of a lower one, completed only when the data shows that they are over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.errors import BarsError, must_be
from toolkit.market.exact import Ints
from toolkit.market.platform_clock import UTC_CLOCK, PlatformClock, find_clock
from toolkit.market.series.bars import Bars
from toolkit.market.series.checks import PRICE_COLUMNS, row_name
from toolkit.market.timeframes import Timeframe

_DAY_NS = 86_400_000_000_000
_FIRST_SUNDAY_NS = 3 * _DAY_NS  # 1970-01-04; MetaTrader's weekly bars open on Sunday


@dataclass(frozen=True, slots=True, eq=False)
class Aggregation:
    """Higher bars and when each becomes known.

    Attributes
    ----------
    bars
        Complete higher bars; ``ts`` is the start of the period on the platform's clock, in UTC.
    completed_by : ndarray of int64, shape (len(bars),)
        Row of the base bar at whose close the higher bar is complete. A strategy deciding on base bar ``i`` may read
        the higher bars with ``completed_by <= i`` and no other.
    """

    bars: Bars
    completed_by: Ints

    def known_at(self, rows: int) -> Ints:
        """Return for each of ``rows`` base bars how many higher bars are complete at its close."""
        return np.searchsorted(self.completed_by, np.arange(rows), side="right").astype(np.int64)


def period_starts(ts: Ints, timeframe: Timeframe, clock: PlatformClock | str = UTC_CLOCK) -> Ints:
    """Return the start of the period each UTC moment lies in, on the platform's wall clock (ns since 1970-01-01)."""
    wall = find_clock(clock).from_utc(ts)
    origin = _FIRST_SUNDAY_NS if timeframe is Timeframe.W1 else 0
    return wall - (wall - origin) % timeframe.ns


def aggregate(bars: Bars, timeframe: Timeframe | str, *, day_end: PlatformClock | str = UTC_CLOCK) -> Aggregation:
    """Build bars of a higher timeframe.

    A higher bar completes with the first base bar whose close reaches the end of its period, else with the next
    base bar after the gap, because only then is it known that nothing more came. The last one is left out while
    it is open.

    Parameters
    ----------
    bars
        Base bars.
    timeframe
        A longer timeframe than that of ``bars``.
    day_end
        The platform's clock: days, weeks and hours of several start at its midnight.

    Raises
    ------
    BarsError
        When the timeframe is not longer, or base bars reach over the start of a period.
    """
    higher = Timeframe(timeframe)
    clock = find_clock(day_end)
    if higher.ns <= bars.timeframe.ns or higher.ns % bars.timeframe.ns:
        raise BarsError(must_be("timeframe", f"a multiple of {bars.timeframe}", str(higher), "aggregate upwards"))
    n = len(bars)
    if n == 0:
        return Aggregation(_empty(bars, higher), np.zeros(0, dtype=np.int64))
    starts = period_starts(bars.ts, higher, clock)
    first = np.concatenate(([0], np.nonzero(starts[1:] != starts[:-1])[0] + 1)).astype(np.int64)
    last = np.concatenate((first[1:] - 1, [n - 1]))
    ends_utc = clock.first_utc(starts[first] + higher.ns)
    closes = np.minimum(bars.ts + bars.timeframe.ns, np.concatenate((bars.ts[1:], [np.iinfo(np.int64).max])))
    reached = closes[last] >= ends_utc
    over = closes[last] > ends_utc
    if over.any():
        i = int(last[np.argmax(over)])
        raise BarsError(
            must_be(f"bar of {row_name(bars.ts, i)}", f"inside one {higher} period of {clock.name}", "over its end",
                    "give the platform's clock, e.g. day_end='New York + 7'")
        )  # fmt: skip
    completed_by = np.where(reached, last, last + 1)
    complete = completed_by < n
    opens_utc = clock.first_utc(starts[first])
    columns: dict[str, npt.NDArray[np.int32]] = {}
    for name in PRICE_COLUMNS:
        column = getattr(bars, name)
        if name.endswith("open"):
            columns[name] = column[first]
        elif name.endswith("close"):
            columns[name] = column[last]
        else:
            columns[name] = (np.maximum if name.endswith("high") else np.minimum).reduceat(column, first)
    volume = None if bars.volume is None else np.add.reduceat(bars.volume, first)
    made = Bars(
        bars.symbol,
        higher,
        bars.instrument,
        opens_utc[complete],
        volume=None if volume is None else volume[complete],
        **{name: column[complete] for name, column in columns.items()},
    )
    return Aggregation(made, completed_by[complete])


def _empty(bars: Bars, timeframe: Timeframe) -> Bars:
    none = np.zeros(0, dtype=np.int32)
    volume = None if bars.volume is None else np.zeros(0)
    return Bars(
        bars.symbol,
        timeframe,
        bars.instrument,
        np.zeros(0, dtype=np.int64),
        volume=volume,
        **dict.fromkeys(PRICE_COLUMNS, none),
    )

"""A recorded series as the venue sees it: what is open, what has closed, and where a level is touched next."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from toolkit.market import Bars

Levels = Sequence[tuple[NDArray[np.int32], int]]

_FIRST_CHUNK = 128
_LAST_CHUNK = 65_536


class Replay:
    """Bars of one symbol with their closing moments.

    Parameters
    ----------
    bars
        Closed bars, oldest first; prices in points.
    """

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.open_ns: NDArray[np.int64] = bars.ts
        self.close_ns: NDArray[np.int64] = bars.ts + bars.timeframe.ns
        self.first_ns = int(self.open_ns[0])

    def opened(self, ns: int) -> int:
        """Return how many bars have opened at or before the moment."""
        return int(self.open_ns.searchsorted(ns, "right"))

    def closed(self, ns: int) -> int:
        """Return how many bars have reached their end at or before the moment."""
        return int(self.close_ns.searchsorted(ns, "right"))

    def quote(self, ns: int) -> tuple[int, int, int] | None:
        """Return bid points, ask points and their moment: the open of the bar under way, else the last close."""
        i = self.opened(ns) - 1
        if i < 0:
            return None
        bars = self.bars
        if self.close_ns[i] <= ns:
            return int(bars.bid_close[i]), int(bars.ask_close[i]), int(self.close_ns[i])
        return int(bars.bid_open[i]), int(bars.ask_open[i]), int(self.open_ns[i])

    def last_close(self, ns: int) -> tuple[int, int] | None:
        """Return bid and ask points of the last bar completed at or before the moment."""
        i = self.closed(ns) - 1
        if i < 0:
            return None
        return int(self.bars.bid_close[i]), int(self.bars.ask_close[i])

    @cached_property
    def mid_range(self) -> tuple[int, int]:
        """Return twice the lowest and twice the highest mid of the closes, in points."""
        twice = self.bars.bid_close.astype(np.int64) + self.bars.ask_close
        return int(twice.min()), int(twice.max())

    def first_touch(self, start: int, at_or_below: Levels, at_or_above: Levels) -> int | None:
        """Return the first bar from ``start`` on in which any column reaches its level, or None.

        Parameters
        ----------
        start
            Index of the first bar to look at.
        at_or_below, at_or_above
            Pairs of a price column and the level (points) that it must fall to, or rise to.
        """
        end = len(self.open_ns)
        chunk = _FIRST_CHUNK
        while start < end:
            stop = min(start + chunk, end)
            hit = np.zeros(stop - start, dtype=bool)
            for column, level in at_or_below:
                hit |= column[start:stop] <= level
            for column, level in at_or_above:
                hit |= column[start:stop] >= level
            i = int(hit.argmax())
            if hit[i]:
                return start + i
            start = stop
            chunk = min(chunk * 4, _LAST_CHUNK)
        return None

"""Times of a bar as numbers a node can read, exact in float64, from the bar's open in epoch nanoseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SECOND_NS = 1_000_000_000
DAY_SECONDS = 86_400
MINUTE_NS = 60 * SECOND_NS
DAY_NS = DAY_SECONDS * SECOND_NS
# 1970-01-01 was a Thursday, weekday 3 counted from Monday
EPOCH_WEEKDAY = 3


def time_column(name: str, ts: NDArray[np.int64]) -> NDArray[Any]:
    """Return one time field of many bars."""
    if name == "time":
        return (ts // SECOND_NS).astype(np.float64)
    day = ts // DAY_NS
    if name == "day":
        return day.astype(np.float64)
    if name == "weekday":
        return ((day + EPOCH_WEEKDAY) % 7).astype(np.float64)
    return (ts // MINUTE_NS - day * 1440).astype(np.float64)


def time_values(ts_ns: int) -> tuple[float, float, float, float]:
    """Return time, day, minute and weekday of one bar."""
    seconds = ts_ns // SECOND_NS
    day = seconds // DAY_SECONDS
    return float(seconds), float(day), float(seconds % DAY_SECONDS // 60), float((day + EPOCH_WEEKDAY) % 7)

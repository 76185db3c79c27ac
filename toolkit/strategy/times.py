"""Times of a bar as numbers a node can read, exact in float64, from the bar's open in epoch nanoseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SECOND_NS = 1_000_000_000
DAY_SECONDS = 86_400
# 1970-01-01 was a Thursday, weekday 3 counted from Monday
EPOCH_WEEKDAY = 3


def time_columns(ts: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the time fields of many bars."""
    seconds = ts // SECOND_NS
    day = seconds // DAY_SECONDS
    return {
        "time": seconds.astype(np.float64),
        "day": day.astype(np.float64),
        "minute": (seconds % DAY_SECONDS // 60).astype(np.float64),
        "weekday": ((day + EPOCH_WEEKDAY) % 7).astype(np.float64),
    }


def time_values(ts_ns: int) -> tuple[float, float, float, float]:
    """Return time, day, minute and weekday of one bar."""
    seconds = ts_ns // SECOND_NS
    day = seconds // DAY_SECONDS
    return float(seconds), float(day), float(seconds % DAY_SECONDS // 60), float((day + EPOCH_WEEKDAY) % 7)

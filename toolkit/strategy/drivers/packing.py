"""From conditions and distances to the decision a bar carries: one byte and integer points."""

from __future__ import annotations

from typing import Any

from toolkit.risk.rounding import points_from_distance, stop_points_from_distance

ENTER_LONG = 1
ENTER_SHORT = 2
EXIT_LONG = 4
EXIT_SHORT = 8


def pack_code(enter_long: int, enter_short: int, exit_long: int, exit_short: int) -> int:
    """Return the decision byte; a side both entered and left is not entered, and of two entries neither is made."""
    code = 0
    if exit_long == 2:
        code = 4
    if exit_short == 2:
        code = code + 8
    if enter_long == 2 and enter_short != 2 and exit_long != 2:
        code = code + 1
    if enter_short == 2 and enter_long != 2 and exit_short != 2:
        code = code + 2
    return code


def col_pack(enter_long: Any, enter_short: Any, exit_long: Any, exit_short: Any, out: Any) -> None:
    """Fill ``out`` (uint8) with decision bytes."""
    for i in range(out.shape[0]):
        out[i] = pack_code(enter_long[i], enter_short[i], exit_long[i], exit_short[i])


def col_stop_points(distance: Any, scale: int, points_per_pip: int, out: Any) -> None:
    """Fill ``out`` (int32) with stop distances: nearest point, then up to whole pips; 0 where there is none."""
    for i in range(out.shape[0]):
        out[i] = stop_points_from_distance(distance[i], scale, points_per_pip)


def col_points(distance: Any, scale: int, out: Any) -> None:
    """Fill ``out`` (int32) with distances to the nearest point; 0 where there is none."""
    for i in range(out.shape[0]):
        out[i] = points_from_distance(distance[i], scale)

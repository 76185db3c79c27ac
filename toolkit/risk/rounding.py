"""Rounding of distances to integer points: one function for strategies, sizing, the simulation and the paper platform.

Plain scalar Python, so that numba compiles the same source that live code runs.
"""

from __future__ import annotations

import math

#: A distance beyond this many points cannot be a stop or a target (prices are int32 points).
MAX_POINTS = 2_000_000_000


def points_from_distance(distance: float, scale: int) -> int:
    """Round a price distance to the nearest point, halves up.

    Parameters
    ----------
    distance
        Distance in price units, for example ``0.00153``; NaN, zero, negative and absurdly large give 0.
    scale
        ``10 ** digits`` of the instrument.

    Returns
    -------
    int
        Points, 0 when the distance is not usable.
    """
    if not distance > 0.0:  # also catches NaN, whose int() raises here and is garbage when compiled
        return 0
    x = distance * scale + 0.5
    if not x < MAX_POINTS:
        return 0
    return math.floor(x)


def whole_pips_up(points: int, points_per_pip: int) -> int:
    """Round points UP to whole pips (the order request carries whole pips); zero and negative give 0."""
    if points <= 0:
        return 0
    return (points + points_per_pip - 1) // points_per_pip * points_per_pip


def stop_points_from_distance(distance: float, scale: int, points_per_pip: int) -> int:
    """Turn a price distance into stop points: nearest point, then UP to whole pips, in integers.

    Returns
    -------
    int
        Stop distance in points, 0 when there is no usable stop (NaN, not positive, absurdly large).
    """
    return whole_pips_up(points_from_distance(distance, scale), points_per_pip)

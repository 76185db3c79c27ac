"""Times of day and sessions, in UTC."""

from __future__ import annotations

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.expressions import Expr, elementwise, numeric, scalar


def minute_of_day() -> Expr:
    """Return the minute of the UTC day at which the bar opened, 0 to 1439."""
    return Expr("field", ("minute",))


def weekday() -> Expr:
    """Return the UTC weekday on which the bar opened: 0 Monday to 6 Sunday."""
    return Expr("field", ("weekday",))


def hour_between(start: object, end: object) -> Expr:
    """Return whether the bar opened at or after ``start`` o'clock UTC and before ``end`` o'clock UTC.

    Fractions are allowed (8.5 is 08:30); ``hour_between(22, 6)`` runs over midnight.
    """
    for value in (start, end):
        if isinstance(value, (int, float)) and not 0 <= value <= 24:
            raise StrategyError(must_be("an hour of hour_between", "between 0 and 24", value, "hours are UTC"))
    low = numeric("mul", scalar(start, "hour_between"), 60.0)
    high = numeric("mul", scalar(end, "hour_between"), 60.0)
    return elementwise("in_session", (minute_of_day(), low, high), "i1")

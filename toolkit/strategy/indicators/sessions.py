"""Times of day and sessions, in UTC."""

from __future__ import annotations

from math import nan

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.authoring.expressions import Expr, elementwise, make, numeric, plain_number, scalar
from toolkit.strategy.authoring.symbols import as_bars
from toolkit.strategy.indicators.windows import clock_field, day_of
from toolkit.strategy.registry import helper, step


def minute_of_day() -> Expr:
    """Return the minute of the UTC day at which the bar opened, 0 to 1439."""
    return Expr("field", ("minute",))


def weekday() -> Expr:
    """Return the UTC weekday on which the bar opened: 0 Monday to 6 Sunday."""
    return Expr("field", ("weekday",))


def bind_session(start: float, end: float) -> tuple[float, float]:
    """Turn hours into minutes of the day."""
    for hour in (start, end):
        if not 0.0 <= hour <= 24.0:
            raise StrategyError(must_be("an hour of a session", "between 0 and 24", hour, "hours are UTC"))
    return start * 60.0, end * 60.0


@helper
def session_number(minute: float, day: float, start: float, end: float) -> float:
    # the day on which the session that this bar belongs to began; -1 outside
    if start < end:
        return day if start <= minute and minute < end else -1.0
    if minute >= start:
        return day
    return day - 1.0 if minute < end else -1.0


@step("session_high", "fff", settings=2, bound="ff", bind=bind_session, state=(nan, nan, 0.0), warm=lambda a, b: 1440)
def session_high_step(
    x: float, day: float, minute: float, start: float, end: float, best: float, number: float, seen: float
) -> tuple[float, float, float, float]:
    now = session_number(minute, day, start, end)
    if now >= 0.0 and now != number:
        # a session joined half-way, on the run's first bar, stays unknown
        best = x if seen > 0.0 or minute == start else nan
        number = now
    elif now >= 0.0 and x > best:
        best = x
    return best, best, number, 1.0


@step("session_low", "fff", settings=2, bound="ff", bind=bind_session, state=(nan, nan, 0.0), warm=lambda a, b: 1440)
def session_low_step(
    x: float, day: float, minute: float, start: float, end: float, best: float, number: float, seen: float
) -> tuple[float, float, float, float]:
    now = session_number(minute, day, start, end)
    if now >= 0.0 and now != number:
        best = x if seen > 0.0 or minute == start else nan
        number = now
    elif now >= 0.0 and x < best:
        best = x
    return best, best, number, 1.0


@step("session_open", "fff", settings=2, bound="ff", bind=bind_session, state=(nan, nan, 0.0), warm=lambda a, b: 1440)
def session_open_step(
    x: float, day: float, minute: float, start: float, end: float, first: float, number: float, seen: float
) -> tuple[float, float, float, float]:
    now = session_number(minute, day, start, end)
    if now >= 0.0 and now != number:
        first = x if seen > 0.0 or minute == start else nan
        number = now
    return first, first, number, 1.0


def _session(op: str, x: Expr, start: object, end: object) -> Expr:
    for value in (start, end):
        number = plain_number(value)
        if number is not None and not 0 <= number <= 24:
            raise StrategyError(must_be(f"an hour of {op}", "between 0 and 24", value, "hours are UTC"))
    inputs = (x, day_of(x), clock_field("minute", x))
    return make(op, inputs, (scalar(start, op), scalar(end, op)))


def session_high(bars: object, start: object, end: object) -> Expr:
    """Return the highest high since ``start`` o'clock UTC; after ``end`` the finished session's, until the next begins.

    NaN until a session's start has been seen, so it does not depend on where the run began. ``start`` after ``end``
    runs over midnight.
    """
    return _session("session_high", as_bars(bars, "session_high").high, start, end)


def session_low(bars: object, start: object, end: object) -> Expr:
    """Return the lowest low of a session, as `session_high`."""
    return _session("session_low", as_bars(bars, "session_low").low, start, end)


def session_open(bars: object, start: object, end: object) -> Expr:
    """Return the first open of a session, as `session_high`."""
    return _session("session_open", as_bars(bars, "session_open").open, start, end)


def day_high(bars: object) -> Expr:
    """Return the highest high of the UTC day so far."""
    return session_high(bars, 0, 24)


def day_low(bars: object) -> Expr:
    """Return the lowest low of the UTC day so far."""
    return session_low(bars, 0, 24)


def day_open(bars: object) -> Expr:
    """Return the open of the UTC day's first bar."""
    return session_open(bars, 0, 24)


def hour_between(start: object, end: object) -> Expr:
    """Return whether the bar opened at or after ``start`` o'clock UTC and before ``end`` o'clock UTC.

    Fractions are allowed (8.5 is 08:30); ``hour_between(22, 6)`` runs over midnight.
    """
    for value in (start, end):
        number = plain_number(value)
        if number is not None and not 0 <= number <= 24:
            raise StrategyError(must_be("an hour of hour_between", "between 0 and 24", value, "hours are UTC"))
    low = numeric("mul", scalar(start, "hour_between"), 60.0)
    high = numeric("mul", scalar(end, "hour_between"), 60.0)
    return elementwise("in_session", (minute_of_day(), low, high), "i1")

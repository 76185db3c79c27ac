"""What the package's reading calls take: times, group patterns and spans, and which rows they let through."""

from __future__ import annotations

import calendar
import fnmatch
from datetime import datetime
from typing import Any

_DAY = 86_400
_END = 1 << 62

#: A span that holds everything, in nanoseconds.
EVER = (0, _END)


def wall(moment: datetime | float) -> int:
    """Return a time argument as seconds; the package reads a datetime's UTC fields as the server's wall clock."""
    return calendar.timegm(moment.utctimetuple()) if isinstance(moment, datetime) else int(moment)


def in_group(name: str, group: str | None) -> bool:
    """Tell whether a name fits a group pattern: comma-separated masks, those with ``!`` taken out again."""
    if group is None:
        return True
    masks = [m.strip() for m in group.split(",")]
    wanted = [m for m in masks if not m.startswith("!")]
    unwanted = [m[1:] for m in masks if m.startswith("!")]
    return any(fnmatch.fnmatchcase(name, m) for m in wanted) and not any(fnmatch.fnmatchcase(name, m) for m in unwanted)


def filtered(rows: list[Any], symbol: str | None, ticket: int | None, group: str | None) -> tuple[Any, ...]:
    """Return the rows of a symbol, a ticket or a group."""
    return tuple(
        r
        for r in rows
        if (symbol is None or r.symbol == symbol)
        and (ticket is None or r.ticket == ticket)
        and in_group(r.symbol, group)
    )


def around(date_from: datetime | float | None, date_to: datetime | float | None) -> tuple[int, int]:
    """Return a span of venue time (ns) that surely holds a span of server time: a wall clock is within a day of UTC."""
    start = 0 if date_from is None else (wall(date_from) - _DAY) * 1_000_000_000
    end = _END if date_to is None else (wall(date_to) + _DAY) * 1_000_000_000
    return max(start, 0), min(end, _END)


def within(
    rows: list[Any], when: str, date_from: datetime | float | None, date_to: datetime | float | None, group: str | None
) -> tuple[Any, ...]:
    """Return the rows whose moment lies within two server times, both included."""
    start = 0 if date_from is None else wall(date_from)
    end = _END if date_to is None else wall(date_to)
    return tuple(r for r in rows if start <= getattr(r, when) <= end and in_group(r.symbol, group))

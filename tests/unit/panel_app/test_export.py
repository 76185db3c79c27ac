"""Rows as CSV: exact, in UTC, and harmless in a spreadsheet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from panel_app.charts.sparkline import sparkline
from panel_app.look.export import as_csv


@dataclass(frozen=True)
class _Row:
    name: str
    amount: Decimal | None
    at: datetime
    symbols: tuple[str, ...] = ()


def test_csv_keeps_every_digit_and_the_zone() -> None:
    """Decimals as stored, moments in ISO 8601 with their offset, None empty, lists by spaces."""
    row = _Row("a,b", Decimal("1234.50"), datetime(2017, 1, 2, 3, tzinfo=UTC), ("EURUSD", "GBPUSD"))
    assert as_csv([row, _Row("c", None, row.at)]).splitlines() == [
        "name,amount,at,symbols",
        '"a,b",1234.50,2017-01-02T03:00:00+00:00,EURUSD GBPUSD',
        "c,,2017-01-02T03:00:00+00:00,",
    ]
    assert as_csv([]) == "\n"


@pytest.mark.parametrize("text", ["=HYPERLINK('x')", "+1", "-1", "@SUM(A1)", "\tx"])
def test_csv_makes_no_formula_of_what_a_platform_sent(text: str) -> None:
    """Text that a spreadsheet would run is prefixed; numbers keep their minus."""
    written = as_csv([{"text": text, "number": Decimal("-5")}]).splitlines()[1]
    assert written.lstrip('"').startswith("'")
    assert written.endswith(",-5")


def test_a_sparkline_is_made_of_numbers_only_and_stays_in_its_frame() -> None:
    """Points run from left to right inside the picture; fewer than two values are no curve."""
    drawn = sparkline([0.0, -5.0, 12.5])
    points = [tuple(map(float, pair.split(","))) for pair in drawn.split('points="')[1].split('"')[0].split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert all(0 <= x <= 84 and 0 <= y <= 20 for x, y in points)
    assert points[2][1] < points[0][1] < points[1][1]
    assert sparkline([1.0]) == ""

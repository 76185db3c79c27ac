"""Reading closed bars: one that cannot be right costs one bar, gaps and clock changes are named."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toolkit as tk
from toolkit.clock import from_ns
from toolkit.errors import BarsError
from toolkit.live.stepping.sources.closed_bars import clock_change, gap_words, read_closed
from toolkit.market import Bars

BARS = tk.sample_bars("EURUSD", "H1")[:300]


def feed(bars: Bars, bad: set[int], until: int | None = None) -> Any:
    """Return a platform whose batches are refused when a bad row is in them."""
    last = len(bars) if until is None else until

    def closed_bars(_symbol: str, _timeframe: str, after: datetime | None, limit: int) -> Bars:
        opens = bars.ts[:last]
        first = 0 if after is None else int(opens.searchsorted(int(after.timestamp()) * 10**9, side="right"))
        if after is not None and after.microsecond:
            first = int(opens.searchsorted(int(after.timestamp() * 10**6) * 1000, side="right"))
        rows = range(first, min(last, first + limit))
        found = sorted(bad & set(rows))
        if found:
            raise BarsError(f"bid_high of row {found[0]} must be at or above the low: repair the price")
        return bars[rows.start : rows.stop] if len(rows) else bars[:0]

    return SimpleNamespace(closed_bars=closed_bars, now=lambda: from_ns(int(bars.ts[last - 1])))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, 59), max_size=6))
def test_every_good_bar_is_read_once_and_every_bad_one_is_named(bad: set[int]) -> None:
    """Reading on and on gives all bars but the bad ones, in order; each stretch of bad ones is told."""
    bars = BARS[:60]
    platform = feed(bars, bad)
    got: list[int] = []
    told = 0
    cursor = from_ns(int(bars.ts[0]))
    for _ in range(200):
        found = read_closed(platform, "EURUSD", "H1", cursor, 1_000, again=False)
        told += len(found.quarantined)
        if found.bars is None:
            break
        got += found.bars.ts.tolist()
        cursor = from_ns(got[-1])
    good = [int(bars.ts[i]) for i in range(1, 60) if i not in bad]
    behind = max((i for i in range(60) if i not in bad), default=0)
    assert got == good
    stretches = sum(1 for i in bad if i - 1 not in bad and i < behind)
    assert told == stretches


def test_a_bad_newest_bar_is_waited_behind(request: pytest.FixtureRequest) -> None:
    """With nothing behind it yet, the bad bar is said and nothing is taken."""
    found = read_closed(feed(BARS, {100}, until=101), "EURUSD", "H1", from_ns(int(BARS.ts[99])), 10)
    assert found.bars is None and "row 100" in found.stuck


def test_the_bar_at_the_cursor_is_read_again_when_asked() -> None:
    """So that a revision of it is seen; it is not among the new ones."""
    found = read_closed(feed(BARS, set()), "EURUSD", "H1", from_ns(int(BARS.ts[10])), 3, again=True)
    assert found.again is not None and found.again.ts.tolist() == [int(BARS.ts[10])]
    assert found.bars is not None and found.bars.ts.tolist() == BARS.ts[11:14].tolist()


def at(words: str) -> datetime:
    """Return a moment in UTC."""
    return datetime.fromisoformat(words).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cursor", "first", "kind"),
    [
        ("2017-03-10T21:00", "2017-03-12T22:00", "weekend"),
        ("2017-04-13T21:00", "2017-04-17T00:00", "holiday"),
        ("2017-03-14T08:00", "2017-03-14T12:00", "gap"),
        ("2017-03-14T08:00", "2017-03-14T09:00", None),
    ],
)
def test_a_stretch_without_bars_is_called_by_its_name(cursor: str, first: str, kind: str | None) -> None:
    """A weekend, hours on end of another day, a gap, or nothing worth telling."""
    bars = SimpleNamespace(ts=[int(at(first).timestamp() * 1e9)], timeframe=tk.sample_bars("EURUSD", "H1").timeframe)
    found = gap_words(at(cursor), bars)  # type: ignore[arg-type]
    assert (None if found is None else found[0]) == kind


def test_a_change_of_the_platforms_clock_is_told() -> None:
    """New York's summer time moves a clock that follows it, and not one in UTC."""
    bars = SimpleNamespace(ts=[int(at("2017-03-13T00:00").timestamp() * 1e9)])
    assert "forward" in clock_change(at("2017-03-10T21:00"), bars, "New York + 7")  # type: ignore[arg-type]
    assert clock_change(at("2017-03-10T21:00"), bars, "UTC") == ""  # type: ignore[arg-type]

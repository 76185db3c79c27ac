"""Feeds: bars stored once under their fingerprint, read back by any process, damage found."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.errors import BadInput, NotFound
from toolkit.live import feed as module
from toolkit.live.feed import FeedSpec, Replay, bars_path, poll_closed, store_bars, stored_bars
from toolkit.market import Bars


def test_a_replay_is_stored_once_and_read_back(tmp_path: Path, some_bars: Bars) -> None:
    """The row keeps a fingerprint; the file under it gives the same bars."""
    spec = Replay(some_bars, speed=4.0).store(tmp_path)
    path = bars_path(tmp_path, spec.fingerprint)
    written = path.stat().st_mtime_ns
    assert Replay(some_bars, speed=4.0).store(tmp_path) == spec
    assert path.stat().st_mtime_ns == written
    assert stored_bars(tmp_path, spec.fingerprint) == some_bars
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_rows_words_are_read_back_as_they_were(some_bars: Bars, tmp_path: Path) -> None:
    """A feed survives its JSON object."""
    spec = Replay(some_bars, conversion=[some_bars[:50]], venue=some_bars[:60]).store(tmp_path)
    assert FeedSpec.from_dict(spec.as_dict()) == spec
    assert FeedSpec.from_dict({"kind": "platform"}).kind == "platform"


def test_an_unknown_feed_is_refused() -> None:
    """The kinds are replay and platform."""
    with pytest.raises(BadInput, match="'replay' or 'platform'"):
        FeedSpec.from_dict({"kind": "wish"})


def test_missing_bars_say_what_to_do(tmp_path: Path) -> None:
    """A data folder without the file is named."""
    with pytest.raises(NotFound, match="start a new run"):
        stored_bars(tmp_path, "0" * 64)


def test_other_bars_under_the_name_are_found_out(tmp_path: Path, some_bars: Bars) -> None:
    """A replaced file is not traded on."""
    fingerprint = store_bars(tmp_path, some_bars)
    some_bars[:100].save(bars_path(tmp_path, fingerprint))
    module._cache.clear()
    with pytest.raises(NotFound, match="other bars than its name says"):
        stored_bars(tmp_path, fingerprint)


@pytest.mark.parametrize("speed", [0, -1.0])
def test_a_speed_that_is_not_positive_is_refused(some_bars: Bars, speed: float) -> None:
    """None is full speed; zero is not a speed."""
    with pytest.raises(BadInput, match="positive bars per second"):
        Replay(some_bars, speed=speed)


def test_a_platform_that_repeats_a_bar_is_heard_once(some_bars: Bars) -> None:
    """Bars that are not later than the cursor are dropped."""
    from toolkit.clock import from_ns

    class Repeating:
        def closed_bars(self, *_: object) -> Bars:
            return some_bars[:10]

    after = from_ns(int(some_bars.ts[6]))
    fresh = poll_closed(Repeating(), "EURUSD", "H1", after, 100)  # type: ignore[arg-type]
    assert fresh is not None and fresh.ts.tolist() == some_bars.ts[7:10].tolist()
    assert poll_closed(Repeating(), "EURUSD", "H1", from_ns(int(some_bars.ts[9])), 100) is None  # type: ignore[arg-type]

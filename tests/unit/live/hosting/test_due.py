"""When a run on a live feed is looked at for its next bar."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.clock import from_ns
from toolkit.live.hosting.due import EAGER_FOR_SECONDS, EAGER_SECONDS, lag_seconds, next_look

CURSOR = from_ns(1_500_000_000 * 1_000_000_000)


@given(st.floats(0, 7199), st.floats(0, 60))
def test_a_run_is_due_at_the_expected_close_plus_the_offset(since: float, offset: float) -> None:
    """The bar after the newest taken one closes two bar lengths after that one's open, on the platform's clock."""
    left = next_look("H1", CURSOR, CURSOR + timedelta(seconds=since), offset)
    assert left == pytest.approx(7200 - since + offset, abs=1e-4)


def test_a_bar_that_is_not_there_yet_is_looked_for_eagerly_and_then_by_the_regular_poll() -> None:
    """After the expected close the look is repeated for a while; a closed market is left to the poll."""
    close = CURSOR + timedelta(hours=2)
    assert next_look("H1", CURSOR, close + timedelta(seconds=1), 0.2) == EAGER_SECONDS
    assert next_look("H1", CURSOR, close + timedelta(seconds=EAGER_FOR_SECONDS + 1), 0.2) is None


def test_a_run_without_a_bar_yet_is_left_to_the_poll() -> None:
    """Before the first bar nothing can be expected."""
    assert next_look("M1", None, CURSOR, 0.2) is None


def test_lag_is_the_time_from_a_bars_close_unless_a_gap_hides_it() -> None:
    """A bar taken three seconds after its close is three seconds late; over a weekend nothing is said."""
    assert lag_seconds("M5", CURSOR, CURSOR + timedelta(seconds=303)) == 3
    assert lag_seconds("M5", CURSOR, CURSOR + timedelta(days=2)) is None
    assert lag_seconds("M5", None, CURSOR) is None

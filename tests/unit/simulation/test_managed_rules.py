"""The rules of managed entries, one sentence of docs/fill-rules.md each."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.simulation.managed import rules
from toolkit.simulation.managed.plan import fraction_of
from toolkit.simulation.rules import ENTER_LONG, ENTER_SHORT, EXIT_LONG, EXIT_SHORT


@pytest.mark.parametrize(
    ("kind", "side", "level", "refused"),
    [
        (rules.AT_LIMIT, 1, 1009, False),
        (rules.AT_LIMIT, 1, 1010, True),
        (rules.AT_LIMIT, -1, 1001, False),
        (rules.AT_LIMIT, -1, 1000, True),
        (rules.AT_STOP, 1, 1011, False),
        (rules.AT_STOP, 1, 1010, True),
        (rules.AT_STOP, -1, 999, False),
        (rules.AT_STOP, -1, 1000, True),
        (rules.AT_LIMIT, 1, 0, True),
    ],
)
def test_a_level_the_quote_has_reached_is_no_order(kind: int, side: int, level: int, refused: bool) -> None:
    """A limit must lie on the better side of its quote, a stop on the worse one, by a point at least."""
    assert (rules.trigger_refusal(kind, side, level, 1000, 1010) == rules.TRIGGER_PASSED) is refused


@pytest.mark.parametrize(
    ("kind", "side", "low", "high", "reached"),
    [
        (rules.AT_LIMIT, 1, 500, 600, True),
        (rules.AT_LIMIT, 1, 501, 600, False),
        (rules.AT_LIMIT, -1, 400, 500, True),
        (rules.AT_LIMIT, -1, 400, 499, False),
        (rules.AT_STOP, 1, 400, 500, True),
        (rules.AT_STOP, 1, 400, 499, False),
        (rules.AT_STOP, -1, 500, 600, True),
        (rules.AT_STOP, -1, 501, 600, False),
    ],
)
def test_an_order_fills_where_the_range_reaches_it(kind: int, side: int, low: int, high: int, reached: bool) -> None:
    """Touching the level is enough, a point short of it is not."""
    assert rules.pending_reached(kind, side, 500, low, high) is reached


def test_what_takes_a_pending_order_back() -> None:
    """Its own side's exit and every new entry do; the other side's exit does not."""
    assert rules.cancels_pending(1, EXIT_LONG) and not rules.cancels_pending(1, EXIT_SHORT)
    assert rules.cancels_pending(-1, EXIT_SHORT) and not rules.cancels_pending(-1, EXIT_LONG)
    assert all(rules.cancels_pending(side, entry) for side in (1, -1) for entry in (ENTER_LONG, ENTER_SHORT))


def test_the_stop_counts_in_the_fill_bar_unless_the_bar_came_from_beyond_it() -> None:
    """A bar that began beyond the stop of a stop entry must also end there."""
    assert rules.stop_in_fill_bar(rules.AT_STOP, 1, 900, 950, 900, 1000)
    assert not rules.stop_in_fill_bar(rules.AT_STOP, 1, 900, 950, 901, 1000)
    assert not rules.stop_in_fill_bar(rules.AT_STOP, 1, 900, 880, 870, 1000)
    assert rules.stop_in_fill_bar(rules.AT_STOP, 1, 900, 880, 870, 890)
    assert rules.stop_in_fill_bar(rules.AT_LIMIT, -1, 1100, 1000, 1100, 1050)
    assert not rules.stop_in_fill_bar(rules.AT_LIMIT, -1, 0, 1000, 1100, 1050)


def test_break_even_goes_to_the_entry_and_the_trail_in_whole_pips() -> None:
    """From a stop 200 points away: to the entry plus 5 at a gain of 100, and 130 behind the best in steps of 10."""
    held = (1, 1000, 800)  # side, entry, stop
    assert rules.moved_stop(*held, 1099, 200, 10, 0, 0, 0.0, 100, 0.0, 5) == 800
    assert rules.moved_stop(*held, 1100, 200, 10, 0, 0, 0.0, 100, 0.0, 5) == 1005
    assert rules.moved_stop(*held, 1100, 200, 10, 0, 0, 0.0, 0, 0.5, 5) == 1005
    assert rules.moved_stop(*held, 1000, 200, 10, 130, 0, 0.0, 0, 0.0, 0) == 870
    assert rules.moved_stop(*held, 1009, 200, 10, 130, 0, 0.0, 0, 0.0, 0) == 870
    assert rules.moved_stop(*held, 1010, 200, 10, 130, 0, 0.0, 0, 0.0, 0) == 880
    assert rules.moved_stop(*held, 1199, 200, 10, 130, 0, 1.0, 0, 0.0, 0) == 800
    assert rules.moved_stop(*held, 1200, 200, 10, 130, 0, 1.0, 0, 0.0, 0) == 1070
    assert rules.moved_stop(-1, 1000, 1200, 900, 200, 10, 130, 0, 0.0, 0, 0.0, 0) == 1030


POINTS = st.integers(0, 400)


@given(
    side=st.sampled_from([1, -1]),
    gain=st.integers(0, 500),
    behind=st.integers(1, 300),
    per_pip=st.sampled_from([1, 10]),
    trail=POINTS,
    after=POINTS,
    even=POINTS,
    plus=st.integers(0, 50),
)
def test_a_stop_is_never_loosened(
    side: int, gain: int, behind: int, per_pip: int, trail: int, after: int, even: int, plus: int
) -> None:
    """Whatever the rules and the price, the stop stays or moves towards the price; a better price never takes it back."""
    entry, stop = 5000, 5000 - side * behind
    best = entry + side * gain
    moved = rules.moved_stop(side, entry, stop, best, behind, per_pip, trail, after, 0.0, even, 0.0, plus)
    again = rules.moved_stop(side, entry, moved, best, behind, per_pip, trail, after, 0.0, even, 0.0, plus)
    further = rules.moved_stop(side, entry, moved, best + side, behind, per_pip, trail, after, 0.0, even, 0.0, plus)
    assert side * (moved - stop) >= 0 and again == moved and side * (further - moved) >= 0


def test_a_partial_is_rounded_down_to_the_step() -> None:
    """Less than the smallest volume is left out; a rest below it goes with the partial."""
    assert rules.part_steps(33, 1, 2, 33, 1) == 16
    assert rules.part_steps(1, 1, 2, 1, 1) == 0
    assert rules.part_steps(30, 1, 4, 30, 10) == 0
    assert rules.part_steps(30, 2, 3, 30, 10) == 20
    assert rules.part_steps(30, 3, 4, 30, 10) == 30
    assert rules.part_steps(30, 1, 2, 15, 1) == 15


@given(amount=st.integers(-(10**6), 10**6), parts=st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_shares_of_the_entry_cost_add_up(amount: int, parts: list[int]) -> None:
    """What the partials take and what the last close takes is the whole, to the minor unit."""
    left, of = amount, sum(parts)
    taken = 0
    for part in parts:
        mine = rules.share(left, part, of)
        taken, left, of = taken + mine, left - mine, of - part
    assert (taken, left) == (amount, 0)


def test_a_fraction_with_too_many_decimals_is_refused() -> None:
    """The loop's integers hold nine decimals."""
    assert fraction_of(Decimal("0.25")) == (1, 4)
    with pytest.raises(BadInput, match="at most 9 decimals"):
        fraction_of(Decimal("0.333333333333333"))

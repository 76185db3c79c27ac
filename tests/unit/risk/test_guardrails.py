"""Guard arithmetic and the Guards record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.risk import guardrails as g


@given(base=st.integers(1, 2**61), loss=st.integers(-(2**60), 2**61), ppm=st.integers(1, 10**6))
def test_daily_loss_is_an_exact_comparison(base, loss, ppm):
    """The guard trips exactly from loss * 10^6 >= base * ppm on."""
    assert g.daily_loss_reached(base, base - loss, ppm) == (loss * 10**6 >= base * ppm)


def test_daily_loss_of_nothing_left_always_trips():
    """A base at or below zero denies entries; a limit of 0 is off."""
    assert g.daily_loss_reached(0, 10, 20_000)
    assert not g.daily_loss_reached(100, 0, 0)


@pytest.mark.parametrize(("since", "active"), [(-5, False), (0, True), (3, True), (4, False)])
def test_cooldown_covers_the_exit_bar_and_the_bars_after_it(since, active):
    """A cooldown of 3 denies the bar of the exit and the three after it."""
    assert g.cooldown_active(since, 3) is active


def test_cooldown_of_zero_is_off():
    """Without a cooldown a reversal at the same open is allowed."""
    assert not g.cooldown_active(0, 0)


def test_guards_are_asked_in_a_fixed_order():
    """Two reasons at once: the daily loss is the one recorded."""
    assert g.entry_denied(100, 90, 10_000, 1, 1, 0, 3, 9, 1) == g.DAILY_LOSS
    assert g.entry_denied(100, 100, 10_000, 1, 1, 0, 3, 9, 1) == g.MAX_OPEN
    assert g.entry_denied(100, 100, 10_000, 0, 1, 0, 3, 9, 1) == g.COOLDOWN
    assert g.entry_denied(100, 100, 10_000, 0, 1, 4, 3, 9, 1) == g.MAX_SPREAD
    assert g.entry_denied(100, 100, 10_000, 0, 1, 4, 3, 1, 1) == 0


def test_guards_survive_their_facts():
    """Guards rebuilt from stored facts are equal, and an unknown guard is refused rather than dropped."""
    guards = g.Guards(daily_loss_percent=2, max_open_per_symbol=1, cooldown_bars=3, max_spread_pips="1.5")
    assert g.Guards.from_facts(guards.facts()) == guards
    with pytest.raises(BadInput, match="guards must be known to this toolkit, was moon_phase"):
        g.Guards.from_facts({"moon_phase": 1})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"daily_loss_percent": 0}, "daily_loss_percent must be above 0"),
        ({"daily_loss_percent": "1.23456"}, "with at most 4 decimals"),
        ({"max_open_per_symbol": 0}, "max_open_per_symbol must be a whole number of 1 or more"),
        ({"cooldown_bars": 1.5}, "cooldown_bars must be a whole number of 0 or more"),
        ({"max_spread_pips": -1}, "max_spread_pips must be above 0"),
    ],
)
def test_guards_out_of_range_are_refused(wrong, message):
    """A limit that makes no sense is refused with what it must be."""
    with pytest.raises(BadInput, match=message):
        g.Guards(**wrong)


def test_only_tightening_counts_as_tight():
    """A live run may lower limits and lengthen the cooldown, not drop a guard."""
    base = g.Guards(daily_loss_percent=2, cooldown_bars=3)
    assert g.Guards(daily_loss_percent=1, cooldown_bars=3, max_spread_pips=1).at_least_as_tight_as(base)
    assert not g.Guards(daily_loss_percent=3, cooldown_bars=3).at_least_as_tight_as(base)
    assert not g.Guards(cooldown_bars=3).at_least_as_tight_as(base)
    assert not g.Guards(daily_loss_percent=2, cooldown_bars=2).at_least_as_tight_as(base)

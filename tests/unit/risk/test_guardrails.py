"""Guard arithmetic and the Guards record."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.risk import guard_rules as r
from toolkit.risk import guardrails as g
from toolkit.risk.trading_hours import TradingHours


@given(base=st.integers(1, 2**61), loss=st.integers(-(2**60), 2**61), ppm=st.integers(1, 10**6))
def test_daily_loss_is_an_exact_comparison(base, loss, ppm):
    """The guard trips exactly from loss * 10^6 >= base * ppm on."""
    assert r.daily_loss_reached(base, base - loss, ppm) == (loss * 10**6 >= base * ppm)


def test_daily_loss_of_nothing_left_always_trips():
    """A base at or below zero denies entries; a limit of 0 is off."""
    assert r.daily_loss_reached(0, 10, 20_000)
    assert not r.daily_loss_reached(100, 0, 0)


@pytest.mark.parametrize(("since", "active"), [(-5, False), (0, True), (3, True), (4, False)])
def test_cooldown_covers_the_exit_bar_and_the_bars_after_it(since, active):
    """A cooldown of 3 denies the bar of the exit and the three after it."""
    assert r.cooldown_active(since, 3) is active


def test_cooldown_of_zero_is_off():
    """Without a cooldown a reversal at the same open is allowed."""
    assert not r.cooldown_active(0, 0)


ALL_OFF = {
    "outside_hours": False, "tripped": 0, "day_base": 100, "equity": 100, "daily_loss_ppm": 0, "peak": 100,
    "drawdown_ppm": 0, "losses_in_a_row": 0, "max_losses": 0, "open_in_symbol": 0, "max_open_per_symbol": 0,
    "open_in_run": 0, "max_open": 0, "bars_since_exit": 4, "cooldown_bars": 0, "spread_points": 1,
    "max_spread_points": 0,
}  # fmt: skip
ALL_DENY = ALL_OFF | {
    "outside_hours": True, "tripped": r.DRAWDOWN, "equity": 90, "daily_loss_ppm": 10_000, "drawdown_ppm": 10_000,
    "losses_in_a_row": 2, "max_losses": 2, "open_in_symbol": 1, "max_open_per_symbol": 1, "open_in_run": 2, "max_open": 2,
    "bars_since_exit": 0, "cooldown_bars": 3, "spread_points": 9, "max_spread_points": 1,
}  # fmt: skip


def test_guards_are_asked_in_a_fixed_order():
    """Everything denies at once; taking the first reason away each time, the next one is told."""
    facts = dict(ALL_DENY)
    for code, lifted in (
        (r.TRADING_HOURS, {"outside_hours": False}),
        (r.DRAWDOWN, {"tripped": 0}),
        (r.DAILY_LOSS, {"daily_loss_ppm": 0}),
        (r.DRAWDOWN, {"drawdown_ppm": 0}),
        (r.LOSING_STREAK, {"losses_in_a_row": 1}),
        (r.MAX_OPEN, {"open_in_symbol": 0}),
        (r.MAX_OPEN_RUN, {"open_in_run": 1}),
        (r.COOLDOWN, {"bars_since_exit": 4}),
        (r.MAX_SPREAD, {"spread_points": 1}),
    ):
        assert r.entry_denied(**facts) == code
        facts |= lifted
    assert r.entry_denied(**facts) == 0
    assert r.entry_denied(**ALL_OFF) == 0


@given(notional=st.integers(0, 2**60), equity=st.integers(1, 2**55), centi=st.integers(1, 10_000))
def test_exposure_is_an_exact_comparison(notional, equity, centi):
    """The guard denies exactly from notional * 100 > equity * centi on."""
    assert r.exposure_exceeded(notional, equity, centi) == (notional * 100 > equity * centi)


def test_size_guards_count_what_would_be_open():
    """The limit itself is allowed, one step or one unit more is not; a limit below one step allows nothing."""
    assert r.volume_denied(100, 100, 300, 10, 3000) == 0
    assert r.volume_denied(101, 100, 300, 10, 3000) == r.MAX_LOTS
    assert r.volume_denied(100, 100, 301, 10, 3000) == r.MAX_EXPOSURE
    assert r.volume_denied(1, 0, 1, 0, 3000) == r.MAX_EXPOSURE
    assert g.Guards(max_lots="0.004").max_steps(Decimal("0.01")) == -1
    assert r.lots_exceeded(1, -1)


def test_what_holds_on_after_a_trip():
    """Losses hold to the end of the day, a drawdown until it is reset, the others only while their reason lasts."""
    codes = list(g.GUARD_REASONS)
    assert [c for c in codes if r.ends_with_the_day(c)] == [r.DAILY_LOSS, r.LOSING_STREAK]
    assert [c for c in codes if r.holds_on(c)] == [r.DAILY_LOSS, r.DRAWDOWN, r.LOSING_STREAK]


def ns(text):
    return int(datetime.fromisoformat(text).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("words", "moment", "inside"),
    [
        ("08:00-20:00", "2026-03-06T08:00+00:00", True),  # a Friday
        ("08:00-20:00", "2026-03-06T07:59+00:00", False),
        ("08:00-20:00", "2026-03-06T20:00+00:00", False),
        ("08:00-20:00", "2026-03-07T12:00+00:00", False),  # a Saturday
        ("Mon-Fri 08:00-20:00 Europe/London", "2026-07-06T07:30+00:00", True),  # summer time
        ("Mon-Fri 08:00-20:00 Europe/London", "2026-01-05T07:30+00:00", False),
        ("Sun 22:00-02:00", "2026-03-09T01:59+00:00", True),  # over midnight
        ("Fri-Mon 00:00-24:00", "2026-03-08T12:00+00:00", True),  # over the weekend
        ("Mon-Thu 07:00-22:00, Fri 07:00-17:00 New York + 7", "2026-03-06T15:01+00:00", False),
        ("Mon-Thu 07:00-22:00, Fri 07:00-17:00 New York + 7", "2026-03-05T15:01+00:00", True),
    ],
)
def test_trading_hours_are_read_on_their_clock(words, moment, inside):
    """The first minute belongs to a span, the last does not; days and daylight saving are those of the named clock."""
    hours = TradingHours(words)
    assert hours.allows(ns(moment)) is inside
    assert TradingHours(hours.text) == hours


@pytest.mark.parametrize("words", ["", "always", "Mon 8-20", "Moo 08:00-20:00", "08:00-25:00", "08:00-20:00 Mars/Base"])
def test_unreadable_hours_are_refused(words):
    """Words that cannot be read are refused with an example."""
    with pytest.raises(BadInput):
        TradingHours(words)


def test_hours_within_hours_are_tighter():
    """Shorter hours are within longer ones, on whatever clock; not the other way."""
    day, week = TradingHours("08:00-18:00 Europe/London"), TradingHours("Mon-Fri 06:00-20:00")
    assert day.within(week)
    assert not week.within(day)
    assert g.Guards(trading_hours=day).at_least_as_tight_as(g.Guards(trading_hours=week))
    assert not g.Guards().at_least_as_tight_as(g.Guards(trading_hours=week))


def test_guards_survive_their_facts():
    """Guards rebuilt from stored facts are equal, and an unknown guard is refused rather than dropped."""
    guards = g.Guards(
        daily_loss_percent=20, max_open_per_symbol=1, cooldown_bars=3, max_spread_pips="1.5", drawdown_percent=10,
        max_open=4, max_consecutive_losses=3, max_lots="0.5", max_exposure=10, trading_hours="Mon-Fri 08:00-20:00",
        max_quote_age_seconds=5,
    )  # fmt: skip
    assert g.Guards.from_facts(json.loads(json.dumps(guards.facts()))) == guards
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
        ({"drawdown_percent": 101}, "drawdown_percent must be above 0"),
        ({"max_open": 0}, "max_open must be a whole number of 1 or more"),
        ({"max_consecutive_losses": 0}, "max_consecutive_losses must be a whole number of 1 or more"),
        ({"max_lots": 0}, "max_lots must be above 0"),
        ({"max_exposure": "1.234"}, "max_exposure must be above 0 with at most 2 decimals"),
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


def test_a_misspelt_limit_is_named_with_the_nearest_one():
    """A guard that is not there would not guard: the word is refused, and the right one said."""
    with pytest.raises(BadInput, match=r"was max_dayly: correct it"):
        g.Guards(max_dayly=3)
    with pytest.raises(BadInput, match="did you mean 'cooldown_bars'"):
        g.Guards(cooldown_bar=3)


def test_wider_limits_are_named_with_both_values():
    """Only what is wider is listed; words leave out what is off."""
    tested = g.Guards(daily_loss_percent=2, cooldown_bars=3, trading_hours="Mon-Fri 08:00-20:00 UTC")
    given = g.Guards(daily_loss_percent=3, max_open=5, cooldown_bars=4)
    wider = given.wider_than(tested)
    assert list(wider) == ["daily_loss_percent", "trading_hours"]
    assert wider["daily_loss_percent"] == (Decimal(3), Decimal(2))
    assert not tested.wider_than(g.Guards()) and g.Guards().words() == "none"
    assert tested.words().startswith("daily_loss_percent 2, cooldown_bars 3")

"""Pending entries, trailing, break-even, partials and time exits as data and as decisions."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from toolkit.errors import StrategyError
from toolkit.market import Bars
from toolkit.simulation.managed.rules import moved_stop
from toolkit.strategy.authoring.management import FEATURES, NEVER_EVEN

Make = Callable[..., st.StrategySpec]


@pytest.fixture
def managed(strategy_of: Make) -> st.StrategySpec:
    """A breakout with every kind of management."""
    return strategy_of(
        lambda b: {"atr": st.atr(b, 14), "high": st.highest(b.high, 20), "low": st.lowest(b.low, 20)},
        entry=lambda x: st.Entry(
            long=x.close > x.open, short=x.close < x.open, order=st.StopEntry(long=x.high, short=x.low, bars=3)
        ),
        protection=lambda x: st.Protection(
            stop_loss=2 * x.atr,
            take_profit=st.RR(3),
            trailing_stop=st.Trail(1.5 * x.atr, after=st.RR(1)),
            break_even=st.BreakEven(st.Pips(15), plus=st.Pips(1)),
            partials=[st.Partial(at=st.RR(1), fraction="0.5"), st.Partial(at=3 * x.atr, fraction=0.25)],
            max_bars=48,
        ),
    )


def test_management_is_resolved_alike_in_both_drivers(
    managed: st.StrategySpec, bars: Bars, rows: Callable[[Bars], list[Any]]
) -> None:
    """Columns of points and a live decision's points are the same numbers."""
    again = st.StrategySpec.from_json(managed.to_json())
    assert again == managed
    bars = bars[:300]
    columns = st.evaluate(again, bars, supports=FEATURES)
    walker = st.Incremental(again, bars.instrument, supports=FEATURES)
    m = columns.management
    assert m is not None
    assert (m.entry_kind, m.expiry_bars, m.max_bars, m.trail_after_rr) == ("stop", 3, 48, 1.0)
    assert m.break_even_after_points.tolist() == [150] and m.break_even_plus_points.tolist() == [10]
    assert [p[1:] for p in m.partials] == [(1.0, Decimal("0.5")), (None, Decimal("0.25"))]
    entries = 0
    for i, row in enumerate(rows(bars)):
        live = walker.step(*row).management
        if not columns.code[i] & 3:
            assert live is None
            continue
        entries += 1
        assert live is not None
        assert live.entry_long_points == m.entry_long_points[i] and live.entry_short_points == m.entry_short_points[i]
        assert live.trail_points == m.trail_points[i] and live.trail_points % 10 == 0
        assert live.partials[1][0] == m.partials[1][0][i]
    assert entries > 200
    assert np.array_equal(m.entry_long_points[19:], np.lib.stride_tricks.sliding_window_view(bars.bid_high, 20).max(1))


@pytest.mark.parametrize("plus", [False, True])
def test_a_rule_whose_number_is_unknown_is_off_for_that_entry(
    plus: bool, strategy_of: Make, bars: Bars, rows: Callable[[Bars], list[Any]]
) -> None:
    """A trail without its start does not trail at once; a break-even without its surplus does not go to the entry."""
    spec = strategy_of(
        lambda b: {"late": st.atr(b, 100)},
        entry=lambda x: st.Entry(long=x.close > x.open, short=x.close < x.open),
        protection=lambda x: st.Protection(
            stop_loss=st.Pips(30),
            trailing_stop=st.Trail(st.Pips(20), after=x.late),
            break_even=st.BreakEven(st.RR(1), plus=x.late) if plus else None,
        ),
    )
    bars = bars[:150]
    decided = st.evaluate(spec, bars, supports=FEATURES, frame=True)
    m = decided.management
    assert m is not None
    assert decided.frame is not None
    unknown = np.isnan(decided.frame["late"])
    assert 90 < unknown.sum() < 110
    assert (m.trail_points == np.where(unknown, 0, 200)).all()
    walker = st.Incremental(spec, bars.instrument, supports=FEATURES)
    for i, row in enumerate(rows(bars)):
        live = walker.step(*row).management
        if live is None:
            continue
        assert live.trail_points == m.trail_points[i]
        if plus:
            assert live.break_even_plus_points == m.break_even_plus_points[i]
            assert (live.break_even_plus_points == NEVER_EVEN) == unknown[i]
    moved = moved_stop(1, 120_000, 119_700, 121_000, 300, 10, 0, 0, 0.0, 0, 1.0, NEVER_EVEN)
    assert moved == 119_700
    assert moved_stop(-1, 120_000, 120_300, 119_000, 300, 10, 0, 0, 0.0, 0, 1.0, NEVER_EVEN) == 120_300


def test_an_engine_that_cannot_do_it_refuses(managed: st.StrategySpec, bars: Bars) -> None:
    """Nothing is traded without its management: what is missing is named."""
    wanted = "what Made needs must be supported by this engine, was break_even, partials, stop_entry, time_exit, trailing_stop"
    with pytest.raises(StrategyError, match=wanted):
        st.evaluate(managed, bars)
    with pytest.raises(StrategyError, match="was partials"):
        st.Incremental(managed, bars.instrument, supports=set(FEATURES) - {"partials"})


def test_management_is_said_in_words(managed: st.StrategySpec) -> None:
    """The description names each rule."""
    words = managed.describe()
    for part in (
        "entry order: stop order, long at high and short at low, for 3 bars",
        "break-even: after 15 pips, plus 1 pips",
        "trailing stop: 1.5 * atr in price, after 1 times the stop distance",
        "time exit: after 48 bars",
        "partial 1: close 0.5 of the volume at 1 times the stop distance",
    ):
        assert part in words


def test_plain_entries_carry_no_management(ema_cross: type[st.SectionedStrategy], bars: Bars) -> None:
    """A market entry with stop and target needs nothing of an engine."""
    spec = st.StrategySpec.from_strategy(ema_cross())
    assert spec.features == frozenset() and "management" not in spec.to_json()
    assert st.evaluate(spec, bars).management is None


WRONG: list[tuple[str, Callable[[Any], Any], str]] = [
    ("whole", lambda x: st.Protection(st.Pips(9), partials=[st.Partial(st.RR(1), 1)]), "a number below 1"),
    ("sum", lambda x: st.Protection(st.Pips(9), partials=[st.Partial(st.RR(1), 0.5)] * 2), "below 1 together"),
    ("bare", lambda x: st.Protection(st.Pips(9), partials=[0.5]), r"a list of tk\.Partial"),
    ("no stop", lambda x: st.Protection(trailing_stop=st.Pips(9)), "given with trailing_stop or break_even"),
    ("level", lambda x: st.Protection(st.Pips(9), trailing_stop=x.close), "the price level close"),
    ("negative", lambda x: st.Protection(st.Pips(9), break_even=-0.001), "greater than 0"),
    ("ratio", lambda x: st.Protection(st.Pips(9), trailing_stop=st.RR(1)), "is for take_profit"),
]


@pytest.mark.parametrize(("protection", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_management_is_refused(protection: Callable[[Any], Any], message: str, strategy_of: Make) -> None:
    """Each mistake is refused where it is written."""
    with pytest.raises(StrategyError, match=message):
        strategy_of(lambda b: {}, protection=protection)


def test_pending_levels_go_with_their_sides(strategy_of: Make) -> None:
    """A pending entry needs a level exactly where it has a condition."""
    with pytest.raises(StrategyError, match="the short level of the limit entry"):
        strategy_of(
            lambda b: {},
            entry=lambda x: st.Entry(long=x.close > 1, short=x.close < 1, order=st.LimitEntry(long=x.low, bars=2)),
        )

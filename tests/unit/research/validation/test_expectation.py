"""The expectation band: it holds what it promises for runs that trade as the backtest did."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from toolkit.research.validation.expectation import Expectation, expectation


def _trades(nets: list[str]) -> list[dict[str, Decimal]]:
    return [{"profit": Decimal(net), "commission": Decimal(0), "swap": Decimal(0)} for net in nets]


def test_the_numbers_of_a_known_sequence() -> None:
    """+10 % then -10 %: mean of the logarithms, their deviation and the fall from the peak."""
    found = expectation(_trades(["100", "-110"]), Decimal(1000), 50)
    up, down = math.log(1.1), math.log(0.9)
    assert (found.trades, found.bars) == (2, 50)
    assert found.mean == pytest.approx((up + down) / 2)
    assert found.deviation == pytest.approx((up - down) / 2)
    assert found.max_drawdown_percent == pytest.approx(-10.0)
    assert Expectation.from_facts(found.facts()) == found


def test_costs_count_and_a_ruined_run_ends_there() -> None:
    """Commission and swap are part of a trade; after ruin nothing is counted."""
    trades = [{"profit": Decimal(0), "commission": Decimal(-5), "swap": Decimal(-5)}, *_trades(["-2000", "50"])]
    found = expectation(trades, 1000, 10)
    assert found.trades == 1
    assert found.mean == pytest.approx(math.log(0.99))


def test_no_trades_expect_a_flat_line_and_old_facts_expect_nothing() -> None:
    """A backtest without trades has no band; a report of an older toolkit has no expectation."""
    low, middle, high = expectation([], 1000, 10).band(500.0, np.array([0, 100]))
    assert list(low) == list(middle) == list(high) == [500.0, 500.0]
    assert Expectation.from_facts({}) is None


def test_nine_of_ten_runs_of_the_same_kind_stay_inside() -> None:
    """Runs drawn from the backtest's own trades at its rate end inside the band about 90 times of 100."""
    random = np.random.default_rng(5)
    found = Expectation(trades=200, bars=4000, mean=0.001, deviation=0.011, max_drawdown_percent=-8.0)
    low, _, high = found.band(10_000.0, np.array([2000]))
    counts = random.poisson(2000 * 200 / 4000, size=4000)
    ends = np.array([10_000 * math.exp(random.normal(0.001, 0.011, count).sum()) for count in counts])
    inside = ((ends >= low[0]) & (ends <= high[0])).mean()
    assert 0.88 < inside < 0.92


def test_the_band_widens_from_the_capital_on() -> None:
    """It begins at the capital and grows with the square root of time."""
    found = Expectation(100, 1000, 0.0, 0.01, -5.0)
    low, middle, high = found.band(1000.0, np.array([0, 100, 400]))
    assert low[0] == middle[0] == high[0] == 1000.0
    assert math.log(high[2] / middle[2]) == pytest.approx(2 * math.log(high[1] / middle[1]))

"""The session's count of trials: distinct strategy, parameters and data, once each."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from toolkit.errors import BadInput
from toolkit.research.backtest import backtest
from toolkit.research.validation.trial_count import (
    count_sets,
    count_spec,
    count_trial,
    not_counted,
    reset_trials,
    structure_hash,
    trials,
)
from toolkit.strategy import StrategySpec


@pytest.fixture(autouse=True)
def fresh():
    """Each test counts from zero."""
    reset_trials()
    yield
    reset_trials()


def test_backtest_counts_once_per_strategy_parameters_and_data(ema_cross, year):
    """Running the same again adds nothing; another value or other bars add one each."""
    bars = year[:800]
    backtest(ema_cross(), bars)
    backtest(ema_cross(fast=12), bars)
    assert trials().count == 1
    backtest(ema_cross(fast=13), bars)
    assert int(trials()) == 2
    backtest(ema_cross(fast=13), year[:900])
    assert trials().count == 3
    assert trials().on(bars) == 2


def test_equal_bars_in_another_object_are_the_same_data(ema_cross, year):
    """Data counts by content, not by object."""
    backtest(ema_cross(), year[:800])
    backtest(ema_cross(), year[:800])
    assert trials().count == 1


def test_account_and_guards_are_not_trials(ema_cross, year):
    """Only what is searched for an edge counts."""
    from toolkit.risk.guardrails import Guards
    from toolkit.simulation.account import PaperAccount

    bars = year[:800]
    backtest(ema_cross(), bars)
    backtest(ema_cross(), bars, account=PaperAccount("USD", 50_000), guards=Guards(cooldown_bars=3))
    assert trials().count == 1


def test_another_graph_with_the_same_values_counts(ema_cross, fixed_pips, year):
    """Two strategies are two trials although their parameters are equal."""
    backtest(ema_cross(), year[:800])
    backtest(fixed_pips(), year[:800])
    assert trials().count == 2
    assert {g.strategy for g in trials().groups} == {"EmaCross", "FixedPips"}


def test_sets_of_a_sweep_and_backtests_share_their_identity(ema_cross, year):
    """A backtest of a point of the grid is no new trial, whatever number type the grid was written in."""
    bars, spec = year[:800], StrategySpec.from_strategy(ema_cross())
    grid = [{"fast": np.int64(f), "k": k} for f in range(5, 15) for k in (1, 2.0, np.float64(3.0))]
    count_sets(spec, bars, grid)
    assert trials().count == 30
    backtest(ema_cross(fast=7, k=1.0), bars)
    count_spec(spec, bars)
    assert trials().count == 30
    backtest(ema_cross(fast=20), bars)
    assert trials().count == 31


def test_counting_by_hash_takes_the_largest_number(year):
    """count_trial with one hash twice counts the larger n, not the sum."""
    count_trial("a" * 64, year.fingerprint, n=100)
    count_trial("a" * 64, year.fingerprint, n=40)
    assert trials().count == 100
    count_trial("a" * 64, year.fingerprint, n=150)
    count_trial("b" * 64, year.fingerprint)
    assert trials().count == 151


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_count_trial_refuses_a_number_that_counts_nothing(n):
    """n must be a whole number of 1 or more."""
    with pytest.raises(BadInput, match="n must be a whole number of 1 or more"):
        count_trial("a", "b", n=n)


def test_threads_lose_no_trial(ema_cross, year):
    """Eight threads counting overlapping sets on two data sets give the size of the union."""
    spec = StrategySpec.from_strategy(ema_cross())
    parts = (year[:700], year[:701])
    start = threading.Barrier(8)

    def work(k):
        start.wait(10)
        for fast in range(2, 50):
            count_sets(spec, parts[(k + fast) % 2], [{"fast": fast}])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert trials().count == 2 * 48


def test_nothing_is_counted_inside_not_counted(ema_cross, year):
    """Checks and replays of what was counted add nothing, and counting goes on afterwards."""
    with not_counted():
        backtest(ema_cross(), year[:800])
        count_trial("a", "b")
    assert trials().count == 0
    backtest(ema_cross(), year[:800])
    assert trials().count == 1


def test_reset_returns_what_it_forgets(ema_cross, year):
    """Only reset_trials sets the count back, and it says what it was."""
    backtest(ema_cross(), year[:800])
    assert reset_trials().count == 1
    assert trials().count == 0


def test_counting_reads_the_bars_only_when_asked(ema_cross, year):
    """The fingerprint, which costs more than a backtest, is taken when the count is read or other bars come."""
    bars = year[:800]
    backtest(ema_cross(), bars)
    assert "fingerprint" not in bars.__dict__
    assert trials().count == 1
    assert "fingerprint" in bars.__dict__


def test_structure_hash_forgets_values_only(ema_cross, fixed_pips):
    """Points of one grid share the structure; another graph, or other bounds, does not."""
    a, b = (StrategySpec.from_strategy(ema_cross(fast=f)) for f in (5, 6))
    assert a.hash != b.hash
    assert structure_hash(a) == structure_hash(b)
    assert structure_hash(a) != structure_hash(StrategySpec.from_strategy(fixed_pips()))


def test_count_shows_itself(ema_cross, year):
    """The count prints the number and what was tried on what, and has a frame."""
    backtest(ema_cross(), year[:800])
    for text in (repr(trials()), trials()._repr_html_()):
        assert "1 trial in this session" in text
        assert "EURUSD H1, 800 bars" in text
    assert trials().frame["trials"].tolist() == [1]

"""Sharpe ratios with their doubts, against the worked numbers of the papers and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.research.validation.sharpe import (
    deflated_sharpe,
    effective_trials,
    expected_maximum,
    minimum_backtest_years,
    minimum_track_record,
    probabilistic_sharpe,
    shape_of,
    sharpe_of,
)

DAILY = 2.5 / math.sqrt(250)  # the worked example of the deflated Sharpe ratio paper: 2.5 a year over 1250 days


def test_deflated_sharpe_of_the_paper():
    """100 trials of variance 1/2 a year, skew -3, kurtosis 10: luck is 0.1132 a day and the probability 0.9004."""
    luck = math.sqrt(0.5 / 250) * expected_maximum(100)
    assert round(luck, 4) == 0.1132
    found = deflated_sharpe(DAILY, 1250, trials=100, variance=0.5 / 250, skew=-3, kurtosis=10)
    assert round(found, 4) == 0.9004


@pytest.mark.parametrize(("trials", "skew", "kurtosis"), [(46, -3, 10), (88, 0, 3)])
def test_deflated_sharpe_at_the_papers_limits(trials, skew, kurtosis):
    """The same result would have passed 95 % after 46 trials, or after 88 had the returns been normal."""
    found = deflated_sharpe(DAILY, 1250, trials=trials, variance=0.5 / 250, skew=skew, kurtosis=kurtosis)
    assert round(found, 4) == 0.9505


@pytest.mark.parametrize(("a_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_minimum_track_record_of_the_paper(a_year, years):
    """A yearly Sharpe ratio of 2 exceeds 1 after 2.73 years of days, 2.83 of weeks, 3.24 of months (normal returns)."""
    periods = minimum_track_record(2 / math.sqrt(a_year), benchmark=1 / math.sqrt(a_year))
    assert round(periods / a_year, 2) == years


def test_minimum_track_record_of_hedge_funds():
    """With skew -0.72 and kurtosis 5.78 of monthly returns, the same takes 4.99 years."""
    r = math.sqrt(12)
    assert round(minimum_track_record(2 / r, benchmark=1 / r, skew=-0.72, kurtosis=5.78) / 12, 2) == 4.99


def test_forty_five_trials_need_five_years():
    """On 5 years of data no more than 45 independent variations may be tried before a Sharpe ratio of 1 is luck."""
    assert minimum_backtest_years(45) < 5.0 < minimum_backtest_years(46)


@pytest.mark.parametrize("trials", [5, 50, 1000])
def test_expected_maximum_against_simulation(trials):
    """The approximation is within 4 % of the mean of simulated maxima."""
    draws = np.random.default_rng(1).standard_normal((20_000, trials)).max(axis=1)
    assert expected_maximum(trials) == pytest.approx(draws.mean(), rel=0.04)


def test_expected_maximum_grows_from_zero():
    """One trial has no luck; more have more, without a jump at 2."""
    values = [expected_maximum(n) for n in (1, 1.5, 2 - 1e-9, 2, 3, 10, 1e6, 1e18)]
    assert values[0] == 0.0
    assert values == sorted(values)
    assert values[3] - values[2] < 1e-8


def test_probabilistic_sharpe_against_simulation():
    """The standard error it assumes is that of Sharpe ratios of simulated skewed, fat-tailed returns."""
    rng = np.random.default_rng(2)
    x = 0.1 + (1.0 - rng.exponential(1.0, (500, 4000)))  # skew -2, kurtosis 9
    estimates = sharpe_of(x)
    true = 0.1
    below = probabilistic_sharpe(true + estimates.std(), 500, benchmark=true, skew=-2.0, kurtosis=9.0)
    assert below == pytest.approx(0.8413, abs=0.02)


def test_one_trial_is_not_deflated():
    """With one trial the deflated is the probabilistic Sharpe ratio."""
    assert deflated_sharpe(0.1, 500, trials=1, variance=0.01) == probabilistic_sharpe(0.1, 500)


@settings(deadline=None, max_examples=200)
@given(
    st.floats(-0.5, 0.5),
    st.integers(10, 5000),
    st.floats(1, 1e6),
    st.floats(0, 0.05),
    st.floats(-2, 2),
    st.floats(0, 20),
)
def test_deflation_never_helps(sharpe, observations, trials, variance, skew, more):
    """For any result, more trials or more variance among them never raise the probability, which stays in 0..1."""
    kurtosis = skew * skew + 1.0 + more
    shape = {"skew": skew, "kurtosis": kurtosis}
    plain = probabilistic_sharpe(sharpe, observations, **shape)
    few = deflated_sharpe(sharpe, observations, trials=trials, variance=variance, **shape)
    many = deflated_sharpe(sharpe, observations, trials=trials * 2, variance=variance * 2, **shape)
    assert 0.0 <= many <= few <= plain <= 1.0


@settings(deadline=None, max_examples=200)
@given(st.floats(0.01, 0.5), st.floats(-2, 2), st.floats(0.01, 20), st.floats(0.6, 0.999))
def test_track_record_is_the_inverse_of_the_probability(sharpe, skew, more, confidence):
    """After exactly the minimum track record the probabilistic Sharpe ratio is the confidence."""
    kurtosis = skew * skew + 1.0 + more
    need = minimum_track_record(sharpe, skew=skew, kurtosis=kurtosis, confidence=confidence)
    if need >= 2:
        found = probabilistic_sharpe(sharpe, need, skew=skew, kurtosis=kurtosis)
        assert found == pytest.approx(confidence, abs=1e-9)


def test_track_record_of_a_loser_is_endless():
    """No record proves an estimate above a benchmark it does not reach."""
    assert minimum_track_record(0.05, benchmark=0.05) == math.inf


def test_effective_trials_of_independent_trials():
    """Independent trials count about in full by both methods."""
    x = np.random.default_rng(3).standard_normal((400, 200))
    assert effective_trials(x) == pytest.approx(200, rel=0.2)
    assert effective_trials(x, "correlation") == pytest.approx(200, rel=0.01)


def test_effective_trials_of_copies_is_one():
    """The same trial a hundred times is one trial, whatever its size or sign of trade."""
    x = np.random.default_rng(4).standard_normal((400, 1)) * np.arange(1, 101)
    assert effective_trials(x) == pytest.approx(1.0, abs=1e-3)
    assert effective_trials(x, "correlation") == pytest.approx(1.0, abs=1e-6)


def test_effective_trials_sees_families():
    """Ten families of 50 near copies count as about ten, which the average correlation does not see."""
    rng = np.random.default_rng(5)
    x = np.repeat(rng.standard_normal((400, 10)), 50, axis=1) + 1e-3 * rng.standard_normal((400, 500))
    assert effective_trials(x) == pytest.approx(10, rel=0.2)
    assert effective_trials(x, "correlation") > 400


def test_effective_trials_of_a_common_factor():
    """A factor that all share shifts all together; the luck among them is that of the rest, so they count in full."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((400, 1)) + rng.standard_normal((400, 200))
    assert effective_trials(x) == pytest.approx(200, rel=0.25)
    assert effective_trials(x, "correlation") == pytest.approx(100, rel=0.15)


def test_effective_trials_is_seeded_and_ignores_flat_columns():
    """The same seed gives the same number; sets that never trade add none."""
    x = np.random.default_rng(7).standard_normal((100, 20))
    padded = np.hstack([x, np.zeros((100, 30))])
    assert effective_trials(x, seed=9) == effective_trials(x, seed=9)
    assert effective_trials(padded, seed=9) == pytest.approx(effective_trials(x, seed=9), rel=1e-9)
    assert effective_trials(np.zeros((100, 30))) == 1.0


def test_deflated_sharpe_is_calibrated_on_noise():
    """Of 120 searches among 200 worthless correlated trials, few of the winners are called significant at 95 %."""
    rng = np.random.default_rng(8)
    called = plain = 0
    for _ in range(120):
        x = np.repeat(rng.standard_normal((250, 20)), 10, axis=1) + 0.5 * rng.standard_normal((250, 200))
        s = sharpe_of(x)
        skew, kurtosis = shape_of(x[:, s.argmax()])
        more = {"skew": skew, "kurtosis": kurtosis}
        called += (
            deflated_sharpe(s.max(), 250, trials=effective_trials(x, draws=100), variance=float(s.var(ddof=1)), **more)
            > 0.95
        )
        plain += probabilistic_sharpe(s.max(), 250, **more) > 0.95
    assert plain > 80
    assert called <= 6


def test_shape_and_sharpe_of_known_series():
    """Two-valued returns have kurtosis 1; a flat series has shape (0, 3) and Sharpe ratio 0, not NaN."""
    assert shape_of([1.0, -1.0, 1.0, -1.0]) == (0.0, 1.0)
    assert shape_of(np.full(10, 0.3)) == (0.0, 3.0)
    x = np.array([[0.0, 0.3, 1.0], [0.0, 0.3, 2.0], [0.0, 0.3, 6.0]])
    assert sharpe_of(x).tolist() == [0.0, 0.0, pytest.approx(3.0 / math.sqrt(7.0))]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probabilistic_sharpe(0.1, 1), "observations must be at least 2, was 1"),
        (lambda: probabilistic_sharpe(0.1, 9, skew=-3, kurtosis=7), r"kurtosis must be at least skew\*\*2 \+ 1 = 10"),
        (lambda: probabilistic_sharpe(math.nan, 9), "finite"),
        (lambda: minimum_track_record(0.1, confidence=95), "confidence must be above 0.5 and below 1, was 95"),
        (lambda: expected_maximum(0), "trials must be at least 1, was 0"),
        (lambda: deflated_sharpe(0.1, 9, trials=5, variance=-1), "variance must be 0 or more, was -1"),
        (lambda: minimum_backtest_years(5, 0), "sharpe must be above 0, was 0"),
        (lambda: effective_trials(np.ones((9, 2)), "magic"), "method must be 'maximum' or 'correlation', was 'magic'"),
        (lambda: effective_trials([[1.0, np.nan]] * 9), "returns must be finite"),
        (lambda: sharpe_of(np.ones((1, 3))), "at least 2 periods"),
    ],
)
def test_refusals(call, message):
    """What cannot be computed honestly is refused with the remedy."""
    with pytest.raises(BadInput, match=message):
        call()

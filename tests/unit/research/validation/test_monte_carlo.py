"""Other orders and draws of the same trades: against brute force, and what must not change."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from toolkit.errors import BadInput
from toolkit.research.backtest import backtest
from toolkit.research.validation.monte_carlo import LEVELS, monte_carlo, resampled
from toolkit.research.validation.walk_forward import walk_forward
from toolkit.simulation.account import PaperAccount


@pytest.fixture(scope="module")
def result(ema_cross, year):
    return backtest(ema_cross(), year, account=PaperAccount("USD", 10_000, commission_per_lot="3.5"))


@pytest.fixture(scope="module")
def fixed(reversing, year):
    return backtest(reversing(), year)


def plain_path(steps, balance, relative):
    """Equity, largest fall and lowest point of one path, with a loop."""
    equity, peak, fall, low = balance, balance, 0.0, balance
    for step in steps:
        equity = equity * step if relative else equity + step
        peak, low = max(peak, equity), min(low, equity)
        fall = max(fall, (peak - equity) / peak)
    return equity, fall, low


@pytest.mark.parametrize("relative", [True, False])
def test_shuffles_of_few_trades_are_the_permutations(relative):
    """All 120 orders of five trades appear, each about equally often, with the drawdowns a loop finds."""
    steps = np.array([1.1, 0.8, 0.95, 1.3, 0.7]) if relative else np.array([70.0, -210.0, -45.0, 330.0, -120.0])
    found = resampled(steps, 1000.0, "USD", relative=relative, method="shuffle", runs=24_000, seed=1)
    falls = [plain_path(p, 1000.0, relative)[1] for p in permutations(steps)]
    assert set(found.max_drawdown.round(9)) == {round(f, 9) for f in falls}
    assert found.max_drawdown.mean() == pytest.approx(np.mean(falls), rel=0.01)
    assert np.percentile(found.max_drawdown, 75) == pytest.approx(np.percentile(falls, 75), rel=0.02)
    lows = [plain_path(p, 1000.0, relative)[2] for p in permutations(steps)]
    assert found.lowest_equity.min() == pytest.approx(min(lows))
    assert (found.lowest_equity <= 0.7 * 1000).mean() == pytest.approx(np.mean(np.array(lows) <= 700), abs=0.01)


def test_bootstrap_of_few_trades_is_the_product():
    """Ends and ruin of four trades drawn with replacement are those of all 256 draws."""
    steps = np.array([1.2, 0.7, 1.05, 0.9])
    found = resampled(steps, 100.0, "USD", relative=True, method="bootstrap", runs=60_000, seed=2, ruin=0.6)
    every = [plain_path(p, 100.0, True) for p in product(steps, repeat=4)]
    assert found.final_equity.mean() == pytest.approx(np.mean([e[0] for e in every]), rel=0.005)
    assert found.probability_of_ruin == pytest.approx(np.mean([e[2] <= 60.0 for e in every]), abs=0.01)
    assert found.probability_of_loss == pytest.approx(np.mean([e[0] < 100.0 for e in every]), abs=0.01)
    assert {round(float(f), 6) for f in found.final_equity} == {round(e[0], 6) for e in every}


def test_block_bootstrap_keeps_neighbours_together():
    """Within a stretch each trade is followed by the one that followed it, around the end to the beginning."""
    steps = np.array([1.0, 10.0, 100.0, 1000.0, 10_000.0])  # sums tell which trades were drawn
    found = resampled(steps, 0.5, "USD", relative=False, method="bootstrap", runs=500, seed=3, block=5)
    whole = steps.sum() + 0.5
    assert found.final_equity.tolist() == pytest.approx([whole] * 500)
    pairs = resampled(steps[:4], 0.5, "USD", relative=False, method="bootstrap", runs=500, seed=3, block=2)
    starts = {11.0, 110.0, 1100.0, 1001.0}
    assert {round(float(f) - 0.5, 6) for f in pairs.final_equity} == {a + b for a in starts for b in starts}


def test_shuffled_ends_are_the_end_of_the_run(result):
    """Order does not change the end: only drawdown and lowest point vary."""
    found = monte_carlo(result, runs=400)
    nets = result.run.trades[:, 7:10].sum()
    assert found.compounding
    assert found.real["final_equity"] == pytest.approx(10_000 + nets / 100)
    assert found.final_equity == pytest.approx(np.full(400, 10_000 + nets / 100), rel=1e-9)
    assert found.percentile("final_equity") == 0.5
    assert np.ptp(found.max_drawdown) > 0.01


def test_fixed_lots_add_money_exactly(fixed):
    """With fixed lots nets are added to the cent; the run's own drawdown is that of its balance at trade closes."""
    found = monte_carlo(fixed, runs=200)
    balance = 10_000 + np.concatenate([[0], np.cumsum(fixed.run.trades[:, 7:10].sum(axis=1))]) / 100
    peak = np.maximum.accumulate(balance)
    assert not found.compounding
    assert found.real["max_drawdown"] == pytest.approx(((peak - balance) / peak).max(), rel=1e-12)
    assert found.real["lowest_equity"] == pytest.approx(balance.min(), rel=1e-12)
    assert found.real["max_drawdown"] <= fixed.statistics["max_drawdown"]


def test_seed_decides_everything_and_chunks_nothing(result, monkeypatch):
    """The same seed gives the same paths to the bit, however many are worked on at once; another seed gives others."""
    import toolkit.research.validation.monte_carlo as module

    for method, block in (("shuffle", 1), ("bootstrap", 1), ("bootstrap", 7)):
        whole = monte_carlo(result, method=method, block=block, runs=301, seed=5)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_CHUNK", 1000)
            parts = monte_carlo(result, method=method, block=block, runs=301, seed=5)
        other = monte_carlo(result, method=method, block=block, runs=301, seed=6)
        assert whole.max_drawdown.tolist() == parts.max_drawdown.tolist()
        assert whole.band.tolist() == parts.band.tolist()
        assert whole.max_drawdown.tolist() != other.max_drawdown.tolist()


def test_a_planted_lucky_order_is_seen():
    """Alternating wins and losses is the kindest order: nearly all others fall deeper, and the percentile says so."""
    steps = np.tile([1.05, 0.96], 60)
    found = resampled(steps, 1000.0, "USD", relative=True, method="shuffle", runs=2000, seed=7)
    assert found.percentile("max_drawdown") < 0.01
    unlucky = resampled(np.sort(steps), 1000.0, "USD", relative=True, method="shuffle", runs=2000, seed=7)
    assert unlucky.percentile("max_drawdown") > 0.99


def test_a_loss_of_everything_ends_the_path(fixed):
    """A factor of 0 leaves nothing to win back: such paths stay ruined."""
    found = resampled(np.array([1.5, 0.0, 2.0]), 100.0, "USD", relative=True, method="shuffle", runs=50, seed=8)
    assert set(found.final_equity) == {0.0}
    assert found.probability_of_ruin == 1.0
    assert set(found.max_drawdown) == {1.0}


def test_walk_forward_trades_are_resampled_as_one_record(ema_cross, year):
    """The out-of-sample trades of all windows are one list."""
    walk = walk_forward(ema_cross, year, grid={"fast": [5, 12]}, train="90D", test="30D", threads=1)
    found = monte_carlo(walk, method="bootstrap", runs=100)
    assert found.trades == len(walk.trades)
    assert found.real["final_equity"] == pytest.approx(10_000 + float(sum(
        r["profit"] + r["commission"] + r["swap"] for r in walk.trade_rows())))  # fmt: skip


def test_frame_and_bands(result):
    """Percentiles are sorted, begin at the balance, and the frame ends with the run's own values."""
    found = monte_carlo(result, method="bootstrap", runs=300)
    assert found.band.shape == (len(LEVELS), len(found.band_at))
    assert (np.diff(found.band, axis=0) >= 0).all()
    assert found.band[:, 0].tolist() == [10_000.0] * len(LEVELS)
    assert found.band_at[-1] == len(result.run.trades)
    assert found.real_path[-1] == found.real["final_equity"]
    assert found.frame.loc["50%", "max_drawdown"] == np.median(found.max_drawdown)
    assert found.frame.loc["run", "final_equity"] == found.real["final_equity"]


def test_result_shows_itself(result):
    """It prints the spread of drawdowns, where the run stands in it, and the chance of ruin."""
    found = monte_carlo(result, method="bootstrap", runs=100)
    for text in (repr(found), found._repr_html_()):
        assert "100 by bootstrap of" in text
        assert "percentile" in text
        assert "50% of the balance or below" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guess"}, "method must be 'shuffle' or 'bootstrap', was 'guess'"),
        ({"runs": 0}, "runs must be a whole number of 1 or more, was 0"),
        ({"block": 3}, "block must be 1 for a shuffle, was 3"),
        ({"method": "bootstrap", "block": 10**6}, "block must be at most the"),
        ({"ruin": 1.0}, "ruin must be from 0 to below 1, was 1.0"),
    ],
)
def test_refusals(result, options, message):
    """Numbers that mean nothing are refused with the remedy."""
    with pytest.raises(BadInput, match=message):
        monte_carlo(result, **options)


def test_too_few_trades_are_refused(ema_cross, year):
    """One trade has no order."""
    with pytest.raises(BadInput, match="trades must be at least 2, was 0"):
        monte_carlo(backtest(ema_cross(), year[:20]))

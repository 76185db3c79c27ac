"""Cross-validated choice among trials: against a plain reimplementation, on noise, and with a planted edge."""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.research.validation.overfitting import overfitting, probability_of_overfitting
from toolkit.research.validation.sharpe import deflated_sharpe, effective_trials, shape_of, sharpe_of


def plain_cscv(x, blocks, metric):
    """The procedure of the paper, word by word, with lists and loops."""
    width = len(x) // blocks
    x = x[len(x) - width * blocks :]
    parts = [x[k * width : (k + 1) * width] for k in range(blocks)]

    def performance(half):
        rows = np.concatenate([parts[k] for k in half])
        values = []
        for column in rows.T:
            deviation = column.std(ddof=1)
            if metric == "mean":
                values.append(float(column.mean()))
            else:
                values.append(float(column.mean() / deviation) if deviation > 1e-15 else 0.0)
        return values

    out = []
    for half in combinations(range(blocks), blocks // 2):
        inside = performance(half)
        outside = performance([k for k in range(blocks) if k not in half])
        best = int(np.argmax(inside))
        below = sum(v < outside[best] - 1e-13 for v in outside)
        ties = sum(abs(v - outside[best]) <= 1e-13 for v in outside)
        share = (below + (ties + 1) / 2) / (len(inside) + 1)
        out.append((best, inside[best], outside[best], math.log(share / (1 - share))))
    return out


@pytest.mark.parametrize("metric", ["sharpe", "mean"])
@pytest.mark.parametrize(("blocks", "rows", "trials"), [(2, 9, 3), (4, 43, 7), (6, 61, 5), (8, 64, 12), (10, 104, 4)])
def test_equals_the_plain_procedure(blocks, rows, trials, metric):
    """Every choice, performance and logit equals that of the loop, in the same order."""
    x = np.random.default_rng(blocks * rows).normal(0.02, 1.0, (rows, trials))
    found = probability_of_overfitting(x, blocks, metric)
    expected = plain_cscv(x, blocks, metric)
    assert found.chosen.tolist() == [e[0] for e in expected]
    assert found.in_sample == pytest.approx([e[1] for e in expected], rel=1e-9, abs=1e-12)
    assert found.out_of_sample == pytest.approx([e[2] for e in expected], rel=1e-9, abs=1e-12)
    assert found.logits == pytest.approx([e[3] for e in expected], rel=1e-12)
    assert found.rows_dropped == rows % blocks
    assert found.pbo == sum(e[3] <= 0 for e in expected) / len(expected)
    assert found.probability_of_loss == sum(e[2] < 0 for e in expected) / len(expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**9), st.integers(2, 9), st.sampled_from([2, 4, 6]))
def test_equals_the_plain_procedure_on_sparse_returns(seed, trials, blocks):
    """Sets that trade in some blocks only, never, or as copies of each other: ties and flat halves count the same way."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (blocks * 5, trials)) * np.repeat(rng.random((blocks, trials)) < 0.5, 5, axis=0)
    x[:, rng.integers(trials)] = 0.0
    x[:, -1] = x[:, 0]
    found = probability_of_overfitting(x, blocks)
    expected = plain_cscv(x, blocks, "sharpe")
    assert found.logits == pytest.approx([e[3] for e in expected], rel=1e-12)
    assert found.out_of_sample == pytest.approx([e[2] for e in expected], rel=1e-9, abs=1e-12)


def test_noise_is_overfit_half_of_the_time():
    """Among worthless trials the best in sample is above or below the median afterwards equally often."""
    found = [
        probability_of_overfitting(np.random.default_rng(seed).normal(0, 0.01, (240, 40)), 8).pbo for seed in range(60)
    ]
    assert 0.45 < np.mean(found) < 0.62  # a little above one half: halves that share no day lean apart
    assert np.std(found) > 0.05


def test_a_true_edge_is_not_overfit():
    """One trial that really earns is chosen in nearly every half and ends on top of the other."""
    x = np.random.default_rng(1).normal(0, 0.01, (480, 60))
    x[:, 17] += 0.004
    found = probability_of_overfitting(x)
    assert found.pbo < 0.01
    assert found.probability_of_loss < 0.01
    assert (found.chosen == 17).mean() > 0.95


def test_a_lucky_stretch_is_overfit():
    """Trials that each earned in one block only, and lose elsewhere, are chosen for it and end at the bottom."""
    rng = np.random.default_rng(2)
    x = rng.normal(0, 0.001, (160, 16))
    for k in range(16):
        x[k * 10 : (k + 1) * 10, k] += 0.02
        x[:, k] -= 0.02 / 16
    found = probability_of_overfitting(x)
    assert found.pbo > 0.95
    assert found.probability_of_loss > 0.95


def test_copies_end_exactly_at_the_median():
    """Equal trials tie to the last bit: the choice among them means nothing, and its logit is 0."""
    x = np.repeat(np.random.default_rng(3).normal(0, 1, (64, 1)), 5, axis=1)
    found = probability_of_overfitting(x, 8)
    assert found.logits.tolist() == [0.0] * 70
    assert found.pbo == 1.0


def test_order_of_trials_does_not_matter():
    """Shuffled columns give the same logits."""
    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, (80, 30))
    order = rng.permutation(30)
    assert (
        probability_of_overfitting(x[:, order], 8).logits.tolist() == probability_of_overfitting(x, 8).logits.tolist()
    )


def test_halves_are_symmetric():
    """Each choice's complement is there too: in-sample values of one side are ranks' basis of the other."""
    x = np.random.default_rng(5).normal(0, 1, (60, 2))
    found = probability_of_overfitting(x, 6)
    assert len(found.logits) == 20
    same = found.chosen == found.chosen[::-1]
    assert found.out_of_sample[same] == pytest.approx(found.in_sample[::-1][same], rel=1e-12)


def test_chunks_do_not_change_the_numbers(monkeypatch):
    """However many choices are worked on at once, every number is the same."""
    import toolkit.research.validation.overfitting as module

    x = np.random.default_rng(6).normal(0, 1, (100, 50))
    whole = probability_of_overfitting(x, 10)
    monkeypatch.setattr(module, "_CHUNK", 150)
    parts = probability_of_overfitting(x, 10)
    assert parts.logits.tolist() == whole.logits.tolist()
    assert parts.in_sample.tolist() == whole.in_sample.tolist()


def test_degradation_is_the_regression():
    """Slope, intercept and r squared are those of a least squares line."""
    found = probability_of_overfitting(np.random.default_rng(7).normal(0.1, 1, (96, 10)), 8)
    slope, intercept, r2 = found.degradation
    line = np.polyfit(found.in_sample, found.out_of_sample, 1)
    assert (slope, intercept) == (pytest.approx(line[0]), pytest.approx(line[1]))
    assert r2 == pytest.approx(np.corrcoef(found.in_sample, found.out_of_sample)[0, 1] ** 2)


def test_report_of_a_search_in_noise():
    """The winner of 300 worthless trials looks fine alone and is exposed by the count."""
    x = np.random.default_rng(8).normal(0, 0.01, (500, 300))
    found = overfitting(x)
    assert found.chosen == int(sharpe_of(x).argmax())
    assert found.sharpe == pytest.approx(sharpe_of(x).max() * math.sqrt(252))
    assert found.probabilistic > 0.95
    assert found.deflated < 0.9
    assert 0.3 < found.pbo < 0.8
    assert found.trials == 300


def test_report_adds_up():
    """Its numbers are those of the single functions, for a chosen column and a larger count of trials."""
    x = np.random.default_rng(9).normal(0.0005, 0.01, (260, 40))
    found = overfitting(x, chosen=3, trials=400, periods_per_year=260)
    sharpes = sharpe_of(x)
    skew, kurtosis = shape_of(x[:, 3])
    independent = effective_trials(x) * 10
    assert found.effective_trials == independent
    assert found.deflated == deflated_sharpe(
        float(sharpes[3]), 260, trials=independent, variance=float(sharpes.var(ddof=1)), skew=skew, kurtosis=kurtosis
    )
    assert found.pbo == probability_of_overfitting(x).pbo
    assert overfitting(x, chosen=3).deflated > found.deflated
    assert overfitting(x, chosen=3, trials=2).trials == 40


def test_report_of_an_edge():
    """A planted edge survives its own search."""
    x = np.random.default_rng(10).normal(0, 0.01, (750, 50))
    x[:, 5] += 0.003
    found = overfitting(x)
    assert (found.chosen, found.deflated > 0.99, found.pbo < 0.01) == (5, True, True)


def test_report_uses_fewer_blocks_on_little_data():
    """Twenty periods still give a cross-validation, with blocks of two or more."""
    found = overfitting(np.random.default_rng(11).normal(0, 1, (21, 5)))
    assert (found.validation.blocks, found.validation.rows_per_block) == (10, 2)


def test_facts_are_json():
    """What is stored with a version is plain JSON, also when a record can never be long enough."""
    found = overfitting(np.random.default_rng(12).normal(-0.01, 0.01, (60, 5)))
    assert json.loads(json.dumps(found.facts(), allow_nan=False))["years_needed"] == -1.0


def test_results_show_themselves():
    """Both results print their verdict in words."""
    found = overfitting(np.random.default_rng(13).normal(0, 1, (64, 5)))
    for text in (repr(found), found._repr_html_()):
        assert "5, worth" in text
    assert "12,870 choices of half of 16 blocks" in repr(found.validation)
    assert list(found.validation.frame.columns) == ["chosen", "in_sample", "out_of_sample", "logit"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probability_of_overfitting(np.ones((64, 3)), 7), "blocks must be an even number from 2 to 20, was 7"),
        (lambda: probability_of_overfitting(np.ones((64, 3)), 22), "blocks must be an even number"),
        (
            lambda: probability_of_overfitting(np.ones((20, 3))),
            r"at least 32 periods by 2 trials, was of shape \(20, 3\)",
        ),
        (lambda: probability_of_overfitting(np.ones((64, 1))), "by 2 trials"),
        (lambda: probability_of_overfitting(np.full((64, 3), np.inf)), "returns must be finite"),
        (lambda: probability_of_overfitting(np.ones((64, 3)), metric="calmar"), "metric must be 'sharpe' or 'mean'"),
        (lambda: overfitting(np.ones((64, 3)), chosen=3), "chosen must be a column from 0 to 2, was 3"),
    ],
)
def test_refusals(call, message):
    """What cannot be cross-validated is refused with the remedy."""
    with pytest.raises(BadInput, match=message):
        call()

"""Sharpe ratios with what makes them doubtful: few periods, odd returns, many tries.

Everything here works on returns of equal periods (days, say) and on Sharpe ratios *per period*, not a year: the
formulas' standard errors count observations. Sources, by the keys used below:

PSR  Bailey, Lopez de Prado: The Sharpe ratio efficient frontier. Journal of Risk 15(2), 2012.
DSR  Bailey, Lopez de Prado: The deflated Sharpe ratio. Journal of Portfolio Management 40(5), 2014.
BTL  Bailey, Borwein, Lopez de Prado, Zhu: Pseudo-mathematics and financial charlatanism. Notices of the AMS 61(5), 2014.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be

__all__ = [
    "deflated_sharpe",
    "effective_trials",
    "expected_maximum",
    "minimum_backtest_years",
    "minimum_track_record",
    "probabilistic_sharpe",
    "returns_table",
    "shape_of",
    "sharpe_from_sums",
    "sharpe_of",
]

Floats = npt.NDArray[np.float64]

_NORMAL = NormalDist()
_EULER = 0.57721566490153286
_DRAWN = 2_000_000  # random trials held at once
_NO_MOVE = 1e-14  # variance below this share of the mean square is rounding, not movement


def returns_table(returns: npt.ArrayLike, rows: int, columns: int) -> Floats:
    """Check a table of returns, one row a period and one column a trial, and return it as float64.

    Raises
    ------
    BadInput
        When it is smaller than ``rows`` by ``columns``, or not finite.
    """
    x = np.asarray(returns, np.float64)
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or x.shape[0] < rows or x.shape[1] < columns:
        raise BadInput(
            must_be(
                "returns",
                f"a table of at least {rows} periods by {columns} trials",
                f"of shape {x.shape}",
                "give one row a period and one column a trial",
            )
        )
    if not np.isfinite(x).all():
        raise BadInput(must_be("returns", "finite", "NaN or infinite somewhere", "write 0 for a period without return"))
    return x


def sharpe_of(returns: npt.ArrayLike) -> Floats:
    """Mean over sample deviation of each column, 0 where a column never moves (it earned nothing for no risk).

    Parameters
    ----------
    returns : array, shape (periods, trials)

    Returns
    -------
    ndarray, shape (trials,)
    """
    x = returns_table(returns, 2, 1)
    return sharpe_from_sums(x.sum(axis=0), np.einsum("tn,tn->n", x, x), len(x))


def sharpe_from_sums(sums: Floats, squares: Floats, n: int) -> Floats:
    """Sharpe ratios from sums and sums of squares of ``n`` returns each; 0 where nothing moves."""
    mean = sums / n
    variance = squares - mean * sums
    variance[variance <= _NO_MOVE * squares] = np.inf
    variance /= n - 1
    np.sqrt(variance, out=variance)
    mean /= variance
    return mean


def shape_of(returns: npt.ArrayLike) -> tuple[float, float]:
    """Skewness and kurtosis (3 for the normal distribution) of returns, from their central moments; 0 and 3 if flat."""
    x = np.asarray(returns, np.float64)
    centred = x - x.mean()
    second = float((centred**2).mean())
    if second <= _NO_MOVE * float((x**2).mean()):
        return 0.0, 3.0
    return float((centred**3).mean()) / second**1.5, float((centred**4).mean()) / second**2


def _spread(sharpe: float, skew: float, kurtosis: float) -> float:
    """Variance of the Sharpe estimate times (observations - 1): PSR, from Mertens' asymptotic distribution."""
    if not all(map(math.isfinite, (sharpe, skew, kurtosis))):
        raise BadInput(
            must_be("sharpe, skew and kurtosis", "finite", (sharpe, skew, kurtosis), "leave flat series out")
        )
    least = skew * skew + 1.0
    if kurtosis < least - 1e-9:
        raise BadInput(
            must_be("kurtosis", f"at least skew**2 + 1 = {least:.4g}", kurtosis, "give it not in excess of 3")
        )
    # (1 - skew * sharpe / 2)**2 or more by the check above; 0 only for two-valued returns
    return max(1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe, 1e-300)


def probabilistic_sharpe(
    sharpe: float, observations: int, *, benchmark: float = 0.0, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Probability that the true Sharpe ratio exceeds a benchmark (PSR, "probabilistic Sharpe ratio").

    ``Z((sharpe - benchmark) sqrt(observations - 1) / sqrt(1 - skew sharpe + (kurtosis - 1) / 4 sharpe**2))``

    Parameters
    ----------
    sharpe, benchmark
        Estimate and benchmark, per period.
    observations
        Number of periods the estimate is from.
    skew, kurtosis
        Of the returns; kurtosis not in excess (normal: 3).

    Raises
    ------
    BadInput
        When there are fewer than 2 observations, or no returns can have this skew and kurtosis.
    """
    if observations < 2:
        raise BadInput(must_be("observations", "at least 2", observations, "take more or shorter periods"))
    z = (sharpe - benchmark) * math.sqrt(observations - 1) / math.sqrt(_spread(sharpe, skew, kurtosis))
    return _NORMAL.cdf(z)


def minimum_track_record(
    sharpe: float, *, benchmark: float = 0.0, skew: float = 0.0, kurtosis: float = 3.0, confidence: float = 0.95
) -> float:
    """Observations needed before the Sharpe ratio exceeds the benchmark with this confidence (PSR, "minimum track record").

    Infinite when the estimate does not exceed the benchmark at all.
    """
    if not 0.5 < confidence < 1.0:
        raise BadInput(must_be("confidence", "above 0.5 and below 1", confidence, "write 0.95"))
    spread = _spread(sharpe, skew, kurtosis)
    if sharpe <= benchmark:
        return math.inf
    return 1.0 + spread * (_NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


def expected_maximum(trials: float) -> float:
    """Expected maximum of independent standard normal trials, by extreme value theory (BTL, proposition 1; DSR, eq. 1).

    ``(1 - g) z(1 - 1/n) + g z(1 - 1/(n e))`` with the normal quantile z and Euler's constant g. The approximation is for
    many trials; below 2 the line from 0 at one trial to its value at two is taken.
    """
    if not trials >= 1:
        raise BadInput(must_be("trials", "at least 1", trials, "count the set that was chosen, too"))
    if trials < 2:
        return (trials - 1.0) * expected_maximum(2)
    quantile = _NORMAL.inv_cdf
    # by symmetry z(1 - p) = -z(p), exact also where 1 - p rounds to 1
    return -(1.0 - _EULER) * quantile(1.0 / trials) - _EULER * quantile(1.0 / (trials * math.e))


def deflated_sharpe(
    sharpe: float,
    observations: int,
    *,
    trials: float,
    variance: float,
    skew: float = 0.0,
    kurtosis: float = 3.0,
) -> float:
    """Probability that the true Sharpe ratio is above 0 although the best of many trials was taken (DSR, eq. 2).

    The probabilistic Sharpe ratio against the maximum that luck alone is expected to reach:
    ``sqrt(variance) * expected_maximum(trials)``.

    Parameters
    ----------
    sharpe, observations, skew, kurtosis
        Of the chosen trial, per period.
    trials
        Number of independent trials, see `effective_trials`.
    variance
        Variance of the trials' Sharpe ratios, per period.
    """
    if not (variance >= 0.0 and math.isfinite(variance)):
        raise BadInput(must_be("variance", "0 or more", variance, "take the variance of the trials' Sharpe ratios"))
    luck = math.sqrt(variance) * expected_maximum(trials)
    return probabilistic_sharpe(sharpe, observations, benchmark=luck, skew=skew, kurtosis=kurtosis)


def minimum_backtest_years(trials: float, sharpe: float = 1.0) -> float:
    """Years of data below which the best of independent worthless trials is expected to show this yearly Sharpe ratio.

    ``(expected_maximum(trials) / sharpe) ** 2`` (BTL, theorem 2).
    """
    if sharpe <= 0:
        raise BadInput(must_be("sharpe", "above 0", sharpe, "give the yearly Sharpe ratio you would trust"))
    return (expected_maximum(trials) / sharpe) ** 2


def effective_trials(
    returns: npt.ArrayLike,
    method: Literal["maximum", "correlation"] = "maximum",
    *,
    draws: int = 2_000,
    seed: int = 0,
) -> float:
    """Number of independent trials that give luck as much room as these correlated ones.

    ``"maximum"`` (default; ours): worthless trials with the correlations found here are drawn, by weighing the periods
    with random normal numbers, whatever the form of the correlations. The answer is the number whose `expected_maximum`
    equals the average maximum in units of the trials' own deviation, which is the product `deflated_sharpe` uses.
    ``"correlation"``: ``r + (1 - r) m`` for m trials of average correlation r (DSR, appendix), exact when all pairs
    correlate alike, and far too many for a fine grid of near copies.

    Parameters
    ----------
    returns : array, shape (periods, trials)
        Columns that never move are left out: a set that never trades cannot win by luck.
    draws, seed
        Of the random weights; 2,000 draws know the number to about 3 %.
    """
    if method not in ("maximum", "correlation"):
        raise BadInput(must_be("method", "'maximum' or 'correlation'", repr(method), "leave it out"))
    x = returns_table(returns, 3, 1)
    x = x - x.mean(axis=0)
    size = np.sqrt(np.einsum("tn,tn->n", x, x))
    moves = size > 1e-12 * float(size.max())
    x = x[:, moves] / size[moves]
    count = x.shape[1]
    if count < 2:
        return 1.0
    if method == "correlation":
        total = float((x.sum(axis=1) ** 2).sum())  # the sum of all correlations, the ones of the diagonal included
        average: float = (total - count) / (count * (count - 1.0))
        return float(min(count, max(1.0, average + (1.0 - average) * count)))
    rng = np.random.default_rng(seed)
    best, spread = 0.0, 0.0
    rows = max(1, _DRAWN // count)
    for first in range(0, draws, rows):
        z = rng.standard_normal((min(rows, draws - first), len(x))) @ x
        best += float(z.max(axis=1).sum() - z.min(axis=1).sum()) / 2.0  # a draw and its mirror image are equally likely
        spread += float(z.var(axis=1, ddof=1).sum())
    if spread <= 1e-12 * draws:
        return 1.0
    wanted: float = best / draws / math.sqrt(spread / draws)
    if wanted >= expected_maximum(count):
        return float(count)
    low, high = 1.0, float(count)
    while high - low > 1e-9 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if expected_maximum(middle) < wanted else (low, middle)
    return (low + high) / 2.0

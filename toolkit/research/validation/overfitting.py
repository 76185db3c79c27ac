"""How likely the best of many backtests is the best by luck: cross-validated choice and deflated Sharpe ratio.

CSCV  Bailey, Borwein, Lopez de Prado, Zhu: The probability of backtest overfitting. Journal of Computational Finance
      20(4), 2017 (preprint 2015). The formulas for Sharpe ratios and their sources: `toolkit.research.validation.sharpe`.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be
from toolkit.research.validation.sharpe import (
    deflated_sharpe,
    effective_trials,
    expected_maximum,
    minimum_track_record,
    probabilistic_sharpe,
    returns_table,
    shape_of,
    sharpe_from_sums,
    sharpe_of,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CrossValidation", "Overfitting", "overfitting", "probability_of_overfitting"]

Floats = npt.NDArray[np.float64]
Metric = Literal["sharpe", "mean"]

_CHUNK = 32_768  # numbers in one work array: several of them stay in a core's cache
_GROUP = 4  # blocks whose subsets are summed beforehand


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """Combinatorially symmetric cross-validation of a choice among trials.

    Attributes
    ----------
    blocks, rows_per_block, rows_dropped, trials
        Shape of what was done; the oldest rows that do not fill a block are dropped.
    chosen : int64 (c,)
        Column that was best in sample, for every choice of half the blocks, in lexicographic order.
    in_sample, out_of_sample : float64 (c,)
        Its performance per period in the chosen half and in the other one.
    logits : float64 (c,)
        ``log(w / (1 - w))`` of its relative rank ``w = rank / (trials + 1)`` out of sample; 0 is the median.
    """

    blocks: int
    rows_per_block: int
    rows_dropped: int
    trials: int
    metric: str
    chosen: npt.NDArray[np.int64]
    in_sample: Floats
    out_of_sample: Floats
    logits: Floats

    @property
    def pbo(self) -> float:
        """Probability of backtest overfitting: share of choices that end at or below the median out of sample."""
        return float((self.logits <= 0.0).mean())

    @property
    def probability_of_loss(self) -> float:
        """Share of choices with a performance below 0 out of sample."""
        return float((self.out_of_sample < 0.0).mean())

    @property
    def degradation(self) -> tuple[float, float, float]:
        """Slope, intercept and r squared of out-of-sample on in-sample performance; NaN when one of them never varies.

        A negative slope: the better a choice looked, the worse it did. Halves that share no period make the slope lean
        below 0 when all trials are alike, so it is to be read with ``pbo``, not alone.
        """
        x, y = self.in_sample - self.in_sample.mean(), self.out_of_sample - self.out_of_sample.mean()
        xx, xy, yy = float(x @ x), float(x @ y), float(y @ y)
        if xx <= 0.0 or yy <= 0.0:
            return math.nan, math.nan, math.nan
        slope = xy / xx
        return slope, float(self.out_of_sample.mean() - slope * self.in_sample.mean()), xy * xy / (xx * yy)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a choice: chosen, in_sample, out_of_sample, logit."""
        import pandas as pd

        columns = {"chosen": self.chosen, "in_sample": self.in_sample}
        return pd.DataFrame({**columns, "out_of_sample": self.out_of_sample, "logit": self.logits})

    def plot(self, **options: Any) -> Any:
        """Logits and degradation as HoloViews; see `toolkit.research.pictures.validation_plots`."""
        from toolkit.research.pictures.validation_plots import overfitting_view

        return overfitting_view(self, **options)

    def __repr__(self) -> str:
        slope = self.degradation[0]
        return (
            f"Cross-validation of {self.trials:,} trials, {len(self.logits):,} choices of half of {self.blocks} blocks\n"
            f"  probability of overfitting {self.pbo:.1%} (the best in sample ends at or below the median)\n"
            f"  probability of loss        {self.probability_of_loss:.1%} out of sample\n"
            f"  degradation                slope {slope:.2f} of out-of-sample on in-sample performance"
        )


def probability_of_overfitting(returns: npt.ArrayLike, blocks: int = 16, metric: Metric = "sharpe") -> CrossValidation:
    """Split time into blocks, choose the best trial on every half of them, and see where it ranks on the other (CSCV).

    Parameters
    ----------
    returns : array, shape (periods, trials)
        Returns of all trials of the search over the same periods, the losers included.
    blocks
        Even number of blocks; 16 gives 12,870 choices.
    metric
        ``"sharpe"`` or ``"mean"``, per period.

    Returns
    -------
    CrossValidation
        ``.pbo``, ``.probability_of_loss``, ``.degradation``, ``.logits``.

    Raises
    ------
    BadInput
        When the matrix is not finite, has fewer than 2 trials or 2 rows a block, or ``blocks`` is odd or above 20.
    """
    if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks % 2 or not 2 <= blocks <= 20:
        raise BadInput(must_be("blocks", "an even number from 2 to 20", repr(blocks), "16 is the paper's choice"))
    if metric not in ("sharpe", "mean"):
        raise BadInput(must_be("metric", "'sharpe' or 'mean'", repr(metric), "leave it out"))
    x = returns_table(returns, 2 * blocks, 2)
    dropped = len(x) % blocks
    width = len(x) // blocks
    count = x.shape[1]
    parts = x[dropped:].reshape(blocks, width, count)
    sums = parts.sum(axis=1)
    squares = np.einsum("bwn,bwn->bn", parts, parts)
    half = width * blocks // 2

    of_sums, of_squares = _subset_sums(sums), _subset_sums(squares)

    def performance(keys: npt.NDArray[np.int64]) -> Floats:
        if metric == "mean":
            return _picked(of_sums, keys) / half
        return sharpe_from_sums(_picked(of_sums, keys), _picked(of_squares, keys), half)

    total = math.comb(blocks, blocks // 2)
    chosen = np.empty(total, np.int64)
    inside, outside, logits = np.empty(total), np.empty(total), np.empty(total)
    # in lexicographic order the other half of choice i is choice total - 1 - i: each performance is computed once
    keys = _halves(blocks)
    every = np.array([len(table) - 1 for table in of_sums])
    rows = max(1, _CHUNK // count)
    for first in range(0, len(keys), rows):
        some = keys[first : first + rows]
        here = np.arange(first, first + len(some))
        mine, others = performance(some), performance(every - some)
        for at, seen, unseen in ((here, mine, others), (total - 1 - here, others, mine)):
            best = seen.argmax(axis=1)
            row = np.arange(len(best))
            got = unseen[row, best]
            below = np.count_nonzero(unseen < got[:, None], axis=1)
            ties = np.count_nonzero(unseen == got[:, None], axis=1)
            share = (below + (ties + 1) / 2.0) / (count + 1.0)
            chosen[at], inside[at], outside[at] = best, seen[row, best], got
            logits[at] = np.log(share / (1.0 - share))
    return CrossValidation(blocks, width, dropped, count, metric, chosen, inside, outside, logits)


def _subset_sums(blocks: Floats) -> list[Floats]:
    """Sums over every subset of each four blocks in turn: the sum of half the blocks is then a few rows added up.

    Unlike a matrix product it adds in one order, so that equal columns stay equal to the last bit.
    """
    tables = []
    for first in range(0, len(blocks), _GROUP):
        some = blocks[first : first + _GROUP]
        table = np.zeros((1 << len(some), blocks.shape[1]))
        for subset in range(1, len(table)):
            lowest = subset & -subset
            table[subset] = table[subset - lowest] + some[lowest.bit_length() - 1]
        tables.append(table)
    return tables


def _picked(tables: list[Floats], keys: npt.NDArray[np.int64]) -> Floats:
    out: Floats = tables[0][keys[:, 0]]
    for k, table in enumerate(tables[1:], 1):
        out += table[keys[:, k]]
    return out


def _halves(blocks: int) -> npt.NDArray[np.int64]:
    """Choices of half the blocks that hold block 0, in lexicographic order: the subset taken of each group of four."""
    picks = np.array(list(combinations(range(1, blocks), blocks // 2 - 1)), np.int64)
    picks = np.column_stack([np.zeros(max(1, len(picks)), np.int64), picks.reshape(max(1, len(picks)), -1)])
    keys = np.zeros((len(picks), -(-blocks // _GROUP)), np.int64)
    for column in picks.T:
        keys[np.arange(len(picks)), column // _GROUP] += 1 << column % _GROUP
    return keys


_FACTS = (
    *("trials", "effective_trials", "periods", "periods_per_year", "sharpe", "luck", "probabilistic", "deflated"),
    *("skew", "kurtosis", "years_needed", "pbo", "probability_of_loss"),
)


@dataclass(frozen=True, slots=True)
class Overfitting:
    """What a search's result is worth after the search is taken into account; Sharpe ratios are a year's.

    Attributes
    ----------
    chosen
        Column of the trial that is judged.
    trials, effective_trials
        Tries counted, and the independent tries they amount to.
    periods, periods_per_year
        Returns used.
    sharpe, luck
        Sharpe ratio of the chosen trial, and the one the best of so many worthless trials is expected to show.
    probabilistic, deflated
        Probability that the true Sharpe ratio is above 0: as if it were the only try, and after all of them.
    skew, kurtosis
        Of the chosen trial's returns (kurtosis 3: normal).
    years_needed
        Track record needed for 95 % confidence that the true Sharpe ratio is above 0, the search not considered.
    validation
        The cross-validated choice.
    """

    chosen: int
    trials: int
    effective_trials: float
    periods: int
    periods_per_year: float
    sharpe: float
    luck: float
    probabilistic: float
    deflated: float
    skew: float
    kurtosis: float
    years_needed: float
    validation: CrossValidation

    @property
    def pbo(self) -> float:
        """Probability of backtest overfitting, see `CrossValidation`."""
        return self.validation.pbo

    @property
    def probability_of_loss(self) -> float:
        """Share of cross-validated choices that lost out of sample."""
        return self.validation.probability_of_loss

    def facts(self) -> dict[str, float]:
        """Return the numbers as plain JSON data, to be stored with a version (an infinite one as -1)."""
        values = {name: float(getattr(self, name)) for name in _FACTS}
        return {name: value if math.isfinite(value) else -1.0 for name, value in values.items()}

    def plot(self, **options: Any) -> Any:
        """Same as ``validation.plot()``."""
        return self.validation.plot(**options)

    def _lines(self) -> list[tuple[str, str]]:
        years = self.periods / self.periods_per_year
        return [
            ("tries", f"{self.trials:,}, worth {self.effective_trials:,.0f} independent ones"),
            ("sharpe", f"{self.sharpe:.2f} a year; luck alone: {self.luck:.2f} for the best of so many"),
            ("deflated", f"{self.deflated:.1%} that there is any edge ({self.probabilistic:.1%} were it the only try)"),
            ("overfit", f"{self.pbo:.1%} that the best of a search is no better than the median afterwards"),
            ("loss", f"{self.probability_of_loss:.1%} that it loses afterwards"),
            ("record", f"{years:.1f} years; {self.years_needed:.1f} needed for 95 % were it the only try"),
        ]

    def __repr__(self) -> str:
        return "Overfitting\n" + "\n".join(f"  {name:9} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><th {left}>{name}</th><td {left}>{html.escape(text)}</td></tr>" for name, text in self._lines()
        )
        return f"<table><caption>Overfitting</caption>{rows}</table>"


def overfitting(
    returns: npt.ArrayLike,
    *,
    chosen: int | None = None,
    trials: int | None = None,
    periods_per_year: float = 252.0,
    blocks: int = 16,
) -> Overfitting:
    """Judge the result of a search by the returns of everything it tried.

    Parameters
    ----------
    returns : array, shape (periods, trials)
        Daily returns, say, of every trial over the same periods.
    chosen
        Column of the trial to judge; the one with the highest Sharpe ratio when left out.
    trials
        Tries made in all when there were more than columns (``tk.trials().on(bars)``); the others are taken to be as
        much alike as these. Fewer than columns is not believed.
    periods_per_year
        For the yearly figures.
    blocks
        Of the cross-validation; less when there are too few periods for it (at least 2 rows a block).

    Raises
    ------
    BadInput
        When there are fewer than 8 periods or 2 trials, something is not finite, or ``chosen`` is no column.
    """
    x = returns_table(returns, 8, 2)
    periods, count = x.shape
    sharpes = sharpe_of(x)
    best = int(sharpes.argmax()) if chosen is None else int(chosen)
    if not 0 <= best < count:
        raise BadInput(must_be("chosen", f"a column from 0 to {count - 1}", chosen, "leave it out for the best one"))
    counted = max(count, trials or 0)
    independent = max(1.0, effective_trials(x) * counted / count)
    variance = float(sharpes.var(ddof=1))
    mine = float(sharpes[best])
    skew, kurtosis = shape_of(x[:, best])
    yearly = math.sqrt(periods_per_year)
    return Overfitting(
        chosen=best,
        trials=counted,
        effective_trials=independent,
        periods=periods,
        periods_per_year=periods_per_year,
        sharpe=mine * yearly,
        luck=math.sqrt(variance) * expected_maximum(independent) * yearly,
        probabilistic=probabilistic_sharpe(mine, periods, skew=skew, kurtosis=kurtosis),
        deflated=deflated_sharpe(mine, periods, trials=independent, variance=variance, skew=skew, kurtosis=kurtosis),
        skew=skew,
        kurtosis=kurtosis,
        years_needed=minimum_track_record(mine, skew=skew, kurtosis=kurtosis) / periods_per_year,
        validation=probability_of_overfitting(x, min(blocks, periods // 2 // 2 * 2)),
    )

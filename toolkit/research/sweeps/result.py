"""What a sweep found, and what speaks against it: edges, slopes, neighbourhoods, luck."""

from __future__ import annotations

import html
import itertools
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be
from toolkit.market import money_digits
from toolkit.research.portfolio import JointSetup, run_joint
from toolkit.research.setup import Setup
from toolkit.research.stats import DEFINITIONS, STATISTICS, statistics_of_many
from toolkit.research.sweeps.engine import KEPT, Outcome
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.research.portfolio_result import PortfolioResult
    from toolkit.research.result import BacktestResult
    from toolkit.research.validation.overfitting import Overfitting

__all__ = ["HIGHER_IS_BETTER", "SweepResult"]

STEEP = 0.5  # a neighbour this share of the whole range away from the best is a slope


def HIGHER_IS_BETTER(metric: str) -> bool:  # noqa: N802 - reads as the constant it stands for
    """Whether more of a statistic is better; refuses a name that is none."""
    if metric not in DEFINITIONS:
        raise BadInput(must_be("metric", "one of " + ", ".join(STATISTICS), repr(metric), "pick one of these"))
    return metric not in ("max_drawdown", "skipped")


class SweepResult:
    """Result of ``tk.sweep``.

    Attributes
    ----------
    results : DataFrame
        One row a set: its parameters, then every statistic of `toolkit.research.stats.DEFINITIONS`.
    axes : dict of str to list
        The grid.
    complete : bool
        False when the sweep was interrupted; ``results`` then holds the sets that were done, and
        ``tk.sweep(..., resume=it)`` runs the others.
    sets : list of dict
        Parameter values of the sets that were done.
    rows, outcome
        Where each of them is in the compact results.
    """

    def __init__(
        self,
        spec: StrategySpec,
        setup: Setup | JointSetup,
        axes: dict[str, list[Any]],
        sets: list[dict[str, Any]],
        out: Outcome,
        *,
        complete: bool,
        sampled: bool,
    ) -> None:
        self.spec = spec
        self.setup = setup
        self.axes = axes
        self.complete = complete
        self.sampled = sampled
        rows = np.flatnonzero(out.done)
        self.rows = rows
        self.sets = [sets[i] for i in rows]
        self.outcome = out

    def __len__(self) -> int:
        return len(self.sets)

    @cached_property
    def results(self) -> pd.DataFrame:
        """Parameters and statistics, one row a set, in the order of the grid."""
        import pandas as pd

        out, setup = self.outcome, self.setup
        bars, days, span = len(setup.ts), setup.days, setup.span_ns
        digits = money_digits(setup.account.currency)
        kept = out.totals[self.rows].T
        cells = dict(zip(KEPT, kept, strict=True))
        columns = statistics_of_many(cells, out.moments[self.rows].T, out.final[self.rows], bars, days, span, digits)
        params = {name: [s[name] for s in self.sets] for name in self.axes}
        return pd.DataFrame({**params, **columns})

    @property
    def daily_returns(self) -> npt.NDArray[np.float64]:
        """Returns of every set between the kept day ends, float64 (days, sets)."""
        daily = self.outcome.daily[self.rows].astype(np.float64)
        before = np.concatenate(
            [np.full((len(daily), 1), float(self.setup.account.balance_minor)), daily[:, :-1]], axis=1
        )
        change = np.divide(daily - before, before, out=np.zeros_like(daily), where=before > 0)
        return np.ascontiguousarray(change.T)

    @cached_property
    def overfitting(self) -> Overfitting:
        """What the best Sharpe ratio is worth after all the trials of this session on these bars; 8 days at least."""
        from toolkit.research.stats import YEAR_NS
        from toolkit.research.validation.overfitting import overfitting
        from toolkit.research.validation.trial_count import trials

        returns, years = self.daily_returns, self.setup.span_ns / YEAR_NS
        return overfitting(returns, trials=trials().on(self.setup.given), periods_per_year=len(returns) / years)

    def best(self, metric: str = "sharpe") -> pd.Series[Any]:
        """The row of the set with the best value of a statistic; mind `warnings` and `plateau` before believing it."""
        return self.results.iloc[self._best_row(metric)]

    def _scores(self, metric: str) -> npt.NDArray[np.float64]:
        """The statistic, signed so that more is better; NaN where it is not known."""
        sign = 1.0 if HIGHER_IS_BETTER(metric) else -1.0
        return sign * self.results[metric].to_numpy(np.float64)

    def _best_row(self, metric: str) -> int:
        scores = self._scores(metric)
        if not np.isfinite(scores).any():
            raise BadInput(must_be(metric, "known for at least one set", "NaN everywhere", "the sets made no trades"))
        return int(np.nanargmax(np.where(np.isinf(scores), np.nan, scores)))

    def backtest(self, row: int) -> BacktestResult | PortfolioResult:
        """Run one set again with trades and equity; its statistics are those of the row."""
        from toolkit.research.backtest import run_spec

        spec = self.spec.with_params(self.sets[row])
        return run_spec(spec, self.setup) if isinstance(self.setup, Setup) else run_joint(spec, self.setup)

    def _positions(self) -> npt.NDArray[np.int64]:
        """Place of every set on each axis, (sets, axes)."""
        places = {name: {v: k for k, v in enumerate(values)} for name, values in self._sorted_axes.items()}
        return np.array([[places[name][s[name]] for name in self.axes] for s in self.sets], np.int64)

    @cached_property
    def _sorted_axes(self) -> dict[str, list[Any]]:
        numeric = {n: self.spec.params[n].type != "choice" for n in self.axes}
        return {n: sorted(v) if numeric[n] else list(v) for n, v in self.axes.items()}

    def _cube(self, metric: str) -> npt.NDArray[np.float64]:
        """Scores on the grid, NaN where a set was not run."""
        cube = np.full([len(v) for v in self._sorted_axes.values()], np.nan)
        cube[tuple(self._positions().T)] = self._scores(metric)
        return cube

    def plateau(self, metric: str = "sharpe") -> pd.DataFrame:
        """Sets by the mean of the statistic over their neighbourhood on the grid, best first.

        A neighbourhood is the set and the sets one step away along any axes, diagonals included; where fewer than half of
        the possible neighbours are known, the set is left out. ``worst_neighbour`` shows how far it falls.
        """
        cube = self._cube(metric)
        total = np.zeros_like(cube)
        count = np.zeros_like(cube)
        worst = np.full_like(cube, np.inf)
        possible = np.zeros_like(cube)
        padded = np.pad(cube, 1, constant_values=np.nan)
        inside = np.pad(np.ones_like(cube), 1)
        for step in itertools.product((0, 1, 2), repeat=cube.ndim):
            window = tuple(slice(s, s + n) for s, n in zip(step, cube.shape, strict=True))
            values = padded[window]
            known = np.isfinite(values)
            total += np.where(known, values, 0.0)
            count += known
            worst = np.minimum(worst, np.where(known, values, np.inf))
            possible += inside[window]
        sign = 1.0 if HIGHER_IS_BETTER(metric) else -1.0
        at = tuple(self._positions().T)
        enough = (count[at] * 2 >= possible[at]) & np.isfinite(cube[at])
        mean = np.divide(total, count, out=np.full_like(cube, np.nan), where=count > 0)
        table = self.results[[*self.axes, metric]].copy()
        table["neighbourhood"] = sign * mean[at]
        table["worst_neighbour"] = sign * worst[at]
        table["neighbours"] = count[at].astype(int) - 1
        ordered: pd.DataFrame = table[enough].sort_values("neighbourhood", ascending=sign < 0, kind="stable")
        return ordered

    def warnings(self, metric: str = "sharpe") -> list[str]:
        """What speaks against the best set, in words: it lies at an edge of the grid, or on a slope, or alone."""
        row = self._best_row(metric)
        place = self._positions()[row]
        cube = self._cube(metric)
        spread = float(np.nanmax(cube) - np.nanmin(cube))
        best = float(cube[tuple(place)])
        found = []
        for axis, (name, values) in enumerate(self._sorted_axes.items()):
            if len(values) > 1 and self.spec.params[name].type != "choice":
                if place[axis] in (0, len(values) - 1):
                    end = "lower" if place[axis] == 0 else "upper"
                    found.append(f"{name}={values[place[axis]]} is at the {end} edge of the grid: widen it")
                for step in (-1, 1):
                    beside = place.copy()
                    beside[axis] += step
                    if 0 <= beside[axis] < len(values) and spread > 0:
                        fall = (best - float(cube[tuple(beside)])) / spread
                        if fall > STEEP:
                            found.append(
                                f"{name}={values[beside[axis]]} beside the best loses {fall:.0%} of the range of {metric}: "
                                "the best stands on a slope"
                            )
        if not self.complete:
            found.append(f"the sweep was interrupted: {len(self):,} sets of it are done")
        trades = int(self.results["trades"].iloc[row])
        if trades < 30:
            found.append(f"the best set made {trades} trades: too few to tell skill from luck")
        return found

    def heatmap(self, x: str, y: str, metric: str = "sharpe", *, width: int = 640, height: int = 460) -> Any:
        """A statistic over two parameters as a HoloViews heat map; other parameters are averaged over."""
        from toolkit.research.pictures.plots import sweep_heatmap

        for name in (x, y):
            if name not in self.axes:
                raise BadInput(must_be("axis", "one of " + ", ".join(self.axes), repr(name), "name a swept parameter"))
        HIGHER_IS_BETTER(metric)
        return sweep_heatmap(self.results, x, y, metric, width=width, height=height)

    def _lines(self) -> list[tuple[str, str]]:
        axes = self.axes
        grid = ", ".join(f"{n} {len(v)} values" for n, v in axes.items())
        lines = [
            ("strategy", self.spec.name),
            ("bars", self.setup.words),
            ("sets", f"{len(self):,} ({grid}{', sampled' if self.sampled else ''})"),
        ]
        if len(self) and np.isfinite(self._scores("sharpe")).any():
            best = self.best("sharpe")
            chosen = ", ".join(f"{n}={best[n]}" for n in axes)
            lines.append(("best", f"{chosen}: sharpe {best['sharpe']:.2f}, return {best['total_return']:+.2%}"))
            lines += [("beware", text) for text in self.warnings("sharpe")]
        return lines

    def __repr__(self) -> str:
        return "Sweep\n" + "\n".join(f"  {name:9} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{html.escape(n)}</th><td>{html.escape(t)}</td></tr>" for n, t in self._lines())
        return f"<table><caption>Sweep</caption>{rows}</table>"

"""What else the trades of a run could have done: the same trades in other orders, or drawn again with replacement.

*Shuffle* keeps every trade and changes the order: the end stays, the way there does not. It asks how much of the drawdown
was a matter of order. *Bootstrap* draws trades with replacement (Efron 1979): the end varies too. It asks how far luck in
the sample reaches. Both take trades as independent of what came before; where wins and losses come in streaks, ``block``
draws stretches of consecutive trades instead (circular block bootstrap, Politis and Romano 1992).

Everything is measured at the closes of trades. A drawdown inside a trade is not seen here, so the run's own figure that the
others are compared with is also taken at the closes, and is smaller than ``bt.stats["max_drawdown"]``.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be
from toolkit.market import money_digits
from toolkit.research.validation.walk_forward_result import WalkForward
from toolkit.strategy.authoring.sections import Lots

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.research.portfolio_result import PortfolioResult
    from toolkit.research.result import BacktestResult

__all__ = ["MonteCarlo", "monte_carlo", "resampled"]

Floats = npt.NDArray[np.float64]
Method = Literal["shuffle", "bootstrap"]

LEVELS = (1, 5, 25, 50, 75, 95, 99)
_CHUNK = 500_000  # numbers in one work array
_BAND_POINTS = 200


@dataclass(frozen=True, slots=True, eq=False)
class MonteCarlo:
    """Result of ``tk.monte_carlo``; money in the account currency, drawdowns as shares of the peak.

    Attributes
    ----------
    method, runs, seed, block, compounding
        What was done.
    trades, balance, currency
        Number of trades of the run, and what it began with.
    ruin
        Share of the opening balance at or below which a path counts as ruined.
    final_equity, max_drawdown, lowest_equity : float64 (runs,)
        End, largest fall from a peak, and lowest point of every path.
    real : dict
        The same three of the run itself.
    band_at : int64 (points,)
        Numbers of trades after which ``band`` is known.
    band : float64 (7, points)
        Percentiles 1, 5, 25, 50, 75, 95, 99 of equity over the paths.
    real_path : float64 (points,)
        The run's own equity there.
    """

    method: str
    runs: int
    seed: int
    block: int
    compounding: bool
    trades: int
    balance: float
    currency: str
    ruin: float
    final_equity: Floats
    max_drawdown: Floats
    lowest_equity: Floats
    real: dict[str, float]
    band_at: npt.NDArray[np.int64]
    band: Floats
    real_path: Floats

    @property
    def probability_of_ruin(self) -> float:
        """Share of paths that touch ``ruin`` times the opening balance, or less."""
        return float((self.lowest_equity <= self.ruin * self.balance).mean())

    @property
    def probability_of_loss(self) -> float:
        """Share of paths that end below the opening balance."""
        return float((self.final_equity < self.balance).mean())

    def percentile(self, what: str) -> float:
        """Return the share of paths (0 to 1, ties by half) below the run's own value: 0.02 of drawdown is a lucky order.

        Parameters
        ----------
        what
            ``"final_equity"``, ``"max_drawdown"`` or ``"lowest_equity"``.
        """
        if what not in self.real:
            raise BadInput(must_be("what", "one of " + ", ".join(self.real), repr(what), "name one of these"))
        values, own = getattr(self, what), self.real[what]
        near = np.abs(values - own) <= 1e-9 * max(abs(own), 1e-300)  # the same trades added in another order
        return float(((values < own) & ~near).mean() + near.mean() / 2.0)

    @property
    def frame(self) -> pd.DataFrame:
        """Percentiles of the three measures, one row a percentile, then the run's own values and their percentile."""
        import pandas as pd

        columns = {name: [float(v) for v in np.percentile(getattr(self, name), LEVELS)] for name in self.real}
        rows = pd.DataFrame(columns, index=[f"{level}%" for level in LEVELS])
        rows.loc["run"] = [self.real[name] for name in self.real]
        rows.loc["run's percentile"] = [100.0 * self.percentile(name) for name in self.real]
        return rows

    def plot(self, **options: Any) -> Any:
        """Bands of equity by trade with the run's own path, and the distribution of drawdowns, as HoloViews."""
        from toolkit.research.pictures.validation_plots import monte_carlo_view

        return monte_carlo_view(self, **options)

    def _lines(self) -> list[tuple[str, str]]:
        low, middle, high = np.percentile(self.max_drawdown, (5, 50, 95))
        how = "compounding" if self.compounding else "fixed money"
        lines = [
            ("paths", f"{self.runs:,} by {self.method} of {self.trades:,} trades, {how}, seed {self.seed}"),
            (
                "drawdown",
                f"{middle:.1%} in the middle, {low:.1%} to {high:.1%} in 9 of 10; the run had "
                f"{self.real['max_drawdown']:.1%} (percentile {100 * self.percentile('max_drawdown'):.0f})",
            ),
            ("ruin", f"{self.probability_of_ruin:.1%} fall to {self.ruin:.0%} of the balance or below"),
        ]
        if self.method == "bootstrap":
            low, middle, high = np.percentile(self.final_equity, (5, 50, 95))
            money = f"{middle:,.0f} in the middle, {low:,.0f} to {high:,.0f} {self.currency} in 9 of 10"
            lines.insert(1, ("end", f"{money}; {self.probability_of_loss:.1%} lose"))
        return lines

    def __repr__(self) -> str:
        return "Monte Carlo\n" + "\n".join(f"  {name:9} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><th {left}>{name}</th><td {left}>{html.escape(text)}</td></tr>" for name, text in self._lines()
        )
        return f"<table><caption>Monte Carlo</caption>{rows}</table>"


def monte_carlo(
    result: BacktestResult | PortfolioResult | WalkForward,
    *,
    method: Method = "shuffle",
    runs: int = 5_000,
    seed: int = 0,
    block: int = 1,
    ruin: float = 0.5,
    compounding: bool | None = None,
) -> MonteCarlo:
    """Replay the closed trades of a run in many random orders, or resampled.

    Parameters
    ----------
    result
        Of ``tk.backtest`` or ``tk.walk_forward``. A position still open at the end is no trade and is left out.
    method
        ``"shuffle"``: the same trades in another order. ``"bootstrap"``: as many, drawn with replacement.
    runs, seed
        Number of paths; the seed makes them the same again.
    block
        Bootstrap: draw stretches of this many consecutive trades.
    ruin
        Share of the opening balance at or below which a path is ruined.
    compounding
        True: a trade is its net relative to the balance before it, and paths multiply. False: it is its net in money, and
        paths add. Default: as the strategy sizes, money for fixed lots, relative otherwise.

    Returns
    -------
    MonteCarlo

    Raises
    ------
    BadInput
        When there are fewer than 2 trades or a number is out of range.
    """
    if method not in ("shuffle", "bootstrap"):
        raise BadInput(must_be("method", "'shuffle' or 'bootstrap'", repr(method), "leave it out"))
    for name, value in (("runs", runs), ("block", block)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadInput(must_be(name, "a whole number of 1 or more", repr(value), f"write {name}=1000"))
    if block > 1 and method == "shuffle":
        raise BadInput(must_be("block", "1 for a shuffle", block, "write method='bootstrap' to keep streaks"))
    if not 0.0 <= ruin < 1.0:
        raise BadInput(must_be("ruin", "from 0 to below 1", ruin, "write 0.5 for half of the balance"))
    parts = result.parts if isinstance(result, WalkForward) else None
    records = [w.backtest.run.trades for w in parts if w.backtest is not None] if parts else [result.run.trades]  # type: ignore[union-attr]
    nets = np.concatenate([r[:, -3:].sum(axis=1) for r in records]) if records else np.empty(0, np.int64)
    if len(nets) < 2:
        raise BadInput(must_be("trades", "at least 2", len(nets), "run it over more bars"))
    if block > len(nets):
        raise BadInput(must_be("block", f"at most the {len(nets)} trades", block, "draw shorter stretches"))
    account = result.account
    unit = float(10 ** money_digits(account.currency))
    balance = account.balance_minor / unit
    relative = compounding if compounding is not None else not isinstance(result.spec.risk, Lots)
    before = account.balance_minor + np.concatenate([[0], np.cumsum(nets)[:-1]])
    if relative and bool((before <= 0).any()):
        raise BadInput(must_be("balance", "above 0 before every trade", "lost", "write compounding=False"))
    # a growth below 0 is a loss of more than everything: it ends the path
    steps = np.maximum(1.0 + nets / before, 0.0) if relative else nets / unit
    return resampled(
        steps, balance, account.currency, relative=relative, method=method, runs=runs, seed=seed, block=block, ruin=ruin
    )


def resampled(
    steps: Floats,
    balance: float,
    currency: str,
    *,
    relative: bool,
    method: Method,
    runs: int,
    seed: int,
    block: int = 1,
    ruin: float = 0.5,
) -> MonteCarlo:
    """Resample steps of equity (factors when ``relative``, else amounts); `monte_carlo` takes them from a result.

    The paths depend on the seed alone, not on how many are worked on at once.
    """
    count = len(steps)
    rng = np.random.default_rng(seed)
    points = np.unique(np.linspace(0, count, min(count, _BAND_POINTS) + 1).round().astype(np.int64))
    final, fall, low = np.empty(runs), np.empty(runs), np.empty(runs)
    seen = np.empty((runs, len(points)))
    rows = max(1, _CHUNK // count)
    for first in range(0, runs, rows):
        n = min(rows, runs - first)
        at = slice(first, first + n)
        if method == "shuffle":
            drawn = rng.permuted(np.broadcast_to(steps, (n, count)), axis=1)
        else:
            starts = rng.integers(0, count, (n, -(-count // block)))
            index = (starts[:, :, None] + np.arange(block)).reshape(n, -1)[:, :count] % count
            drawn = steps[index]
        path = _paths(drawn, balance, relative)
        final[at], fall[at], low[at] = _measures(path)
        seen[at] = path[:, points]
    own = _paths(steps[None, :], balance, relative)
    measures = _measures(own)
    real = {
        "final_equity": float(measures[0][0]),
        "max_drawdown": float(measures[1][0]),
        "lowest_equity": float(measures[2][0]),
    }
    return MonteCarlo(
        method, runs, seed, block, relative, count, balance, currency, ruin, final, fall, low, real,
        points, np.percentile(seen, LEVELS, axis=0), own[0, points],
    )  # fmt: skip


def _paths(steps: Floats, balance: float, relative: bool) -> Floats:
    """Equity before the first trade and after each, one row a path."""
    path = np.empty((len(steps), steps.shape[1] + 1))
    path[:, 0] = balance
    if relative:
        np.cumprod(steps, axis=1, out=path[:, 1:])
        path[:, 1:] *= balance
    else:
        np.cumsum(steps, axis=1, out=path[:, 1:])
        path[:, 1:] += balance
    return path


def _measures(path: Floats) -> tuple[Floats, Floats, Floats]:
    peak = np.maximum.accumulate(path, axis=1)
    return path[:, -1].copy(), ((peak - path) / peak).max(axis=1), path.min(axis=1)

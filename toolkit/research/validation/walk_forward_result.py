"""What a walk-forward returns: its windows, and the test spans joined to one record of trading."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.market import money_digits
from toolkit.research.portfolio_result import PortfolioResult
from toolkit.research.result import TRADE_COLUMNS
from toolkit.research.setup import last_bars_of_days
from toolkit.research.stats import statistics
from toolkit.research.sweeps.engine import KEPT
from toolkit.research.trial.views import Series
from toolkit.research.validation.spans_of import Line
from toolkit.simulation import state

if TYPE_CHECKING:
    from decimal import Decimal

    import pandas as pd

    from toolkit.research.result import BacktestResult
    from toolkit.risk.guardrails import Guards
    from toolkit.simulation.account import PaperAccount
    from toolkit.strategy.spec import StrategySpec

__all__ = ["WalkForward", "Window"]

Int64 = npt.NDArray[np.int64]

_SHOWN = ("total_return", "sharpe", "max_drawdown", "profit_factor", "trades")


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One training span and the test span after it.

    Attributes
    ----------
    number
        From 0.
    train_start, train_end, test_start, test_end
        Open of the first and close of the last bar of each span.
    rows
        First row of training, first row of test, first row after it, in the bars of the walk-forward.
    opening
        Equity at the start of the test span, minor units.
    params
        The chosen values; empty when no set traded in training, so that nothing is traded.
    in_sample
        Statistics of the chosen set in training.
    warmup_bars
        Bars before the test span its decisions needed.
    backtest
        Run of the test span with its warm-up in front, during which nothing fills; None when nothing is traded.
    equity : int64 (test bars,)
        Minor units at each close of the test span.
    """

    number: int
    train_start: datetime
    train_end: datetime
    test_start: datetime
    test_end: datetime
    rows: tuple[int, int, int]
    opening: int
    params: dict[str, Any]
    in_sample: dict[str, Any]
    warmup_bars: int
    backtest: BacktestResult | PortfolioResult | None
    equity: Int64


class WalkForward:
    """Result of ``tk.walk_forward``.

    Attributes
    ----------
    parts : tuple of Window
        The windows as records.
    windows : DataFrame
        One row a window: spans, warm-up, chosen parameters, statistics in and out of sample, efficiency.
    equity : Series
        Out-of-sample equity at the close of each bar of the test spans, carried over from span to span.
    trades : DataFrame
        Closed trades of the test spans, with the columns of a backtest and ``window``.
    stats : Series
        Statistics of the joined test spans, defined as those of a backtest.
    stability : DataFrame
        How the chosen value of each parameter moves from window to window.
    """

    def __init__(
        self,
        spec: StrategySpec,
        bars: Series,
        account: PaperAccount,
        guards: Guards | None,
        parts: tuple[Window, ...],
        axes: dict[str, list[Any]],
        *,
        train: str,
        test: str,
        anchored: bool,
        select: str,
        note: str,
    ) -> None:
        self.spec = spec
        self.bars = bars
        self.line = Line.of(bars)
        self.account = account
        self.guards = guards
        self.parts = parts
        self.axes = axes
        self.train = train
        self.test = test
        self.anchored = anchored
        self.select = select
        self.note = note

    def __len__(self) -> int:
        return len(self.parts)

    # joined

    @cached_property
    def test_rows(self) -> Int64:
        """Rows of the bars that belong to test spans, in order."""
        return np.concatenate([np.arange(w.rows[1], w.rows[2]) for w in self.parts])

    @cached_property
    def equity_minor(self) -> Int64:
        """Equity at each close of the test spans in minor units, exact."""
        return np.concatenate([w.equity for w in self.parts])

    @cached_property
    def equity(self) -> pd.Series[float]:
        """Equity at each close of the test spans, indexed by the bar's open (UTC)."""
        import pandas as pd

        unit = float(10 ** money_digits(self.account.currency))
        index = pd.DatetimeIndex(self.line.ts[self.test_rows], tz="UTC")
        return pd.Series(self.equity_minor / unit, index=index, name="equity", copy=False)

    @property
    def final_equity(self) -> Decimal:
        """Equity at the last close, exact."""
        return self.account.money(int(self.equity_minor[-1]))

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Closed trades of all test spans, in the order of their exits."""
        import pandas as pd

        frames = [w.backtest.trades.assign(window=w.number) for w in self.parts if w.backtest is not None]
        if not frames:
            return pd.DataFrame(columns=[*TRADE_COLUMNS, "window"])
        return pd.concat(frames, ignore_index=True)

    def trade_rows(self) -> list[dict[str, Any]]:
        """Closed trades of all test spans as plain dicts: exact Decimals, aware UTC times, no pandas."""
        return [row for w in self.parts if w.backtest is not None for row in w.backtest.trade_rows()]

    @property
    def marked(self) -> dict[int, Decimal]:
        """Result, by window, of positions a span's end left open: in equity, but not among the trades."""
        out = {}
        for w in self.parts:
            if w.backtest is not None and _holds(w.backtest):
                booked = int(w.backtest.run.trades[:, -3:].sum())
                out[w.number] = self.account.money(int(w.equity[-1]) - w.opening - booked)
        return out

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Every statistic of the joined test spans, plain numbers."""
        return _statistics(self, self.parts)

    @cached_property
    def stats(self) -> pd.Series[Any]:
        """Statistics of the joined test spans; definitions in `toolkit.research.stats.DEFINITIONS`."""
        import pandas as pd

        head = {"start": self.parts[0].test_start, "end": self.parts[-1].test_end, "bars": len(self.test_rows)}
        return pd.Series({**head, **self.statistics}, name=self.spec.name, dtype=object)

    # window by window

    @cached_property
    def window_statistics(self) -> tuple[dict[str, Any], ...]:
        """Statistics of each test span on its own, from its first open to its last close."""
        return tuple(_statistics(self, (w,)) for w in self.parts)

    def efficiency(self, window: int) -> float:
        """Return a year out of sample over return a year in sample (Pardo); NaN when training earned nothing."""
        return self._efficiency((window,))

    @property
    def overall_efficiency(self) -> float:
        """The same over all windows: sums of the spans' returns, each over the sum of the spans' years."""
        return self._efficiency(range(len(self.parts)))

    def _efficiency(self, windows: Iterable[int]) -> float:
        inside = outside = trained = tested = 0.0
        for k in windows:
            w = self.parts[k]
            inside += float(w.in_sample.get("total_return", 0.0))
            outside += float(self.window_statistics[k]["total_return"])
            trained += (w.train_end - w.train_start).total_seconds()
            tested += (w.test_end - w.test_start).total_seconds()
        return (outside / tested) / (inside / trained) if inside > 0 else math.nan

    @cached_property
    def windows(self) -> pd.DataFrame:
        """One row a window: spans, bars, chosen parameters, ``in_*`` and ``out_*`` statistics, efficiency."""
        import pandas as pd

        rows = []
        for w, outside in zip(self.parts, self.window_statistics, strict=True):
            row: dict[str, Any] = {
                "train_start": w.train_start,
                "train_end": w.train_end,
                "test_start": w.test_start,
                "test_end": w.test_end,
                "train_bars": w.rows[1] - w.rows[0],
                "test_bars": w.rows[2] - w.rows[1],
                "warmup_bars": w.warmup_bars,
            }
            row |= {name: w.params.get(name) for name in self.axes}
            row |= {f"in_{name}": w.in_sample.get(name, math.nan) for name in _SHOWN}
            row |= {f"out_{name}": outside[name] for name in _SHOWN}
            rows.append({**row, "efficiency": self.efficiency(w.number)})
        return pd.DataFrame(rows, index=pd.RangeIndex(len(rows), name="window"))

    @cached_property
    def stability(self) -> pd.DataFrame:
        """One row a parameter: distinct, most_common, share, lowest, highest, mean_step, largest_step.

        ``share`` is that of the most common value over all windows. Steps are between windows in places of the sorted grid:
        a mean step near 0 says that the choice holds; one near a third of the grid is what random choices make.
        """
        import pandas as pd

        rows = []
        for name, values in self.axes.items():
            numeric = self.spec.params[name].type != "choice"
            order = sorted(set(values)) if numeric else list(dict.fromkeys(values))
            chosen = [w.params[name] for w in self.parts if w.params]
            places = np.array([order.index(v) for v in chosen], np.int64)
            steps = np.abs(np.diff(places)) if numeric else (np.diff(places) != 0).astype(np.int64)
            common = max(order, key=chosen.count) if chosen else None
            row = {
                "distinct": len(set(chosen)),
                "most_common": common,
                "share": chosen.count(common) / len(self.parts),
                "lowest": order[places.min()] if numeric and chosen else None,
                "highest": order[places.max()] if numeric and chosen else None,
                "mean_step": float(steps.mean()) if len(steps) else math.nan,
                "largest_step": int(steps.max()) if len(steps) else 0,
                "grid": len(order),
            }
            rows.append(row)
        return pd.DataFrame(rows, index=pd.Index(list(self.axes), name="parameter"))

    def plot(self, **options: Any) -> Any:
        """Out-of-sample equity over bands of the test spans, returns in and out of sample, and the chosen parameters."""
        from toolkit.research.pictures.validation_plots import walk_forward_view

        return walk_forward_view(self, **options)

    def _lines(self) -> list[tuple[str, str]]:
        s, a = self.statistics, self.account
        won = sum(x["total_return"] > 0 for x in self.window_statistics)
        kind = "anchored" if self.anchored else "rolling"
        lines = [
            ("strategy", self.spec.name),
            ("windows", f"{len(self.parts)} {kind}, train {self.train}, test {self.test}, by {self.select}"),
            ("tested", f"{self.parts[0].test_start:%F} to {self.parts[-1].test_end:%F}, {len(self.test_rows):,} bars"),
            ("equity", f"{a.balance:,} -> {self.final_equity:,} {a.currency} ({s['total_return']:+.2%})"),
            ("sharpe", f"{s['sharpe']:.2f} a year out of sample, max drawdown {s['max_drawdown']:.2%}"),
            ("trades", f"{s['trades']:,}; {won} of {len(self.parts)} windows gained"),
            ("efficiency", f"{self.overall_efficiency:.0%} of the training's return a year"),
        ]
        for name, row in self.stability.iterrows():
            lines.append(
                (
                    str(name),
                    f"{row['distinct']:.0f} of {row['grid']:.0f} values chosen, mean step {row['mean_step']:.1f}",
                )
            )
        if self.marked:
            lines.append(("marked", f"{len(self.marked)} positions were open at the end of a span, not closed"))
        idle = sum(not w.params for w in self.parts)
        if idle:
            lines.append(("idle", f"{idle} windows without a set that traded in training"))
        if self.note:
            lines.append(("note", self.note))
        return lines

    def __repr__(self) -> str:
        return "Walk-forward\n" + "\n".join(f"  {name:10} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><th {left}>{html.escape(name)}</th><td {left}>{html.escape(text)}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table><caption>Walk-forward</caption>{rows}</table>"


def _holds(result: BacktestResult | PortfolioResult) -> bool:
    if isinstance(result, PortfolioResult):
        return bool(result.open_positions)
    return result.run.open_trade is not None


def _statistics(result: WalkForward, parts: tuple[Window, ...]) -> dict[str, Any]:
    """Statistics of joined test spans, by the same definitions and code as a backtest's."""
    line, account = result.line, result.account
    rows = np.concatenate([np.arange(w.rows[1], w.rows[2]) for w in parts])
    equity = np.concatenate([w.equity for w in parts]).astype(np.float64)
    opening = parts[0].opening
    cells = [0] * state.WIDTH
    for w in parts:
        if w.backtest is not None:
            for at in KEPT:
                cells[at] += int(w.backtest.run.totals[at])
    cells[state.OPENING] = opening
    daily = equity[last_bars_of_days(line.ts[rows], account.day_end)]
    before = np.concatenate([[float(opening)], daily[:-1]])
    change = np.divide(daily - before, before, out=np.zeros_like(daily), where=before > 0)
    peak = np.maximum.accumulate(np.maximum(equity, float(opening)))
    moments = [
        float(((peak - equity) / peak).max()),
        float(change.mean()),
        float(change.std(ddof=1)) if len(change) > 1 else 0.0,
        float(np.sqrt((np.minimum(change, 0.0) ** 2).mean())),
    ]
    span = int(line.closes[rows[-1]]) - int(line.ts[rows[0]])
    digits = money_digits(account.currency)
    return statistics(cells, moments, int(equity[-1]), len(rows), len(daily), span, digits)

"""What a backtest of several symbols returns: trades, the shared equity and its statistics."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.clock import from_ns
from toolkit.market import Bars, Side, money_digits
from toolkit.research.result import TRADE_COLUMNS, OpenPosition, Skip, node_frame, not_made
from toolkit.research.setup import Setup
from toolkit.research.stats import statistics
from toolkit.risk.guardrails import GUARD_REASONS
from toolkit.simulation.account import PaperAccount
from toolkit.simulation.portfolio import cells
from toolkit.simulation.portfolio.run import PortfolioRun
from toolkit.simulation.rules import EXIT_REASONS, SKIP_REASONS, money
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PortfolioResult"]


@dataclass(frozen=True, slots=True)
class SideRun:
    """Trades of one symbol with rows of its bars; the columns of `toolkit.simulation.run.Run.trades`."""

    trades: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SymbolSide:
    """One symbol's part of a result, as pictures of one symbol take it."""

    spec: StrategySpec
    bars: Bars
    given: Mapping[str, Bars]
    account: PaperAccount
    run: SideRun
    fill_at: str = "next_open"

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Prices of the bid, named nodes and decision at each of the symbol's bars."""
        return node_frame(self.spec, self.given)


class PortfolioResult:
    """Result of ``tk.backtest`` with bars of several symbols.

    Attributes
    ----------
    spec, symbols, account, guards
        What was run.
    trades : DataFrame
        Closed trades of all symbols in the order they were closed; the columns of a backtest of one symbol.
    equity : Series
        Balance plus the open profit of all positions, at the close of the bars that open at each moment.
    stats : Series
        See `toolkit.research.stats.DEFINITIONS`; a bar is a moment at which at least one symbol has one.
    """

    def __init__(self, spec: StrategySpec, setups: tuple[Setup, ...], run: PortfolioRun, end_ns: int) -> None:
        self.spec = spec
        self.setups = setups
        self.run = run
        self.symbols = tuple(setup.bars.symbol for setup in setups)
        self.account = setups[0].account
        self.guards = setups[0].guards
        self._end_ns = end_ns

    def trade_rows(self) -> list[dict[str, Any]]:
        """Closed trades as plain dicts with the columns of `trades`: exact Decimals, aware UTC times, no pandas."""
        ts, amount = self.run.ts, self.account.money
        out = []
        for symbol, side, steps, entered, entry, left, price, reason, profit, cost, swap in self.run.trades.tolist():
            facts = self.setups[symbol].bars.instrument
            out.append(
                {
                    "symbol": self.symbols[symbol],
                    "side": "BUY" if side > 0 else "SELL",
                    "lots": facts.lots(steps),
                    "entry_time": from_ns(int(ts[entered])),
                    "entry_price": facts.price(entry),
                    "exit_time": from_ns(int(ts[left])),
                    "exit_price": facts.price(price),
                    "exit_reason": EXIT_REASONS[reason],
                    "profit": amount(profit),
                    "commission": amount(cost),
                    "swap": amount(swap),
                }
            )
        return out

    @property
    def trade_records(self) -> list[dict[str, Any]]:
        """Same as `trade_rows`."""
        return self.trade_rows()

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Closed trades, one a row, in the order of their exits."""
        import pandas as pd

        frame = pd.DataFrame(self.trade_rows(), columns=list(TRADE_COLUMNS))
        numbers = ["lots", "entry_price", "exit_price", "profit", "commission", "swap"]
        frame[numbers] = frame[numbers].astype(float)
        return frame

    @cached_property
    def equity(self) -> pd.Series[float]:
        """Equity after each moment's bars, indexed by their open (UTC)."""
        import pandas as pd

        unit = float(10 ** money_digits(self.account.currency))
        index = pd.DatetimeIndex(self.run.ts, tz="UTC", name="ts")
        return pd.Series(self.run.equity / unit, index=index, name="equity")

    @property
    def final_equity(self) -> Decimal:
        """Equity at the last close, exact."""
        return self.account.money(int(self.run.equity[-1]))

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Every statistic by name, plain numbers."""
        return statistics(
            self.run.totals.tolist(),
            self.run.moments.tolist(),
            int(self.run.equity[-1]),
            len(self.run.ts),
            len(self.run.daily),
            self._end_ns - int(self.run.ts[0]),
            money_digits(self.account.currency),
        )

    @cached_property
    def stats(self) -> pd.Series[Any]:
        """Statistics as a Series; definitions in `toolkit.research.stats.DEFINITIONS`."""
        import pandas as pd

        head = {"start": from_ns(int(self.run.ts[0])), "end": from_ns(self._end_ns), "bars": len(self.run.ts)}
        return pd.Series({**head, **self.statistics}, name=self.spec.name, dtype=object)

    def _given(self, symbol: str) -> dict[str, Bars]:
        """Return the bars as a symbol's decisions see them: its own first."""
        series = {setup.bars.symbol: setup.bars for setup in self.setups}
        return {symbol: series[symbol], **{s: b for s, b in series.items() if s != symbol}}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Values of the named nodes at each closed bar, beside the bid prices: columns by symbol and name.

        A row is a moment; a symbol without a bar there has no values.
        """
        import pandas as pd

        return pd.concat({s: node_frame(self.spec, self._given(s)) for s in self.symbols}, axis=1).sort_index()

    def sides(self) -> tuple[SymbolSide, ...]:
        """Return each symbol's part: its bars, and its trades by rows of them."""
        out = []
        for number, setup in enumerate(self.setups):
            bars = setup.bars
            trades = self.run.trades[self.run.trades[:, 0] == number][:, 1:].copy()
            for column in (2, 4):
                trades[:, column] = bars.ts.searchsorted(self.run.ts[trades[:, column]], side="right") - 1
            out.append(SymbolSide(self.spec, bars, self._given(bars.symbol), self.account, SideRun(trades)))
        return tuple(out)

    @cached_property
    def portfolio(self) -> Any:
        """The same fills as a vectorbt ``Portfolio``: a column for each symbol, one group that shares its cash.

        Needs the ``research`` extra, and symbols quoted in the account's currency: vectorbt does not convert profit.
        """
        from toolkit.research.pictures.vectorbt_bridge import portfolio_of_many

        return portfolio_of_many(self)

    def plot(self, **options: Any) -> Any:
        """Each symbol's price with entries, exits and stops, over the shared equity and drawdown, on one time axis."""
        from toolkit.research.pictures.plots import portfolio_view

        return portfolio_view(self, **options)

    @property
    def open_positions(self) -> list[OpenPosition]:
        """Positions still open after the last bar: marked in equity, never closed."""
        out = []
        for number, (setup, p) in enumerate(zip(self.setups, self.run.open.tolist(), strict=True)):
            side, steps = p[cells.P_POS], p[cells.P_STEPS]
            if side == 0:
                continue
            facts = setup.bars.instrument
            mark = int((setup.bars.bid_close if side > 0 else setup.bars.ask_close)[-1])
            num, den = self.run.last_value[number]
            floating = money(side * (mark - p[cells.P_ENTRY_PRICE]), steps, num, den)
            out.append(
                OpenPosition(
                    setup.bars.symbol,
                    Side.BUY if side > 0 else Side.SELL,
                    facts.lots(steps),
                    from_ns(int(self.run.ts[p[cells.P_ENTRY_AT]])),
                    facts.price(p[cells.P_ENTRY_PRICE]),
                    facts.price(p[cells.P_SL]) if p[cells.P_SL] else None,
                    facts.price(p[cells.P_TP]) if p[cells.P_TP] else None,
                    self.account.money(floating),
                    self.account.money(p[cells.P_COST]),
                )
            )
        return out

    @cached_property
    def _all_skips(self) -> list[tuple[bool, Skip]]:
        out = []
        for symbol, at, side, reason in self.run.skips.tolist():
            guard = reason in GUARD_REASONS
            words = GUARD_REASONS[reason] if guard else SKIP_REASONS[reason]
            when = from_ns(int(self.run.ts[at]))
            out.append((guard, Skip(when, self.symbols[symbol], Side.BUY if side > 0 else Side.SELL, words)))
        return out

    @property
    def skipped(self) -> list[Skip]:
        """Entries not made for a reason of price, size or margin."""
        return [skip for guard, skip in self._all_skips if not guard]

    @property
    def denied(self) -> list[Skip]:
        """Entries a guardrail denied."""
        return [skip for guard, skip in self._all_skips if guard]

    def _lines(self) -> list[tuple[str, str]]:
        s, a, ts = self.statistics, self.account, self.run.ts
        first = self.setups[0].bars
        return [
            ("strategy", f"{self.spec.name}({', '.join(f'{k}={v}' for k, v in self.spec.values.items())})"),
            ("symbols", ", ".join(self.symbols)),
            (
                "bars",
                f"{len(ts):,} moments of {first.timeframe} {from_ns(int(ts[0])):%F} to {from_ns(self._end_ns):%F}",
            ),
            ("equity", f"{a.balance:,} -> {self.final_equity:,} {a.currency} ({s['total_return']:+.2%})"),
            ("trades", f"{s['trades']:,}, {s['win_rate']:.1%} won, profit factor {s['profit_factor']:.2f}"),
            ("sharpe", f"{s['sharpe']:.2f} a year from daily returns, max drawdown {s['max_drawdown']:.2%}"),
            ("costs", f"commission {s['commission']:,.2f}, swap {s['swap']:,.2f} {a.currency}"),
            ("not made", not_made(self.skipped, self.denied)),
            ("open", f"{len(self.open_positions)} positions marked, not closed"),
        ]

    def __repr__(self) -> str:
        return "Backtest\n" + "\n".join(f"  {name:9} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><th {left}>{html.escape(name)}</th><td {left}>{html.escape(text)}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table><caption>Backtest</caption>{rows}</table>"

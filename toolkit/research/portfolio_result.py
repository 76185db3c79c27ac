"""What a backtest of several symbols returns: trades, the shared equity and its statistics."""

from __future__ import annotations

import html
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from toolkit.clock import from_ns
from toolkit.market import Side, money_digits
from toolkit.research.result import TRADE_COLUMNS, OpenPosition, Skip
from toolkit.research.setup import Setup
from toolkit.research.stats import statistics
from toolkit.risk.guardrails import GUARD_REASONS
from toolkit.simulation.portfolio import cells
from toolkit.simulation.portfolio.run import PortfolioRun
from toolkit.simulation.rules import EXIT_REASONS, SKIP_REASONS, money
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PortfolioResult"]


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
            ("not made", f"{len(self.skipped):,} entries skipped, {len(self.denied):,} denied by guards"),
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

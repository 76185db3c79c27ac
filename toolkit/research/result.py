"""What a backtest returns: trades, equity, statistics, pictures; each computed when it is first asked for."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.clock import from_ns
from toolkit.market import Bars, Side, money_digits
from toolkit.research.setup import Setup
from toolkit.research.stats import statistics
from toolkit.risk.guardrails import GUARD_REASONS
from toolkit.simulation import state
from toolkit.simulation.managed.rules import PENDING_REASONS
from toolkit.simulation.rates import closes
from toolkit.simulation.rules import EXIT_REASONS, SKIP_REASONS
from toolkit.simulation.run import Run
from toolkit.strategy.authoring.management import FEATURES
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TRADE_COLUMNS", "BacktestResult", "OpenPosition", "Skip"]

TRADE_COLUMNS = (
    "symbol",
    "side",
    "lots",
    "entry_time",
    "entry_price",
    "exit_time",
    "exit_price",
    "exit_reason",
    "profit",
    "commission",
    "swap",
)


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """The position left open after the last bar; marked in equity, never closed."""

    symbol: str
    side: Side
    lots: Decimal
    entry_time: datetime
    entry_price: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    profit: Decimal
    commission: Decimal


@dataclass(frozen=True, slots=True)
class Skip:
    """An entry that was decided but not made. ``time`` is the open of the bar it would have filled in."""

    time: datetime
    symbol: str
    side: Side
    reason: str


@cache
def _names(names: tuple[str, ...]) -> pd.CategoricalDtype:
    import pandas as pd

    return pd.CategoricalDtype(list(names))


@cache
def _trade_columns() -> pd.Index[str]:
    import pandas as pd

    return pd.Index(TRADE_COLUMNS)


def not_made(skipped: Sequence[Skip], denied: Sequence[Skip]) -> str:
    """Say how many decided entries were not made, and why."""
    parts = []
    for skips, words in ((skipped, "entries skipped"), (denied, "denied by guards")):
        counted = ", ".join(f"{reason} {n:,}" for reason, n in Counter(skip.reason for skip in skips).most_common())
        parts.append(f"{len(skips):,} {words}" + (f" ({counted})" if counted else ""))
    return ", ".join(parts)


def _side(sign: int) -> Side:
    return Side.BUY if sign > 0 else Side.SELL


def node_frame(spec: StrategySpec, given: Bars | Mapping[str, Bars]) -> pd.DataFrame:
    """Return prices of the bid, the named nodes and the decision at each closed bar, of the first of several symbols."""
    import pandas as pd

    from toolkit.strategy.drivers.columnar import evaluate

    bars = given if isinstance(given, Bars) else next(iter(given.values()))
    columns: dict[str, Any] = {"open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close}
    decisions = evaluate(spec, given, frame=True, supports=FEATURES)
    columns |= decisions.frame or {}
    columns["decision"] = decisions.code
    return pd.DataFrame(columns, index=pd.DatetimeIndex(bars.ts, tz="UTC", name="ts"))


class BacktestResult:
    """Result of ``tk.backtest``.

    Attributes
    ----------
    spec, bars, account, guards
        What was run.
    trades : DataFrame
        Closed trades: symbol side lots entry_time entry_price exit_time exit_price exit_reason profit commission swap.
        Times are opens of bars in UTC, money is in the account currency, profit is gross.
    equity : Series
        Balance plus open profit at the close of each bar, indexed by the bar's open.
    stats : Series
        See `toolkit.research.stats.DEFINITIONS`.
    """

    def __init__(self, spec: StrategySpec, setup: Setup, run: Run) -> None:
        self.spec = spec
        self.setup = setup
        self.run = run
        self.bars = self.given = setup.bars
        self.account = setup.account
        self.guards = setup.guards
        self.fill_at = setup.fill_at

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Closed trades, one a row, in the order of their exits."""
        import pandas as pd

        bars, facts = self.bars, self.bars.instrument
        side, steps, entry_bar, entry, exit_bar, price, reason, *money = np.ascontiguousarray(self.run.trades.T)
        k = len(side)
        unit = float(10 ** money_digits(self.account.currency))
        step = facts.volume_step.as_integer_ratio()
        scale = float(facts.scale)
        times = bars.index
        labels: Any = pd.Categorical.from_codes
        columns: list[Any] = [
            labels(np.zeros(k, np.int8), dtype=_names((bars.symbol,)), validate=False),
            labels((side < 0).view(np.int8), dtype=_names(("BUY", "SELL")), validate=False),
            steps * step[0] / step[1],
            times.take(entry_bar),
            entry / scale,
            times.take(exit_bar),
            price / scale,
            labels((reason - 1).astype(np.int8), dtype=_names(EXIT_REASONS[1:]), validate=False),
            *(part / unit for part in money),
        ]
        frame = pd.DataFrame(dict(enumerate(columns)), copy=False)
        frame.columns = _trade_columns()
        return frame

    def trade_rows(self) -> list[dict[str, Any]]:
        """Closed trades as plain dicts with the columns of `trades`: exact Decimals, aware UTC times, no pandas."""
        facts, ts, money = self.bars.instrument, self.bars.ts, self.account.money
        rows = self.run.trades.tolist()
        return [
            {
                "symbol": self.bars.symbol,
                "side": "BUY" if side > 0 else "SELL",
                "lots": facts.lots(steps),
                "entry_time": from_ns(int(ts[entry_bar])),
                "entry_price": facts.price(entry),
                "exit_time": from_ns(int(ts[exit_bar])),
                "exit_price": facts.price(price),
                "exit_reason": EXIT_REASONS[reason],
                "profit": money(profit),
                "commission": money(commission),
                "swap": money(swap),
            }
            for side, steps, entry_bar, entry, exit_bar, price, reason, profit, commission, swap in rows
        ]

    @property
    def trade_records(self) -> list[dict[str, Any]]:
        """Same as `trade_rows`."""
        return self.trade_rows()

    @cached_property
    def equity(self) -> pd.Series[float]:
        """Equity at the close of each bar, indexed by the bar's open (UTC)."""
        import pandas as pd

        unit = float(10 ** money_digits(self.account.currency))
        return pd.Series(self.run.equity / unit, index=self.bars.index.view(), name="equity", copy=False)

    @property
    def final_equity(self) -> Decimal:
        """Equity at the last close, exact."""
        return self.account.money(int(self.run.equity[-1]))

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Every statistic by name, plain numbers."""
        ts = self.bars.ts
        return statistics(
            self.run.totals.tolist(),
            self.run.moments.tolist(),
            int(self.run.equity[-1]),
            len(ts),
            len(self.run.daily),
            int(closes(self.bars)[-1]) - int(ts[0]),
            money_digits(self.account.currency),
        )

    @cached_property
    def stats(self) -> pd.Series[Any]:
        """Statistics as a Series; definitions in `toolkit.research.stats.DEFINITIONS`."""
        import pandas as pd

        ts = self.bars.ts
        head = {"start": from_ns(int(ts[0])), "end": from_ns(int(closes(self.bars)[-1])), "bars": len(ts)}
        return pd.Series({**head, **self.statistics}, name=self.spec.name, dtype=object)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Values of the strategy's named nodes at each closed bar, beside the bid prices."""
        return node_frame(self.spec, self.bars)

    @property
    def open_position(self) -> OpenPosition | None:
        """The position still open after the last bar, None when flat."""
        trade = self.run.open_trade
        if trade is None:
            return None
        facts = self.bars.instrument
        floating = int(self.run.equity[-1]) - int(self.run.totals[state.BALANCE])
        return OpenPosition(
            self.bars.symbol,
            _side(trade.side),
            facts.lots(trade.steps),
            from_ns(int(self.bars.ts[trade.entry_bar])),
            facts.price(trade.entry_price),
            facts.price(trade.stop) if trade.stop else None,
            facts.price(trade.target) if trade.target else None,
            self.account.money(floating),
            self.account.money(trade.commission),
        )

    @cached_property
    def _all_skips(self) -> list[tuple[bool, Skip]]:
        ts, symbol = self.bars.ts, self.bars.symbol
        out = []
        for bar, side, reason in self.run.skips.tolist():
            guard = reason in GUARD_REASONS
            words = GUARD_REASONS.get(reason) or PENDING_REASONS.get(reason) or SKIP_REASONS[reason]
            out.append((guard, Skip(from_ns(int(ts[bar])), symbol, _side(side), words)))
        return out

    @property
    def skipped(self) -> list[Skip]:
        """Entries not made: for a reason of price or size, or because a pending order expired or was taken back."""
        return [skip for guard, skip in self._all_skips if not guard]

    @property
    def denied(self) -> list[Skip]:
        """Entries a guardrail denied."""
        return [skip for guard, skip in self._all_skips if guard]

    @cached_property
    def portfolio(self) -> Any:
        """The same fills as a vectorbt ``Portfolio`` (needs the ``research`` extra and an account-currency quote)."""
        from toolkit.research.pictures.vectorbt_bridge import portfolio_of

        return portfolio_of(self)

    def plot(self, **options: Any) -> Any:
        """Price with entries, exits and stops over equity and drawdown, as HoloViews; see `toolkit.research.pictures.plots`."""
        from toolkit.research.pictures.plots import backtest_view

        return backtest_view(self, **options)

    def _lines(self) -> list[tuple[str, str]]:
        s, a = self.statistics, self.account
        first, last = from_ns(int(self.bars.ts[0])), from_ns(int(closes(self.bars)[-1]))
        lines = [
            ("strategy", f"{self.spec.name}({', '.join(f'{k}={v}' for k, v in self.spec.values.items())})"),
            ("bars", f"{len(self.bars):,} {self.bars.symbol} {self.bars.timeframe} {first:%F} to {last:%F}"),
            ("equity", f"{a.balance:,} -> {self.final_equity:,} {a.currency} ({s['total_return']:+.2%})"),
            ("trades", f"{s['trades']:,}, {s['win_rate']:.1%} won, profit factor {s['profit_factor']:.2f}"),
            ("sharpe", f"{s['sharpe']:.2f} a year from daily returns, max drawdown {s['max_drawdown']:.2%}"),
            ("costs", f"commission {s['commission']:,.2f}, swap {s['swap']:,.2f} {a.currency}"),
        ]
        if self.fill_at != "next_open":
            lines.append(("fills", "at the close of the signal bar, which no live order gets"))
        if self.run.skips.size:
            lines.append(("not made", not_made(self.skipped, self.denied)))
        if self.open_position is not None:
            lines.append(("open", f"{self.open_position.side.value} {self.open_position.lots} marked, not closed"))
        return lines

    def __repr__(self) -> str:
        return "Backtest\n" + "\n".join(f"  {name:9} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><th {left}>{html.escape(name)}</th><td {left}>{html.escape(text)}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table><caption>Backtest</caption>{rows}</table>"

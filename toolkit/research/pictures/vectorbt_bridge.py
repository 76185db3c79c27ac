"""A backtest's fills as a vectorbt ``Portfolio``: the same trades and the same value, with vectorbt's statistics and plots.

vectorbt knows no leverage and one order per bar. The orders are therefore laid on an index with one row per fill, recorded
with ample cash, and the portfolio is then given the account's real balance: its cash may go below zero as on a margin
account, and its value at every bar close is the equity of the backtest, but for swap, which vectorbt only knows as a
part of the exit's fee. ``close`` is the price that closes what is open:
the bid, or the ask while short. Several symbols are columns of one group that shares its cash; they have the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import BadInput, MissingPackage, must_be
from toolkit.market import money_digits
from toolkit.simulation.account import PaperAccount
from toolkit.simulation.portfolio import cells

if TYPE_CHECKING:
    from toolkit.market import Bars
    from toolkit.research.portfolio_result import PortfolioResult
    from toolkit.research.result import BacktestResult

__all__ = ["portfolio_of", "portfolio_of_many"]


@dataclass(slots=True)
class _Fills:
    """Fills of one symbol in order of time: row, signed steps, price points, commission and swap in minor units, positive."""

    bars: Bars
    rows: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    prices: list[int] = field(default_factory=list)
    fees: list[int] = field(default_factory=list)

    def add(self, row: int, steps: int, price: int, fee: int) -> None:
        self.rows.append(row)
        self.sizes.append(steps)
        self.prices.append(price)
        self.fees.append(fee)

    def trade(self, trade: list[int]) -> None:
        """Add entry and exit of a row of trades, without its symbol."""
        side, steps, entered, entry, left, price, _, _, commission, swap = trade
        first = -commission // 2
        self.add(entered, side * steps, entry, first)
        self.add(left, -side * steps, price, -commission - first - swap)


def portfolio_of(result: BacktestResult) -> Any:
    """Build the ``vectorbt.Portfolio`` of a backtest.

    Raises
    ------
    BadInput
        When the symbol is quoted in another currency than the account's: vectorbt would leave the profit unconverted.
    MissingPackage
        When vectorbt is not installed.
    """
    bars = result.bars
    fills = _Fills(bars)
    for trade in result.run.trades.tolist():
        fills.trade(trade)
    held = result.run.open_trade
    if held is not None:
        fills.add(held.entry_bar, held.side * held.steps, held.entry_price, -held.commission)
    return _build([fills], bars.ts, result.account, bars.timeframe.ns)


def portfolio_of_many(result: PortfolioResult) -> Any:
    """Build the ``vectorbt.Portfolio`` of a backtest of several symbols: a column each, one group that shares its cash.

    Raises
    ------
    BadInput
        When a symbol is quoted in another currency than the account's.
    MissingPackage
        When vectorbt is not installed.
    """
    every = [_Fills(setup.bars) for setup in result.setups]
    for symbol, *trade in result.run.trades.tolist():
        every[symbol].trade(trade)
    for fills, p in zip(every, result.run.open.tolist(), strict=True):
        if p[cells.P_POS] != 0:
            fills.add(p[cells.P_ENTRY_AT], p[cells.P_POS] * p[cells.P_STEPS], p[cells.P_ENTRY_PRICE], -p[cells.P_COST])
    return _build(every, result.run.ts, result.account, every[0].bars.timeframe.ns)


def _build(every: list[_Fills], ts: NDArray[np.int64], account: PaperAccount, frame_ns: int) -> Any:
    foreign = [f"{f.bars.symbol} in {f.bars.instrument.quote_currency}" for f in every if not _at_home(f, account)]
    if foreign:
        raise BadInput(
            must_be(
                "the quote currency for bt.portfolio",
                f"the account currency {account.currency}",
                ", ".join(foreign),
                "vectorbt does not convert profit; use bt.trades, bt.equity and bt.equity.vbt instead",
            )
        )
    try:
        import vectorbt as vbt
    except ImportError as e:
        raise MissingPackage(
            "vectorbt must be installed for bt.portfolio, was missing: pip install seatrial[research]"
        ) from e
    import pandas as pd

    n = len(ts)
    counts = [np.bincount(np.array(f.rows, np.int64), minlength=n) if f.rows else np.zeros(n, np.int64) for f in every]
    rows_in_bar = np.maximum(np.max(counts, axis=0), 1)
    first_row = np.concatenate([[0], np.cumsum(rows_in_bar)[:-1]])
    bar_of_row = np.repeat(np.arange(n), rows_in_bar)
    rank = np.arange(len(bar_of_row)) - first_row[bar_of_row]
    index = pd.DatetimeIndex(ts[bar_of_row] + rank * 1_000, tz="UTC")
    columns = [_column(f, ts, first_row, bar_of_row, float(10 ** money_digits(account.currency))) for f in every]
    names = [f.bars.symbol for f in every]
    ample = sum(float(np.nansum(np.abs(size * price)) + np.sum(fee)) for _, size, price, fee in columns)
    ample = (ample + float(account.balance)) * 10.0 + 1.0

    def framed(k: int) -> Any:
        if len(every) == 1:
            return pd.Series(columns[0][k], index=index, name=names[0] if k == 0 else None)
        return pd.DataFrame({name: column[k] for name, column in zip(names, columns, strict=True)}, index=index)

    shared = {"group_by": True, "cash_sharing": True} if len(every) > 1 else {}
    portfolio = vbt.Portfolio.from_orders(
        framed(0),
        size=framed(1),
        price=framed(2),
        fixed_fees=framed(3),
        init_cash=ample,
        freq=pd.Timedelta(frame_ns, unit="ns"),
        **shared,
    )
    return portfolio.replace(init_cash=np.array([float(account.balance)]))


def _at_home(fills: _Fills, account: PaperAccount) -> bool:
    return fills.bars.instrument.quote_currency == account.currency


def _column(
    fills: _Fills, ts: NDArray[np.int64], first_row: NDArray[np.int64], bar_of_row: NDArray[np.int64], unit: float
) -> tuple[NDArray[np.float64], ...]:
    """Return close, size, price and fee of one symbol on the rows; a symbol without a bar keeps its last close."""
    bars, facts = fills.bars, fills.bars.instrument
    rows = len(bar_of_row)
    at = np.empty(len(fills.rows), np.int64)
    seen: dict[int, int] = {}
    for k, bar in enumerate(fills.rows):
        at[k] = first_row[bar] + seen.get(bar, 0)
        seen[bar] = seen.get(bar, 0) + 1
    size, price, fee, signed = np.full(rows, np.nan), np.full(rows, np.nan), np.zeros(rows), np.zeros(rows)
    signed[at] = np.array(fills.sizes, float)
    size[at] = signed[at] * float(facts.contract_size * facts.volume_step)
    price[at] = np.array(fills.prices, float) / facts.scale
    fee[at] = np.array(fills.fees, float) / unit
    last = np.maximum(bars.ts.searchsorted(ts, side="right") - 1, 0)[bar_of_row]
    closing = np.where(np.cumsum(signed) < 0, bars.ask_close[last], bars.bid_close[last]) / facts.scale
    return closing, size, price, fee

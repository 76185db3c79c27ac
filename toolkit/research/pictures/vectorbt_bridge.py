"""A backtest's fills as a vectorbt ``Portfolio``: the same trades and the same value, with vectorbt's statistics and plots.

vectorbt knows no leverage and one order per bar. The orders are therefore laid on an index with one row per fill, recorded
with ample cash, and the portfolio is then given the account's real balance: its cash may go below zero as on a margin
account, and its value at every bar close is the equity of the backtest, but for swap, which vectorbt only knows as a
part of the exit's fee. ``close`` is the price that closes what is open:
the bid, or the ask while short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import BadInput, MissingPackage, must_be
from toolkit.market import money_digits

if TYPE_CHECKING:
    from toolkit.research.result import BacktestResult

__all__ = ["portfolio_of"]


def _fills(result: BacktestResult) -> tuple[list[int], list[int], list[int], list[int]]:
    """Bar, signed steps, price points and commission (minor units, positive) of every fill, in order of time."""
    bars: list[int] = []
    sizes: list[int] = []
    prices: list[int] = []
    fees: list[int] = []

    def add(bar: int, steps: int, price: int, fee: int) -> None:
        bars.append(bar)
        sizes.append(steps)
        prices.append(price)
        fees.append(fee)

    for side, steps, entry_bar, entry, exit_bar, price, _, _, commission, swap in result.run.trades.tolist():
        first = -commission // 2
        add(entry_bar, side * steps, entry, first)
        add(exit_bar, -side * steps, price, -commission - first - swap)
    trade = result.run.open_trade
    if trade is not None:
        add(trade.entry_bar, trade.side * trade.steps, trade.entry_price, -trade.commission)
    return bars, sizes, prices, fees


def portfolio_of(result: BacktestResult) -> Any:
    """Build the ``vectorbt.Portfolio`` of a backtest.

    Raises
    ------
    BadInput
        When the symbol is quoted in another currency than the account's: vectorbt would leave the profit unconverted.
    MissingPackage
        When vectorbt is not installed.
    """
    facts, account = result.bars.instrument, result.account
    if facts.quote_currency != account.currency:
        raise BadInput(
            must_be(
                "the quote currency for bt.portfolio",
                f"the account currency {account.currency}",
                facts.quote_currency,
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

    bars, sizes, prices, fees = _fills(result)
    n, unit = len(result.bars), float(10 ** money_digits(account.currency))
    fills_in_bar = np.bincount(np.array(bars, np.int64), minlength=n) if bars else np.zeros(n, np.int64)
    rows_in_bar = np.maximum(fills_in_bar, 1)
    first_row = np.concatenate([[0], np.cumsum(rows_in_bar)[:-1]])
    bar_of_row = np.repeat(np.arange(n), rows_in_bar)
    rank = np.arange(len(bar_of_row)) - first_row[bar_of_row]
    at = np.empty(len(bars), np.int64)
    seen: dict[int, int] = {}
    for k, bar in enumerate(bars):
        at[k] = first_row[bar] + seen.get(bar, 0)
        seen[bar] = seen.get(bar, 0) + 1
    units = float(facts.contract_size * facts.volume_step)
    size = np.full(len(bar_of_row), np.nan)
    price = np.full(len(bar_of_row), np.nan)
    fee = np.zeros(len(bar_of_row))
    signed = np.zeros(len(bar_of_row))
    signed[at] = np.array(sizes, float)
    size[at] = signed[at] * units
    price[at] = np.array(prices, float) / facts.scale
    fee[at] = np.array(fees, float) / unit
    short = np.cumsum(signed) < 0
    closing = np.where(short, result.bars.ask_close[bar_of_row], result.bars.bid_close[bar_of_row]) / facts.scale
    index = pd.DatetimeIndex(result.bars.ts[bar_of_row] + rank * 1_000, tz="UTC")
    ample = float(np.nansum(np.abs(size * price)) + np.sum(fee) + float(account.balance)) * 10.0 + 1.0
    portfolio = vbt.Portfolio.from_orders(
        pd.Series(closing, index=index, name=result.bars.symbol),
        size=pd.Series(size, index=index),
        price=pd.Series(price, index=index),
        fixed_fees=pd.Series(fee, index=index),
        init_cash=ample,
        freq=pd.Timedelta(result.bars.timeframe.ns, unit="ns"),
    )
    return portfolio.replace(init_cash=np.array([float(account.balance)]))

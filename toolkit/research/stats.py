"""Statistics of a run, from the loop's own totals: the same numbers for one backtest and for every set of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.simulation import state

__all__ = ["DEFINITIONS", "STATISTICS", "statistics", "statistics_of_many"]

YEAR_NS = int(365.25 * 86_400) * 1_000_000_000

#: Every statistic with its definition. "Net" is profit plus commission plus swap of a closed trade.
DEFINITIONS: dict[str, str] = {
    "final_equity": "balance plus open profit at the last close, account currency",
    "net_profit": "final equity minus the opening balance",
    "total_return": "final equity over the opening balance, minus 1",
    "cagr": "yearly compound growth over the span of the bars (years of 365.25 days)",
    "sharpe": "mean over sample deviation of the daily returns of equity (platform days that have bars, no risk-free rate),"
    " times the square root of the days a year in the data; NaN when equity never moves",
    "sortino": "like sharpe, over the root mean square of the negative daily returns",
    "max_drawdown": "largest fall of equity (bar closes, open profit included) from its peak so far, over that peak",
    "calmar": "cagr over max_drawdown",
    "profit_factor": "sum of winning nets over the absolute sum of the others",
    "expectancy": "mean net of a closed trade, account currency",
    "win_rate": "closed trades with a net above 0, over all closed trades",
    "average_win": "mean net of the winning trades",
    "average_loss": "mean net of the other trades, 0 or negative",
    "exposure": "bar closes with a position open, over all bars",
    "trades": "closed trades (a position open at the end is marked, not closed)",
    "commission": "commission of the closed trades, 0 or negative",
    "swap": "swap of the closed trades",
    "skipped": "entries decided but not made, see .skipped and .denied",
}
STATISTICS = tuple(DEFINITIONS)


def _over(a: float, b: float) -> float:
    return a / b if b != 0 else math.nan


def statistics(
    totals: Sequence[int], moments: Sequence[float], final: int, bars: int, days: int, span_ns: int, money_digits: int
) -> dict[str, Any]:
    """Compute every statistic of `DEFINITIONS`.

    Parameters
    ----------
    totals, moments
        The loop's integer and float state at the end of a run.
    final
        Equity at the last close, minor units.
    bars, days
        Number of bars and of platform days with bars.
    span_ns
        From the first open to the last close.
    money_digits
        Digits of the account currency.
    """
    s = [int(v) for v in totals]
    mean, deviation, downside = float(moments[1]), float(moments[2]), float(moments[3])
    drawdown = float(moments[state.MAX_DRAWDOWN])
    opening, trades, wins = s[state.OPENING], s[state.TRADES], s[state.WINS]
    unit = 10**money_digits
    years = span_ns / YEAR_NS
    yearly = math.sqrt(days / years) if years > 0 else math.nan
    growth = final / opening
    cagr = (growth ** (1.0 / years) - 1.0 if growth > 0 else -1.0) if years > 0 else math.nan
    won, lost = s[state.GROSS_WIN], s[state.GROSS_LOSS]
    return {
        "final_equity": final / unit,
        "net_profit": (final - opening) / unit,
        "total_return": growth - 1.0,
        "cagr": cagr,
        "sharpe": _over(mean, deviation) * yearly,
        "sortino": _over(mean, downside) * yearly,
        "max_drawdown": drawdown,
        "calmar": _over(cagr, drawdown),
        "profit_factor": _over(won, lost) if lost or not won else math.inf,
        "expectancy": _over(won - lost, trades * unit),
        "win_rate": _over(wins, trades),
        "average_win": _over(won, wins * unit),
        "average_loss": _over(-lost, (trades - wins) * unit),
        "exposure": s[state.BARS_IN] / bars,
        "trades": trades,
        "commission": s[state.COMMISSION] / unit,
        "swap": s[state.SWAP] / unit,
        "skipped": s[state.SKIPS],
    }


def _over_many(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    out = np.full(len(a), math.nan)
    np.divide(a, b, out=out, where=b != 0)
    return out


def statistics_of_many(
    totals: Mapping[int, npt.NDArray[np.int64]],
    moments: npt.NDArray[np.float64],
    final: npt.NDArray[np.int64],
    bars: int,
    days: int,
    span_ns: int,
    money_digits: int,
) -> dict[str, npt.NDArray[Any]]:
    """Compute `statistics` for many runs on the same bars, column by column; every number equals that of one run.

    Parameters
    ----------
    totals
        The loop's totals by cell, one value a run.
    moments
        The loop's moments, one column a run.
    final
        Equity at the last close, minor units.
    bars, days, span_ns, money_digits
        As in `statistics`.
    """
    drawdown, mean, deviation, downside = moments
    opening, trades, wins = totals[state.OPENING], totals[state.TRADES], totals[state.WINS]
    won, lost = totals[state.GROSS_WIN], totals[state.GROSS_LOSS]
    unit = 10**money_digits
    years = span_ns / YEAR_NS
    yearly = math.sqrt(days / years) if years > 0 else math.nan
    growth = final / opening
    # the power of Python, one by one: numpy's own may differ in the last bit
    power = 1.0 / years if years > 0 else math.nan
    cagr = np.array(
        [(g**power - 1.0 if g > 0 else -1.0) if years > 0 else math.nan for g in growth.tolist()], np.float64
    )
    never_lost = np.where(won != 0, math.inf, math.nan)
    return {
        "final_equity": final / unit,
        "net_profit": (final - opening) / unit,
        "total_return": growth - 1.0,
        "cagr": cagr,
        "sharpe": _over_many(mean, deviation) * yearly,
        "sortino": _over_many(mean, downside) * yearly,
        "max_drawdown": drawdown,
        "calmar": _over_many(cagr, drawdown),
        "profit_factor": np.where(lost != 0, _over_many(won, lost), never_lost),
        "expectancy": _over_many(won - lost, trades * unit),
        "win_rate": _over_many(wins, trades),
        "average_win": _over_many(won, wins * unit),
        "average_loss": _over_many(-lost, (trades - wins) * unit),
        "exposure": totals[state.BARS_IN] / bars,
        "trades": trades,
        "commission": totals[state.COMMISSION] / unit,
        "swap": totals[state.SWAP] / unit,
        "skipped": totals[state.SKIPS],
    }

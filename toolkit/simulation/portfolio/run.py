"""Drives the portfolio loop: symbols laid on the moments they share, records out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.simulation import state
from toolkit.simulation.compiling.compiled import compiled_portfolio_loop
from toolkit.simulation.holding.swap import SWAP_OFF
from toolkit.simulation.portfolio import cells, loop
from toolkit.simulation.run import Plan, Terms

if TYPE_CHECKING:
    from toolkit.market import Bars

__all__ = ["Leg", "PortfolioRun", "nights_of_bars", "run_portfolio"]

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Leg:
    """One symbol of a portfolio.

    Attributes
    ----------
    bars, plan, terms
        Its bars, what was decided on each, and its sizes, costs and guards; what the account shares is that of the first.
    nights
        Nights charged at each bar.
    value
        Point value at each shared moment and after the last bar, pairs (num, den).
    """

    bars: Bars
    plan: Plan
    terms: Terms
    nights: Int64
    value: Int64


@dataclass(frozen=True, slots=True)
class PortfolioRun:
    """Records of one run; moments are rows of ``ts``.

    Attributes
    ----------
    ts
        Opens of the moments, UTC nanoseconds.
    trades
        int64 (k, 11): symbol, side, steps, entry, entry price, exit, exit price, reason, profit, commission, swap.
    skips
        int64 (s, 4): symbol, moment, side, reason.
    equity, daily
        Equity at the close of each moment and at the end of each platform day, minor units.
    totals, moments
        As in `toolkit.simulation.run.Run`.
    open
        int64 (symbols, width): state of each symbol at the end, see `toolkit.simulation.portfolio.cells`.
    last_value
        Point value of each symbol after its last bar, as (num, den).
    """

    ts: Int64
    trades: Int64
    skips: Int64
    equity: Int64
    daily: Int64
    totals: Int64
    moments: npt.NDArray[np.float64]
    open: Int64
    last_value: list[tuple[int, int]]


def run_portfolio(legs: Sequence[Leg], ts: Int64, new_day: npt.NDArray[np.uint8]) -> PortfolioRun:
    """Simulate one strategy on several symbols that share an account.

    Parameters
    ----------
    legs
        Symbols in their declared order.
    ts
        The shared moments, see `toolkit.market.series.several.shared_moments`.
    new_day
        1 where a moment is the first of its platform day, the very first excepted.
    """
    n, days = len(ts), int(new_day.sum()) + 1
    x = np.stack([_columns(leg, ts) for leg in legs])
    value = np.stack([leg.value for leg in legs])
    p = np.stack([_cells(leg.terms) for leg in legs])
    loop.forget_positions(p)
    busy = ((x[:, cells.X_DECISION] & 3) != 0).any(axis=0).view(np.uint8)
    first = legs[0]
    trades, skips = max(256, n // 8), max(256, n // 8)
    f = np.zeros(state.WIDTH_F)
    w = _memory(first.terms, first.plan, n, days, trades, skips)
    simulate: Any = compiled_portfolio_loop().simulate_many
    with np.errstate(over="raise"):
        while simulate(x, value, new_day, busy, float(first.plan.rr), w, p, f) == state.GROW:
            trades, skips = 2 * trades, 2 * skips
            w = _grown(w, n, days, trades, skips)
    k, m = int(w[state.TRADES]), int(w[state.SKIPS])

    def part(at: int, size: int) -> Int64:
        start = int(w[at])
        return w[start : start + size]

    return PortfolioRun(
        ts,
        part(state.TRADES_AT, k * cells.TRADE_FIELDS).reshape(k, cells.TRADE_FIELDS),
        part(state.SKIPS_AT, m * cells.SKIP_FIELDS).reshape(m, cells.SKIP_FIELDS),
        part(state.EQUITY_AT, n),
        part(state.DAILY_AT, days),
        w[: state.WIDTH],
        f,
        p,
        [(int(num), int(den)) for num, den in value[:, -1].tolist()],
    )


def _columns(leg: Leg, ts: Int64) -> Int32:
    """Lay one symbol's columns on the shared moments."""
    bars, plan = leg.bars, leg.plan
    n, count = len(ts), len(bars)
    at = np.searchsorted(ts, bars.ts)
    x = np.zeros((cells.WIDTH_X, n), np.int32)
    x[cells.X_HERE, at] = 1
    last = np.searchsorted(bars.ts, ts, side="right") - 1  # its bar of the moment, or the last one before
    known = last >= 0
    row = last[known]
    x[cells.X_BAR] = last
    for first, side in ((cells.X_BID_OPEN, "bid"), (cells.X_ASK_OPEN, "ask")):
        close = getattr(bars, f"{side}_close")
        for offset, name in enumerate(("open", "high", "low", "close")):
            x[first + offset, known] = close[row]
            x[first + offset, at] = getattr(bars, f"{side}_{name}")
    decided = np.arange(count - 1)  # the decision of a bar is carried out where the next one opens
    moments = at[1:]
    x[cells.X_DECISION, moments] = plan.code[:-1]
    x[cells.X_STOP, moments] = plan.stop_points[decided] if len(plan.stop_points) > 1 else plan.stop_points[0]
    if plan.target_points is not None:
        target = plan.target_points
        x[cells.X_TARGET, moments] = target[decided] if len(target) > 1 else target[0]
    x[cells.X_NIGHTS, at] = leg.nights
    return x


def _cells(terms: Terms) -> Int64:
    p = np.zeros(cells.WIDTH_P, np.int64)
    p[: cells.P_POS] = (
        terms.fixed_steps,
        terms.risk_ppm,
        terms.min_steps,
        terms.max_steps,
        terms.costs.commission_num,
        terms.costs.commission_den,
        terms.costs.slippage_points,
        terms.max_spread_points,
        terms.max_lots_steps,
        terms.margin.mode,
        terms.margin.num,
        terms.margin.den,
        terms.swap.mode,
        terms.swap.long,
        terms.swap.short,
        terms.swap.den,
    )
    return p


def _memory(terms: Terms, plan: Plan, n: int, days: int, trades: int, skips: int) -> Int64:
    w = _laid_out(n, days, trades, skips)
    w[[state.BALANCE, state.BASE, state.PEAK_BASE, state.PEAK, state.TROUGH, state.OPENING]] = terms.balance
    w[[state.WORST_PEAK, state.WORST_TROUGH]] = terms.balance
    w[state.STOP_REQUIRED] = terms.stop_required
    w[state.HAS_TARGET] = plan.rr > 0.0 or plan.target_points is not None
    w[state.REVERSES] = terms.reverses
    w[state.DAILY_LOSS_PPM] = terms.daily_loss_ppm
    w[state.DRAWDOWN_PPM] = terms.drawdown_ppm
    w[state.MAX_LOSSES] = terms.max_losses
    w[state.MAX_OPEN_LIMIT] = terms.max_open
    w[state.MAX_OPEN_RUN_LIMIT] = terms.max_open_run
    w[state.COOLDOWN_BARS] = terms.cooldown_bars
    w[state.EXPOSURE_CENTI] = terms.exposure_centi
    w[state.STOP_OUT_PERCENT] = terms.margin.stop_out_percent
    return w


def _laid_out(n: int, days: int, trades: int, skips: int) -> Int64:
    ends = np.cumsum([state.WIDTH, days, n, skips * cells.SKIP_FIELDS, trades * cells.TRADE_FIELDS])
    w = np.zeros(int(ends[-1]), np.int64)
    w[state.BARS] = n
    w[state.DAYS] = days
    w[[state.DAILY_AT, state.EQUITY_AT, state.SKIPS_AT, state.TRADES_AT]] = ends[:-1]
    w[state.TRADE_CAPACITY] = trades
    w[state.SKIP_CAPACITY] = skips
    return w


def _grown(old: Int64, n: int, days: int, trades: int, skips: int) -> Int64:
    new = _laid_out(n, days, trades, skips)
    places = (state.DAILY_AT, state.EQUITY_AT, state.SKIPS_AT, state.TRADES_AT)
    kept = [k for k in range(state.WIDTH) if k not in (*places, state.TRADE_CAPACITY, state.SKIP_CAPACITY)]
    new[kept] = old[kept]
    for at, end in zip(places, (*(int(old[k]) for k in places[1:]), len(old)), strict=True):
        size = end - int(old[at])
        new[int(new[at]) : int(new[at]) + size] = old[int(old[at]) : end]
    return new


def nights_of_bars(count: int, terms: Terms, day_last: Int64) -> Int64:
    """Nights charged at each bar of a symbol, from those at the first bar of each platform day."""
    nights = np.zeros(count, np.int64)
    if terms.swap.mode != SWAP_OFF:
        nights[day_last[:-1] + 1] = terms.nights[1:]
    return nights

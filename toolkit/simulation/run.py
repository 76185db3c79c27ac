"""Drives the loop: parameters in, records out, growing the record arrays as trades come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.simulation import loop, state
from toolkit.simulation.account import Costs
from toolkit.simulation.compiled import compiled_loop

if TYPE_CHECKING:
    from toolkit.market import Bars

__all__ = ["OpenTrade", "Plan", "Prices", "Run", "Terms", "run_loop"]

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]

_ONE = np.ones(1, np.int64)
_NO_TARGET = np.zeros(1, np.int32)
_NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Prices:
    """Bid and ask bars in points, and the last bar of each platform day."""

    bid_open: Int32
    bid_high: Int32
    bid_low: Int32
    bid_close: Int32
    ask_open: Int32
    ask_high: Int32
    ask_low: Int32
    ask_close: Int32
    day_last: Int64

    @classmethod
    def of(cls, bars: Bars, day_last: Int64) -> Prices:
        """Take the columns of bars."""
        return cls(
            bars.bid_open,
            bars.bid_high,
            bars.bid_low,
            bars.bid_close,
            bars.ask_open,
            bars.ask_high,
            bars.ask_low,
            bars.ask_close,
            day_last,
        )

    def columns(self) -> tuple[Int32, ...]:
        """The eight price columns in the loop's order."""
        return (
            self.bid_open,
            self.bid_high,
            self.bid_low,
            self.bid_close,
            self.ask_open,
            self.ask_high,
            self.ask_low,
            self.ask_close,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What the strategy decided at each closed bar.

    Attributes
    ----------
    code
        Decision bits, uint8.
    stop_points
        Stop distance, one a bar or one for all; 0 is no stop.
    target_points
        Target distance, one a bar or one for all; None when the target is a ratio or there is none.
    rr
        Target as a multiple of the stop; 0.0 when it is not.
    """

    code: npt.NDArray[np.uint8]
    stop_points: Int32
    target_points: Int32 | None = None
    rr: float = 0.0


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything else a run depends on, in the loop's integers."""

    balance: int
    min_steps: int
    max_steps: int
    value_num: Int64 = field(default_factory=lambda: _ONE)
    value_den: Int64 = field(default_factory=lambda: _ONE)
    fixed_steps: int = 0
    risk_ppm: int = 0
    costs: Costs = field(default_factory=Costs)
    daily_loss_ppm: int = 0
    max_open: int = 0
    cooldown_bars: int = 0
    max_spread_points: int = 0
    at_close: bool = False
    stop_required: bool = True
    reverses: bool = True


@dataclass(frozen=True, slots=True)
class OpenTrade:
    """The position left open after the last bar."""

    side: int
    steps: int
    entry_bar: int
    entry_price: int
    stop: int
    target: int
    commission: int


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one run.

    Attributes
    ----------
    trades
        int64 (k, 10): side, steps, entry bar, entry price, exit bar, exit price, reason, profit, commission, swap.
    skips
        int64 (s, 3): bar, side, reason of entries that were not made.
    equity
        int64 (n,): minor units at the close of each bar; empty in a run without records.
    daily
        int64 (d,): equity at the last close of each platform day.
    totals
        The loop's integer state at the end (names in `toolkit.simulation.state`).
    moments
        The loop's float state: largest fall from a peak of ``equity`` relative to the peak, then the daily returns'
        mean, sample deviation and downside deviation.
    """

    trades: Int64
    skips: Int64
    equity: Int64
    daily: Int64
    totals: Int64
    moments: npt.NDArray[np.float64]

    @property
    def open_trade(self) -> OpenTrade | None:
        """The position that is still open, None when flat."""
        s = self.totals
        if s[state.POS] == 0:
            return None
        return OpenTrade(*(int(s[k]) for k in _OPEN_FIELDS))


_OPEN_FIELDS = (state.POS, state.STEPS, state.ENTRY_BAR, state.ENTRY_PRICE, state.SL, state.TP, state.ENTRY_COST)


def parameters(n: int, plan: Plan, terms: Terms, full: bool) -> Int64:
    """Write plan and terms into the loop's parameter array."""
    p = np.zeros(state.WIDTH_P, np.int64)
    p[state.BARS] = n
    p[state.FIXED_STEPS] = terms.fixed_steps
    p[state.RISK_PPM] = terms.risk_ppm
    p[state.MIN_STEPS] = terms.min_steps
    p[state.MAX_STEPS] = terms.max_steps
    p[state.COMMISSION_NUM] = terms.costs.commission_num
    p[state.COMMISSION_DEN] = terms.costs.commission_den
    p[state.SLIPPAGE] = terms.costs.slippage_points
    p[state.AT_CLOSE] = terms.at_close
    p[state.STOP_REQUIRED] = terms.stop_required
    p[state.HAS_TARGET] = plan.rr > 0.0 or plan.target_points is not None
    p[state.STOP_STRIDE] = len(plan.stop_points) > 1
    p[state.TARGET_STRIDE] = plan.target_points is not None and len(plan.target_points) > 1
    p[state.VALUE_STRIDE] = len(terms.value_num) > 1 or len(terms.value_den) > 1
    p[state.REVERSES] = terms.reverses
    p[state.DAILY_LOSS_PPM] = terms.daily_loss_ppm
    p[state.MAX_OPEN_LIMIT] = terms.max_open
    p[state.COOLDOWN_BARS] = terms.cooldown_bars
    p[state.MAX_SPREAD_POINTS] = terms.max_spread_points
    p[state.FULL] = full
    return p


def first_state(terms: Terms) -> tuple[Int64, npt.NDArray[np.float64]]:
    """State before the first bar."""
    s = np.zeros(state.WIDTH_S, np.int64)
    s[state.NEXT] = 0 if terms.at_close else 1
    s[[state.BALANCE, state.BASE, state.PEAK, state.TROUGH, state.OPENING]] = terms.balance
    s[state.LAST_EXIT] = state.NEVER
    return s, np.zeros(state.WIDTH_F)


def run_loop(prices: Prices, plan: Plan, terms: Terms, *, full: bool = True) -> Run:
    """Simulate one strategy on one symbol.

    Parameters
    ----------
    prices, plan, terms
        Columns of equal length, decisions and parameters.
    full
        Write equity, trades and skips; False keeps only totals and daily equity (sweeps).
    """
    n = len(prices.bid_open)
    p = parameters(n, plan, terms, full)
    s, f = first_state(terms)
    daily = np.empty(len(prices.day_last), np.int64)
    equity = np.empty(n if full else 0, np.int64)
    trades, skips = _NOTHING, _NOTHING
    num, den = terms.value_num, terms.value_den
    if p[state.VALUE_STRIDE]:
        num, den = (np.broadcast_to(a, n).copy() if len(a) == 1 else a for a in (num, den))
    target = _NO_TARGET if plan.target_points is None else plan.target_points
    fixed: tuple[Any, ...] = (
        *prices.columns(),
        plan.code,
        plan.stop_points,
        target,
        float(plan.rr),
        num,
        den,
        prices.day_last,
    )
    module = compiled_loop()
    if module is loop:
        return _interpreted(fixed, p, s, f, n, full)
    trades_cap, skips_cap = max(64, n // 64), max(64, n // 256)
    if full:
        trades, skips = _grown(trades, trades_cap, state.TRADE_WIDTH), _grown(skips, skips_cap, state.SKIP_WIDTH)
    p[state.TRADE_CAPACITY], p[state.SKIP_CAPACITY] = trades_cap, skips_cap
    while module.simulate(*fixed, p, s, f, daily, equity, trades, skips) == state.GROW:
        trades_cap, skips_cap = 2 * trades_cap, 2 * skips_cap
        trades, skips = _grown(trades, trades_cap, state.TRADE_WIDTH), _grown(skips, skips_cap, state.SKIP_WIDTH)
        p[state.TRADE_CAPACITY], p[state.SKIP_CAPACITY] = trades_cap, skips_cap
    return _records(trades, skips, equity, daily, s, f, full)


def _grown(old: Int64, rows: int, width: int) -> Int64:
    new = np.empty(rows * width, np.int64)
    new[: len(old)] = old
    return new


def _records(
    trades: Int64,
    skips: Int64,
    equity: Int64,
    daily: Int64,
    s: Int64,
    f: npt.NDArray[np.float64],
    full: bool,
) -> Run:
    k, m = (int(s[state.TRADES]), int(s[state.SKIPS])) if full else (0, 0)
    return Run(
        trades[: k * state.TRADE_WIDTH].reshape(k, state.TRADE_WIDTH),
        skips[: m * state.SKIP_WIDTH].reshape(m, state.SKIP_WIDTH),
        equity,
        daily,
        s,
        f,
    )


class _Growing(list[int]):
    """A list that takes writes one past its end, as the loop's record arrays."""

    def __setitem__(self, at: Any, value: Any) -> None:
        if at == len(self):
            self.append(value)
        else:
            super().__setitem__(at, value)


def _interpreted(fixed: tuple[Any, ...], p: Int64, s: Int64, f: npt.NDArray[np.float64], n: int, full: bool) -> Run:
    """The same run by the plain functions on Python integers: exact, and several times faster than on numpy scalars."""
    p[state.TRADE_CAPACITY] = p[state.SKIP_CAPACITY] = 1 << 60
    columns: list[Any] = [a.tolist() if isinstance(a, np.ndarray) else a for a in fixed]
    whole, floats = s.tolist(), f.tolist()
    equity = [0] * (n if full else 0)
    daily = [0] * len(columns[-1])
    trades, skips = _Growing(), _Growing()
    simulate: Any = loop.simulate
    simulate(*columns, p.tolist(), whole, floats, daily, equity, trades, skips)

    def column(values: list[int]) -> Int64:
        return np.array(values, np.int64)

    return _records(column(trades), column(skips), column(equity), column(daily), column(whole), np.array(floats), full)

"""Drives the loop: parameters in, records out, growing the record arrays as trades come."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.simulation import loop, state
from toolkit.simulation.account import Costs
from toolkit.simulation.compiling.compiled import compiled_loop, compiled_managed_loop, loop_at_hand
from toolkit.simulation.compiling.stretches_compiled import BLOCK_BITS
from toolkit.simulation.holding.swap import SWAP_OFF
from toolkit.simulation.holding.terms import MarginTerms, SwapTerms
from toolkit.simulation.managed import loop as managed_loop
from toolkit.simulation.managed.plan import ManagedPlan
from toolkit.simulation.rates import largest_value

if TYPE_CHECKING:
    from toolkit.market import Bars

__all__ = ["Memory", "OpenTrade", "Plan", "Prices", "Run", "Terms", "arguments", "run_loop", "run_totals"]

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]

_ONE = np.ones(2, np.int64)
_NO_NIGHTS = np.zeros(0, np.int64)
_NO_TARGET = np.zeros(1, np.int32)
FEW_BARS = 1_000_000  # a single run that does not wait for the compiler: interpreted it takes a second
_NO_BLOCKS = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Prices:
    """Bid and ask bars in points, and the last bar of each platform day.

    Attributes
    ----------
    blocks
        Extremes of sixteen bars each, which let a compiled run step over them; empty when they are not worth making.
    """

    bid_open: Int32
    bid_high: Int32
    bid_low: Int32
    bid_close: Int32
    ask_open: Int32
    ask_high: Int32
    ask_low: Int32
    ask_close: Int32
    day_last: Int64
    blocks: Int32 = field(default_factory=lambda: _NO_BLOCKS)

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

    def with_blocks(self) -> Prices:
        """Add the extremes of blocks of bars, for many runs on the same prices."""
        module = compiled_loop()
        if module is loop:
            return self
        count = len(self.bid_low) >> BLOCK_BITS
        blocks = np.empty(4 * count, np.int32)
        module.price_blocks(self.bid_low, self.bid_high, blocks, 0)
        module.price_blocks(self.ask_low, self.ask_high, blocks, 2 * count)
        return replace(self, blocks=blocks)


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
    managed
        Pending entries and what moves a position; None for market entries with stop and target.
    """

    code: npt.NDArray[np.uint8]
    stop_points: Int32
    target_points: Int32 | None = None
    rr: float = 0.0
    managed: ManagedPlan | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything else a run depends on, in the loop's integers.

    Attributes
    ----------
    value
        Point value as a flat run of pairs (num, den): one pair for all bars, or one a bar, that of its close.
    margin, swap
        What holding a position needs and costs.
    nights
        Nights charged at the first bar of each platform day; empty without swap.
    """

    balance: int
    min_steps: int
    max_steps: int
    value: Int64 = field(default_factory=lambda: _ONE)
    fixed_steps: int = 0
    risk_ppm: int = 0
    costs: Costs = field(default_factory=Costs)
    daily_loss_ppm: int = 0
    max_open: int = 0
    cooldown_bars: int = 0
    max_spread_points: int = 0
    drawdown_ppm: int = 0
    max_losses: int = 0
    max_open_run: int = 0
    max_lots_steps: int = 0
    exposure_centi: int = 0
    at_close: bool = False
    stop_required: bool = True
    reverses: bool = True
    margin: MarginTerms = field(default_factory=MarginTerms)
    swap: SwapTerms = field(default_factory=SwapTerms)
    nights: Int64 = field(default_factory=lambda: _NO_NIGHTS)


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


_OPEN_FIELDS = (state.POS, state.STEPS, state.ENTRY_BAR, state.ENTRY_PRICE, state.SL, state.TP, state.ENTRY_COST)


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
        The loop's named cells at the end (names in `toolkit.simulation.state`).
    moments
        Largest fall of equity relative to its peak, then the daily returns' mean, sample deviation and downside
        deviation.
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


class Memory:
    """The loop's working memory for runs on the same bars; a sweep uses one again and again."""

    def __init__(self, prices: Prices, terms: Terms, *, full: bool) -> None:
        n, days = len(prices.bid_open), len(prices.day_last)
        swapped = terms.swap.mode != SWAP_OFF
        self._sizes = [2 * days if swapped else days, days, n if full else 0]
        trades, skips = (max(64, n // 16), max(64, n // 64)) if full else (0, 0)
        self.w = self._laid_out(trades, skips)
        w = self.w
        w[state.BARS] = n
        w[state.FULL] = full
        w[state.DAYS] = days
        first = int(w[state.DAY_LAST_AT])
        w[first : first + days] = prices.day_last
        if swapped:
            w[first + days : first + 2 * days] = terms.nights
        w[state.FIXED_STEPS] = terms.fixed_steps
        w[state.RISK_PPM] = terms.risk_ppm
        w[state.MIN_STEPS] = terms.min_steps
        w[state.MAX_STEPS] = terms.max_steps
        w[state.COMMISSION_NUM] = terms.costs.commission_num
        w[state.COMMISSION_DEN] = terms.costs.commission_den
        w[state.SLIPPAGE] = terms.costs.slippage_points
        w[state.AT_CLOSE] = terms.at_close
        w[state.STOP_REQUIRED] = terms.stop_required
        w[state.VALUE_STRIDE] = 2 if len(terms.value) > 2 else 0
        w[state.REVERSES] = terms.reverses
        w[state.DAILY_LOSS_PPM] = terms.daily_loss_ppm
        w[state.MAX_OPEN_LIMIT] = terms.max_open
        w[state.COOLDOWN_BARS] = terms.cooldown_bars
        w[state.MAX_SPREAD_POINTS] = terms.max_spread_points
        w[state.DRAWDOWN_PPM] = terms.drawdown_ppm
        w[state.MAX_LOSSES] = terms.max_losses
        w[state.MAX_OPEN_RUN_LIMIT] = terms.max_open_run
        w[state.MAX_LOTS_STEPS] = terms.max_lots_steps
        w[state.EXPOSURE_CENTI] = terms.exposure_centi
        margin, swap = terms.margin, terms.swap
        w[state.MARGIN_MODE : state.STOP_OUT_PERCENT + 1] = astuple(margin)
        w[state.MOST_NUM], w[state.MOST_DEN] = largest_value(terms.value)
        w[state.SWAP_MODE : state.SWAP_DEN + 1] = (swap.mode, swap.long, swap.short, swap.den)
        self._balance = terms.balance

    def _laid_out(self, trades: int, skips: int) -> Int64:
        sizes = [*self._sizes, skips * state.SKIP_WIDTH, trades * state.TRADE_WIDTH]
        ends = np.cumsum([state.WIDTH, *sizes])
        w = np.empty(int(ends[-1]), np.int64)  # pages nothing is written to cost nothing
        w[: state.WIDTH] = 0
        w[state.DAY_LAST_AT : state.TRADES_AT + 1] = ends[:-1]
        w[state.TRADE_CAPACITY] = trades
        w[state.SKIP_CAPACITY] = skips
        return w

    def begin(self, plan: Plan) -> None:
        """Reset the state for a new run of ``plan``."""
        w = self.w
        w[state.FIRST_STATE : state.END_STATE] = 0
        w[[state.BALANCE, state.BASE, state.PEAK_BASE, state.PEAK, state.TROUGH, state.OPENING]] = self._balance
        w[[state.WORST_PEAK, state.WORST_TROUGH]] = self._balance
        w[state.NEXT] = 0 if w[state.AT_CLOSE] else 1
        w[state.LAST_EXIT] = state.NEVER
        w[state.HAS_TARGET] = plan.rr > 0.0 or plan.target_points is not None
        w[state.STOP_STRIDE] = len(plan.stop_points) > 1
        w[state.TARGET_STRIDE] = plan.target_points is not None and len(plan.target_points) > 1

    def grow(self) -> None:
        """Double the room for records, keeping everything."""
        old = self.w
        new = self._laid_out(2 * int(old[state.TRADE_CAPACITY]), 2 * int(old[state.SKIP_CAPACITY]))
        keep = [*range(state.TRADE_CAPACITY), state.DAYS, *range(state.FIRST_STATE, state.WIDTH)]
        new[keep] = old[keep]
        for at in (state.DAY_LAST_AT, state.DAILY_AT, state.EQUITY_AT, state.SKIPS_AT, state.TRADES_AT):
            end = len(old) if at == state.TRADES_AT else int(old[at + 1])
            size = end - int(old[at])
            new[int(new[at]) : int(new[at]) + size] = old[int(old[at]) : end]
        self.w = new

    def part(self, at: int, size: int) -> Int64:
        """One output, as a view."""
        first = int(self.w[at])
        return self.w[first : first + size]


def arguments(prices: Prices, plan: Plan, terms: Terms) -> tuple[Any, ...]:
    """What ``simulate`` takes before its working memory, and what ``simulate_managed`` takes besides."""
    target = _NO_TARGET if plan.target_points is None else plan.target_points
    fixed = (*prices.columns(), plan.code, plan.stop_points, target, float(plan.rr), terms.value)
    managed = plan.managed
    if managed is None:
        return (*fixed, prices.blocks)
    return (*fixed, managed.ts, managed.levels, managed.ratios, managed.memory)


def run_loop(prices: Prices, plan: Plan, terms: Terms, *, full: bool = True, memory: Memory | None = None) -> Run:
    """Simulate one strategy on one symbol.

    Parameters
    ----------
    prices, plan, terms
        Columns of equal length, decisions and parameters.
    full
        Write equity, trades and skips; False keeps only totals and daily equity (sweeps).
    memory
        Working memory of an earlier run on the same prices, terms and ``full``; its outputs are overwritten.
    """
    memory = memory or Memory(prices, terms, full=full)
    f = np.zeros(state.WIDTH_F)
    run_totals(prices, plan, terms, memory, f)
    w = memory.w
    k, m, n = (int(w[state.TRADES]), int(w[state.SKIPS]), int(w[state.BARS])) if full else (0, 0, 0)
    return Run(
        memory.part(state.TRADES_AT, k * state.TRADE_WIDTH).reshape(k, state.TRADE_WIDTH),
        memory.part(state.SKIPS_AT, m * state.SKIP_WIDTH).reshape(m, state.SKIP_WIDTH),
        memory.part(state.EQUITY_AT, n),
        memory.part(state.DAILY_AT, int(w[state.DAYS])),
        w[: state.WIDTH],
        f,
    )


def run_totals(prices: Prices, plan: Plan, terms: Terms, memory: Memory, moments: npt.NDArray[np.float64]) -> None:
    """Simulate as `run_loop` does, leaving everything in the working memory and the moments in ``moments``."""
    memory.begin(plan)
    fixed = arguments(prices, plan, terms)
    if plan.managed is None:
        few = memory.w[state.FULL] and memory.w[state.BARS] <= FEW_BARS
        module = loop_at_hand() if few else compiled_loop()
        step, plain = module.simulate, module is loop
    else:
        plan.managed.begin()
        module = compiled_managed_loop()
        step, plain = module.simulate_managed, module is managed_loop
    if plain:
        _interpreted(step, fixed, memory, moments)
        return
    while step(*fixed, memory.w, moments) == state.GROW:
        memory.grow()


def _interpreted(simulate: Any, fixed: tuple[Any, ...], memory: Memory, f: npt.NDArray[np.float64]) -> None:
    """The same run by the plain functions on Python integers: exact, and several times faster than on numpy scalars."""
    columns: list[Any] = [a.tolist() if isinstance(a, np.ndarray) else a for a in fixed]
    moments = f.tolist()
    while True:
        w = memory.w
        cells = w.tolist()
        answer = simulate(*columns, cells, moments)
        w[:] = cells
        if answer == state.DONE:
            break
        memory.grow()
    f[:] = moments

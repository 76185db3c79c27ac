"""An independent reference simulator, written from the rules' text with Decimals and fractions, one bar at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import pytest


def _half_away(value: Fraction) -> int:
    whole = abs(value) + Fraction(1, 2)
    rounded = whole.numerator // whole.denominator
    return rounded if value >= 0 else -rounded


@dataclass
class Case:
    """Everything a run depends on, in plain Python numbers; prices are lists of (bid o h l c, ask o h l c)."""

    rows: list[tuple[int, ...]]
    code: list[int]
    stop: list[int]
    target: list[int] | None = None
    ratio: Fraction | None = None
    balance: int = 1_000_000
    rates: list[Fraction] = field(default_factory=lambda: [Fraction(1)])
    fixed_steps: int = 0
    risk: Fraction = Fraction(1, 100)
    min_steps: int = 1
    max_steps: int = 1_000_000
    commission: Fraction = Fraction(0)
    slippage: int = 0
    at_close: bool = False
    has_stop: bool = True
    daily_loss: Fraction | None = None
    cooldown: int = 0
    max_spread: int | None = None
    drawdown: Fraction | None = None
    max_losses: int | None = None
    max_steps_open: int | None = None
    exposure: Fraction | None = None
    closed_hours: list[bool] = field(default_factory=list)
    days: list[int] = field(default_factory=list)
    margin: tuple[int, Fraction] | None = None  # 1: part of the notional, 2: money a step
    stop_out: int = 50
    swap: tuple[int, Fraction, Fraction] | None = None  # 1: points, 2: part of the price, 3: money a step; long, short
    nights: list[int] = field(default_factory=list)  # charged at the first bar of each day


@dataclass
class Outcome:
    """What a run did."""

    trades: list[tuple[int, ...]] = field(default_factory=list)
    skips: list[tuple[int, int, int]] = field(default_factory=list)
    equity: list[int] = field(default_factory=list)
    open: tuple[int, ...] | None = None


class _Book:
    """One account with at most one position."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.cash = case.balance
        self.position: dict[str, int] | None = None
        self.out = Outcome()
        self.last_exit: int | None = None
        self.base = self.highest = case.balance
        self.losses = 0  # in a row, today
        self.stopped = ""  # "", "today" or "for good"
        self.why = 0

    def new_day(self, equity: int) -> None:
        self.base = equity
        self.highest = max(self.highest, equity)
        self.losses = 0
        if self.stopped == "today":
            self.stopped = ""

    def rate(self, closed_bar: int) -> Fraction:
        rates = self.case.rates
        return rates[0] if len(rates) == 1 else rates[max(closed_bar, 0)]

    def marked(self, bid: int, ask: int, rate: Fraction) -> int:
        p = self.position
        if p is None:
            return self.cash
        gain = bid - p["entry"] if p["side"] == 1 else p["entry"] - ask
        return self.cash + _half_away(gain * p["steps"] * rate)

    def leave(self, bar: int, price: int, reason: int, rate: Fraction) -> None:
        p = self.position
        gain = price - p["entry"] if p["side"] == 1 else p["entry"] - price
        profit = _half_away(gain * p["steps"] * rate)
        cost = _half_away(self.case.commission * p["steps"])
        self.cash += profit - cost
        self.out.trades.append(
            (p["side"], p["steps"], p["bar"], p["entry"], bar, price, reason, profit, -cost - p["cost"], p["swap"])
        )
        net = profit - cost - p["cost"] + p["swap"]
        self.losses = self.losses + 1 if net < 0 else 0
        self.position = None
        self.last_exit = bar

    def decide(self, decided: int, bar: int, bid: int, ask: int, rate: Fraction) -> None:
        code, c, p = self.case.code[decided], self.case, self.position
        if p is not None:
            own, opposite = (4, 2) if p["side"] == 1 else (8, 1)
            if code & own or code & opposite:
                price = bid - c.slippage if p["side"] == 1 else ask + c.slippage
                self.leave(bar, price, 3 if code & own else 4, rate)
        if self.position is not None or not code & 3:
            return
        side = 1 if code & 1 else -1
        closed = bool(self.case.closed_hours) and self.case.closed_hours[decided]
        reason, position = self.entry(decided, bar, side, bid, ask, rate, closed)
        if reason:
            self.out.skips.append((bar, side, reason))
            return
        self.position = position
        self.cash -= position["cost"]

    def entry(self, decided, bar, side, bid, ask, rate, closed):
        c = self.case
        quote = ask if side == 1 else bid
        stop = c.stop[decided % len(c.stop)] if len(c.stop) > 1 else c.stop[0]
        wants_target = c.target is not None or c.ratio is not None
        target = 0
        if c.ratio is not None:
            target = int(c.ratio * stop + Fraction(1, 2))
        elif c.target is not None:
            target = c.target[decided] if len(c.target) > 1 else c.target[0]
        if c.has_stop or stop > 0:
            if stop <= 0:
                return 1, None
            if ask - stop >= bid if side == 1 else bid + stop <= ask:
                return 7, None
            if side == 1 and quote - stop <= 0:
                return 3, None
        if wants_target and (target <= 0 or (side == -1 and quote - target <= 0)):
            return 2, None
        if closed:
            return 25, None
        if self.stopped:
            return self.why, None
        if c.daily_loss is not None and self.base - self.cash >= self.base * c.daily_loss:
            self.stopped, self.why = "today", 16
        elif c.drawdown is not None and self.highest - self.cash >= self.highest * c.drawdown:
            self.stopped, self.why = "for good", 20
        elif c.max_losses is not None and self.losses >= c.max_losses:
            self.stopped, self.why = "today", 21
        if self.stopped:
            return self.why, None
        if c.cooldown and self.last_exit is not None and bar - self.last_exit <= c.cooldown:
            return 18, None
        if c.max_spread is not None and ask - bid > c.max_spread:
            return 19, None
        steps = c.fixed_steps
        if not steps:
            if self.cash <= 0:
                return 4, None
            steps = int(self.cash * c.risk / (stop * rate))
            if steps < c.min_steps:
                return 5, None
            steps = min(steps, c.max_steps)
        if c.max_steps_open is not None and steps > c.max_steps_open:
            return 23, None
        if c.exposure is not None and (self.cash <= 0 or _half_away(quote * steps * rate) > self.cash * c.exposure):
            return 24, None
        need = 0
        if c.margin is not None:
            mode, part = c.margin
            fill = quote + side * c.slippage
            need = _half_away((_half_away(fill * steps * rate) if mode == 1 else steps) * part)
            if need > self.cash:
                return 6, None
        return 0, {
            "need": need,
            "swap": 0,
            "side": side,
            "steps": steps,
            "bar": bar,
            "entry": quote + side * c.slippage,
            "sl": quote - side * stop if stop > 0 else None,
            "tp": quote + side * target if target else None,
            "cost": _half_away(c.commission * steps),
        }

    def gap(self, bar: int, bid: int, ask: int, rate: Fraction) -> None:
        p = self.position
        price = bid if p["side"] == 1 else ask
        if p["sl"] is not None and (price - p["sl"]) * p["side"] <= 0:
            self.leave(bar, price, 1, rate)
        elif p["tp"] is not None and (price - p["tp"]) * p["side"] >= 0:
            self.leave(bar, price, 2, rate)

    def broken(self, mark: int, rate: Fraction) -> bool:
        p = self.position
        return self.marked(mark, mark, rate) * 100 < p["need"] * self.case.stop_out

    def stop_out(self, bar: int, first: int, worst: int, rate: Fraction) -> None:
        """Walk point by point from the first to the worst price."""
        side = self.position["side"]
        for price in range(first, worst - side, -side):
            if self.broken(price, rate):
                self.leave(bar, price, 5, rate)
                return

    def pay(self, nights: int, bid: int, ask: int, rate: Fraction) -> None:
        p, (mode, long, short) = self.position, self.case.swap
        price = bid if p["side"] == 1 else ask
        each = (long if p["side"] == 1 else short) * p["steps"] * nights
        paid = _half_away(each * {1: rate, 2: price * rate, 3: Fraction(1)}[mode])
        p["swap"] += paid
        self.cash += paid

    def watch(self, bar: int, row: tuple[int, ...], rate: Fraction) -> None:
        p = self.position
        first, worst, best = (row[0], row[2], row[1]) if p["side"] == 1 else (row[4], row[5], row[6])
        if p["sl"] is not None and (worst - p["sl"]) * p["side"] <= 0:
            passed = (first - p["sl"]) * p["side"] <= 0
            self.leave(bar, first if passed else p["sl"], 1, rate)
        elif p["tp"] is not None and (best - p["tp"]) * p["side"] >= 0:
            self.leave(bar, p["tp"], 2, rate)


def run_reference(case: Case) -> Outcome:
    """Run the rules bar by bar."""
    book, n = _Book(case), len(case.rows)
    days = case.days or [0] * n
    for i, row in enumerate(case.rows):
        bid, ask = row[0], row[4]
        rate = book.rate(i - 1)
        if i and days[i] != days[i - 1]:
            if case.swap is not None and book.position is not None:
                book.pay(case.nights[days[i]], bid, ask, rate)
            book.new_day(book.marked(bid, ask, rate))
        if book.position is not None:
            book.gap(i, bid, ask, rate)
        if case.margin is not None and book.position is not None:
            mark = bid if book.position["side"] == 1 else ask
            book.stop_out(i, mark, mark, rate)
        if not case.at_close and i > 0:
            book.decide(i - 1, i, bid, ask, rate)
        if book.position is not None:
            book.watch(i, row, rate)
        if case.margin is not None and book.position is not None:
            book.stop_out(i, *((row[0], row[2]) if book.position["side"] == 1 else (row[4], row[5])), rate)
        if case.at_close and i < n - 1:
            book.decide(i, i, row[3], row[7], book.rate(i))
        book.out.equity.append(book.marked(row[3], row[7], book.rate(i)))
    p = book.position
    if p is not None:
        book.out.open = (p["side"], p["steps"], p["bar"], p["entry"], p["sl"] or 0, p["tp"] or 0, -p["cost"])
    return book.out


@pytest.fixture(scope="session")
def reference():
    """The reference simulator."""
    return run_reference


@pytest.fixture(scope="session")
def make_case():
    """Build a case from keyword arguments."""
    return Case


@pytest.fixture(scope="session")
def run_case():
    """Run a case through the real loop, compiled or plain."""
    import numpy as np

    from toolkit.simulation import run as driver
    from toolkit.simulation.account import Costs
    from toolkit.simulation.holding.terms import MarginTerms, SwapTerms

    def _swap_terms(mode: int, long: Fraction, short: Fraction) -> SwapTerms:
        den = long.denominator * short.denominator
        return SwapTerms(mode, int(long * den), int(short * den), den)

    def go(case: Case, *, full: bool = True):
        n = len(case.rows)
        columns = np.array(case.rows, np.int32).reshape(n, 8).T.copy()
        days = case.days or [0] * n
        last = [i for i in range(n) if i == n - 1 or days[i] != days[i + 1]]
        plan = driver.Plan(
            np.array(case.code, np.uint8) | (np.array(case.closed_hours or [False] * n, np.uint8) << 7),
            np.array(case.stop, np.int32),
            None if case.target is None else np.array(case.target, np.int32),
            0.0 if case.ratio is None else float(case.ratio),
        )
        terms = driver.Terms(
            balance=case.balance,
            min_steps=case.min_steps,
            max_steps=case.max_steps,
            value=np.array([part for r in case.rates for part in (r.numerator, r.denominator)], np.int64),
            fixed_steps=case.fixed_steps,
            risk_ppm=int(case.risk * 1_000_000),
            costs=Costs(case.commission.numerator, case.commission.denominator, case.slippage),
            daily_loss_ppm=0 if case.daily_loss is None else int(case.daily_loss * 1_000_000),
            cooldown_bars=case.cooldown,
            max_spread_points=case.max_spread or 0,
            drawdown_ppm=0 if case.drawdown is None else int(case.drawdown * 1_000_000),
            max_losses=case.max_losses or 0,
            max_lots_steps=case.max_steps_open or 0,
            exposure_centi=0 if case.exposure is None else int(case.exposure * 100),
            at_close=case.at_close,
            stop_required=case.has_stop,
            margin=MarginTerms()
            if case.margin is None
            else MarginTerms(case.margin[0], case.margin[1].numerator, case.margin[1].denominator, case.stop_out),
            swap=SwapTerms() if case.swap is None else _swap_terms(*case.swap),
            nights=np.array(case.nights if case.swap else [], np.int64),
        )
        return driver.run_loop(driver.Prices(*columns, np.array(last, np.int64)), plan, terms, full=full)

    return go

"""In the regime vectorbt can express, two engines that share no code make the same orders.

Fixed lots, no stops, no spread, one position. vectorbt computes its own indicators and signals from the raw prices with
pandas; only prices, windows and rules in words are shared. Orders of one bar at one price are compared as their sum.
"""

from __future__ import annotations

import random
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from toolkit.market import Bars
from toolkit.research.backtest import backtest
from toolkit.simulation.account import PaperAccount
from toolkit.strategy import (
    Entry,
    Exit,
    Float,
    Int,
    Lots,
    Pips,
    Protection,
    SectionedStrategy,
    crossed_above,
    crossed_below,
    ema,
    highest,
    lowest,
    rsi,
)
from toolkit.strategy.drivers.columnar import evaluate

vbt = pytest.importorskip("vectorbt")
CASES = 208
RICH = PaperAccount("USD", 10**9)


class _Base(SectionedStrategy):
    n = Int(10, 2, 200)
    m = Int(30, 2, 400)
    level = Float(30.0, 1.0, 49.0)
    lots = Float(0.1, 0.01, 5.0)

    def protection(self, x):
        return Protection()

    def risk(self):
        return Lots(self.lots)


class Cross(_Base):
    """Two averages cross; always in the market."""

    def indicators(self, bars):
        return {"a": ema(bars.close, self.n), "b": ema(bars.close, self.m)}

    def entry(self, x):
        return Entry(long=crossed_above(x.a, x.b), short=crossed_below(x.a, x.b))


class LongCross(Cross):
    """Two averages cross; long only, left at the opposite cross."""

    def entry(self, x):
        return Entry(long=crossed_above(x.a, x.b))

    def exit(self, x):
        return Exit(long=crossed_below(x.a, x.b))


class Reversal(_Base):
    """Oversold is bought, overbought is sold; each is left in the middle."""

    def indicators(self, bars):
        return {"r": rsi(bars.close, self.n)}

    def entry(self, x):
        return Entry(long=crossed_below(x.r, self.level), short=crossed_above(x.r, 100.0 - self.level))

    def exit(self, x):
        return Exit(long=crossed_above(x.r, 50.0), short=crossed_below(x.r, 50.0))


class Breakout(_Base):
    """The close leaves the range of the bars before."""

    def indicators(self, bars):
        return {"c": bars.close, "up": highest(bars.high, self.n).shift(1), "down": lowest(bars.low, self.n).shift(1)}

    def entry(self, x):
        return Entry(long=x.c > x.up, short=x.c < x.down)


def above(a, b):
    """Cross above in pandas, as in any textbook: now above, before not."""
    b = pd.Series(b, index=a.index) if np.isscalar(b) else b
    return (a > b) & (a.shift(1) <= b.shift(1))


def relative_strength(close, n):
    change = close.diff()
    up, down = change.clip(lower=0.0), (-change).clip(lower=0.0)
    gain = up.iloc[1:].ewm(alpha=1.0 / n, adjust=False, min_periods=n).mean().reindex(close.index)
    loss = down.iloc[1:].ewm(alpha=1.0 / n, adjust=False, min_periods=n).mean().reindex(close.index)
    value = 100.0 - 100.0 / (1.0 + gain / loss)
    value[(loss == 0.0) & (gain > 0.0)] = 100.0
    return value


def signals(kind, frame, p):
    """Long and short entries and exits of one rule, computed from prices alone."""
    close, never = frame["close"], pd.Series(False, index=frame.index)
    if kind in (Cross, LongCross):
        a, b = (close.ewm(span=n, adjust=False, min_periods=n).mean() for n in (p["n"], p["m"]))
        up, down = above(a, b), above(b, a)
        return (up, never, down, never) if kind is LongCross else (up, down, never, never)
    if kind is Reversal:
        r = relative_strength(close, p["n"])
        return (above(-r, -p["level"]), above(r, 100.0 - p["level"]), above(r, 50.0), above(-r, -50.0))
    up, down = frame["high"].rolling(p["n"]).max().shift(1), frame["low"].rolling(p["n"]).min().shift(1)
    return (close > up, close < down, never, never)


def plain(bars):
    """Open, high, low and close as a bare DataFrame of prices."""
    columns = {"open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(bars.ts, tz="UTC"))


def orders_of_vectorbt(kind, frame, p, at_close):
    long, short, leave_long, leave_short = signals(kind, frame, p)
    if at_close:  # the last bar decides nothing
        for s in (long, short, leave_long, leave_short):
            s.iloc[-1] = False
        price = frame["close"]
    else:
        long, short, leave_long, leave_short = (s.vbt.signals.fshift(1) for s in (long, short, leave_long, leave_short))
        price = frame["open"]
    clash = (long & short).to_numpy()
    portfolio = vbt.Portfolio.from_signals(
        frame["close"], entries=long & ~clash & ~leave_long, exits=leave_long, short_entries=short & ~clash & ~leave_short,
        short_exits=leave_short, price=price, size=p["lots"] * 100_000, init_cash=1e9, upon_opposite_entry="reverse",
        upon_dir_conflict="short", freq="1h",
    )  # fmt: skip
    found: dict[int, tuple[float, float]] = {}
    for record in portfolio.orders.records.to_dict("records"):
        signed = record["size"] * (1 if record["side"] == 0 else -1)
        found[record["idx"]] = (found.get(record["idx"], (0.0, 0.0))[0] + signed, record["price"])
    return found


def orders_of_ours(kind, bars, p, at_close):
    return orders_of(backtest(kind(**p), bars, account=RICH, fill_at="close" if at_close else "next_open"))


def orders_of(result):
    facts, found = result.bars.instrument, {}

    def add(bar, steps, price):
        units = float(facts.lots(steps) * facts.contract_size)
        found[bar] = (found.get(bar, (0.0, 0.0))[0] + units, float(facts.price(price)))

    for side, steps, entered, entry, left, price, *_ in result.run.trades.tolist():
        add(entered, side * steps, entry)
        add(left, -side * steps, price)
    if result.run.open_trade is not None:
        t = result.run.open_trade
        add(t.entry_bar, t.side * t.steps, t.entry_price)
    return found


@pytest.fixture(scope="module")
def no_spread(year):
    """The packaged year with ask equal to bid: a single price series, as vectorbt has it."""
    columns = {
        f"{side}_{k}": getattr(year, f"bid_{k}") for side in ("bid", "ask") for k in ("open", "high", "low", "close")
    }
    return Bars.from_arrays("EURUSD", "H1", year.ts, **columns)


def test_orders_equal_those_of_vectorbt(no_spread):
    """On 208 random strategies and slices: bars and sides ==, sizes and prices within 1e-12."""
    rng, orders = random.Random(20261122), 0
    for case in range(CASES):
        kind = (Cross, LongCross, Reversal, Breakout)[case % 4]
        start = rng.randrange(0, 4500)
        bars = no_spread[start : start + rng.randrange(300, 1500)]
        n = rng.randrange(3, 40)
        p = {"n": n, "m": n + rng.randrange(3, 90), "level": float(rng.randrange(20, 45)),
             "lots": float(Decimal(rng.randrange(1, 300)) / 100)}  # fmt: skip
        at_close = rng.random() < 0.5
        ours, theirs = orders_of_ours(kind, bars, p, at_close), orders_of_vectorbt(kind, plain(bars), p, at_close)
        ours = {bar: order for bar, order in ours.items() if order[0] != 0.0}
        context = (case, kind.__name__, start, len(bars), p, at_close)
        assert list(ours) == sorted(theirs), context
        for bar, (units, price) in ours.items():
            assert np.sign(units) == np.sign(theirs[bar][0]), context
            assert units == pytest.approx(theirs[bar][0], rel=1e-12), context
            assert price == pytest.approx(theirs[bar][1], rel=1e-12), context
        orders += len(ours)
    assert orders > 3000


class Stopped(Cross):
    """Two averages cross, with a fixed stop and target."""

    stop = Int(80, 5, 500)
    target = Int(160, 5, 900)

    def protection(self, x):
        return Protection(stop_loss=Pips(self.stop), take_profit=Pips(self.target))


def stopped_orders_of_vectorbt(frame, p):
    long, short, *_ = signals(Cross, frame, p)
    price = frame["open"]
    portfolio = vbt.Portfolio.from_signals(
        frame["close"], entries=long.vbt.signals.fshift(1), short_entries=short.vbt.signals.fshift(1), price=price,
        open=frame["open"], high=frame["high"], low=frame["low"], sl_stop=p["stop"] * 1e-4 / price,
        tp_stop=p["target"] * 1e-4 / price, stop_entry_price="fillprice", size=p["lots"] * 100_000, init_cash=1e9,
        upon_opposite_entry="reverse", freq="1h",
    )  # fmt: skip
    found: dict[int, tuple[float, float]] = {}
    for record in portfolio.orders.records.to_dict("records"):
        signed = record["size"] * (1 if record["side"] == 0 else -1)
        found[record["idx"]] = (found.get(record["idx"], (0.0, 0.0))[0] + signed, record["price"])
    return found


def beyond_vectorbt(result, p):
    """Whether a run has what vectorbt cannot say: a level touched on the entry bar, or on a bar that fills a signal.

    Its stops start on the bar after the entry, and a stop hit anywhere in a bar comes before a signal at its open.
    """
    bars, trades = result.bars, result.run.trades
    side, entered, entry, left, reason = (trades[:, k] for k in (0, 2, 3, 4, 6))
    stop, target = entry - side * 10 * p["stop"], entry + side * 10 * p["target"]
    low, high = bars.bid_low[left], bars.bid_high[left]
    inside = ((low <= stop) & (stop <= high)) | ((low <= target) & (target <= high))
    touched = left[(reason == 1) | (reason == 2)]
    code = evaluate(result.spec, bars).code
    return bool((entered == left).any() or (inside & (reason > 2)).any() or (code[touched - 1] & 3).any())


def test_orders_with_stops_equal_those_of_vectorbt_where_it_can_say_them(no_spread):
    """Where no entry bar touches a level: order bars and sides ==, sizes and prices within 1e-9."""
    rng, compared, touched = random.Random(20261125), 0, 0
    while compared < 60:
        start = rng.randrange(0, 5600)
        bars = no_spread[start : start + rng.randrange(200, 600)]
        n = rng.randrange(5, 40)
        p = {"n": n, "m": n + rng.randrange(10, 90), "lots": float(Decimal(rng.randrange(1, 300)) / 100),
             "stop": rng.randrange(30, 120), "target": rng.randrange(30, 200)}  # fmt: skip
        result = backtest(Stopped(**p), bars, account=RICH)
        reasons = result.run.trades[:, 6]
        if beyond_vectorbt(result, p) or not ((reasons == 1) | (reasons == 2)).any():
            continue
        context = (compared, start, len(bars), p)
        ours = {bar: order for bar, order in orders_of(result).items() if order[0] != 0.0}
        theirs = {bar: order for bar, order in stopped_orders_of_vectorbt(plain(bars), p).items() if order[0] != 0.0}
        assert sorted(ours) == sorted(theirs), context
        for bar, (units, price) in ours.items():
            assert np.sign(units) == np.sign(theirs[bar][0]), context
            assert units == pytest.approx(theirs[bar][0], rel=1e-9), context
            assert price == pytest.approx(theirs[bar][1], rel=1e-9), context
        compared += 1
        touched += int(((reasons == 1) | (reasons == 2)).sum())
    assert touched > 120

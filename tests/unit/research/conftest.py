"""Strategies and bars for the research tests."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.market import Bars, find_instrument, sample_bars
from toolkit.strategy import (
    RR,
    Entry,
    Exit,
    Float,
    Int,
    Lots,
    Pips,
    Protection,
    RiskPercent,
    SectionedStrategy,
    atr,
    crossed_above,
    crossed_below,
    ema,
)


class EmaCross(SectionedStrategy):
    """Follow the trend when the fast average crosses the slow one."""

    fast = Int(12, 2, 50)
    slow = Int(26, 5, 200)
    k = Float(2.0, 0.5, 5.0)

    def indicators(self, bars):
        return {"fast": ema(bars.close, self.fast), "slow": ema(bars.close, self.slow), "atr": atr(bars, 14)}

    def entry(self, x):
        return Entry(long=crossed_above(x.fast, x.slow), short=crossed_below(x.fast, x.slow))

    def exit(self, x):
        return Exit(long=crossed_below(x.fast, x.slow), short=crossed_above(x.fast, x.slow))

    def protection(self, x):
        return Protection(stop_loss=self.k * x.atr, take_profit=RR(2.0))

    def risk(self):
        return RiskPercent(1.0)


class Reversing(EmaCross):
    """The same crosses in fixed lots, always in the market, without stops."""

    def exit(self, x):
        return Exit()

    def protection(self, x):
        return Protection()

    def risk(self):
        return Lots(0.01)


class FixedPips(EmaCross):
    """The same crosses with a stop and a target in pips."""

    def protection(self, x):
        return Protection(stop_loss=Pips(20), take_profit=Pips(40))


def random_bars(n: int, seed: int = 0, symbol: str = "EURUSD", timeframe: str = "M1", price: int = 120_000) -> Bars:
    """A seeded walk in points with a spread that varies."""
    rng = np.random.default_rng(seed)
    close = np.maximum(price + np.cumsum(rng.normal(0, price / 4000, n)).astype(int), price // 4)
    open_ = np.concatenate([[price], close[:-1]]) + rng.integers(-5, 6, n)
    high, low = np.maximum(open_, close) + rng.integers(0, 20, n), np.minimum(open_, close) - rng.integers(0, 20, n)
    spread = rng.integers(0, 12, n)
    instrument = find_instrument(symbol)
    step = {"M1": 60, "H1": 3600}[timeframe] * 10**9
    ts = 1_700_000_400_000_000_000 // step * step + step * np.arange(n)
    return Bars.from_arrays(
        symbol, timeframe, ts, bid_open=open_, bid_high=high, bid_low=low, bid_close=close, ask_open=open_ + spread,
        ask_high=high + spread, ask_low=low + spread, ask_close=close + spread, instrument=instrument,
    )  # fmt: skip


@pytest.fixture(scope="session")
def ema_cross():
    """The class of the example strategy."""
    return EmaCross


@pytest.fixture(scope="session")
def reversing():
    """The class without stops, in fixed lots."""
    return Reversing


@pytest.fixture(scope="session")
def fixed_pips():
    """The class with stop and target in pips."""
    return FixedPips


@pytest.fixture(scope="session")
def make_bars():
    """Seeded random bars."""
    return random_bars


@pytest.fixture(scope="session")
def year():
    """The packaged year of EURUSD H1."""
    return sample_bars("EURUSD", "H1")

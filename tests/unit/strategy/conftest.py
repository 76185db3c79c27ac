"""Bars and strategies that the strategy tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from toolkit.market import Bars
from toolkit.strategy.authoring.management import FEATURES

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
HOUR_NS = 3_600_000_000_000


def random_bars(n: int, seed: int = 7, symbol: str = "EURUSD", timeframe: str = "H1") -> Bars:
    """A random walk in points with a spread, hourly from a Monday, weekends left out, volume included."""
    rng = np.random.default_rng(seed)
    close = 110_000 + np.cumsum(rng.integers(-60, 61, n))
    open_ = np.concatenate(([110_000], close[:-1])) + rng.integers(-3, 4, n)
    high = np.maximum(open_, close) + rng.integers(0, 30, n)
    low = np.minimum(open_, close) - rng.integers(0, 30, n)
    step = HOUR_NS if timeframe == "H1" else 60_000_000_000
    slots = np.arange(2 * n + 400)
    first = 1_483_315_200_000_000_000  # Monday 2017-01-02 00:00 UTC
    ts = first + slots * step
    weekday = (ts // (24 * HOUR_NS) + 3) % 7
    ts = ts[weekday < 5][:n]
    spread = rng.integers(1, 15, n)
    columns = {"open": open_, "high": high, "low": low, "close": close}
    bid = {f"bid_{k}": v.astype(np.int32) for k, v in columns.items()}
    ask = {f"ask_{k}": (v + spread).astype(np.int32) for k, v in columns.items()}
    volume = rng.integers(1, 1000, n).astype(np.float64)
    return Bars.from_arrays(symbol=symbol, timeframe=timeframe, ts=ts, **bid, **ask, volume=volume)


@pytest.fixture(scope="session")
def bars() -> Bars:
    """Three thousand hourly bars of a random walk."""
    return random_bars(3_000)


@pytest.fixture(scope="session")
def rows() -> Callable[[Bars], list[tuple[Any, ...]]]:
    """Bars as the plain tuples that the incremental driver takes."""

    def of(bars: Bars) -> list[tuple[Any, ...]]:
        volume = bars.volume if bars.volume is not None else np.full(len(bars), np.nan)
        columns = (bars.ts, bars.open, bars.high, bars.low, bars.close, volume)
        return list(zip(*(c.tolist() for c in columns), strict=True))

    return of


@pytest.fixture(scope="session")
def ema_cross() -> type[st.SectionedStrategy]:
    """The EMA cross of the design."""

    class EmaCross(st.SectionedStrategy):
        """Follow the trend when the fast average crosses the slow one."""

        fast = st.Int(12, 5, 50)
        slow = st.Int(26, 20, 200)
        k = st.Float(2.0, 0.5, 5.0)

        def indicators(self, bars: Any) -> dict[str, Any]:
            return {
                "fast": st.ema(bars.close, self.fast),
                "slow": st.ema(bars.close, self.slow),
                "atr": st.atr(bars, 14),
            }

        def entry(self, x: Any) -> st.Entry:
            return st.Entry(long=st.crossed_above(x.fast, x.slow), short=st.crossed_below(x.fast, x.slow))

        def exit(self, x: Any) -> st.Exit:
            return st.Exit(long=st.crossed_below(x.fast, x.slow), short=st.crossed_above(x.fast, x.slow))

        def protection(self, x: Any) -> st.Protection:
            return st.Protection(stop_loss=self.k * x.atr, take_profit=st.RR(2.0))

        def risk(self) -> st.RiskPercent:
            return st.RiskPercent(1.0)

    return EmaCross


@pytest.fixture(scope="session")
def strategy_of() -> Callable[..., st.StrategySpec]:
    """Make a spec from functions: indicators, and optionally entry, exit, protection, risk, filters."""

    def make(indicators: Callable[[Any], dict[str, Any]], **sections: Any) -> st.StrategySpec:
        class Made(st.SectionedStrategy):
            def indicators(self, bars: Any) -> dict[str, Any]:
                return indicators(bars)

            def entry(self, x: Any) -> st.Entry:
                entry = sections.get("entry")
                return entry(x) if entry else st.Entry(long=x.close > x.open)

            def exit(self, x: Any) -> Any:
                leave = sections.get("exit")
                return leave(x) if leave else st.Exit()

            def protection(self, x: Any) -> st.Protection:
                protection = sections.get("protection")
                return protection(x) if protection else st.Protection(stop_loss=st.Pips(20))

            def risk(self) -> Any:
                return sections.get("risk", st.RiskPercent(1))

            def filters(self, x: Any) -> Any:
                filters = sections.get("filters")
                return filters(x) if filters else ()

        return st.StrategySpec.from_strategy(Made())

    return make


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, NaN equal to NaN."""
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")


@pytest.fixture(scope="session")
def drivers_agree(rows: Callable[[Bars], list[tuple[Any, ...]]]) -> Callable[..., None]:
    """Check that both drivers give the same decisions and node values, with states saved at ``splits``."""

    def check(spec: st.StrategySpec, bars: Bars, splits: tuple[int, ...] = ()) -> None:
        decisions = st.evaluate(spec, bars, frame=True, supports=FEATURES)
        walker = st.Incremental(spec, bars.instrument, timeframe=bars.timeframe, supports=FEATURES)
        codes, stops, targets = [], [], []
        named: dict[str, list[Any]] = {name: [] for name in spec.named}
        for i, row in enumerate(rows(bars)):
            if i in splits:
                state = walker.state()
                walker = st.Incremental(spec, bars.instrument, state, timeframe=bars.timeframe, supports=FEATURES)
            decision = walker.step(*row)
            codes.append(decision.code)
            stops.append(decision.stop_points)
            targets.append(decision.target_points)
            for name, value in walker.values.items():
                named[name].append(value)
        n = len(bars)
        assert decisions.frame is not None
        for name, column in decisions.frame.items():
            assert same(column, np.array(named[name], column.dtype)), f"{name} differs"
        assert same(decisions.code, np.array(codes, np.uint8))
        assert same(np.broadcast_to(decisions.stop_points, n), np.array(stops, np.int32))
        if decisions.target_points is not None:
            assert same(np.broadcast_to(decisions.target_points, n), np.array(targets, np.int32))

    return check


@pytest.fixture(scope="session")
def data_bars() -> Callable[[str, str, str, int], Bars]:
    """Read a real file of the shared data as bars; the test is skipped where the folder is absent."""

    def read(name: str, symbol: str, timeframe: str, digits: int) -> Bars:
        file = DATA / f"{name}.parquet"
        if not file.exists():
            pytest.skip("the shared data folder is not here")
        frame = pytest.importorskip("pandas").read_parquet(file)
        sides = {}
        for side in ("bid", "ask"):
            for part in ("open", "high", "low", "close"):
                own = f"{side}_{part}" in frame
                prices = frame[f"{side}_{part}" if own else part].to_numpy(np.float64)
                points = np.round(prices * 10**digits).astype(np.int32)
                sides[f"{side}_{part}"] = points if own or side == "bid" else points + 8
        ts = frame["ts"].astype("datetime64[ns, UTC]").astype("int64").to_numpy()
        volume = frame["volume"].to_numpy(np.float64) if "volume" in frame else None
        return Bars.from_arrays(symbol=symbol, timeframe=timeframe, ts=ts, **sides, volume=volume)

    return read

"""Research engines side by side in one run: single backtests, sweeps, first result of a fresh process, one decision.

Run ``python tests/benchmarks/research.py [--quick] [--json] [--only single first sweep others dask decision]``.
Engines take turns within each round, figures are medians of the rounds, and only ratios of one run mean anything:
neighbours on the machine move absolute numbers by half. ``--quick`` cuts
sizes and rounds to see that it runs. Bars are a seeded walk (one minute, 3.3 pips a bar, spread 0.2 to 1.2 pips).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
from toolkit.market import Bars, find_instrument
from toolkit.research.backtest import backtest
from toolkit.research.sweep import sweep
from toolkit.research.trial_count import not_counted
from toolkit.simulation.account import PaperAccount
from toolkit.strategy import (
    Entry,
    Exit,
    Incremental,
    Int,
    Pips,
    Protection,
    RiskPercent,
    SectionedStrategy,
    StrategySpec,
    atr,
    crossed_above,
    crossed_below,
    ema,
    highest,
    lowest,
    rsi,
)

ACCOUNT = PaperAccount("USD", 1_000_000)
STOP, TARGET = 20e-4, 40e-4


def walk(n: int, seed: int = 0) -> Bars:
    """A seeded walk in points, M1."""
    rng = np.random.default_rng(seed)
    close = np.maximum(120_000 + np.cumsum(rng.normal(0, 33, n)).astype(int), 30_000)
    open_ = np.concatenate([[120_000], close[:-1]]) + rng.integers(-5, 6, n)
    high, low = np.maximum(open_, close) + rng.integers(0, 20, n), np.minimum(open_, close) - rng.integers(0, 20, n)
    spread = rng.integers(2, 13, n)
    ts = 1_600_000_020_000_000_000 // 60_000_000_000 * 60_000_000_000 + 60_000_000_000 * np.arange(n)
    columns = {"bid_open": open_, "bid_high": high, "bid_low": low, "bid_close": close}
    columns |= {name.replace("bid", "ask"): values + spread for name, values in list(columns.items())}
    return Bars.from_arrays("EURUSD", "M1", ts, instrument=find_instrument("EURUSD"), **columns)


PARTS = ("single", "first", "sweep", "others", "dask", "decision")


class Fixed(SectionedStrategy):
    """Stop of 20 pips, target of 40, 0.01 % risk."""

    def protection(self, x: Any) -> Protection:
        return Protection(stop_loss=Pips(20), take_profit=Pips(40))

    def risk(self) -> RiskPercent:
        return RiskPercent(0.01)


class EmaCross(Fixed):
    """Two exponential averages cross."""

    fast = Int(12, 2, 400)
    slow = Int(26, 3, 900)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {"fast": ema(bars.close, self.fast), "slow": ema(bars.close, self.slow)}

    def entry(self, x: Any) -> Entry:
        return Entry(long=crossed_above(x.fast, x.slow), short=crossed_below(x.fast, x.slow))


class RsiReversal(Fixed):
    """Oversold is bought, overbought sold."""

    n = Int(14, 2, 100)
    level = Int(30, 5, 45)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {"r": rsi(bars.close, self.n)}

    def entry(self, x: Any) -> Entry:
        return Entry(long=crossed_above(x.r, self.level), short=crossed_below(x.r, 100 - self.level))


class Donchian(Fixed):
    """The close leaves the range of the bars before; left at the shorter range."""

    enter = Int(55, 5, 400)
    leave = Int(20, 5, 200)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {
            "c": bars.close,
            "up": highest(bars.high, self.enter).shift(1),
            "down": lowest(bars.low, self.enter).shift(1),
            "xup": highest(bars.high, self.leave).shift(1),
            "xdown": lowest(bars.low, self.leave).shift(1),
        }

    def entry(self, x: Any) -> Entry:
        return Entry(long=x.c > x.up, short=x.c < x.down)

    def exit(self, x: Any) -> Exit:
        return Exit(long=x.c < x.xdown, short=x.c > x.xup)


class Filtered(EmaCross):
    """A twelve-node graph: crosses, with the trend, not overbought, when the range is wide."""

    def indicators(self, bars: Any) -> dict[str, Any]:
        more = {"trend": ema(bars.close, 200), "r": rsi(bars.close, 14), "a": atr(bars, 14), "c": bars.close}
        return super().indicators(bars) | more

    def entry(self, x: Any) -> Entry:
        wide = x.a > 0.0003
        return Entry(
            long=crossed_above(x.fast, x.slow) & (x.c > x.trend) & (x.r < 70) & wide,
            short=crossed_below(x.fast, x.slow) & (x.c < x.trend) & (x.r > 30) & wide,
        )


def ours(bars: Bars) -> int:
    """The whole public call with materialised trades and equity."""
    result = backtest(EmaCross(), bars, account=ACCOUNT)
    return len(result.trades) + len(result.equity)


def _frame(bars: Bars) -> Any:
    import pandas as pd

    columns = {"open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(bars.ts))


def _vectorbt_run(frame: Any, long: Any, short: Any, engine: str, leave: tuple[Any, Any] | None = None) -> float:
    import vectorbt as vbt

    close = frame["close"].to_numpy()[:, None]
    more = {} if leave is None else {"exits": leave[0], "short_exits": leave[1]}
    portfolio = vbt.Portfolio.from_signals(
        frame["close"], entries=long, short_entries=short, price=frame["open"], open=frame["open"], high=frame["high"],
        low=frame["low"], sl_stop=STOP / close, tp_stop=TARGET / close, size=5_000.0, init_cash=1e6,
        upon_opposite_entry="reverse", freq="1min", engine=engine, **more,
    )  # fmt: skip
    portfolio.trades.count()
    portfolio.max_drawdown()
    portfolio.sharpe_ratio()
    return float(np.sum(portfolio.total_return()))


def vectorbt_cross(frame: Any, fast: Any, slow: Any, engine: str) -> float:
    """Averages, crosses, fills at the next open, stops, trades, return, Sharpe and drawdown, vectorbt's way."""
    import vectorbt as vbt

    a = vbt.MA.run(frame["close"], fast, ewm=True, short_name="fast")
    b = vbt.MA.run(frame["close"], slow, ewm=True, short_name="slow")
    long, short = a.ma_crossed_above(b), a.ma_crossed_below(b)
    return _vectorbt_run(frame, long.vbt.signals.fshift(1), short.vbt.signals.fshift(1), engine)


def vectorbt_rsi(frame: Any, sets: list[dict[str, int]], engine: str) -> float:
    """RSI reversals in one wide call."""
    import pandas as pd
    import vectorbt as vbt

    r = vbt.RSI.run(frame["close"], sorted({s["n"] for s in sets}), ewm=True).rsi
    columns = [r[s["n"]] if r.ndim > 1 and s["n"] in r.columns else r.iloc[:, 0] for s in sets]
    wide = pd.concat([c.iloc[:, 0] if c.ndim > 1 else c for c in columns], axis=1, keys=range(len(sets)))
    level = np.array([s["level"] for s in sets], float)
    before = wide.shift(1)
    long = (wide > level) & (before <= level)
    short = (wide < 100 - level) & (before >= 100 - level)
    return _vectorbt_run(frame, long.vbt.signals.fshift(1), short.vbt.signals.fshift(1), engine)


def vectorbt_donchian(frame: Any, sets: list[dict[str, int]], engine: str) -> float:
    """Breakouts in one wide call."""
    import pandas as pd

    close = frame["close"]

    def bands(n: int) -> tuple[Any, Any]:
        return frame["high"].rolling(n).max().shift(1), frame["low"].rolling(n).min().shift(1)

    found = {n: bands(n) for s in sets for n in (s["enter"], s["leave"])}
    parts = [
        (
            close > found[s["enter"]][0],
            close < found[s["enter"]][1],
            close < found[s["leave"]][1],
            close > found[s["leave"]][0],
        )
        for s in sets
    ]
    long, short, xl, xs = (
        pd.concat([p[k] for p in parts], axis=1, keys=range(len(sets))).vbt.signals.fshift(1) for k in range(4)
    )
    return _vectorbt_run(frame, long, short, engine, (xl, xs))


def vectorbt_filtered(frame: Any, sets: list[dict[str, int]], engine: str) -> float:
    """The filtered crosses in one wide call."""
    import vectorbt as vbt

    close = frame["close"]
    a = vbt.MA.run(close, [s["fast"] for s in sets], ewm=True).ma.to_numpy()
    b = vbt.MA.run(close, [s["slow"] for s in sets], ewm=True).ma
    import pandas as pd

    trend = close.ewm(span=200, adjust=False).mean().to_numpy()[:, None]
    r = vbt.RSI.run(close, 14, ewm=True).rsi.to_numpy().reshape(-1, 1)
    wide = vbt.ATR.run(frame["high"], frame["low"], close, 14, ewm=True).atr.to_numpy().reshape(-1, 1) > 0.0003
    now = pd.DataFrame(a > b.to_numpy(), index=close.index)
    up, down = now & ~now.shift(1, fill_value=False), ~now & now.shift(1, fill_value=False)
    c = close.to_numpy()[:, None]
    long, short = up & (c > trend) & (r < 70) & wide, down & (c < trend) & (r > 30) & wide
    return _vectorbt_run(frame, long.vbt.signals.fshift(1), short.vbt.signals.fshift(1), engine)


def backtesting_py(frame: Any) -> float:
    """The same rules in backtesting.py: next open, stop and target in the bar, constant relative spread."""
    from backtesting import Backtest, Strategy

    close = frame["close"]
    fast, slow = (close.ewm(span=n, adjust=False).mean().to_numpy() for n in (12, 26))

    class Cross(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.up = self.I(lambda: fast > slow)

        def next(self) -> None:
            if len(self.data) < 3 or self.up[-1] == self.up[-2]:
                return
            price = self.data.Close[-1]
            self.position.close()
            if self.up[-1]:
                self.buy(size=0.05, sl=price - STOP, tp=price + TARGET)
            else:
                self.sell(size=0.05, sl=price + STOP, tp=price - TARGET)

    table = frame.rename(columns=str.capitalize)
    stats = Backtest(table, Cross, cash=1e6, spread=0.00006, margin=0.01, finalize_trades=True).run()
    return float(stats["Return [%]"])


def rounds(engines: dict[str, Callable[[], Any]], times: int) -> dict[str, float]:
    """Median seconds of each engine, taking turns; one run each beforehand."""
    taken: dict[str, list[float]] = {name: [] for name in engines}
    print("measuring", ", ".join(engines), file=sys.stderr)
    for run in engines.values():
        run()
    for _ in range(times):
        for name, run in engines.items():
            gc.collect()
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def fresh_process(code: str) -> float:
    """Wall seconds of a whole interpreter running ``code``."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    return time.perf_counter() - start


FIRST = """
import toolkit as tk
class Cross(tk.SectionedStrategy):
    def indicators(self, bars): return dict(a=tk.ema(bars.close, 12), b=tk.ema(bars.close, 26))
    def entry(self, x): return tk.Entry(long=tk.crossed_above(x.a, x.b), short=tk.crossed_below(x.a, x.b))
    def protection(self, x): return tk.Protection(stop_loss=tk.Pips(20), take_profit=tk.Pips(40))
    def risk(self): return tk.RiskPercent(1)
bt = tk.backtest(Cross(), tk.sample_bars("EURUSD", "H1")[:5000])
assert len(bt.trades) and len(bt.equity) == 5000
"""
FIRST_VECTORBT = """
import toolkit as tk, pandas as pd, vectorbt as vbt
bars = tk.sample_bars("EURUSD", "H1")[:5000]
f = pd.DataFrame(dict(open=bars.open, high=bars.high, low=bars.low, close=bars.close))
a, b = vbt.MA.run(f["close"], 12, ewm=True), vbt.MA.run(f["close"], 26, ewm=True)
pf = vbt.Portfolio.from_signals(f["close"], a.ma_crossed_above(b).vbt.signals.fshift(1),
    short_entries=a.ma_crossed_below(b).vbt.signals.fshift(1), price=f["open"], open=f["open"], high=f["high"], low=f["low"],
    sl_stop=20e-4 / f["close"], tp_stop=40e-4 / f["close"], size=1000, freq="1h", engine="rust")
len(pf.trades.records_readable); pf.total_return(); pf.sharpe_ratio()
"""
PEAK = """
import sys; sys.path.insert(0, {folder!r})
import resource, research as r
grid = dict(fast=range(5, 5 + {fast}), slow=range(110, 110 + 4 * {slow}, 4))
sw = r.sweep(r.EmaCross, r.walk(50_000), account=r.ACCOUNT, grid=grid, progress=False)
assert len(sw.results) == {fast} * {slow}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_mb(fast: int, slow: int) -> float:
    """Peak resident memory of a process that does nothing but the sweep."""
    code = PEAK.format(folder=str(Path(__file__).parent), fast=fast, slow=slow)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def decision_us(bars: Bars) -> float:
    """Median microseconds from a closed bar to the decision object, by the live driver."""
    live = Incremental(StrategySpec.from_strategy(Filtered()), bars.instrument)
    rows = list(
        zip(bars.ts.tolist(), *(getattr(bars, k).tolist() for k in ("open", "high", "low", "close")), strict=True)
    )
    taken = []
    for ts, o, h, low, c in rows:
        start = time.perf_counter_ns()
        live.step(ts, o, h, low, c, None)
        taken.append(time.perf_counter_ns() - start)
    return median(taken[len(taken) // 2 :]) / 1000


def singles(figures: dict[str, Any], table: Table, times: int, quick: bool) -> None:
    """Single backtests at two sizes."""
    for n, name in ((100_000, "100k"), (200_000 if quick else 1_000_000, "1M")):
        bars = walk(n)
        frame = _frame(bars)
        engines: dict[str, Callable[[], Any]] = {
            "seatrial": lambda bars=bars: ours(bars),
            "vectorbt numba": lambda frame=frame: vectorbt_cross(frame, 12, 26, "numba"),
            "vectorbt rust": lambda frame=frame: vectorbt_cross(frame, 12, 26, "rust"),
        }
        if name == "100k":
            engines["backtesting.py"] = lambda frame=frame: backtesting_py(frame)
        taken = rounds(engines, times)
        best = min(taken["vectorbt numba"], taken["vectorbt rust"])
        for engine, seconds in taken.items():
            table.add_row(
                f"backtest {n:,} bars",
                engine,
                f"{n / seconds / 1e6:.2f} M bars/s",
                f"{seconds / taken['seatrial']:.1f}",
            )
        if name == "1M":
            figures["backtest_bars_per_s"] = round(n / taken["seatrial"])
            figures["backtest_vs_vectorbt"] = round(best / taken["seatrial"], 1)
        else:
            figures["backtest_vs_vectorbt_100k"] = round(best / taken["seatrial"], 1)
            figures["backtest_vs_backtesting_py"] = round(taken["backtesting.py"] / taken["seatrial"], 1)


def sweeps(figures: dict[str, Any], table: Table, times: int, quick: bool) -> None:
    """The EMA sweep against vectorbt in chunks of 100 pairs, Dask, and three other strategies."""
    n = 50_000
    bars = walk(n)
    frame = _frame(bars)
    fast, slow = (20, 20) if quick else (100, 100)
    grid = {"fast": range(5, 5 + fast), "slow": range(110, 110 + 4 * slow, 4)}
    pairs = [(f, s) for f in list(grid["fast"])[:10] for s in list(grid["slow"])[:10]]
    engines: dict[str, Callable[[], Any]] = {
        "seatrial": lambda: len(sweep(EmaCross, bars, account=ACCOUNT, grid=grid, progress=False).results),
    }
    for engine in ("numba", "rust"):
        engines[f"vectorbt {engine}"] = lambda engine=engine: vectorbt_cross(
            frame, [f for f, _ in pairs], [s for _, s in pairs], engine
        )
    taken = rounds(engines, times)
    rate = {k: (fast * slow if k == "seatrial" else len(pairs)) * n / v for k, v in taken.items()}
    best = max(rate["vectorbt numba"], rate["vectorbt rust"])
    for engine, speed in rate.items():
        table.add_row(
            f"sweep of EMA pairs x {n:,}", engine, f"{speed / 1e6:.1f} M pair-bars/s", f"{rate['seatrial'] / speed:.1f}"
        )
    figures["sweep_pair_bars_per_s"] = round(rate["seatrial"])
    figures["sweep_vs_vectorbt"] = round(rate["seatrial"] / best, 1)
    figures["sweep_peak_mb"] = round(peak_mb(fast, slow))


def others(figures: dict[str, Any], table: Table, times: int) -> None:
    """Three other strategies, each against vectorbt's wide arrays of its sets."""
    n = 50_000
    bars = walk(n)
    frame = _frame(bars)
    kinds: list[tuple[str, type[Fixed], dict[str, Any], Callable[..., float]]] = [
        ("RSI reversal", RsiReversal, {"n": range(5, 25), "level": range(20, 40)}, vectorbt_rsi),
        ("Donchian breakout", Donchian, {"enter": range(40, 120, 4), "leave": range(10, 30)}, vectorbt_donchian),
        ("12-node graph", Filtered, {"fast": range(5, 25), "slow": range(30, 110, 4)}, vectorbt_filtered),
    ]
    ratios = []
    for name, kind, axes, theirs in kinds:
        first, second = (list(values) for values in axes.values())
        names = list(axes)
        few = [{names[0]: a, names[1]: b} for a in first[:7] for b in second[:7]]
        taken = rounds(
            {
                "seatrial": lambda kind=kind, axes=axes: (
                    sweep(kind, bars, account=ACCOUNT, grid=axes, progress=False).results
                ),
                "numba": lambda theirs=theirs, few=few: theirs(frame, few, "numba"),
                "rust": lambda theirs=theirs, few=few: theirs(frame, few, "rust"),
            },
            times,
        )
        mine = len(first) * len(second) * n / taken["seatrial"]
        theirs_best = len(few) * n / min(taken["numba"], taken["rust"])
        ratios.append(mine / theirs_best)
        table.add_row(f"sweep, {name}", "seatrial", f"{mine / 1e6:.1f} M set-bars/s", "1.0")
        table.add_row("", "vectorbt", f"{theirs_best / 1e6:.2f} M set-bars/s", f"{mine / theirs_best:.1f}")
    figures["sweep_other_min_vs_vectorbt"] = round(min(ratios), 1)


def dask_fraction(bars: Bars, grid: dict[str, range], times: int) -> float:
    """Rate on the workers of a running local cluster over the rate of threads; the same rows."""
    import distributed

    dask: Any = distributed
    with dask.LocalCluster(n_workers=os.cpu_count(), threads_per_worker=1, dashboard_address=None) as cluster:
        given = {"account": ACCOUNT, "grid": grid, "progress": False}
        there = {**given, "engine": "dask", "address": cluster.scheduler_address}
        if not sweep(EmaCross, bars, **given).results.equals(sweep(EmaCross, bars, **there).results):
            raise SystemExit("Dask returned other numbers than the threads of this process")
        taken = rounds(
            {
                "threads": lambda: sweep(EmaCross, bars, **given).results,
                "dask": lambda: sweep(EmaCross, bars, **there).results,
            },
            times,
        )
    return round(taken["threads"] / taken["dask"], 2)


def on_dask(figures: dict[str, Any], table: Table, times: int, quick: bool) -> None:
    """The EMA sweep on a local Dask cluster."""
    side = 20 if quick else 100
    grid = {"fast": range(5, 5 + side), "slow": range(110, 110 + 4 * side, 4)}
    figures["dask_fraction"] = dask_fraction(walk(50_000), grid, times)
    table.add_row("sweep on a Dask cluster", "seatrial", f"{figures['dask_fraction']:.0%} of the threads' rate", "")


def firsts_of(figures: dict[str, Any], table: Table, times: int) -> None:
    """A fresh process to its first result, compiled code on disk."""
    firsts = rounds(
        {"seatrial": lambda: fresh_process(FIRST), "vectorbt rust": lambda: fresh_process(FIRST_VECTORBT)}, times
    )
    figures["first_backtest_s"] = round(firsts["seatrial"], 2)
    for engine, seconds in firsts.items():
        table.add_row("fresh process, 5,000 bars", engine, f"{seconds:.2f} s", f"{seconds / firsts['seatrial']:.1f}")


def main() -> None:
    """Measure everything and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="leave out the other parts")
    given = parser.parse_args()
    times = 2 if given.quick else 5
    figures: dict[str, Any] = {}
    table = Table("what", "engine", "speed", "times seatrial's time")
    with not_counted():
        if "single" in given.only:
            singles(figures, table, times, given.quick)
        if "first" in given.only:
            firsts_of(figures, table, min(times, 3))
        if "sweep" in given.only:
            sweeps(figures, table, times, given.quick)
        if "others" in given.only:
            others(figures, table, min(times, 3))
        if "dask" in given.only:
            on_dask(figures, table, min(times, 3), given.quick)
        if "decision" in given.only:
            figures["decision_us"] = round(decision_us(walk(20_000)), 2)
    figures["load_average"] = round(os.getloadavg()[0], 1)
    figures["own_peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if given.json:
        print(json.dumps(figures))
    else:
        Console(width=120).print(table)
        Console().print_json(json.dumps(figures))


if __name__ == "__main__":
    main()

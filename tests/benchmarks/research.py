"""Research engines side by side in one run: single backtests, sweeps, first result of a fresh process, one decision.

Run ``python tests/benchmarks/research.py [--quick] [--json] [--only PART ...]``.
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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.research_engines import (
    ACCOUNT,
    Donchian,
    EmaCross,
    Filtered,
    Fixed,
    Four,
    RsiReversal,
    backtesting_py,
    four_ours,
    four_pandas,
    four_vectorbt,
    frame_of,
    ours,
    vectorbt_cross,
    vectorbt_donchian,
    vectorbt_filtered,
    vectorbt_rsi,
    walk,
)
from toolkit.market import Bars
from toolkit.research.sweeps.sweep import sweep
from toolkit.research.validation.trial_count import not_counted
from toolkit.simulation.compiling.compiled import compiled_loop
from toolkit.strategy import Incremental, StrategySpec
from toolkit.strategy.authoring.management import FEATURES

PARTS = ("single", "scaling", "first", "sweep", "others", "dask", "indicators", "decision", "interpreted", "pictures")


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


def fresh_process(code: str, **environment: str) -> float:
    """Wall seconds of a whole interpreter running ``code``."""
    start = time.perf_counter()
    more = {"PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **more})
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
INTERPRETED = """
import sys; sys.path.insert(0, {folder!r})
import time
from tests.benchmarks import research as r
bars = r.walk({rows})
r.ours(bars[:1000])
taken = []
for _ in range(3):
    start = time.perf_counter()
    r.ours(bars)
    taken.append(time.perf_counter() - start)
assert "numba" not in sys.modules
print({rows} / sorted(taken)[1])
"""
PEAK = """
import sys; sys.path.insert(0, {folder!r})
import resource
from tests.benchmarks import research as r
grid = dict(fast=range(5, 5 + {fast}), slow=range(110, 900, {step}))
sw = r.sweep(r.EmaCross, r.walk(50_000), account=r.ACCOUNT, grid=grid, progress=False)
assert len(sw.results) == {fast} * len(grid['slow'])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_mb(fast: int, step: int) -> float:
    """Peak resident memory of a process that does nothing but the sweep, of every ``step``-th slow average."""
    code = PEAK.format(folder=str(Path(__file__).parents[2]), fast=fast, step=step)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def step_us(strategy: Any, bars: Bars) -> float:
    """Median microseconds from a closed bar to the decision object, by the live driver."""
    live = Incremental(StrategySpec.from_strategy(strategy), bars.instrument, supports=FEATURES)
    columns = (getattr(bars, k).tolist() for k in ("open", "high", "low", "close"))
    taken = []
    for row in zip(bars.ts.tolist(), *columns, strict=True):
        start = time.perf_counter_ns()
        live.step(*row)
        taken.append(time.perf_counter_ns() - start)
    return median(taken[len(taken) // 2 :]) / 1000


def decisions(figures: dict[str, Any], table: Table, bars: Bars) -> None:
    """One closed bar to a decision, for the example strategies and for the twelve-node graph."""
    from toolkit.strategy import library

    taken = {name: step_us(getattr(library, name)(), bars) for name in library.__all__} | {
        "12-node graph": step_us(Filtered(), bars)
    }
    for name, us in taken.items():
        table.add_row("decision of one bar", name, f"{us:.1f} us", "")
    figures["decision_us"] = round(max(taken.values()), 2)


def indicators(figures: dict[str, Any], table: Table, times: int, quick: bool) -> None:
    """EMA, RSI, ATR and Bollinger bands over a million rows in one call, and over one bar."""
    n = 100_000 if quick else 1_000_000
    bars = walk(n)
    frame = frame_of(bars)
    taken = rounds(
        {
            "seatrial": lambda: four_ours(bars),
            "pandas": lambda: four_pandas(frame),
            "vectorbt": lambda: four_vectorbt(frame),
        },
        times,
    )
    for engine, seconds in taken.items():
        rate = f"{seconds / n * 1e9:.1f} ns a row"
        table.add_row(f"four indicators, {n:,} rows", engine, rate, f"{seconds / taken['seatrial']:.1f}")
    figures["four_indicators_ns_per_row"] = round(taken["seatrial"] / n * 1e9, 1)
    figures["four_indicators_vs_pandas"] = round(taken["pandas"] / taken["seatrial"], 1)
    figures["four_indicators_vs_vectorbt"] = round(taken["vectorbt"] / taken["seatrial"], 1)
    figures["four_indicators_step_us"] = round(step_us(Four(), walk(20_000)), 2)


def scaling(figures: dict[str, Any], table: Table, times: int, quick: bool) -> None:
    """Ten times the bars, ten times the pairs, many more trades: what each costs."""
    small, side = (20_000, 5) if quick else (100_000, 10)
    few, many, bars = walk(small), walk(10 * small), walk(50_000)
    axes = {"fast": range(5, 5 + side), "slow": range(110, 110 + 4 * side, 4)}
    ten = {**axes, "slow": range(110, 110 + 40 * side, 4)}
    taken = rounds(
        {
            "bars": lambda: ours(few),
            "bars x10": lambda: ours(many),
            "pairs": lambda: sweep(EmaCross, bars, account=ACCOUNT, grid=axes, progress=False).results,
            "pairs x10": lambda: sweep(EmaCross, bars, account=ACCOUNT, grid=ten, progress=False).results,
        },
        times,
    )
    for what in ("bars", "pairs"):
        figures[f"cost_of_{what}_x10"] = round(taken[f"{what} x10"] / taken[what], 1)
        table.add_row(f"{what} x10", "seatrial", f"{taken[f'{what} x10'] / taken[what]:.1f} times the cost", "")
    # equal strategies on the first and the last tenth: what a bar costs once many trades are closed
    first, last = many[:small], many[-small:]
    parts = rounds({"first": lambda: ours(first), "last": lambda: ours(last)}, times)
    figures["cost_of_last_tenth"] = round(parts["last"] / parts["first"], 2)


def interpreted(figures: dict[str, Any], table: Table, quick: bool) -> None:
    """The same run in a process without numba."""
    code = INTERPRETED.format(folder=str(Path(__file__).parents[2]), rows=20_000 if quick else 200_000)
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "SEATRIAL_NO_NUMBA": "1"},
    )
    rate = float(done.stdout.split()[-1])
    figures["interpreted_bars_per_s"] = round(rate)
    table.add_row("backtest without numba", "seatrial", f"{rate / 1e6:.2f} M bars/s", "")


def singles(figures: dict[str, Any], table: Table, times: int, quick: bool) -> None:
    """Single backtests at two sizes."""
    for n, name in ((100_000, "100k"), (200_000 if quick else 1_000_000, "1M")):
        bars = walk(n)
        frame = frame_of(bars)
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
    frame = frame_of(bars)
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
    figures["sweep_peak_mb"] = round(peak_mb(20, 40) if quick else peak_mb(100, 8))  # 9,900 pairs
    figures["sweep_peak_mb_100k_pairs"] = round(peak_mb(40, 40) if quick else peak_mb(380, 3))  # 100,320 pairs


def others(figures: dict[str, Any], table: Table, times: int) -> None:
    """Three other strategies, each against vectorbt's wide arrays of its sets."""
    n = 50_000
    bars = walk(n)
    frame = frame_of(bars)
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


def pictures(figures: dict[str, Any], table: Table, times: int, quick: bool) -> None:
    """A backtest's picture, up to what a browser is sent."""
    import holoviews as hv

    from toolkit.research.backtest import backtest

    n = 50_000 if quick else 500_000
    result = backtest(Filtered(), walk(n), account=ACCOUNT)
    taken = rounds({"plot": lambda: hv.render(result.plot())}, times)
    figures["plot_s"] = round(taken["plot"], 2)
    table.add_row(f"picture of {n:,} bars", "seatrial", f"{taken['plot']:.2f} s", "")


def firsts_of(figures: dict[str, Any], table: Table, times: int) -> None:
    """A fresh process to its first result: compiled code on disk, then nothing on disk."""
    firsts = rounds(
        {"seatrial": lambda: fresh_process(FIRST), "vectorbt rust": lambda: fresh_process(FIRST_VECTORBT)}, times
    )
    figures["first_backtest_s"] = round(firsts["seatrial"], 2)
    figures["first_backtest_vs_vectorbt"] = round(firsts["seatrial"] / firsts["vectorbt rust"], 2)
    for engine, seconds in firsts.items():
        table.add_row("fresh process, 5,000 bars", engine, f"{seconds:.2f} s", f"{seconds / firsts['seatrial']:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        seconds = fresh_process(FIRST, XDG_CACHE_HOME=folder, SEATRIAL_KERNEL_CACHE=folder)
    figures["first_ever_backtest_s"] = round(seconds, 2)
    table.add_row("the very first, nothing compiled", "seatrial", f"{seconds:.2f} s", "")


def main() -> None:
    """Measure everything and print a table, or one JSON object."""
    sys.path[:] = [p for p in sys.path if p != str(Path(__file__).parent)]  # panel.py beside this is not Panel
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="leave out the other parts")
    given = parser.parse_args()
    times = 2 if given.quick else 5
    figures: dict[str, Any] = {}
    table = Table("what", "engine", "speed", "times seatrial's time")
    compiled_loop()  # a first run on this machine would be interpreted
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
        if "scaling" in given.only:
            scaling(figures, table, times, given.quick)
        if "indicators" in given.only:
            indicators(figures, table, times, given.quick)
        if "decision" in given.only:
            decisions(figures, table, walk(20_000))
        if "pictures" in given.only:
            pictures(figures, table, min(times, 3), given.quick)
        if "interpreted" in given.only:
            interpreted(figures, table, given.quick)
    figures["load_average"] = round(os.getloadavg()[0], 1)
    figures["own_peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if given.json:
        print(json.dumps(figures))
    else:
        Console(width=120).print(table)
        Console().print_json(json.dumps(figures))


if __name__ == "__main__":
    main()

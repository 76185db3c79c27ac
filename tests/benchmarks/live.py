"""How long a LiveRun's step takes: one new bar on SQLite or PostgreSQL, a state read back, a thousand runs in a minute.

    python tests/benchmarks/live.py advance [--database URL] [--bars 400]
    python tests/benchmarks/live.py fleet [--runs 1000] [--accounts 10] [--minutes 60]

Times are processor and wall time of this process; the platform is the paper venue in the same process, so what is shown
is the toolkit's own part.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

WARM = 320


def _sea(home: Path, database: str) -> Any:
    from tests.plugins.live_support import Sea
    from toolkit.bootstrap import build
    from toolkit.settings import Settings

    return Sea(build(Settings(home=home, database_url=database, _env_file=None)))  # type: ignore[call-arg, arg-type]


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def advance_one_bar(database: str, count: int) -> dict[str, Any]:
    """Step a run of the average cross bar by bar on its platform's closed bars; return the times in milliseconds."""
    import toolkit as tk
    from tests.plugins.live_support import EmaCross
    from toolkit.clock import from_ns
    from toolkit.live.advance import advance
    from toolkit.live.stepping.run_state import decode

    with tempfile.TemporaryDirectory(prefix="seatrial-bench-") as folder:
        sea = _sea(Path(folder), database)
        bars = tk.sample_bars("EURUSD", "H1")
        account = sea.account()
        platform = sea.engine.desk(account.account_id).platform
        platform.load_replay("EURUSD", bars)
        platform.advance_clock_to(from_ns(int(bars.ts[WARM])))
        run = sea.run(sea.version(EmaCross(), bars[:900]), account, bars, feed=None, capital=10_000)
        advance(sea.engine, run.live_run_id, run.account_id)
        wall: list[float] = []
        cpu: list[float] = []
        quiet: list[float] = []
        idle: list[float] = []
        for row in range(WARM + 1, WARM + 1 + count):
            platform.advance_clock_to(from_ns(int(bars.ts[row])))
            begun, used = time.perf_counter(), time.process_time()
            progress = advance(sea.engine, run.live_run_id, run.account_id)
            took = (time.perf_counter() - begun) * 1e3
            wall.append(took)
            cpu.append((time.process_time() - used) * 1e3)
            if not progress.orders:
                quiet.append(took)
            begun = time.perf_counter()
            advance(sea.engine, run.live_run_id, run.account_id)
            idle.append((time.perf_counter() - begun) * 1e3)
        stored = sea.read(run).state
        from toolkit.strategy.drivers.incremental import Incremental
        from toolkit.strategy.spec import StrategySpec

        restored: list[float] = []
        spec = StrategySpec.from_strategy(EmaCross())
        for _ in range(200):
            begun = time.perf_counter()
            _, strategy = decode(stored)
            Incremental(spec, bars.instrument, strategy, timeframe="H1")
            restored.append((time.perf_counter() - begun) * 1e3)
        sea.engine.close()
    return {
        "bars": len(wall),
        "advance_p50_ms": round(statistics.median(wall), 3),
        "advance_p99_ms": round(_percentile(wall, 0.99), 3),
        "advance_cpu_p50_ms": round(statistics.median(cpu), 3),
        "advance_without_order_p50_ms": round(statistics.median(quiet), 3),
        "look_between_bars_p50_ms": round(statistics.median(idle), 3),
        "state_restored_p50_ms": round(statistics.median(restored), 3),
    }


def thousand_runs(database: str, runs: int, accounts: int, minutes: int) -> dict[str, Any]:
    """Host that many M1 runs of one version in this process and time each minute's round, real EURUSD minutes."""
    import toolkit as tk
    from tests.plugins.live_support import EmaCross
    from toolkit.clock import from_ns
    from toolkit.live.hosting.fleet import Fleet

    file = Path(__file__).resolve().parents[3] / "shared" / "data" / "icm_eurusd_m1_mt5_2025a.parquet"
    bars = tk.load_bars(file, symbol="EURUSD", timeframe="M1", price="bid")[:3_000]
    with tempfile.TemporaryDirectory(prefix="seatrial-bench-") as folder:
        sea = _sea(Path(folder), database)
        version = sea.version(EmaCross(), bars, account=tk.PaperAccount(currency="USD", balance=10_000, leverage=500))
        platforms = []
        for n in range(accounts):
            account = sea.account(f"paper-{n}", balance=100_000_000, leverage=500)
            platform = sea.engine.desk(account.account_id).platform
            platform.load_replay("EURUSD", bars)
            platform.advance_clock_to(from_ns(int(bars.ts[1_000])))
            platforms.append(platform)
            for _ in range(runs // accounts):
                sea.run(version, account, bars, feed=None, capital=10_000, host="none")
        fleet = Fleet(sea.engine)
        begun = time.perf_counter()
        first = fleet.round()
        warm = time.perf_counter() - begun
        took: list[float] = []
        cpu: list[float] = []
        idle: list[float] = []
        orders = polls = commits = 0
        for minute in range(1, minutes + 1):
            for platform in platforms:
                platform.advance_clock_to(from_ns(int(bars.ts[1_000 + minute])))
            begun, used = time.perf_counter(), time.process_time()
            report = fleet.round()
            took.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - used)
            assert report.bars == first.runs, report
            orders += report.orders
            polls += report.polls
            commits += report.commits
            begun = time.perf_counter()
            fleet.round()
            idle.append(time.perf_counter() - begun)
        sea.engine.close()
    return {
        "runs": first.runs,
        "accounts": accounts,
        "minutes": minutes,
        "warm_up_s": round(warm, 1),
        "round_with_a_new_bar_s_max": round(max(took), 2),
        "round_with_a_new_bar_s_median": round(statistics.median(took), 2),
        "round_cpu_s_max": round(max(cpu), 2),
        "round_without_a_bar_s_median": round(statistics.median(idle), 3),
        "polls_a_minute": polls / minutes,
        "shared_commits_a_minute": commits / minutes,
        "orders": orders,
    }


def main() -> None:
    """Run the part that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("advance")
    one.add_argument("--database", default="")
    one.add_argument("--bars", type=int, default=400)
    many = parts.add_parser("fleet")
    many.add_argument("--database", default="")
    many.add_argument("--runs", type=int, default=1_000)
    many.add_argument("--accounts", type=int, default=10)
    many.add_argument("--minutes", type=int, default=60)
    asked = parser.parse_args()
    if asked.part == "advance":
        print(json.dumps(advance_one_bar(asked.database, asked.bars)))
    else:
        print(json.dumps(thousand_runs(asked.database, asked.runs, asked.accounts, asked.minutes)))


if __name__ == "__main__":
    main()

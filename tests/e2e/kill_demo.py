"""Kill the demo's replay again and again (SIGKILL) and check that its end is that of an unbroken one.

By hand: ``python tests/e2e/kill_demo.py --kills 200``. Every kill falls at a random moment after the process has committed
something, so that each of them interrupts work. When a replay has ended, its trades are compared with the backtest, the
venue's book is searched for duplicates, and the next replay begins, until the kills are used up.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

COMMAND = [sys.executable, "-c", "from toolkit.cli import main; main()"]
DEADLINE_SECONDS = 600.0


@dataclass(frozen=True)
class Storm:
    """What a storm of kills came to."""

    kills: int
    replays: int
    trades: int
    differences: list[str]
    duplicates: int
    seconds: float


def storm(home: Path, kills: int, seed: int, rows: int | None = None) -> Storm:
    """Kill replays of the sample until ``kills`` are used up, each replay in an account of its own."""
    import toolkit as tk
    from toolkit.bootstrap import build
    from toolkit.cli.demo.report import outcome_of
    from toolkit.cli.demo.strategy import EmaCross
    from toolkit.live import live_runs
    from toolkit.live.feed import Replay
    from toolkit.live.opening.paper_accounts import open_paper_account
    from toolkit.live.promoting.promotion import promote
    from toolkit.session import sea_trial
    from toolkit.settings import Settings

    chance = random.Random(seed)
    begun = time.monotonic()
    bars = tk.sample_bars("EURUSD", "H1")[:rows]
    terms = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    result = tk.backtest(EmaCross(), bars, account=terms)
    settings = Settings(home=home, database_url="", _env_file=None)  # type: ignore[call-arg]
    trial = sea_trial(EmaCross(), bars, account=terms)
    done = replays = trades = duplicates = 0
    differences: list[str] = []
    while done < kills:
        engine = build(settings)
        version = promote(engine, EmaCross(), trial=trial)
        account = open_paper_account(engine, f"storm-{replays}", terms)
        run = live_runs.create_live_run(
            engine,
            engine.principal,
            version,
            account.account_id,
            symbols=[bars.symbol],
            timeframe="H1",
            feed=Replay(bars),
        )
        run = live_runs.start_bot_live_run(engine, engine.principal, run.live_run_id)
        engine.close()
        done += _kill_until_it_ends(home, str(run.live_run_id), kills - done, chance)
        engine = build(settings)
        outcome = outcome_of(
            engine,
            run.live_run_id,
            bars=bars,
            backtest_trades=result.trade_records,
            backtest_equity=result.final_equity,
        )
        engine.close()
        replays += 1
        trades += len(outcome.live)
        duplicates += outcome.duplicates
        if outcome.difference is not None:
            differences.append(f"replay {replays}: {outcome.difference}")
        if outcome.final_equity != result.final_equity:
            differences.append(f"replay {replays}: equity {outcome.final_equity}, backtest {result.final_equity}")
    return Storm(done, replays, trades, differences, duplicates, time.monotonic() - begun)


def _kill_until_it_ends(home: Path, run_id: str, budget: int, chance: random.Random) -> int:
    """Host a run in processes that are killed; return how many were."""
    used = 0
    while True:
        before = _version(home, run_id)
        process = subprocess.Popen(
            [*COMMAND, "run", run_id, "--json"],
            env={**os.environ, "SEATRIAL_HOME": str(home), "SEATRIAL_DATABASE_URL": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if used == budget:
            said, _ = process.communicate(timeout=DEADLINE_SECONDS)
            if process.returncode != 0:
                raise RuntimeError(f"seatrial run ended with {process.returncode}: {said}")
            return used
        deadline = time.monotonic() + DEADLINE_SECONDS
        while process.poll() is None and _version(home, run_id) == before:
            if time.monotonic() > deadline:
                process.kill()
                raise TimeoutError(f"run {run_id} committed nothing within {DEADLINE_SECONDS:g} s")
            time.sleep(0.005)
        if process.poll() is None:
            # Skewed to short waits: most kills then fall into different steps of a trade.
            time.sleep(chance.random() ** 2 * 0.4)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)
            used += 1
        said = process.stdout.read() if process.stdout is not None else ""
        if process.returncode == 0:
            return used
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"seatrial run ended with {process.returncode}: {said}")


def _version(home: Path, run_id: str) -> int:
    """Read the run's compare-and-set counter without disturbing its host."""
    with sqlite3.connect(f"file:{home / 'seatrial.db'}?mode=ro", uri=True, timeout=30) as db:
        row = db.execute("SELECT version FROM live_runs WHERE live_run_id = ?", (run_id.replace("-", ""),)).fetchone()
    return int(row[0])


def main() -> int:
    """Run a storm from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--bars", type=int, default=None, help="use only the first bars of the sample")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    with tempfile.TemporaryDirectory(prefix="seatrial-storm-") as folder:
        result = storm(Path(folder), given.kills, seed, given.bars)
    print(
        f"{result.kills} kills (seed {seed}) over {result.replays} replays in {result.seconds:.0f} s: "
        f"{result.trades} trades, {len(result.differences)} differences, {result.duplicates} duplicates"
    )
    for difference in result.differences:
        print(f"  {difference}")
    return 1 if result.differences or result.duplicates else 0


if __name__ == "__main__":
    sys.exit(main())

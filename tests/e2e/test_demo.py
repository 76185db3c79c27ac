"""``seatrial demo`` as a user types it: identical, resumable after kills, and unforgiving of planted faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.kill_demo import COMMAND, storm

FIELDS = [
    "bars", "backtest_trades", "live_trades", "identical", "intents", "orders", "duplicates", "final_equity",
    "version_hash", "live_run_id", "database",
]  # fmt: skip


def seatrial(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on a data folder of the test."""
    environment = {**os.environ, "SEATRIAL_HOME": str(home), "SEATRIAL_DATABASE_URL": "", "COLUMNS": "200"}
    return subprocess.run([*COMMAND, *words], env=environment, capture_output=True, text=True, timeout=280, check=False)


def small_file(folder: Path) -> Path:
    """Write the first 700 bars of the sample as a user's CSV of ask prices."""
    import toolkit as tk

    frame = tk.sample_bars("EURUSD", "H1")[:700].frame
    asks = frame[[f"ask_{name}" for name in ("open", "high", "low", "close")]]
    path = folder / "mine.csv"
    asks.rename(columns=lambda name: name.removeprefix("ask_")).to_csv(path, index_label="ts")
    return path


def own_data(path: Path) -> list[str]:
    """Return the options that name a user's file."""
    return ["--data", str(path), "--symbol", "EURUSD", "--timeframe", "H1", "--price", "ask", "--spread-pips", "0.8"]


@pytest.mark.timeout(600)
def test_the_demo_is_identical_and_prints_exactly_the_promised_fields(tmp_path: Path) -> None:
    """At least 100 trades on the packaged year, no duplicate in the venue's book, exit code 0; the run is then listed."""
    done = seatrial(tmp_path, "demo", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert list(facts) == FIELDS
    assert facts["identical"] is True and facts["duplicates"] == 0
    assert facts["bars"] == 6_225 and facts["live_trades"] == facts["backtest_trades"] >= 100
    listed = json.loads(seatrial(tmp_path, "status", "--json").stdout)
    assert [(r["live_run_id"], r["status"], r["trades"]) for r in listed] == [
        (facts["live_run_id"], "STOPPED", facts["live_trades"])
    ]


@pytest.mark.timeout(600)
def test_own_bars_and_a_second_run_in_the_same_database(tmp_path: Path) -> None:
    """A user's CSV is replayed; run again it is a new run on a new account, with the same trades."""
    options = own_data(small_file(tmp_path))
    first, second = (seatrial(tmp_path, "demo", "--json", *options) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    one, two = (json.loads(d.stdout.splitlines()[-1]) for d in (first, second))
    assert one["bars"] == 700 and one["live_run_id"] != two["live_run_id"] and one["database"] == two["database"]
    assert one["version_hash"] == two["version_hash"] and one["final_equity"] == two["final_equity"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fault", "column"), [("fill_side", "entry_price"), ("skip_bar", ""), ("slippage", "entry_price")]
)
def test_a_planted_fault_fails_the_demo_and_is_named(tmp_path: Path, fault: str, column: str) -> None:
    """Exit code 1, and the first difference names trade and column."""
    done = seatrial(tmp_path, "demo", "--inject", fault, *own_data(small_file(tmp_path)))
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stdout.split())
    assert "DIFFERENT" in said and "trade 1 (entered" in said
    assert not column or f"differs in {column}" in said


def test_a_file_that_is_not_there_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """A wrong path is a refusal with a remedy, not a traceback."""
    done = seatrial(tmp_path, "demo", "--data", str(tmp_path / "none.csv"))
    assert done.returncode == 2
    assert "must be an existing file" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not a Windows signal")
def test_restart_after_twenty_kills_ends_with_the_same_trades(tmp_path: Path) -> None:
    """kill -9 at twenty random moments of the replay: trades, equity and the venue's book are those of an unbroken one."""
    result = storm(tmp_path, kills=20, seed=2_026, rows=1_200)
    assert result.kills == 20
    assert result.differences == [] and result.duplicates == 0

"""The cTrader sandbox as its users meet it: our own doctor and rehearsal, and an independent client over real TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

import toolkit as tk
from toolkit.platforms.simctrader.market import run_sandbox


@dataclass(frozen=True)
class Served:
    """A sandbox whose market lives now."""

    port: int
    login: int
    certificate: Path
    tokens: Path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Serve the packaged prices as minutes of now, for a minute at most."""
    there: list[Served] = []
    up, stop = threading.Event(), threading.Event()

    def ready(port: int, login: int, certificate: Path, tokens: Path) -> None:
        there.append(Served(port, login, certificate, tokens))
        up.set()

    def serve() -> None:
        run_sandbox(
            tmp_path / "sandbox", tk.sample_bars("EURUSD", "H1")[:2000], port=0, start=500, seconds=120.0,
            ready=ready, stop=stop,
        )  # fmt: skip

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert up.wait(30.0), "the sandbox did not listen"
    yield there[0]
    stop.set()
    thread.join(20.0)
    assert not thread.is_alive()


def seatrial(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a data folder."""
    command = [sys.executable, "-c", "from toolkit.cli import main; main()", *words]
    environment = {**os.environ, "SEATRIAL_HOME": str(home), "SEATRIAL_DATABASE_URL": "", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


def test_ctrader_doctor_trades_the_smallest_lot_through_a_live_run(served: Served, tmp_path: Path) -> None:
    """Account added, looked over, opened, modified, reduced and closed by commands alone."""
    home = tmp_path / "home"
    added = seatrial(
        home, "account", "add", "box", "--platform", "ctrader", "--login", str(served.login), "--server", "127.0.0.1",
        "--secret-ref", f"file:{served.tokens}", "--option", f"port={served.port}",
        "--option", f"certificate={served.certificate}",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    looked = seatrial(home, "doctor", "--platform", "ctrader", "--account", "box", "--trade-min-lot", "--json")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    found = {f["name"]: f["level"] for f in json.loads(looked.stdout.splitlines()[-1])["findings"]}
    assert [found[k] for k in ("open", "modify", "reduce", "close", "deals")] == ["ok"] * 5, looked.stdout


def test_ctrader_doctor_says_what_is_wrong(served: Served, tmp_path: Path) -> None:
    """Another login is named as not among those of the token, and the exit code is 1."""
    home = tmp_path / "home"
    seatrial(
        home, "account", "add", "box", "--platform", "ctrader", "--login", "42", "--server", "127.0.0.1",
        "--secret-ref", f"file:{served.tokens}", "--option", f"port={served.port}",
        "--option", f"certificate={served.certificate}",
    )  # fmt: skip
    looked = seatrial(home, "doctor", "--platform", "ctrader", "--account", "box", "--json")
    assert looked.returncode == 1
    (found,) = json.loads(looked.stdout.splitlines()[-1])["findings"]
    assert (found["name"], found["level"]) == ("account", "fail") and "42" in found["said"]


def test_ctrader_independent_client_trades_on_the_sandbox(served: Served) -> None:
    """A client nobody here wrote authenticates, trades, amends, closes in parts, cancels and reads its history."""
    python = os.environ.get("SEATRIAL_CTRADER_CLIENT_PYTHON", "")
    if not python:
        pytest.skip("SEATRIAL_CTRADER_CLIENT_PYTHON names no Python with ctrader-api-client: .ci/run makes one")
    script = Path(__file__).parents[1] / "support" / "ctrader_independent.py"
    done = subprocess.run(
        [python, str(script), str(served.port), str(40_000_000 + served.login), str(served.tokens)],
        capture_output=True, text=True, timeout=90, check=False,
        env={"PATH": os.environ["PATH"], "SSL_CERT_FILE": str(served.certificate)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["deals"] == 3 and told["orders"] == 4 and told["bars"] > 100
    assert Decimal(told["balance_moved"]) == Decimal(told["gross"])

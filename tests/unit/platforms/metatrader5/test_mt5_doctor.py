"""The doctor's findings, and opening a session from an account's settings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from toolkit.clock import ManualClock
from toolkit.errors import BadInput, MissingPackage, PlatformUnavailable, ToolkitError, WrongAccount
from toolkit.market import find_instrument
from toolkit.platforms.isolation import AgentPlatform, IsolatedPlatform
from toolkit.platforms.metatrader5.doctor import Finding, examine, not_reached
from toolkit.platforms.opening import open_metatrader5
from toolkit.platforms.simmt5 import STRICT, SimMT5
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 3, 20, 9, tzinfo=UTC)


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[SimulatedPlatform]:
    """A venue with a fresh EURUSD quote."""
    with SimulatedPlatform(
        tmp_path / "v.sqlite", PaperAccount("USD", 10_000), [find_instrument("EURUSD")], checks=STRICT
    ) as venue:
        venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10008"), START)
        yield venue


def look(sim: SimMT5, **more: object) -> dict[str, Finding]:
    """Return the findings by name."""
    login, server, _ = sim.logged_in
    words: dict[str, object] = {"login": login, "server": server, "symbols": ["EURUSD"], "utc": sim.clock, **more}
    return {f.name: f for f in examine(sim, **words)}  # type: ignore[arg-type]


def test_mt5_doctor_is_content_with_a_good_terminal(paper: SimulatedPlatform) -> None:
    """Nothing fails, and the clock was measured in a week that tells the conventions apart."""
    found = look(SimMT5(paper))
    assert [f.name for f in found.values() if f.level == "fail"] == []
    assert "New York + 7" in found["server clock"].said and "UTC+3 h now" in found["server clock"].said
    assert found["EURUSD pip value"].said == "10.00 a pip and lot on both routes"


@pytest.mark.parametrize(
    ("spoil", "name", "remedy"),
    [
        ("trade_allowed", "algo trading", "Algo Trading"),
        ("tradeapi_disabled", "interface", "external Python API"),
        ("closed", "EURUSD", "another symbol"),
    ],
)
def test_mt5_doctor_names_problem_and_remedy(paper: SimulatedPlatform, spoil: str, name: str, remedy: str) -> None:
    """Each thing that is switched off is a failure with what to do."""
    sim = SimMT5(paper)
    if spoil == "closed":
        sim.server.trade_mode["EURUSD"] = 3
    else:
        setattr(sim, spoil, spoil == "tradeapi_disabled")
    found = look(sim)[name]
    assert found.level == "fail" and remedy in found.remedy


def test_mt5_doctor_says_whose_account_is_logged_in(paper: SimulatedPlatform) -> None:
    """Another login is the first and only finding."""
    sim = SimMT5(paper)
    findings = examine(sim, login=1, server="Elsewhere", utc=sim.clock)
    assert [f.level for f in findings] == ["fail"]
    assert "5000001 at SimServer-Demo" in findings[0].said


def test_mt5_doctor_finds_a_wrongly_stated_clock(paper: SimulatedPlatform) -> None:
    """A stated clock that contradicts the tick is a failure."""
    found = look(SimMT5(paper), clock="Europe/Athens")
    assert found["server clock"].level == "fail"
    assert "UTC+2 h stated, UTC+3 h measured" in found["server clock"].said


def test_mt5_doctor_warns_of_an_unknown_symbol(paper: SimulatedPlatform) -> None:
    """A symbol that is not there fails by itself."""
    assert look(SimMT5(paper), symbols=["XAUUSD"])["XAUUSD"].level == "fail"


def test_mt5_doctor_names_what_the_server_calls_a_symbol(paper: SimulatedPlatform) -> None:
    """A symbol with a suffix that the account does not state is found by its likeness."""
    found = look(SimMT5(paper, suffix=".r"))["EURUSD"]
    assert found.level == "fail" and "it has EURUSD.r" in found.said and "--suffix" in found.remedy


def test_mt5_doctor_notices_a_machine_whose_clock_runs_behind(paper: SimulatedPlatform) -> None:
    """A tick from the future is this machine's fault."""
    sim = SimMT5(paper)
    found = look(sim, utc=ManualClock(START - timedelta(seconds=40)))["this machine's clock"]
    assert found.level == "warn" and found.said.startswith("40 s behind") and "NTP" in found.remedy


@pytest.mark.parametrize(
    ("error", "name", "remedy"),
    [
        (MissingPackage("no package"), "package", "agent"),
        (WrongAccount("another login"), "account", "log this terminal in"),
        (PlatformUnavailable("no line"), "terminal", "start the terminal"),
    ],
)
def test_mt5_doctor_has_a_remedy_for_each_way_not_to_get_in(error: ToolkitError, name: str, remedy: str) -> None:
    """What kept the session from opening decides what to do about it."""
    found = not_reached(error)
    assert (found.name, found.level, found.said) == (name, "fail", str(error)) and remedy in found.remedy


def test_mt5_doctor_looks_through_the_sessions_own_process(paper: SimulatedPlatform, tmp_path: Path) -> None:
    """Findings come back from a child as they are in process."""
    paper.close()
    words = {"kind": "simmt5", "path": str(tmp_path / "v.sqlite"), "moment": START.isoformat()}
    session = IsolatedPlatform(words)
    try:
        session.connect()
        found = {f.name: f for f in session.examine(("EURUSD", "XAUUSD"))}
    finally:
        session.close()
    assert found["terminal"].level == "ok" and found["XAUUSD"].level == "fail"
    assert isinstance(found["EURUSD"], Finding)


def test_mt5_session_of_an_account_is_isolated_or_at_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account's settings choose; unknown words and a login that is no number are refused."""
    row = {"login": "123", "server": "X-Demo", "environment": "demo", "secret_ref": "env:PW", "locks": tmp_path}
    local = open_metatrader5(**row, settings={"path": "C:/mt5/terminal64.exe", "suffix": ".r"})  # type: ignore[arg-type]
    assert isinstance(local, IsolatedPlatform) and local.child_pid is None
    monkeypatch.setenv("SEATRIAL_TEST_KEY", "ab" * 32)
    agent = {"agent": {"port": 9, "key_ref": "env:SEATRIAL_TEST_KEY"}}
    assert isinstance(open_metatrader5(**row, settings=agent), AgentPlatform)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="pathh"):
        open_metatrader5(**row, settings={"pathh": "x"})  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="login"):
        open_metatrader5(**{**row, "login": "me"}, settings={})  # type: ignore[arg-type]


def test_mt5_watched_agent_beside_a_terminal_is_reached_over_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent of the guide: instructions from a file, the session in its watched child, the client elsewhere."""
    monkeypatch.setenv("SEATRIAL_TEST_KEY", "cd" * 32)
    instructions = {
        "key_ref": "env:SEATRIAL_TEST_KEY",
        "watch": True,
        "once": True,
        "lock": str(tmp_path / "account.lock"),
        "session": {
            "kind": "simulated",
            "path": str(tmp_path / "v.sqlite"),
            "account": PaperAccount("USD", 500).facts(),
            "instruments": [find_instrument("EURUSD").facts()],
        },
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "toolkit.platforms.agent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(instructions) + "\n")
    child.stdin.close()
    port = json.loads(child.stdout.readline())["port"]
    remote = AgentPlatform(port, bytes.fromhex("cd" * 32))
    assert remote.connect().balance == Decimal(500)
    remote.close()
    assert child.wait(timeout=20) == 0
    child.stdout.close()


def test_agent_does_not_listen_beyond_this_machine(tmp_path: Path) -> None:
    """An address that others could reach is refused."""
    done = subprocess.run(
        [sys.executable, "-m", "toolkit.platforms.agent"],
        input=json.dumps({"key_hex": "00" * 32, "listen": ["0.0.0.0", 0], "session": {}}) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and "loopback" in json.loads(done.stdout)["message"]

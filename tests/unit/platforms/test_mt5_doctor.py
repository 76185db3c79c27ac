"""The doctor's findings, the rehearsal on a demo account, and opening a session from an account's settings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from toolkit.errors import BadInput, Forbidden
from toolkit.execution.ports import Outcome
from toolkit.market import find_instrument
from toolkit.platforms.isolation import AgentPlatform, IsolatedPlatform
from toolkit.platforms.metatrader5.doctor import Finding, examine, rehearse
from toolkit.platforms.opening import open_metatrader5
from toolkit.platforms.simmt5 import STRICT, SimMT5, SimMT5Platform
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript, SimulatedPlatform
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
        ("tradeapi_disabled", "interface", "allow"),
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


def test_mt5_rehearsal_opens_modifies_reduces_and_closes(paper: SimulatedPlatform) -> None:
    """All steps are done with the smallest volume, and nothing is left open."""
    at = SimMT5Platform(paper)
    found = rehearse(at, "EURUSD")
    assert [(f.name, f.level) for f in found] == [(n, "ok") for n in ("open", "modify", "reduce", "close", "deals")]
    assert paper.book().positions == ()
    assert [d.lots for d in paper.deals_after(None)] == [Decimal("0.02"), Decimal("0.01"), Decimal("0.01")]


def test_mt5_rehearsal_closes_even_when_a_step_goes_wrong(tmp_path: Path) -> None:
    """A refused modification does not leave the position behind."""
    faults = FaultScript([Fault(FaultKind.REJECT, on="modify"), Fault(FaultKind.ANSWER_LOST, on="close")])
    account = PaperAccount("USD", 10_000)
    with SimulatedPlatform(
        tmp_path / "v.sqlite", account, [find_instrument("EURUSD")], checks=STRICT, faults=faults
    ) as venue:
        venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10008"), START)
        found = {f.name: f for f in rehearse(SimMT5Platform(venue), "EURUSD")}
        assert found["modify"].level == "fail" and Outcome.UNKNOWN in found["reduce"].said
        assert venue.book().positions == ()


def test_mt5_rehearsal_is_refused_on_real_money(paper: SimulatedPlatform) -> None:
    """Only a demo account is rehearsed on; nothing is sent."""
    with pytest.raises(Forbidden, match="demo account, was real"):
        rehearse(SimMT5Platform(paper, trade_mode=2), "EURUSD")
    assert paper.order_count() == 0


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

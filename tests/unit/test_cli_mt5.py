"""``seatrial account add|set|practice``, ``doctor --platform mt5`` and ``mt5-agent``, as a user types them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from toolkit.bootstrap import build
from toolkit.cli import app
from toolkit.errors import BadInput
from toolkit.platforms.isolation import AgentPlatform
from toolkit.settings import Settings
from toolkit.store.people.accounts import AccountRecord, Accounts


def seatrial(home: Path, *words: str, code: int = 0) -> str:
    """Run a command on a data folder; return what it printed."""
    done = CliRunner().invoke(app, [*words, "--home", str(home)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def account_of(home: Path, name: str) -> AccountRecord:
    """Read an account's row."""
    engine = build(Settings(home=home, database_url="", _env_file=None))  # type: ignore[call-arg,arg-type]
    try:
        with engine.work(write=False) as work:
            return Accounts(work.connection, engine.principal).find(name)
    finally:
        engine.close()


ADD = ("account", "add", "mt5-1", "--platform", "mt5", "--login", "12345", "--server", "Broker-Demo")


def test_mt5_account_is_added_with_its_terminal_names_and_clock(tmp_path: Path) -> None:
    """What the session needs is in the row, under the platform's name; the secret is a reference."""
    words = ["--secret-ref", "keyring:seatrial/mt5-12345", "--terminal-path", "C:/mt5/terminal64.exe", "--suffix", ".r"]
    words += ["--clock", "New York + 7", "--symbol", "XAUUSD=GOLD", "--option", "send_seconds=15"]
    said = seatrial(tmp_path, *ADD, *words)
    assert "metatrader5 demo, login 12345 at Broker-Demo" in said and "doctor --platform mt5 --account mt5-1" in said
    row = account_of(tmp_path, "mt5-1")
    assert (row.platform, row.secret_ref) == ("metatrader5", "keyring:seatrial/mt5-12345")
    assert row.settings["mt5"] == {
        "path": "C:/mt5/terminal64.exe", "suffix": ".r", "clock": "New York + 7", "symbols": {"XAUUSD": "GOLD"},
        "send_seconds": "15",
    }  # fmt: skip


def test_mt5_account_options_are_changed_and_taken_away(tmp_path: Path) -> None:
    """``set`` changes the named options only; an empty value takes one away."""
    seatrial(tmp_path, *ADD, "--suffix", ".r", "--clock", "Europe/Athens")
    seatrial(tmp_path, "account", "set", "mt5-1", "--clock", "New York + 7", "--suffix", "", "--agent-port", "8765",
             "--agent-key-ref", "env:KEY")  # fmt: skip
    assert account_of(tmp_path, "mt5-1").settings["mt5"] == {
        "clock": "New York + 7", "agent": {"port": 8765, "key_ref": "env:KEY"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--clock", "Mars"), "IANA time zone"),
        (("--option", "pathh=x"), "pathh"),
        (("--option", "read_seconds=soon"), "read_seconds"),
        (("--symbol", "GOLD"), "OURS=THEIRS"),
        (("--agent-port", "1"), "key_ref"),
        (("--login", "me"), "login"),
    ],
)
def test_mt5_account_that_could_not_work_is_refused_at_the_door(tmp_path: Path, words: Any, said: str) -> None:
    """Each option is checked when the account is added, not when it is needed."""
    with pytest.raises(Exception, match=said):
        seatrial(tmp_path, *ADD, *words)


def test_mt5_doctor_and_rehearsal_of_a_practice_account_through_its_own_process(tmp_path: Path) -> None:
    """The practice terminal runs in a child; doctor and smallest trade go through it as they do on a real one."""
    seatrial(tmp_path, "account", "practice", "prac", "--suffix", ".r")
    said = seatrial(tmp_path, "doctor", "--platform", "mt5", "--account", "prac", "--trade-min-lot", "--json")
    found = {f["name"]: f for f in json.loads(said.splitlines()[-1])["findings"]}
    assert [n for n, f in found.items() if f["level"] == "fail"] == []
    assert list(found)[-5:] == ["open", "modify", "reduce", "close", "deals"]
    assert "EURUSD.r: full" in found["EURUSD"]["said"]


def test_mt5_doctor_of_an_account_nobody_can_reach_says_what_to_do(tmp_path: Path) -> None:
    """Where the package is missing, or no agent listens, the finding has the remedy; the exit code is 1."""
    seatrial(tmp_path, *ADD)
    said = seatrial(tmp_path, "doctor", "--platform", "mt5", "--account", "mt5-1", code=1)
    assert "fail" in said and "->" in said


def test_mt5_doctor_without_an_account_names_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither --account nor the variables: the refusal names them."""
    monkeypatch.delenv("SEATRIAL_DEMO_LOGIN", raising=False)
    with pytest.raises(BadInput, match=r"SEATRIAL_DEMO_LOGIN.*--account"):
        seatrial(tmp_path, "doctor", "--platform", "mt5")


def test_mt5_agent_makes_a_private_key_and_keeps_an_old_one(tmp_path: Path) -> None:
    """64 hexadecimal digits, readable by the owner alone; a file that is there is not overwritten."""
    key = tmp_path / "agent.key"
    CliRunner().invoke(app, ["mt5-agent", "--make-key", str(key)], catch_exceptions=False)
    assert re.fullmatch(r"[0-9a-f]{64}\n", key.read_text()) and key.stat().st_mode & 0o077 == 0
    with pytest.raises(BadInput, match="key file must be new"):
        CliRunner().invoke(app, ["mt5-agent", "--make-key", str(key)], catch_exceptions=False)


def test_mt5_agent_command_serves_on_loopback_until_interrupted(tmp_path: Path) -> None:
    """It tells its port, proves the key, and says what is missing when the session is asked for; Ctrl+C ends it."""
    key = tmp_path / "agent.key"
    CliRunner().invoke(app, ["mt5-agent", "--make-key", str(key)], catch_exceptions=False)
    command = [sys.executable, "-c", "from toolkit.cli import main; main()", "mt5-agent", "--login", "1", "--server", "X",
               "--key-ref", f"file:{key}", "--port", "0"]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        told = re.search(r"127\.0\.0\.1:(\d+)", child.stdout.readline())
        assert told is not None
        remote = AgentPlatform(int(told[1]), bytes.fromhex(key.read_text().strip()), read_seconds=60)
        with pytest.raises(Exception, match="MetaTrader"):
            remote.connect()
        remote.close()
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=20) == 0
    finally:
        if child.poll() is None:
            child.kill()
            child.wait(timeout=10)
        if child.stdout is not None:
            child.stdout.close()

"""The command line: what it lists, what it refuses, and that a run can be looked at and ended from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.plugins.live_support import EmaCross, Sea
from toolkit.cli import main
from toolkit.cli.app import app
from toolkit.errors import ToolkitError
from toolkit.live.advance import advance
from toolkit.market import Bars


@pytest.fixture
def seatrial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command on the test's data folder and return what it printed."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str, home: Path = tmp_path / "home", code: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, "--home", str(home)])
        if isinstance(result.exception, ToolkitError):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_help_lists_what_is_built() -> None:
    """Every command of the tree shows in the help."""
    text = CliRunner().invoke(app, ["--help"]).output
    for name in ("demo", "init", "run", "status", "stop", "halt", "resume", "panel", "doctor", "account"):
        assert name in text


def test_a_refusal_is_one_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback reaches the user for what the toolkit refuses."""
    monkeypatch.setattr("sys.argv", ["seatrial", "stop", "feed", "--home", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.startswith("seatrial: run id must name one run") and "Traceback" not in said


def test_init_makes_the_database_and_says_who_you_are(seatrial: Callable[..., str], tmp_path: Path) -> None:
    """The data folder holds the database afterwards."""
    said = seatrial("init")
    assert "you are     local" in said and (tmp_path / "home" / "seatrial.db").exists()


def test_status_without_runs_says_what_to_do(seatrial: Callable[..., str]) -> None:
    """An empty list is a hint, not an empty table."""
    assert "seatrial demo" in seatrial("status")


def test_a_run_is_listed_resumed_and_ended_from_the_command_line(
    make_sea: Callable[..., Sea], some_bars: Bars, seatrial: Callable[..., str]
) -> None:
    """``run`` takes up what another process left RUNNING, to its end."""
    sea = make_sea()
    bars = some_bars[:200]
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), bars)
    advance(sea.engine, run.live_run_id, run.account_id, limit=50)
    home = sea.home
    sea.engine.close()
    before = json.loads(seatrial("status", "--json", home=home))
    assert [(r["status"], r["bars"]) for r in before] == [("RUNNING", 50)] or before[0]["bars"] < 200
    facts = json.loads(seatrial("run", str(run.live_run_id)[:8], "--json", home=home).splitlines()[-1])
    assert facts["status"] == "STOPPED" and facts["bars"] == 200
    assert "STOPPED" in seatrial("status", home=home)


def test_stop_without_a_host_is_carried_out_here(
    make_sea: Callable[..., Sea], some_bars: Bars, seatrial: Callable[..., str]
) -> None:
    """A run nobody hosts is STOPPED by the command itself."""
    sea = make_sea()
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars[:200])
    home = sea.home
    sea.engine.close()
    assert "is STOPPED" in seatrial("stop", str(run.live_run_id), home=home)


def test_halt_and_resume_an_account(seatrial: Callable[..., str]) -> None:
    """The kill switch shows in the list of accounts until it is released."""
    seatrial("account", "paper", "paper-1")
    seatrial("halt", "paper-1", "--reason", "news")
    assert "news" in seatrial("account", "list")
    seatrial("resume", "paper-1")
    assert "news" not in seatrial("account", "list")


def test_an_account_is_armed_only_with_its_name_typed(seatrial: Callable[..., str]) -> None:
    """The confirmation must be the account's name."""
    seatrial("account", "paper", "paper-1")
    with pytest.raises(ToolkitError, match="must be the account's name"):
        seatrial("account", "arm", "paper-1", "--confirm", "yes")
    assert "may trade until" in seatrial("account", "arm", "paper-1", "--confirm", "paper-1")


def test_doctor_checks_the_database_and_its_audit_chain(seatrial: Callable[..., str]) -> None:
    """A fresh installation passes."""
    said = seatrial("doctor")
    assert "audit chain intact" in said and "FAIL" not in said


def test_limits_of_an_account_from_the_command_line(seatrial: Callable[..., str]) -> None:
    """Set, added to, shown, taken away; nothing has tripped yet."""
    seatrial("account", "paper", "p1")
    assert "no limits of its own" in seatrial("guards", "show", "p1")
    said = seatrial(
        "guards", "set", "p1", "--limit", "daily_loss_percent=2", "--limit", "trading_hours=Mon-Fri 08:00-20:00"
    )
    assert "daily_loss_percent 2" in said
    seatrial("guards", "set", "p1", "--limit", "orders_per_minute=10", "--limit", "trading_hours=")
    assert json.loads(seatrial("guards", "show", "p1", "--json")) == {
        "daily_loss_percent": "2",
        "orders_per_minute": 10,
    }
    assert "no limits" in seatrial("guards", "set", "p1", "--clear")
    assert "no guardrail holds" in seatrial("guards", "trips")
    with pytest.raises(ToolkitError, match="in force to be reset"):
        seatrial("guards", "reset", "p1")
    with pytest.raises(ToolkitError, match="known"):
        seatrial("guards", "set", "p1", "--limit", "moon_phase=3")


def test_halt_with_flatten_from_the_command_line(seatrial: Callable[..., str]) -> None:
    """An account without positions is flat at once, and says so."""
    seatrial("account", "paper", "p1")
    assert "flat: nothing of ours" in seatrial("halt", "p1", "--flatten")

"""The life of a run from the command line: versions, start, replay, stages, reasons, drift, alerts, the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.plugins.live_support import EmaCross, Sea
from toolkit.bootstrap import build
from toolkit.cli.app import app
from toolkit.errors import RunError, ToolkitError
from toolkit.live import live_runs
from toolkit.live.stepping.ending import fail
from toolkit.market import Bars
from toolkit.settings import Settings


@pytest.fixture
def seatrial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command on the test's data folder and return what it printed."""
    monkeypatch.setenv("COLUMNS", "240")

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, "--home", str(tmp_path / "home")])
        if isinstance(result.exception, ToolkitError):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    return run


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Callable[[], Sea]]:
    """Open the engine of that data folder, as another process would; the caller closes it."""
    made = []

    def open_again() -> Sea:
        sea = Sea(build(Settings(home=tmp_path / "home", database_url="", _env_file=None)))  # type: ignore[call-arg, arg-type]
        made.append(sea)
        return sea

    yield open_again
    for sea in made:
        sea.engine.close()


@pytest.fixture
def ended(home: Callable[[], Sea], some_bars: Bars) -> str:
    """A run of EmaCross v1 on paper-1 that has been replayed to its end; its id."""
    sea = home()
    sea.version(EmaCross(), some_bars)
    run = sea.finish(sea.run(sea.version(EmaCross(fast=15), some_bars), sea.account(), some_bars))
    sea.engine.close()
    return str(run.live_run_id)


def test_versions_are_listed_shown_compared_and_retired(seatrial: Callable[..., str], ended: str) -> None:
    """All that the notebook can do with versions, the command line can."""
    assert "EmaCross v1" in seatrial("version", "list") and "EURUSD H1" in seatrial("version", "list")
    shown = json.loads(seatrial("version", "show", "EmaCross v2", "--json"))
    assert shown["version"] == "EmaCross v2" and shown["params"]["fast"] == 15
    assert "parent" in seatrial("version", "show", "EmaCross")
    assert "fast" in seatrial("version", "diff", "EmaCross v1", "EmaCross v2", code=1)
    assert "equal" in seatrial("version", "diff", "EmaCross v2", "EmaCross v2")
    seatrial("version", "retire", "EmaCross v1", "--reason", "worse than v2")
    assert "EmaCross v1" not in seatrial("version", "list")
    assert "worse than v2" in seatrial("version", "list", "--all")
    with pytest.raises(RunError, match="worse than v2"):
        seatrial("start", "EmaCross v1", "--account", "paper-1", "--capital", "5000")
    seatrial("version", "restore", "EmaCross v1")


def test_a_run_is_explained_measured_and_asked_for_its_next_stage(
    seatrial: Callable[..., str], home: Callable[[], Sea], ended: str, some_bars: Bars
) -> None:
    """Reasons by bar, drift as one sentence and as JSON, and a stage that says what is missing."""
    sea = home()
    entered = sea.trades(live_runs.list_runs(sea.engine, sea.engine.principal)[0])[0]["entry_time"]
    sea.engine.close()
    from datetime import timedelta

    said = seatrial("explain", ended[:8], f"{entered - timedelta(hours=1):%Y-%m-%dT%H:%M}")
    assert "OPEN_TRADE" in said and "FILLED" in said
    assert seatrial("drift", ended[:8]).startswith("no drift")
    assert json.loads(seatrial("drift", ended[:8], "--json"))["matched"] > 5
    with pytest.raises(RunError, match="stage demo must be demo, was paper-1"):
        seatrial("stage", ended[:8], "--account", "paper-1")


def test_a_recorded_file_is_replayed_from_the_command_line(
    seatrial: Callable[..., str], ended: str, some_bars: Bars, tmp_path: Path
) -> None:
    """A version, a file, a new paper account: the run ends with the version's trades."""
    path = tmp_path / "bars.parquet"
    some_bars.frame.reset_index().to_parquet(path)
    seatrial("account", "paper", "paper-2")
    done = seatrial("replay", "EmaCross v2", str(path), "--account", "paper-2", "--price", "bidask", "--json")
    facts = json.loads(done.splitlines()[-1])
    assert facts["status"] == "STOPPED" and facts["live_trades"] > 5


def test_alerts_are_listed_and_a_look_ends_with_one(
    seatrial: Callable[..., str], home: Callable[[], Sea], some_bars: Bars
) -> None:
    """``watch --once`` exits 1 while something stands; ``alerts`` lists it afterwards."""
    seatrial("init")
    seatrial("watch", "--once")
    assert "no alerts" in seatrial("alerts")
    sea = home()
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    fail(sea.engine, run, "planted fault")
    sea.engine.close()
    assert "planted fault" in seatrial("watch", "--once", code=1)
    assert "planted fault" in seatrial("alerts") and json.loads(seatrial("alerts", "--json"))[0]["level"] == "error"


def test_a_run_is_paused_and_let_go_on(seatrial: Callable[..., str], home: Callable[[], Sea], some_bars: Bars) -> None:
    """PAUSED and back."""
    sea = home()
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    sea.engine.close()
    assert "PAUSED" in seatrial("pause", str(run.live_run_id)[:8])
    assert "RUNNING" in seatrial("pause", str(run.live_run_id)[:8], "--off")


def test_the_database_is_backed_up_checked_pruned_and_restored(
    seatrial: Callable[..., str], ended: str, tmp_path: Path
) -> None:
    """The commands of the operator, one after the other, end with the same run in another place."""
    seatrial("db", "backup", str(tmp_path / "backup"))
    assert "in order" in seatrial("db", "check")
    assert "removed" in seatrial("db", "prune", "--days", "400")
    assert "schema" in seatrial("db", "upgrade", "--backup-to", str(tmp_path / "second"))
    (tmp_path / "home").rename(tmp_path / "lost")
    seatrial("db", "restore", str(tmp_path / "backup"))
    assert ended[:8] in seatrial("status")

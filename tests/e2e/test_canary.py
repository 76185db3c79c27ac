"""Planted secrets: whatever is done with them, they stand in no row, log, message, traceback, page, backup or core file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import free_port, wait_until
from tests.plugins.live_support import EmaCross, Sea
from toolkit.bootstrap import build
from toolkit.live.advance import advance
from toolkit.live.stepping.ending import fail
from toolkit.market import Bars
from toolkit.settings import Settings

CANARY = "canary7f3a91c2"
COMMAND = [sys.executable, "-c", "from toolkit.cli import main; main()"]


def planted(folder: Path) -> dict[str, str]:
    """Return the environment of every process: a secret in each place that takes one."""
    (folder / "mt5.secret").write_text(f"{CANARY}-file")
    (folder / "mt5.secret").chmod(0o600)
    return {
        **os.environ,
        "SEATRIAL_HOME": str(folder / "home"),
        "SEATRIAL_DATABASE_URL": "",
        "SEATRIAL_SIGNING_KEY": f"k1:{CANARY}-signing-key-0123456789",
        "SEATRIAL_REDIS_URL": f"redis://user:{CANARY}-redis@127.0.0.1:1/0",
        "SEATRIAL_RABBITMQ_URL": f"amqp://user:{CANARY}-rabbit@127.0.0.1:1/",
        "SEATRIAL_ALERT_URLS": f"json://user:{CANARY}-alert@127.0.0.1:1/hook",
        "SEATRIAL_HEARTBEAT_URL": f"http://127.0.0.1:1/{CANARY}-heartbeat",
        "SEATRIAL_METRICS_TOKEN": f"{CANARY}-metrics",
        "COLUMNS": "200",
    }


def test_a_planted_secret_is_written_and_shown_nowhere(
    tmp_path: Path, some_bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs, a run in error, a watchdog whose addresses are dead, a worker without its broker, the page, a backup, a crash."""
    environment = planted(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []

    def seatrial(*words: str, code: int | None = 0, timeout: float = 120) -> None:
        done = subprocess.run(
            [*COMMAND, *words], env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        said.extend((done.stdout, done.stderr))
        assert code is None or done.returncode == code, done.stdout + done.stderr

    seatrial("init")
    seatrial("account", "add", "mt5-1", "--platform", "metatrader5", "--login", "7", "--server", "Demo",
             "--secret-ref", f"file:{tmp_path / 'mt5.secret'}", "--option", "path=terminal")  # fmt: skip
    sea = Sea(build(Settings(_env_file=None)))  # type: ignore[call-arg]
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    advance(sea.engine, run.live_run_id, run.account_id, limit=100)
    broken = sea.run(sea.version(EmaCross(fast=15), some_bars), sea.account("paper-2"), some_bars)
    fail(
        sea.engine,
        broken,
        f"cannot reach {environment['SEATRIAL_REDIS_URL']}",
        traceback=environment["SEATRIAL_RABBITMQ_URL"],
    )
    said += [repr(sea.engine.settings), str(sea.engine.settings), repr(sea.read(broken))]
    sea.engine.close()
    seatrial("watch", "--once", code=1)
    seatrial("alerts", "--json")
    seatrial("status", "--json")
    seatrial("doctor", code=None)
    seatrial("gateway", "set", "paper-1", "redis")
    said.append(_worker_that_cannot_connect(environment))
    seatrial("gateway", "set", "paper-1", "local")
    seatrial("run", str(run.live_run_id), "--json")
    said.append(_page(environment, str(run.live_run_id)))
    seatrial("db", "backup", str(tmp_path / "backup"))
    _crash(environment, tmp_path)
    found = [str(file) for folder in ("home", "backup") for file in (tmp_path / folder).rglob("*")
             if file.is_file() and CANARY.encode() in file.read_bytes()]  # fmt: skip
    assert found == []
    assert [text for text in said if CANARY in text] == []
    assert not list(tmp_path.glob("core*"))


def _worker_that_cannot_connect(environment: dict[str, str]) -> str:
    process = subprocess.Popen(
        [sys.executable, "-m", "workers", "--gateway", "redis"], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        text, _ = process.communicate(timeout=15)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            text, _ = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            text, _ = process.communicate()
    return text


def _page(environment: dict[str, str], run_id: str) -> str:
    pytest.importorskip("panel")
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "panel", "--port", str(port)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    page = ""

    def answers() -> bool:
        nonlocal page
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/app?run={run_id}", timeout=30) as answer:
                page = answer.read().decode()
        except OSError:
            return False
        return True

    try:
        wait_until(answers, seconds=120)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        text, _ = process.communicate(timeout=30)
    return page + text


def _crash(environment: dict[str, str], folder: Path) -> None:
    """Abort a process that has read the secrets, where the system would write a core file if it were let."""
    code = (
        "from toolkit.no_core import forbid_core_dumps; forbid_core_dumps(); "
        "from toolkit.settings import Settings; s = Settings(); import os; os.abort()"
    )
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )  # fmt: skip
    assert done.returncode == -signal.SIGABRT


def test_processes_of_ours_leave_no_core(tmp_path: Path) -> None:
    """Command line, worker and platform agent set the limit before anything else is done."""
    for entry in ("toolkit.cli:main", "workers.__main__:main", "toolkit.platforms.agent:main"):
        module, _, name = entry.partition(":")
        code = (
            "import resource, sys\n"
            f"import {module} as m\n"
            "sys.argv = ['x']\n"
            "try:\n"
            f"    m.{name}()\n"
            "except BaseException:\n"
            "    pass\n"
            "print(resource.getrlimit(resource.RLIMIT_CORE))\n"
        )
        arguments = ["--gateway", "redis"] if "workers" in module else []
        done = subprocess.run(
            [sys.executable, "-c", code.replace("['x']", repr(["x", *arguments]))], input="", capture_output=True, text=True,
            env={**os.environ, "SEATRIAL_HOME": str(tmp_path)}, timeout=60, check=False,
        )  # fmt: skip
        assert "(0, 0)" in done.stdout, entry + done.stdout + done.stderr

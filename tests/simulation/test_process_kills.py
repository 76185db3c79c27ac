"""kill -9 and SIGSTOP past the lease at every failpoint of real processes, on both databases: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from process_kills import MODES, POINTS, WIRE, stories

KINDS = len(POINTS) + len(POINTS) + 1  # kill at each point; stop at each, and on the wire
EACH = int(os.environ.get("SEATRIAL_KILL_SCHEDULES", "10" if os.environ.get("CI") else "1"))
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 and SIGSTOP are POSIX")


@pytest.mark.timeout(900)
def test_killed_and_stopped_processes_lose_and_double_nothing_restart(database_url):
    """Each signal is one position at the venue and one link in the store, whatever the moment of death or of the pause."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("process_kills.py")),
        "--schedules",
        str(KINDS * EACH),
        "--json",
    ]
    command += ["--seed", str(os.getpid()), "--workers", "6"]
    if database_url.startswith("postgresql"):
        command += ["--database", database_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=880)
    assert done.stdout, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["violations"] == []
    assert report["counted"] == {f"{mode} {point}": EACH for mode in MODES for point in points_of(mode)}


def points_of(mode):
    return POINTS if mode == "kill" else (*POINTS, WIRE)


def test_schedules_are_spread_evenly():
    """Every kind comes equally often, and a seed tells the same stories again."""
    told = stories(KINDS * 3, "both", 7)
    assert set(Counter((mode, point) for mode, point, _, _ in told).values()) == {3}
    assert told == stories(KINDS * 3, "both", 7)

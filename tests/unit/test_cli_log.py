"""Where the commands write their log lines."""

from __future__ import annotations

import json
from pathlib import Path

import structlog

from toolkit.cli.console import engine_of
from toolkit.telemetry.logging import get_logger


def test_a_command_logs_json_lines_with_correlation_ids_below_its_home(tmp_path: Path) -> None:
    """While a command runs, lines go to HOME/logs/seatrial.jsonl with the ids that are bound; afterwards nowhere."""
    with engine_of(tmp_path), structlog.contextvars.bound_contextvars(live_run_id="run-1", signal_id="bar-7"):
        get_logger("execution").info("intent_carried_out", state="FILLED")
    get_logger("execution").info("after the command")
    (line,) = (tmp_path / "logs" / "seatrial.jsonl").read_text(encoding="utf-8").splitlines()
    said = json.loads(line)
    assert (said["live_run_id"], said["signal_id"], said["event"]) == ("run-1", "bar-7", "intent_carried_out")

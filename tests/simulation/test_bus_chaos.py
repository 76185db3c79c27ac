"""A small case of the chaos lane; the whole is ``python tests/simulation/bus_chaos.py redis``, ``rabbitmq`` and ``kafka``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bus_chaos import run_lane

SCHEDULES = 10 if os.environ.get("CI") else 4


@pytest.mark.timeout(900)
@pytest.mark.parametrize("bus", ["redis", "rabbitmq", "kafka"])
def test_no_invariant_breaks_on_a_bus_under_chaos_restart(
    bus: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Killed, frozen, emptied and lied to, every run still makes the trades of its backtest, each order once."""
    request.getfixturevalue(f"{bus}_server")  # skips, or fails where services are required, when the program is missing
    outcome = run_lane(bus, tmp_path, SCHEDULES, seed=7, side=5)
    assert outcome.violations == []
    assert outcome.schedules == SCHEDULES
    assert outcome.intents > 20 * SCHEDULES
    assert sum(outcome.faults.values()) >= 2 * SCHEDULES

"""A small storm of kills under venue faults; the full one is ``python tests/e2e/restart_storm.py --kills 300``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.restart_storm import storm


@pytest.mark.timeout(600)
def test_restart_storm_ends_as_the_unbroken_run(tmp_path: Path) -> None:
    """Killed with open positions, partial fills and late acceptances: the same trades, intents and balance, all explained."""
    result = storm(tmp_path, kills=8, seed=7, rows=350)
    assert result.wrong == []
    assert result.equal == result.replays
    assert result.kills == 8 and result.trades > 5 and result.unknown > 0

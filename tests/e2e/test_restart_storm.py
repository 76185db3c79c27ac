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


@pytest.mark.timeout(600)
def test_restart_storm_of_a_managed_strategy_ends_as_the_unbroken_run(tmp_path: Path) -> None:
    """Pending entries, partial exits, break-even, trailing stop and time exit at once, killed in the middle of each."""
    result = storm(tmp_path, kills=6, seed=78, rows=250, managed=True)
    assert result.wrong == []
    assert result.equal == result.replays
    assert result.kills == 6 and result.trades > 3


@pytest.mark.timeout(600)
def test_restart_storm_ctrader_ends_as_the_unbroken_run(tmp_path: Path) -> None:
    """The same through the adapter, whose server keeps no tag of a close."""
    result = storm(tmp_path, kills=6, seed=42, rows=200, over="ctrader")
    assert result.wrong == []
    assert result.equal == result.replays
    assert result.kills == 6 and result.trades > 3

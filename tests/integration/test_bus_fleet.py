"""A small fleet over real message brokers and PostgreSQL; at full size: ``python tests/e2e/bus_fleet.py redis``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toolkit.market import Bars

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bus", ["redis", "rabbitmq", "kafka"])
def test_a_fleet_over_a_bus_equals_its_backtests_and_all_who_tell_agree(
    bus: str, tmp_path: Path, postgres_url: str, some_bars: Bars, request: pytest.FixtureRequest
) -> None:
    """Runs sharing accounts over worker processes: all equal, none twice, none lost; logs, events, metrics and rows agree."""
    from bus_fleet import sail

    request.getfixturevalue(f"{bus}_server")  # skips, or fails where services are required, when the program is missing
    fleet = sail(bus, tmp_path, postgres_url, some_bars[:300], runs=4, accounts=2, workers=2)
    assert fleet.wrong == []
    assert fleet.disagreements == []
    assert (fleet.equal, fleet.duplicates, fleet.lost) == (4, 0, 0)
    assert fleet.intents > 20
    assert max(fleet.worker_rss_mb) < 150

"""What CI says about advisories: known bad fails, unreachable is said and does not."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("audit", Path(__file__).parents[2] / ".ci" / "audit.py")
assert _SPEC is not None and _SPEC.loader is not None
audit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)

GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([GOOD, SKIPPED], 0, "1 of 2 pinned packages audited, none with a known vulnerability"),
        ([GOOD, BAD], 1, "b 2: PYSEC-1, fixed in 2.1"),
        ([SKIPPED, SKIPPED], 0, "knows none of the 2 packages"),
    ],
)
def test_a_report_is_read(packages: list[dict[str, object]], code: int, said: str) -> None:
    """Vulnerable packages fail; a service that knows nothing is not taken for a clean bill."""
    found, words = audit.verdict(0, json.dumps({"dependencies": packages}), "")
    assert found == code
    assert said in words


def test_a_service_that_is_away_is_said_and_a_broken_run_fails() -> None:
    """No report: either the network, or our own mistake."""
    assert audit.verdict(1, "", "requests.exceptions.ConnectionError: no route") == (
        0, "the advisory service cannot be reached from here: nothing was audited",
    )  # fmt: skip
    assert audit.verdict(2, "", "usage: pip-audit")[0] == 1

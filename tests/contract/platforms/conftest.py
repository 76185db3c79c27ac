"""One suite for all platforms, in both position modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_worlds import MAKERS, Harness


@pytest.fixture(params=[f"{name}-{mode}" for name in MAKERS for mode in ("hedging", "netting")])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """Every platform in both position modes; EURUSD stands at 1.10000 / 1.10010."""
    name, mode = request.param.rsplit("-", 1)
    harness = MAKERS[name](tmp_path, mode)
    yield harness
    harness.platform.close()

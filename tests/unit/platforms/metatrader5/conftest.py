"""A terminal for the tests of the adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mt5_terminal import venue

from toolkit.platforms.simmt5 import SimMT5


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimMT5]:
    """A terminal, initialised, on a demo account."""
    terminal = SimMT5(venue(tmp_path))
    terminal.initialize()
    yield terminal
    terminal.platform.close()

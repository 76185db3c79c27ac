"""Helpers of the market tests: small clean columns to spoil, and the folder of real data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

HOUR = 3_600_000_000_000
START = 1_488_326_400_000_000_000  # 2017-03-01T00:00Z
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture
def real():
    """Return a function giving the path of a real data file, skipping where the folder is absent."""

    def path(name: str) -> Path:
        target = DATA / name
        if not target.exists():
            pytest.skip(f"{target.name} is not on this machine")
        return target

    return path


@pytest.fixture
def columns() -> dict[str, Any]:
    """Return five clean EURUSD H1 bars as writable points."""
    close = np.array([105000, 105020, 104990, 105050, 105040])
    open_ = np.array([105010, 105000, 105020, 104990, 105050])
    high, low = np.maximum(open_, close) + 15, np.minimum(open_, close) - 12
    made: dict[str, Any] = {"ts": START + HOUR * np.arange(5, dtype=np.int64)}
    for name, values in (("open", open_), ("high", high), ("low", low), ("close", close)):
        made[f"bid_{name}"] = values.astype(np.int32)
        made[f"ask_{name}"] = (values + 8).astype(np.int32)
    return made

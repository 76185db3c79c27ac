"""Backtest and live replay on real prices: the same trades in every column, for three strategies on three kinds of file.

Slices here; whole files with ``SEATRIAL_WHOLE_FILES=1`` or ``python tests/e2e/replay_files.py``.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.e2e.replay_files import DATA, FILES, compare, real_bars
from tests.plugins.live_support import Donchian, EmaCross, RsiReversal
from tests.plugins.managed_strategies import Everything

ROWS = None if os.environ.get("SEATRIAL_WHOLE_FILES") == "1" else 2_500


@pytest.mark.timeout(3600 if ROWS is None else 300)
@pytest.mark.skipif(not DATA.exists(), reason="the shared price files are not here")
@pytest.mark.parametrize(
    "strategy",
    [EmaCross(), RsiReversal(), Donchian(), Everything()],
    ids=["ema_cross", "rsi_reversal", "donchian", "managed"],
)
@pytest.mark.parametrize("name", list(FILES))
def test_backtest_and_live_replay_make_the_same_trades(name: str, strategy: Any) -> None:
    """Equal with ``==``: side, lots, times, prices, reason, profit in account currency, commission."""
    trades, difference, _ = compare(strategy, real_bars(name)[:ROWS])
    assert trades >= 15
    assert difference is None, str(difference)

"""Managed strategies in a sweep: the numbers of single backtests."""

from __future__ import annotations

from typing import Any

import pytest

import toolkit as tk
from tests.plugins import managed_strategies as made


@pytest.mark.parametrize("strategy", [made.Everything, made.LimitEntries], ids=lambda s: s.__name__)
def test_every_set_is_its_backtest(strategy: Any) -> None:
    """Each statistic of each set equals that of `tk.backtest` with the same parameters."""
    bars = tk.sample_bars("EURUSD", "H1")[:1500]
    results = tk.sweep(strategy, bars, grid={"fast": [4, 8], "slow": [15, 30]}, progress=False).results.reset_index()
    assert len(results) == 4
    for row in results.to_dict("records"):
        single = tk.backtest(strategy(fast=int(row["fast"]), slow=int(row["slow"])), bars).statistics
        assert single["trades"] > 0
        for name in ("trades", "total_return", "sharpe", "max_drawdown", "win_rate"):
            assert row[name] == single[name]

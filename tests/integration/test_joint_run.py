"""A run on several symbols: its live replay is the joint backtest, trade by trade, through the real way of an order."""

from __future__ import annotations

from typing import Any

import pytest

import toolkit as tk
from tests.e2e.replay_files import DATA
from tests.integration.test_portfolio_equals_platform import Bold, Spread, yen_pairs
from tests.plugins.live_support import EmaCross, RsiReversal
from toolkit.research.comparison import normalise_all
from toolkit.session import replay_in_temporary_home

pytestmark = [
    pytest.mark.skipif(not DATA.exists(), reason="the shared price files are not here"),
    pytest.mark.timeout(300),
]
TERMS = tk.PaperAccount(
    "USD", 20_000, leverage=35, commission_per_lot="3.5", day_end="Europe/Athens", stop_out_percent=100
)
TIGHT = tk.Guards(
    daily_loss_percent="0.6", drawdown_percent=4, max_consecutive_losses=3, max_open=2, cooldown_bars=3, max_exposure=12
)


def by_entry(rows: Any) -> list[dict[str, Any]]:
    return sorted(normalise_all(rows), key=lambda r: (r["entry_time"], r["symbol"], r["exit_time"]))


@pytest.mark.parametrize(
    ("strategy", "guards"),
    [(EmaCross(), None), (Bold(), None), (Spread(), None), (RsiReversal(), TIGHT), (EmaCross(), TIGHT)],
    ids=["ema_cross", "bold", "spread", "reversal_guarded", "ema_cross_guarded"],
)
def test_a_run_on_three_symbols_makes_the_trades_of_the_joint_backtest(strategy: Any, guards: Any) -> None:
    """Every column of every trade is equal: shared equity, margin, swap, conversion, guards and the order of symbols."""
    series = yen_pairs(700, swap_mode="points", swap_long="-4.1", swap_short="1.3")
    result = tk.backtest(strategy, series, account=TERMS, guards=guards)
    expected = by_entry(result.trade_records)
    assert {row["symbol"] for row in expected} == set(series)
    assert len(expected) > 20
    if guards is not None:
        assert result.denied
    assert by_entry(replay_in_temporary_home(strategy, series, account=TERMS, guards=guards)) == expected

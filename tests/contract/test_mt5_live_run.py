"""A LiveRun through the MetaTrader 5 adapter and the double makes the backtest's trades, field by field.

The whole file of 184,293 minutes: ``python tests/e2e/replay_mt5.py``.
"""

from __future__ import annotations

from typing import Any

import pytest

import toolkit as tk
from tests.e2e.replay_files import DATA, real_bars
from tests.e2e.replay_mt5 import compare
from tests.plugins.live_support import Donchian, EmaCross, RsiReversal


def test_mt5_live_run_on_a_netting_account_equals_the_backtest() -> None:
    """Names with a suffix, server clock, tickets and floats in between change no field of any trade."""
    bars = tk.sample_bars("EURUSD", "H1")[:700]
    found = compare(EmaCross(), bars, tk.PaperAccount(currency="USD", balance=10_000, mode="netting"))
    assert found.trades > 20
    assert found.difference is None, str(found.difference)
    assert found.repeated_orders == 0


def test_mt5_live_run_denies_by_its_guards_as_the_backtest_does() -> None:
    """Cooldown and daily loss are counted the same way through the adapter."""
    guards = tk.Guards(daily_loss_percent=1, cooldown_bars=5)
    bars = tk.sample_bars("EURUSD", "H1")[:700]
    found = compare(EmaCross(), bars, tk.PaperAccount(currency="USD", balance=10_000), guards)
    free = tk.backtest(EmaCross(), bars, account=tk.PaperAccount(currency="USD", balance=10_000))
    assert 10 < found.trades < len(free.trades)
    assert found.difference is None, str(found.difference)


@pytest.mark.skipif(not DATA.exists(), reason="the shared price files are not here")
@pytest.mark.parametrize("strategy", [EmaCross(), RsiReversal(), Donchian()], ids=lambda s: type(s).__name__)
def test_mt5_live_run_on_minutes_of_a_real_server_equals_the_backtest(strategy: Any) -> None:
    """Bars that a MetaTrader server recorded, spreads of zero and of rollover among them."""
    terms = tk.PaperAccount(currency="USD", balance=10_000, leverage=500, commission_per_lot="3.5")
    found = compare(strategy, real_bars("icm_eurusd_m1_mt5_2025a")[:1_500], terms)
    assert found.trades >= 10
    assert found.difference is None, str(found.difference)
    assert found.repeated_orders == 0

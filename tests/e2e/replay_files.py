"""Backtest and live replay on whole real files, trade by trade: ``python tests/e2e/replay_files.py [NAME ...]``.

Without names all three: OANDA EURUSD H1 with real spreads, MT5 USDJPY H1 on a USD account (converted profit) and the
184,293 M1 bars of ICM EURUSD. Prints bars per second; exit code 1 at the first difference.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import toolkit as tk
from toolkit.market import Bars
from toolkit.research.comparison import Difference, first_difference, normalise_all
from toolkit.session import replay_in_temporary_home

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FILES: dict[str, dict[str, Any]] = {
    "oanda_eurusd_h1_bidask_2007_2013": {"symbol": "EURUSD", "timeframe": "H1", "price": "bidask"},
    "mt5_usdjpy_h1_bid_2012_2015": {"symbol": "USDJPY", "timeframe": "H1", "price": "bid", "spread_pips": 0.9},
    "icm_eurusd_m1_mt5_2025a": {"symbol": "EURUSD", "timeframe": "M1", "price": "bid"},
}
ACCOUNT = tk.PaperAccount(currency="USD", balance=10_000, leverage=500, commission_per_lot="3.5")


def real_bars(name: str) -> Bars:
    """Load one of the files."""
    return tk.load_bars(DATA / f"{name}.parquet", **FILES[name])


def compare(strategy: Any, bars: Bars) -> tuple[int, Difference | None, float]:
    """Return the number of backtest trades, the first difference of the live replay, and its seconds."""
    expected = normalise_all(tk.backtest(strategy, bars, account=ACCOUNT).trade_records)
    begun = time.monotonic()
    live = replay_in_temporary_home(strategy, bars, account=ACCOUNT)
    return len(expected), first_difference(expected, live), time.monotonic() - begun


def main(names: list[str]) -> int:
    """Compare every strategy on every file named."""
    from tests.plugins.live_support import Donchian, EmaCross, RsiReversal
    from tests.plugins.managed_strategies import Everything

    print(f"homes below {tempfile.gettempdir()}")
    wrong = 0
    for name in names or list(FILES):
        bars = real_bars(name)
        for strategy in (EmaCross(), RsiReversal(), Donchian(), Everything()):
            trades, difference, seconds = compare(strategy, bars)
            verdict = "identical" if difference is None else f"DIFFERENT: {difference}"
            what = f"{name} {type(strategy).__name__}: {len(bars):,} bars, {trades:,} trades, {verdict}"
            print(f"{what}, {seconds:.1f} s, {len(bars) / seconds:,.0f} bars/s", flush=True)
            wrong += difference is not None
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main(sys.argv[1:]))

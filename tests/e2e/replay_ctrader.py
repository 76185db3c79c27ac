"""Backtest and a LiveRun through the cTrader adapter over TLS, trade by trade: ``python tests/e2e/replay_ctrader.py [ROWS]``.

The account's server is the sandbox over a strict paper venue. Without ROWS all H1 bars of OANDA EURUSD 2007-2013, with their
real spreads; exit code 1 at the first difference.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.e2e.replay_files import real_bars
from tests.e2e.replay_mt5 import AsPaper, compare
from toolkit.platforms.simctrader import SimCTraderPlatform
from toolkit.platforms.simmt5 import STRICT
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount


class ShownAsPaper(AsPaper, SimCTraderPlatform):
    """The cTrader adapter on the sandbox."""


def open_ctrader(folder: Path, terms: PaperAccount) -> Any:
    """Open the cTrader adapter over the sandbox."""
    return ShownAsPaper(SimulatedPlatform(folder / "server.sqlite", terms, checks=STRICT), folder)


def main(words: list[str]) -> int:
    """Compare the three strategies on the file."""
    from tests.plugins.live_support import Donchian, EmaCross, RsiReversal

    bars = real_bars("oanda_eurusd_h1_bidask_2007_2013")[: int(words[0]) if words else None]
    terms = PaperAccount(currency="USD", balance=10_000, leverage=500, commission_per_lot="3.5")
    wrong = 0
    for strategy in (EmaCross(), RsiReversal(), Donchian()):
        found = compare(strategy, bars, terms, platform="ctrader", open_platform=open_ctrader)
        verdict = "identical" if found.difference is None else f"DIFFERENT: {found.difference}"
        print(
            f"{type(strategy).__name__} on cTrader: {len(bars):,} bars, {found.trades:,} trades, {verdict}, "
            f"{found.repeated_orders} orders sent twice, {found.seconds:.0f} s",
            flush=True,
        )
        wrong += found.difference is not None or found.repeated_orders > 0
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main(sys.argv[1:]))

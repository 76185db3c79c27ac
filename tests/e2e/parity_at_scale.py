"""Random strategies on real files: columns == single bars, and backtest == live replay, by ``==``.

Run ``python tests/e2e/parity_at_scale.py [--strategies 500] [--bars 20000] [--drivers-only]``. Strategies are drawn by
hypothesis over every kind of node, higher timeframes, user steps, managed positions and guards among them; a difference is
shrunk to the smallest strategy that shows it. The live path writes each intent to a store and executes it on the paper
platform. Exit code 1 at the first difference.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import toolkit as tk
from tests.support.random_strategies import Drawn, drawn_strategies
from toolkit.market import Bars
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.research.trial.checks import Drivers, check_drivers_agree
from toolkit.session import replay_in_temporary_home

ACCOUNT = tk.PaperAccount(currency="USD", balance=10_000, leverage=500, commission_per_lot="3.5")


def compare(drawn: Drawn, bars: Bars, *, replay: bool = True) -> int:
    """Return the number of trades; raise AssertionError naming node and bar, or the trade, of the first difference."""
    spec = tk.StrategySpec.from_strategy(drawn.strategy())
    found = check_drivers_agree(spec, bars, Drivers())
    assert found.passed, found.detail
    expected = normalise_all(tk.backtest(spec, bars, account=ACCOUNT, guards=drawn.guards()).trade_records)
    if replay:
        live = replay_in_temporary_home(spec, bars, account=ACCOUNT, guards=drawn.guards())
        difference = first_difference(expected, live)
        assert difference is None, str(difference)
    return len(expected)


def main() -> int:
    """Compare and print what was compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", type=int, default=500)
    parser.add_argument("--bars", type=int, default=20_000)
    parser.add_argument("--drivers-only", action="store_true", help="leave out the live replay")
    parser.add_argument("--plain", action="store_true", help="leave out managed positions")
    asked = parser.parse_args()
    loaded: dict[str, Bars] = {}
    seen = {"strategies": 0, "trades": 0, "bars": 0}
    begun = time.monotonic()

    @settings(
        max_examples=asked.strategies,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn_strategies(managed=not asked.plain))
    def agree(drawn: Drawn) -> None:
        bars = drawn.bars(asked.bars, loaded)
        seen["trades"] += compare(drawn, bars, replay=not asked.drivers_only)
        seen["strategies"] += 1
        seen["bars"] += len(bars)
        if seen["strategies"] % 10 == 0:
            spent = time.monotonic() - begun
            print(
                f"{seen['strategies']} strategies, {seen['trades']:,} trades, {spent:.0f} s",
                file=sys.stderr,
                flush=True,
            )

    try:
        agree()
    except AssertionError as difference:
        print(f"DIFFERENT: {difference}")
        return 1
    what = "columns == single bars" + ("" if asked.drivers_only else ", backtest == live replay")
    print(f"{what}: {seen['strategies']} strategies, {seen['bars']:,} bars, {seen['trades']:,} trades, 0 differences")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Backtest and a LiveRun through the MetaTrader 5 adapter, trade by trade: ``python tests/e2e/replay_mt5.py [ROWS [FIRST]]``.

The account's terminal is the strict double with a symbol suffix and a server clock of its own. Without ROWS all 184,293
M1 bars of ICM EURUSD; exit code 1 at the first difference.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import toolkit as tk
from tests.e2e.replay_files import real_bars
from toolkit.bootstrap import build
from toolkit.execution.ports import AccountSnapshot, Book
from toolkit.live import live_runs
from toolkit.live.feed import Replay
from toolkit.live.hosting.host import host_run
from toolkit.live.opening.rehearsal import rehearsal_version
from toolkit.market import Bars
from toolkit.platforms.simmt5 import STRICT, SimMT5Platform
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.research.comparison import Difference, first_difference, normalise_all
from toolkit.risk.guardrails import Guards
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.accounts import AccountRecord, Accounts
from toolkit.store.runs import trades_of
from toolkit.strategy.spec import StrategySpec


class AsPaper:
    """A session shown as a paper account, so that a run may begin on it at the first stage."""

    server = ""  # shown instead of the platform's own, where the account's row has one; the login is then the venue's
    venue_platform: SimulatedPlatform

    def connect(self) -> AccountSnapshot:
        """Connect."""
        return self._shown(super().connect())  # type: ignore[misc]

    def book(self) -> Book:
        """Read the book."""
        book = super().book()  # type: ignore[misc]
        return replace(book, account=self._shown(book.account))

    def _shown(self, account: AccountSnapshot) -> AccountSnapshot:
        named = {"server": self.server, "login": self.venue_platform.login} if self.server else {}
        return replace(account, environment="paper", **named)


class ShownAsPaper(AsPaper, SimMT5Platform):
    """The MetaTrader 5 adapter on its double."""


@dataclass(frozen=True)
class Compared:
    """What came out: trades of the backtest, the first difference, repeated orders at the server, seconds."""

    trades: int
    difference: Difference | None
    repeated_orders: int
    seconds: float


def open_mt5(folder: Path, terms: PaperAccount) -> Any:
    """Open the MetaTrader 5 adapter over its strict double."""
    return ShownAsPaper(SimulatedPlatform(folder / "server.sqlite", terms, checks=STRICT), suffix=".r")


def compare(
    strategy: Any,
    bars: Bars,
    terms: PaperAccount,
    guards: Guards | None = None,
    *,
    platform: str = "metatrader5",
    open_platform: Callable[[Path, PaperAccount], Any] = open_mt5,
) -> Compared:
    """Backtest, then the same through a LiveRun on a platform's double, in a temporary data folder."""
    limits = guards or Guards()
    expected = normalise_all(tk.backtest(strategy, bars, account=terms, guards=limits).trade_records)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="seatrial-mt5-") as folder:

        def opened(account: AccountRecord, settings: Settings) -> Any:
            return open_platform(settings.home, terms)

        settings = Settings(home=Path(folder), database_url="", gateway="local", _env_file=None)  # type: ignore[call-arg,arg-type]
        engine = build(settings, open_platform={platform: opened})
        try:
            who = engine.principal
            with engine.work(who) as work:
                account = Accounts(work.connection, who).add(
                    AccountRecord(
                        account_id=uuid4(), owner_id=who.user_id, name=platform, platform=platform,
                        currency=terms.currency, environment="paper", gateway="local", login="5000001",
                        server="",
                    ),
                    engine.now(),
                )  # fmt: skip
                work.commit()
            version = rehearsal_version(engine, StrategySpec.from_strategy(strategy), bars, limits)
            run = live_runs.create_live_run(
                engine, who, version, account.account_id, symbols=[bars.symbol], timeframe=str(bars.timeframe),
                feed=Replay(bars), capital=terms.balance,
            )  # fmt: skip
            live_runs.start_bot_live_run(engine, who, run.live_run_id)
            host_run(engine, run.live_run_id)
            ended = live_runs.get_run(engine, who, run.live_run_id)
            if ended.status != "STOPPED":
                raise AssertionError(f"the run ended in {ended.status}: {ended.last_error}")
            with engine.work(write=False) as work:
                rows = trades_of(work.connection, run.live_run_id)
            live = normalise_all([r._asdict() for r in rows if r.status == "closed"])
            repeated = engine.desk(account.account_id).platform.duplicate_orders()  # type: ignore[attr-defined]
        finally:
            engine.close()
    return Compared(len(expected), first_difference(expected, live), repeated, time.monotonic() - begun)


def main(words: list[str]) -> int:
    """Compare three strategies on the file."""
    from tests.plugins.live_support import Donchian, EmaCross, RsiReversal

    first = int(words[1]) if len(words) > 1 else 0
    bars = real_bars("icm_eurusd_m1_mt5_2025a")[first : first + int(words[0]) if words else None]
    terms = PaperAccount(currency="USD", balance=10_000, leverage=500, commission_per_lot="3.5")
    wrong = 0
    for strategy in (EmaCross(), RsiReversal(), Donchian()):
        found = compare(strategy, bars, terms)
        verdict = "identical" if found.difference is None else f"DIFFERENT: {found.difference}"
        print(
            f"{type(strategy).__name__} on MetaTrader 5: {len(bars):,} bars, {found.trades:,} trades, {verdict}, "
            f"{found.repeated_orders} orders sent twice, {found.seconds:.0f} s",
            flush=True,
        )
        wrong += found.difference is not None or found.repeated_orders > 0
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main(sys.argv[1:]))

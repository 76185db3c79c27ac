"""A LiveRun through an adapter and its double makes the backtest's trades, field by field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import toolkit as tk
from toolkit.bootstrap import build
from toolkit.execution.ports import AccountSnapshot, Book
from toolkit.live import live_runs
from toolkit.live.feed import Replay
from toolkit.live.hosting.host import host_run
from toolkit.live.opening.rehearsal import rehearsal_version
from toolkit.platforms.simctrader import SimCTraderPlatform
from toolkit.platforms.simmt5 import SimMT5Platform
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.research.comparison import normalise_all
from toolkit.risk.guardrails import Guards
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.accounts import AccountRecord, Accounts
from toolkit.store.runs import trades_of
from toolkit.strategy.spec import StrategySpec


class EmaCross(tk.SectionedStrategy):
    """Follow the trend when the fast average crosses the slow one."""

    fast = tk.Int(12, 5, 50)
    slow = tk.Int(26, 20, 200)
    k = tk.Float(2.0, 0.5, 5.0)

    def indicators(self, bars: Any) -> dict[str, Any]:
        """Two averages and a range."""
        return {
            "fast": tk.ema(bars.close, self.fast),
            "slow": tk.ema(bars.close, self.slow),
            "atr": tk.atr(bars, 14),
        }

    def entry(self, x: Any) -> Any:
        """Both sides, on a cross."""
        return tk.Entry(long=tk.crossed_above(x.fast, x.slow), short=tk.crossed_below(x.fast, x.slow))

    def protection(self, x: Any) -> Any:
        """A stop by range, a target at twice its distance."""
        return tk.Protection(stop_loss=self.k * x.atr, take_profit=tk.RR(2.0))

    def risk(self) -> Any:
        """One percent."""
        return tk.RiskPercent(1.0)


class ShownAsPaper:
    """A session shown as a paper account, so that a run may begin on it at the first stage."""

    def connect(self) -> AccountSnapshot:
        """Connect."""
        return replace(super().connect(), environment="paper")  # type: ignore[misc]

    def book(self) -> Book:
        """Read the book."""
        book = super().book()  # type: ignore[misc]
        return replace(book, account=replace(book.account, environment="paper"))


class PaperMT5(ShownAsPaper, SimMT5Platform):
    """MetaTrader 5: names with a suffix, the server's clock, tickets and floats."""


class PaperCTrader(ShownAsPaper, SimCTraderPlatform):
    """cTrader: units of a hundredth, relative levels, a TLS socket."""


def on_mt5(folder: Path, terms: PaperAccount) -> Any:
    """Open the MetaTrader 5 adapter over its double."""
    return PaperMT5(SimulatedPlatform(folder / "venue.sqlite", terms), suffix=".r")


def on_ctrader(folder: Path, terms: PaperAccount) -> Any:
    """Open the cTrader adapter over the sandbox."""
    return PaperCTrader(SimulatedPlatform(folder / "venue.sqlite", terms), folder)


@pytest.mark.parametrize("open_platform", [on_mt5, on_ctrader], ids=["mt5", "ctrader"])
def test_platform_live_run_on_a_double_equals_the_backtest(tmp_path: Path, open_platform: Any) -> None:
    """What lies between a run and its venue changes no field of any trade."""
    bars = tk.sample_bars("EURUSD", "H1")[:700]
    terms = PaperAccount("USD", 10_000)
    expected = normalise_all(tk.backtest(EmaCross(), bars, account=terms).trades.to_dict("records"))
    assert len(expected) > 20

    def opened(account: AccountRecord, settings: Settings) -> Any:
        return open_platform(settings.home, terms)

    settings = Settings(home=tmp_path, database_url="", gateway="local")  # type: ignore[arg-type]
    engine = build(settings, open_platform={"simulated": opened})
    try:
        who = engine.principal
        with engine.work(who) as work:
            account = Accounts(work.connection, who).add(
                AccountRecord(
                    account_id=uuid4(),
                    owner_id=who.user_id,
                    name="mt5",
                    platform="simulated",
                    currency="USD",
                    environment="paper",
                    gateway="local",
                    login="5000001",
                    server="",
                ),
                engine.now(),
            )
            work.commit()
        version = rehearsal_version(engine, StrategySpec.from_strategy(EmaCross()), bars, Guards())
        run = live_runs.create_live_run(
            engine,
            who,
            version,
            account.account_id,
            symbols=["EURUSD"],
            timeframe="H1",
            feed=Replay(bars),
            capital=terms.balance,
        )
        live_runs.start_bot_live_run(engine, who, run.live_run_id)
        host_run(engine, run.live_run_id)
        ended = live_runs.get_run(engine, who, run.live_run_id)
        assert (ended.status, ended.last_error) == ("STOPPED", "")
        with engine.work(write=False) as work:
            rows = trades_of(work.connection, run.live_run_id)
        assert normalise_all([r._asdict() for r in rows if r.status == "closed"]) == expected
        assert engine.desk(account.account_id).platform.duplicate_orders() == 0  # type: ignore[attr-defined]
    finally:
        engine.close()

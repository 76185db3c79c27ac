"""What the live tests share: an engine on a temporary home, promoted strategies, and a replay run to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import toolkit as tk
from toolkit.bootstrap import build
from toolkit.live import live_runs
from toolkit.live.engine import Engine
from toolkit.live.feed import Replay
from toolkit.live.hosting.host import host_run
from toolkit.live.opening.paper_accounts import open_paper_account
from toolkit.live.promoting.promotion import promote
from toolkit.live.review.closed_rows import closed_rows
from toolkit.live.watch.alerts import Alert
from toolkit.market import Bars
from toolkit.research.comparison import TradeRecord, normalise_all
from toolkit.research.trial.report import TrialReport
from toolkit.research.trial.sea_trial import sea_trial
from toolkit.risk.guardrails import Guards
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.accounts import AccountRecord, Accounts
from toolkit.store.runs import RunRecord, VersionRecord
from toolkit.strategy.spec import StrategySpec


class EmaCross(tk.SectionedStrategy):
    """Cross of two averages with a stop by range."""

    fast = tk.Int(12, 5, 50)
    slow = tk.Int(26, 20, 200)
    k = tk.Float(2.0, 0.5, 20.0)

    def indicators(self, bars: Any) -> Any:
        return dict(fast=tk.ema(bars.close, self.fast), slow=tk.ema(bars.close, self.slow), atr=tk.atr(bars, 14))

    def entry(self, x: Any) -> Any:
        return tk.Entry(long=tk.crossed_above(x.fast, x.slow), short=tk.crossed_below(x.fast, x.slow))

    def exit(self, x: Any) -> Any:
        return tk.Exit(long=tk.crossed_below(x.fast, x.slow), short=tk.crossed_above(x.fast, x.slow))

    def protection(self, x: Any) -> Any:
        return tk.Protection(stop_loss=self.k * x.atr, take_profit=tk.RR(2.0))

    def risk(self) -> Any:
        return tk.RiskPercent(1.0)


class RsiReversal(tk.SectionedStrategy):
    """Against an exhausted move, fixed pips; no exit section, so opposite entries reverse."""

    n = tk.Int(14, 2, 50)
    low = tk.Float(30.0, 5.0, 45.0)
    high = tk.Float(70.0, 55.0, 95.0)

    def indicators(self, bars: Any) -> Any:
        return dict(rsi=tk.rsi(bars.close, self.n))

    def entry(self, x: Any) -> Any:
        return tk.Entry(long=x.rsi < self.low, short=x.rsi > self.high)

    def protection(self, x: Any) -> Any:
        return tk.Protection(stop_loss=tk.Pips(30), take_profit=tk.Pips(45))

    def risk(self) -> Any:
        return tk.RiskPercent(0.5)


class Donchian(tk.SectionedStrategy):
    """Breakout of a channel, left at the opposite, shorter one."""

    n = tk.Int(55, 10, 200)
    out = tk.Int(20, 5, 100)

    def indicators(self, bars: Any) -> Any:
        return dict(
            top=tk.highest(bars.high, self.n).shift(1),
            bottom=tk.lowest(bars.low, self.n).shift(1),
            exit_top=tk.highest(bars.high, self.out).shift(1),
            exit_bottom=tk.lowest(bars.low, self.out).shift(1),
            atr=tk.atr(bars, 20),
        )

    def entry(self, x: Any) -> Any:
        return tk.Entry(long=x.close > x.top, short=x.close < x.bottom)

    def exit(self, x: Any) -> Any:
        return tk.Exit(long=x.close < x.exit_bottom, short=x.close > x.exit_top)

    def protection(self, x: Any) -> Any:
        return tk.Protection(stop_loss=3 * x.atr, take_profit=None)

    def risk(self) -> Any:
        return tk.RiskPercent(0.5)


_TRIALS: dict[Any, TrialReport] = {}  # the same trial is asked for by many tests


@dataclass
class Sea:
    """An engine on a temporary home, with the words that tests repeat."""

    engine: Engine

    @property
    def home(self) -> Path:
        return self.engine.settings.home

    def trial(
        self, strategy: Any, bars: Bars, *, account: PaperAccount | None = None, guards: Guards | None = None
    ) -> TrialReport:
        """Return a passed report whose replay check repeats the backtest: for tests that are about what comes after."""
        terms = account or PaperAccount(currency="USD", balance=10_000, leverage=30)
        key = (StrategySpec.from_strategy(strategy).hash, bars.fingerprint, repr(terms.facts()), repr(guards))
        if key in _TRIALS:
            return _TRIALS[key]

        def same_as_backtest(spec: Any, series: Bars, paper: PaperAccount, limits: Guards) -> list[TradeRecord]:
            return normalise_all(tk.backtest(spec, series, account=paper, guards=limits).trade_records)

        report = sea_trial(strategy, bars, account=terms, guards=guards, live_replay=same_as_backtest)
        return _TRIALS.setdefault(key, report)

    def version(self, strategy: Any, bars: Bars, **changed: Any) -> VersionRecord:
        """Promote a strategy on these bars."""
        return promote(self.engine, strategy, trial=self.trial(strategy, bars, **changed))

    def account(self, name: str = "paper-1", **terms: Any) -> AccountRecord:
        """Open a paper account."""
        return open_paper_account(
            self.engine, name, PaperAccount(**{"currency": "USD", "balance": 10_000, "leverage": 30, **terms})
        )

    def run(
        self, version: VersionRecord, account: AccountRecord, bars: Bars, *, start: bool = True, **fields: Any
    ) -> RunRecord:
        """Create a run, and start it unless told otherwise."""
        feed = fields.pop("feed", Replay(bars))
        run = live_runs.create_live_run(
            self.engine,
            self.engine.principal,
            version,
            account.account_id,
            symbols=[bars.symbol],
            timeframe=str(bars.timeframe),
            feed=feed,
            **fields,
        )
        return live_runs.start_bot_live_run(self.engine, self.engine.principal, run.live_run_id) if start else run

    def finish(self, run: RunRecord) -> RunRecord:
        """Host a run to its end."""
        host_run(self.engine, run.live_run_id)
        return self.read(run)

    def read(self, run: RunRecord) -> RunRecord:
        """Read a run's row again."""
        return live_runs.get_run(self.engine, self.engine.principal, run.live_run_id)

    def trades(self, run: RunRecord) -> list[TradeRecord]:
        """Return a run's closed trades in the columns of a backtest."""
        with self.engine.work(write=False) as work:
            currency = Accounts(work.connection, self.engine.principal).get(run.account_id).currency
            return normalise_all(closed_rows(work.connection, run.live_run_id, currency))


class Collector:
    """A notifier that remembers, and refuses when told to."""

    def __init__(self) -> None:
        self.seen: list[Alert] = []
        self.works = True

    def notify(self, alert: Alert) -> bool:
        if self.works:
            self.seen.append(alert)
        return self.works


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A local web server that keeps the bodies it was sent."""
    bodies: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            bodies.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()


@pytest.fixture
def make_sea(tmp_path: Path) -> Iterator[Callable[..., Sea]]:
    """Build engines on homes below the test's folder; all are closed at the end."""
    made: list[Engine] = []

    def make(name: str = "home", **overrides: Any) -> Sea:
        settings = Settings(home=tmp_path / name, database_url="", _env_file=None)  # type: ignore[call-arg]
        engine = build(settings, **overrides)
        made.append(engine)
        return Sea(engine)

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def sea(make_sea: Callable[..., Sea]) -> Sea:
    """One engine on a temporary home."""
    return make_sea()


@pytest.fixture(scope="session")
def some_bars() -> Bars:
    """Return the first 900 bars of the packaged sample: about thirty trades of the average cross."""
    return tk.sample_bars("EURUSD", "H1")[:900]

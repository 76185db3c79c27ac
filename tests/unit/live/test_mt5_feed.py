"""A LiveRun on the live bars of a connected MetaTrader account: closed bars only, revisions, a restart, a hung terminal."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from toolkit.clock import from_ns
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.feed import PLATFORM_FEED
from toolkit.live.hosting.host import RunThread
from toolkit.live.opening.practice import open_practice_account
from toolkit.live.opening.register import register_account
from toolkit.live.opening.rehearsal import rehearsal_version
from toolkit.market import Bars
from toolkit.platforms.isolation import IsolatedPlatform
from toolkit.platforms.simmt5 import STRICT, SimMT5Platform
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.accounts import AccountRecord
from toolkit.store.runs import RunRecord, Runs
from toolkit.store.sql.models import BarSeen, ExecutionIntent, RunEvent
from toolkit.strategy.spec import StrategySpec

WARM = 320
TERMS = PaperAccount(currency="USD", balance=10_000, leverage=30)


class AlwaysLong(tk.SectionedStrategy):
    """Wants to be long at every bar."""

    def indicators(self, bars: Any) -> Any:
        return dict(close=tk.sma(bars.close, 1))

    def entry(self, x: Any) -> Any:
        return tk.Entry(long=x.close > 0)

    def protection(self, x: Any) -> Any:
        return tk.Protection(stop_loss=tk.Pips(200), take_profit=None)

    def risk(self) -> Any:
        return tk.Lots(0.1)


@dataclass
class Server:
    """The trade server outside: it outlives every session, and the test moves its clock."""

    journal: Path
    bars: Bars
    row: int = WARM
    sessions: int = 0
    at: SimMT5Platform | None = None

    def open(self, account: AccountRecord, settings: Any) -> SimMT5Platform:
        """Open a session, as a process that starts does."""
        venue = SimulatedPlatform(self.journal, TERMS, checks=STRICT)
        venue.load_replay("EURUSD", self.bars)
        venue.advance_clock_to(from_ns(int(self.bars.ts[self.row])))
        self.sessions += 1
        self.at = SimMT5Platform(venue, suffix=".r", login=int(account.login), server=account.server)
        return self.at

    def move_to(self, row: int) -> None:
        """Let the server come to the open of a bar."""
        self.row = row
        assert self.at is not None
        self.at.advance_clock_to(from_ns(int(self.bars.ts[row])))


def demo_run(sea: Sea, account: AccountRecord, strategy: Any, bars: Bars) -> RunRecord:
    """Start a run on the account's own bars; its stage is set, not earned, since that is not what is tested here."""
    version = rehearsal_version(sea.engine, StrategySpec.from_strategy(strategy), bars, tk.Guards())
    with sea.engine.work() as work:
        run = Runs(work.connection, sea.engine.principal).add(
            sea.engine.now(), account_id=account.account_id, bot_version_id=version.bot_version_id, symbols=["EURUSD"],
            timeframe=str(bars.timeframe), stage="demo", host="notebook", capital=Decimal(10_000),
            feed_json=json.dumps(PLATFORM_FEED.as_dict()), guards_json=json.dumps(tk.Guards().facts()),
            options_json=json.dumps({"reverse": True, "warm_up": True}),
        )  # fmt: skip
        work.commit()
    return live_runs.start_bot_live_run(sea.engine, sea.engine.principal, run.live_run_id)


def demo_account(sea: Sea) -> AccountRecord:
    """Register the account that the server is for."""
    return register_account(
        sea.engine, "mt5", platform="mt5", login="5000001", server="SimServer-Demo", currency="USD", environment="demo",
        secret_ref="", settings={"suffix": ".r", "clock": "New York + 7"},
    )  # fmt: skip


@pytest.fixture
def server(tmp_path: Path, some_bars: Bars) -> Server:
    """The server with its journal."""
    return Server(tmp_path / "server.sqlite", some_bars)


def settle(sea: Sea, run: RunRecord) -> None:
    """Advance until the run waits for the next bar."""
    for _ in range(50):
        if advance(sea.engine, run.live_run_id, run.account_id).waiting == "feed":
            return
    raise AssertionError(f"the run does not come to rest: {sea.read(run)}")


def seen_bars(sea: Sea) -> list[Any]:
    """Return what the run was given, oldest first."""
    with sea.engine.work(write=False) as work:
        return list(work.connection.execute(select(BarSeen).order_by(BarSeen.ts, BarSeen.revision)).all())


def test_mt5_live_feed_with_a_restart_makes_the_trades_of_a_backtest(
    make_sea: Callable[..., Sea], server: Server, some_bars: Bars
) -> None:
    """Each bar once and only when the next has opened; everything is closed and opened again in the middle of a trade."""
    last, restarts = 620, 0
    sea = make_sea("home", open_platform={"metatrader5": server.open})
    run = demo_run(sea, demo_account(sea), EmaCross(), some_bars)
    for row in range(WARM, last + 1):
        server.move_to(row)
        settle(sea, run)
        assert sea.read(run).cursor == from_ns(int(some_bars.ts[row - 1]))
        if row > WARM + 60 * (restarts + 1) and server.at is not None and server.at.book().positions:
            sea.engine.close()
            sea = make_sea("home", open_platform={"metatrader5": server.open})
            restarts += 1
    assert restarts >= 3 and server.sessions == restarts + 1
    rows = seen_bars(sea)
    first = int(some_bars.ts.searchsorted(rows[0].ts))
    expected = some_bars[first:last]
    assert [r.ts for r in rows] == expected.ts.tolist()
    for name, column in expected.columns.items():
        assert [getattr(r, name) for r in rows] == column.tolist(), name
    model = normalise_all(tk.backtest(EmaCross(), some_bars[first : last + 1], account=TERMS).trade_records)
    begin, end = from_ns(int(some_bars.ts[WARM])), from_ns(int(some_bars.ts[last]))
    shared = [{**t, "lots": None, "profit": None} for t in model if t["entry_time"] > begin and t["exit_time"] < end]
    mine = [{**t, "lots": None, "profit": None} for t in sea.trades(run)]
    assert len(shared) >= 5
    assert first_difference(shared, mine) is None
    assert server.at is not None and server.at.duplicate_orders() == 0


def test_mt5_late_revision_of_a_bar_reaches_the_runs_history(
    make_sea: Callable[..., Sea], server: Server, some_bars: Bars
) -> None:
    """A tick that changed the last closed bar is an event of the run, and both readings are kept."""
    sea = make_sea("home", open_platform={"metatrader5": server.open})
    run = demo_run(sea, demo_account(sea), EmaCross(), some_bars)
    settle(sea, run)
    assert server.at is not None
    real, closed = server.at.terminal.copy_rates_range, int(some_bars.ts[WARM - 1])
    wall = server.at.terminal.server.time.wall(from_ns(closed))

    def revised(*arguments: Any) -> Any:
        rates = real(*arguments).copy()
        rates["high"][rates["time"] == wall] += 0.00050
        return rates

    server.at.terminal.copy_rates_range = revised  # type: ignore[method-assign]
    server.move_to(WARM + 1)
    settle(sea, run)
    rows = [r for r in seen_bars(sea) if r.ts == closed]
    assert [r.revision for r in rows] == [0, 1] and rows[1].bid_high == rows[0].bid_high + 50
    with sea.engine.work(write=False) as work:
        kinds = list(work.connection.execute(select(RunEvent.kind)).scalars())
    assert kinds.count("bar_revised") == 1


# --- with the session in its own process, on a server whose clock runs --------------------------------------------------


@pytest.fixture
def practising(
    make_sea: Callable[..., Sea], some_bars: Bars
) -> Iterator[Callable[..., tuple[Sea, RunRecord, RunThread]]]:
    """Start a hosted run on a practice account: engine, run and the thread that hosts it."""
    threads: list[RunThread] = []

    def begin(*, speed: float, send_seconds: float = 30.0, **practice: Any) -> tuple[Sea, RunRecord, RunThread]:
        sea = make_sea("practice")
        account = open_practice_account(sea.engine, "prac", some_bars, speed=speed, start=WARM, suffix=".r")
        settings = {**account.settings["mt5"], "send_seconds": send_seconds}
        settings["practice"] = {**settings["practice"], **practice}
        with sea.engine.work() as work:
            from toolkit.store.people.accounts import Accounts

            Accounts(work.connection, sea.engine.principal).put_settings(
                account.account_id, {"mt5": settings}, sea.engine.now()
            )
            work.commit()
        run = demo_run(sea, account, AlwaysLong(), some_bars)
        threads.append(RunThread(sea.engine, run.live_run_id))
        return sea, run, threads[-1]

    yield begin
    for thread in threads:
        thread.leave()


def wait_for(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until something is true, within a deadline; return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def states(sea: Sea) -> list[str]:
    """Return the state of every intent, oldest first."""
    with sea.engine.work(write=False) as work:
        return list(
            work.connection.execute(select(ExecutionIntent.state).order_by(ExecutionIntent.created_at)).scalars()
        )


def test_mt5_hung_order_send_is_unknown_then_found_while_the_host_lives_on(practising: Any, some_bars: Bars) -> None:
    """The entry is carried out and its answer hangs in native code that holds the interpreter lock of the session's process.

    At its deadline that process is killed, the intent is UNKNOWN, a new session finds the order by its tag. Meanwhile this
    process never stands still: a heart beats all the time.
    """
    beats: list[float] = []
    over = threading.Event()

    def heart() -> None:
        while not over.wait(0.02):
            beats.append(time.monotonic())

    beating = threading.Thread(target=heart)
    beating.start()
    try:
        # the server's first hour ends six seconds from now; at the speed of a real one, quotes stay fresh
        begin = from_ns(int(some_bars.ts[WARM + 1])) - timedelta(seconds=6)
        words = {"begin": begin.isoformat(), "hang_after": 1, "hang_seconds": 120.0}
        sea, run, thread = practising(speed=1.0, send_seconds=2.0, **words)
        session = sea.engine.desk(run.account_id).platform
        assert isinstance(session, IsolatedPlatform)
        wait_for(lambda: "SENDING" in states(sea))
        hung, sent_at = session.child_pid, time.monotonic()
        wait_for(lambda: "UNKNOWN" in states(sea))
        given_up_at = time.monotonic()
        wait_for(lambda: "FILLED" in states(sea))
    finally:
        over.set()
        beating.join(timeout=5)
    assert given_up_at - sent_at > 1
    assert sum(sent_at < beat < given_up_at for beat in beats) > 10  # none, were the lock held here
    assert hung is not None and session.child_pid not in (None, hung)
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)
    thread.leave()
    desk = sea.engine.desk(run.account_id)
    with sea.engine.work(write=False) as work:
        intent = work.connection.execute(select(ExecutionIntent).order_by(ExecutionIntent.created_at)).first()
    assert intent is not None and intent.state == "FILLED" and intent.attempt == 1
    (position,) = desk.platform.book().positions
    assert (position.magic, position.tag_text) == (intent.magic, intent.client_tag)
    with sea.engine.work(write=False) as work:
        events = list(work.connection.execute(select(RunEvent.kind).order_by(RunEvent.event_id)).scalars())
    assert events.index("intent_unknown") < events.index("trade_opened")


def test_mt5_killed_session_comes_back_and_the_run_misses_no_bar(practising: Any, some_bars: Bars) -> None:
    """The session's process is killed twice under a live run: bars follow each other without a hole, none was still forming."""
    sea, run, thread = practising(speed=7_200.0)
    session = sea.engine.desk(run.account_id).platform
    for bars in (6, 14):
        wait_for(lambda n=bars: sea.read(run).bars_count >= sea_start(sea, run) + n)
        os.kill(session.child_pid, signal.SIGKILL)
    wait_for(lambda: sea.read(run).bars_count >= sea_start(sea, run) + 22)
    thread.leave()
    assert sea.read(run).status == "RUNNING"
    rows = seen_bars(sea)
    first = int(some_bars.ts.searchsorted(rows[0].ts))
    expected = some_bars[first : first + len(rows)]
    assert [r.ts for r in rows] == expected.ts.tolist()
    for name, column in expected.columns.items():
        assert [getattr(r, name) for r in rows] == column.tolist(), name


def sea_start(sea: Sea, run: RunRecord) -> int:
    """Return how many bars of history the run began with."""
    rows = seen_bars(sea)
    if not rows:
        return 10**9
    with sea.engine.work(write=False) as work:
        began = work.connection.execute(select(RunEvent.at).where(RunEvent.kind == "started")).scalar_one()
    seen = [r.seen_at for r in rows]
    return sum(1 for s in seen if s == seen[0]) if began <= seen[0] else 10**9

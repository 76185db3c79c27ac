"""One step of a run: equal to its backtest however it is cut, restarted, raced or shared."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from live_checks import backtest_trades
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import EmaCross, RsiReversal, Sea
from toolkit.errors import Forbidden, NotFound, PlatformError, ReadFailed
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.hosting.host import host_run
from toolkit.live.stepping.sources import replay
from toolkit.market import Bars
from toolkit.research.comparison import first_difference
from toolkit.store.people.accounts import Accounts
from toolkit.store.sql.models import EquityMark


@pytest.mark.parametrize("strategy", [EmaCross(), RsiReversal()], ids=["ema_cross", "rsi_reversal"])
def test_a_replay_makes_the_trades_of_its_backtest(sea: Sea, some_bars: Bars, strategy: Any) -> None:
    """Every column of every trade is equal, and the run ends STOPPED."""
    run = sea.finish(sea.run(sea.version(strategy, some_bars), sea.account(), some_bars))
    expected = backtest_trades(strategy, some_bars)
    assert (run.status, run.last_error, run.bars_count) == ("STOPPED", "", len(some_bars))
    assert len(expected) >= 20
    assert first_difference(expected, sea.trades(run)) is None


def test_the_size_of_a_step_does_not_matter(sea: Sea, some_bars: Bars) -> None:
    """Committing one bar at a time ends as committing a thousand does."""
    bars = some_bars[:250]
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), bars)
    while not advance(sea.engine, run.live_run_id, run.account_id, limit=1).ended:
        pass
    assert first_difference(backtest_trades(EmaCross(), bars), sea.trades(run)) is None


def test_restart_at_any_step_ends_the_same(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """A new process after every step, with nothing but the row and the venue's journal, makes the same trades."""
    bars = some_bars[:300]
    sea = make_sea()
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), bars)
    for _ in range(500):
        progress = advance(sea.engine, run.live_run_id, run.account_id, limit=40)
        sea.engine.close()
        if progress.ended:
            break
        sea = make_sea()
    sea = make_sea()
    assert sea.read(run).status == "STOPPED"
    assert first_difference(backtest_trades(EmaCross(), bars), sea.trades(run)) is None


GUARDS = {
    "daily loss and cooldown": tk.Guards(daily_loss_percent="0.6", cooldown_bars=6),
    "losing streak": tk.Guards(max_consecutive_losses=1),
    "drawdown": tk.Guards(drawdown_percent="0.6"),
    "hours": tk.Guards(trading_hours="Mon-Thu 07:00-17:00 Europe/London"),
    "lots": tk.Guards(max_lots="0.16"),
    "exposure": tk.Guards(max_exposure="1.75"),
    "everything": tk.Guards(
        daily_loss_percent="0.8", max_open_per_symbol=1, cooldown_bars=2, max_spread_pips="0.9", drawdown_percent=6, max_open=1,
        max_consecutive_losses=2, max_lots=1, max_exposure=5, trading_hours="Mon-Fri 06:00-20:00 New York + 7",
        max_quote_age_seconds=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GUARDS)
def test_guards_deny_the_same_entries_live(sea: Sea, some_bars: Bars, name: str) -> None:
    """Each guard, asked at bar opens, cuts the same trades in both; what holds on after a trip holds on in both."""
    guards = GUARDS[name]
    free = backtest_trades(RsiReversal(), some_bars)
    expected = backtest_trades(RsiReversal(), some_bars, guards=guards)
    run = sea.finish(sea.run(sea.version(RsiReversal(), some_bars, guards=guards), sea.account(), some_bars))
    assert 0 < len(expected) < len(free)
    assert first_difference(expected, sea.trades(run)) is None


def test_costs_and_slippage_are_the_backtests(sea: Sea, some_bars: Bars) -> None:
    """Commission per lot and slippage in points reach the live trades to the cent."""
    terms = {"commission_per_lot": "3.5", "slippage_points": 2}
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30, **terms)
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars, account=account), sea.account(**terms), some_bars))
    expected = backtest_trades(EmaCross(), some_bars, account=account)
    assert expected[0]["commission"] < 0
    assert first_difference(expected, sea.trades(run)) is None


def test_the_days_base_is_kept_for_every_platform_day(sea: Sea, some_bars: Bars) -> None:
    """Each day of the replay has one mark, the first of them the capital."""
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars))
    with sea.engine.work(write=False) as work:
        rows = work.connection.execute(
            select(EquityMark.day, EquityMark.base_equity)
            .where(EquityMark.scope == str(run.live_run_id))
            .order_by(EquityMark.day)
        ).all()  # fmt: skip
    days = {int(ts) // 86_400_000_000_000 for ts in some_bars.ts}
    assert len(rows) == len(days)
    assert rows[0].base_equity == run.capital


def test_runs_of_one_account_wait_for_each_other(sea: Sea, some_bars: Bars) -> None:
    """The venue's clock moves on only when both runs have agreed; each still equals its own backtest."""
    bars = some_bars[:400]
    account = sea.account()
    cross = sea.run(sea.version(EmaCross(), some_bars), account, bars, capital=10_000)
    reversal = sea.run(sea.version(RsiReversal(), some_bars), account, bars, capital=10_000)
    waited = False
    for _ in range(5_000):
        steps = [advance(sea.engine, r.live_run_id, r.account_id) for r in (cross, reversal)]
        waited = waited or any(s.waiting == "barrier" for s in steps)
        if all(s.ended for s in steps):
            break
    assert waited
    assert first_difference(backtest_trades(EmaCross(), bars), sea.trades(cross)) is None
    assert first_difference(backtest_trades(RsiReversal(), bars), sea.trades(reversal)) is None


def test_a_pair_that_does_not_match_is_refused_and_audited(sea: Sea, some_bars: Bars) -> None:
    """Run and account must belong together, whoever asks."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    other = sea.account("paper-2")
    with pytest.raises(Forbidden, match="its own account"):
        advance(sea.engine, run.live_run_id, other.account_id)
    with pytest.raises(NotFound):
        advance(sea.engine, uuid4(), other.account_id)
    assert sea.read(run).cursor is None


def test_ownership_revoking_the_services_grant_stops_the_run_with_a_reason(sea: Sea, some_bars: Bars) -> None:
    """Without its grant the service principal commits nothing more."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    advance(sea.engine, run.live_run_id, run.account_id)
    with sea.engine.work() as work:
        Accounts(work.connection, sea.engine.principal).revoke(run.account_id, sea.engine.service, sea.engine.now())
        work.commit()
    advance(sea.engine, run.live_run_id, run.account_id)
    ended = sea.read(run)
    assert ended.status == "ERROR" and "revoked" in ended.last_error


def test_a_platform_that_cannot_be_read_is_tried_again(
    sea: Sea, some_bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed read is no evidence and no error: the step is discarded and the next one goes on."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    advance(sea.engine, run.live_run_id, run.account_id)
    platform = sea.engine.desk(run.account_id).platform

    def unreadable(symbol: str) -> None:
        raise ReadFailed(f"the price of {symbol} could not be read")

    with monkeypatch.context() as patched:
        patched.setattr(platform, "quote", unreadable)
        before = sea.read(run)
        assert advance(sea.engine, run.live_run_id, run.account_id).waiting.startswith("retry")
        assert sea.read(run).cursor == before.cursor and sea.read(run).status == "RUNNING"
    sea.finish(run)
    assert first_difference(backtest_trades(EmaCross(), some_bars), sea.trades(run)) is None


def test_a_lost_race_discards_the_step(sea: Sea, some_bars: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the row changes between read and commit, nothing of the step is kept, and the end is the same."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    from toolkit.live import advance as module

    read = module._read
    raced: list[bool] = []

    def stale(engine: Any, live_run_id: Any, account_id: Any) -> Any:
        found = read(engine, live_run_id, account_id)
        if not raced:
            raced.append(True)
            live_runs.pause_live_run(sea.engine, sea.engine.principal, run.live_run_id)
            live_runs.resume_live_run(sea.engine, sea.engine.principal, run.live_run_id)
        return found

    monkeypatch.setattr(module, "_read", stale)
    assert advance(sea.engine, run.live_run_id, run.account_id).waiting == "race"
    assert sea.read(run).cursor is None
    sea.finish(run)
    assert first_difference(backtest_trades(EmaCross(), some_bars), sea.trades(run)) is None


class Interrupted(BaseException):
    """A worker's time limit, raised in its thread between two instructions."""


def test_a_step_that_is_interrupted_leaves_no_memory_behind(
    sea: Sea, some_bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process goes on after a worker's time limit, and takes what it had not committed again, from the row."""
    bars = some_bars[:300]
    run = sea.run(sea.version(EmaCross(), bars), sea.account(), bars)
    real = replay.commit_step
    calls = 0

    def cut_every_other(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise Interrupted
        return real(*given)

    monkeypatch.setattr(replay, "commit_step", cut_every_other)
    while sea.read(run).status == "RUNNING":
        with suppress(Interrupted):
            advance(sea.engine, run.live_run_id, run.account_id)
    expected = backtest_trades(EmaCross(), bars)
    assert calls > 10 and len(expected) > 3
    assert first_difference(expected, sea.trades(run)) is None


def test_two_hosts_of_one_run_make_no_order_twice(sea: Sea, some_bars: Bars) -> None:
    """Two threads advancing the same run end as one does; the venue's book has no duplicate."""
    bars = some_bars[:300]
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), bars)
    hosts = [threading.Thread(target=host_run, args=(sea.engine, run.live_run_id)) for _ in range(2)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join(120)
    assert sea.read(run).status == "STOPPED", sea.read(run).last_error
    assert first_difference(backtest_trades(EmaCross(), bars), sea.trades(run)) is None
    assert sea.engine.desk(run.account_id).platform.duplicate_orders() == 0


def test_a_second_process_is_refused_and_the_run_goes_on(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """One process per account: the other one is told so, and the run it wanted to host is not harmed."""
    first = make_sea("shared")
    run = first.run(first.version(EmaCross(), some_bars), first.account(), some_bars[:200])
    advance(first.engine, run.live_run_id, run.account_id, limit=50)
    second = make_sea("shared")
    with pytest.raises(PlatformError, match="already open in process"):
        host_run(second.engine, run.live_run_id)
    assert first.read(run).status == "RUNNING"
    assert first.finish(run).status == "STOPPED"

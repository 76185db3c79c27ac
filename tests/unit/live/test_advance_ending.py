"""A run that is stopped, paused, halted or in error: what it still does, and what stays at the platform."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from live_checks import backtest_trades, events

from tests.plugins.live_support import EmaCross, Sea
from toolkit.execution.builder import build_trade_request
from toolkit.execution.idempotency import signal_fingerprint
from toolkit.execution.ledger.submit import make_entry, submit
from toolkit.execution.ports import OrderType
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.feed import Replay
from toolkit.live.hosting.host import RunThread, host_run
from toolkit.market import Bars, Rate, Side
from toolkit.research.comparison import first_difference
from toolkit.store.intents import SqlTransaction
from toolkit.store.runs import RunRecord


def test_stopping_takes_effect_within_two_seconds(sea: Sea, some_bars: Bars) -> None:
    """A paced replay hosted by a thread is STOPPED at most two seconds after it was asked."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars, feed=Replay(some_bars, speed=20))
    thread = RunThread(sea.engine, run.live_run_id)
    deadline = time.monotonic() + 20
    while sea.read(run).bars_count == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    asked = time.monotonic()
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    while sea.read(run).status != "STOPPED" and time.monotonic() < asked + 10:
        time.sleep(0.02)
    took = time.monotonic() - asked
    assert thread.join(5) and thread.error is None
    ended = sea.read(run)
    assert ended.status == "STOPPED" and took < 2.0
    assert 0 < ended.bars_count < len(some_bars)


def test_stop_with_flatten_closes_the_runs_positions(sea: Sea, some_bars: Bars) -> None:
    """Flatten leaves no position of the run, and says so in the trade's reason."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    while not open_positions(sea, run):
        advance(sea.engine, run.live_run_id, run.account_id)
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id, flatten=True)
    host_run(sea.engine, run.live_run_id)
    assert not open_positions(sea, run)
    assert sea.trades(run)[-1]["exit_reason"] == "flatten"
    assert sea.read(run).status == "STOPPED"


def test_stop_without_flatten_leaves_the_position_with_its_stop(sea: Sea, some_bars: Bars) -> None:
    """A plain stop touches nothing at the platform."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    while not open_positions(sea, run):
        advance(sea.engine, run.live_run_id, run.account_id)
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    host_run(sea.engine, run.live_run_id)
    assert [p.stop_loss is not None for p in open_positions(sea, run)] == [True]


def open_positions(sea: Sea, run: Any) -> tuple[Any, ...]:
    """Return what the account holds at its venue."""
    return sea.engine.desk(run.account_id).platform.book().positions


def test_a_paused_run_makes_no_decision(sea: Sea, some_bars: Bars) -> None:
    """PAUSED commits nothing; resumed, the run ends as its backtest."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    advance(sea.engine, run.live_run_id, run.account_id)
    live_runs.pause_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    before = sea.read(run)
    assert advance(sea.engine, run.live_run_id, run.account_id).waiting == "paused"
    assert sea.read(run) == before
    live_runs.resume_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    sea.finish(run)
    assert first_difference(backtest_trades(EmaCross(), some_bars), sea.trades(run)) is None


def test_a_halted_account_denies_entries_and_lets_exits_go(sea: Sea, some_bars: Bars) -> None:
    """After a halt no position is opened any more, and the one that is open is still left."""
    account = sea.account()
    run = sea.run(sea.version(EmaCross(), some_bars), account, some_bars)
    while not open_positions(sea, run):
        advance(sea.engine, run.live_run_id, run.account_id)
    live_runs.halt_account(sea.engine, sea.engine.principal, account.account_id, reason="test")
    sea.finish(run)
    assert len(sea.trades(run)) == 1 and not open_positions(sea, run)
    assert events(sea, "entry_refused")


def test_an_error_is_a_safe_shutdown(sea: Sea, some_bars: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the strategy's step sets ERROR with its reason; stops stay at the venue and nothing more is sent."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    while not open_positions(sea, run):
        advance(sea.engine, run.live_run_id, run.account_id)
    monkeypatch.setattr("toolkit.live.stepping.sources.replay.carry_out", _broken)
    monkeypatch.setattr("toolkit.strategy.drivers.incremental.Incremental.step", _broken)
    advance(sea.engine, run.live_run_id, run.account_id)
    ended = sea.read(run)
    assert ended.status == "ERROR" and "planted fault" in ended.last_error
    assert [p.stop_loss is not None for p in open_positions(sea, run)] == [True]
    assert events(sea, "error")
    assert advance(sea.engine, run.live_run_id, run.account_id).status == "ERROR"


def test_an_error_takes_pending_entries_back_and_gives_the_account_free(
    sea: Sea, some_bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A working limit order of the run is cancelled at the venue, by an intent, and the lease is released."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    while not open_positions(sea, run):
        advance(sea.engine, run.live_run_id, run.account_id)
    desk = sea.engine.desk(run.account_id)
    working_limit(sea, run)
    assert len(desk.platform.book().orders) == 1
    monkeypatch.setattr("toolkit.live.stepping.sources.replay.carry_out", _broken)
    monkeypatch.setattr("toolkit.strategy.drivers.incremental.Incremental.step", _broken)
    advance(sea.engine, run.live_run_id, run.account_id)
    book = desk.platform.book()
    assert book.orders == () and len(book.positions) == 1
    assert events(sea, "pending_cancelled")
    with sea.engine.store.begin(sea.engine.service, write=False) as work:
        lease = work.lease(run.account_id)
        assert lease is not None and lease.owner == ""


def test_a_stop_takes_pending_entries_back(sea: Sea, some_bars: Bars) -> None:
    """No entry may be filled after the run has stopped, so what works at the venue is cancelled first."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    while not open_positions(sea, run):
        advance(sea.engine, run.live_run_id, run.account_id)
    working_limit(sea, run)
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    for _ in range(5):
        advance(sea.engine, run.live_run_id, run.account_id)
    assert sea.read(run).status == "STOPPED"
    assert sea.engine.desk(run.account_id).platform.book().orders == ()


def working_limit(sea: Sea, run: RunRecord) -> None:
    """Place a limit order of the run far from the market."""
    desk = sea.engine.desk(run.account_id)
    quote = desk.platform.quote("EURUSD")
    key = "ab" * 32
    built = build_trade_request(
        account_id=run.account_id, instrument=desk.platform.instrument("EURUSD"), quote=quote, side=Side.BUY,
        equity=Decimal(10_000), quote_to_account=Rate.ONE, stop_loss=quote.bid - Decimal("0.0600"),
        take_profit=quote.bid, risk_percent=Decimal("0.5"), order_type=OrderType.LIMIT,
        limit_price=quote.bid - Decimal("0.0400"), live_run_id=run.live_run_id,
        bot_version_id=run.bot_version_id, signal_id="pending", idempotency_key=key,
    )  # fmt: skip
    intent = make_entry(
        built, key=key, fingerprint=signal_fingerprint("t", {}), principal=sea.engine.service, now=sea.engine.now()
    )
    with sea.engine.work(sea.engine.service) as work:
        submit(SqlTransaction(work), intent, sea.engine.service)
        work.commit()
    desk.gateway.deliver(run.account_id)


def _broken(*_args: object, **_named: object) -> None:
    raise ZeroDivisionError("planted fault")

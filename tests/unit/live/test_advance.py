"""One step of a run: equal to its backtest however it is cut, paused, restarted or shared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import EmaCross, RsiReversal, Sea
from toolkit.errors import Forbidden, NotFound, PlatformError, ReadFailed
from toolkit.execution.builder import build_trade_request
from toolkit.execution.idempotency import signal_fingerprint
from toolkit.execution.ledger.submit import make_entry, submit
from toolkit.execution.ports import OrderType
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.feed import Replay
from toolkit.live.hosting.host import RunThread, host_run
from toolkit.market import Bars, Rate, Side
from toolkit.platforms.simulated.faults import Fault, FaultKind, FaultScript
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.store.intents import SqlTransaction
from toolkit.store.people.accounts import Accounts
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import EquityMark, ExecutionIntent, Order, RunEvent


def backtest_trades(strategy: Any, bars: Bars, **given: Any) -> list[dict[str, Any]]:
    """Return the closed trades of a backtest on the tests' account."""
    given.setdefault("account", tk.PaperAccount(currency="USD", balance=10_000, leverage=30))
    return normalise_all(tk.backtest(strategy, bars, **given).trade_records)


def events(sea: Sea, kind: str) -> list[str]:
    """Return the messages of one kind of event."""
    with sea.engine.work(write=False) as work:
        return list(work.connection.execute(select(RunEvent.message).where(RunEvent.kind == kind)).scalars())


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


def faulty_sea(make_sea: Callable[..., Sea], *faults: Fault) -> Sea:
    """Return an engine whose venues follow a script."""
    from toolkit.bootstrap import open_paper_venue

    script = FaultScript(faults=faults)
    return make_sea(
        open_platform={"simulated": lambda account, settings: open_paper_venue(account, settings, faults=script)}
    )


def entry_states(sea: Sea) -> list[str]:
    """Return the states of all entries, in the order of their bars."""
    query = (
        select(ExecutionIntent.state).where(ExecutionIntent.action == "OPEN_TRADE").order_by(ExecutionIntent.bar_time)
    )
    with sea.engine.work(write=False) as work:
        return list(work.connection.execute(query).scalars())


def test_a_lost_entry_is_never_sent_again_and_the_run_goes_on(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """No answer and no trace at the venue: the entry ends REJECTED on evidence, later entries are made."""
    sea = faulty_sea(make_sea, Fault(FaultKind.COMMAND_LOST, on="open", at=3))
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars[:500]))
    states = entry_states(sea)
    assert states[:4] == ["FILLED", "FILLED", "REJECTED", "FILLED"]
    assert run.status == "STOPPED"
    assert sea.engine.desk(run.account_id).platform.duplicate_orders() == 0


def test_an_entry_accepted_late_is_adopted_and_not_doubled(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """While its answer is UNKNOWN no other entry is made; when the venue fills it after all, the trade is the run's."""
    sea = faulty_sea(make_sea, Fault(FaultKind.LATE_ACCEPTANCE, on="open", at=3, seconds=5 * 3600))
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars[:500]))
    assert run.status == "STOPPED", run.last_error
    assert "UNKNOWN" not in entry_states(sea)
    assert events(sea, "late_fill_adopted") or entry_states(sea)[2] == "FILLED"
    assert sea.engine.desk(run.account_id).platform.duplicate_orders() == 0


def test_an_answer_that_was_lost_is_found_again(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """Carried out but unanswered: the position is found by our tag, and the trades are those of the backtest."""
    sea = faulty_sea(
        make_sea,
        Fault(FaultKind.ANSWER_LOST, on="open", at=2),
        Fault(FaultKind.ANSWER_LOST, on="close", at=2),
    )
    bars = some_bars[:500]
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), bars))
    assert run.status == "STOPPED", run.last_error
    assert first_difference(backtest_trades(EmaCross(), bars), sea.trades(run)) is None
    assert sea.engine.desk(run.account_id).platform.duplicate_orders() == 0


@pytest.mark.parametrize("seconds", [600, 9 * 3600])
def test_the_size_of_a_step_does_not_matter_while_an_answer_is_unknown(
    make_sea: Callable[..., Sea], some_bars: Bars, seconds: int
) -> None:
    """A decision is refused while an entry is UNKNOWN at its own bar, not because it was so where the step began."""
    script = Fault(FaultKind.LATE_ACCEPTANCE, on="open", at=1, times=3, seconds=seconds)
    made = []
    for name, limit in (("whole", 1_000), ("bar-by-bar", 1)):
        sea = faulty_sea(lambda name=name, **given: make_sea(name, **given), script)
        run = sea.run(sea.version(RsiReversal(), some_bars), sea.account(leverage=500), some_bars[:120])
        while not advance(sea.engine, run.live_run_id, run.account_id, limit=limit).ended:
            pass
        made.append((sea.trades(run), entry_states(sea)))
    assert len(made[0][0]) >= 4
    assert made[0] == made[1]


def test_an_exit_planned_again_goes_before_the_next_bar(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """An exit that never arrived is sent again at the first bar where that is proved, not one decision later."""
    sea = faulty_sea(make_sea, Fault(FaultKind.COMMAND_LOST, on="close", at=1))
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars[:300])
    while not advance(sea.engine, run.live_run_id, run.account_id, limit=1).ended:
        pass
    with sea.engine.work(write=False) as work:
        again = select(Order.intent_id).where(Order.action == "CLOSE_POSITION", Order.attempt == 2)
        sends = select(Order.sent_at).where(Order.intent_id.in_(again)).order_by(Order.attempt)
        first, second = work.connection.execute(sends).scalars()
    assert len(events(sea, "exit_replanned")) == 1
    assert second - first == timedelta(hours=1)


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

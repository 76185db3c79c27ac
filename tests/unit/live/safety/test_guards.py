"""Account guards and trips as people meet them: set, shown, tripped, reset, audited; the kill switch that flattens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import EmaCross, RsiReversal, Sea
from toolkit import session
from toolkit.errors import BadInput, Forbidden, NotFound
from toolkit.live.advance import advance
from toolkit.live.hosting.host import RunThread
from toolkit.live.safety.flatten import halt_and_flatten
from toolkit.live.safety.guards import account_guards, guardrail_trips, reset_trips, set_account_guards
from toolkit.market import Bars
from toolkit.store.people.accounts import Accounts, ensure_user
from toolkit.store.sql.models import Audit, EquityMark, ExecutionIntent, Trade


def audited(sea: Sea, action: str) -> list[str]:
    """Return the details of one kind of audited action."""
    with sea.engine.work(write=False) as work:
        return list(work.connection.execute(select(Audit.detail).where(Audit.action == action)).scalars())


def reasons(sea: Sea) -> list[str]:
    """Return why entries were not made, in order."""
    with sea.engine.work(write=False) as work:
        query = select(ExecutionIntent.reason).where(ExecutionIntent.state == "DENIED")
        return list(work.connection.execute(query.order_by(ExecutionIntent.created_at)).scalars())


def open_trades(sea: Sea) -> int:
    """Return how many trades the store calls open."""
    with sea.engine.work(write=False) as work:
        return len(work.connection.execute(select(Trade.trade_id).where(Trade.status == "open")).all())


def until_open(sea: Sea, run: Any) -> None:
    """Step a run until it holds a position."""
    for _ in range(400):
        advance(sea.engine, run.live_run_id, run.account_id, limit=5)
        if open_trades(sea):
            return
    raise AssertionError("the run never opened a position")


def test_guards_of_an_account_hold_beside_those_of_its_runs(sea: Sea, some_bars: Bars) -> None:
    """Set by the owner, they count from the next entry on; the change is audited."""
    account = sea.account()
    me = sea.engine.principal
    assert account_guards(sea.engine, me, account.account_id) == tk.AccountGuards()
    limits = tk.AccountGuards(trading_hours="Mon-Sun 00:00-24:00", max_lots="0.01", orders_per_minute=5)
    set_account_guards(sea.engine, me, account.account_id, limits)
    assert account_guards(sea.engine, me, account.account_id) == limits
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), account, some_bars))
    assert run.status == "STOPPED" and sea.trades(run) == []
    assert set(reasons(sea)) == {"guard_max_lots"}
    assert audited(sea, "account.guards") == [
        'none -> {"max_lots": "0.01", "orders_per_minute": 5, "trading_hours": "Mon-Sun 00:00-24:00"}'
    ]


def test_only_its_owner_sets_an_accounts_guards(sea: Sea) -> None:
    """Not even the service principal, which may trade there."""
    account = sea.account()
    with pytest.raises(Forbidden, match="set by its owner"):
        set_account_guards(sea.engine, sea.engine.service, account.account_id, tk.AccountGuards(max_open=1))
    with sea.engine.work() as work:
        stranger = ensure_user(work.connection, sea.engine.now(), "stranger", "human")
        work.commit()
    with pytest.raises(NotFound):
        set_account_guards(sea.engine, stranger, account.account_id, tk.AccountGuards(max_open=1))


def test_a_drawdown_stops_a_run_until_a_person_resets_it(sea: Sea, some_bars: Bars) -> None:
    """One trip, many denials; after the reset it measures anew from the next day and the run goes on."""
    guards = tk.Guards(drawdown_percent="0.6")
    run = sea.run(sea.version(RsiReversal(), some_bars, guards=guards), sea.account(), some_bars)
    me = sea.engine.principal
    for _ in range(2000):
        if guardrail_trips(sea.engine, me):
            break
        assert not advance(sea.engine, run.live_run_id, run.account_id, limit=20).ended
    (trip,) = guardrail_trips(sea.engine, me, account_id=run.account_id)
    assert (trip.rule, trip.until, trip.live_run_id) == ("guard_drawdown", None, run.live_run_id)
    before = len(sea.trades(run))
    with pytest.raises(Forbidden, match="its owner decides"):
        reset_trips(sea.engine, sea.engine.service, run.account_id)
    with pytest.raises(NotFound, match="in force to be reset"):
        reset_trips(sea.engine, me, run.account_id, rule="guard_daily_loss")
    assert reset_trips(sea.engine, me, run.account_id, rule="guard_drawdown") == [trip.trip_id]
    assert audited(sea, "guardrail.reset") == [f"guard_drawdown of run {run.live_run_id}"]
    assert guardrail_trips(sea.engine, me) == []
    with sea.engine.work(write=False) as work:
        last = work.connection.execute(select(EquityMark).order_by(EquityMark.day.desc())).first()
    assert last.peak_equity == 0
    sea.finish(run)
    assert len(sea.trades(run)) > before
    with sea.engine.work(write=False) as work:
        marks = work.connection.execute(select(EquityMark).order_by(EquityMark.day)).all()
    after = [m for m in marks if m.day > last.day]
    assert after[0].peak_equity == after[0].base_equity


def test_what_is_denied_is_listed_with_what_holds_on_apart(sea: Sea, some_bars: Bars) -> None:
    """A losing streak holds on to midnight and is listed; a denial of the moment shows only among all."""
    guards = tk.Guards(max_consecutive_losses=1, max_lots="0.16")
    sea.finish(sea.run(sea.version(RsiReversal(), some_bars, guards=guards), sea.account(), some_bars))
    me = sea.engine.principal
    assert {t.rule for t in guardrail_trips(sea.engine, me)} == {"guard_losing_streak"}
    assert "guard_max_lots" in {t.rule for t in guardrail_trips(sea.engine, me, active=False)}


def test_halt_with_flatten_closes_everything_and_says_so(sea: Sea, some_bars: Bars) -> None:
    """In the process that holds the session: halted, flat, in words; the run's later entries are denied."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    until_open(sea, run)
    session.use(sea.engine)
    try:
        report = tk.halt("paper-1", flatten=True)
        assert report is not None and report.flat and len(report.closed) == 1
        assert "flat: nothing of ours" in repr(report)
        assert tk.halt("paper-1", "again", flatten=True, timeout_seconds=5).closed == ()
    finally:
        session.use(None)
    assert open_trades(sea) == 0
    with sea.engine.work(write=False) as work:
        account = Accounts(work.connection, sea.engine.principal).find("paper-1")
    assert account.halted_at is not None
    sea.finish(run)
    assert set(reasons(sea)) == {"halted"}


def test_flatten_reaches_a_session_that_another_process_holds(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """A second engine cannot open the venue; its exits go through the outbox to the one that hosts the run."""
    host = make_sea()
    run = host.run(
        host.version(EmaCross(), some_bars), host.account(), some_bars, feed=tk.Replay(some_bars, speed=2000)
    )
    until_open(host, run)
    other = make_sea()
    thread = RunThread(host.engine, run.live_run_id)
    try:
        report = halt_and_flatten(
            other.engine, other.engine.principal, run.account_id, reason="from elsewhere", timeout_seconds=30
        )
    finally:
        thread.leave()
    assert report.flat, str(report)
    assert open_trades(host) == 0


def test_flatten_says_what_remains_when_nobody_carries_it_out(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """The session is held by a process that does nothing: not flat, and the position is named."""
    host = make_sea()
    run = host.run(host.version(EmaCross(), some_bars), host.account(), some_bars)
    until_open(host, run)
    other = make_sea()
    report = halt_and_flatten(other.engine, other.engine.principal, run.account_id, reason="x", timeout_seconds=1)
    assert not report.flat
    assert any("EURUSD position" in words for words in report.remaining)
    assert "NOT flat" in str(report)


def test_unknown_limits_are_refused() -> None:
    """A limit that this toolkit does not know is never dropped in silence."""
    with pytest.raises(BadInput, match="known limits"):
        tk.AccountGuards.from_facts({"moon_phase": 3})
    with pytest.raises(BadInput, match=r"was moon_phase: name it"):
        tk.AccountGuards(daily_loss_percent=3, moon_phase=3)

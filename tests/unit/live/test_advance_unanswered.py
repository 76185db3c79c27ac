"""Orders whose answer never came: looked for, adopted, never doubled, and the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from live_checks import backtest_trades, events
from sqlalchemy import select

from tests.plugins.live_support import EmaCross, RsiReversal, Sea
from toolkit.clock import from_ns
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.market import Bars
from toolkit.platforms.simulated.faults import Fault, FaultKind, FaultScript
from toolkit.research.comparison import first_difference
from toolkit.store.sql.models import ExecutionIntent, Order


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


def stopping_with_an_unknown(
    make_sea: Callable[..., Sea], bars: Bars, fault: Fault, action: str
) -> tuple[Sea, Any, Any]:
    """Return a run on live bars that was asked to stop and flatten right after an order of it got no answer."""
    sea = faulty_sea(make_sea, fault)
    account = sea.account(leverage=500)
    venue: Any = sea.engine.desk(account.account_id).platform
    venue.load_replay("EURUSD", bars)
    venue.advance_clock_to(from_ns(int(bars.ts[320])))
    run = sea.run(sea.version(EmaCross(), bars), account, bars, feed=None, capital=10_000)
    query = select(ExecutionIntent.action).where(ExecutionIntent.state == "UNKNOWN")
    for row in range(320, 700):
        venue.advance_clock_to(from_ns(int(bars.ts[row])))
        advance(sea.engine, run.live_run_id, run.account_id)
        with sea.engine.work(write=False) as work:
            if action in work.connection.execute(query).scalars().all():
                break
    else:
        raise AssertionError("no order was left without an answer")
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id, flatten=True)
    return sea, run, venue


def test_a_flattening_stop_waits_for_an_entry_without_an_answer(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """An order that is filled after the stop was asked for is closed too, before the run says STOPPED."""
    late = Fault(FaultKind.LATE_ACCEPTANCE, on="open", at=1, seconds=200)
    sea, run, venue = stopping_with_an_unknown(make_sea, some_bars, late, "OPEN_TRADE")
    for _ in range(3):
        assert advance(sea.engine, run.live_run_id, run.account_id).waiting.startswith("unknown")
    assert (sea.read(run).status, len(events(sea, "flatten_waits"))) == ("STOPPING", 1)
    venue.advance_clock_to(venue.now() + timedelta(seconds=300))
    assert len(venue.book().positions) == 1
    while not advance(sea.engine, run.live_run_id, run.account_id).ended:
        pass
    assert sea.read(run).status == "STOPPED"
    assert venue.book().positions == ()
    assert sea.trades(run)[-1]["exit_reason"] == "flatten"


def test_a_flattening_stop_waits_for_an_exit_without_an_answer(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """The close on its way is not asked for again and again until the run gives up; it arrives, and that is the end."""
    late = Fault(FaultKind.LATE_ACCEPTANCE, on="close", at=1, seconds=3)
    sea, run, venue = stopping_with_an_unknown(make_sea, some_bars, late, "CLOSE_POSITION")
    for _ in range(5):
        advance(sea.engine, run.live_run_id, run.account_id)
    assert sea.read(run).status == "STOPPING"
    venue.advance_clock_to(venue.now() + timedelta(seconds=4))
    while not advance(sea.engine, run.live_run_id, run.account_id).ended:
        pass
    assert (sea.read(run).status, venue.book().positions) == ("STOPPED", ())
    assert venue.duplicate_orders() == 0

"""Exits that the platform would not take: they wait through a weekend and are carried out once, at Monday's open."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from tests.plugins import managed_strategies as made
from tests.plugins.live_support import EmaCross, Sea
from toolkit.clock import from_ns
from toolkit.execution.ports import OrderResult, Outcome
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.operate.by_hand import release_intent
from toolkit.live.watch.alerts import AlertLimits, find_alerts
from toolkit.market import Bars
from toolkit.store.sql.models import ExecutionIntent, Order, RunEvent, Trade

TERMS = {"leverage": 500}
# the action, a strategy that has it, and how many hours before the weekend the market closes
KINDS = [
    ("CLOSE_POSITION", made.TimeExit, 12),
    ("REDUCE_POSITION", made.Partials, 12),
    ("MODIFY_SLTP", made.Trailing, 3),
]
HOUR = 3_600 * 10**9
WARM = 320


def weekends(bars: Bars, hours: int) -> list[tuple[int, int]]:
    """Return from when to when nobody trades: from so many hours before each weekend to its Monday's first open."""
    return [(a - hours * HOUR, b) for a, b in pairwise(bars.ts.tolist()) if b - a > 40 * HOUR]


def breaks(bars: Bars) -> list[tuple[int, int]]:
    """Return a break of five bars after every fifteen."""
    ts = bars.ts.tolist()
    return [(ts[row], ts[row + 5]) for row in range(WARM, len(ts) - 5, 20)]


def close_market(platform: Any, spans: list[tuple[int, int]], to: str = "any") -> None:
    """Let the venue refuse every command while its clock is within one of the spans."""
    send = platform.send
    spans = [(from_ns(a), from_ns(b)) for a, b in spans]

    def refuse(command: Any) -> OrderResult:
        if any(a <= platform.now() < b for a, b in spans) and to in ("any", type(command).__name__):
            return OrderResult(Outcome.WAIT, code="MARKET_CLOSED", message="the market is closed")
        return send(command)  # type: ignore[no-any-return]

    platform.send = refuse


def exits(sea: Sea) -> list[Any]:
    """Return the run's exits, oldest first."""
    query = select(ExecutionIntent).where(ExecutionIntent.action != "OPEN_TRADE").order_by(ExecutionIntent.bar_time)
    with sea.engine.work(write=False) as work:
        return list(work.connection.execute(query))


def sends(sea: Sea, intent_id: Any) -> list[tuple[str, datetime]]:
    """Return what came of each send of an intent, and when it was, oldest first."""
    query = select(Order.outcome, Order.sent_at).where(Order.intent_id == intent_id).order_by(Order.attempt)
    with sea.engine.work(write=False) as work:
        return [(row[0], row[1]) for row in work.connection.execute(query)]


def kinds(sea: Sea) -> list[str]:
    """Return the kinds of all events."""
    with sea.engine.work(write=False) as work:
        return list(work.connection.execute(select(RunEvent.kind)).scalars())


def check_waited(sea: Sea, action: str, spans: list[tuple[int, int]], least: int = 1) -> None:
    """Exits asked for in a closed market were each carried out once, at the first open after it, unless already met."""
    opens = {from_ns(b) for _, b in spans}
    waited = 0
    for intent in exits(sea):
        made = sends(sea, intent.intent_id)
        assert intent.state in ("FILLED", "CANCELLED", "NEW"), intent
        if not made or made[0][0] != "WAIT":
            continue
        if intent.state == "FILLED" and made[-1][0] == "DONE":
            assert [outcome for outcome, _ in made].count("DONE") == 1
            assert made[-1][1] in opens
            waited += intent.action == action
    assert waited >= least


@pytest.mark.parametrize(("action", "strategy", "hours"), KINDS, ids=[kind[0] for kind in KINDS])
def test_in_a_replay_an_exit_waits_for_monday(
    sea: Sea, some_bars: Bars, action: str, strategy: Any, hours: int
) -> None:
    """A close, a partial close and a moved stop that fall due in a closed market are carried out once it opens."""
    account = sea.account(**TERMS)
    run = sea.run(sea.version(strategy(), some_bars), account, some_bars)
    spans = weekends(some_bars, hours)
    close_market(sea.engine.desk(account.account_id).platform, spans)
    run = sea.finish(run)
    assert run.status == "STOPPED", run.last_error
    check_waited(sea, action, spans)
    assert kinds(sea).count("exit_waits") >= 1
    assert sea.engine.desk(account.account_id).platform.duplicate_orders() == 0


@pytest.mark.parametrize(("action", "strategy", "hours"), KINDS, ids=[kind[0] for kind in KINDS])
def test_on_live_bars_an_exit_waits_for_the_open(
    sea: Sea, some_bars: Bars, action: str, strategy: Any, hours: int
) -> None:
    """The run lives on while its exit waits: bars are taken, no entry is made, and at the open the exit goes first."""
    account = sea.account(**TERMS)
    platform: Any = sea.engine.desk(account.account_id).platform
    platform.load_replay("EURUSD", some_bars)
    platform.advance_clock_to(from_ns(int(some_bars.ts[WARM])))
    run = sea.run(sea.version(strategy(), some_bars), account, some_bars, feed=None, capital=10_000)
    spans = weekends(some_bars, hours) + breaks(some_bars)
    close_market(platform, spans)
    for row in range(WARM, 900):
        platform.advance_clock_to(from_ns(int(some_bars.ts[row])))
        while advance(sea.engine, run.live_run_id, run.account_id).waiting != "feed":
            pass
    assert sea.read(run).status == "RUNNING", sea.read(run).last_error
    check_waited(sea, action, spans)
    assert platform.duplicate_orders() == 0


def test_a_partial_that_was_refused_is_asked_for_again(sea: Sea, some_bars: Bars) -> None:
    """A reduction counts when the volume is gone: refused for good on one bar it is planned on the next, to the same rest."""
    account = sea.account(**TERMS)
    run = sea.run(sea.version(made.Partials(), some_bars), account, some_bars[:500])
    platform: Any = sea.engine.desk(account.account_id).platform
    send, refused = platform.send, []

    def refuse_first(command: Any) -> OrderResult:
        now = platform.now()
        if type(command).__name__ == "ClosePosition" and command.lots is not None and refused in ([], [now], [now] * 2):
            refused.append(now)
            return OrderResult(Outcome.FINAL, code="10014")
        return send(command)  # type: ignore[no-any-return]

    platform.send = refuse_first
    assert sea.finish(run).status == "STOPPED"
    reductions = [i for i in exits(sea) if i.action == "REDUCE_POSITION"]
    last, again = [i for i in reductions if i.state == "REJECTED"][-1], reductions[len(refused)]
    assert again.state == "FILLED" and again.bar_time > last.bar_time
    assert json.loads(again.payload_json)["remaining_lots"] == json.loads(last.payload_json)["remaining_lots"]


def test_a_stop_waits_for_its_exits(sea: Sea, some_bars: Bars) -> None:
    """A run told to stop and flatten in a closed market stays STOPPING, then closes at the open and is STOPPED."""
    account = sea.account(**TERMS)
    platform: Any = sea.engine.desk(account.account_id).platform
    platform.load_replay("EURUSD", some_bars)
    platform.advance_clock_to(from_ns(int(some_bars.ts[WARM])))
    run = sea.run(sea.version(EmaCross(), some_bars), account, some_bars, feed=None, capital=10_000)
    row = WARM
    while not platform.book().positions:
        row += 1
        platform.advance_clock_to(from_ns(int(some_bars.ts[row])))
        advance(sea.engine, run.live_run_id, run.account_id)
    closed = (int(some_bars.ts[row]), int(some_bars.ts[row + 1]))
    close_market(platform, [closed], "ClosePosition")
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id, flatten=True)
    waiting = [advance(sea.engine, run.live_run_id, run.account_id).waiting for _ in range(6)]
    assert waiting[-1] == "market" and sea.read(run).status == "STOPPING"
    platform.advance_clock_to(from_ns(closed[1]))
    while not advance(sea.engine, run.live_run_id, run.account_id).ended:
        pass
    (close,) = exits(sea)
    assert (close.state, sea.read(run).status) == ("FILLED", "STOPPED")
    assert platform.book().positions == ()


def test_people_are_told_of_an_exit_that_waits_and_may_take_it_back(sea: Sea, some_bars: Bars) -> None:
    """An exit older than the limit is an alert; released by a person it is never sent again, and that is in the audit."""
    account = sea.account(**TERMS)
    run = sea.run(sea.version(EmaCross(), some_bars), account, some_bars)
    platform: Any = sea.engine.desk(account.account_id).platform
    close_market(platform, [(0, int(some_bars.ts[-1]))], "ClosePosition")
    while not exits(sea):
        advance(sea.engine, run.live_run_id, run.account_id)
    limits = AlertLimits(exit_after=timedelta(0))
    found = [a for a in find_alerts(sea.engine, sea.engine.principal, limits) if a.key.startswith("exit:")]
    assert [a.level for a in found] == ["error"] and "platform_closed" in found[0].body
    after = release_intent(sea.engine, sea.engine.principal, exits(sea)[0].intent_id, "I closed it by hand")
    assert (after.state.value, after.reason) == ("CANCELLED", "released")
    assert not [a for a in find_alerts(sea.engine, sea.engine.principal, limits) if a.key.startswith("exit:")]
    with sea.engine.work(write=False) as work:
        assert work.connection.execute(select(Trade.status)).scalars().all()[-1] == "open"

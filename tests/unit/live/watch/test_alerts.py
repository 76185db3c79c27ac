"""Alerts: found in the database, delivered to a real local webhook, never a flood."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import Collector, EmaCross, Sea
from toolkit.bootstrap import open_paper_venue
from toolkit.clock import ManualClock, now
from toolkit.errors import BadInput
from toolkit.live.advance import advance
from toolkit.live.stepping.ending import fail
from toolkit.live.watch.alerts import Alert, AlertLimits, find_alerts
from toolkit.live.watch.notify import AlertDesk, AppriseNotifier, Nobody, dead_mans_heartbeat
from toolkit.market import Bars
from toolkit.platforms.simulated.faults import Fault, FaultKind, FaultScript
from toolkit.store.sql.models import GuardrailTrip
from toolkit.store.upkeep.alerts import clear_others, list_alerts


def test_a_run_in_error_is_found(sea: Sea, some_bars: Bars) -> None:
    """ERROR with its reason is an alert."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    fail(sea.engine, run, "planted")
    found = find_alerts(sea.engine, sea.engine.principal, AlertLimits())
    assert [(a.key, a.body) for a in found] == [(f"error:{run.live_run_id}", "planted")]


def test_a_silent_run_is_found(sea: Sea, some_bars: Bars) -> None:
    """A RUNNING run whose heartbeat is older than the limit has no host."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    advance(sea.engine, run.live_run_id, run.account_id)
    assert find_alerts(sea.engine, sea.engine.principal, AlertLimits()) == []
    found = find_alerts(sea.engine, sea.engine.principal, AlertLimits(stale_after=timedelta(0)))
    assert [a.key for a in found] == [f"stale:{run.live_run_id}"]


def test_a_guardrail_in_force_is_found_by_the_runs_own_clock(sea: Sea, some_bars: Bars) -> None:
    """A daily loss that denies entries now is an alert; the trip of a replayed day that has passed is not."""
    guards = tk.Guards(daily_loss_percent=1)
    run = sea.run(sea.version(EmaCross(k=0.5), some_bars, guards=guards), sea.account(), some_bars)
    told = []
    for _ in range(3_000):
        if advance(sea.engine, run.live_run_id, run.account_id, limit=1).ended:
            break
        told += find_alerts(sea.engine, sea.engine.principal, AlertLimits())
    with sea.engine.work(write=False) as work:
        trips = work.connection.execute(select(GuardrailTrip.trip_id)).scalars().all()
    assert trips and {a.key for a in told} == {f"trip:{t}" for t in trips}
    assert find_alerts(sea.engine, sea.engine.principal, AlertLimits()) == []


def test_an_unknown_order_is_found_after_its_time(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """An UNKNOWN intent older than the limit is an alert until it is resolved."""
    script = FaultScript(faults=[Fault(FaultKind.LATE_ACCEPTANCE, on="open", at=1, seconds=1e7)])
    sea = make_sea(open_platform={"simulated": lambda a, s: open_paper_venue(a, s, faults=script)})
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    for _ in range(40):
        advance(sea.engine, run.live_run_id, run.account_id, limit=20)
        if find_alerts(sea.engine, sea.engine.principal, AlertLimits(unknown_after=timedelta(0))):
            break
    found = find_alerts(sea.engine, sea.engine.principal, AlertLimits(unknown_after=timedelta(0)))
    assert [a.title for a in found] == ["an order's fate is not known"]
    assert find_alerts(sea.engine, sea.engine.principal, AlertLimits(unknown_after=timedelta(hours=1))) == []


def test_the_same_cause_is_told_once_until_it_may_be_repeated(make_sea: Callable[..., Sea]) -> None:
    """A second look an hour later stays quiet, in whatever process; after the repeat time it is told again."""
    clock, people = ManualClock(now()), Collector()
    sea = make_sea(clock=clock)
    alert = Alert("error:1", "error", "t", "b")
    AlertDesk(sea.engine, people).tell([alert])
    clock.advance(3_600)
    AlertDesk(sea.engine, people).tell([alert])
    assert len(people.seen) == 1
    clock.advance(6 * 3_600)
    AlertDesk(sea.engine, people).tell([alert])
    assert len(people.seen) == 2


def test_what_did_not_arrive_is_tried_again(sea: Sea) -> None:
    """A notifier that fails does not use the alert up."""
    people = Collector()
    people.works = False
    desk = AlertDesk(sea.engine, people)
    assert desk.tell([Alert("a", "error", "t", "b")]) == []
    people.works = True
    assert len(desk.tell([Alert("a", "error", "t", "b")])) == 1


def test_a_flood_is_cut_and_said(sea: Sea) -> None:
    """Not more than the hourly limit leaves, and the last one says so."""
    people = Collector()
    desk = AlertDesk(sea.engine, people, AlertLimits(per_hour=3))
    desk.tell(Alert(str(n), "warning", "t", "b") for n in range(50))
    assert len(people.seen) == 3 and "no more alerts" in people.seen[-1].body


def test_alerts_nobody_is_told_of_are_kept(sea: Sea) -> None:
    """Without an address the alert stands in the database, and clearing takes it off the list."""
    AlertDesk(sea.engine, Nobody()).tell([Alert("error:1", "error", "t", "b")])
    with sea.engine.work() as work:
        assert [a.key for a in list_alerts(work.connection, sea.engine.principal)] == ["error:1"]
        assert clear_others(work.connection, sea.engine.now(), still=(), looked_at=("error:",)) == 1
        assert list_alerts(work.connection, sea.engine.principal) == []
        assert len(list_alerts(work.connection, sea.engine.principal, active=False)) == 1


def test_alerts_reach_a_local_webhook(sea: Sea, webhook: tuple[str, list[str]]) -> None:
    """Apprise posts title and body."""
    pytest.importorskip("apprise")
    address, bodies = webhook
    desk = AlertDesk(sea.engine, AppriseNotifier([f"json://{address}/hook"]))
    assert desk.tell([Alert("x", "error", "run 1 is in ERROR", "division by zero")])
    assert json.loads(bodies[0])["title"] == "run 1 is in ERROR"


def test_an_unknown_address_is_refused_without_repeating_it() -> None:
    """An address may hold a secret, so the refusal names its number only."""
    pytest.importorskip("apprise")
    with pytest.raises(BadInput, match="alert address 1") as refused:
        AppriseNotifier(["nonsense-secret-xyz"])
    assert "secret" not in str(refused.value)


def test_the_dead_mans_heartbeat_calls_outside(webhook: tuple[str, list[str]]) -> None:
    """It answers whether the outside heard it; a dead address is False, a wrong one is refused."""
    address, bodies = webhook
    assert dead_mans_heartbeat(f"http://{address}/ping") is True and bodies == ["/ping"]
    assert dead_mans_heartbeat("http://127.0.0.1:9/ping", timeout=0.5) is False
    with pytest.raises(BadInput, match="http or https"):
        dead_mans_heartbeat("file:///etc/passwd")

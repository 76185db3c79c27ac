"""Alerts: found in the database, delivered to a real local webhook, never a flood."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.plugins.live_support import EmaCross, Sea
from toolkit.clock import ManualClock, now
from toolkit.errors import BadInput
from toolkit.live.advance import advance
from toolkit.live.outside.alerts import Alert, AlertDesk, AlertLimits, AppriseNotifier, dead_mans_heartbeat, find_alerts
from toolkit.live.stepping.ending import fail
from toolkit.market import Bars


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


def test_the_same_cause_is_told_once_until_it_may_be_repeated() -> None:
    """A second look an hour later stays quiet; after the repeat time it is told again."""
    clock, people = ManualClock(now()), Collector()
    desk = AlertDesk(people, clock)
    alert = Alert("error:1", "error", "t", "b")
    desk.tell([alert])
    clock.advance(3_600)
    desk.tell([alert])
    assert len(people.seen) == 1
    clock.advance(6 * 3_600)
    desk.tell([alert])
    assert len(people.seen) == 2


def test_what_did_not_arrive_is_tried_again() -> None:
    """A notifier that fails does not use the alert up."""
    people = Collector()
    people.works = False
    desk = AlertDesk(people, ManualClock(now()))
    assert desk.tell([Alert("a", "error", "t", "b")]) == []
    people.works = True
    assert len(desk.tell([Alert("a", "error", "t", "b")])) == 1


def test_a_flood_is_cut_and_said() -> None:
    """Not more than the hourly limit leaves, and the last one says so."""
    people = Collector()
    desk = AlertDesk(people, ManualClock(now()), AlertLimits(per_hour=3))
    desk.tell(Alert(str(n), "warning", "t", "b") for n in range(50))
    assert len(people.seen) == 3 and "no more alerts" in people.seen[-1].body


def test_alerts_reach_a_local_webhook(webhook: tuple[str, list[str]]) -> None:
    """Apprise posts title and body."""
    pytest.importorskip("apprise")
    address, bodies = webhook
    desk = AlertDesk(AppriseNotifier([f"json://{address}/hook"]), ManualClock(now()))
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

"""What a worker tells over HTTP, and what happens to an account whose worker goes: on a real Redis."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.plugins.live_support import EmaCross, Sea
from tests.plugins.servers import RedisServer, free_port, wait_until
from toolkit.bootstrap import build
from toolkit.errors import BadInput
from toolkit.live.outside.scrape import may_scrape
from toolkit.market import Bars
from toolkit.settings import Settings
from toolkit.store.sql.models import ExecutionIntent
from toolkit.telemetry.metrics import metric_names
from workers.page import refuse_open_page
from workers.process import WorkerProcess

KEY = "k1:0123456789abcdef0123456789abcdef"


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a worker on Redis that has a page."""
    named: dict[str, Any] = {"home": tmp_path / "home", "gateway": "redis", "redis_url": redis_url, "signing_key": KEY}
    return Settings(_env_file=None, quote_interval_seconds=0.2, metrics_port=free_port(), **named)  # type: ignore[call-arg]


@pytest.fixture
def bus_sea(settings: Settings) -> Iterator[Sea]:
    """The notebook's side."""
    engine = build(settings)
    yield Sea(engine)
    engine.close()


@pytest.fixture
def start_worker() -> Iterator[Callable[[Settings], WorkerProcess]]:
    """Start workers in this process; they are stopped at the end."""
    started: list[WorkerProcess] = []

    def start(settings: Settings) -> WorkerProcess:
        started.append(WorkerProcess(settings, (), "redis"))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.stop()


def read(port: int, path: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def counted(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Return the samples of a metric by their labels."""
    from prometheus_client.parser import text_string_to_metric_families

    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_the_counts_on_the_redis_workers_page_are_those_of_the_database(
    settings: Settings, bus_sea: Sea, start_worker: Callable[[Settings], WorkerProcess], some_bars: Bars
) -> None:
    """After a run every intent is counted once under its state, was sent once, waited and was answered; no id is shown."""
    account = bus_sea.account()
    run = bus_sea.run(bus_sea.version(EmaCross(), some_bars), account, some_bars[:300], host="workers", capital=10_000)
    start_worker(settings)
    wait_until(lambda: bus_sea.read(run).status in ("STOPPED", "ERROR"), "the end of the run", 120)
    assert bus_sea.read(run).last_error == ""
    _, text = read(settings.metrics_port, "/metrics")
    with bus_sea.engine.work(write=False) as work:
        table = ExecutionIntent.__table__
        query = select(table.c.action, table.c.state, func.count()).group_by(table.c.action, table.c.state)
        in_rows = {(("action", a), ("state", s)): float(n) for a, s, n in work.connection.execute(query)}
    assert len(in_rows) >= 2
    assert counted(text, "seatrial_intents_total") == in_rows
    sent = counted(text, "seatrial_sends_total")
    total = sum(in_rows.values())
    assert sum(sent.values()) == total
    assert sum(counted(text, "seatrial_signal_to_send_seconds_count").values()) == total
    # at least once: relay and step may both hand over the same pointer, and the second finds nothing to do
    assert sum(counted(text, "seatrial_pointers_published_total").values()) >= total
    assert counted(text, "seatrial_bars_total") == {(("timeframe", "H1"),): 300.0}
    assert counted(text, "seatrial_accounts_held") == {(): 1.0}
    assert counted(text, "seatrial_runs_now")[(("status", "STOPPED"),)] == 1.0
    for secret in (account.name, str(account.account_id), str(run.live_run_id)):
        assert secret not in text
    shown = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert {name for name in shown if not name.endswith("_created")} <= metric_names()


def test_health_tells_what_is_away_and_nothing_else(
    settings: Settings, bus_sea: Sea, start_worker: Callable[[Settings], WorkerProcess], redis_server: RedisServer
) -> None:
    """Alive stays alive while Redis is down, ready does not; both come back with it."""
    start_worker(settings)
    port = settings.metrics_port
    assert (read(port, "/healthz")[0], read(port, "/readyz")[0]) == (200, 200)
    redis_server.kill()
    try:
        assert read(port, "/healthz")[0] == 200
        status, said = read(port, "/readyz")
        assert (status, json.loads(said)["message_broker"]) == (503, "ConnectionError")
        assert read(port, "/metrics")[0] == 200
    finally:
        redis_server.start()
    wait_until(lambda: read(port, "/readyz")[0] == 200, "ready again")
    assert read(port, "/else")[0] == 404


def test_with_a_token_nobody_reads_without_it(
    settings: Settings, bus_sea: Sea, start_worker: Callable[[Settings], WorkerProcess]
) -> None:
    """A token is asked of everybody, this host included."""
    changed = settings.model_copy(update={"metrics_token": type(settings.metrics_token)("long token")})
    start_worker(changed)
    port = settings.metrics_port
    assert [read(port, path)[0] for path in ("/metrics", "/healthz", "/readyz")] == [403, 403, 403]
    assert read(port, "/metrics", Authorization="Bearer long token")[0] == 200
    assert read(port, "/metrics", Authorization="Bearer other")[0] == 403


def test_an_open_address_without_a_token_is_refused(settings: Settings) -> None:
    """A worker does not tell the whole network how it stands."""
    with pytest.raises(BadInput, match="SEATRIAL_METRICS_ADDRESS must be a loopback address"):
        refuse_open_page(settings.model_copy(update={"metrics_address": "0.0.0.0"}))


def test_who_may_scrape() -> None:
    """Only this host without a token, and what a proxy forwards is not this host."""
    assert may_scrape("127.0.0.1", "", "")
    assert may_scrape("::1", "", "")
    assert not may_scrape("127.0.0.1", "", "", forwarded=True)
    assert not may_scrape("192.0.2.7", "", "")
    assert not may_scrape("nonsense", "", "")
    assert may_scrape("192.0.2.7", "Bearer t", "t", forwarded=True)


def test_a_run_moves_to_another_worker_when_its_own_stops_restart(
    settings: Settings, bus_sea: Sea, start_worker: Callable[[Settings], WorkerProcess], some_bars: Bars
) -> None:
    """Two workers are told the same account: one serves it, the other stands by, and takes it over within seconds."""
    run = bus_sea.run(
        bus_sea.version(EmaCross(), some_bars), bus_sea.account(), some_bars, host="workers", capital=10_000
    )
    first = start_worker(settings)
    wait_until(lambda: len(first.roster.serving()) == 1, "the first worker serves it")
    second = start_worker(settings.model_copy(update={"metrics_port": free_port()}))
    wait_until(lambda: bus_sea.read(run).intents_count >= 3, "three intents")
    assert second.roster.serving() == ()
    begun = time.monotonic()
    first.stop()
    wait_until(lambda: len(second.roster.serving()) == 1, "the second worker serves it", 10)
    at_takeover = bus_sea.read(run).intents_count
    wait_until(lambda: bus_sea.read(run).intents_count > at_takeover, "the run goes on", 10)
    assert time.monotonic() - begun < 20
    wait_until(lambda: bus_sea.read(run).status in ("STOPPED", "ERROR"), "the end of the run", 120)
    assert bus_sea.read(run).last_error == ""

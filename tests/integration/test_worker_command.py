"""``seatrial worker``, ``gateway`` and ``dlq`` as an operator uses them: real processes on a real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dramatiq
import psutil
import pytest

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from toolkit.bootstrap import build
from toolkit.gateways.dramatiq_bus import EXECUTE_ACTOR
from toolkit.gateways.message_brokers import BlockingRedisBroker, intent_queue
from toolkit.market import Bars
from toolkit.research.comparison import normalise_all
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount

KEY = "k1:0123456789abcdef0123456789abcdef"
DEADLINE = 180.0


@pytest.fixture
def environment(tmp_path: Path, redis_url: str) -> dict[str, str]:
    """The environment of an installation whose accounts trade over Redis."""
    named = {"HOME": str(tmp_path / "home"), "GATEWAY": "redis", "REDIS_URL": redis_url, "SIGNING_KEY": KEY}
    named |= {"LEASE_SECONDS": "6", "QUOTE_INTERVAL_SECONDS": "0.2"}
    return {**os.environ, **{f"SEATRIAL_{name}": value for name, value in named.items()}}


@pytest.fixture
def bus_sea(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Sea]:
    """The notebook's side of that installation."""
    for name, value in environment.items():
        if name.startswith("SEATRIAL_"):
            monkeypatch.setenv(name, value)
    engine = build(Settings(_env_file=None))  # type: ignore[call-arg]
    yield Sea(engine)
    engine.close()


def seatrial(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from toolkit.cli import main; main()", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


def test_a_run_survives_kill_9_of_its_redis_worker_restart(
    bus_sea: Sea, environment: dict[str, str], some_bars: Bars
) -> None:
    """The supervisor starts a killed worker again, the run goes on, and its trades are the backtest's."""
    account = bus_sea.account()
    run = bus_sea.run(bus_sea.version(EmaCross(), some_bars), account, some_bars, host="workers", capital=10_000)
    command = [sys.executable, "-c", "from toolkit.cli import main; main()", "worker"]
    supervisor = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        killed = 0
        for intents in (3, 12):
            wait_for(lambda wanted=intents: bus_sea.read(run).intents_count >= wanted, f"{intents} intents")
            for child in psutil.Process(supervisor.pid).children():
                child.kill()
                killed += 1
        wait_for(lambda: bus_sea.read(run).status in ("STOPPED", "ERROR"), "the end of the run")
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0
    finally:
        if supervisor.poll() is None:
            supervisor.kill()
    assert killed == 2
    ended = bus_sea.read(run)
    assert (ended.status, ended.last_error) == ("STOPPED", "")
    terms = PaperAccount(currency="USD", balance=10_000, leverage=30)
    assert bus_sea.trades(run) == normalise_all(tk.backtest(EmaCross(), some_bars, account=terms).trade_records)


def test_a_dead_letter_on_redis_is_listed_and_removed(bus_sea: Sea, environment: dict[str, str]) -> None:
    """``seatrial dlq`` shows a dead letter and removes it once it has been dealt with."""
    account = bus_sea.account()
    queue = intent_queue(account.account_id)
    broker = BlockingRedisBroker(environment["SEATRIAL_REDIS_URL"])
    broker.declare_queue(queue)
    sent = broker.enqueue(
        dramatiq.Message(queue_name=queue, actor_name=EXECUTE_ACTOR, args=("nonsense",), kwargs={}, options={})
    )
    broker.do_fetch(queue, 1)
    broker.do_nack(queue, sent.options["redis_message_id"])
    listed = seatrial(environment, "dlq", "list", "paper-1")
    assert sent.message_id[:8] in listed.stdout, listed.stderr
    replayed = seatrial(environment, "dlq", "replay", "paper-1", sent.message_id)
    assert "needs nothing any more" in replayed.stdout, replayed.stderr
    assert "no dead letters" in seatrial(environment, "dlq", "list", "paper-1").stdout


def test_the_gateway_command_changes_the_row_and_refuses_what_is_not_one(
    bus_sea: Sea, environment: dict[str, str]
) -> None:
    """``seatrial gateway set`` flips an account; a misspelt gateway is refused with the list."""
    bus_sea.account()
    assert "paper-1: redis -> local" in seatrial(environment, "gateway", "set", "paper-1", "local").stdout
    assert "paper-1: local" in seatrial(environment, "gateway", "show", "paper-1").stdout
    refused = seatrial(environment, "gateway", "set", "paper-1", "pigeon")
    assert refused.returncode == 2
    assert "gateway must be one of local, redis, rabbitmq, kafka, was 'pigeon'" in refused.stderr

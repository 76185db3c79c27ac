"""Workers on real message brokers: runs traded over a bus equal their backtests, and nothing foreign is executed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import toolkit as tk
from tests.plugins.live_support import Donchian, EmaCross, RsiReversal, Sea
from tests.plugins.servers import bus_settings, send_pointer, wait_until
from toolkit.bootstrap import build, venue_path
from toolkit.clock import now
from toolkit.errors import BadInput, RunError
from toolkit.gateways.envelope import KeyRing, Pointer, seal
from toolkit.live.advance import advance
from toolkit.live.cutover import set_gateway
from toolkit.live.outside.dead_letters import list_dead_letters
from toolkit.market import Bars
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.research.comparison import normalise_all
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.audit import first_broken_row
from toolkit.store.runs import RunRecord
from workers.process import WorkerProcess

DEADLINE = 120.0
KEY = "k1:0123456789abcdef0123456789abcdef"


@pytest.fixture(params=["redis", "rabbitmq", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each message broker."""
    return str(request.param)


@pytest.fixture
def settings(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a host whose accounts trade through the message broker."""
    url = request.getfixturevalue(f"{kind}_url")
    named: dict[str, Any] = {"home": tmp_path / "home", "gateway": kind, "signing_key": KEY} | bus_settings(kind, url)
    return Settings(_env_file=None, quote_interval_seconds=0.2, **named)  # type: ignore[call-arg]


@pytest.fixture
def bus_sea(settings: Settings) -> Iterator[Sea]:
    """The notebook's side: promotes and starts, never opens the platform."""
    engine = build(settings)
    yield Sea(engine)
    engine.close()


@pytest.fixture
def start_worker(settings: Settings, kind: str) -> Iterator[Callable[..., WorkerProcess]]:
    """Start workers in this process; they are stopped at the end."""
    started: list[WorkerProcess] = []

    def start(*names: str) -> WorkerProcess:
        process = WorkerProcess(settings, names, kind)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.stop()


def wait_for_end(sea: Sea, *runs: RunRecord) -> list[RunRecord]:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        read = [sea.read(run) for run in runs]
        if all(run.status in ("STOPPED", "ERROR") for run in read):
            return read
        time.sleep(0.1)
    raise TimeoutError(f"runs still {[run.status for run in read]} after {DEADLINE} s")


def expected(strategy: Any, bars: Bars) -> list[Any]:
    terms = PaperAccount(currency="USD", balance=10_000, leverage=30)
    return normalise_all(tk.backtest(strategy, bars, account=terms).trade_records)


def test_a_run_over_a_bus_equals_its_backtest(
    bus_sea: Sea, start_worker: Callable[..., WorkerProcess], some_bars: Bars, settings: Settings
) -> None:
    """A worker hosts the run, every order travels over the message broker, and the trades are the backtest's."""
    account = bus_sea.account()
    run = bus_sea.run(bus_sea.version(EmaCross(), some_bars), account, some_bars, host="workers", capital=10_000)
    worker = start_worker()
    (ended,) = wait_for_end(bus_sea, run)
    assert (ended.status, ended.last_error) == ("STOPPED", "")
    assert bus_sea.trades(run) == expected(EmaCross(), some_bars)
    worker.stop()
    venue = SimulatedPlatform(venue_path(settings.home, account.account_id), PaperAccount("USD", 10_000, leverage=30))
    assert venue.duplicate_orders() == 0
    venue.close()


def test_runs_of_several_accounts_and_one_shared_account_equal_their_backtests(
    bus_sea: Sea, start_worker: Callable[..., WorkerProcess], some_bars: Bars
) -> None:
    """Three strategies on two accounts, two of them sharing one, each with its own capital: each equals its backtest."""
    shared, alone = bus_sea.account("shared"), bus_sea.account("alone")
    strategies = [(EmaCross(), shared), (RsiReversal(), shared), (Donchian(), alone)]
    runs = [
        bus_sea.run(bus_sea.version(strategy, some_bars), account, some_bars, host="workers", capital=10_000)
        for strategy, account in strategies
    ]
    start_worker()
    ended = wait_for_end(bus_sea, *runs)
    assert [run.last_error for run in ended] == ["", "", ""]
    for run, (strategy, _) in zip(runs, strategies, strict=True):
        assert bus_sea.trades(run) == expected(strategy, some_bars)


@pytest.mark.parametrize("why", ["forged", "foreign", "unknown_intent"])
def test_a_message_that_is_not_ours_is_a_dead_letter_and_audited(
    why: str, bus_sea: Sea, start_worker: Callable[..., WorkerProcess], kind: str
) -> None:
    """A forged, foreign or invented pointer is refused, audited and kept for an operator; nothing is executed."""
    account = bus_sea.account()
    worker = start_worker()
    from uuid import uuid4

    ring = KeyRing.parse(KEY if why != "forged" else "k1:another secret of 32 bytes long")
    target = uuid4() if why == "foreign" else account.account_id
    sealed = seal(Pointer(uuid4(), target, "x" * 64, now()), ring)
    wait_until(lambda: len(worker.roster.serving()) == 1, "the worker serves the account")
    send_pointer(worker, kind, account.account_id, sealed)
    engine = bus_sea.engine
    wait_until(lambda: bool(list_dead_letters(engine, engine.principal, account.account_id)), "a dead letter")
    (letter,) = list_dead_letters(engine, engine.principal, account.account_id)
    assert not letter.replayable
    with bus_sea.engine.work(write=False) as work:
        found = work.connection.exec_driver_sql("SELECT subject FROM audit WHERE action = 'message.refused'").fetchall()
        assert [row[0] for row in found] == [why]
        assert first_broken_row(work.connection) is None


def test_a_worker_without_a_signing_key_refuses_to_start(settings: Settings, kind: str) -> None:
    """A message broker needs a signing key."""
    from pydantic import SecretStr

    with pytest.raises(BadInput, match="SEATRIAL_SIGNING_KEY must be set"):
        WorkerProcess(settings.model_copy(update={"signing_key": SecretStr("")}), (), kind)


def test_a_worker_told_to_serve_an_account_of_another_gateway_refuses_to_start(
    settings: Settings, kind: str, bus_sea: Sea, start_worker: Callable[..., WorkerProcess]
) -> None:
    """A worker named an account whose row says another gateway, says how to change that."""
    account = bus_sea.account()
    set_gateway(bus_sea.engine, bus_sea.engine.principal, account.account_id, "local")
    with pytest.raises(RunError, match=f"seatrial gateway set paper-1 {kind}"):
        WorkerProcess(settings, ("paper-1",), kind)
    start_worker()  # told no names, it serves what is its gateway's, whatever else there is


def test_a_cutover_to_local_and_back_in_the_middle_of_a_run_changes_no_trade(
    bus_sea: Sea, start_worker: Callable[..., WorkerProcess], some_bars: Bars, kind: str
) -> None:
    """A run goes from the bus to the local gateway and back with intents under way; its trades stay the backtest's."""
    account = bus_sea.account()
    run = bus_sea.run(bus_sea.version(EmaCross(), some_bars), account, some_bars, host="workers", capital=10_000)
    start_worker()
    deadline = time.monotonic() + DEADLINE
    while bus_sea.read(run).intents_count < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    owner = bus_sea.engine.principal
    set_gateway(bus_sea.engine, owner, account.account_id, "local")
    at_cutover = bus_sea.read(run).intents_count
    while bus_sea.read(run).intents_count < at_cutover + 4 and time.monotonic() < deadline:
        if advance(bus_sea.engine, run.live_run_id, account.account_id).waiting:
            time.sleep(0.02)  # the worker has not given the venue up yet
    assert bus_sea.read(run).intents_count >= at_cutover + 4
    set_gateway(bus_sea.engine, owner, account.account_id, kind)
    (ended,) = wait_for_end(bus_sea, run)
    assert (ended.status, ended.last_error) == ("STOPPED", "")
    assert bus_sea.trades(run) == expected(EmaCross(), some_bars)

"""Two hosts over one database and one message broker: their locks do not see each other, the lease alone keeps them apart."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.plugins.servers import wait_until
from toolkit import clock
from toolkit.bootstrap import build
from toolkit.errors import LeaseLost
from toolkit.execution.builder import build_trade_request
from toolkit.execution.idempotency import ai_key, signal_fingerprint
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.submit import make_entry, submit
from toolkit.live.engine import Engine
from toolkit.live.opening.paper_accounts import open_paper_account
from toolkit.market import Quote, Rate, Side
from toolkit.market.instruments import find_instrument
from toolkit.platforms.file_lock import FileLock
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.intents import SqlTransaction
from workers import process
from workers.process import WorkerProcess

KEY = "k1:0123456789abcdef0123456789abcdef"
LEASE_SECONDS = 3.0
TERMS = PaperAccount(currency="USD", balance=1_000_000)
EURUSD = find_instrument("EURUSD")
AT = clock.from_ns(1_500_000_000 * 1_000_000_000)


class Killed(BaseException):
    """Ends a call as a kill would: nothing that handles errors sees it."""


class Session:
    """A session of a platform somewhere else, which any host can reach; only the host's own lock file guards it."""

    def __init__(self, venue: SimulatedPlatform, locks: Path) -> None:
        self.name = venue.name
        self._venue = venue
        self._lock = FileLock(locks / "session.lock", "the session")

    def connect(self) -> Any:
        self._lock.acquire()
        return self._venue.book().account

    def close(self) -> None:
        self._lock.release()

    def __getattr__(self, name: str) -> Any:
        if name == "has_received":  # a real platform cannot say what it never received
            raise AttributeError(name)
        return getattr(self._venue, name)


@dataclass
class Hosts:
    """The venue, and how a host builds its engine."""

    venue: SimulatedPlatform
    settings: Callable[[str], Settings]
    monkeypatch: pytest.MonkeyPatch

    def overrides(self) -> dict[str, Any]:
        """Open sessions of the far venue."""
        return {"open_platform": {"simulated": lambda _account, s: Session(self.venue, s.home / "locks")}}

    def build(self, host: str, **more: Any) -> Engine:
        """Build the engine of a process of that host."""
        self.monkeypatch.setattr(socket, "gethostname", lambda: host)
        settings = more.pop("settings", None) or self.settings(host)
        return build(settings, **self.overrides(), **more)


@pytest.fixture
def hosts(tmp_path: Path, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two hosts can be built by name; each has its own folder, so its own locks."""
    venue = SimulatedPlatform(tmp_path / "far" / "venue.db", TERMS, [EURUSD])
    venue.connect()
    venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), AT)

    def settings(host: str) -> Settings:
        named: dict[str, Any] = {
            "home": tmp_path / host, "database_url": postgres_url, "gateway": "redis", "redis_url": redis_url,
            "signing_key": KEY, "lease_seconds": LEASE_SECONDS, "quote_interval_seconds": 0.1,
        }  # fmt: skip
        return Settings(_env_file=None, **named)  # type: ignore[call-arg]

    (tmp_path / "far").mkdir(exist_ok=True)
    yield Hosts(venue, settings, monkeypatch)
    venue.close()


def put_entry(engine: Engine, account_id: UUID) -> UUID:
    key = ai_key(account_id=account_id, source="test", signal_id="1", action="OPEN_TRADE")
    built = build_trade_request(
        account_id=account_id, instrument=EURUSD, quote=Quote("1.10000", "1.10010", AT), side=Side.BUY,
        equity=Decimal(1_000_000), quote_to_account=Rate.ONE, stop_loss=Decimal("1.09810"),
        take_profit=Decimal("1.10400"), risk_percent=Decimal("0.1"), idempotency_key=key,
    )  # fmt: skip
    intent = make_entry(
        built, key=key, fingerprint=signal_fingerprint("test", {}), principal=engine.service, now=engine.now()
    )
    with engine.work(engine.service) as work:
        submit(SqlTransaction(work), intent, engine.service)
        work.commit()
    return intent.intent_id


def read(engine: Engine, intent_id: UUID) -> IntentRecord:
    with engine.store.begin(engine.service, write=False) as work:
        intent = work.intent(intent_id)
    assert intent is not None
    return intent


@pytest.mark.parametrize("point", ["FP2_claimed", "FP5_answered"])
def test_a_redis_worker_of_another_host_takes_an_account_over_when_the_lease_has_run_out_restart_ownership(
    hosts: Hosts, point: str
) -> None:
    """Not before, though its own lock is free; then it settles what was half-way, and the first host sends nothing more."""

    def die(name: str) -> None:
        if name == point:
            raise Killed

    first = hosts.build("host-a", failpoint=die, make_gateways={"redis": lambda *_: None})
    account = open_paper_account(first, "paper-1", TERMS)
    intent = put_entry(first, account.account_id)
    desk = first.desk(account.account_id)
    with pytest.raises(Killed):
        desk.service.execute(intent)
    died = time.monotonic()
    assert read(first, intent).state is (IntentState.CLAIMED if point == "FP2_claimed" else IntentState.SENDING)

    second = hosts.build("host-b", make_gateways={"redis": lambda *_: None})
    with pytest.raises(LeaseLost, match="is held by host-a"):
        second.desk(account.account_id)
    second.close()
    hosts.monkeypatch.setattr(
        process, "build", lambda settings, **more: hosts.build("host-b", settings=settings, **more)
    )
    worker = WorkerProcess(hosts.settings("host-b"), ["paper-1"], "redis")
    worker.start()
    try:
        wait_until(lambda: bool(worker.roster.serving()), "the other host has the account", 30)
        waited = time.monotonic() - died
        wait_until(lambda: read(first, intent).state is IntentState.FILLED, "the intent is carried out", 30)
        assert LEASE_SECONDS * 0.5 < waited < LEASE_SECONDS + 10
        with pytest.raises(LeaseLost):
            desk.service.reconcile()
        with pytest.raises(LeaseLost):
            desk.service.execute(intent)
        assert len(hosts.venue.book().positions) == 1
        assert hosts.venue.duplicate_orders() == 0
    finally:
        worker.stop()
        first.close()


def test_a_paper_journal_of_another_host_does_not_end_a_live_lease_ownership(hosts: Hosts) -> None:
    """Its own journal is free there and proves nothing: the account stays with the host that holds the lease."""

    def engine_on(host: str) -> Engine:
        hosts.monkeypatch.setattr(socket, "gethostname", lambda: host)
        return build(hosts.settings(host), make_gateways={"redis": lambda *_: None})

    first, second, third = engine_on("host-a"), engine_on("host-b"), engine_on("host-a")
    try:
        account = open_paper_account(first, "paper-1", TERMS)
        held = first.desk(account.account_id).service.lease.held
        with pytest.raises(LeaseLost, match="is held by host-a"):
            second.desk(account.account_id)
        assert first.desk(account.account_id).service.lease.ensure(1) == held
        first.desk(account.account_id).platform.close()  # as a kill: its lock is free, its lease is not given back
        assert third.desk(account.account_id).service.lease.held is not None
    finally:
        for engine in (second, third, first):
            engine.close()

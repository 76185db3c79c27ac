"""From a durable signal to the platform over a message broker, with PostgreSQL: latency from idle, and throughput.

Part of ``python tests/benchmarks/bus.py``. *Latency*: one worker process holds a paper account; every 2 to 4 s an intent is
committed and handed to the gateway, as `advance` does, and the time runs from the return of that commit to the first line of
the platform's ``send``. *Throughput*: a backlog of intents of ten accounts in the outbox, executed by two worker processes;
the time runs from the first claimed to the last filled.
"""

from __future__ import annotations

import random
import sys
import time
from decimal import Decimal
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import psutil
from sqlalchemy import func, select
from worker_nest import WorkerNest

from tests.plugins.servers import bus_settings
from toolkit import clock
from toolkit.bootstrap import build, venue_path
from toolkit.execution.builder import build_trade_request
from toolkit.execution.idempotency import ai_key, signal_fingerprint
from toolkit.execution.ledger.submit import make_entry, submit
from toolkit.live.engine import Engine
from toolkit.live.opening.paper_accounts import open_paper_account
from toolkit.market import Quote, Rate, Side
from toolkit.market.instruments import find_instrument
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.intents import SqlTransaction
from toolkit.store.people.accounts import AccountRecord
from toolkit.store.sql.models import ExecutionIntent, IntentEvent

KEY = "k1:0123456789abcdef0123456789abcdef"
EURUSD = find_instrument("EURUSD")
EQUITY = Decimal(100_000_000)
START = clock.from_ns(1_500_000_000 * 1_000_000_000)


def settings_for(bus: str, server_url: str, home: Path, database_url: str) -> dict[str, str]:
    """Return the SEATRIAL_ variables of an installation on that message broker."""
    named = {"home": str(home), "gateway": bus, "signing_key": KEY, "database_url": database_url}
    named |= bus_settings(bus, server_url)
    return {f"SEATRIAL_{name.upper()}": value for name, value in named.items()}


def open_engine(named: dict[str, str]) -> Engine:
    """Build the notebook's side."""
    fields: dict[str, Any] = {name.removeprefix("SEATRIAL_").lower(): value for name, value in named.items()}
    return build(Settings(_env_file=None, **fields))  # type: ignore[call-arg]


def quoted_account(engine: Engine, name: str) -> AccountRecord:
    """Open a paper account whose venue has a price."""
    terms = PaperAccount(currency="USD", balance=100_000_000, leverage=500)
    account = open_paper_account(engine, name, terms)
    path = venue_path(engine.settings.home, account.account_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    venue = SimulatedPlatform(path, terms, [EURUSD], login=account.login or None, server=account.server or "paper")
    venue.connect()
    venue.push_quote("EURUSD", "1.10000", "1.10010", START)
    venue.close()
    return account


def put_intent(engine: Engine, account: AccountRecord, number: str) -> UUID:
    """Commit one entry with its outbox row, as a run does, and return its id."""
    words = {"n": number}
    key = ai_key(account_id=account.account_id, source="bench", signal_id=number, action="OPEN_TRADE")
    built = build_trade_request(
        account_id=account.account_id, instrument=EURUSD, quote=Quote("1.10000", "1.10010", START), side=Side.BUY,
        equity=EQUITY, quote_to_account=Rate.ONE, stop_loss=Decimal("1.09810"), take_profit=Decimal("1.10400"),
        risk_percent=Decimal("0.001"), idempotency_key=key,
    )  # fmt: skip
    intent = make_entry(
        built, key=key, fingerprint=signal_fingerprint("bench", words), principal=engine.service, now=engine.now()
    )
    with engine.work(engine.service) as work:
        submit(SqlTransaction(work), intent, engine.service)
        work.commit()
    return intent.intent_id


def latency_rig(bus: str, server_url: str, home: Path, database_url: str) -> LatencyRig:
    """Return a rig that holds one account."""
    return LatencyRig(bus, settings_for(bus, server_url, home, database_url))


class LatencyRig:
    """A worker of this process with one account, and a way to time one signal through it."""

    def __init__(self, bus: str, named: dict[str, str]) -> None:
        from workers.process import WorkerProcess

        self.name = bus
        self.ms: list[float] = []
        self._called_ns = 0
        engine = open_engine(named)
        self._account = quoted_account(engine, f"latency-{bus}")
        engine.close()
        fields: dict[str, Any] = {name.removeprefix("SEATRIAL_").lower(): value for name, value in named.items()}
        settings = Settings(_env_file=None, **fields)  # type: ignore[call-arg]
        self._worker = WorkerProcess(settings, [self._account.name], bus)
        self._worker.start()
        self._until(lambda: bool(self._worker.roster.serving()))
        desk = self._worker.engine.desk(self._account.account_id)
        self._desk = desk
        send = desk.platform.send

        def timed(command: Any) -> Any:
            self._called_ns = time.perf_counter_ns()
            return send(command)

        desk.platform.send = timed  # type: ignore[method-assign]
        for n in range(5):
            self.one(f"warm-{n}")
        self.ms.clear()

    def one(self, number: str) -> None:
        """Commit one signal, hand it to the gateway, and note the time until the platform was called."""
        self._called_ns = 0
        put_intent(self._worker.engine, self._account, f"{self.name}-{number}")
        durable = time.perf_counter_ns()
        self._desk.gateway.deliver(self._account.account_id)
        self._until(lambda: self._called_ns > 0)
        self.ms.append((self._called_ns - durable) / 1e6)
        time.sleep(0.05)  # let the fill be recorded

    def close(self) -> None:
        """Stop the worker."""
        self._worker.stop()

    @staticmethod
    def _until(condition: Any) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("no answer within 30 s")
            time.sleep(0.0005)


def figures_of(rig: LatencyRig) -> dict[str, float]:
    """Return the rig's quantiles."""
    return {
        f"{rig.name}_signal_to_platform_p50_ms": round(median(rig.ms), 2),
        f"{rig.name}_signal_to_platform_p99_ms": round(quantiles(rig.ms, n=100, method="inclusive")[98], 2),
    }


def wait_idle(rng: random.Random) -> None:
    """Let everything fall asleep."""
    time.sleep(rng.uniform(2.0, 4.0))


def throughput(
    bus: str,
    server_url: str,
    folder: Path,
    database_url: str,
    *,
    accounts: int = 10,
    intents: int = 60,
    workers: int = 2,
) -> dict[str, float]:
    """Execute a backlog and return intents per second, end to end, and the size of a worker."""
    named = settings_for(bus, server_url, folder / "home", database_url)
    engine = open_engine(named)
    nest = WorkerNest(named, folder)
    pids: list[int] = []
    try:
        made = [quoted_account(engine, f"rate-{bus}-{n}") for n in range(accounts)]
        for n in range(intents):
            for account in made:
                put_intent(engine, account, f"rate-{n}")
        ids = [account.account_id for account in made]
        names = [account.name for account in made]
        told = [
            [] if bus == "kafka" else names[n::workers] for n in range(workers)
        ]  # one group serves the same accounts
        pids = [nest.start(bus, told[n]) for n in range(workers)]
        deadline = time.monotonic() + 600
        while _filled(engine, ids) < accounts * intents:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{_filled(engine, ids)} of {accounts * intents} intents filled")
            time.sleep(0.2)
        seconds = _span(engine, ids)
        rss = max(psutil.Process(pid).memory_info().rss for pid in pids) / 1e6
    finally:
        for pid in pids:
            psutil.Process(pid).kill()
        nest.close()
        engine.close()
    return {f"{bus}_intents_per_s": round(accounts * intents / seconds, 1), f"{bus}_worker_rss_mb": round(rss)}


def _filled(engine: Engine, accounts: list[UUID]) -> int:
    t = ExecutionIntent.__table__.c
    query = select(func.count()).where(t.account_id.in_(accounts), t.state == "FILLED")
    with engine.work(write=False) as work:
        return int(work.connection.execute(query).scalar_one())


def _span(engine: Engine, accounts: list[UUID]) -> float:
    t, e = ExecutionIntent.__table__, IntentEvent.__table__
    query = (
        select(func.min(e.c.at), func.max(e.c.at))
        .join(t, t.c.intent_id == e.c.intent_id)
        .where(t.c.account_id.in_(accounts), e.c.to_state.in_(("CLAIMED", "FILLED")))
    )
    with engine.work(write=False) as work:
        first, last = work.connection.execute(query).one()
    return float((last - first).total_seconds())

"""Real processes, killed with -9 at every failpoint: afterwards each signal is one position, booked once.

The child trades on the paper platform over a database; it kills itself at a named point the n-th time it comes by. A second
child takes over as a restarted worker would. The parent then compares the venue's own book with the store. Run alone with::

    python tests/simulation/process_kills.py --schedules 10 [--database postgresql://...]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

POINTS = (
    "FP0_before_submit",  # the bar has closed, nothing is written
    "FP1_before_claim",
    "FP2_claimed",
    "FP3_sending",
    "FP4_before_send",
    "FP5_answered",
    "FP6_deals_read",
    "FP7_recorded",
    "FP8_submitted",  # the intent is durable, nobody has been told
)
SIGNALS = 3
LEASE_SECONDS = 2.0


def child(url: str, folder: Path, point: str, occurrence: int) -> None:
    """Trade until done, or until the failpoint is met for the n-th time."""
    from dataclasses import replace

    from execution_desk import EURUSD, START, Desk

    from toolkit.clock import SystemClock
    from toolkit.errors import LeaseLost
    from toolkit.execution.intents import Action
    from toolkit.execution.principal import Principal
    from toolkit.execution.trade_service import ServicePolicy, TradeService
    from toolkit.gateways.local import ExecutionGatewayLocal
    from toolkit.market import Quote
    from toolkit.platforms.simulated.platform import SimulatedPlatform
    from toolkit.simulation.account import PaperAccount
    from toolkit.store.engine import make_engine
    from toolkit.store.intents import SqlIntentStore

    left = occurrence

    def failpoint(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    facts = json.loads((folder / "desk.json").read_text())
    from uuid import UUID

    principal = Principal(UUID(facts["user"]), "trader")
    venue = SimulatedPlatform(folder / "venue.db", PaperAccount(currency="USD", balance=1_000_000), {"EURUSD": EURUSD})
    venue.connect()
    moment = max(venue.now(), START) + timedelta(seconds=1)
    venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), moment)
    store = SqlIntentStore(make_engine(url))
    clock = SystemClock()
    service = TradeService(
        venue,
        store,
        clock,
        account_id=UUID(facts["account"]),
        principal=principal,
        worker=f"p{os.getpid()}",
        policy=ServicePolicy(lease_seconds=LEASE_SECONDS, send_budget_seconds=0.5, max_quote_age_seconds=60),
        failpoint=failpoint,
    )
    desk = object.__new__(Desk)
    desk.store, desk.clock, desk.principal = store, clock, principal  # type: ignore[assignment]
    desk.account_id, desk.live_run_id, desk.service = UUID(facts["account"]), UUID(facts["run"]), service
    desk.platform = type("Quoted", (), {"quotes": {"EURUSD": Quote("1.10000", "1.10010", moment)}})()  # type: ignore[assignment]
    desk.ordinal = 0
    end = time.monotonic() + 30
    while True:
        try:
            service.reconcile()
            break
        except LeaseLost:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    gateway = ExecutionGatewayLocal(store, principal, service)
    gateway.deliver(desk.account_id)
    for _ in range(SIGNALS):
        failpoint("FP0_before_submit")
        desk.entry(take_profit=None, risk_percent=Decimal("0.1"))
        failpoint("FP8_submitted")
        gateway.deliver(desk.account_id)
    with desk.read() as work:
        first = work.trades_of_intent(work.intent_by_key(desk.account_id, first_key(desk)).intent_id)[0]
    desk.ordinal = 100
    close = desk.exit(Action.CLOSE_POSITION, first.position_id)
    assert replace(close).action is Action.CLOSE_POSITION
    gateway.deliver(desk.account_id)
    service.reconcile()
    venue.close()
    print("done")


def first_key(desk: Any) -> str:
    """Return the key of the first signal."""
    from execution_desk import START

    from toolkit.execution.idempotency import run_key, signal_fingerprint
    from toolkit.market import Side

    return run_key(
        live_run_id=desk.live_run_id, bar_time=START, symbol="EURUSD", side=Side.BUY, action="OPEN_TRADE", ordinal=1,
        fingerprint=signal_fingerprint("v1", {"n": 1}),
    )  # fmt: skip


def prepare(url: str, folder: Path) -> None:
    """Make the database with one account and one run."""
    from execution_desk import sql_desk

    from toolkit.store.engine import open_database

    engine = open_database(url)
    desk = sql_desk(engine)
    facts = {"user": str(desk.principal.user_id), "account": str(desk.account_id), "run": str(desk.live_run_id)}
    (folder / "desk.json").write_text(json.dumps(facts))
    engine.dispose()


def run_child(url: str, folder: Path, point: str, occurrence: int) -> subprocess.CompletedProcess[str]:
    """Run one child process to its end."""
    command = [sys.executable, __file__, "--child", url, str(folder), point, str(occurrence)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def check(url: str, folder: Path) -> list[str]:
    """Compare the venue's own book with the store; return what is wrong."""
    from execution_desk import EURUSD
    from sqlalchemy import text

    from toolkit.platforms.simulated.platform import SimulatedPlatform
    from toolkit.simulation.account import PaperAccount
    from toolkit.store.engine import make_engine

    wrong: list[str] = []
    venue = SimulatedPlatform(folder / "venue.db", PaperAccount(currency="USD", balance=1_000_000), {"EURUSD": EURUSD})
    venue.connect()
    engine = make_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT intent_id, action || ' ' || state FROM execution_intents"))
        states = {row[0]: row[1] for row in rows}
        links = connection.execute(text("SELECT count(*) FROM live_run_trade_links")).scalar()
        open_ids = set(connection.execute(text("SELECT position_id FROM trades WHERE status = 'open'")).scalars())
    held = {p.position_id for p in venue.book().positions}
    filled = sum(1 for s in states.values() if s == "OPEN_TRADE FILLED")
    if venue.duplicate_orders():
        wrong.append(f"{venue.duplicate_orders()} duplicate orders at the venue")
    if filled != SIGNALS or links != SIGNALS:
        wrong.append(f"{filled} entries filled and {links} links for {SIGNALS} signals: {sorted(states.values())}")
    if held != open_ids or len(held) != SIGNALS - 1:
        wrong.append(f"venue holds {sorted(held)}, store says {sorted(open_ids)}")
    venue.close()
    engine.dispose()
    return wrong


def schedule(url: str, folder: Path, point: str, occurrence: int) -> list[str]:
    """Kill one child at the point, let another finish, compare."""
    prepare(url, folder)
    killed = run_child(url, folder, point, occurrence)
    if killed.returncode != -signal.SIGKILL:
        return [f"the first child was not killed at {point}: {killed.stdout[-200:]} {killed.stderr[-600:]}"]
    finished = run_child(url, folder, "none", 0)
    if finished.returncode != 0:
        return [f"the second child failed: {finished.stderr[-600:]}"]
    return check(url, folder)


def main() -> int:
    """Run many schedules."""
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        child(sys.argv[2], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=10, help="per failpoint")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    violations = kills = 0
    for point in POINTS:
        for _ in range(arguments.schedules):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                wrong = schedule(f"sqlite:///{folder / 'store.db'}", folder, point, rng.randint(1, SIGNALS))
                kills += 1
                for line in wrong:
                    violations += 1
                    print(point, line)
    print(f"{kills} kills, {violations} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main())

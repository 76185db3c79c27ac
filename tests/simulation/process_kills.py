"""Real processes, killed with -9 or stopped past their lease at every failpoint: each signal is one position, booked once.

A worker trades until it meets a named point for the n-th time. There it kills itself (``kill``), or stops itself (``stop``):
then another worker takes the account over and the first one is let go on while the other works, as after a long
pause of a virtual machine. ``kill`` trades on the paper platform in the worker's own process, as in production; ``stop`` on a
venue in a third process that answers over a socket and knows nothing of leases. At the end the venue's own book is compared
with the store. Run alone with::

    python tests/simulation/process_kills.py --schedules 1000 [--mode kill|stop|both] [--database postgresql://...]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from execution_desk import EURUSD, START, Desk, sql_desk
from sqlalchemy import create_engine, make_url, text

from toolkit.clock import SystemClock
from toolkit.errors import LeaseLost, LostRace
from toolkit.execution.idempotency import run_key, signal_fingerprint
from toolkit.execution.intents import Action
from toolkit.execution.principal import Principal
from toolkit.execution.recovery.reconcile import KnowsItsCommands
from toolkit.execution.trade_service import ServicePolicy, TradeService
from toolkit.gateways.local import ExecutionGatewayLocal
from toolkit.market import Quote, Side
from toolkit.platforms.simulated.platform import SimulatedPlatform
from toolkit.simulation.account import PaperAccount
from toolkit.store.intents import SqlIntentStore
from toolkit.store.sql.engine import make_engine, open_database
from toolkit.store.sql.unit_of_work import DatabaseBusy

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
WIRE = "on_the_wire"  # the request is written, its answer not read: only with a venue in another process
MODES = ("kill", "stop")
SIGNALS = 3
LEASE_SECONDS = 3.0
PATIENCE = 60.0  # of every wait
LOST, FAILED = 3, 4  # how a worker ends that met another owner, and one that met something nobody expects


@dataclass(frozen=True)
class Schedule:
    """One story: which database, what happens to the first worker, where, and at which occasion."""

    url: str
    folder: Path
    mode: str
    point: str
    occurrence: int
    seed: int


class Starved(Exception):
    """The machine was so busy that a worker lost its lease before the story began: it has to be told again."""


# ---------------------------------------------------------------- the venue, at the other end of a socket
def open_venue(folder: Path) -> SimulatedPlatform:
    """Open the venue's journal."""
    account = PaperAccount(currency="USD", balance=1_000_000)
    venue = SimulatedPlatform(folder / "venue.db", account, {"EURUSD": EURUSD})
    venue.connect()
    return venue


def serve_venue(folder: Path) -> None:
    """Answer calls of any number of workers, one call at a time, until killed."""
    venue = open_venue(folder)
    with Listener(str(folder / "venue.sock"), family="AF_UNIX") as listener:
        open_ends: list[Any] = [listener._listener._socket]  # type: ignore[attr-defined]  # the only way to wait for both
        (folder / "venue.up").touch()
        while True:
            for ready in wait(open_ends):
                if ready is open_ends[0]:
                    open_ends.append(listener.accept())
                    continue
                assert isinstance(ready, Connection)
                try:
                    name, arguments = ready.recv()
                    try:
                        answer = (True, getattr(venue, name)(*arguments))
                    except Exception as error:  # noqa: BLE001 - handed to the worker
                        answer = (False, error)
                    ready.send(answer)
                except (EOFError, OSError):
                    open_ends.remove(ready)


class FarVenue:
    """A platform session on the other end of the socket; like a real server it cannot say what it never received."""

    name = "simulated"

    def __init__(self, folder: Path, failpoint: Callable[[str], None]) -> None:
        self._line = Client(str(folder / "venue.sock"), family="AF_UNIX")
        self._failpoint = failpoint

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("has_received", "point_value", "conversion_rate", "expect_closes"):
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self._line.send((name, arguments))
            if name == "send":
                self._failpoint(WIRE)
            good, answer = self._line.recv()
            if not good:
                raise answer
            return answer

        return call

    def close(self) -> None:
        """Hang up."""
        self._line.close()


# ---------------------------------------------------------------- a worker
def work(schedule: Schedule, folder: Path, point: str, occurrence: int, *, finish: bool) -> None:
    """Trade until done, or until the point is met for the n-th time; ``finish`` lets the venue's clock run on afterwards."""
    left = occurrence

    def failpoint(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL if schedule.mode == "kill" else signal.SIGSTOP)

    venue: Any = open_venue(folder) if schedule.mode == "kill" else FarVenue(folder, failpoint)
    assert isinstance(venue, KnowsItsCommands) is (schedule.mode == "kill")
    desk = make_desk(schedule.url, folder, venue, failpoint)
    patiently(lambda: desk.service.reconcile())
    gateway = ExecutionGatewayLocal(desk.store, desk.principal, desk.service)
    gateway.deliver(desk.account_id)
    for _ in range(SIGNALS):
        failpoint("FP0_before_submit")
        desk.entry(take_profit=None, risk_percent=Decimal("0.1"))
        failpoint("FP8_submitted")
        gateway.deliver(desk.account_id)
    if finish:  # whatever is still UNKNOWN is resolved or given up before the close is signalled
        settle(desk, venue)
    with desk.read() as work:
        opened = [work.intent_by_key(desk.account_id, key_of(desk, n)) for n in range(1, SIGNALS + 1)]
        trades = [t for i in opened if i is not None for t in work.trades_of_intent(i.intent_id)]
    if trades:
        desk.ordinal = 100
        desk.exit(Action.CLOSE_POSITION, trades[0].position_id)
        gateway.deliver(desk.account_id)
    if finish:
        settle(desk, venue)
        gateway.deliver(desk.account_id)
        desk.service.reconcile()
    venue.close()


def make_desk(url: str, folder: Path, venue: Any, failpoint: Callable[[str], None]) -> Desk:
    """Return the account's desk, with a service of this process."""
    facts = json.loads((folder / "desk.json").read_text())
    desk = object.__new__(Desk)
    desk.store, desk.clock = SqlIntentStore(make_engine(url)), SystemClock()  # type: ignore[assignment]
    desk.principal = Principal(UUID(facts["user"]), "trader")
    desk.account_id, desk.live_run_id = UUID(facts["account"]), UUID(facts["run"])
    desk.service = TradeService(
        venue,
        desk.store,
        desk.clock,
        account_id=desk.account_id,
        principal=desk.principal,
        worker=f"p{os.getpid()}",
        policy=ServicePolicy(lease_seconds=LEASE_SECONDS, send_budget_seconds=0.5, max_quote_age_seconds=60),
        failpoint=failpoint,
    )
    moment = max(venue.now(), START) + timedelta(seconds=1)
    venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), moment)
    desk.platform = type("Quoted", (), {"quotes": {"EURUSD": Quote("1.10000", "1.10010", moment)}})()  # type: ignore[assignment]
    desk.ordinal = 0
    return desk


def settle(desk: Desk, venue: Any) -> None:
    """Let the venue's clock run past every limit and reconcile as often as giving up needs."""
    for _ in range(4):
        venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), venue.now() + timedelta(seconds=250))
        desk.service.reconcile()


def patiently(action: Callable[[], object]) -> None:
    """Wait for the lease of a worker that is gone or stands still."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            action()
        except LeaseLost:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def key_of(desk: Desk, number: int) -> str:
    """Return the key of a signal."""
    return run_key(
        live_run_id=desk.live_run_id, bar_time=START, symbol="EURUSD", side=Side.BUY, action="OPEN_TRADE", ordinal=number,
        fingerprint=signal_fingerprint("v1", {"n": number}),
    )  # fmt: skip


def fork(folder: Path, task: Callable[[], None]) -> int:
    """Run a task in a process of its own; return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = FAILED
    try:
        task()
        code = 0
    except (LeaseLost, LostRace, DatabaseBusy):
        code = LOST
    except BaseException:  # noqa: BLE001 - told to the parent in a file
        (folder / f"failure-{os.getpid()}").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def outcome_of(pid: int, *, stopped_too: bool = False) -> int:
    """Wait for a process to end (or to stop) and return its status; kills it when it takes too long."""
    end = time.monotonic() + PATIENCE
    while True:
        done, status = os.waitpid(pid, os.WNOHANG | (os.WUNTRACED if stopped_too else 0))
        if done:
            return status
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError(f"process {pid} took more than {PATIENCE:.0f} s")
        time.sleep(0.01)


# ---------------------------------------------------------------- one schedule
def live_through(schedule: Schedule) -> list[str]:
    """Live through one schedule; return what is wrong in the end."""
    folder, rng = schedule.folder, random.Random(schedule.seed)
    venue = fork(folder, lambda: serve_venue(folder)) if schedule.mode == "stop" else 0
    try:
        if venue:
            end = time.monotonic() + PATIENCE
            while not (folder / "venue.up").exists():
                if time.monotonic() > end:
                    return ["the venue did not come up"]
                time.sleep(0.01)
        first = fork(folder, lambda: work(schedule, folder, schedule.point, schedule.occurrence, finish=False))
        status = outcome_of(first, stopped_too=True)
        if os.WIFEXITED(status) and os.waitstatus_to_exitcode(status) == LOST:
            raise Starved(schedule.point)
        if schedule.mode == "kill":
            if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
                return [f"the first worker was not killed at {schedule.point}: {failures(folder)}"]
        else:
            if not os.WIFSTOPPED(status):
                return [f"the first worker did not stop at {schedule.point}: {failures(folder)}"]
            second = fork(folder, lambda: work(schedule, folder, "", 0, finish=False))
            time.sleep(LEASE_SECONDS * rng.choice([0.5, 1.02, 1.1, 1.3, 2.0]))
            os.kill(first, signal.SIGCONT)
            for pid in (first, second):
                code = os.waitstatus_to_exitcode(outcome_of(pid))
                if code not in (0, LOST):
                    return [f"a worker ended with {code}: {failures(folder)}"]
        code, tries = LOST, 0
        while code == LOST and tries < 10:  # it takes the account up again, as a worker's next turn would
            tries += 1
            last = fork(folder, lambda: work(schedule, folder, "", 0, finish=True))
            code = os.waitstatus_to_exitcode(outcome_of(last))
        if code != 0:
            return [f"the last worker ended with {code}: {failures(folder)}"]
    finally:
        if venue:
            os.kill(venue, signal.SIGKILL)
            os.waitpid(venue, 0)
    return check(schedule)


def failures(folder: Path) -> str:
    """Return what the processes left behind."""
    return " | ".join(path.read_text()[-900:] for path in sorted(folder.glob("failure-*")))


def check(schedule: Schedule) -> list[str]:
    """Compare the venue's own book with the store; return what is wrong."""
    wrong: list[str] = []
    venue = open_venue(schedule.folder)
    engine = make_engine(schedule.url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT action, state FROM execution_intents"))
            states = Counter(f"{action} {state}" for action, state in rows)
            links = connection.execute(text("SELECT count(*) FROM live_run_trade_links")).scalar()
            trades = connection.execute(text("SELECT count(*) FROM trades")).scalar()
            opened = set(connection.execute(text("SELECT position_id FROM trades WHERE status = 'open'")).scalars())
            told = {
                str(i)
                for i in connection.execute(text("SELECT intent_id FROM run_events WHERE level='error'")).scalars()
            }
            given_up = connection.execute(text("SELECT intent_id FROM execution_intents WHERE state='ABANDONED'"))
            denied = connection.execute(text("SELECT reason FROM execution_intents WHERE state = 'DENIED'")).scalars()
            unresolved = sum(reason == "unresolved_entry" for reason in denied)
            silent = [str(i) for i in given_up.scalars() if str(i) not in told]
        held = {p.position_id for p in venue.book().positions}
        filled = states["OPEN_TRADE FILLED"]
        # Without the venue's word an entry whose worker stood still before the send is given up, never sent again; and while
        # it is UNKNOWN, the run's next entries are denied.
        settled = filled
        if schedule.mode == "stop":
            settled += states["OPEN_TRADE ABANDONED"] + unresolved
        if venue.duplicate_orders():
            wrong.append(f"{venue.duplicate_orders()} duplicate orders at the venue")
        if settled != SIGNALS or sum(n for what, n in states.items() if what.startswith("OPEN")) != SIGNALS:
            wrong.append(f"{SIGNALS} signals ended as {dict(states)}")
        if links != filled or trades != filled or venue.venue.journal.count("positions") < len(held):
            wrong.append(f"{filled} entries filled, {trades} trades, {links} links")
        if held != opened or (filled and len(held) != filled - 1):
            wrong.append(f"venue holds {sorted(held)}, store says {sorted(opened)}")
        if silent:
            wrong.append(f"nobody was told of {silent}")
    finally:
        venue.close()
        engine.dispose()
    return wrong


# ---------------------------------------------------------------- many schedules
class Databases:
    """A migrated database to copy from, on SQLite as a file, on PostgreSQL as a template."""

    def __init__(self, base: str, folder: Path) -> None:
        self._base = base
        self._folder = folder
        self._server = make_url(base) if base else None
        if self._server is None:
            self.template = f"sqlite:///{folder / 'template.db'}"
        else:
            name = f"template_{uuid4().hex[:12]}"
            self._admin(f"CREATE DATABASE {name}")
            self.template = self._named(name)
        engine = open_database(self.template)
        desk = sql_desk(engine)
        facts = {"user": str(desk.principal.user_id), "account": str(desk.account_id), "run": str(desk.live_run_id)}
        (folder / "desk.json").write_text(json.dumps(facts))
        engine.dispose()

    def copy(self, folder: Path) -> str:
        """Return the address of a fresh copy."""
        shutil.copy(self._folder / "desk.json", folder)
        if self._server is None:
            shutil.copy(self._folder / "template.db", folder / "store.db")
            return f"sqlite:///{folder / 'store.db'}"
        name = f"kill_{uuid4().hex[:12]}"
        self._admin(f"CREATE DATABASE {name} TEMPLATE {make_url(self.template).database}")
        return self._named(name)

    def drop(self, url: str) -> None:
        """Take a copy, or the template, away."""
        if self._server is not None:
            self._admin(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _named(self, name: str) -> str:
        assert self._server is not None
        return self._server.set(database=name).render_as_string(hide_password=False)

    def _admin(self, statement: str) -> None:
        assert self._server is not None
        admin = create_engine(self._server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(statement))
        admin.dispose()


def stories(schedules: int, mode: str, seed: int) -> list[tuple[str, str, int, int]]:
    """Return mode, point, occurrence and seed of each schedule: every point of every mode as often as the others."""
    rng = random.Random(seed)
    pairs = [("kill", p) for p in POINTS] if mode in ("kill", "both") else []
    pairs += [("stop", p) for p in (*POINTS, WIRE)] if mode in ("stop", "both") else []
    out = [(*pairs[n % len(pairs)], rng.randint(1, SIGNALS), rng.randrange(2**31)) for n in range(schedules)]
    return sorted(out, key=lambda story: story[3])  # mixed, so that no worker waits for the slow ones alone


def _one(task: tuple[tuple[str, str, int, int], Databases]) -> tuple[str, str, list[str]]:
    for attempt in range(10):
        with contextlib.suppress(Starved):
            return _told(task, attempt)
    return task[0][0], task[0][1], ["the machine was too busy to tell this story"]


def _told(task: tuple[tuple[str, str, int, int], Databases], attempt: int) -> tuple[str, str, list[str]]:
    (mode, point, occurrence, seed), databases = task
    seed += attempt
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = databases.copy(folder)
        try:
            wrong = live_through(Schedule(url, folder, mode, point, occurrence, seed))
        finally:
            with contextlib.suppress(Exception):
                databases.drop(url)
    return mode, point, wrong


def run_many(
    schedules: int, *, mode: str = "both", database: str = "", seed: int = 1, workers: int = 6
) -> tuple[Counter[str], list[str]]:
    """Live through many schedules side by side; return how many of each kind, and every violation in words."""
    counted: Counter[str] = Counter()
    violations: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        databases = Databases(database, Path(name))
        tasks = [(story, databases) for story in stories(schedules, mode, seed)]
        # forked workers, each with one thread: they fork in turn, and everything is imported already
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            for done, point, wrong in pool.imap_unordered(_one, tasks):
                counted[f"{done} {point}"] += 1
                violations += [f"{done} at {point}: {line}" for line in wrong]
        databases.drop(databases.template)
    return counted, violations


def main() -> int:
    """Run many schedules and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=190, help="in all, over modes and points")
    parser.add_argument("--mode", choices=[*MODES, "both"], default="both")
    parser.add_argument("--database", default="", help="a PostgreSQL server's address; SQLite without it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    started = time.monotonic()
    counted, violations = run_many(
        given.schedules, mode=given.mode, database=given.database, seed=given.seed, workers=given.workers
    )
    if given.json:
        print(json.dumps({"counted": counted, "violations": violations}))
    else:
        done = sum(counted.values())
        print(f"{done} schedules in {time.monotonic() - started:.0f} s, {len(violations)} violations")
        print(", ".join(f"{what} {n}" for what, n in sorted(counted.items())))
        for line in violations[:20]:
            print(line)
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main())

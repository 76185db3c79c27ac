"""Chaos on a real message broker: workers, relay and broker are killed, frozen, emptied and lied to while a run trades.

Each schedule is one account with one replay, served by two worker processes, and a few faults drawn from a seed. Afterwards
the trades must be the backtest's, the venue's own journal must hold every order once, and every intent must have an end. The
time from the end of a fault to the run's next change is measured. Run alone with::

    python tests/simulation/bus_chaos.py redis --schedules 300 [--seed 1] [--json]
    python tests/simulation/bus_chaos.py rabbitmq --schedules 300
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import dramatiq
from pika.exceptions import AMQPChannelError
from sqlalchemy import select
from worker_nest import WorkerNest

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from tests.plugins.servers import RabbitServer, RedisServer, _redis_program
from toolkit.bootstrap import build, venue_path
from toolkit.clock import now
from toolkit.gateways.dramatiq_bus import EXECUTE_ACTOR
from toolkit.gateways.envelope import KeyRing, Pointer, seal
from toolkit.gateways.message_brokers import intent_queue, live_queue, make_message_broker
from toolkit.live import live_runs
from toolkit.market import Bars
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.risk.guardrails import Guards
from toolkit.settings import Settings
from toolkit.store.people.accounts import AccountRecord
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import AccountLease, ExecutionIntent, LiveRun, LiveRunTradeLink, Order, RunEvent, Trade

KEY = "k1:0123456789abcdef0123456789abcdef"
LEASE_SECONDS = 3.0
GRACE_SECONDS = {"redis": 10.0, "rabbitmq": 2.0}
END_SECONDS = 120.0
ENDED = {"FILLED", "PARTIAL", "REJECTED", "EXPIRED", "DENIED", "CANCELLED"}
POINTS = (
    "before_publish", "after_publish", "FP1_before_claim", "FP2_claimed", "FP3_sending", "FP4_before_send", "FP5_answered",
    "FP6_deals_read", "FP7_recorded",
)  # fmt: skip


@dataclass
class Outcome:
    """What came of many schedules."""

    schedules: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    intents: int = 0

    def figures(self, bus: str) -> dict[str, Any]:
        """Return the numbers that go into the docs."""
        seconds = sorted(s for _, s in self.recoveries)
        limit = LEASE_SECONDS + GRACE_SECONDS[bus]
        return {
            "bus": bus,
            "schedules": self.schedules,
            "faults": dict(sorted(self.faults.items())),
            "intents": self.intents,
            "violations": len(self.violations),
            "recovery_limit_s": limit,
            "recovery_p50_s": round(seconds[len(seconds) // 2], 2) if seconds else None,
            "recovery_max_s": round(seconds[-1], 2) if seconds else None,
            "recovery_over_limit": sum(s > limit for s in seconds),
            "slowest": [[name, round(s, 2)] for name, s in sorted(self.recoveries, key=lambda r: -r[1])[:5]],
            "load_average": round(os.getloadavg()[0], 1),
        }


class Lane:
    """One message broker, one database, and the strategy that every schedule trades."""

    def __init__(self, bus: str, folder: Path, bars: Bars, database_url: str = "") -> None:
        self.bus = bus
        self.folder = folder
        self.bars = bars
        self.server = self._start_server()
        named = {
            "HOME": str(folder / "home"), "GATEWAY": bus, f"{bus.upper()}_URL": self.server.url, "SIGNING_KEY": KEY,
            "LEASE_SECONDS": str(LEASE_SECONDS), "QUOTE_INTERVAL_SECONDS": "0.2", "DATABASE_URL": database_url,
        }  # fmt: skip
        environment = {f"SEATRIAL_{name}": value for name, value in named.items()}
        self.nest = WorkerNest(environment, folder)
        fields: dict[str, Any] = {name.lower(): value for name, value in named.items()}
        self.settings = Settings(_env_file=None, **fields)  # type: ignore[call-arg]
        self.sea = Sea(build(self.settings))
        self.broker = self._connect()
        self.strategy = EmaCross(fast=5, slow=20)
        self.guards = Guards(max_open_per_symbol=1)
        self.version = self.sea.version(self.strategy, bars, guards=self.guards)
        terms = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
        self.expected = normalise_all(tk.backtest(self.strategy, bars, account=terms, guards=self.guards).trade_records)
        self.signals = self._reference_signals(terms)

    def _start_server(self) -> Any:
        (self.folder / "server").mkdir(parents=True)
        if self.bus == "redis":
            server: Any = RedisServer(_redis_program() or "redis-server", self.folder / "server")
        else:
            server = RabbitServer(Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), self.folder / "server")
        server.start()
        return server

    def _connect(self) -> Any:
        return make_message_broker(self.bus, redis_url=self.server.url, rabbitmq_url=self.server.url)

    def reconnect(self) -> None:
        """Connect again after the server was killed."""
        self.broker = self._connect()

    def _reference_signals(self, terms: Any) -> list[tuple[Any, ...]]:
        """What the same version decides over the local gateway: bar, action, side, ordinal and payload of each intent (I8)."""
        settings = self.settings.model_copy(update={"home": self.folder / "local", "gateway": "local"})
        sea = Sea(build(settings.model_copy(update={"database_url": type(settings.database_url)("")})))
        try:
            version = sea.version(self.strategy, self.bars, guards=self.guards)
            if version.version_hash != self.version.version_hash:
                raise AssertionError("the same strategy has two hashes")
            run = sea.finish(sea.run(version, sea.account(), self.bars))
            return signals_of(sea, run)
        finally:
            sea.engine.close()

    def close(self) -> None:
        """End everything that was started."""
        self.nest.close()
        self.sea.engine.close()
        self.server.close() if self.bus == "rabbitmq" else self.server.kill()


def signals_of(sea: Sea, run: RunRecord) -> list[tuple[Any, ...]]:
    """Return what a run decided, in order, without anything that names the run."""
    t = ExecutionIntent.__table__.c
    query = select(t.bar_time, t.action, t.side, t.ordinal, t.symbol, t.payload_hash)
    query = query.where(t.live_run_id == run.live_run_id).order_by(t.bar_time, t.action, t.ordinal)
    with sea.engine.work(write=False) as work:
        return [tuple(row) for row in work.connection.execute(query)]


class Schedule:
    """One account, one run, two workers, a few faults."""

    def __init__(self, lane: Lane, seed: int, outcome: Outcome) -> None:
        self.lane = lane
        self.rng = random.Random(seed)
        self.seed = seed
        self.outcome = outcome
        self.workers: list[int] = []
        self.account: AccountRecord = lane.sea.account(f"paper-{seed}")
        self.run: RunRecord = lane.sea.run(
            lane.version, self.account, lane.bars, host="workers", capital=10_000, start=False
        )
        self.stopped = False

    def play(self) -> None:
        """Run the schedule and check what is left."""
        begun = len(self.outcome.violations)
        try:
            self._play()
        except (TimeoutError, OSError) as error:
            self._wrong(f"{type(error).__name__}: {error}")
            self._tell_stacks()
        finally:
            for pid in self.workers:
                _kill(pid, signal.SIGCONT)
                _kill(pid, signal.SIGKILL)
        self.outcome.schedules += 1
        if len(self.outcome.violations) == begun:
            self._check()

    def _play(self) -> None:
        lane, rng = self.lane, self.rng
        doomed = rng.random() < 0.5
        point, occurrence = rng.choice(POINTS), rng.randint(1, 8)
        if doomed:
            self.outcome.faults[f"die_at_{point}"] += 1
        self._start_worker(die_at=point if doomed else "", occurrence=occurrence)
        engine = lane.sea.engine
        self.run = live_runs.start_bot_live_run(engine, engine.principal, self.run.live_run_id)
        if doomed:  # the doomed one holds the account first; its death is a fault of its own
            self._wait(lambda: self._holder() is not None, "somebody holds the account")
        self._start_worker()
        kinds = self._faults()
        total = len(lane.signals)
        targets = sorted(rng.sample(range(1, total), len(kinds)))
        for target, fault in zip(targets, kinds, strict=True):
            self._wait(lambda target=target: self._progress() >= target or self._ended(), f"intent {target}")
            if self._ended():
                break
            time.sleep(rng.uniform(0, 0.03))
            name = fault.__name__.strip("_")
            self.outcome.faults[name] += 1
            before = self._progress()
            fault()
            ended = time.monotonic()
            limit = LEASE_SECONDS + GRACE_SECONDS[lane.bus]
            self._wait(lambda before=before: self._progress() > before or self._ended(), f"recovery from {name}")
            recovered = time.monotonic() - ended
            self.outcome.recoveries.append((name, recovered))
            if recovered > limit:
                print(f"schedule {self.seed}: recovery from {name} took {recovered:.1f} s", file=sys.stderr)
        if rng.random() < 0.15 and not self._ended():
            self.stopped = True
            self.outcome.faults["stop_run"] += 1
            live_runs.stop_live_run(engine, engine.principal, self.run.live_run_id)
        self._wait(self._ended, "the end of the run")

    def _faults(self) -> list[Callable[[], None]]:
        common = [self.kill_holder, self.kill_all, self.freeze_holder, self.duplicates, self.third_worker]
        own = [self.flush_all, self.restart_redis] if self.lane.bus == "redis" else [self.purge_queues]
        chosen = self.rng.sample(common + own, self.rng.randint(2, 3))
        if self.lane.bus == "rabbitmq" and self.seed % 5 == 0:  # it takes seconds to come up again
            chosen.append(self.restart_rabbitmq)
        return chosen

    # the faults
    def kill_holder(self) -> None:
        """Kill -9 the worker that has the account, relay and all; its supervisor starts another."""
        self._signal_holder(signal.SIGKILL)
        self._start_worker()

    def kill_all(self) -> None:
        """Kill -9 every worker, then start two."""
        for pid in self.workers:
            _kill(pid, signal.SIGKILL)
        self._start_worker()
        self._start_worker()

    def freeze_holder(self) -> None:
        """Stop the holder for longer than its lease, then let it go on."""
        pid = self._signal_holder(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + self.rng.uniform(0.1, 0.6))
        if pid is not None:
            _kill(pid, signal.SIGCONT)

    def duplicates(self) -> None:
        """Send pointers of the account again, many times, in any order: under way, done and not begun."""
        rows = self._intents()
        ring = KeyRing.parse(KEY)
        picked = [self.rng.choice(rows) for _ in range(12)] if rows else []
        self.rng.shuffle(picked)
        for row in picked:
            sealed = seal(Pointer(row.intent_id, self.account.account_id, row.idempotency_key, now()), ring)
            queue = intent_queue(self.account.account_id)
            self.lane.broker.declare_queue(queue)
            self.lane.broker.enqueue(
                dramatiq.Message(queue_name=queue, actor_name=EXECUTE_ACTOR, args=(sealed,), kwargs={}, options={})
            )

    def third_worker(self) -> None:
        """Start one more worker for the same account."""
        self._start_worker()

    def flush_all(self) -> None:
        """FLUSHALL."""
        self.lane.broker.client.flushall()

    def restart_redis(self) -> None:
        """Kill -9 Redis, which keeps nothing, and start it again."""
        self.lane.server.kill()
        time.sleep(self.rng.uniform(0, 0.5))
        self.lane.server.start()
        self.lane.reconnect()

    def purge_queues(self) -> None:
        """Lose every message that waits: what FLUSHALL is to Redis."""
        channel = self.lane.broker.connection.channel()
        for queue in (intent_queue(self.account.account_id), live_queue(self.account.account_id)):
            with suppress(AMQPChannelError):  # not declared yet
                channel.queue_purge(queue)
        if channel.is_open:
            channel.close()

    def delete_queues(self) -> None:
        """Delete the account's queues under the consumers.

        Not drawn by the lane: RabbitMQ 3.10 itself breaks a quorum queue that is deleted and declared again under load, again and
        again (541 INTERNAL_ERROR, or a consumer that is never served). For looking into it by hand.
        """
        channel = self.lane.broker.connection.channel()
        for queue in (intent_queue(self.account.account_id), live_queue(self.account.account_id)):
            channel.queue_delete(queue)
        channel.close()

    def restart_rabbitmq(self) -> None:
        """Kill -9 the RabbitMQ node and start it again."""
        self.lane.server.kill()
        self.lane.server.start()
        self.lane.reconnect()

    # looking and acting
    def _start_worker(self, die_at: str = "", occurrence: int = 1) -> None:
        name = str(self.account.account_id)
        self.workers.append(self.lane.nest.start(self.lane.bus, [name], die_at=die_at, occurrence=occurrence))

    def _signal_holder(self, number: signal.Signals) -> int | None:
        pid = self._holder()
        if pid is not None:
            _kill(pid, number)
        return pid

    def _holder(self) -> int | None:
        with self.lane.sea.engine.work(write=False) as work:
            t = AccountLease.__table__.c
            query = select(t.owner).where(t.account_id == self.account.account_id)
            owner = work.connection.execute(query).scalar()
        pid = int(owner.split(":")[1]) if owner else None
        return pid if pid in self.workers else None

    def _progress(self) -> int:
        """Intents that have an end: what a fault may hold up."""
        return sum(row.state in ENDED for row in self._intents())

    def _intents(self) -> list[Any]:
        t = ExecutionIntent.__table__
        with self.lane.sea.engine.work(write=False) as work:
            return list(work.connection.execute(select(t).where(t.c.live_run_id == self.run.live_run_id)))

    def _ended(self) -> bool:
        with self.lane.sea.engine.work(write=False) as work:
            t = LiveRun.__table__.c
            query = select(t.status).where(t.live_run_id == self.run.live_run_id)
            return work.connection.execute(query).scalar() in ("STOPPED", "ERROR")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + END_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} within {END_SECONDS:.0f} s")
            time.sleep(0.01)

    def _tell_stacks(self) -> None:
        """Let every worker write what its threads are doing, and show it."""
        for pid in self.workers:
            _kill(pid, signal.SIGUSR1)
        time.sleep(0.5)
        for log in self.lane.nest.logs[-len(self.workers) :]:
            print(f"--- {log.name}", *log.read_text().splitlines()[-120:], sep="\n", file=sys.stderr)

    def _wrong(self, what: str) -> None:
        self.outcome.violations.append(f"{self.lane.bus} seed {self.seed}: {what}")

    # the invariants
    def _check(self) -> None:
        lane = self.lane
        run = lane.sea.read(self.run)
        if run.status != "STOPPED" or run.last_error:
            self._wrong(f"I2 the run ended {run.status}: {run.last_error}")
            return
        intents = self._intents()
        self.outcome.intents += len(intents)
        for row in intents:
            if row.state not in ENDED:
                self._wrong(f"I2 intent {row.intent_id} is still {row.state}")
        self.stopped = bool(self._events("stopping"))  # it may have ended before the stop reached it
        self._check_signals(run)
        self._check_book(intents)
        trades = lane.sea.trades(run)
        expected = lane.expected[: len(trades)] if self.stopped else lane.expected
        difference = first_difference(expected, trades)
        if difference is not None:
            self._wrong(f"I7 the trades are not the backtest's: {difference}")
        open_at: list[tuple[Any, Any]] = sorted((t["entry_time"], t["exit_time"]) for t in trades)
        if any(later[0] < earlier[1] for earlier, later in pairwise(open_at)):
            self._wrong("I4 two positions of the symbol were open at once")
        if self.stopped:
            self._check_nothing_after_the_stop(intents)

    def _check_signals(self, run: RunRecord) -> None:
        found = signals_of(self.lane.sea, run)
        wanted = [s for s in self.lane.signals if s in found] if self.stopped else self.lane.signals
        if found != wanted:
            self._wrong(f"I8 {len(found)} signals, {len(wanted)} expected, or not the same ones")

    def _check_book(self, intents: list[Any]) -> None:
        """Compare the venue's own journal with the store, row by row."""
        journal = sqlite3.connect(
            f"file:{venue_path(self.lane.settings.home, self.account.account_id)}?mode=ro", uri=True
        )
        orders = journal.execute("SELECT sent_tag, action FROM orders WHERE state <> 'rejected' AND sent_tag <> ''")
        accepted = Counter(orders.fetchall())
        held = journal.execute("SELECT position_id, stop_points FROM positions")
        positions = {(str(row[0]), row[1] > 0) for row in held}
        journal.close()
        twice = [tag for tag, count in accepted.items() if count > 1]
        if twice:
            self._wrong(f"I1 sent more than once: {twice}")
        ours = {row.client_tag for row in intents}
        foreign = {tag for tag, _ in accepted} - ours
        if foreign:
            self._wrong(f"I3 orders at the venue that no intent knows: {foreign}")
        with self.lane.sea.engine.work(write=False) as work:
            db = work.connection
            trades = list(
                db.execute(select(Trade.__table__).where(Trade.__table__.c.live_run_id == self.run.live_run_id))
            )
            links = db.execute(
                select(LiveRunTradeLink.__table__.c.trade_id).where(
                    LiveRunTradeLink.__table__.c.live_run_id == self.run.live_run_id
                )
            ).scalars()
            linked = set(links)
            halves = db.execute(
                select(Order.__table__.c.outcome).where(Order.__table__.c.live_run_id == self.run.live_run_id)
            ).scalars()
            unanswered = [outcome for outcome in halves if outcome == ""]
        if {t.trade_id for t in trades} != linked:
            self._wrong("I3 a trade without its link")
        if {t.position_id for t in trades if t.status == "open"} != {position for position, _ in positions}:
            self._wrong("I7 the store's open trades are not the venue's positions")
        if any(not protected for _, protected in positions):
            self._wrong("I6 a position without a stop")
        if unanswered and not any(row.attempt > 1 or row.reason for row in intents):
            # an order row of a killed worker keeps no answer; its intent must then have been resolved by evidence
            resolved = self._events("intent_resolved") + self._events("late_fill_adopted")
            if not resolved:
                self._wrong(f"I7 {len(unanswered)} orders without an answer and nothing that resolved them")

    def _check_nothing_after_the_stop(self, intents: list[Any]) -> None:
        stopping = self._events("stopping")
        for row in intents:
            if row.action == "OPEN_TRADE" and row.created_at > stopping[0]:
                self._wrong(f"I5 entry {row.intent_id} was decided after the stop")

    def _events(self, kind: str) -> list[Any]:
        t = RunEvent.__table__.c
        query = select(t.at).where(t.live_run_id == self.run.live_run_id, t.kind == kind).order_by(t.event_id)
        with self.lane.sea.engine.work(write=False) as work:
            return list(work.connection.execute(query).scalars())


def _kill(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def run_lane(bus: str, folder: Path, schedules: int, seed: int, database_url: str = "") -> Outcome:
    """Run schedules on one message broker and return what came of them."""
    outcome = Outcome()
    lane = Lane(bus, folder, tk.sample_bars("EURUSD", "H1")[:260], database_url)
    try:
        for number in range(schedules):
            Schedule(lane, seed * 100_000 + number, outcome).play()
    finally:
        lane.close()
    return outcome


def main() -> int:
    """Run many schedules and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bus", choices=["redis", "rabbitmq"])
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        outcome = run_lane(arguments.bus, Path(name), arguments.schedules, arguments.seed)
    for line in outcome.violations:
        print(line, file=sys.stderr)
    figures = outcome.figures(arguments.bus)
    print(json.dumps(figures) if arguments.json else "\n".join(f"{k:22} {v}" for k, v in figures.items()))
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())

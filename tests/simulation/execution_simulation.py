"""A deterministic world for the execution layer: workers, relay, bus, clocks, database failures and a hostile platform.

Everything that happens is drawn from one seed, in one thread: a worker runs in a greenlet and gives way at every failpoint,
before every transaction and around every call to the platform, where it may be killed or left standing. The same seed is the
same world, step by step (`trace` says so). Run it alone with::

    python tests/simulation/execution_simulation.py --seeds 100000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from execution_desk import EURUSD, START, ScriptedPlatform
from greenlet import getcurrent, greenlet

from toolkit.errors import LeaseLost, LostRace, PlatformError, StoreError
from toolkit.execution.builder import EntrySkipped, build_trade_request
from toolkit.execution.idempotency import run_key, signal_fingerprint
from toolkit.execution.intents import BARRIER_STATES, Action, IntentState, check_transition
from toolkit.execution.ledger.memory import MemoryStore
from toolkit.execution.ledger.records import AccountRecord, IntentRecord, RunRecord
from toolkit.execution.ledger.submit import make_entry, make_intent, submit
from toolkit.execution.ports import (
    Book,
    ClientTag,
    ClosePosition,
    History,
    ModifyProtection,
    OpenOrder,
    OrderResult,
    OrderType,
    Outcome,
    PlatformCommand,
)
from toolkit.execution.principal import Principal
from toolkit.execution.request import CloseRequest, ModifyRequest, ReduceRequest, RequestMetadata
from toolkit.execution.trade_service import ServicePolicy, TradeService
from toolkit.market import Rate, Side
from toolkit.risk.guardrails import Guards

ACCOUNT, RUN, OWNER = UUID(int=1), UUID(int=2), UUID(int=3)
MAX_OPEN = 3
POLICY = ServicePolicy(
    lease_seconds=8.0,
    send_budget_seconds=1.0,
    backoff_seconds=0.05,
    protection_limit_seconds=10.0,
    max_quote_age_seconds=15.0,
)
S = IntentState
# Where a worker standing still hurts most: between two durable steps, and on the wire.
DELICATE = frozenset({"FP2_claimed", "FP3_sending", "FP4_before_send", "on the wire", "FP5_answered"})


class Violation(AssertionError):
    """An invariant does not hold."""


class Killed(BaseException):
    """kill -9: the worker is gone at the point where it stood."""


@dataclass
class Dial:
    """How hostile the world is; probabilities per occasion."""

    ambiguous: float = 0.12  # the answer is lost
    lost_request: float = 0.4  # of the ambiguous: it never arrived
    late: float = 0.4  # of the ambiguous: it is accepted later
    not_accepted: float = 0.06
    refused: float = 0.03
    partial: float = 0.05
    unprotected: float = 0.05
    raises: float = 0.02
    read_fails: float = 0.05
    database_fails: float = 0.02
    kill: float = 0.03
    stall: float = 0.04
    bus_duplicate: float = 0.15
    bus_drop: float = 0.1
    cut_comment: float = 0.1


QUIET = Dial(*([0.0] * 15))


class SimClock:
    """Wall time that an operator may turn, and monotonic time that nobody can."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        return START + timedelta(seconds=self._world.seconds + self._world.wall_offset)

    def monotonic(self) -> float:
        return self._world.seconds

    def sleep(self, seconds: float) -> None:
        self._world.pause("sleep")


class SimStore:
    """A store whose transactions may fail to begin or to commit; others run before each of them."""

    def __init__(self, world: World, inner: Any) -> None:
        self._world = world
        self.inner = inner
        self.commits = 0

    @contextmanager
    def begin(self, principal: Principal, *, write: bool = True) -> Iterator[Any]:
        world = self._world
        if write:
            world.pause("transaction")
        if world.inside_worker and world.rng.random() < world.dial.database_fails:
            world.count("database_failed")
            raise StoreError("simulated: database is locked")
        self.commits += write
        with self.inner.begin(principal, write=write) as work:
            if world.inside_worker and write and world.rng.random() < world.dial.database_fails:
                work = _FailingCommit(work)
            yield work
        if write:
            world.pause("after transaction")


class _FailingCommit:
    def __init__(self, work: Any) -> None:
        self._work = work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def commit(self) -> None:
        raise StoreError("simulated: disk full")


class Venue(ScriptedPlatform):
    """A platform that loses answers, accepts late, fills in part and remembers every command that was accepted."""

    clock_tolerance = timedelta(0)

    def __init__(self, world: World) -> None:
        super().__init__(SimClock(world))  # type: ignore[arg-type]
        self.world = world
        self.accepted_opens: Counter[str] = Counter()
        self.late: list[tuple[float, PlatformCommand]] = []
        self.calls: list[tuple[str, PlatformCommand]] = []
        self.foreign: set[str] = set()
        self.touched_foreign: list[str] = []

    def session(self) -> Venue:
        """Return what a worker trades on."""
        return self

    def close(self) -> None:
        """Nothing to give back."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.world.seconds)

    def move_quote(self, points: int) -> None:
        """Let the market move."""
        old = self.quotes["EURUSD"]
        step = points * EURUSD.point
        self.quotes["EURUSD"] = replace(old, bid=old.bid + step, ask=old.ask + step)

    def open_by_hand(self) -> str:
        """Let a person open a position at the terminal."""
        order = OpenOrder(
            ClientTag("manual", 0), "EURUSD", Side.BUY, OrderType.MARKET, Decimal("0.3"), None, Decimal(1)
        )
        answer = ScriptedPlatform.fill(self, order)
        assert answer.position_id is not None
        return answer.position_id

    def settle_time(self) -> None:
        """Let the venue's time follow the world's, and accept what is due."""
        self.time = self.now()
        self.quotes["EURUSD"] = replace(self.quotes["EURUSD"], ts=self.time)
        due = [c for at, c in self.late if at <= self.world.seconds]
        self.late = [(at, c) for at, c in self.late if at > self.world.seconds]
        for command in due:
            self.world.count("accepted_late")
            self._accept(command)

    def book(self) -> Book:
        self._pause_read("book")
        return super().book()

    def history(self, since: datetime, until: datetime) -> History:
        self._pause_read("history")
        return super().history(since, until)

    def send(self, command: PlatformCommand) -> OrderResult:
        world, dial, rng = self.world, self.world.dial, self.world.rng
        world.check_send(command)
        self.calls.append((world.current_name, command))
        world.pause("on the wire")
        x = rng.random()
        if x < dial.ambiguous:
            fate = rng.random()
            if fate < dial.lost_request:
                world.count("request_lost")
            elif fate < dial.lost_request + dial.late:
                self.late.append((world.seconds + rng.choice([2, 20, 200, 900]), command))
            else:
                world.count("answer_lost")
                self._accept(command)
            world.pause("time-out")
            return OrderResult(Outcome.UNKNOWN, code="10012")
        x -= dial.ambiguous
        if x < dial.not_accepted:
            return OrderResult(Outcome.NOT_ACCEPTED, code="10004")
        x -= dial.not_accepted
        if x < dial.refused:
            return OrderResult(Outcome.FINAL, code="10006")
        x -= dial.refused
        if x < dial.raises:
            self._accept(command)
            raise RuntimeError("simulated: the pipe broke after the request was written")
        answer = self._accept(command)
        world.pause("answer on the wire")
        return answer

    def _accept(self, command: PlatformCommand) -> OrderResult:
        dial, rng = self.world.dial, self.world.rng
        if isinstance(command, OpenOrder):
            self.accepted_opens[command.tag.text] += 1
            partial = rng.random() < dial.partial
            bare = rng.random() < dial.unprotected
            order = replace(
                command,
                lots=command.lots / 2 // Decimal("0.01") * Decimal("0.01") if partial else command.lots,
                stop_loss=None if bare else command.stop_loss,
                tag=replace(command.tag, text=command.tag.text[:16])
                if rng.random() < dial.cut_comment
                else command.tag,
            )
            answer = super().fill(order)
            answer = replace(answer, protected=not bare)
            return replace(answer, outcome=Outcome.PARTIAL) if partial else answer
        if isinstance(command, ClosePosition | ModifyProtection):
            if command.position_id in self.foreign:
                self.touched_foreign.append(command.position_id)
            held = self.positions.get(command.position_id)
            if held is None:
                return OrderResult(Outcome.ALREADY, position_id=command.position_id)
            if isinstance(command, ClosePosition) and command.lots is not None and command.lots >= held.lots:
                command = replace(command, lots=None)
        return super().fill(command)

    def _pause_read(self, name: str) -> None:
        self.world.pause(name)
        if self.world.inside_worker and self.world.rng.random() < self.world.dial.read_fails:
            self.fail_reads = 1


@dataclass
class Worker:
    """One worker process; killed and started again it is another owner."""

    name: str
    life: int = 0
    thread: Any = None
    stalled_until: float = 0.0
    service: TradeService | None = None


@dataclass
class World:
    """One seed's world."""

    seed: int
    steps: int = 250
    dial: Dial = field(default_factory=Dial)
    make_store: Callable[[], Any] | None = None
    make_venue: Callable[[World], Any] | None = None
    mutate: Callable[[World], None] | None = None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.seconds = 0.0
        self.wall_offset = 0.0
        self.counts: Counter[str] = Counter()
        self.trace = hashlib.sha256()
        self.bus: list[UUID] = []
        self.published: dict[UUID, float] = {}
        self.signals: list[tuple[Any, ...]] = []
        self.ids: dict[UUID, int] = {}
        self.broken: list[str] = []
        self.checked: tuple[int, int] = (0, 0)
        self.ordinal = 0
        self.idle_rounds = 0
        self.current: Worker | None = None
        self.principal = Principal(OWNER, "owner")
        self.memory: Any = self.make_store() if self.make_store else self._memory()
        self.store = SimStore(self, self.memory)
        self.clock = SimClock(self)
        self.venue: Any = (self.make_venue or Venue)(self)
        self.workers = [Worker("a"), Worker("b")]
        self.main = getcurrent()
        if self.mutate is not None:
            self.mutate(self)

    @staticmethod
    def _memory() -> MemoryStore:
        store = MemoryStore()
        store.add_account(
            AccountRecord(
                account_id=ACCOUNT, owner_id=OWNER, currency="USD", environment="paper", gateway="redis", login="1",
                server="test", armed_until=None, halted_at=None, halt_reason="", book_synced_until=None,
            )
        )  # fmt: skip
        guards = Guards(max_open_per_symbol=MAX_OPEN).facts()
        store.add_run(
            RunRecord(
                live_run_id=RUN, account_id=ACCOUNT, owner_id=OWNER, status="RUNNING", stage="paper",
                capital=Decimal(10_000), realised=Decimal(0), guards_json=json.dumps(guards),
            )
        )  # fmt: skip
        return store

    # scheduling
    @property
    def inside_worker(self) -> bool:
        """Whether a worker is running now (and not the world itself)."""
        return self.current is not None

    @property
    def current_name(self) -> str:
        """Name of the running worker."""
        return "world" if self.current is None else f"{self.current.name}{self.current.life}"

    def pause(self, where: str) -> None:
        """Give way to the world; it may never come back."""
        if self.current is not None and getcurrent() is self.current.thread:
            self.main.switch(where)

    def count(self, what: str) -> None:
        """Count something for the report."""
        self.counts[what] += 1

    def note(self, *words: Any) -> None:
        """Add to the trace that two runs of one seed must share."""
        self.trace.update(repr((round(self.seconds, 3), *words)).encode())

    def number(self, intent_id: UUID) -> int:
        """Return the intent's number in this world; ids themselves are random."""
        return self.ids.setdefault(intent_id, len(self.ids))

    def run_worker(self, worker: Worker) -> None:
        """Let a worker run to its next pause, or start it."""
        if worker.thread is None:
            worker.life += 1
            worker.thread = greenlet(lambda: self._life_of(worker), parent=self.main)
        self.current = worker
        self.seconds += 0.005
        try:
            where = worker.thread.switch()
            self.note(worker.name, worker.life, where)
            if where in DELICATE and self.rng.random() < self.dial.stall * 2:
                worker.stalled_until = self.seconds + self.rng.choice([2, 9, 30])
                self.count("delicate_stalls")
            if worker.thread.dead:
                worker.thread = None
        finally:
            self.current = None

    def kill(self, worker: Worker) -> None:
        """End a worker where it stands."""
        if worker.thread is None:
            return
        self.count("kills")
        self.current = worker
        try:
            worker.thread.throw(Killed())
        except Killed:
            pass
        finally:
            self.current = None
            worker.thread = None

    def _life_of(self, worker: Worker) -> None:
        service = TradeService(
            self.venue.session(),
            self.store,
            self.clock,
            account_id=ACCOUNT,
            principal=self.principal,
            worker=f"{worker.name}{worker.life}",
            policy=POLICY,
            failpoint=self.pause,
        )
        worker.service = service
        ready = False
        bare_since: dict[str, float] = {}  # seen by this process without a stop; another one begins to count anew
        while True:
            intent_id = None
            try:
                # Restart order: nothing new is accepted before one complete reconciliation.
                if not ready or not self.bus or self.rng.random() < 0.25:
                    service.reconcile()
                    self.check_protected(bare_since, service)
                    ready = True
                else:
                    intent_id = self.bus.pop(0)
                    after = service.execute(intent_id)
                    self.note("executed", self.number(intent_id), after.state.value)
            except (LeaseLost, LostRace, PlatformError, StoreError) as error:
                self.note(type(error).__name__)
                self.count(type(error).__name__)
                if isinstance(error, LeaseLost):
                    worker.stalled_until = self.seconds + 2
                if intent_id is not None and self.rng.random() < 0.8:
                    self.bus.append(intent_id)  # not acknowledged: delivered again
            self.idle_rounds += not self.bus
            self.pause("idle")

    # what happens
    def run(self) -> World:
        """Live through all steps, then let the world calm down and check that nothing is left open."""
        for _ in range(self.steps):
            self.step()
            self.check_always()
        self.calm_down()
        self.check_always()
        self.check_settled()
        for worker in self.workers:
            self.kill(worker)
        self.venue.close()
        return self

    def step(self) -> None:
        """One thing happens."""
        rng = self.rng
        self.venue.settle_time()
        x = rng.random()
        if x < 0.60:
            ready = [w for w in self.workers if w.stalled_until <= self.seconds]
            if ready:
                worker = rng.choice(ready)
                for _ in range(rng.choice([1, 1, 2, 4, 8])):
                    self.run_worker(worker)
        elif x < 0.72:
            self.signal()
        elif x < 0.82:
            self.relay()
        elif x < 0.92:
            self.seconds += rng.choice([0.1, 0.5, 1, 1, 3, 9])
        elif x < 0.92 + self.dial.kill * 0.4:
            self.kill(rng.choice(self.workers))
        elif x < 0.92 + (self.dial.kill + self.dial.stall) * 0.4:
            worker = rng.choice(self.workers)
            worker.stalled_until = self.seconds + rng.choice([2, 9, 30])
            self.count("stalls")
        else:
            self.mischief()

    def mischief(self) -> None:
        """What people, markets and machines do."""
        rng = self.rng
        x = rng.random()
        ours = [p for p in self.venue.positions.values() if p.position_id not in self.venue.foreign]
        if x < 0.25:
            self.venue.move_quote(rng.randint(-30, 30))
        elif x < 0.45 and ours:
            self.venue.close_out(rng.choice(ours).position_id, None, rng.choice(["stop_loss", "manual", "take_profit"]))
        elif x < 0.55:
            self.venue.foreign.add(self.venue.open_by_hand())
        elif x < 0.72:
            halted = self.memory_account().halted_at is not None
            if halted or x < 0.60:
                self.halt(not halted)
            stopped = self.memory_run().status != "RUNNING"
            if stopped or x > 0.67:
                self.set_status("RUNNING" if stopped else "STOPPING")
        elif x < 0.80:
            self.wall_offset += rng.choice([-7200, 7200])
            self.count("clock_jumps")
        elif x < 0.90 and self.bus:
            rng.shuffle(self.bus)

    def signal(self) -> None:
        """A strategy speaks: something new, or something it said before."""
        rng = self.rng
        if self.signals and rng.random() < 0.25:
            kind, ordinal, position_id, known = rng.choice(self.signals)
        else:
            self.ordinal += 1
            ordinal, known = self.ordinal, None
            with self.memory.begin(self.principal, write=False) as work:
                trades = work.open_trades(ACCOUNT)
            kind, position_id = "open", None
            if trades and rng.random() < 0.5:
                position_id = rng.choice(trades).position_id
                kind = rng.choice(["close", "reduce", "modify"])
        intent = self._intent(kind, ordinal, position_id)
        if intent is None:
            return
        with self.memory.begin(self.principal) as work:
            kept = submit(work, intent, self.principal)
            work.commit()
        if known is not None and kept.intent.intent_id != known:
            raise Violation("I8: the same signal made another intent")
        if known is None:
            self.signals.append((kind, ordinal, position_id, kept.intent.intent_id))
        self.note("signal", kind, ordinal, self.number(kept.intent.intent_id))

    def _intent(self, kind: str, ordinal: int, position_id: str | None) -> IntentRecord | None:
        now = self.clock.now()
        action = {
            "open": Action.OPEN_TRADE,
            "close": Action.CLOSE_POSITION,
            "reduce": Action.REDUCE_POSITION,
            "modify": Action.MODIFY_SLTP,
        }[kind]
        fingerprint = signal_fingerprint("v", {"kind": kind, "n": ordinal, "position": position_id})
        key = run_key(
            live_run_id=RUN, bar_time=START, symbol="EURUSD", side=Side.BUY, action=action.value, ordinal=ordinal,
            fingerprint=fingerprint,
        )  # fmt: skip
        common = {"key": key, "fingerprint": fingerprint, "principal": self.principal, "now": now}
        metadata = RequestMetadata(live_run_id=RUN, reason="signal")
        place = {"account_id": ACCOUNT, "symbol": "EURUSD", "direction": Side.BUY, "position_id": position_id}
        quote = self.venue.quotes["EURUSD"]
        if action is Action.CLOSE_POSITION:
            return make_intent(CloseRequest(**place, metadata=metadata), action=action, **common)
        if action is Action.REDUCE_POSITION:
            request = ReduceRequest(**place, remaining_lots=Decimal("0.10"), metadata=metadata)
            return make_intent(request, action=action, **common)
        if action is Action.MODIFY_SLTP:
            stop = EURUSD.price(EURUSD.to_points(quote.bid) - 300 - ordinal)
            return make_intent(ModifyRequest(**place, stop_loss=stop, metadata=metadata), action=action, **common)
        try:
            built = build_trade_request(
                account_id=ACCOUNT, instrument=EURUSD, quote=quote, side=Side.BUY, equity=Decimal(10_000),
                quote_to_account=Rate.ONE, stop_loss=EURUSD.price(EURUSD.to_points(quote.ask) - 200), live_run_id=RUN,
                risk_percent=Decimal("0.5"), valid_until=self.venue.now() + timedelta(seconds=60),
            )  # fmt: skip
        except EntrySkipped:
            return None
        return make_entry(built, **common)

    def relay(self) -> None:
        """Publish what the outbox holds, and again what has been NEW for too long; the bus loses and doubles."""
        rng = self.rng
        with self.memory.begin(self.principal) as work:
            for row in work.unpublished(ACCOUNT):
                self._publish(row.intent_id)
                work.mark_published(row.outbox_id, self.clock.now())
            for intent in work.intents_in(ACCOUNT, [S.NEW]):
                if self.seconds - self.published.get(intent.intent_id, self.seconds) > 5:
                    self._publish(intent.intent_id)
            work.commit()
        if rng.random() < 0.1:
            rng.shuffle(self.bus)

    def _publish(self, intent_id: UUID) -> None:
        self.published[intent_id] = self.seconds
        if self.rng.random() < self.dial.bus_drop:
            self.count("messages_lost")
            return
        copies = 2 if self.rng.random() < self.dial.bus_duplicate else 1
        self.bus.extend([intent_id] * copies)

    def halt(self, on: bool) -> None:
        """Throw or lift the kill switch."""
        with self.memory.begin(self.principal) as work:
            work.set_halt(ACCOUNT, self.clock.now() if on else None, "owner", "simulated")
            work.commit()

    def set_status(self, status: str) -> None:
        """Stop the run, or let it run again."""
        if isinstance(self.memory, MemoryStore):
            self.memory.runs[RUN] = replace(self.memory.runs[RUN], status=status)
            return
        from sqlalchemy import update

        from toolkit.store.sql.models import LiveRun

        with self.memory.engine.begin() as connection:
            connection.execute(update(LiveRun).where(LiveRun.live_run_id == RUN).values(status=status))

    def memory_account(self) -> AccountRecord:
        """The account as it is now."""
        with self.memory.begin(self.principal, write=False) as work:
            account = work.account(ACCOUNT)
        assert account is not None
        return account

    def memory_run(self) -> RunRecord:
        """The run as it is now."""
        with self.memory.begin(self.principal, write=False) as work:
            run = work.run(RUN)
        assert run is not None
        return run

    def calm_down(self) -> None:
        """No more faults: everything in flight must come to an end by itself."""
        self.dial = QUIET
        self.halt(False)
        self.set_status("RUNNING")
        for worker in self.workers:
            self.kill(worker)
            worker.stalled_until = 0
        worker = self.workers[0]
        for number in range(12):
            self.seconds += 15 if number < 3 else 130
            self.venue.settle_time()
            self.relay()
            self.idle_rounds = 0
            for _ in range(300):
                if not self.bus and self.idle_rounds >= 2:
                    break
                self.run_worker(worker)

    # invariants
    def check_send(self, command: PlatformCommand) -> None:
        """What must hold at the very call of the platform; noted, because the service takes every exception as ambiguous."""
        worker = self.current
        if worker is None or worker.service is None:
            return
        held = worker.service.lease.held
        if held is None or self.seconds > held.deadline:
            self.broken.append("fence: a worker called the platform after its lease was over")
        with self.memory.begin(self.principal, write=False) as work:
            owners = work.intents_by_tag(ACCOUNT, {command.tag.text})
        if not owners:
            self.broken.append("I2: the platform heard of an order that is not in the store")
            return
        intent = owners[0]
        if intent.state is not S.SENDING:
            self.broken.append(f"I2: sent while the store says {intent.state.value}")
        if not isinstance(command, OpenOrder):
            return
        if self.memory_account().halted_at is not None:
            self.broken.append("I5: an entry was sent while the account was halted")
        if self.memory_run().status != "RUNNING":
            self.broken.append("I5: an entry was sent after the run was told to stop")
        if intent.valid_until is not None and self.venue.now() > intent.valid_until + self.venue.clock_tolerance:
            self.broken.append("I5: an entry was sent after its time")

    def check_always(self) -> None:
        """What must hold after every step."""
        if self.broken:
            raise Violation(self.broken[0])
        twice = [tag for tag, n in self.venue.accepted_opens.items() if n > 1]
        if twice:
            raise Violation(f"I1: {len(twice)} intents have two orders at the platform")
        ours = len(self.venue.positions) - sum(1 for p in self.venue.positions if p in self.venue.foreign)
        if ours > MAX_OPEN:
            raise Violation(f"I4: {ours} positions open, {MAX_OPEN} allowed")
        if self.venue.touched_foreign:
            raise Violation("I3: a foreign position was touched")
        seen = (len(self.venue.deals), self.store.commits)
        if seen != self.checked:
            self.checked = seen
            self._check_books()

    def _check_books(self) -> None:
        """What the store says of the platform: never more than happened there, and exactly what it has seen of it."""
        ids = {d.deal_id for d in self.venue.deals}
        with self.memory.begin(self.principal, write=False) as work:
            known = work.known_deals(ACCOUNT, ids)
            trades = work.open_trades(ACCOUNT)
            linked = {link.trade_id for link in work.links(RUN)}
            run = work.run(RUN)
            unknown = work.intents_in(ACCOUNT, [S.UNKNOWN, S.ABANDONED])
        booked = Decimal(0)
        left: Counter[str] = Counter()
        for deal in self.venue.deals:
            if deal.deal_id not in known or deal.position_id in self.venue.foreign:
                continue
            booked += deal.profit + deal.commission + deal.swap
            left[deal.position_id] += int(deal.lots * 100) * (1 if deal.entry == "in" else -1)
        for trade in trades:
            if trade.trade_id not in linked:
                raise Violation(f"I3: the trade of position {trade.position_id} is linked to no run")
            if trade.position_id in self.venue.foreign:
                raise Violation(f"I3: the foreign position {trade.position_id} was taken for ours")
            if left[trade.position_id] != trade.open_lots * 100:
                raise Violation(f"I7: position {trade.position_id} has {trade.open_lots} lots in the store")
        if run is None or run.realised != booked:
            raise Violation(f"I7: the store booked {run and run.realised}, the deals it has seen say {booked}")
        if isinstance(self.memory, MemoryStore) and unknown:
            told = {e.intent_id for e in self.memory.run_events.values() if e.level == "error"}
            silent = [i for i in unknown if i.intent_id not in told]
            if silent:
                raise Violation(f"I2: nobody was told that intent {self.number(silent[0].intent_id)} is unresolved")

    def check_protected(self, bare_since: dict[str, float], service: TradeService) -> None:
        """After a whole reconciliation: a position that this process saw without its stop for too long is being closed."""
        bare = {p.position_id for p in self.venue.positions.values() if p.stop_loss is None}
        for position_id in set(bare_since) - bare:
            del bare_since[position_id]
        late = {
            i for i, since in bare_since.items() if self.seconds - since > 2 * service.policy.protection_limit_seconds
        }
        for position_id in bare:
            bare_since.setdefault(position_id, self.seconds)
        if not late:
            return
        with self.memory.begin(self.principal, write=False) as work:
            exits = [i for i in work.intents_in(ACCOUNT, list(S)) if i.action is Action.CLOSE_POSITION]
            ours = {t.position_id for t in work.open_trades(ACCOUNT)}
        closing = {json.loads(i.payload_json)["position_id"] for i in exits}
        for position_id in sorted(late & ours - closing):
            self.broken.append(f"I6: position {position_id} is without its stop and nobody closes it")

    def check_settled(self) -> None:
        """What must hold once the world is calm."""
        with self.memory.begin(self.principal, write=False) as work:
            everything = work.intents_in(ACCOUNT, list(S))
            open_trades = {t.position_id: t for t in work.open_trades(ACCOUNT)}
            histories = {i.intent_id: work.events(i.intent_id) for i in everything}
            run = work.run(RUN)
        for intent in everything:
            if intent.state in BARRIER_STATES or intent.state in (S.UNKNOWN, S.WORKING, S.PROTECTION_PENDING):
                raise Violation(f"I2: intent {self.number(intent.intent_id)} is left {intent.state.value}")
            self._check_history(intent, histories[intent.intent_id])
        held = {p.position_id: p for p in self.venue.positions.values() if p.position_id not in self.venue.foreign}
        if set(held) != set(open_trades):
            raise Violation(f"I3: platform holds {sorted(held)}, the store says {sorted(open_trades)}")
        for position_id, position in held.items():
            if position.lots != open_trades[position_id].open_lots:
                raise Violation(
                    f"I7: {position.lots} lots at the platform, {open_trades[position_id].open_lots} in the store"
                )
            if position.stop_loss is None:
                raise Violation(f"I6: position {position_id} has no stop")
        booked = sum(
            (d.profit + d.commission + d.swap for d in self.venue.deals if d.position_id not in self.venue.foreign),
            Decimal(0),
        )
        if run is None or booked != run.realised:
            raise Violation(f"I7: platform booked {booked}, the store {run and run.realised}")
        self.counts.update(f"end_{i.state.value}" for i in everything)

    def _check_history(self, intent: IntentRecord, events: list[Any]) -> None:
        state, seq, sent = "", -1, False
        for event in events:
            if event.from_state != state or event.seq <= seq:
                raise Violation(f"history of intent {self.number(intent.intent_id)} is broken at {event.seq}")
            if event.from_state:
                check_transition(intent.action, S(event.from_state), S(event.to_state), was_sent=sent)
            sent = sent or event.to_state == "SENDING"
            state, seq = event.to_state, event.seq
        if state != intent.state.value:
            raise Violation(
                f"history of intent {self.number(intent.intent_id)} ends {state}, its row {intent.state.value}"
            )


def run_seed(seed: int, **options: Any) -> World:
    """Live through one seed; a violation names the seed that replays it."""
    try:
        return World(seed, **options).run()
    except Violation as violation:
        raise Violation(f"seed {seed}: {violation}") from violation


def main(**options: Any) -> int:
    """Run many seeds and report; ``options`` are those of `World`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    totals: Counter[str] = Counter()
    violations: list[str] = []
    done = 0
    try:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            try:
                totals.update(run_seed(seed, **options).counts)
            except Violation as violation:
                violations.append(str(violation))
            done += 1
    except KeyboardInterrupt:
        print("interrupted: what was done until now")
    spent = time.monotonic() - started
    print(f"{done} seeds in {spent:.0f} s, {len(violations)} violations")
    print(", ".join(f"{name} {n}" for name, n in sorted(totals.items())))
    for line in violations[:20]:
        print(line)
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A deterministic world for the execution layer: workers, relay, bus, clocks, database failures and a hostile platform.

Everything that happens is drawn from one seed, in one thread: a worker runs in a greenlet and gives way at every failpoint,
before every transaction and around every call to the platform, where it may be killed or left standing. The same seed is the
same world, step by step (`trace` says so). Run it alone with::

    python tests/simulation/execution_simulation.py --seeds 100000 --workers 0
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from execution_desk import EURUSD, START
from greenlet import getcurrent, greenlet
from world import seeds
from world.ground import (
    ACCOUNT,
    DELICATE,
    MAX_OPEN,
    OWNER,
    POLICY,
    QUIET,
    RUN,
    Dial,
    Killed,
    SimClock,
    SimStore,
    Violation,
    Worker,
)
from world.invariants import Invariants
from world.venue import Venue

from toolkit.errors import LeaseLost, LostRace, PlatformError, StoreError
from toolkit.execution.builder import EntrySkipped, build_trade_request
from toolkit.execution.idempotency import run_key, signal_fingerprint
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.memory import MemoryStore
from toolkit.execution.ledger.records import AccountRecord, IntentRecord, RunRecord
from toolkit.execution.ledger.submit import make_entry, make_intent, submit
from toolkit.execution.principal import Principal
from toolkit.execution.request import CloseRequest, ModifyRequest, ReduceRequest, RequestMetadata
from toolkit.execution.trade_service import TradeService
from toolkit.market import Rate, Side
from toolkit.risk.guardrails import Guards

S = IntentState


@dataclass
class World(Invariants):
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
        elif x < 0.90:
            rng.shuffle(self.bus)
        elif rng.random() < self.dial.market_closes:
            self.close_market(rng.choice([5, 40, 300]))

    def close_market(self, seconds: float) -> None:
        """Nobody trades for so long; positions may still go by themselves."""
        self.venue.closed_until = self.seconds + seconds
        self.count("market_closings")

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
        self.venue.closed_until = 0.0
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


def run_seed(seed: int, **options: Any) -> World:
    """Live through one seed; a violation names the seed that replays it."""
    try:
        return World(seed, **options).run()
    except Violation as violation:
        raise Violation(f"seed {seed}: {violation}") from violation


def main(**options: Any) -> int:
    """Run many seeds and report; ``options`` are those of `World`."""
    return seeds.main(run_seed, __doc__, **options)


if __name__ == "__main__":
    raise SystemExit(main())

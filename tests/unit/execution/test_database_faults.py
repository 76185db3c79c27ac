"""The n-th statement fails, for every n of a whole life of a position: nothing sent unless durable, nothing lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from execution_desk import desk_on, memory_desk, sql_desk
from sqlalchemy import event

from toolkit.errors import StoreError
from toolkit.execution.intents import BARRIER_STATES, SETTLED_STATES, Action, IntentState
from toolkit.gateways.local import ExecutionGatewayLocal
from toolkit.store.intents import SqlIntentStore
from toolkit.store.sql.engine import make_engine
from toolkit.store.sql.unit_of_work import DatabaseBusy


class FailingStore:
    """Counts every call on a transaction, commits included, and fails the n-th."""

    def __init__(self, inner, fail_at):
        self.inner = inner
        self.fail_at = fail_at
        self.calls = 0
        self.armed = True

    @contextmanager
    def begin(self, principal, *, write=True):
        with self.inner.begin(principal, write=write) as work:
            yield _Counted(self, work)

    def tick(self):
        self.calls += 1
        if self.armed and self.calls == self.fail_at:
            raise StoreError("simulated: statement failed")


class _Counted:
    def __init__(self, store, work):
        self._store = store
        self._work = work

    def __getattr__(self, name):
        value = getattr(self._work, name)

        def call(*args, **options):
            self._store.tick()
            return value(*args, **options)

        return call


def life(desk):
    """Open, move the stop, reduce, close, each delivered by the local gateway; retried once after a failure."""
    gateway = ExecutionGatewayLocal(desk.service.store, desk.principal, desk.service)

    def deliver():
        for _ in range(3):
            try:
                gateway.deliver(desk.account_id)
                desk.service.reconcile()
            except StoreError:
                desk.platform.tick(40)
            else:
                break

    def signal(make):
        try:
            return make()
        except StoreError:  # nothing was written: it is signalled again
            return make()

    entry = signal(desk.entry)
    deliver()
    position = next(iter(desk.platform.positions), None)
    made = [entry]
    if position is not None:
        for action, fields in (
            (Action.MODIFY_SLTP, {"stop_loss": Decimal("1.09900")}),
            (Action.REDUCE_POSITION, {"remaining_lots": Decimal("0.2")}),
            (Action.CLOSE_POSITION, {}),
        ):
            made.append(signal(partial(desk.exit, action, position, **fields)))
            deliver()
    for _ in range(6):
        desk.platform.tick(300)
        deliver()
    return made


def durable_before_the_send(desk):
    """Note every send whose intent is not SENDING in the store."""
    wrong = []

    def check(command):
        with desk.read() as work:
            (owner,) = work.intents_by_tag(desk.account_id, {command.tag.text})
        if owner.state is not IntentState.SENDING:
            wrong.append(owner.state)

    desk.platform.on_send = check
    return wrong


def check_life(desk, fail_at):
    wrong = durable_before_the_send(desk)
    failing = FailingStore(desk.store, fail_at)
    desk.service = None
    plain = desk.store

    class Both:
        """The service works on the failing store, signals and checks on the plain one."""

        begin = failing.begin

    desk.service = type(desk).make_service(_with_store(desk, Both()), "worker-a")
    made = life(desk)
    desk.store = plain
    check_end(desk, made, wrong)
    return failing.calls


def check_cycle(desk):
    """Live through the cycle while something fails below the store, then compare."""
    wrong = durable_before_the_send(desk)
    made = life(desk)
    total = Faulty.calls
    Faulty.arm(0)
    check_end(desk, made, wrong)
    return total


def check_end(desk, made, wrong):
    """Nothing was sent that was not durable, everything is settled, book and store agree."""
    assert wrong == []
    with desk.read() as work:
        states = [work.intent(i.intent_id).state for i in made]
        trades = work.open_trades(desk.account_id)
        run = work.run(desk.live_run_id)
    assert all(s in SETTLED_STATES for s in states), states
    assert not any(s in BARRIER_STATES for s in states)
    opens = [c for c in desk.platform.sent if type(c).__name__ == "OpenOrder"]
    assert len(opens) <= 1
    assert {t.position_id for t in trades} == set(desk.platform.positions)
    assert run.realised == sum((d.profit + d.commission for d in desk.platform.deals), Decimal(0))


def _with_store(desk, store):
    from dataclasses import replace

    other = replace(desk)
    other.store = store
    return other


def test_every_statement_may_fail_in_memory():
    """Each call of the cycle fails once; afterwards all intents are settled and book and store agree."""
    total = check_life(memory_desk(), 0)
    assert total > 100
    for n in range(1, total + 1):
        check_life(memory_desk(), n)


class Faulty(sqlite3.Connection):
    """A driver's connection that counts what is asked of it, over all connections, and fails the n-th."""

    calls = 0
    fail_at = 0
    words = "disk I/O error"

    @classmethod
    def arm(cls, fail_at, words="disk I/O error"):
        cls.calls, cls.fail_at, cls.words = 0, fail_at, words

    @classmethod
    def tick(cls):
        cls.calls += 1
        if cls.calls == cls.fail_at:
            raise sqlite3.OperationalError(cls.words)

    def execute(self, *arguments):
        self.tick()
        return super().execute(*arguments)

    def commit(self):
        self.tick()
        super().commit()

    def cursor(self, factory=None):
        return super().cursor(FaultyCursor)


class FaultyCursor(sqlite3.Cursor):
    """Counts with its connection."""

    def execute(self, *arguments):
        Faulty.tick()
        return super().execute(*arguments)


@pytest.fixture
def faulty_desk(sqlite_database, tmp_path):
    """Make a desk on a fresh copy of one prepared database, through the faulty driver."""
    prepared = sql_desk(sqlite_database)
    ids = (prepared.principal.user_id, prepared.account_id, prepared.live_run_id)
    source = sqlite_database.url.database
    sqlite_database.dispose()
    made = []

    def make(number):
        target = tmp_path / f"copy-{number}.db"
        for suffix in ("", "-wal", "-shm"):
            if Path(source + suffix).exists():
                shutil.copy(source + suffix, f"{target}{suffix}")
        Faulty.arm(0)
        engine = make_engine(f"sqlite:///{target}", busy_timeout_ms=10)

        @event.listens_for(engine, "do_connect")
        def _faulty(_dialect, _record, _arguments, options):
            options["factory"] = Faulty

        made.append(engine)
        return desk_on(SqlIntentStore(engine), *ids)

    yield make
    Faulty.arm(0)
    for engine in made:
        engine.dispose()


EVERY = 1 if os.environ.get("CI") else 9


@pytest.mark.timeout(600)
def test_every_statement_of_the_driver_may_fail(faulty_desk):
    """SELECT, INSERT, UPDATE, BEGIN and COMMIT: each fails once over the whole cycle; all of them in CI, every 9th here."""
    desk = faulty_desk("count")
    Faulty.arm(0)
    total = check_cycle(desk)
    assert total > 200
    for n in range(1, total + 1, EVERY):
        desk = faulty_desk(n)
        Faulty.arm(n)
        check_cycle(desk)


def test_a_database_that_somebody_else_holds_sends_nothing(faulty_desk):
    """SQLITE_BUSY through all retries: the entry is not sent, stays NEW, and is carried out once the lock is gone."""
    desk = faulty_desk("busy")
    wrong = durable_before_the_send(desk)
    entry = desk.entry(take_profit=None)
    desk.service.lease.ensure(1)
    holder = sqlite3.connect(desk.store.engine.url.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseBusy):
        desk.service.execute(entry.intent_id)
    assert desk.platform.sent == []
    holder.execute("ROLLBACK")
    holder.close()
    assert desk.service.execute(entry.intent_id).state is IntentState.FILLED
    assert wrong == [] and len(desk.platform.sent) == 1


@pytest.mark.parametrize("point", ["FP2_claimed", "FP3_sending", "FP5_answered", "FP6_deals_read"])
def test_a_lock_taken_between_two_steps_loses_nothing(faulty_desk, point):
    """Somebody takes the write lock at each point and keeps it through all retries; afterwards one position, booked once."""
    desk = faulty_desk("between")
    wrong = durable_before_the_send(desk)
    holders = []

    def failpoint(name):
        if name == point and not holders:
            holders.append(sqlite3.connect(desk.store.engine.url.database, isolation_level=None))
            holders[0].execute("BEGIN IMMEDIATE")

    desk.service = desk.make_service("worker-a", failpoint=failpoint)
    entry = desk.entry(take_profit=None)
    with pytest.raises(DatabaseBusy):
        desk.service.execute(entry.intent_id)
    holders[0].close()
    for _ in range(6):
        desk.platform.tick(300)
        desk.service.reconcile()
        desk.service.execute(entry.intent_id)
    with desk.read() as work:
        state = work.intent(entry.intent_id).state
        trades = work.open_trades(desk.account_id)
    assert wrong == []
    assert state in (IntentState.FILLED, IntentState.ABANDONED)
    assert [t.position_id for t in trades] == sorted(desk.platform.positions)
    assert len(desk.platform.sent) <= 1


def test_a_full_disk_sends_nothing_that_is_not_durable(sqlite_database):
    """SQLITE_FULL at the moment of SENDING: the order is not sent, the intent is carried out once there is room."""
    from sqlalchemy import text

    desk = sql_desk(sqlite_database)
    wrong = durable_before_the_send(desk)
    entries = [desk.entry(take_profit=None) for _ in range(30)]

    def pages(limit):
        with sqlite_database.connect() as connection:
            connection.execute(text(f"PRAGMA max_page_count={limit}"))
            return connection.execute(text("PRAGMA page_count")).scalar()

    used = pages(2**30)
    failures = 0
    for room in (0, 1, 2, 3):
        pages(used + room)
        try:
            for entry in entries:
                desk.service.execute(entry.intent_id)
        except StoreError:
            failures += 1
    pages(2**30)
    for _ in range(4):
        desk.platform.tick(40)
        desk.service.reconcile()
        for entry in entries:
            desk.service.execute(entry.intent_id)
    assert failures > 0
    assert wrong == []
    with desk.read() as work:
        states = [work.intent(e.intent_id).state for e in entries]
        trades = work.open_trades(desk.account_id)
    assert all(s in SETTLED_STATES for s in states), states
    assert {t.position_id for t in trades} == set(desk.platform.positions)
    assert len({c.tag.text for c in desk.platform.sent}) == len(desk.platform.sent)

"""The n-th statement fails, for every n of a whole life of a position: nothing sent unless durable, nothing lost."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal

import pytest
from execution_desk import memory_desk, sql_desk

from toolkit.errors import StoreError
from toolkit.execution.intents import BARRIER_STATES, SETTLED_STATES, Action, IntentState
from toolkit.gateways.local import ExecutionGatewayLocal


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

    entry = desk.entry()
    deliver()
    position = next(iter(desk.platform.positions), None)
    made = [entry]
    if position is not None:
        for action, fields in (
            (Action.MODIFY_SLTP, {"stop_loss": Decimal("1.09900")}),
            (Action.REDUCE_POSITION, {"remaining_lots": Decimal("0.2")}),
            (Action.CLOSE_POSITION, {}),
        ):
            made.append(desk.exit(action, position, **fields))
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
    return failing.calls


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


@pytest.mark.parametrize("start", range(5))
def test_statements_may_fail_on_sqlite(sqlite_database, start):
    """Every 30th statement, from five starts, on a real database."""
    desk = sql_desk(sqlite_database)
    check_life(desk, 1 + start * 30)


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

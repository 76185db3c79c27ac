"""One transaction: nothing is kept unless commit is reached; writers take turns."""

from __future__ import annotations

import sqlite3
import threading
import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import event, func, select, text

from toolkit.errors import StoreError
from toolkit.execution.principal import Principal
from toolkit.store.sql.engine import make_engine
from toolkit.store.sql.models import User
from toolkit.store.sql.unit_of_work import DatabaseBusy, UnitOfWork

ME = Principal(uuid4(), "me")
AT = datetime(2026, 1, 1, tzinfo=UTC)


def users(engine):
    with UnitOfWork(engine, ME, write=False) as work:
        return work.connection.execute(select(func.count()).select_from(User)).scalar()


def add(work, name="someone"):
    work.session.add(User(user_id=uuid4(), name=name, created_at=AT))
    work.session.flush()


def test_leaving_the_block_rolls_back(database):
    """Without commit nothing is kept."""
    with UnitOfWork(database, ME) as work:
        add(work)
    assert users(database) == 0


def test_an_error_rolls_back(database):
    """An exception on the way out takes everything with it."""
    with pytest.raises(RuntimeError), UnitOfWork(database, ME) as work:
        add(work)
        raise RuntimeError
    assert users(database) == 0


def test_commit_keeps(database):
    """Only commit keeps."""
    with UnitOfWork(database, ME) as work:
        add(work)
        work.commit()
    assert users(database) == 1


def test_what_follows_a_commit_is_rolled_back(database):
    """A commit keeps what was done so far, not what comes after it."""
    with UnitOfWork(database, ME) as work:
        add(work, "a")
        work.commit()
        add(work, "b")
    assert users(database) == 1


def test_session_and_connection_share_the_transaction(database):
    """What the session wrote is visible to the connection before the commit."""
    with UnitOfWork(database, ME) as work:
        add(work)
        assert work.connection.execute(select(func.count()).select_from(User)).scalar() == 1


def test_a_unit_of_work_must_be_entered():
    """Using it outside a block is an error, not an implicit transaction."""
    with pytest.raises(StoreError, match="must be entered"):
        _ = UnitOfWork(make_engine("sqlite://"), ME).connection


def test_sqlite_is_durable(sqlite_database):
    """WAL, full synchronisation and foreign keys are on for every connection."""
    with UnitOfWork(sqlite_database, ME, write=False) as work:
        values = [
            work.connection.execute(text(f"PRAGMA {p}")).scalar()
            for p in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert values == ["wal", 2, 1]


def test_a_sqlite_writer_waits_for_its_turn(sqlite_database):
    """BEGIN IMMEDIATE waits at the door, so no transaction fails half-way."""
    order = []
    inside = threading.Event()

    def slow():
        with UnitOfWork(sqlite_database, ME) as work:
            add(work, "slow")
            inside.set()
            time.sleep(0.2)
            order.append("slow")
            work.commit()

    thread = threading.Thread(target=slow)
    thread.start()
    assert inside.wait(5)
    with UnitOfWork(sqlite_database, ME) as work:
        add(work, "quick")
        order.append("quick")
        work.commit()
    thread.join(5)
    assert order == ["slow", "quick"]
    assert users(sqlite_database) == 2


def test_a_lock_that_never_ends_is_named_after_bounded_retries(sqlite_database, sqlite_url):
    """A foreign lock gives DatabaseBusy, which says that the same call may succeed later."""
    engine = make_engine(str(sqlite_database.url), busy_timeout_ms=10)
    with UnitOfWork(sqlite_database, ME):
        with pytest.raises(DatabaseBusy) as busy, UnitOfWork(engine, ME):
            pass
        assert busy.value.retryable
    engine.dispose()


def test_a_reader_does_not_wait_for_a_writer(database):
    """Reading goes on while somebody writes, and sees the state before."""
    with UnitOfWork(database, ME) as work:
        add(work)
        assert users(database) == 0
        work.commit()
    assert users(database) == 1


def test_a_commit_that_fails_leaves_no_transaction_behind(sqlite_url):
    """The connection is given up: whoever works next can begin, and nothing of the failed work is there."""

    class Full(sqlite3.Connection):
        fails = False

        def commit(self):
            if Full.fails:
                Full.fails = False
                raise sqlite3.OperationalError("database or disk is full")
            super().commit()

    engine = make_engine(sqlite_url)

    @event.listens_for(engine, "do_connect")
    def _full(_dialect, _record, _arguments, options):
        options["factory"] = Full

    with UnitOfWork(engine, ME) as work:
        work.connection.execute(text("CREATE TABLE t (x INTEGER)"))
        work.commit()
    with pytest.raises(StoreError, match="disk is full"), UnitOfWork(engine, ME) as work:
        work.connection.execute(text("INSERT INTO t VALUES (1)"))
        Full.fails = True
        work.commit()
    for _ in range(3):
        with UnitOfWork(engine, ME) as work:
            assert work.connection.execute(text("SELECT count(*) FROM t")).scalar() == 0
            work.commit()
    engine.dispose()


def test_a_failing_statement_is_named_for_whoever_may_try_again(sqlite_database):
    """What the driver says of disk or lock leaves the block as the store's own error, not as SQLAlchemy's."""
    with pytest.raises(StoreError, match="no such table"), UnitOfWork(sqlite_database, ME) as work:
        work.connection.execute(text("SELECT * FROM nowhere"))

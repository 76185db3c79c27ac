"""Opening the database: pragmas, locking and the check of its schema version."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError

from toolkit.clock import from_ns, now
from toolkit.errors import StoreError
from toolkit.settings import redacted_url
from toolkit.store.sql.unit_of_work import READ_ONLY

BUSY_TIMEOUT_MS = 5_000
_REST_SECONDS = 1.0
_MIGRATION_LOCK = 0x5EA7_121A  # any number; the same in every process


class SchemaMismatch(StoreError):
    """Raised when the database belongs to another version of the toolkit; nothing was changed."""


def open_database(
    url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, upgrade: Literal["alone", "always"] = "alone"
) -> Engine:
    """Open a database: create its schema when it is empty, migrate an older one, refuse a newer one.

    Several processes may call this at once; one migrates, the others wait.

    Parameters
    ----------
    url
        SQLAlchemy URL of SQLite or PostgreSQL.
    upgrade
        ``alone``: an older schema is migrated only while no process holds an account, since those at work are of the
        older toolkit. ``always``: also then; a revision only ever adds, so they go on (`seatrial db upgrade`).

    Raises
    ------
    SchemaMismatch
        When the database was made by a newer toolkit, or holds tables without a version, or processes of an older
        toolkit are at work on it.
    StoreError
        When the database cannot be reached.
    """
    engine = make_engine(url, busy_timeout_ms=busy_timeout_ms)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            migrate(connection, alone=upgrade == "alone")
    except DBAPIError as error:
        engine.dispose()
        raise StoreError(f"database {redacted_url(url)} cannot be opened: {error.orig}") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def migrate(connection: Connection, *, alone: bool = False) -> None:
    """Bring the schema to this toolkit's version, inside the caller's transaction.

    Raises
    ------
    SchemaMismatch
        See `open_database`.
    """
    from alembic import command
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = _alembic()
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    head = script.get_current_head()
    if current == head:
        return
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise SchemaMismatch(
            f"database schema must be at most {head}, was {current}: it belongs to a newer toolkit, upgrade this one"
        )
    if current is None and _has_tables(connection):
        raise SchemaMismatch(
            "database must be empty or made by Seatrial, was full of other tables: give an empty database or schema"
        )
    if current is not None and alone:
        at_work = _owners(connection)
        if at_work:
            raise SchemaMismatch(
                f"database schema must be {head}, was {current}, and {', '.join(at_work)} of an older toolkit are at work on "
                "it: stop them, or run `seatrial db upgrade`, which adds what is missing while they go on"
            )
    command.upgrade(config, "head")


def _alembic() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "toolkit.store:migrations")
    return config


def _owners(connection: Connection) -> list[str]:
    """Return who holds an account now; asked in words that every revision of the schema understands."""
    words = "SELECT owner, until FROM account_leases WHERE owner <> '' AND until IS NOT NULL"
    current = now()
    found = []
    for owner, until in connection.exec_driver_sql(words):
        moment = until if hasattr(until, "tzinfo") else from_ns(int(until) * 1000)
        if moment > current:
            found.append(str(owner))
    return sorted(found)


def head_of() -> str:
    """Return the revision of this toolkit's schema."""
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory.from_config(_alembic()).get_current_head())


def schema_of(url: str) -> str:
    """Return the revision of a database's schema, empty when it has none or is not there; nothing is changed.

    Raises
    ------
    StoreError
        When the database cannot be reached.
    """
    from alembic.runtime.migration import MigrationContext

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        return ""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() or ""
    except DBAPIError as error:
        raise StoreError(f"database {redacted_url(url)} cannot be opened: {error.orig}") from error
    finally:
        engine.dispose()


def _has_tables(connection: Connection) -> bool:
    from sqlalchemy import inspect

    names = set(inspect(connection).get_table_names())
    return bool(names & {"accounts", "execution_intents", "live_runs"})


def make_engine(url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """Return an engine for SQLite or PostgreSQL with the durability that execution relies on; runs no migration.

    Parameters
    ----------
    url
        SQLAlchemy URL. ``postgresql://`` is taken as ``postgresql+psycopg://``.
    busy_timeout_ms
        How long SQLite waits for another writer before it answers "locked", in milliseconds.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": busy_timeout_ms / 1000, "check_same_thread": False})
        _durable_sqlite(engine, busy_timeout_ms)
        return engine
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(
        parsed, connect_args={"options": "-c timezone=UTC -c lock_timeout=5000 -c synchronous_commit=on"}
    )
    _ping_after_rest(engine)
    return engine


def _ping_after_rest(engine: Engine) -> None:
    """Try a pooled connection before use when it has rested: a server that was restarted is then met with a new one.

    ``pool_pre_ping`` asks before every use, which on the way of an order is one round trip for each transaction.
    """

    @event.listens_for(engine, "checkin")
    def _rest(_connection: Any, record: Any) -> None:
        record.info["seatrial_rests_since"] = monotonic()

    @event.listens_for(engine, "checkout")
    def _try(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.get("seatrial_rests_since")
        if since is None or monotonic() - since < _REST_SECONDS:
            return
        try:
            connection.autocommit = True
            connection.execute("SELECT 1")
            connection.autocommit = False
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError("the connection did not survive its rest") from error


def _durable_sqlite(engine: Engine, busy_timeout_ms: int) -> None:
    @event.listens_for(engine, "connect")
    def _pragmas(dbapi_connection: sqlite3.Connection, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # the driver opens no transaction of its own; we do, below
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # WAL + FULL: a commit survives power loss
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={int(busy_timeout_ms)}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # On the driver itself: nothing of a statement's machinery is needed, and every unit of work begins here.
        begin = "BEGIN" if connection.get_execution_options().get(READ_ONLY, False) else "BEGIN IMMEDIATE"
        driver: Any = connection.connection.dbapi_connection
        try:
            driver.execute(begin)
        except sqlite3.OperationalError as error:
            raise OperationalError(begin, None, error) from error

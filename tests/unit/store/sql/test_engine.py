"""Opening a database: created when empty, migrated to the models, refused when foreign."""

from __future__ import annotations

import threading
import time

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from toolkit.errors import StoreError
from toolkit.store.sql.engine import SchemaMismatch, make_engine, open_database
from toolkit.store.sql.models import Base


def test_an_empty_database_migrated_equals_the_models(database_url):
    """The migrations and the models describe one schema: tables, columns, types, keys, indexes."""
    engine = open_database(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
        tables = set(inspect(connection).get_table_names())
    engine.dispose()
    assert differences == []
    assert tables == set(Base.metadata.tables) | {"alembic_version"}


def test_every_table_of_the_design_is_there():
    """DESIGN section 7 by name."""
    wanted = {
        "users", "accounts", "bots", "bot_versions", "live_runs", "execution_intents", "intent_events", "platform_events",
        "orders", "trades", "live_run_trade_links", "outbox", "account_leases", "guardrail_trips", "run_events", "audit",
        "bars_seen",
    }  # fmt: skip
    assert wanted <= set(Base.metadata.tables)


def test_a_bot_has_no_account():
    """Accounts belong to runs."""
    assert "account_id" not in Base.metadata.tables["bots"].c
    assert "account_id" not in Base.metadata.tables["bot_versions"].c
    assert not Base.metadata.tables["live_runs"].c.account_id.nullable


def test_opening_again_changes_nothing(database_url):
    """A database of this version is opened as it is."""
    open_database(database_url).dispose()
    engine = open_database(database_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
    engine.dispose()


def test_a_newer_database_is_refused(database_url):
    """A schema this toolkit does not know is not touched."""
    engine = open_database(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(SchemaMismatch, match="9999"):
        open_database(database_url)


def test_a_database_of_other_tables_is_refused(database_url):
    """Tables of the same names without a version are somebody else's."""
    engine = make_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE accounts (n INTEGER)"))
    engine.dispose()
    with pytest.raises(SchemaMismatch, match="empty"):
        open_database(database_url)


def test_two_processes_may_open_an_empty_database_at_once(database_url):
    """One migrates, the other waits; both end with the same schema."""
    failures = []

    def run():
        try:
            open_database(database_url).dispose()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_an_unreachable_database_is_named_without_its_password():
    """The message shows where, never the secret."""
    with pytest.raises(StoreError) as refused:
        open_database("postgresql://u:canary-secret@127.0.0.1:1/none")
    assert "127.0.0.1" in str(refused.value)
    assert "canary-secret" not in str(refused.value)


def test_a_pooled_connection_that_the_server_has_ended_is_replaced_after_a_rest(postgres_database):
    """A restarted PostgreSQL is met with a new connection, not with an error in the middle of an order."""
    with postgres_database.connect() as connection:
        ours = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    other = create_engine(postgres_database.url)
    with other.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_terminate_backend({ours})")
    other.dispose()
    time.sleep(1.1)
    with postgres_database.connect() as connection:
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() != ours

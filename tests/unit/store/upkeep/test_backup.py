"""Backup and restore: taken while a run trades, restored whole, refused when damaged or when something would be lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from toolkit.bootstrap import build
from toolkit.errors import StoreError
from toolkit.live.advance import advance
from toolkit.market import Bars
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.settings import Settings
from toolkit.store.sql.engine import SchemaMismatch, head_of, make_engine, open_database, schema_of
from toolkit.store.upkeep.backup import integrity_findings, restore_backup, write_backup


def settings_of(home: Path, url: str = "") -> Settings:
    """Return settings that read no environment file."""
    return Settings(home=home, database_url=url, _env_file=None)  # type: ignore[call-arg, arg-type]


def half_way(home: Path, url: str, bars: Bars) -> tuple[Settings, Sea, object]:
    """Start a replay and stop it in the middle, with the process still holding everything open."""
    settings = settings_of(home, url)
    sea = Sea(build(settings))
    run = sea.run(sea.version(EmaCross(), bars), sea.account(), bars)
    while len(sea.trades(run)) < 5:
        advance(sea.engine, run.live_run_id, run.account_id, limit=40)
    return settings, sea, run


def test_restart_from_a_backup_ends_as_the_unbroken_run(tmp_path: Path, some_bars: Bars) -> None:
    """A backup taken while the run is under way, restored elsewhere, goes on to the trades of the backtest."""
    settings, sea, run = half_way(tmp_path / "a", "", some_bars)
    write_backup(settings.effective_database_url, settings.home, tmp_path / "backup")
    sea.finish(run)
    sea.engine.close()
    there = settings_of(tmp_path / "b")
    restore_backup(there.effective_database_url, there.home, tmp_path / "backup")
    assert integrity_findings(there.effective_database_url) == []
    other = Sea(build(there))
    try:
        ended = other.finish(run)
        account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
        expected = normalise_all(tk.backtest(EmaCross(), some_bars, account=account).trade_records)
        assert (ended.status, first_difference(expected, other.trades(run))) == ("STOPPED", None)
    finally:
        other.engine.close()


def test_restart_on_postgresql_from_a_backup(
    tmp_path: Path, postgres_url: str, postgres_server: str, some_bars: Bars
) -> None:
    """The same through pg_dump and pg_restore, into an empty database of the same server."""
    settings, sea, run = half_way(tmp_path / "a", postgres_url, some_bars)
    write_backup(postgres_url, settings.home, tmp_path / "backup")
    sea.engine.close()
    engine = make_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    restore_backup(postgres_url, tmp_path / "b", tmp_path / "backup")
    assert integrity_findings(postgres_url) == []
    other = Sea(build(settings_of(tmp_path / "b", postgres_url)))
    try:
        assert other.finish(run).status == "STOPPED"
    finally:
        other.engine.close()


def test_a_damaged_backup_is_refused_and_nothing_is_touched(tmp_path: Path, sea: Sea) -> None:
    """One altered byte is found before anything is written."""
    write_backup(sea.engine.settings.effective_database_url, sea.home, tmp_path / "backup")
    copy = tmp_path / "backup" / "seatrial.db"
    raw = bytearray(copy.read_bytes())
    raw[len(raw) // 2] ^= 1
    copy.write_bytes(raw)
    target = settings_of(tmp_path / "b")
    with pytest.raises(StoreError, match=r"seatrial\.db of the backup must be as it was written"):
        restore_backup(target.effective_database_url, target.home, tmp_path / "backup")
    assert not target.home.exists()


def test_a_restore_never_overwrites(tmp_path: Path, sea: Sea) -> None:
    """Where a database is already, the restore is refused."""
    url = sea.engine.settings.effective_database_url
    write_backup(url, sea.home, tmp_path / "backup")
    with pytest.raises(StoreError, match="absent or empty"):
        restore_backup(url, sea.home, tmp_path / "backup")
    with pytest.raises(StoreError, match="must be new"):
        write_backup(url, sea.home, tmp_path / "backup")


def test_the_manifest_names_what_is_in_it(tmp_path: Path, sea: Sea, some_bars: Bars) -> None:
    """Database, venue journals and stored bars are there with their hashes; passwords are not."""
    sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    write_backup(sea.engine.settings.effective_database_url, sea.home, tmp_path / "backup")
    manifest = json.loads((tmp_path / "backup" / "manifest.json").read_text())
    kinds = {name.partition("/")[0] for name in manifest["files"]}
    assert kinds == {"seatrial.db", "venues", "bars"} and manifest["schema"] == head_of()


def test_an_altered_audit_trail_is_found(sea: Sea) -> None:
    """The check names the first row that does not follow from the one before."""
    sea.account()
    url = sea.engine.settings.effective_database_url
    assert integrity_findings(url) == []
    with sqlite3.connect(sea.home / "seatrial.db") as db:
        db.execute("UPDATE audit SET detail = 'nothing happened' WHERE audit_id = 1")
    assert any("broken at row 1" in line for line in integrity_findings(url))


def _older(url: str) -> None:
    """Take the newest revision off a database."""
    from alembic import command

    from toolkit.store.sql.engine import _alembic

    engine = make_engine(url)
    with engine.begin() as connection:
        config = _alembic()
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")
    engine.dispose()


def test_an_older_database_with_processes_at_work_is_not_migrated_unasked(make_sea: Callable[..., Sea]) -> None:
    """The refusal names who is at work and the command; asked for, the upgrade is done while they go on."""
    sea = make_sea()
    account = sea.account()
    sea.engine.desk(account.account_id)  # takes the account's lease
    url = sea.engine.settings.effective_database_url
    _older(url)
    with pytest.raises(SchemaMismatch, match="seatrial db upgrade"):
        open_database(url)
    assert schema_of(url) != head_of()
    open_database(url, upgrade="always").dispose()
    assert schema_of(url) == head_of()


def test_an_older_database_at_rest_is_migrated(make_sea: Callable[..., Sea]) -> None:
    """Nobody at work: opening it brings it up to date."""
    sea = make_sea()
    url = sea.engine.settings.effective_database_url
    _older(url)
    open_database(url).dispose()
    assert schema_of(url) == head_of()


def test_restart_workers_go_on_while_the_schema_gains_a_table(tmp_path: Path, some_bars: Bars) -> None:
    """An upgrade only adds, so a process that does not know the new column and table ends its run as ever."""
    settings, sea, run = half_way(tmp_path / "a", "", some_bars)
    engine = make_engine(settings.effective_database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE live_runs ADD COLUMN later_idea VARCHAR(10)"))
        connection.execute(text("ALTER TABLE execution_intents ADD COLUMN later_idea INTEGER DEFAULT 0 NOT NULL"))
        connection.execute(text("CREATE TABLE later_table (n INTEGER)"))
    engine.dispose()
    try:
        assert sea.finish(run).status == "STOPPED"
    finally:
        sea.engine.close()

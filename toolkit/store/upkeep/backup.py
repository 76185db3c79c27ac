"""Backup and restore through the databases' own means: SQLite's backup, ``pg_dump`` and ``pg_restore``.

A backup is a folder: the database, the journals of the paper venues, the stored bars, and a manifest with a hash of each.
The database is written first, so that a restored venue may know more than it, never less: reconciliation adopts what it
finds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import URL, inspect, make_url

from toolkit.clock import now
from toolkit.errors import MissingPackage, StoreError, must_be
from toolkit.settings import redacted_url
from toolkit.store.people.audit import first_broken_row
from toolkit.store.sql.engine import head_of, make_engine, schema_of

MANIFEST = "manifest.json"
_SQLITE_NAME = "seatrial.db"
_POSTGRES_NAME = "seatrial.dump"
_PARTS = ("venues/*.db", "bars/*.npz")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds: when it was made, of which schema, and each file with its sha256."""

    made_at: str
    schema: str
    database: str
    files: dict[str, str]


def write_backup(url: str, home: Path, folder: Path) -> Manifest:
    """Write a backup into a folder that does not exist yet; runs and workers may go on meanwhile.

    Raises
    ------
    StoreError
        When the folder is there already, or the database has no schema.
    MissingPackage
        When PostgreSQL's own programs are not installed.
    """
    if folder.exists():
        raise StoreError(must_be("folder of the backup", "new", str(folder), "name another folder"))
    schema = schema_of(url)
    if not schema:
        raise StoreError(must_be("database", "one of Seatrial", redacted_url(url), "run `seatrial init` first"))
    parsed = make_url(url)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if parsed.get_backend_name() == "sqlite":
        _copy_sqlite(Path(str(parsed.database)), partial / _SQLITE_NAME)
    else:
        _postgres("pg_dump", parsed, "--format=custom", f"--file={partial / _POSTGRES_NAME}", "--no-owner")
    for pattern in _PARTS:
        for source in sorted(home.glob(pattern)):
            target = partial / source.relative_to(home)
            target.parent.mkdir(exist_ok=True)
            if source.suffix == ".db":
                _copy_sqlite(source, target)
            else:
                shutil.copyfile(source, target)
    files = {p.relative_to(partial).as_posix(): _sha256(p) for p in sorted(partial.rglob("*")) if p.is_file()}
    manifest = Manifest(now().isoformat(), schema, parsed.get_backend_name(), files)
    (partial / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
    partial.rename(folder)
    return manifest


def read_backup(folder: Path) -> Manifest:
    """Return the manifest of a backup after comparing every file with its hash.

    Raises
    ------
    StoreError
        Naming the first file that is missing or altered.
    """
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(
            must_be("backup", "a folder with a manifest", str(folder), "name a backup's folder")
        ) from error
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file() or _sha256(path) != digest:
            was = "altered" if path.is_file() else "missing"
            raise StoreError(must_be(f"file {name} of the backup", "as it was written", was, "use another backup"))
    return manifest


def restore_backup(url: str, home: Path, folder: Path) -> Manifest:
    """Put a backup in place where nothing is yet.

    Raises
    ------
    StoreError
        When the backup is damaged or of another kind of database, or something is already there: nothing is overwritten.
    """
    manifest = read_backup(folder)
    parsed = make_url(url)
    if parsed.get_backend_name() != manifest.database:
        raise StoreError(
            must_be("database", f"{manifest.database}, as in the backup", parsed.get_backend_name(), "set the URL")
        )
    if schema_of(url) or _has_tables(url):
        raise StoreError(
            must_be("database", "absent or empty", redacted_url(url), "move it away, or name another SEATRIAL_HOME")
        )
    there = [p for pattern in _PARTS for p in home.glob(pattern) if p.suffix == ".db"]
    if there:
        raise StoreError(must_be("paper venues", "absent", str(there[0]), "move them away"))
    home.mkdir(parents=True, exist_ok=True)
    for name in manifest.files:
        if "/" in name:
            target = home / name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, target)
    if manifest.database == "sqlite":
        target = Path(str(parsed.database))
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_sqlite(folder / _SQLITE_NAME, target)
    else:
        dump = str(folder / _POSTGRES_NAME)
        _postgres("pg_restore", parsed, "--no-owner", "--single-transaction", "--exit-on-error", dump, into=True)
    return manifest


def integrity_findings(url: str) -> list[str]:
    """Return what is wrong with a database, in words; empty when nothing is."""
    found: list[str] = []
    schema = schema_of(url)
    if schema != head_of():
        found.append(must_be("schema", head_of(), schema or "none", "run `seatrial db upgrade`"))
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                answers = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check").all()]
                found += [f"integrity check: {answer}" for answer in answers if answer != "ok"]
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                found += [f"row {row[1]} of {row[0]} points at nothing in {row[2]}" for row in broken]
            if schema:
                row_id = first_broken_row(connection)
                if row_id is not None:
                    found.append(f"the audit trail is broken at row {row_id}: it was altered outside Seatrial")
    finally:
        engine.dispose()
    return found


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database that may be in use, complete with what is still in its write-ahead log, and check the copy."""
    if not source.is_file():
        raise StoreError(must_be("database", "a file", str(source), "check SEATRIAL_HOME"))
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
        read.backup(written)
        written.execute("PRAGMA journal_mode=DELETE")
        answer = written.execute("PRAGMA integrity_check").fetchone()[0]
    if answer != "ok":
        raise StoreError(must_be(f"copy of {source.name}", "whole", answer, "check the disk"))


def _postgres(program: str, url: URL, *arguments: str, into: bool = False) -> None:
    found = shutil.which(program)
    if found is None:
        raise MissingPackage(f"{program} is needed for a backup of PostgreSQL: install PostgreSQL's client programs")
    name = str(url.database)
    place = [f"--dbname={name}"] if into else [name]
    command = [found, f"--host={url.host or 'localhost'}", f"--port={url.port or 5432}", "--no-password"]
    if url.username:
        command.append(f"--username={url.username}")
    # The password goes through the environment: arguments can be read by every user of the machine.
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    done = subprocess.run(  # noqa: S603 - a program of the system, arguments of ours
        [*command, *arguments, *place], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StoreError(f"{program} failed: {done.stderr.strip()[-500:]}")


def _has_tables(url: str) -> bool:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        return False
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return bool(inspect(connection).get_table_names())
    finally:
        engine.dispose()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()

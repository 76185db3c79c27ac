"""Fixtures used across the suite: a database on each engine, and services that skip at home and fail where required."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, text

sys.path.insert(0, str(Path(__file__).parent / "support"))  # helpers shared by several folders of tests


pytest_plugins = ("tests.plugins.servers", "tests.plugins.live_support")


def _missing(what: str) -> None:
    """Skip a test that needs a service, or fail it where services are required."""
    if os.environ.get("SEATRIAL_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what} is required (SEATRIAL_REQUIRE_SERVICES=1) and missing")
    pytest.skip(f"{what} is not installed here")


def _postgres_bin() -> Path | None:
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        found = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
        if (Path(found) / "initdb").exists():
            return Path(found)
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    beside = shutil.which("initdb")
    return Path(beside).parent if beside else None


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _as_user() -> list[str]:
    """PostgreSQL refuses to run as root; use the account its package made, or nobody."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return []
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return ["runuser", "-u", name, "--"]
    return []


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of its own: URL of its maintenance database; stopped and removed at the end."""
    binaries = _postgres_bin()
    if binaries is None:
        _missing("PostgreSQL")
        raise AssertionError("unreachable")
    user = _as_user()
    home = Path(tempfile.mkdtemp(prefix="seatrial-pg-"))
    try:
        if user:
            shutil.chown(home, user[2])
        port = free_port()
        data = home / "data"
        log = home / "log"
        subprocess.run(
            [
                *user,
                str(binaries / "initdb"),
                "-D",
                str(data),
                "-U",
                "seatrial",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=home,
        )
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home} -c fsync=off"
        control = [*user, str(binaries / "pg_ctl"), "-D", str(data), "-l", str(log), "-w", "-t", "30"]
        subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd=home)
        try:
            yield f"postgresql+psycopg://seatrial@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _postgres_database(server: str, template: str = "template1") -> Iterator[str]:
    name = f"t{uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield server.rsplit("/", 1)[0] + "/" + name
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database for one test."""
    with _postgres_database(postgres_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file of its own for one test."""
    return f"sqlite:///{tmp_path / 'seatrial.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, once on SQLite and once on PostgreSQL."""
    return str(request.getfixturevalue(f"{request.param}_url"))


def _migrated(url: str) -> None:
    from toolkit.store.sql.engine import open_database

    open_database(url).dispose()


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "seatrial.db"
    _migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: str) -> Iterator[str]:
    with _postgres_database(postgres_server) as url:
        _migrated(url)
        yield url.rsplit("/", 1)[1]


@pytest.fixture
def sqlite_database(_sqlite_template: Path, tmp_path: Path) -> Iterator[Engine]:
    """A migrated SQLite database for one test."""
    from toolkit.store.sql.engine import make_engine

    path = tmp_path / "migrated.db"
    shutil.copyfile(_sqlite_template, path)
    engine = make_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_database(postgres_server: str, _postgres_template: str) -> Iterator[Engine]:
    """A migrated PostgreSQL database for one test."""
    from toolkit.store.sql.engine import make_engine

    with _postgres_database(postgres_server, _postgres_template) as url:
        engine = make_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Engine:
    """A migrated database, once on SQLite and once on PostgreSQL."""
    engine = request.getfixturevalue(f"{request.param}_database")
    assert isinstance(engine, Engine)
    return engine


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def desk(request: pytest.FixtureRequest) -> Any:
    """An account with a running run, a scripted platform and a TradeService, on every store."""
    from execution_desk import memory_desk, sql_desk

    if request.param == "memory":
        return memory_desk()
    return sql_desk(request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture
def memory() -> Any:
    """An account with a running run, a scripted platform and a TradeService, in memory."""
    from execution_desk import memory_desk

    return memory_desk()


def wait_until(condition: object, seconds: float = 10.0) -> None:
    """Wait until the callable says true; fail after a deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if callable(condition) and condition():
            return
        time.sleep(0.02)
    pytest.fail(f"condition did not hold within {seconds} s")

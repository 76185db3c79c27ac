"""A PostgreSQL server for scripts that run outside pytest: its own process, port and folder, durable like a real one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import _as_user, _postgres_bin, free_port


class PostgresServer:
    """Started when made; `close` stops it and removes its folder."""

    def __init__(self) -> None:
        binaries = _postgres_bin()
        if binaries is None:
            raise SystemExit("PostgreSQL must be installed")
        user = _as_user()
        self._home = Path(tempfile.mkdtemp(prefix="seatrial-pg-", dir="/tmp"))
        if user:
            shutil.chown(self._home, user[2])
        port, data = free_port(), self._home / "data"
        init = [*user, str(binaries / "initdb"), "-D", str(data), "-U", "seatrial", "-A", "trust", "-E", "UTF8"]
        subprocess.run(init, check=True, capture_output=True, cwd=self._home)
        self._control = [*user, str(binaries / "pg_ctl"), "-D", str(data), "-l", str(self._home / "log"), "-w"]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._home}"
        subprocess.run([*self._control, "-o", options, "start"], check=True, capture_output=True, cwd=self._home)
        self.url = f"postgresql+psycopg://seatrial@127.0.0.1:{port}/postgres"

    def close(self) -> None:
        """Stop the server and remove what it wrote."""
        subprocess.run([*self._control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=self._home)
        shutil.rmtree(self._home, ignore_errors=True)

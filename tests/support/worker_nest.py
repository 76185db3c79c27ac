"""A process that forks worker processes on demand, with the imports done once: a real process each, in a tenth of the time.

Used by the chaos lane and the end-to-end lane. A worker may be told to kill itself with -9 at a named point.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESEARCH = ("numba", "pandas", "pyarrow", "vectorbt", "holoviews", "dask", "optuna", "panel")


class WorkerNest:
    """Starts and kills workers.

    Parameters
    ----------
    environment
        SEATRIAL_* variables of every worker.
    folder
        Where their log lines go, one file each.
    """

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.folder = folder
        self.logs: list[Path] = []
        self.log_of: dict[int, Path] = {}  # by process id
        self._turn = threading.Lock()
        self._environment = environment
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def start(self, gateway: str, accounts: list[str], *, die_at: str = "", occurrence: int = 1, **extra: str) -> int:
        """Start a worker and return its process id.

        Parameters
        ----------
        die_at, occurrence
            Kill -9 itself when it comes by this point for the n-th time: a failpoint of the trade service,
            ``before_publish`` or ``after_publish``.
        """
        with self._turn:
            log = self.folder / f"worker-{len(self.logs)}.log"
            self.logs.append(log)
            pid = self._fork(log, gateway, accounts, die_at, occurrence, extra)
            self.log_of[pid] = log
            return pid

    def _fork(
        self, log: Path, gateway: str, accounts: list[str], die_at: str, occurrence: int, extra: dict[str, str]
    ) -> int:
        job = {
            "environment": self._environment | extra,
            "gateway": gateway,
            "accounts": accounts,
            "log": str(log),
            "die_at": die_at,
            "occurrence": occurrence,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the nest; its workers must have been stopped."""
        self._process.kill()
        self._process.wait(10)


def _worker(job: dict[str, Any]) -> None:
    out = os.open(job["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.setsid()
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)  # what a worker that stands still is doing
    os.environ.update(job["environment"])
    for name in RESEARCH:  # a worker's image has none of them: importing one fails here as it does there
        sys.modules[name] = None  # type: ignore[assignment]
    from toolkit.settings import Settings
    from toolkit.telemetry.logging import configure_logging
    from workers import process

    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    configure_logging(settings.log_level)
    if job["die_at"]:
        _doom(process, job["die_at"], job["occurrence"], job["gateway"])
    process.serve(settings, job["accounts"], job["gateway"])


def _doom(process: Any, point: str, occurrence: int, gateway: str) -> None:
    from toolkit.bootstrap import build
    from toolkit.gateways import dramatiq_bus

    left = occurrence

    def failpoint(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    owner: Any = dramatiq_bus._ExecutionGatewayBus
    name = "_publish"
    if gateway == "kafka":
        from toolkit.gateways.kafka.link import KafkaLink

        owner, name = KafkaLink, "send"
    publish = getattr(owner, name)

    def doomed_publish(self: Any, *arguments: Any) -> Any:
        failpoint("before_publish")
        answer = publish(self, *arguments)
        failpoint("after_publish")
        return answer

    setattr(owner, name, doomed_publish)
    process.build = lambda settings, **given: build(settings, failpoint=failpoint, **given)


def main() -> None:
    """Read jobs, fork."""
    sys.path.insert(0, str(ROOT))
    import numpy  # noqa: F401
    import psycopg  # noqa: F401

    import workers.kafka.carriage
    import workers.process  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _worker(job)
                code = 0
            except BaseException:
                traceback.print_exc()  # into the worker's log: nobody else would ever hear of it
                raise
            finally:
                os._exit(code)
        print(pid, flush=True)
        while True:  # the killed ones are gone for good once they are waited for
            try:
                done, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if done == 0:
                break


if __name__ == "__main__":
    main()

"""Keeping a worker process alive: a message that kills it must not end the trading of its accounts."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import FrameType

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
# A worker that lived this long was healthy: the next death starts with a short pause again.
_HEALTHY_SECONDS = 60.0


def supervise(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command until SIGTERM or SIGINT; start it again, with growing pauses, whenever it dies.

    Returns
    -------
    int
        Exit code of the last child, after it was told to stop.
    """
    asked: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def stop(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    pause = _FIRST_PAUSE_SECONDS
    while True:
        started = time.monotonic()
        # a session of its own: Ctrl+C reaches the supervisor only, which then stops the worker in order
        child = subprocess.Popen(command, env=dict(environment), start_new_session=True)  # noqa: S603 - our interpreter
        if asked:
            child.send_signal(signal.SIGTERM)
        code = child.wait()
        if asked:
            return code
        if time.monotonic() - started > _HEALTHY_SECONDS:
            pause = _FIRST_PAUSE_SECONDS
        deadline = time.monotonic() + pause
        while time.monotonic() < deadline and not asked:
            time.sleep(0.05)
        if asked:
            return code
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

"""An exclusive lock on a file, held by the operating system, so that it ends with the process however that ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from toolkit.errors import PlatformUnavailable


class FileLock:
    """Exclusive, non-waiting lock on ``path``; the file holds the process id of its owner, for the message only.

    Parameters
    ----------
    path
        File to lock; created when missing, never deleted (deleting a lock file is a race).
    what
        What the lock guards, for the refusal ("the journal of paper-1").
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._file: IO[bytes] | None = None

    @property
    def held(self) -> bool:
        """Tell whether this object holds the lock."""
        return self._file is not None

    def acquire(self) -> None:
        """Take the lock now.

        Raises
        ------
        PlatformUnavailable
            When another process, or another object of this one, holds it.
        """
        if self._file is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # "a+" never truncates: the owner's id must survive a failed attempt of somebody else
        file = self._path.open("a+b")
        try:
            _lock(file)
        except OSError:
            owner = _owner(file)
            file.close()
            raise PlatformUnavailable(
                f"{self._what} must be open in one process only, was already open in process {owner}: "
                f"stop that process, or use another account (lock file {self._path})"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()).encode())
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        if self._file is None:
            return
        file, self._file = self._file, None
        _unlock(file)
        file.close()


def _owner(file: IO[bytes]) -> str:
    try:
        file.seek(0)
        return file.read(32).decode("ascii", "replace") or "unknown"
    except OSError:  # Windows refuses to read a locked region
        return "unknown"


if sys.platform == "win32":  # pragma: no cover - exercised on Windows only
    import msvcrt

    # the byte locked lies far behind the text, so that the owner's id stays readable
    _OFFSET = 1 << 20

    def _lock(file: IO[bytes]) -> None:
        file.seek(_OFFSET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: IO[bytes]) -> None:
        file.seek(_OFFSET)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)

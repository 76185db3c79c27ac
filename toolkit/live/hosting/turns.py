"""Whose turn it is on an account in this process: a venue's clock, a trade service and a run's memory have one user at a time.

Between processes the venue's lock and the account's lease see to that.
"""

from __future__ import annotations

import threading
from uuid import UUID
from weakref import WeakValueDictionary

from toolkit.live.engine import Engine


class Turn:
    """A lock that can be weakly referenced: it is forgotten when nobody works on the account."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_turns: WeakValueDictionary[tuple[int, UUID], Turn] = WeakValueDictionary()
_guard = threading.Lock()


def turn_of(engine: Engine, account_id: UUID) -> Turn:
    """Return the lock of an account in this process."""
    with _guard:
        return _turns.setdefault((id(engine), account_id), Turn())

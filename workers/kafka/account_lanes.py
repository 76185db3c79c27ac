"""Pointers that wait for their account: one thread for each account of this worker, and how far a partition may be committed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from toolkit.gateways.envelope import Pointer


class PartitionProgress:
    """How far a partition is done: the offset before which every message taken has been finished."""

    def __init__(self) -> None:
        self._open: dict[int, bool] = {}  # offset: finished, in the order of taking
        self._next: int | None = None
        self._told: int | None = None
        self._guard = threading.Lock()

    def take(self, offset: int) -> None:
        """Note a message that was received."""
        with self._guard:
            if self._next is None:
                self._next = offset
            self._open[offset] = False

    def give_back(self, offset: int) -> None:
        """Forget a message that is going to be received again."""
        with self._guard:
            self._open.pop(offset, None)

    def done(self, offset: int) -> None:
        """Note a message that needs nothing any more."""
        with self._guard:
            if offset not in self._open:
                return
            self._open[offset] = True
            for first in list(self._open):
                if not self._open[first]:
                    break
                del self._open[first]
                self._next = first + 1

    def to_commit(self) -> int | None:
        """Return the offset to commit when it has grown since the last call, else None."""
        with self._guard:
            if self._next is None or self._next == self._told:
                return None
            self._told = self._next
            return self._next

    def behind(self, high: int) -> int:
        """Return how many messages up to the partition's end are not finished."""
        with self._guard:
            return 0 if self._next is None else max(0, high - self._next)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pointer with the message it came in."""

    pointer: Pointer
    message: Any
    partition: int
    offset: int


class AccountLane:
    """Carries out an account's pointers one after the other, in the order they came.

    Parameters
    ----------
    work
        Carries out one pointer; it must not raise.
    left
        Told of each pointer that was never begun when the lane ends.
    """

    def __init__(self, account_id: UUID, work: Callable[[Waiting], None], left: Callable[[Waiting], None]) -> None:
        self._work = work
        self._left = left
        self._items: deque[Waiting] = deque()
        self._ids: set[UUID] = set()
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"lane-{str(account_id)[:8]}", daemon=True)
        self._thread.start()

    def put(self, item: Waiting) -> bool:
        """Take a pointer; False when its intent waits here already, or the lane has ended."""
        with self._news:
            if self._ended or item.pointer.intent_id in self._ids:
                return False
            self._items.append(item)
            self._ids.add(item.pointer.intent_id)
            self._news.notify()
            return True

    def waiting(self) -> int:
        """Return how many pointers wait behind the one that is being carried out."""
        with self._news:
            return len(self._items)

    def forget(self) -> None:
        """Drop what waits: its partition goes to another worker, which receives it from there."""
        with self._news:
            self._items.clear()
            self._ids.clear()

    def end(self) -> None:
        """Begin nothing more; what waits is left."""
        with self._news:
            self._ended = True
            rest = list(self._items)
            self._items.clear()
            self._news.notify()
        for item in rest:
            self._left(item)

    def join(self, seconds: float) -> None:
        """Wait for the pointer that is being carried out."""
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._items and not self._ended:
                    self._news.wait()
                if self._ended:
                    return
                item = self._items.popleft()
            self._work(item)
            with self._news:
                self._ids.discard(item.pointer.intent_id)


__all__ = ["AccountLane", "PartitionProgress", "Waiting"]

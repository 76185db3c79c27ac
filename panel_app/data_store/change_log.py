"""Rows that change, with a sequence number for each change, so that every reader may be as slow as it likes.

A reader keeps one integer. Asking for what changed since then costs only the changed rows; several changes of one row in
between arrive as one, its latest. Nothing is queued for a reader, so a slow one costs the writer nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Changes(Generic[K, V]):
    """What a reader has to apply.

    Attributes
    ----------
    rows
        Latest state of every row that changed, in order of the last change.
    removed
        Keys of rows that are gone.
    seq
        The number to ask with next time.
    complete
        True when ``rows`` is everything there is, and the reader must forget what it had.
    """

    rows: tuple[V, ...]
    removed: tuple[K, ...]
    seq: int
    complete: bool

    def __bool__(self) -> bool:
        return self.complete or bool(self.rows) or bool(self.removed)


class ChangeLog(Generic[K, V]):
    """A keyed set of rows and the order in which they changed.

    Parameters
    ----------
    key
        Returns the key of a row.
    keep
        At most this many rows stay, the ones that changed longest ago leave first; None keeps all.
    """

    def __init__(self, key: Callable[[V], K], keep: int | None = None) -> None:
        self._key = key
        self._keep = keep
        self._rows: dict[K, tuple[int, V]] = {}  # in order of the last change
        self._gone: dict[K, int] = {}
        self._forgotten = 0  # removals up to this number are no longer listed one by one
        self._seq = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[V]:
        with self._lock:
            return iter([row for _, row in self._rows.values()])

    @property
    def seq(self) -> int:
        """Number of the latest change."""
        return self._seq

    def get(self, key: K) -> V | None:
        """Return the row of that key, or None."""
        found = self._rows.get(key)
        return None if found is None else found[1]

    def put(self, rows: Iterable[V]) -> bool:
        """Store rows; return whether anything differed from what was there."""
        changed = False
        with self._lock:
            for row in rows:
                key = self._key(row)
                old = self._rows.get(key)
                if old is not None and old[1] == row:
                    continue
                self._seq += 1
                self._rows.pop(key, None)
                self._rows[key] = (self._seq, row)
                self._gone.pop(key, None)
                changed = True
            if self._keep is not None:
                while len(self._rows) > self._keep:
                    self._drop(next(iter(self._rows)))
            self._trim()
        return changed

    def replace(self, rows: Iterable[V]) -> bool:
        """Store rows as all there are: those not among them are removed. Return whether anything changed."""
        fresh = list(rows)
        changed = self.put(fresh)
        with self._lock:
            gone = self._rows.keys() - {self._key(row) for row in fresh}
            for key in gone:
                self._drop(key)
            self._trim()
        return changed or bool(gone)

    def since(self, seq: int) -> Changes[K, V]:
        """Return the rows that changed after ``seq``; 0 asks for everything."""
        with self._lock:
            if seq == 0 or seq < self._forgotten or seq > self._seq:
                return Changes(tuple(row for _, row in self._rows.values()), (), self._seq, complete=True)
            fresh: list[V] = []
            for number, row in reversed(self._rows.values()):
                if number <= seq:
                    break
                fresh.append(row)
            fresh.reverse()
            removed = tuple(key for key, number in self._gone.items() if number > seq)
            return Changes(tuple(fresh), removed, self._seq, complete=False)

    def _drop(self, key: K) -> None:
        self._seq += 1
        del self._rows[key]
        self._gone[key] = self._seq

    def _trim(self) -> None:
        # Removals are remembered one by one up to a bound; a reader older than that gets everything anew.
        while len(self._gone) > 1000:
            oldest = next(iter(self._gone))
            self._forgotten = max(self._forgotten, self._gone.pop(oldest))

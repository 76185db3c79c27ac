"""A round: one look of one process at all the runs it hosts. Within it each feed is polled once and each book read once.

Outside of a round every run asks for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from toolkit.clock import to_ns
from toolkit.errors import LostRace
from toolkit.execution.ports import TradingPlatform
from toolkit.market import Bars
from toolkit.store.sql.unit_of_work import UnitOfWork

_Key = tuple[str, str, str]


@dataclass(slots=True)
class Round:
    """What was asked in this round already."""

    bars: dict[_Key, tuple[int, Bars]] = field(default_factory=dict)  # asked after, answer
    books: set[UUID] = field(default_factory=set)
    polls: int = 0
    kept: set[tuple[str, str, str, int, int]] | None = None  # bars written by the commit that is being made
    deferred: list[tuple[Callable[[UnitOfWork], None], Callable[[], None]]] = field(default_factory=list)
    commits: int = 0

    def defer(self, write: Callable[[UnitOfWork], None], forget: Callable[[], None]) -> None:
        """Leave a write to the round's next commit; ``forget`` is called when it could not be made."""
        self.deferred.append((write, forget))

    def drop(self) -> None:
        """Give up what was left: its runs are read from their rows again, and stepped again."""
        waiting, self.deferred = self.deferred, []
        for _, forget in waiting:
            forget()

    def flush(self, work: UnitOfWork) -> None:
        """Make what was left, in one commit; of a lost race only that run's part is left out, and stepped again."""
        waiting, self.deferred = self.deferred, []
        self.kept = set()
        try:
            with work:
                for write, forget in waiting:
                    try:
                        write(work)  # begins with the compare-and-set, so a lost race has written nothing
                    except LostRace:
                        forget()
                work.commit()
                self.commits += 1
        except BaseException:
            for _, forget in waiting:
                forget()
            raise
        finally:
            self.kept = None


_ROUND: ContextVar[Round | None] = ContextVar("seatrial_round", default=None)


def current_round() -> Round | None:
    """Return the round this thread is in, if it is in one."""
    return _ROUND.get()


@contextmanager
def one_round() -> Iterator[Round]:
    """Share polls and reads of books among the runs advanced inside; what they left uncommitted at the end has not happened."""
    begun = Round()
    token = _ROUND.set(begun)
    try:
        yield begun
    finally:
        _ROUND.reset(token)
        begun.drop()


def book_is_due(account_id: UUID) -> bool:
    """Whether the account's book is to be read now; in a round only the first to ask is told so."""
    current = _ROUND.get()
    if current is None:
        return True
    if account_id in current.books:
        return False
    current.books.add(account_id)
    return True


class SharedFeed:
    """A platform's closed bars, asked once a round for all runs of one feed.

    Parameters
    ----------
    feed
        Name of the feed; accounts of one server share it.
    """

    def __init__(self, platform: TradingPlatform, feed: str) -> None:
        self._platform = platform
        self._feed = feed

    def now(self) -> datetime:
        """Return the platform's clock."""
        return self._platform.now()

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars:
        """Return the platform's closed bars, from what was read in this round where that reaches far enough back."""
        current = _ROUND.get()
        if current is None or after is None:
            return self._platform.closed_bars(symbol, timeframe, after, limit)
        key = (self._feed, symbol, timeframe)
        wanted = to_ns(after)
        held = current.bars.get(key)
        if held is None or held[0] > wanted:
            current.polls += 1
            bars = self._platform.closed_bars(symbol, timeframe, after, limit)
            if len(bars) < limit:  # a cut answer does not show what is newest
                current.bars[key] = (wanted, bars)
            return bars
        first = int(held[1].ts.searchsorted(wanted, side="right"))
        return held[1][first : first + limit]

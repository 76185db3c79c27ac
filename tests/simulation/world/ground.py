"""What everything in the simulated world stands on: names, dials, clocks, a store that fails, a worker's life."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from execution_desk import START

from toolkit.errors import StoreError
from toolkit.execution.principal import Principal
from toolkit.execution.trade_service import ServicePolicy, TradeService

if TYPE_CHECKING:
    from execution_simulation import World

ACCOUNT, RUN, OWNER = UUID(int=1), UUID(int=2), UUID(int=3)
MAX_OPEN = 3
POLICY = ServicePolicy(
    lease_seconds=8.0,
    send_budget_seconds=1.0,
    backoff_seconds=0.05,
    protection_limit_seconds=10.0,
    exit_pause_seconds=3.0,
    max_quote_age_seconds=15.0,
)
# Where a worker standing still hurts most: between two durable steps, and on the wire.
DELICATE = frozenset({"FP2_claimed", "FP3_sending", "FP4_before_send", "on the wire", "FP5_answered"})


class Violation(AssertionError):
    """An invariant does not hold."""


class Killed(BaseException):
    """kill -9: the worker is gone at the point where it stood."""


@dataclass
class Dial:
    """How hostile the world is; probabilities per occasion."""

    ambiguous: float = 0.12  # the answer is lost
    lost_request: float = 0.4  # of the ambiguous: it never arrived
    late: float = 0.4  # of the ambiguous: it is accepted later
    not_accepted: float = 0.06
    refused: float = 0.03
    partial: float = 0.05
    unprotected: float = 0.05
    raises: float = 0.02
    read_fails: float = 0.05
    database_fails: float = 0.02
    kill: float = 0.03
    stall: float = 0.04
    bus_duplicate: float = 0.15
    bus_drop: float = 0.1
    cut_comment: float = 0.1
    market_closes: float = 1.0  # of the occasions that mischief has for it


QUIET = Dial(*([0.0] * 16))


class SimClock:
    """Wall time that an operator may turn, and monotonic time that nobody can."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        return START + timedelta(seconds=self._world.seconds + self._world.wall_offset)

    def monotonic(self) -> float:
        return self._world.seconds

    def sleep(self, seconds: float) -> None:
        self._world.pause("sleep")


class SimStore:
    """A store whose transactions may fail to begin or to commit; others run before each of them."""

    def __init__(self, world: World, inner: Any) -> None:
        self._world = world
        self.inner = inner
        self.commits = 0

    def begin(self, principal: Principal, *, write: bool = True) -> _SimTransaction:
        return _SimTransaction(self._world, self, principal, write)


class _SimTransaction:
    """One transaction of a worker: it may fail before it begins and when it commits, and others run around it."""

    __slots__ = ("_begun", "_principal", "_store", "_world", "_write")

    def __init__(self, world: World, store: SimStore, principal: Principal, write: bool) -> None:
        self._world, self._store, self._principal, self._write = world, store, principal, write
        self._begun: Any = None

    def __enter__(self) -> Any:
        world, write = self._world, self._write
        if write:
            world.pause("transaction")
        if world.inside_worker and world.rng.random() < world.dial.database_fails:
            world.count("database_failed")
            raise StoreError("simulated: database is locked")
        self._store.commits += write
        self._begun = self._store.inner.begin(self._principal, write=write)
        work = self._begun.__enter__()
        if world.inside_worker and write and world.rng.random() < world.dial.database_fails:
            return _FailingCommit(work)
        return work

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._begun.__exit__(kind, error, trace)
        if self._write and error is None:
            self._world.pause("after transaction")


class _FailingCommit:
    def __init__(self, work: Any) -> None:
        self._work = work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def commit(self) -> None:
        raise StoreError("simulated: disk full")


@dataclass
class Worker:
    """One worker process; killed and started again it is another owner."""

    name: str
    life: int = 0
    thread: Any = None
    stalled_until: float = 0.0
    service: TradeService | None = None

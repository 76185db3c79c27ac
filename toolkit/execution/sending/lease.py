"""The right to act on an account: one owner at a time, with a fencing token and an expiry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from toolkit.clock import Clock
from toolkit.errors import LeaseLost
from toolkit.execution.ledger.records import LeaseRecord
from toolkit.execution.ledger.store import IntentStore, Transaction
from toolkit.execution.principal import Principal


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease this process holds; ``deadline`` is on its monotonic clock, which a jump of the time of day cannot move."""

    account_id: UUID
    owner: str
    token: int
    until: datetime
    deadline: float


class LeaseKeeper:
    """Acquires, renews and gives back the lease of one account.

    Parameters
    ----------
    owner
        Unique per process, e.g. host and pid; a process that starts again is another owner.
    seconds
        How long the lease lasts without renewal.
    on_steal
        Called when the account was taken from an owner that did not give it back.
    """

    def __init__(
        self,
        store: IntentStore,
        clock: Clock,
        principal: Principal,
        account_id: UUID,
        owner: str,
        seconds: float,
        on_steal: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._principal = principal
        self._account_id = account_id
        self._owner = owner
        self._seconds = seconds
        self._on_steal = on_steal
        self._held: HeldLease | None = None
        self._seen: tuple[LeaseRecord, float] | None = None

    @property
    def held(self) -> HeldLease | None:
        """The lease as this process last saw it; it may have run out since."""
        return self._held

    def ensure(self, need_seconds: float) -> HeldLease:
        """Return a lease that lasts at least ``need_seconds`` more, renewing or taking it when needed.

        Raises
        ------
        LeaseLost
            When another owner holds the account.
        """
        held = self._held
        if held is not None and held.deadline - self._clock.monotonic() > max(need_seconds, self._seconds / 2):
            return held
        with self._store.begin(self._principal) as work:
            self._held = self._take(work)
            work.commit()
        return self._held

    def release(self) -> None:
        """Give the account back, if it is still ours."""
        held, self._held = self._held, None
        if held is None:
            return
        with self._store.begin(self._principal) as work:
            row = work.lease(self._account_id)
            if row is not None and row.owner == held.owner and row.token == held.token:
                work.put_lease(LeaseRecord(account_id=self._account_id, owner="", token=row.token, until=None))
                work.commit()

    def forget(self) -> None:
        """Stop believing that the lease is ours, without telling the store."""
        self._held = None

    def check(self, work: Transaction, need_seconds: float) -> HeldLease:
        """Return the held lease after comparing it with its row, inside the caller's transaction.

        Raises
        ------
        LeaseLost
            When the row shows another owner or token, or too little time is left for a send.
        """
        held = self._held
        if held is None:
            raise LeaseLost(f"account {self._account_id} has no lease of ours: take it before acting")
        row = work.lease(self._account_id)
        if row is None or row.owner != held.owner or row.token != held.token:
            self._held = None
            owner = "nobody" if row is None else row.owner
            raise LeaseLost(f"account {self._account_id} belongs to {owner} now: stop acting on it")
        if held.deadline - self._clock.monotonic() < need_seconds:
            raise LeaseLost(f"the lease of account {self._account_id} ends too soon for a send: renew it first")
        return held

    def _take(self, work: Transaction) -> HeldLease:
        started = self._clock.monotonic()
        now = self._clock.now()
        row = work.lease(self._account_id)
        held = self._held
        ours = row is not None and held is not None and row.owner == held.owner and row.token == held.token
        if row is not None and not ours and row.owner and self._still_runs(row, now, started):
            self._held = None
            raise LeaseLost(
                f"account {self._account_id} is held by {row.owner} until {row.until}: one worker per account"
            )
        token = (0 if row is None else row.token) + (0 if ours else 1)
        if row is not None and row.owner and not ours:
            self._on_steal()
        until = now + timedelta(seconds=self._seconds)
        work.put_lease(LeaseRecord(account_id=self._account_id, owner=self._owner, token=token, until=until))
        return HeldLease(self._account_id, self._owner, token, until, started + self._seconds)

    def _still_runs(self, row: LeaseRecord, now: datetime, monotonic: float) -> bool:
        """Whether another owner's lease is in force, even if somebody turned the clock.

        A clock that is set back would keep a dead owner's lease alive for hours. So a row that we have watched unchanged for
        a whole lease on our own monotonic clock has run out, whatever its time says.
        """
        if row.until is None or row.until <= now:
            return False
        if self._seen is None or self._seen[0] != row:
            self._seen = (row, monotonic)
        return monotonic - self._seen[1] < self._seconds

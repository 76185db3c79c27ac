"""Which accounts a worker serves now: those whose row names its gateway, asked again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from toolkit.errors import RunError, must_be
from toolkit.live.engine import Engine
from toolkit.store.accounts import AccountRecord, Accounts
from toolkit.telemetry.logging import get_logger

_LOG = get_logger("worker")


class Roster:
    """The accounts of one worker, with a lock for each.

    Parameters
    ----------
    engine
        The worker's engine.
    gateway
        The gateway this worker consumes from.
    names
        Accounts by name or id; empty: every account whose row names the gateway, also later ones.
    on_join
        Called once for each account that begins to be served.
    """

    def __init__(self, engine: Engine, gateway: str, names: Sequence[str], on_join: Callable[[UUID], None]) -> None:
        self._engine = engine
        self._gateway = gateway
        self._names = tuple(names)
        self._on_join = on_join
        self._locks: dict[UUID, threading.Lock] = {}
        self._serving: set[UUID] = set()
        self._guard = threading.Lock()

    def serving(self) -> tuple[UUID, ...]:
        """Return the accounts served now."""
        with self._guard:
            return tuple(self._serving)

    def refresh(self) -> None:
        """Compare with the accounts' rows: take up what was given to this gateway, give up what was taken from it."""
        wanted = {account.account_id for account in self._wanted()}
        with self._guard:
            joined, left = wanted - self._serving, self._serving - wanted
            for account in joined:
                self._locks.setdefault(account, threading.Lock())
            self._serving = wanted
        for account in left:
            self._give_up(account)
        for account in joined:
            _LOG.info("account_joined", account=str(account), gateway=self._gateway)
            self._on_join(account)

    def must_serve_something(self) -> None:
        """Refuse a worker that was told to serve an account of another gateway.

        Raises
        ------
        RunError
            Naming the account and the command that changes it.
        """
        for account in self._named():
            if account.gateway != self._gateway:
                remedy = f"`seatrial gateway set {account.name} {self._gateway}`"
                raise RunError(must_be(f"gateway of {account.name}", self._gateway, account.gateway, remedy))

    @contextmanager
    def holding(self, account_id: UUID) -> Iterator[bool]:
        """Hold the account's lock; gives False when the account is not this worker's to serve (any more)."""
        with self._guard:
            lock = self._locks.get(account_id)
        if lock is None:
            yield False
            return
        with lock:
            with self._engine.work(self._engine.service, write=False) as work:
                mine = Accounts(work.connection, self._engine.service).get(account_id).gateway == self._gateway
            if not mine:
                self._engine.leave(account_id)
            yield mine

    def knows(self, account_id: UUID) -> bool:
        """Whether the account is, or was, served by this worker."""
        with self._guard:
            return account_id in self._locks

    def _give_up(self, account_id: UUID) -> None:
        with self._locks[account_id]:  # whatever is being sent is answered first
            self._engine.leave(account_id)
        _LOG.info("account_left", account=str(account_id), gateway=self._gateway)

    def _wanted(self) -> list[AccountRecord]:
        return [account for account in self._named() if account.gateway == self._gateway]

    def _named(self) -> list[AccountRecord]:
        with self._engine.work(self._engine.service, write=False) as work:
            granted = Accounts(work.connection, self._engine.service).all()
        if not self._names:
            return granted
        found = []
        for name in self._names:
            matching = [account for account in granted if name in (account.name, str(account.account_id))]
            if len(matching) != 1:
                known = ", ".join(account.name for account in granted) or "none"
                was = f"{name!r} ({len(matching)} of that name)"
                raise RunError(must_be("account of a worker", f"one of {known}", was, "grant it, or name it by its id"))
            found += matching
        return found

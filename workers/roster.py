"""Which accounts a worker serves now: those whose row names its gateway, and whose platform session it has got.

Several workers may be told to serve the same accounts. Only one of them gets an account's session: the venue's lock and the
database lease see to that. The others stand by and ask again at every look, so an account moves on as soon as its worker is
gone, and its queues are consumed by the holder alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from toolkit.errors import LeaseLost, RunError, ToolkitError, must_be
from toolkit.live.engine import Desk, Engine
from toolkit.store.people.accounts import AccountRecord, Accounts, gateway_of
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
    on_join, on_leave
        Called for each account that begins and that ceases to be served.
    wants
        Whether an account's messages come to this worker; asked at every look.
    """

    def __init__(
        self,
        engine: Engine,
        gateway: str,
        names: Sequence[str],
        on_join: Callable[[UUID], None],
        on_leave: Callable[[UUID], None],
        wants: Callable[[UUID], bool] = lambda _account: True,
    ) -> None:
        self._engine = engine
        self._gateway = gateway
        self._names = tuple(names)
        self._on_join = on_join
        self._on_leave = on_leave
        self._wants = wants
        self._locks: dict[UUID, threading.Lock] = {}
        self._serving: dict[UUID, Desk] = {}
        self._moving: dict[UUID, threading.Thread] = {}  # being taken or given up
        self._told: dict[UUID, str] = {}
        self._guard = threading.Lock()
        self._closed = False

    def serving(self) -> tuple[UUID, ...]:
        """Return the accounts served now."""
        with self._guard:
            return tuple(self._serving)

    def desk(self, account_id: UUID) -> Desk | None:
        """Return the desk of an account that is served now, None when it is not (any more)."""
        with self._guard:
            return self._serving.get(account_id)

    def refresh(self) -> None:
        """Compare with the accounts' rows: ask for what was given to this gateway, give up what was taken from it."""
        wanted = {account.account_id for account in self._wanted()}
        with self._guard:
            left = [account for account in self._serving if account not in wanted]
            held = [(account, desk) for account, desk in self._serving.items() if account in wanted]
        for account in left:
            self._let_go(account)
        for account, desk in held:
            if self.desk(account) is not desk:  # given up meanwhile: its lease must not be taken again
                continue
            try:
                desk.service.keep_lease()
            except LeaseLost as error:
                _LOG.warning("account_lost", account=str(account), error=str(error))
                self._let_go(account)
        for account in wanted:
            self._ask_for(account)

    def named(self) -> list[UUID]:
        """Return the accounts that the worker was told, or all that it was granted, whatever their gateway."""
        return [account.account_id for account in self._named()]

    def must_serve_something(self) -> None:
        """Refuse a worker that was told to serve an account of another gateway.

        Raises
        ------
        RunError
            Naming the account and the command that changes it.
        """
        for account in self._named() if self._names else ():  # told nothing, it takes what is its gateway's
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
            with self._guard:
                mine = account_id in self._serving
            if mine:
                with self._engine.work(self._engine.service, write=False) as work:
                    mine = gateway_of(work.connection, self._engine.service, account_id) == self._gateway
            yield mine

    def knows(self, account_id: UUID) -> bool:
        """Whether the account is, or was, served by this worker."""
        with self._guard:
            return account_id in self._locks

    def close(self) -> None:
        """Ask for nothing more, and wait for what is being taken or given up."""
        with self._guard:
            self._closed = True
            moving = list(self._moving.values())
        for thread in moving:
            thread.join(10)

    def _ask_for(self, account: UUID) -> None:
        with self._guard:
            busy = self._closed or account in self._serving or account in self._moving
            thread = None if busy else self._mover(self._take, account)
        if thread is not None:
            thread.start()

    def _let_go(self, account: UUID) -> None:
        with self._guard:
            known = self._serving.pop(account, None) is not None and account not in self._moving
            thread = self._mover(self._give_up, account) if known else None
        if thread is not None:
            thread.start()

    def _mover(self, action: Callable[[UUID], None], account: UUID) -> threading.Thread:
        # A thread of its own: an account whose platform hangs while it is opened or closed blocks no other.
        name = f"{action.__name__.strip('_')}-{str(account)[:8]}"
        self._moving[account] = threading.Thread(target=action, args=(account,), name=name, daemon=True)
        return self._moving[account]

    def _take(self, account: UUID) -> None:
        try:
            desk = self._engine.desk(account)
            with self._guard:
                if self._closed:
                    return
                self._locks.setdefault(account, threading.Lock())
                self._serving[account] = desk
            self._told.pop(account, None)
            _LOG.info("account_joined", account=str(account), gateway=self._gateway)
            self._on_join(account)
        except (ToolkitError, OSError) as error:
            if self._told.get(account) != str(error):
                self._told[account] = str(error)
                _LOG.info("account_stands_by", account=str(account), why=str(error))
        finally:
            with self._guard:
                self._moving.pop(account, None)

    def _give_up(self, account: UUID) -> None:
        try:
            self._on_leave(account)
            with self._locks[account]:  # whatever is being sent is answered first
                self._engine.leave(account)
            _LOG.info("account_left", account=str(account), gateway=self._gateway)
        finally:
            with self._guard:
                self._moving.pop(account, None)

    def _wanted(self) -> list[AccountRecord]:
        named = [account for account in self._named() if account.gateway == self._gateway]
        return [account for account in named if self._wants(account.account_id)]

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

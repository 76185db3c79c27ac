"""What live code is given to work with: one frozen bundle, made once by ``toolkit.bootstrap``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine as Database

from toolkit.clock import Clock
from toolkit.execution.ports import ExecutionGateway, TradingPlatform
from toolkit.execution.principal import Principal
from toolkit.execution.trade_service import TradeService
from toolkit.settings import Settings
from toolkit.store.intents import SqlIntentStore
from toolkit.store.people.accounts import AccountRecord
from toolkit.store.sql.unit_of_work import UnitOfWork
from toolkit.telemetry.metrics import NO_METRICS, Metrics


@dataclass(frozen=True, slots=True)
class Desk:
    """The way to one account: its platform session, its trade service, its gateway."""

    account: AccountRecord
    platform: TradingPlatform
    service: TradeService
    gateway: ExecutionGateway


@dataclass(frozen=True, slots=True)
class Engine:
    """Settings, database, clock and principals of one process, and the desk of any account it may act for.

    Attributes
    ----------
    principal
        The user this process acts as.
    service
        The headless principal of runs and workers; acts only on accounts it was granted.
    desk
        Opens (once) and returns the desk of an account.
    leave
        Closes the desk of an account, if it is open: its lease, journal and session go to whoever comes next.
    metrics
        What this process counts.
    open_desks
        Returns the desks this process has open now.
    close
        Gives journals, locks and connections back; safe to call twice.
    """

    settings: Settings
    database: Database
    clock: Clock
    principal: Principal
    service: Principal
    store: SqlIntentStore
    desk: Callable[[UUID], Desk]
    leave: Callable[[UUID], None]
    open_desks: Callable[[], list[Desk]]
    close: Callable[[], None]
    metrics: Metrics = NO_METRICS

    def now(self) -> datetime:
        """Return the moment on the process's clock."""
        return self.clock.now()

    def work(self, principal: Principal | None = None, *, write: bool = True) -> UnitOfWork:
        """Return a unit of work as the given principal, the process's own by default."""
        return UnitOfWork(self.database, principal or self.principal, write=write)

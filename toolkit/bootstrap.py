"""The composition root: the one place that decides which database, clock, platforms and gateways a process works with.

Nothing here connects, and nothing reads the environment, until `build` is called; a platform session is opened only when
its account's desk is asked for.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import PlatformError, RunError, must_be
from toolkit.execution.ports import ExecutionGateway, TradingPlatform
from toolkit.execution.principal import Principal
from toolkit.execution.trade_service import ServicePolicy, TradeService, no_failpoint
from toolkit.gateways.local import ExecutionGatewayLocal
from toolkit.live.engine import Desk, Engine
from toolkit.live.opening.recovery import prepare_venue, recover
from toolkit.live.outside.news import NewsBell, news_channel, redis_is_configured
from toolkit.live.review.drift import Model
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.intents import SqlIntentStore
from toolkit.store.people.accounts import LOCAL_USER, SERVICE_USER, AccountRecord, Accounts, ensure_user
from toolkit.store.runs import priced_runs
from toolkit.store.sql.engine import open_database
from toolkit.store.sql.unit_of_work import UnitOfWork
from toolkit.telemetry.metrics import Metrics
from toolkit.telemetry.service_watch import TelemetryWatch

__all__ = ["Engine", "build", "drift_model", "venue_path"]

OpenPlatform = Callable[[AccountRecord, Settings], TradingPlatform]
MakeGateway = Callable[[AccountRecord, SqlIntentStore, Principal], ExecutionGateway]


@dataclass(frozen=True)
class Overrides:
    """What tests and the demo put in place of the real parts.

    Attributes
    ----------
    clock
        Our own time.
    open_platform
        By platform name: how a session of an account is opened.
    failpoint
        Called between durable steps of execution; for tests that kill or delay there.
    make_gateways
        By gateway name: how a worker's gateway is made. The local gateway needs none; a process that was not given the
        account's gateway refuses to open its desk.
    """

    clock: Clock = SYSTEM
    open_platform: dict[str, OpenPlatform] | None = None
    failpoint: Callable[[str], None] = no_failpoint
    make_gateways: dict[str, MakeGateway] | None = None


def build(settings: Settings | None = None, **overrides: Any) -> Engine:
    """Open the database of these settings and return the engine of this process.

    Parameters
    ----------
    settings
        Read from the environment when left out.
    overrides
        Fields of `Overrides`.
    """
    settings = settings if settings is not None else Settings()
    replaced = Overrides(**overrides)
    settings.home.mkdir(parents=True, exist_ok=True)
    database = open_database(settings.effective_database_url)
    now = replaced.clock.now()
    with UnitOfWork(database, Principal(uuid4(), "bootstrap", "service")) as work:
        service = ensure_user(work.connection, now, SERVICE_USER, "service")
        local = ensure_user(work.connection, now, LOCAL_USER, "human", role="admin")
        work.commit()
    desks = _Desks(settings, replaced, SqlIntentStore(database), service)
    bell = NewsBell(settings.redis_url.get_secret_value(), news_channel(settings))
    if redis_is_configured(settings):
        bell.on_commits_of(database)

    def close() -> None:
        desks.close()
        bell.close()
        database.dispose()

    return Engine(
        settings=settings,
        database=database,
        clock=replaced.clock,
        principal=local,
        service=service,
        store=desks.store,
        desk=desks.open,
        leave=desks.leave,
        open_desks=desks.all,
        close=close,
        metrics=desks.metrics,
    )


def drift_model() -> Model | None:
    """Return the backtest that a run's drift is measured against, None where the research packages are not installed."""
    try:
        from toolkit.research.backtest import model_trades
    except ImportError:
        return None
    return model_trades


def venue_path(home: Path, account_id: UUID) -> Path:
    """Return the journal file of a paper account."""
    return home / "venues" / f"{account_id}.db"


def open_paper_venue(account: AccountRecord, settings: Settings, **venue: Any) -> TradingPlatform:
    """Open the paper venue of an account; its journal is made on first use.

    Parameters
    ----------
    venue
        Further arguments of `SimulatedPlatform`, e.g. a script of faults.
    """
    from toolkit.platforms.simulated import SimulatedPlatform

    path = venue_path(settings.home, account.account_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    terms = PaperAccount.from_facts(account.settings["paper"])
    return SimulatedPlatform(path, terms, login=account.login or None, server=account.server or "paper", **venue)


def open_metatrader5_session(account: AccountRecord, settings: Settings) -> TradingPlatform:
    """Open the session of a MetaTrader 5 account, in a process of its own; what it needs is in the account's settings."""
    from toolkit.platforms.opening import open_metatrader5

    return open_metatrader5(
        login=account.login,
        server=account.server,
        environment=account.environment,
        secret_ref=account.secret_ref,
        settings=account.settings.get("mt5", {}),
        locks=settings.home / "locks",
    )


def open_ctrader_session(account: AccountRecord, settings: Settings) -> TradingPlatform:
    """Open the session of a cTrader account; needs the extra ``ctrader``."""
    from toolkit.platforms.ctrader.access.opening import open_ctrader

    return open_ctrader(
        login=account.login,
        server=account.server,
        environment=account.environment,
        secret_ref=account.secret_ref,
        settings=account.settings.get("ctrader", {}),
        locks=settings.home / "locks",
    )


_PLATFORMS: dict[str, OpenPlatform] = {
    "simulated": open_paper_venue,
    "metatrader5": open_metatrader5_session,
    "ctrader": open_ctrader_session,
}


class _Desks:
    """Opens the desk of an account once per process, and closes all of them."""

    def __init__(self, settings: Settings, replaced: Overrides, store: SqlIntentStore, service: Principal) -> None:
        self.store = store
        self._settings = settings
        self._replaced = replaced
        self._service = service
        self._platforms = {**_PLATFORMS, **(replaced.open_platform or {})}
        self._open: dict[UUID, Desk] = {}
        self._guard = threading.Lock()
        self._turns: dict[UUID, threading.RLock] = {}  # an account whose session hangs while it opens blocks no other
        self.metrics = Metrics()
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    def open(self, account_id: UUID) -> Desk:
        """Return the desk of an account, opening its platform session when this process has none yet."""
        desk = self._open.get(account_id)
        if desk is not None:
            return desk
        with self._turn(account_id):
            desk = self._open.get(account_id)
            if desk is None:
                desk = self._open[account_id] = self._make(account_id)
            return desk

    def _turn(self, account_id: UUID) -> threading.RLock:
        with self._guard:
            return self._turns.setdefault(account_id, threading.RLock())

    def _make(self, account_id: UUID) -> Desk:
        with UnitOfWork(self.store.engine, self._service, write=False) as work:
            account = Accounts(work.connection, self._service).get(account_id)
            under_way = priced_runs(work.connection, account_id)
        make_gateway = (self._replaced.make_gateways or {}).get(account.gateway)
        if account.gateway != "local" and make_gateway is None:
            raise RunError(
                must_be(
                    f"gateway of account {account.name}",
                    "local to be traded by this process",
                    account.gateway,
                    "let `seatrial worker` host its runs, or set the account's gateway to local",
                )
            )
        opener = self._platforms.get(account.platform)
        if opener is None:
            known = ", ".join(sorted(self._platforms))
            raise PlatformError(
                must_be(f"platform of {account.name}", f"one of {known}", account.platform, "install its extra")
            )
        platform = opener(account, self._settings)
        try:
            prepare_venue(self._settings.home, platform, under_way)
            platform.connect()
            service = TradeService(
                platform,
                self.store,
                self._replaced.clock,
                account_id=account_id,
                principal=self._service,
                worker=self._worker,
                policy=ServicePolicy(
                    max_quote_age_seconds=self._settings.max_quote_age_seconds,
                    lease_seconds=self._settings.lease_seconds,
                    # a lease that is shorter than what a send needs of it would let nothing be sent, ever
                    send_budget_seconds=min(5.0, self._settings.lease_seconds / 3),
                ),
                day_end=account.day_end,
                failpoint=self._replaced.failpoint,
                watch=TelemetryWatch(account_id, self.metrics, account.gateway),
            )
            recover(service)
        except BaseException:
            platform.close()
            raise
        gateway: ExecutionGateway = (
            ExecutionGatewayLocal(self.store, self._service, service)
            if make_gateway is None
            else make_gateway(account, self.store, self._service)
        )
        return Desk(account, platform, service, gateway)

    def all(self) -> list[Desk]:
        """Return the desks that are open now."""
        with self._guard:
            return list(self._open.values())

    def leave(self, account_id: UUID) -> None:
        """Close one desk; nothing happens when it is not open."""
        with self._turn(account_id):
            desk = self._open.pop(account_id, None)
        if desk is not None:
            _close(desk)

    def close(self) -> None:
        """Give leases, journals and sessions back; safe to call twice."""
        desks, self._open = list(self._open.values()), {}
        for desk in desks:
            _close(desk)


def _close(desk: Desk) -> None:
    try:
        desk.service.lease.release()
    finally:
        desk.platform.close()

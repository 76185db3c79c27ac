"""Halting an account and closing everything of ours on it, wherever its platform session lives."""

from __future__ import annotations

from uuid import UUID

from toolkit.errors import Forbidden, PlatformError
from toolkit.execution.intents import BARRIER_STATES, UNRESOLVED_STATES, Action, IntentState
from toolkit.execution.ledger.submit import target_of
from toolkit.execution.principal import Principal
from toolkit.execution.recovery.closing import submit_cancel, submit_close
from toolkit.execution.recovery.kill_switch import FlattenReport
from toolkit.execution.recovery.kill_switch import flatten as flatten_here
from toolkit.live import live_runs
from toolkit.live.engine import Engine
from toolkit.store.people.accounts import Accounts, may_act

_LOOK_SECONDS = 0.25
_AGAIN_SECONDS = 5.0


def halt_and_flatten(
    engine: Engine, principal: Principal, account_id: UUID, *, reason: str, timeout_seconds: float = 60.0
) -> FlattenReport:
    """Throw the kill switch, then close our positions and cancel our orders until the platform says that we are flat.

    Where this process can hold the platform session it acts itself. Where another one does (a worker, a notebook), the exits go
    through the outbox as always, and that process's complete reads say when nothing is left.

    Raises
    ------
    Forbidden
        When the principal may not trade on the account: a halt is open to more people than closing positions.
    """
    live_runs.halt_account(engine, principal, account_id, reason=reason)
    with engine.work(principal, write=False) as work:
        account = Accounts(work.connection, principal).get(account_id)
        if not may_act(work.connection, principal, account_id):
            raise Forbidden(
                f"{account.name} is halted, but {principal.name} may not close its positions: ask its owner"
            )
    if account.gateway == live_runs.LOCAL:
        try:
            desk = engine.desk(account_id)
        except PlatformError as error:
            if not error.retryable:
                raise
        else:
            return flatten_here(desk.service, engine.service, timeout_seconds=timeout_seconds)
    return _through_the_outbox(engine, account_id, timeout_seconds)


def _through_the_outbox(engine: Engine, account_id: UUID, timeout_seconds: float) -> FlattenReport:
    """Signal closes and cancels, and wait for the process that holds the session to carry them out."""
    clock = engine.clock
    end = clock.monotonic() + timeout_seconds
    asked_at = -_AGAIN_SECONDS
    before: tuple[set[str], set[str]] | None = None
    since = None
    while True:
        with engine.store.begin(engine.service) as work:
            trades = work.open_trades(account_id)
            entries = [i for i in work.intents_in(account_id, UNRESOLVED_STATES | BARRIER_STATES) if i.action.is_entry]
            orders = [i for i in entries if i.state is IntentState.WORKING and i.order_id is not None]
            exits = [
                i for i in work.intents_in(account_id, BARRIER_STATES | {IntentState.UNKNOWN}) if not i.action.is_entry
            ]
            account = work.account(account_id)
            left = bool(trades or entries or exits)
            if before is None:
                before = ({t.position_id for t in trades}, {str(i.order_id) for i in orders})
                since = None if account is None else account.book_synced_until
            going = any(not i.waits for i in exits)
            waiting = {(i.action, target_of(i)) for i in exits if i.waits}
            to_close = [t for t in trades if (Action.CLOSE_POSITION, t.position_id) not in waiting]
            to_cancel = [o for o in orders if (Action.CANCEL_ORDER, str(o.order_id)) not in waiting]
            if (to_close or to_cancel) and not going and clock.monotonic() - asked_at >= _AGAIN_SECONDS:
                asked_at, now = clock.monotonic(), clock.now()
                for trade in to_close:
                    submit_close(work, trade, principal=engine.service, now=now, source="flatten",
                                 signal_id=now.isoformat(), reason="flatten")  # fmt: skip
                for owner in to_cancel:
                    submit_cancel(work, owner, str(owner.order_id), principal=engine.service, now=now,
                                  signal_id=now.isoformat())  # fmt: skip
                work.commit()
        synced = account is not None and account.book_synced_until is not None and account.book_synced_until != since
        closed = tuple(sorted(before[0] - {t.position_id for t in trades}))
        cancelled = tuple(sorted(before[1] - {str(i.order_id) for i in orders}))
        if not left and (synced or not (before[0] or before[1])):
            return FlattenReport(True, closed, cancelled, ())
        if clock.monotonic() >= end:
            remaining = [f"{t.side.value} {t.open_lots:f} {t.symbol} position {t.position_id}" for t in trades]
            remaining += [f"{i.action.value} {i.symbol}, {i.state.value}" for i in [*entries, *exits]]
            return FlattenReport(False, closed, cancelled, tuple(remaining))
        clock.sleep(_LOOK_SECONDS)

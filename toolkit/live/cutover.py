"""Changing the gateway of an account while its runs are alive, in either direction.

Nothing is resent and nothing is lost: the change waits until no intent is between claim and answer, then flips the row
and puts the pointers of intents that nobody has begun back into the outbox, in one transaction. The process that served
the account sees the flip at its next look and gives the platform session up; a pointer that still travels on the old
message broker finds a row that belongs to another gateway and is left alone.
"""

from __future__ import annotations

from uuid import UUID

from toolkit.errors import BadInput, RunError, must_be
from toolkit.execution.intents import IntentState
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.store.intents import SqlTransaction
from toolkit.store.people.accounts import AccountRecord, Accounts

GATEWAYS = ("local", "redis", "rabbitmq", "kafka")
_IN_FLIGHT = frozenset({IntentState.CLAIMED, IntentState.SENDING})
_POLL_SECONDS = 0.05


def set_gateway(
    engine: Engine, principal: Principal, account_id: UUID, gateway: str, *, wait_seconds: float = 30.0
) -> AccountRecord:
    """Let another gateway carry an account's intents from now on.

    Parameters
    ----------
    gateway
        ``local``, ``redis``, ``rabbitmq`` or ``kafka``.
    wait_seconds
        How long to wait for intents that are being sent right now.

    Returns
    -------
    AccountRecord
        As it stands afterwards.

    Raises
    ------
    BadInput
        When there is no such gateway.
    Forbidden
        When the principal does not own the account.
    RunError
        When intents were still in flight at the end of the wait; nothing was changed.
    """
    if gateway not in GATEWAYS:
        raise BadInput(must_be("gateway", f"one of {', '.join(GATEWAYS)}", repr(gateway), "spell it as listed"))
    deadline = engine.clock.monotonic() + wait_seconds
    while True:
        with engine.work(principal, write=False) as work:
            account = Accounts(work.connection, principal).get(account_id)
        if account.gateway == gateway:
            return account
        if _flip(engine, principal, account_id, gateway):
            engine.leave(account_id)
            with engine.work(principal, write=False) as work:
                return Accounts(work.connection, principal).get(account_id)
        if engine.clock.monotonic() > deadline:
            raise RunError(
                must_be(
                    f"intents of {account.name}",
                    "answered before the gateway changes",
                    f"still being sent after {wait_seconds} s",
                    "look at them with `seatrial status`, then try again",
                )
            )
        engine.clock.sleep(_POLL_SECONDS)


def _flip(engine: Engine, principal: Principal, account_id: UUID, gateway: str) -> bool:
    with engine.work(principal) as work:
        intents = SqlTransaction(work)
        if intents.intents_in(account_id, _IN_FLIGHT):
            return False
        for intent in intents.intents_in(account_id, {IntentState.NEW}):
            intents.reopen_outbox(intent.intent_id)
        Accounts(work.connection, principal).set_gateway(account_id, gateway, engine.now())
        work.commit()
    return True

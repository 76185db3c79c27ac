"""The local gateway: hands intents to the TradeService in this process, after their commit, never inside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from toolkit.errors import WrongAccount
from toolkit.execution.intents import BARRIER_STATES, IntentState
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.store import IntentStore
from toolkit.execution.principal import Principal

_AT_ONCE = 100


class Executes(Protocol):
    """The part of a TradeService a gateway needs."""

    account_id: UUID

    def execute(self, intent_id: UUID, outbox_id: int | None = None) -> IntentRecord:
        """Carry out one intent."""


class ExecutionGatewayLocal:
    """Executes the outbox of an account in order, in this process.

    Parameters
    ----------
    services
        The TradeServices of this process; one per account it has a platform session for.
    """

    name = "local"

    def __init__(self, store: IntentStore, principal: Principal, *services: Executes) -> None:
        self._store = store
        self._principal = principal
        self._services = {service.account_id: service for service in services}

    def add(self, service: Executes) -> None:
        """Let this gateway deliver to one more account."""
        self._services[service.account_id] = service

    def deliver(self, account_id: UUID) -> Sequence[UUID]:
        """Execute what the outbox holds for the account, in order.

        An intent that could not be brought to an end now (the platform cannot be read, its answer asks to try later) stops
        the delivery: what was signalled after it must not overtake it. An exit that waits for a closed market stops nothing.

        Returns
        -------
        sequence of UUID
            Intents handed over, in order.

        Raises
        ------
        WrongAccount
            When no service of this process acts on the account.
        ToolkitError
            What the TradeService raised; the pointer stays in the outbox.
        """
        service = self._services.get(account_id)
        if service is None:
            raise WrongAccount(f"no platform session for account {account_id} in this process: connect it first")
        handed_over: list[UUID] = []
        while True:
            with self._store.begin(self._principal, write=False) as work:
                rows = work.unpublished(account_id, _AT_ONCE)
            if not rows:
                if handed_over or not self._take_back(account_id):
                    return handed_over
                continue
            moved = False
            for row in rows:
                intent = service.execute(row.intent_id, row.outbox_id)
                if intent.waits:
                    continue
                if intent.state in BARRIER_STATES:
                    return handed_over
                handed_over.append(row.intent_id)
                moved = True
            if (
                len(rows) < _AT_ONCE or not moved
            ):  # whatever was signalled meanwhile is delivered by whoever signalled it
                return handed_over

    def _take_back(self, account_id: UUID) -> bool:
        """Put back pointers that travel on a message broker for an account that is local now; return whether there were any.

        A worker that had not yet seen its account's gateway change may have published a last step. It drops that pointer
        when it comes back to it, so nobody else would ever carry the intent out.
        """
        with self._store.begin(self._principal, write=False) as work:
            waiting = {row.intent_id for row in work.unpublished(account_id, 10_000)}
            stranded = [i for i in work.intents_in(account_id, {IntentState.NEW}) if i.intent_id not in waiting]
        if not stranded:
            return bool(waiting)
        with self._store.begin(self._principal) as work:
            for intent in stranded:
                work.reopen_outbox(intent.intent_id)
            work.commit()
        return True


__all__ = ["Executes", "ExecutionGatewayLocal"]

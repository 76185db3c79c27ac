"""Dead letters of an account's queue: listed, pointed at again, or dropped; the intent's row stays the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from toolkit.clock import from_ns
from toolkit.errors import Forbidden, NotFound, must_be
from toolkit.execution.intents import IntentState
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.store import audit
from toolkit.store.accounts import AccountRecord, Accounts, may_act
from toolkit.store.intents import SqlTransaction

if TYPE_CHECKING:
    from toolkit.gateways.message_brokers import DeadLetterBroker

BROKERS = ("redis", "rabbitmq")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that a worker refused or that killed it.

    Attributes
    ----------
    intent_id
        What it points at; empty for a letter that is none of ours.
    state
        Of that intent now; empty when there is none.
    """

    message_id: str
    account_id: UUID
    account: str
    gateway: str
    queue: str
    actor: str
    intent_id: str
    state: str
    sent_at: datetime


def dead_letters(engine: Engine, principal: Principal, account_id: UUID) -> list[DeadLetter]:
    """Return an account's dead letters, oldest first; none for an account that uses no message broker.

    Raises
    ------
    NotFound
        When the principal may not see the account.
    """
    account = _account(engine, principal, account_id)
    if account.gateway not in BROKERS:
        return []
    with _queue(engine, account) as (broker, queue):
        letters = broker.dead_letters(queue)
    found = []
    with engine.store.begin(principal, write=False) as work:
        for letter in letters:
            pointed = _pointed(letter.args)
            intent = work.intent(UUID(pointed)) if pointed else None
            state = "" if intent is None or intent.account_id != account_id else intent.state.value
            found.append(
                DeadLetter(letter.message_id, account_id, account.name, account.gateway, queue, letter.actor_name, pointed,
                           state, from_ns(letter.message_timestamp * 1_000_000))
            )  # fmt: skip
    return found


def replay_dead_letter(engine: Engine, principal: Principal, account_id: UUID, message_id: str) -> bool:
    """Point at the letter's intent again, with a fresh signature, and remove the letter.

    Safe at any time: the intent's row decides whether anything is left to do, and a letter without an intent of ours is
    only removed.

    Returns
    -------
    bool
        Whether the intent goes out again; False when it needs nothing any more.
    """
    account = _may_change(engine, principal, account_id, "replay", message_id)
    with _queue(engine, account) as (broker, queue):
        letter = next((found for found in broker.dead_letters(queue) if found.message_id == message_id), None)
        if letter is None:
            raise NotFound(must_be("message", f"a dead letter of {queue}", message_id, "see `seatrial dlq list`"))
        pointed = _pointed(letter.args)
        with engine.work(principal) as work:
            intents = SqlTransaction(work)
            intent = intents.intent(UUID(pointed)) if pointed else None
            again = intent is not None and intent.account_id == account_id and intent.state is IntentState.NEW
            if intent is not None and again:
                intents.reopen_outbox(intent.intent_id)
            audit.append(
                work.connection, engine.now(), principal, "dlq.replay", message_id, f"{account.name} {pointed}"
            )
            work.commit()
        broker.drop_dead_letter(queue, message_id)
    return again


def drop_dead_letter(engine: Engine, principal: Principal, account_id: UUID, message_id: str) -> None:
    """Remove a dead letter for good."""
    account = _may_change(engine, principal, account_id, "drop", message_id)
    with _queue(engine, account) as (broker, queue):
        if not broker.drop_dead_letter(queue, message_id):
            raise NotFound(must_be("message", f"a dead letter of {queue}", message_id, "see `seatrial dlq list`"))
    with engine.work(principal) as work:
        audit.append(work.connection, engine.now(), principal, "dlq.drop", message_id, account.name)
        work.commit()


def _account(engine: Engine, principal: Principal, account_id: UUID) -> AccountRecord:
    with engine.work(principal, write=False) as work:
        return Accounts(work.connection, principal).get(account_id)


def _may_change(engine: Engine, principal: Principal, account_id: UUID, what: str, message_id: str) -> AccountRecord:
    account = _account(engine, principal, account_id)
    with engine.work(principal) as work:
        if not may_act(work.connection, principal, account_id):
            audit.append(work.connection, engine.now(), principal, "dlq.refused", message_id, what)
            work.commit()
            raise Forbidden(f"{principal.name} may not {what} dead letters of {account.name}: ask its owner")
    return account


@contextmanager
def _queue(engine: Engine, account: AccountRecord) -> Iterator[tuple[DeadLetterBroker, str]]:
    from toolkit.gateways.message_brokers import intent_queue, make_message_broker

    settings = engine.settings
    broker = make_message_broker(
        account.gateway,
        redis_url=settings.redis_url.get_secret_value(),
        rabbitmq_url=settings.rabbitmq_url.get_secret_value(),
    )
    try:
        yield broker, intent_queue(account.account_id)
    finally:
        broker.close()


def _pointed(args: tuple[object, ...]) -> str:
    try:
        return str(UUID(str(json.loads(str(args[0]))["intent_id"]))) if args else ""
    except (ValueError, KeyError, TypeError):
        return ""

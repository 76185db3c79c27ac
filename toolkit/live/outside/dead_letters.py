"""Dead letters of an account, for an operator: list, inspect, replay, drop; the same for the command line and the page.

A dead letter is a message that a worker refused, that its actor could not work on, or that killed workers until the message
broker gave up. The intent it points at stands in the database as it is; nothing about it is lost with the letter.
"""

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
from toolkit.store.intents import SqlTransaction
from toolkit.store.people import audit
from toolkit.store.people.accounts import Accounts

if TYPE_CHECKING:
    from dramatiq import Message

    from toolkit.gateways.kafka.dead_letters import AccountDeadLetters, KafkaLetter
    from toolkit.gateways.message_brokers import DeadLetterBroker

_SHOWN = 4_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter.

    Attributes
    ----------
    intent_id, intent_state
        The intent it points at and its state now; None and empty when it points at none of this account.
    body
        What the message carried, cut after 4,000 characters; written by whoever sent it, so never to be trusted.
    """

    message_id: str
    queue: str
    actor: str
    sent_at: datetime
    intent_id: UUID | None
    intent_state: str
    body: str

    @property
    def replayable(self) -> bool:
        """Whether replaying it would let its intent be carried out: nobody has begun it yet."""
        return self.intent_state == IntentState.NEW.value


def list_dead_letters(engine: Engine, principal: Principal, account_id: UUID) -> list[DeadLetter]:
    """Return the dead letters of an account's queues, oldest first.

    Raises
    ------
    Forbidden
        When the principal may not act on the account.
    BadInput
        When the account's gateway has no message broker.
    """
    with _broker_of(engine, principal, account_id) as (broker, queues):
        found = [(queue, letter) for queue in queues for letter in broker.dead_letters(queue)]
    letters = [_described(engine, principal, account_id, queue, letter) for queue, letter in found]
    return sorted(letters, key=lambda letter: letter.sent_at)


def inspect_dead_letter(engine: Engine, principal: Principal, account_id: UUID, message_id: str) -> DeadLetter:
    """Return one dead letter.

    Raises
    ------
    NotFound
        When the account has no such letter.
    """
    for letter in list_dead_letters(engine, principal, account_id):
        if letter.message_id == message_id:
            return letter
    raise NotFound(must_be("message", "a dead letter of the account", message_id[:60], "see `seatrial dlq list`"))


def replay_dead_letter(engine: Engine, principal: Principal, account_id: UUID, message_id: str) -> bool:
    """Point at the letter's intent again, with a fresh signature, and remove the letter; audited.

    Safe at any time: the intent's row decides whether anything is left to do.

    Returns
    -------
    bool
        Whether the intent goes out again; False when it needs nothing any more, or the letter pointed at none of ours.
    """
    letter = inspect_dead_letter(engine, principal, account_id, message_id)
    with engine.work(principal) as work:
        intents = SqlTransaction(work)
        intent = None if letter.intent_id is None else intents.intent(letter.intent_id)
        again = intent is not None and intent.account_id == account_id and intent.state is IntentState.NEW
        if intent is not None and again:
            intents.reopen_outbox(intent.intent_id)
        said = "its intent goes out again" if again else "removed, nothing to do"
        audit.append(work.connection, engine.now(), principal, "dead_letter.replay", message_id, said)
        work.commit()
    _remove(engine, principal, account_id, letter)
    return again


def drop_dead_letter(engine: Engine, principal: Principal, account_id: UUID, message_id: str) -> DeadLetter:
    """Remove a dead letter for good; audited. Its intent stays as it is.

    Returns
    -------
    DeadLetter
        What was removed.
    """
    letter = inspect_dead_letter(engine, principal, account_id, message_id)
    with engine.work(principal) as work:
        detail = f"{letter.actor} {letter.intent_id or ''} {letter.intent_state}".strip()
        audit.append(work.connection, engine.now(), principal, "dead_letter.drop", message_id, detail)
        work.commit()
    _remove(engine, principal, account_id, letter)
    return letter


def _remove(engine: Engine, principal: Principal, account_id: UUID, letter: DeadLetter) -> None:
    with _broker_of(engine, principal, account_id) as (broker, _):
        broker.drop_dead_letter(letter.queue, letter.message_id)


@contextmanager
def _broker_of(
    engine: Engine, principal: Principal, account_id: UUID
) -> Iterator[tuple[DeadLetterBroker | AccountDeadLetters, tuple[str, ...]]]:
    with engine.work(principal, write=False) as work:
        account = Accounts(work.connection, principal).get(account_id)
        if not SqlTransaction(work).may_act(account_id, principal):
            raise Forbidden(f"{principal.name} may not act on account {account.name}: ask its owner for a grant")
    settings = engine.settings
    if account.gateway == "kafka":
        from toolkit.gateways.kafka.dead_letters import open_dead_letters
        from toolkit.gateways.kafka.topics import INTENTS

        letters = open_dead_letters(settings, account_id)
        try:
            yield letters, (INTENTS,)
        finally:
            letters.close()
        return
    from toolkit.gateways.message_brokers import intent_queue, live_queue, make_message_broker

    broker = make_message_broker(
        account.gateway,
        redis_url=settings.redis_url.get_secret_value(),
        rabbitmq_url=settings.rabbitmq_url.get_secret_value(),
    )
    try:
        yield broker, (intent_queue(account_id), live_queue(account_id))
    finally:
        broker.close()


def _described(
    engine: Engine, principal: Principal, account_id: UUID, queue: str, letter: Message[None] | KafkaLetter
) -> DeadLetter:
    pointed = _pointed(letter.args)
    state = ""
    if pointed is not None:
        with engine.work(principal, write=False) as work:
            intent = SqlTransaction(work).intent(pointed)
        if intent is None or intent.account_id != account_id:
            pointed = None  # somebody else's, or nobody's: nothing about it is said here
        else:
            state = intent.state.value
    return DeadLetter(
        message_id=letter.message_id,
        queue=queue,
        actor=letter.actor_name,
        sent_at=from_ns(letter.message_timestamp * 1_000_000),
        intent_id=pointed,
        intent_state=state,
        body=json.dumps([letter.args, letter.kwargs], default=str)[:_SHOWN],
    )


def _pointed(args: tuple[object, ...]) -> UUID | None:
    try:
        return UUID(json.loads(str(args[0]))["intent_id"]) if args else None
    except (ValueError, KeyError, TypeError, RecursionError):  # whoever wrote it may have written anything
        return None

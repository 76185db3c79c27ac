"""The relay from the outbox to a message broker: what every gateway over a bus does, whatever carries its pointers.

Publishing is at least once: a pointer is marked only after the message broker has it, so a crash between the two sends
it again, and a pointer whose intent is still NEW after a while is sent again in case the broker lost it. Both are
harmless: the intent's row decides whether there is anything left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from toolkit.clock import Clock
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import OutboxRecord
from toolkit.execution.ledger.store import IntentStore
from toolkit.execution.principal import Principal
from toolkit.gateways.envelope import KeyRing

REPUBLISH_AFTER = timedelta(seconds=2)
_LONGEST_WAIT = timedelta(seconds=30)
_BATCH = 100


def not_counted(_name: str, _amount: float = 1, **_labels: str) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class _Repeat:
    due: datetime
    pause: timedelta  # after that


class OutboxRelay:
    """Publishes an account's outbox to a message broker, in order; what carries a pointer says how.

    Parameters
    ----------
    ring
        Signs the pointers.
    store, principal, clock
        Where the outbox is, who reads it, and the time that goes into the pointers.
    count
        Counts publications by the metric's name (``toolkit.telemetry.metrics.Metrics.count``).
    """

    name = ""

    def __init__(
        self,
        ring: KeyRing,
        store: IntentStore,
        principal: Principal,
        clock: Clock,
        count: Callable[..., None] = not_counted,
    ) -> None:
        self._ring = ring
        self._store = store
        self._principal = principal
        self._clock = clock
        self._count = count
        self._again: dict[UUID, dict[UUID, _Repeat]] = {}  # by account and intent

    def deliver(self, account_id: UUID) -> Sequence[UUID]:
        """Publish what the outbox holds for the account, in order, each with the broker's confirm.

        Returns
        -------
        sequence of UUID
            Intents whose pointers the message broker has taken.

        Raises
        ------
        GatewayError
            When the message broker did not take a pointer; it and those after it stay in the outbox.
        """
        taken: list[UUID] = []
        while True:
            with self._store.begin(self._principal, write=False) as work:
                rows = work.unpublished(account_id, _BATCH)
            if not rows:
                return taken
            sent: list[int] = []
            try:
                for row in self._publish_all(account_id, rows):
                    self._count("pointers_published_total", gateway=self.name)
                    sent.append(row.outbox_id)
                    taken.append(row.intent_id)
            finally:
                if sent:
                    with self._store.begin(self._principal) as work:
                        work.mark_relayed(sent, self._clock.now())
                        work.commit()
            if len(rows) < _BATCH:  # whatever was signalled meanwhile is delivered by whoever signalled it
                return taken

    def republish_lost(self, account_id: UUID) -> Sequence[UUID]:
        """Publish again the pointers of intents that were handed over and are still NEW: the broker may have lost them.

        The first time after two seconds, then after pauses that double up to half a minute: behind a slow platform a pointer
        that waits its turn must not be multiplied.

        Raises
        ------
        GatewayError
            When the message broker does not answer.
        """
        now = self._clock.now()
        with self._store.begin(self._principal, write=False) as work:
            waiting = {row.intent_id for row in work.unpublished(account_id, 10_000)}
            lost = [
                intent
                for intent in work.intents_in(account_id, {IntentState.NEW})
                if intent.intent_id not in waiting
                and intent.updated_at < now - REPUBLISH_AFTER
                and not intent.waits  # whoever holds the account sends it again, see `Reconciler`
            ]
        before = self._again.get(account_id, {})
        repeats = {one.intent_id: before.get(one.intent_id, _Repeat(now, REPUBLISH_AFTER)) for one in lost}
        self._again[account_id] = repeats
        lost = [one for one in lost if repeats[one.intent_id].due <= now]
        for intent in lost:
            self._publish(account_id, intent.intent_id, intent.idempotency_key)
            pause = repeats[intent.intent_id].pause
            repeats[intent.intent_id] = _Repeat(now + pause, min(2 * pause, _LONGEST_WAIT))
            self._count("pointers_republished_total", gateway=self.name)
        return [intent.intent_id for intent in lost]

    def _publish_all(self, account_id: UUID, rows: Sequence[OutboxRecord]) -> Iterator[OutboxRecord]:
        """Publish in order, and give each row back once the message broker has it."""
        for row in rows:
            self._publish(account_id, row.intent_id, row.idempotency_key)
            yield row

    def _publish(self, account_id: UUID, intent_id: UUID, key: str) -> None:
        """Publish one pointer and return when the message broker has it; GatewayError when it has not."""
        raise NotImplementedError


__all__ = ["REPUBLISH_AFTER", "OutboxRelay", "not_counted"]

"""What an actor does with an intent when its worker was frozen in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from toolkit.execution.intents import IntentState
from toolkit.gateways.envelope import KeyRing, Pointer, seal
from toolkit.telemetry.metrics import Metrics
from workers.actors import AccountActors

RING = KeyRing.parse("k1:0123456789abcdef0123456789abcdef")


class Roster:
    """Serves every account."""

    def knows(self, _account: UUID) -> bool:
        return True

    @contextmanager
    def holding(self, _account: UUID) -> Iterator[bool]:
        yield True


def actors_of(desk: Any, service: Any) -> AccountActors:
    engine: Any = SimpleNamespace(
        now=desk.clock.now, metrics=Metrics(), desk=lambda _account: SimpleNamespace(service=service)
    )
    return AccountActors(engine, RING, Roster(), SimpleNamespace())  # type: ignore[arg-type]


def test_a_worker_frozen_past_its_lease_takes_its_own_claim_back_at_once(desk: Any) -> None:
    """Nobody took the account meanwhile: the intent is carried out now, once, and not at the next reconciliation."""
    stalls = [60]

    def stall(name: str) -> None:
        if name == "FP2_claimed" and stalls:
            desk.clock.advance(stalls.pop())

    intent = desk.entry()
    service = desk.make_service("frozen", failpoint=stall)
    pointer = Pointer(intent.intent_id, desk.account_id, intent.idempotency_key, desk.clock.now())
    assert actors_of(desk, service)._execute(pointer) == intent.live_run_id
    with desk.read() as work:
        assert work.intent(intent.intent_id).state is IntentState.FILLED
    assert len(desk.platform.sent) == 1


def test_a_worker_frozen_past_its_lease_leaves_the_account_to_who_took_it(desk: Any) -> None:
    """Another worker holds the account by now: nothing is taken back, nothing is sent, nothing is raised."""
    other = desk.make_service("other")

    def stall(name: str) -> None:
        if name == "FP2_claimed":
            desk.clock.advance(60)
            other.lease.ensure(1)

    intent = desk.entry()
    service = desk.make_service("frozen", failpoint=stall)
    sealed = seal(Pointer(intent.intent_id, desk.account_id, intent.idempotency_key, desk.clock.now()), RING)
    actors_of(desk, service).execute_intent(sealed)
    assert desk.platform.sent == []
    with desk.read() as work:
        assert work.intent(intent.intent_id).state is IntentState.CLAIMED
    assert other.reconcile().given_back == [intent.intent_id]

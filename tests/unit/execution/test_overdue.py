"""Entries that nobody has begun expire where they stand; exits never do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from toolkit.execution.intents import Action, IntentState


def states(desk: Any, *intents: Any) -> list[tuple[str, str]]:
    with desk.read() as work:
        rows = [work.intent(intent.intent_id) for intent in intents]
    return [(row.state.value, row.reason) for row in rows]


def test_an_entry_whose_time_has_passed_expires_without_being_handed_over(desk: Any) -> None:
    """It leaves the outbox as well, so a message broker that comes back does not get it."""
    service = desk.service
    late = desk.entry(valid_until=desk.platform.now() - timedelta(seconds=1))
    good = desk.entry(valid_until=desk.platform.now() + timedelta(minutes=1))
    assert service.expire_overdue(100) == [late.intent_id]
    assert states(desk, late, good) == [("EXPIRED", "expired"), ("NEW", "")]
    with desk.read() as work:
        assert [row.intent_id for row in work.unpublished(desk.account_id)] == [good.intent_id]
    assert service.expire_overdue(100) == []


def test_entries_beyond_the_bound_expire_and_the_oldest_stay(desk: Any) -> None:
    """Backpressure: the outbox of an account is bounded, and an exit is never part of the bound."""
    service = desk.service
    entries = []
    for _ in range(4):
        desk.platform.tick(1)  # each a second after the one before
        entries.append(desk.entry())
    held = desk.exit(Action.CLOSE_POSITION, "p1")
    assert service.expire_overdue(2) == [intent.intent_id for intent in entries[2:]]
    assert [state for state, _ in states(desk, *entries, held)] == ["NEW", "NEW", "EXPIRED", "EXPIRED", "NEW"]
    assert states(desk, entries[3])[0] == ("EXPIRED", "outbox_full")
    assert service.execute(entries[3].intent_id).state is IntentState.EXPIRED
    assert desk.platform.sent == []

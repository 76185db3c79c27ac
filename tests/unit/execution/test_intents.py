"""The state machine as data."""

from __future__ import annotations

import itertools

import pytest

from toolkit.errors import IdempotencyConflict, IllegalTransition, LostRace
from toolkit.execution.intents import (
    BARRIER_STATES,
    LATE_ADOPTION,
    SETTLED_STATES,
    SLOT_STATES,
    TRANSITIONS,
    UNRESOLVED_STATES,
    Action,
    IntentState,
    check_transition,
)
from toolkit.execution.ledger.submit import move

S = IntentState


def test_the_table_names_every_state():
    """Each state has its row, and each is either on its way or settled."""
    assert set(TRANSITIONS) == set(S)
    assert set(S) == BARRIER_STATES | UNRESOLVED_STATES | SETTLED_STATES
    assert not BARRIER_STATES & SETTLED_STATES


@pytest.mark.parametrize(("before", "after"), list(itertools.product(S, S)))
def test_a_move_outside_the_table_raises(before, after):
    """Every pair of states that the table does not join is refused for an entry that was never sent."""
    if after in TRANSITIONS[before]:
        check_transition(Action.OPEN_TRADE, before, after)
    else:
        with pytest.raises(IllegalTransition):
            check_transition(Action.OPEN_TRADE, before, after)


def test_an_entry_never_goes_from_unknown_back_to_new():
    """Sending an entry again from UNKNOWN is not a move at all; an exit may be planned again."""
    with pytest.raises(IllegalTransition):
        check_transition(Action.OPEN_TRADE, S.UNKNOWN, S.NEW, was_sent=True)
    check_transition(Action.CLOSE_POSITION, S.UNKNOWN, S.NEW, was_sent=True)


@pytest.mark.parametrize("before", sorted(LATE_ADOPTION))
def test_late_evidence_counts_only_for_what_was_sent(before):
    """A fill of an intent that was never sent cannot exist."""
    check_transition(Action.OPEN_TRADE, before, S.FILLED, was_sent=True)
    with pytest.raises(IllegalTransition):
        check_transition(Action.OPEN_TRADE, before, S.FILLED, was_sent=False)


def test_slots_are_held_from_claim_to_certainty():
    """What may be at the platform counts against the guardrails; what provably is not, does not."""
    assert {S.CLAIMED, S.SENDING, S.WORKING, S.PROTECTION_PENDING, S.UNKNOWN, S.ABANDONED} == SLOT_STATES


def test_a_move_is_compare_and_set(desk):
    """Two moves from the same reading: the second finds another version and writes nothing."""
    intent = desk.entry()
    with desk.store.begin(desk.principal) as work:
        move(work, intent, S.CLAIMED, actor="a", now=desk.clock.now(), new_token=True)
        work.commit()
    with desk.store.begin(desk.principal) as work, pytest.raises(LostRace):
        move(work, intent, S.CLAIMED, actor="b", now=desk.clock.now(), new_token=True)
    with desk.read() as work:
        assert [e.actor for e in work.events(intent.intent_id)] == ["trader", "a"]


def test_the_same_signal_twice_is_one_intent(desk):
    """A replayed signal returns the intent that is there."""
    first = desk.entry(ordinal=7)
    again = desk.entry(ordinal=7)
    assert again.intent_id == first.intent_id
    with desk.read() as work:
        assert len(work.unpublished(desk.account_id)) == 1


def test_the_same_signal_at_another_quote_is_the_same_intent(desk):
    """Nothing derived from a quote is in key or payload hash."""
    first = desk.entry(ordinal=7)
    desk.platform.tick(1, "1.10050", "1.10060")
    assert desk.entry(ordinal=7).intent_id == first.intent_id


def test_one_key_with_another_payload_is_a_conflict(desk):
    """The same key for something else is an error, never a second order."""
    from dataclasses import replace
    from uuid import uuid4

    from toolkit.execution.ledger.submit import submit

    first = desk.entry(ordinal=7)
    other = replace(first, intent_id=uuid4(), payload_hash="0" * 64)
    with desk.store.begin(desk.principal) as work, pytest.raises(IdempotencyConflict, match="another payload"):
        submit(work, other, desk.principal)


def test_a_stranger_cannot_submit(desk):
    """Rights are checked where the intent is written."""
    from dataclasses import replace
    from uuid import uuid4

    from toolkit.errors import Forbidden
    from toolkit.execution.ledger.submit import submit
    from toolkit.execution.principal import Principal

    first = desk.entry(ordinal=7)
    other = replace(first, intent_id=uuid4(), idempotency_key="1" * 64, client_tag="q1other")
    stranger = Principal(uuid4(), "stranger")
    with desk.store.begin(stranger) as work, pytest.raises(Forbidden, match="grant"):
        submit(work, other, stranger)

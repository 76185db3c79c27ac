"""The local gateway: the outbox in order, after the commit, never overtaking."""

from __future__ import annotations

from uuid import uuid4

import pytest

from toolkit.errors import ReadFailed, WrongAccount
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ports import OrderResult, Outcome
from toolkit.gateways.local import ExecutionGatewayLocal


@pytest.fixture
def gateway(desk):
    """A local gateway to the desk's service."""
    return ExecutionGatewayLocal(desk.store, desk.principal, desk.service)


def test_pointers_are_executed_in_order(desk, gateway):
    """What was signalled first is sent first, and an empty outbox delivers nothing."""
    first, second = desk.entry(), desk.entry()
    assert list(gateway.deliver(desk.account_id)) == [first.intent_id, second.intent_id]
    assert [c.tag.text for c in desk.platform.sent] == [first.client_tag, second.client_tag]
    assert list(gateway.deliver(desk.account_id)) == []


def test_nothing_is_executed_before_its_commit(desk, gateway):
    """An intent whose transaction was rolled back does not exist for the gateway."""
    from toolkit.execution.ledger.submit import submit

    intent = desk.entry()
    gateway.deliver(desk.account_id)
    from dataclasses import replace

    other = replace(intent, intent_id=uuid4(), idempotency_key="2" * 64, client_tag="q1other", magic=5)
    with desk.store.begin(desk.principal) as work:
        submit(work, other, desk.principal)
    assert list(gateway.deliver(desk.account_id)) == []
    assert len(desk.platform.sent) == 1


def test_an_unreadable_platform_stops_the_queue(desk, gateway):
    """The intent stays first in line; nothing behind it is sent before it."""
    first, second = desk.entry(), desk.entry()
    desk.platform.fail_reads = 1
    with pytest.raises(ReadFailed):
        gateway.deliver(desk.account_id)
    assert desk.platform.sent == []
    assert list(gateway.deliver(desk.account_id)) == [first.intent_id, second.intent_id]


def test_an_unknown_outcome_leaves_the_queue_to_the_reconciler(desk, gateway):
    """UNKNOWN is handed over: the reconciler has it now; the exit behind it goes on."""
    _, position = desk.opened()
    desk.platform.script = [OrderResult(Outcome.UNKNOWN)]
    entry = desk.entry()
    close = desk.exit(Action.CLOSE_POSITION, position)
    gateway.deliver(desk.account_id)
    with desk.read() as work:
        assert work.intent(entry.intent_id).state is IntentState.UNKNOWN
        assert work.intent(close.intent_id).state is IntentState.FILLED
        assert work.unpublished(desk.account_id) == []


def test_pointers_published_by_a_worker_that_gave_the_account_up_are_carried_out_here(desk, gateway):
    """A pointer that a message broker took before the account became local is taken back, in order, and sent once."""
    first, second = desk.entry(), desk.entry()
    with desk.store.begin(desk.principal) as work:
        for row in work.unpublished(desk.account_id):
            work.mark_published(row.outbox_id, desk.clock.now())
        work.commit()
    assert list(gateway.deliver(desk.account_id)) == [first.intent_id, second.intent_id]
    assert [c.tag.text for c in desk.platform.sent] == [first.client_tag, second.client_tag]
    assert list(gateway.deliver(desk.account_id)) == []


def test_an_account_without_a_session_is_refused(desk, gateway):
    """The message says what to do."""
    with pytest.raises(WrongAccount, match="connect"):
        gateway.deliver(uuid4())


def test_a_reversal_opens_only_after_its_close_is_filled(desk, gateway):
    """The opposite entry names its exit; refused, the entry is denied."""
    from decimal import Decimal

    from toolkit.market import Side

    _, position = desk.opened()
    desk.platform.script = [OrderResult(Outcome.FINAL, code="market closed")]
    close = desk.exit(Action.CLOSE_POSITION, position)
    entry = desk.entry(
        side=Side.SELL,
        stop_loss=Decimal("1.10200"),
        take_profit=None,
        terms={"after_intent": str(close.intent_id)},
    )
    gateway.deliver(desk.account_id)
    with desk.read() as work:
        after = work.intent(entry.intent_id)
    assert (after.state, after.reason) == (IntentState.DENIED, "exit_not_filled")

"""Exits that the platform would not take: they wait, and are sent again until their target is met."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from toolkit.errors import Forbidden, IllegalTransition
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ports import OrderResult, Outcome
from toolkit.execution.principal import Principal
from toolkit.execution.recovery.kill_switch import flatten, halt, release
from toolkit.gateways.local import ExecutionGatewayLocal

CLOSED = OrderResult(Outcome.WAIT, code="10018", message="market closed")
REQUOTE = OrderResult(Outcome.NOT_ACCEPTED, code="10004")


def stored(desk, intent):
    """Return an intent as the store has it now."""
    with desk.read() as work:
        return work.intent(intent.intent_id)


@pytest.mark.parametrize(("answers", "why"), [([CLOSED], "platform_closed"), ([REQUOTE] * 3, "not_accepted")])
def test_an_exit_that_is_not_taken_waits_and_goes_once(desk, answers, why):
    """Closed, or not accepted three times: NEW with a pause, nothing is sent within it, then it goes once."""
    _, position = desk.opened()
    intent = desk.exit(Action.CLOSE_POSITION, position)
    desk.platform.script = list(answers)
    after = desk.service.execute(intent.intent_id)
    assert (after.state, after.reason, after.waits) == (IntentState.NEW, why, True)
    sends = len(desk.platform.sent)
    assert desk.service.execute(intent.intent_id).waits
    assert len(desk.platform.sent) == sends
    desk.platform.tick((after.not_before - desk.platform.now()).total_seconds())
    done = desk.service.execute(intent.intent_id)
    assert (done.state, done.reason, done.not_before) == (IntentState.FILLED, "", None)
    assert len(desk.platform.sent) == sends + 1
    assert desk.platform.positions == {}


def test_its_pause_doubles_up_to_a_minute(desk):
    """A market that stays closed is asked ever less often, and the person is told once."""
    _, position = desk.opened()
    intent = desk.exit(Action.CLOSE_POSITION, position)
    pauses = []
    for _ in range(6):
        desk.platform.script = [CLOSED]
        after = desk.service.execute(intent.intent_id)
        pauses.append((after.not_before - desk.platform.now()).total_seconds())
        desk.platform.tick(pauses[-1])
    assert pauses == [5, 10, 20, 40, 60, 60]
    with desk.read() as work:
        assert [o.outcome for o in work.orders(intent.intent_id)] == ["WAIT"] * 6


def test_a_clock_that_is_turned_back_does_not_hold_it_up(desk):
    """A pause measured while the machine ran hours ahead is over as soon as it seems too long."""
    _, position = desk.opened()
    intent = desk.exit(Action.CLOSE_POSITION, position)
    desk.platform.script = [CLOSED]
    desk.platform.time += timedelta(hours=2)
    desk.service.execute(intent.intent_id)
    desk.platform.time -= timedelta(hours=2)
    assert desk.service.execute(intent.intent_id).state is IntentState.FILLED


def test_an_entry_still_expires(desk):
    """A later signal is worth more than a late order."""
    desk.platform.script = [CLOSED]
    after = desk.service.execute(desk.entry().intent_id)
    assert (after.state, after.reason) == (IntentState.EXPIRED, "platform_closed")


def test_a_position_that_went_meanwhile_ends_it_without_a_send(desk):
    """Closed by its stop while the exit waited: the target is met."""
    _, position = desk.opened()
    intent = desk.exit(Action.CLOSE_POSITION, position)
    desk.platform.script = [CLOSED]
    desk.service.execute(intent.intent_id)
    desk.platform.close_out(position, None, "stop_loss")
    desk.platform.tick(60)
    sends = len(desk.platform.sent)
    after = desk.service.execute(intent.intent_id)
    assert (after.state, after.reason, len(desk.platform.sent)) == (IntentState.FILLED, "already_so", sends)


def test_a_reconciliation_sends_it_again_whoever_signalled_it(desk):
    """After a restart, without its pointer and without its run: whoever holds the account carries it out."""
    _, position = desk.opened()
    intent = desk.exit(Action.REDUCE_POSITION, position, remaining_lots=Decimal("0.20"))
    desk.platform.script = [CLOSED]
    desk.service.execute(intent.intent_id)
    desk.service.lease.release()
    again = desk.make_service("worker-b")
    assert again.reconcile().sent_again == []
    desk.platform.tick(5)
    assert again.reconcile().sent_again == [intent.intent_id]
    assert stored(desk, intent).state is IntentState.FILLED
    assert desk.platform.positions[position].lots == Decimal("0.20")


def test_what_comes_after_it_is_not_held_up(desk):
    """In one delivery an exit that waits lets the others pass; its pointer stays in the outbox."""
    _, one = desk.opened()
    _, two = desk.opened()
    with desk.store.begin(desk.principal) as work:
        for row in work.unpublished(desk.account_id):
            work.mark_published(row.outbox_id, desk.clock.now())
        work.commit()
    gateway = ExecutionGatewayLocal(desk.store, desk.principal, desk.service)
    first, second = desk.exit(Action.CLOSE_POSITION, one), desk.exit(Action.CLOSE_POSITION, two)
    desk.platform.script = [CLOSED]
    assert gateway.deliver(desk.account_id) == [second.intent_id]
    assert (stored(desk, first).waits, stored(desk, second).state) == (True, IntentState.FILLED)
    assert gateway.deliver(desk.account_id) == []
    desk.platform.tick(5)
    assert gateway.deliver(desk.account_id) == [first.intent_id]
    assert desk.platform.positions == {}


def test_newer_levels_take_the_place_of_those_that_wait(desk):
    """Levels set while older ones wait are the ones that hold, in whatever order they would be sent."""
    _, position = desk.opened()
    older = desk.exit(Action.MODIFY_SLTP, position, stop_loss=Decimal("1.09900"))
    desk.platform.script = [CLOSED]
    desk.service.execute(older.intent_id)
    newer = desk.exit(Action.MODIFY_SLTP, position, stop_loss=Decimal("1.09850"))
    after = stored(desk, older)
    assert (after.state, after.reason) == (IntentState.CANCELLED, "superseded")
    desk.service.execute(newer.intent_id)
    desk.platform.tick(60)
    desk.service.execute(older.intent_id)
    assert desk.platform.positions[position].stop_loss == Decimal("1.09850")


def test_flattening_uses_the_close_that_waits(desk):
    """A close that waits is tried at once, each round, instead of being asked for again and again."""
    _, position = desk.opened()
    intent = desk.exit(Action.CLOSE_POSITION, position)
    desk.platform.script = [CLOSED] * 4
    desk.service.execute(intent.intent_id)
    halt(desk.service, desk.principal, "test")
    report = flatten(desk.service, desk.principal, timeout_seconds=30)
    assert report.flat and report.closed == (position,)
    assert stored(desk, intent).state is IntentState.FILLED
    with desk.read() as work:
        closes = [i for i in work.intents_in(desk.account_id, list(IntentState)) if not i.action.is_entry]
    assert len(closes) == 1


def test_a_person_may_take_it_back(desk):
    """Released it is CANCELLED and never sent; a service may not, and a settled exit cannot be released."""
    _, position = desk.opened()
    intent = desk.exit(Action.CLOSE_POSITION, position)
    desk.platform.script = [CLOSED]
    desk.service.execute(intent.intent_id)
    with pytest.raises(Forbidden):
        release(desk.service, Principal(desk.principal.user_id, "worker", kind="service"), intent.intent_id, "no")
    after = release(desk.service, desk.principal, intent.intent_id, "kept over the weekend")
    assert (after.state, after.reason) == (IntentState.CANCELLED, "released")
    desk.platform.tick(600)
    desk.service.reconcile()
    assert position in desk.platform.positions
    with pytest.raises(IllegalTransition):
        release(desk.service, desk.principal, intent.intent_id, "twice")

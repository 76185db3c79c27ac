"""Reconciliation, protection, the kill switch, runaway guards: what happens when things go wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from toolkit.errors import Forbidden, IllegalTransition, LeaseLost, ReadFailed
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ports import OpenOrder, OrderResult, OrderType, Outcome
from toolkit.execution.principal import Principal
from toolkit.execution.recovery.kill_switch import flatten, halt, release, resume

UNKNOWN = OrderResult(Outcome.UNKNOWN, code="10012")


class Killed(BaseException):
    """A process that dies at a failpoint."""


def die_at(point):
    def failpoint(name):
        if name == point:
            raise Killed(name)

    return failpoint


def state_of(desk, intent):
    with desk.read() as work:
        return work.intent(intent.intent_id)


def accept_then_time_out(desk):
    def step(command):
        desk.platform.fill(command)
        return UNKNOWN

    return step


def test_a_claim_of_a_dead_worker_is_given_back_and_carried_out(desk):
    """Nothing was sent, so the intent is NEW again, its pointer waits, and the next worker sends it once."""
    intent = desk.entry()
    with pytest.raises(Killed):
        desk.make_service("dead", failpoint=die_at("FP2_claimed")).execute(intent.intent_id)
    desk.platform.tick(31)
    report = desk.service.reconcile()
    assert report.given_back == [intent.intent_id]
    with desk.read() as work:
        assert [row.intent_id for row in work.unpublished(desk.account_id)] == [intent.intent_id]
    assert desk.service.execute(intent.intent_id).state is IntentState.FILLED
    assert len(desk.platform.sent) == 1


@pytest.mark.parametrize("point", ["FP3_sending", "FP4_before_send"])
def test_a_death_after_the_point_of_no_return_is_unknown(desk, point):
    """SENDING without an owner may have been sent: UNKNOWN, never sent by anybody else."""
    intent = desk.entry()
    with pytest.raises(Killed):
        desk.make_service("dead", failpoint=die_at(point)).execute(intent.intent_id)
    desk.platform.tick(31)
    assert desk.service.reconcile().made_unknown == [intent.intent_id]
    desk.service.execute(intent.intent_id)
    assert desk.platform.sent == []


@pytest.mark.parametrize("point", ["FP5_answered", "FP6_deals_read"])
def test_a_death_between_answer_and_record_is_found_by_the_tag(desk, point):
    """The fill is at the platform under our tag; the next worker books it once and links it."""
    intent = desk.entry()
    with pytest.raises(Killed):
        desk.make_service("dead", failpoint=die_at(point)).execute(intent.intent_id)
    desk.platform.tick(31)
    desk.service.reconcile()
    desk.service.reconcile()
    assert state_of(desk, intent).state is IntentState.FILLED
    with desk.read() as work:
        assert len(work.links(desk.live_run_id)) == 1
        assert work.run(desk.live_run_id).realised == Decimal("-0.35")
    assert len(desk.platform.sent) == 1


def test_the_reason_of_an_exit_that_is_found_again_is_its_intents(desk):
    """A server knows only that a program closed the position; what the intent asked for says why."""
    _, position = desk.opened()
    intent = desk.exit(Action.CLOSE_POSITION, position, reason="reverse")

    def closed_by_a_program(command):
        desk.platform.close_out(command.position_id, command.lots, "signal", command.tag.text)
        return UNKNOWN

    desk.platform.script.append(closed_by_a_program)
    assert desk.service.execute(intent.intent_id).state is IntentState.UNKNOWN
    desk.service.reconcile()
    with desk.read() as work:
        trade = work.trade_of_position(desk.account_id, position)
    assert (trade.status, trade.exit_reason) == ("closed", "reverse")
    assert state_of(desk, intent).state is IntentState.FILLED


def test_nobody_takes_over_while_the_lease_holds(desk):
    """A live owner is not robbed."""
    with pytest.raises(Killed):
        desk.make_service("other", failpoint=die_at("FP2_claimed")).execute(desk.entry().intent_id)
    with pytest.raises(LeaseLost):
        desk.service.reconcile()


def test_a_worker_that_stalled_past_its_lease_does_not_send(desk):
    """Its own monotonic clock tells it so at the last line; it sends only after taking the lease again."""
    intent = desk.entry()
    stalls = [60]

    def stall(name):
        if name == "FP4_before_send" and stalls:
            assert desk.platform.sent == []
            desk.clock.advance(stalls.pop())

    after = desk.make_service("slow", failpoint=stall).execute(intent.intent_id)
    with desk.read() as work:
        orders = work.orders(intent.intent_id)
    assert [o.outcome for o in orders] == ["NOT_SENT", "DONE"]
    assert after.state is IntentState.FILLED
    assert len(desk.platform.sent) == 1


def test_a_worker_that_always_stalls_gives_up_unsent(desk):
    """Bounded, with the intent NEW for the next delivery."""
    intent = desk.entry()

    def stall(name):
        if name == "FP4_before_send":
            desk.clock.advance(60)

    with pytest.raises(LeaseLost):
        desk.make_service("slow", failpoint=stall).execute(intent.intent_id)
    assert desk.platform.sent == []
    assert state_of(desk, intent).state is IntentState.NEW


def test_a_worker_that_lost_the_account_while_stalled_sends_nothing(desk):
    """Another worker took over during the stall; the stalled one finds its token gone."""
    intent = desk.entry()
    other = desk.make_service("other")

    def stall(name):
        if name == "FP3_sending":
            desk.clock.advance(60)
            desk.platform.time += timedelta(seconds=60)
            other.reconcile()

    desk.make_service("slow", failpoint=stall).execute(intent.intent_id)
    assert desk.platform.sent == []
    assert state_of(desk, intent).state is IntentState.UNKNOWN


def test_an_unknown_entry_is_abandoned_only_after_time_and_complete_reads(desk):
    """Three complete reads over ten minutes; the slot stays reserved afterwards."""
    desk.platform.script = [UNKNOWN]
    intent = desk.service.execute(desk.entry().intent_id)
    for _ in range(5):
        desk.platform.tick(10)
        desk.service.reconcile()
    assert state_of(desk, intent).state is IntentState.UNKNOWN
    desk.platform.tick(600)
    assert desk.service.reconcile().abandoned == [intent.intent_id]
    assert len(desk.platform.sent) == 1


def test_a_failing_read_is_not_evidence(desk):
    """Reads that fail do not count towards abandoning."""
    desk.platform.script = [UNKNOWN]
    intent = desk.service.execute(desk.entry().intent_id)
    for _ in range(5):
        desk.platform.tick(300)
        desk.platform.fail_reads = 1
        with pytest.raises(ReadFailed):
            desk.service.reconcile()
    after = state_of(desk, intent)
    assert (after.state, after.empty_reads) == (IntentState.UNKNOWN, 0)


def abandoned(desk):
    desk.platform.script = [UNKNOWN]
    intent = desk.service.execute(desk.entry().intent_id)
    for _ in range(3):
        desk.platform.tick(300)
        desk.service.reconcile()
    assert state_of(desk, intent).state is IntentState.ABANDONED
    return intent


def test_an_abandoned_entry_that_shows_up_late_is_adopted(desk):
    """However late the fill comes, it is linked to its run and the intent is FILLED."""
    intent = abandoned(desk)
    tag = intent.tag
    desk.platform.fill(
        OpenOrder(tag, "EURUSD", intent.side, OrderType.MARKET, Decimal("0.5"), None, Decimal("1.098"), None)
    )
    desk.service.reconcile()
    assert state_of(desk, intent).state is IntentState.FILLED
    with desk.read() as work:
        assert len(work.links(desk.live_run_id)) == 1


def test_only_a_person_releases_an_abandoned_slot(desk):
    """Released by its owner with a note, audited; not by a service, not twice, not in another state."""
    intent = abandoned(desk)
    with pytest.raises(Forbidden):
        release(desk.service, replace(desk.principal, kind="service"), intent.intent_id, "x")
    with pytest.raises(Forbidden):
        release(desk.service, Principal(uuid4(), "stranger"), intent.intent_id, "x")
    assert release(desk.service, desk.principal, intent.intent_id, "looked").state is IntentState.RELEASED
    with pytest.raises(IllegalTransition):
        release(desk.service, desk.principal, intent.intent_id, "again")


def test_a_working_order_of_an_unknown_entry_is_found(desk):
    """A pending order placed before the time-out is WORKING, not lost."""
    desk.platform.script = [accept_then_time_out(desk)]
    intent = desk.entry(order_type=OrderType.LIMIT, limit_price=Decimal("1.09000"), stop_loss=Decimal("1.08800"))
    assert desk.service.execute(intent.intent_id).state is IntentState.UNKNOWN
    desk.platform.tick(1)
    desk.service.reconcile()
    after = state_of(desk, intent)
    assert after.state is IntentState.WORKING
    assert after.order_id in desk.platform.orders


@pytest.mark.parametrize(
    ("ended", "state"), [("cancelled", "CANCELLED"), ("expired", "EXPIRED"), ("rejected", "REJECTED")]
)
def test_a_pending_order_that_ended_without_a_fill(desk, ended, state):
    """Its end at the platform is the intent's end."""
    intent = desk.entry(order_type=OrderType.LIMIT, limit_price=Decimal("1.09000"), stop_loss=Decimal("1.08800"))
    assert desk.service.execute(intent.intent_id).state is IntentState.WORKING
    order = desk.platform.orders.popitem()[1]
    desk.platform.ended.append(replace(order, state=ended))
    desk.service.reconcile()
    assert state_of(desk, intent).state.value == state


def test_a_pending_order_that_fills_later_is_booked(desk):
    """A limit order triggered while nobody looked is found by its deal."""
    intent = desk.entry(order_type=OrderType.LIMIT, limit_price=Decimal("1.09000"), stop_loss=Decimal("1.08800"))
    desk.service.execute(intent.intent_id)
    desk.platform.orders.clear()
    desk.platform.tick(3600, "1.08990", "1.09000")
    desk.platform.fill(replace(desk.platform.sent[0], order_type=OrderType.MARKET))
    desk.service.reconcile()
    assert state_of(desk, intent).state is IntentState.FILLED


def test_an_unknown_close_whose_position_is_gone_was_carried_out(desk):
    """The exit's own deal is found, with its reason."""
    _, position = desk.opened()
    desk.platform.script = [accept_then_time_out(desk)]
    intent = desk.exit(Action.CLOSE_POSITION, position)
    assert desk.service.execute(intent.intent_id).state is IntentState.UNKNOWN
    desk.platform.tick(1)
    desk.service.reconcile()
    assert state_of(desk, intent).state is IntentState.FILLED
    with desk.read() as work:
        assert work.trade_of_position(desk.account_id, position).status == "closed"


@pytest.mark.parametrize(
    ("action", "asked", "filled", "state"),
    [
        (Action.CLOSE_POSITION, {}, "0.02", IntentState.PARTIAL),
        (Action.REDUCE_POSITION, {"remaining_lots": Decimal("0.01")}, "0.02", IntentState.PARTIAL),
        (Action.REDUCE_POSITION, {"remaining_lots": Decimal("0.01")}, None, IntentState.FILLED),
    ],
)
def test_an_exit_found_by_its_deal_is_as_far_as_the_deal_went(desk, action, asked, filled, state):
    """A part of the way is PARTIAL, with the volume and price of its deals, as the platform's own answer would have said."""
    _, position = desk.opened()
    intent = desk.exit(action, position, **asked)
    held = desk.platform.positions[position].lots

    def in_part_and_silent(command):
        lots = command.lots if filled is None else Decimal(filled)
        desk.platform.close_out(position, lots, command.reason, command.tag.text)
        return UNKNOWN

    desk.platform.script = [in_part_and_silent]
    assert desk.service.execute(intent.intent_id).state is IntentState.UNKNOWN
    desk.platform.tick(1)
    desk.service.reconcile()
    after = state_of(desk, intent)
    gone = held - desk.platform.positions[position].lots
    assert (after.state, after.filled_lots, after.average_price) == (state, gone, desk.platform.deals[-1].price)


def test_an_unknown_close_is_planned_again_once_a_read_shows_the_position(desk):
    """An exit names its target: unmet after a complete read and a wait, it is sent again; an entry never is."""
    _, position = desk.opened()
    desk.platform.script = [UNKNOWN]
    intent = desk.exit(Action.CLOSE_POSITION, position)
    desk.service.execute(intent.intent_id)
    desk.platform.tick(1)
    assert desk.service.reconcile().replanned == []
    desk.platform.tick(10)
    assert desk.service.reconcile().replanned == [intent.intent_id]
    assert desk.service.execute(intent.intent_id).state is IntentState.FILLED
    assert desk.platform.positions == {}


def test_a_reduction_is_planned_again_only_as_late_as_an_entry_would_be_given_up(desk):
    """A part could be closed twice by a late acceptance, so it waits long."""
    _, position = desk.opened()
    desk.platform.script = [UNKNOWN]
    intent = desk.exit(Action.REDUCE_POSITION, position, remaining_lots=Decimal("0.2"))
    desk.service.execute(intent.intent_id)
    desk.platform.tick(60)
    assert desk.service.reconcile().replanned == []
    desk.platform.tick(600)
    assert desk.service.reconcile().replanned == [intent.intent_id]


def unprotected(desk):
    def step(command):
        answer = desk.platform.fill(replace(command, stop_loss=None))
        return replace(answer, protected=False)

    desk.platform.script = [step]
    return desk.service.execute(desk.entry().intent_id)


def test_a_fill_without_its_stop_is_closed_after_the_limit(desk):
    """Ten seconds without a confirmed stop, and the guard closes the position."""
    intent = unprotected(desk)
    assert intent.state is IntentState.PROTECTION_PENDING
    desk.platform.tick(5)
    assert desk.service.reconcile().protection_closed == []
    desk.platform.tick(6)
    assert len(desk.service.reconcile().protection_closed) == 1
    assert desk.platform.positions == {}
    desk.service.reconcile()
    assert state_of(desk, intent).state is IntentState.FILLED


def test_a_stop_confirmed_in_time_keeps_the_position(desk):
    """The book shows the stop: the intent is FILLED and nothing is closed."""
    intent = unprotected(desk)
    position = desk.platform.positions[intent.position_id]
    desk.platform.positions[intent.position_id] = replace(position, stop_loss=Decimal("1.098"))
    desk.platform.tick(60)
    desk.service.reconcile()
    assert state_of(desk, intent).state is IntentState.FILLED
    assert list(desk.platform.positions) == [intent.position_id]


def test_a_halt_denies_entries_and_lets_exits_pass(desk):
    """Sticky for every worker, until it is lifted."""
    _, position = desk.opened()
    halt(desk.service, desk.principal, "too wild")
    after = desk.service.execute(desk.entry().intent_id)
    assert (after.state, after.reason) == (IntentState.DENIED, "halted")
    assert desk.service.execute(desk.exit(Action.CLOSE_POSITION, position).intent_id).state is IntentState.FILLED
    resume(desk.service, desk.principal)
    assert desk.service.execute(desk.entry().intent_id).state is IntentState.FILLED


def test_a_stranger_cannot_halt(desk):
    """Nor lift a halt."""
    stranger = Principal(uuid4(), "stranger")
    with pytest.raises(Forbidden):
        halt(desk.service, stranger, "x")
    with pytest.raises(Forbidden):
        resume(desk.service, stranger)


def test_flatten_closes_ours_and_names_what_remains(desk):
    """Our positions and orders go; a manual position stays and is named."""
    desk.opened()
    desk.opened()
    desk.service.execute(
        desk.entry(order_type=OrderType.LIMIT, limit_price=Decimal("1.09000"), stop_loss=Decimal("1.08800")).intent_id
    )
    manual = replace(next(iter(desk.platform.positions.values())), position_id="7", ticket="7", tag_text="", magic=0)
    desk.platform.positions["7"] = manual
    report = flatten(desk.service, desk.principal)
    assert report.flat
    assert (len(report.closed), len(report.cancelled)) == (2, 1)
    assert list(desk.platform.positions) == ["7"]
    assert desk.platform.orders == {}
    assert any("position 7" in words for words in report.remaining)


def test_flatten_goes_on_until_the_platform_says_flat(desk):
    """A refused close is asked again; flat is what the book shows, not what was sent."""
    desk.opened()
    desk.platform.script = [OrderResult(Outcome.FINAL, code="market closed")]
    report = flatten(desk.service, desk.principal)
    assert report.flat
    assert desk.platform.positions == {}


def test_flatten_gives_up_after_its_time_and_says_so(desk):
    """What could not be closed is reported as remaining, not as flat."""
    _, position = desk.opened()
    desk.platform.script = [OrderResult(Outcome.FINAL)] * 200
    report = flatten(desk.service, desk.principal, timeout_seconds=3)
    assert not report.flat
    assert any(position in words for words in report.remaining)

"""The trade service on every store: opening, exits, duplicates, ambiguity."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from toolkit.errors import LeaseLost, ReadFailed
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ports import OpenOrder, OrderResult, Outcome


def test_an_entry_becomes_order_trade_and_link(desk):
    """A claimed entry is sent once and leaves order, trade, link and the run's booked commission."""
    intent = desk.entry()
    after = desk.service.execute(intent.intent_id)
    assert after.state is IntentState.FILLED
    assert len(desk.platform.sent) == 1
    command = desk.platform.sent[0]
    assert isinstance(command, OpenOrder)
    assert command.lots == Decimal("0.50")
    assert command.stop_loss == Decimal("1.09810")
    with desk.read() as work:
        (order,) = work.orders(intent.intent_id)
        (trade,) = work.trades_of_intent(intent.intent_id)
        (link,) = work.links(desk.live_run_id)
        run = work.run(desk.live_run_id)
        states = [(e.from_state, e.to_state) for e in work.events(intent.intent_id)]
    assert states == [("", "NEW"), ("NEW", "CLAIMED"), ("CLAIMED", "SENDING"), ("SENDING", "FILLED")]
    assert (order.outcome, order.lots, order.equity) == ("DONE", Decimal("0.50"), Decimal(10_000))
    assert order.projected_loss == Decimal("-100")
    assert (trade.status, trade.entry_price, trade.commission) == ("open", Decimal("1.10010"), Decimal("-0.35"))
    assert (link.trade_id, link.identifier) == (trade.trade_id, trade.position_id)
    assert run is not None
    assert run.realised == Decimal("-0.35")


def test_executing_twice_sends_once(desk):
    """A pointer delivered again finds the intent settled and sends nothing."""
    intent = desk.entry()
    desk.service.execute(intent.intent_id)
    desk.service.execute(intent.intent_id)
    assert len(desk.platform.sent) == 1


def test_a_close_books_the_exit_of_its_position(desk):
    """A close is pinned to the position and books price, reason, profit and commission."""
    _, position = desk.opened()
    desk.platform.tick(60, "1.10110", "1.10120")
    after = desk.service.execute(desk.exit(Action.CLOSE_POSITION, position).intent_id)
    assert after.state is IntentState.FILLED
    with desk.read() as work:
        trade = work.trade_of_position(desk.account_id, position)
        run = work.run(desk.live_run_id)
    assert (trade.status, trade.exit_price, trade.exit_reason) == ("closed", Decimal("1.10110"), "signal")
    assert (trade.profit, trade.commission) == (Decimal("50"), Decimal("-0.70"))
    assert run.realised == Decimal("49.30")


def test_a_reduction_names_what_remains(desk):
    """Asking for the same remaining volume twice reduces once."""
    _, position = desk.opened()
    first = desk.exit(Action.REDUCE_POSITION, position, remaining_lots=Decimal("0.2"))
    again = desk.exit(Action.REDUCE_POSITION, position, remaining_lots=Decimal("0.2"))
    assert desk.service.execute(first.intent_id).state is IntentState.FILLED
    assert desk.service.execute(again.intent_id).reason == "already_so"
    assert desk.platform.positions[position].lots == Decimal("0.2")
    with desk.read() as work:
        trade = work.trade_of_position(desk.account_id, position)
    assert (trade.status, trade.lots, trade.open_lots) == ("open", Decimal("0.50"), Decimal("0.2"))


def test_a_modify_sets_absolute_levels(desk):
    """A new stop leaves the target, and the trade shows what the platform holds."""
    _, position = desk.opened()
    intent = desk.exit(Action.MODIFY_SLTP, position, stop_loss=Decimal("1.09900"))
    assert desk.service.execute(intent.intent_id).state is IntentState.FILLED
    held = desk.platform.positions[position]
    assert (held.stop_loss, held.take_profit) == (Decimal("1.09900"), Decimal("1.10400"))
    with desk.read() as work:
        trade = work.trade_of_position(desk.account_id, position)
    assert trade.stop_loss == Decimal("1.09900")


def test_an_ambiguous_answer_is_unknown_and_never_sent_again(desk):
    """A time-out after the send leaves UNKNOWN; executing again sends nothing."""
    desk.platform.script = [OrderResult(Outcome.UNKNOWN, code="10012")]
    intent = desk.entry()
    assert desk.service.execute(intent.intent_id).state is IntentState.UNKNOWN
    assert desk.service.execute(intent.intent_id).state is IntentState.UNKNOWN
    assert len(desk.platform.sent) == 1


def test_a_raising_adapter_is_unknown(desk):
    """An exception out of the send is taken as ambiguous, whatever it is."""
    desk.platform.script = [RuntimeError("pipe broke")]
    assert desk.service.execute(desk.entry().intent_id).state is IntentState.UNKNOWN


def test_no_entry_while_one_of_the_run_is_unknown(desk):
    """An UNKNOWN entry of the run keeps its slot and bars further entries."""
    desk.platform.script = [OrderResult(Outcome.UNKNOWN)]
    desk.service.execute(desk.entry().intent_id)
    after = desk.service.execute(desk.entry().intent_id)
    assert (after.state, after.reason) == (IntentState.DENIED, "unresolved_entry")


def test_not_accepted_is_sent_again_with_a_bound(desk):
    """A requote is provably not accepted, so the intent is sent again, three times at most."""
    desk.platform.script = [OrderResult(Outcome.NOT_ACCEPTED, code="10004")] * 5
    after = desk.service.execute(desk.entry().intent_id)
    assert (after.state, after.reason, after.attempt) == (IntentState.EXPIRED, "not_accepted", 3)
    assert len(desk.platform.sent) == 3


def test_a_final_refusal_rejects(desk):
    """A refusal for good ends the intent."""
    desk.platform.script = [OrderResult(Outcome.FINAL, code="10019", message="no money")]
    after = desk.service.execute(desk.entry().intent_id)
    assert (after.state, after.reason) == (IntentState.REJECTED, "10019")


def test_an_entry_past_its_time_expires(desk):
    """valid_until counts on the platform's clock."""
    intent = desk.entry(valid_until=desk.platform.now() + timedelta(seconds=30))
    desk.platform.tick(31)
    assert desk.service.execute(intent.intent_id).state is IntentState.EXPIRED
    assert desk.platform.sent == []


def test_a_target_passed_by_the_market_is_skipped_with_a_reason(desk):
    """The target must lie beyond the send quote, not only beyond the quote the request was built at."""
    intent = desk.entry()
    desk.platform.tick(1, "1.10500", "1.10510")
    after = desk.service.execute(intent.intent_id)
    assert (after.state, after.reason) == (IntentState.DENIED, "target_not_beyond_quote")


def test_a_stale_quote_denies_an_entry(desk):
    """A quote older than the limit on the platform's clock is no basis for an order."""
    intent = desk.entry()
    desk.platform.time += timedelta(seconds=11)
    after = desk.service.execute(intent.intent_id)
    assert (after.state, after.reason) == (IntentState.DENIED, "stale_quote")


def test_a_failed_read_leaves_the_intent_new(desk):
    """Without a complete read nothing is claimed and nothing is sent."""
    intent = desk.entry()
    desk.platform.fail_reads = 1
    with pytest.raises(ReadFailed):
        desk.service.execute(intent.intent_id)
    with desk.read() as work:
        assert work.intent(intent.intent_id).state is IntentState.NEW
    assert desk.platform.sent == []


def test_another_worker_cannot_act_while_the_lease_holds(desk):
    """The second worker is refused before it reads or sends anything."""
    first, second = desk.entry(), desk.entry()
    desk.service.execute(first.intent_id)
    with pytest.raises(LeaseLost):
        desk.make_service("worker-b").execute(second.intent_id)
    assert len(desk.platform.sent) == 1


def test_sizing_uses_the_runs_own_equity(desk):
    """The second entry is sized by capital plus what was booked plus open profit of the run's own positions."""
    _, position = desk.opened()
    desk.platform.balance += Decimal(1_000_000)  # someone else's money on the account
    desk.platform.tick(60, "1.10200", "1.10210")
    desk.service.execute(desk.exit(Action.CLOSE_POSITION, position).intent_id)
    intent = desk.entry(stop_loss=Decimal("1.10010"), take_profit=None)
    desk.service.execute(intent.intent_id)
    with desk.read() as work:
        (order,) = work.orders(intent.intent_id)
    assert order.equity == Decimal("10094.30")


def test_an_exit_of_a_strangers_position_is_refused(desk):
    """A position without a trade of this run is never touched."""
    _, position = desk.opened()
    foreign = desk.exit(Action.CLOSE_POSITION, position, live_run_id=None)
    after = desk.service.execute(foreign.intent_id)
    assert (after.state, after.reason) == (IntentState.REJECTED, "not_ours")
    assert position in desk.platform.positions


def test_a_close_of_a_position_the_stop_took_is_success_and_books_the_stop(desk):
    """ALREADY counts as success; the exit that really happened is booked with its reason."""
    _, position = desk.opened()
    desk.platform.tick(60, "1.09810", "1.09820")
    desk.platform.close_out(position, None, "stop_loss")
    after = desk.service.execute(desk.exit(Action.CLOSE_POSITION, position).intent_id)
    assert (after.state, after.reason) == (IntentState.FILLED, "already_so")
    with desk.read() as work:
        trade = work.trade_of_position(desk.account_id, position)
    assert (trade.status, trade.exit_reason) == ("closed", "stop_loss")


def test_sync_books_a_stop_once(desk):
    """Reading the same history again changes nothing."""
    _, position = desk.opened()
    desk.platform.tick(60, "1.09810", "1.09820")
    desk.platform.close_out(position, None, "stop_loss")
    report = desk.service.sync_book()
    assert [c.after.exit_reason for c in report.changes] == ["stop_loss"]
    again = desk.make_service("worker-a").sync_book()
    assert again.changes == ()
    with desk.read() as work:
        assert work.run(desk.live_run_id).realised == Decimal("-100.70")


def test_sync_lists_foreign_deals_and_leaves_them_alone(desk):
    """A manual position is reported and gets no trade."""
    _, position = desk.opened()
    deal = desk.platform.deals[0]
    from dataclasses import replace

    desk.platform.deals.append(replace(deal, deal_id="9", order_id="8", position_id="7", tag_text="", magic=0))
    report = desk.service.sync_book()
    assert report.foreign_positions == ("7",)
    with desk.read() as work:
        assert work.trade_of_position(desk.account_id, "7") is None
        assert work.trade_of_position(desk.account_id, position) is not None


def test_a_late_fill_is_adopted_by_its_tag(desk):
    """An order accepted after its time-out is found by its tag, linked, and the intent filled."""

    def accept_then_time_out(command):
        desk.platform.fill(command)
        return OrderResult(Outcome.UNKNOWN, code="10012")

    desk.platform.script = [accept_then_time_out]
    intent = desk.entry()
    assert desk.service.execute(intent.intent_id).state is IntentState.UNKNOWN
    desk.platform.tick(5)
    desk.service.sync_book()
    with desk.read() as work:
        after = work.intent(intent.intent_id)
        links = work.links(desk.live_run_id)
    assert after.state is IntentState.FILLED
    assert len(links) == 1


def test_a_fill_whose_deal_cannot_be_read_keeps_its_slot(desk):
    """DONE without a readable deal stays WORKING until the deal is booked by a later read."""
    desk.platform.on_send = lambda command: setattr(desk.platform, "fail_reads", 1)
    intent = desk.entry()
    assert desk.service.execute(intent.intent_id).state is IntentState.WORKING
    desk.platform.tick(1)
    desk.service.sync_book()
    with desk.read() as work:
        assert work.intent(intent.intent_id).state is IntentState.FILLED


def test_a_halt_is_read_right_before_the_send(desk):
    """A halt that comes after the claim still stops the entry."""

    def halt(name: str) -> None:
        if name == "FP3_sending":
            with desk.store.begin(desk.principal) as work:
                work.set_halt(desk.account_id, desk.clock.now(), "me", "stop")
                work.commit()

    service = desk.make_service("worker-a", failpoint=halt)
    after = service.execute(desk.entry().intent_id)
    assert (after.state, after.reason) == (IntentState.DENIED, "halted")
    assert desk.platform.sent == []

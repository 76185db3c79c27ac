"""Market orders and exits: filled, tagged, booked, pinned; what is off the rules is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from platform_worlds import START, D, Harness, OverCTrader, deals, only, opens, tag

from toolkit.execution.ports import (
    ClosePosition,
    OpenOrder,
    OrderType,
    Outcome,
)
from toolkit.market import Side
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "1.10010"), (Side.SELL, "1.10000")])
def test_platform_market_order_fills_and_is_in_the_book(at: Harness, side: Side, price: str) -> None:
    """An entry is a position, with its levels, and a deal."""
    stop, target = ("1.09500", "1.11000") if side is Side.BUY else ("1.10500", "1.09000")
    mark = tag()
    result = opens(at, side, stop=stop, target=target, mark=mark)
    position = only(at)
    assert result.position_id == position.position_id
    assert result.filled_lots == D("0.10") and result.price == D(price) and result.protected
    assert (position.side, position.lots, position.open_price) == (side, D("0.10"), D(price))
    assert (position.stop_loss, position.take_profit) == (D(stop), D(target))
    (deal,) = deals(at)
    assert (deal.entry, deal.side, deal.price, deal.position_id) == ("in", side, D(price), position.position_id)
    assert deal.deal_id in result.deal_ids


def test_platform_tag_comes_back_everywhere(at: Harness) -> None:
    """Our tag and number are on the position, the order and the deal."""
    mark = tag()
    opens(at, mark=mark)
    history = at.platform.history(START - timedelta(days=1), at.platform.now() + timedelta(days=1))
    for record in (only(at), history.orders[0], history.deals[0]):
        assert (record.tag_text, record.magic) == (mark.text, mark.magic)


def test_platform_close_books_the_profit(at: Harness) -> None:
    """A closed position moves the balance by exactly its deal."""
    result = opens(at, Side.BUY, "0.10")
    at.move("1.10210", "1.10220")
    assert at.platform.book().account.equity == D("10020.00")
    closed = at.platform.send(ClosePosition(tag(), str(result.position_id)))
    assert (closed.outcome, closed.price) == (Outcome.DONE, D("1.10210"))
    book = at.platform.book()
    assert book.positions == () and book.account.balance == D("10020.00")
    assert deals(at)[-1].profit == D("20.00") and deals(at)[-1].entry == "out"


def test_platform_reduce_keeps_the_rest(at: Harness) -> None:
    """A partial close leaves the same position with what remains."""
    result = opens(at, Side.SELL, "0.10")
    closed = at.platform.send(ClosePosition(tag(), str(result.position_id), D("0.03")))
    assert (closed.outcome, closed.filled_lots) == (Outcome.DONE, D("0.03"))
    position = only(at)
    assert (position.position_id, position.lots, position.side) == (result.position_id, D("0.07"), Side.SELL)


def test_platform_pinned_close_never_flips(at: Harness) -> None:
    """Closing twice, or more than there is, ends flat: no position of the other side appears."""
    result = opens(at, Side.BUY, "0.10")
    pinned = str(result.position_id)
    first = at.platform.send(ClosePosition(tag(), pinned, D("0.50")))
    again = at.platform.send(ClosePosition(tag(), pinned))
    assert (first.outcome, first.filled_lots) == (Outcome.DONE, D("0.10"))
    assert again.outcome is Outcome.ALREADY
    assert at.platform.book().positions == ()


@pytest.mark.parametrize("lots", ["0.005", "0.015", "0", "100000"])
def test_platform_volume_off_the_rules_is_refused(at: Harness, lots: str) -> None:
    """Volumes below the minimum, between two steps or above the maximum open nothing."""
    result = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.MARKET, D(lots)))
    assert result.outcome is Outcome.FINAL, result
    assert at.platform.book().positions == ()


def test_platform_opposite_order_follows_the_position_mode(at: Harness) -> None:
    """Hedging holds both sides; netting reduces, ends flat, then turns."""
    opens(at, Side.BUY, "0.10")
    opens(at, Side.SELL, "0.04")
    if at.hedging:
        assert sorted((p.side, p.lots) for p in at.platform.book().positions) == [
            (Side.BUY, D("0.10")),
            (Side.SELL, D("0.04")),
        ]
        return
    assert (only(at).side, only(at).lots) == (Side.BUY, D("0.06"))
    opens(at, Side.SELL, "0.06")
    assert at.platform.book().positions == ()


def test_platform_netting_turn_is_one_deal_in_and_out(at: Harness) -> None:
    """A netted order larger than the position turns it; the position keeps its id."""
    if at.hedging:
        pytest.skip("hedging accounts do not net")
    first = opens(at, Side.BUY, "0.10")
    at.move("1.10110", "1.10120")
    opens(at, Side.SELL, "0.30")
    position = only(at)
    assert (position.side, position.lots, position.open_price) == (Side.SELL, D("0.20"), D("1.10110"))
    assert position.position_id == first.position_id
    assert (deals(at)[-1].entry, deals(at)[-1].profit) == ("inout", D("10.00"))


def test_platform_netting_adds_at_the_average_price(at: Harness) -> None:
    """A second order of the same side joins the position; profits add up exactly."""
    if at.hedging:
        pytest.skip("hedging accounts do not net")
    opens(at, Side.BUY, "0.10")
    at.move("1.10100", "1.10110")
    opens(at, Side.BUY, "0.20")
    position = only(at)
    assert position.lots == D("0.30")
    assert abs(position.open_price - D("1.10077")) <= D("0.00001")
    at.move("1.10200", "1.10210")
    at.platform.send(ClosePosition(tag(), position.position_id))
    assert at.platform.book().account.balance == D(10_000) + D("19.00") + D("18.00")


def test_platform_two_positions_are_closed_apart(at: Harness) -> None:
    """On a hedging account an exit touches its own position only."""
    if not at.hedging:
        pytest.skip("a netting account has one position a symbol")
    first, second = opens(at, Side.BUY, "0.10"), opens(at, Side.BUY, "0.20")
    at.platform.send(ClosePosition(tag(), str(first.position_id)))
    assert only(at).position_id == second.position_id


def test_platform_partial_fill_reports_what_was_filled(at: Harness) -> None:
    """The rest of a partial fill is dead, and the answer equals the deals."""
    at.restart(FaultScript([Fault(FaultKind.PARTIAL, share=D("0.3"))]))
    at.move("1.10000", "1.10010")
    result = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.MARKET, D("0.10")))
    assert (result.outcome, result.filled_lots) == (Outcome.PARTIAL, D("0.03"))
    assert only(at).lots == sum((d.lots for d in deals(at)), D(0)) == D("0.03")


def test_platform_cut_comment_leaves_the_magic(at: Harness) -> None:
    """When the venue shortens the comment, our number still identifies the order."""
    at.restart(FaultScript([Fault(FaultKind.CUT_COMMENT, length=16)]))
    at.move("1.10000", "1.10010")
    mark = tag()
    opens(at, mark=mark)
    assert (only(at).tag_text, only(at).magic) == (mark.text[:16], mark.magic)


def test_platform_changed_ticket_is_closed_by_its_id_for_life(at: Harness) -> None:
    """A position whose ticket changed is still found by the id it was opened with."""
    if isinstance(at, OverCTrader):
        pytest.skip("a cTrader position has one number, for life")
    at.restart(FaultScript([Fault(FaultKind.CHANGE_TICKET)]))
    at.move("1.10000", "1.10010")
    result = opens(at)
    assert only(at).ticket != only(at).position_id == result.position_id
    assert at.platform.send(ClosePosition(tag(), str(result.position_id))).outcome is Outcome.DONE
    assert at.platform.book().positions == ()

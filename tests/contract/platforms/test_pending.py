"""Pending orders: they wait, fill, end, expire, and are refused on the wrong side."""

from __future__ import annotations

from datetime import timedelta

import pytest
from platform_worlds import START, D, Harness, tag

from toolkit.execution.ports import (
    CancelOrder,
    OpenOrder,
    OrderType,
    Outcome,
)
from toolkit.market import Side


@pytest.mark.parametrize(
    ("order_type", "side", "price", "bid", "ask"),
    [
        (OrderType.LIMIT, Side.BUY, "1.09900", "1.09885", "1.09895"),
        (OrderType.LIMIT, Side.SELL, "1.10100", "1.10105", "1.10115"),
        (OrderType.STOP, Side.BUY, "1.10100", "1.10095", "1.10105"),
        (OrderType.STOP, Side.SELL, "1.09900", "1.09895", "1.09905"),
    ],
)
def test_platform_pending_order_waits_and_fills(
    at: Harness, order_type: OrderType, side: Side, price: str, bid: str, ask: str
) -> None:
    """A pending order is working until its price comes, then a position that carries the tag."""
    mark = tag()
    placed = at.platform.send(OpenOrder(mark, "EURUSD", side, order_type, D("0.10"), D(price)))
    assert placed.outcome is Outcome.WORKING
    (order,) = at.platform.book().orders
    assert (order.order_id, order.state, order.limit_price) == (placed.order_id, "working", D(price))
    assert (order.order_type, order.side, order.tag_text, order.magic) == (order_type, side, mark.text, mark.magic)
    at.move(bid, ask)
    book = at.platform.book()
    assert book.orders == () and len(book.positions) == 1
    assert (book.positions[0].side, book.positions[0].magic) == (side, mark.magic)


def test_platform_pending_order_on_the_wrong_side_is_refused(at: Harness) -> None:
    """A buy limit above the market is refused, not filled."""
    wrong = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.10500")))
    assert wrong.outcome is Outcome.FINAL
    assert at.platform.book().orders == ()


def test_platform_cancel_ends_a_working_order(at: Harness) -> None:
    """A cancelled order is history with the state cancelled; a second cancel is ALREADY."""
    placed = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09000")))
    assert at.platform.send(CancelOrder(tag(), str(placed.order_id))).outcome is Outcome.DONE
    assert at.platform.book().orders == ()
    ended = at.platform.history(START - timedelta(days=1), at.platform.now() + timedelta(days=1)).orders
    assert [(o.order_id, o.state) for o in ended] == [(placed.order_id, "cancelled")]
    assert at.platform.send(CancelOrder(tag(), str(placed.order_id))).outcome is Outcome.ALREADY


def test_platform_expired_order_is_history(at: Harness) -> None:
    """An order past its expiry no longer fills."""
    until = at.platform.now() + timedelta(minutes=3)
    at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09000"), expires_at=until))
    for _ in range(4):
        at.move("1.10000", "1.10010")
    at.move("1.08980", "1.08990")
    assert at.platform.book().orders == () and at.platform.book().positions == ()
    ended = at.platform.history(START - timedelta(days=1), at.platform.now() + timedelta(days=1)).orders
    assert [o.state for o in ended] == ["expired"]

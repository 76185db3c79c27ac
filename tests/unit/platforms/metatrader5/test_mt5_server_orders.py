"""Actions of the double's server that the adapter does not send itself: changing and removing orders, closing by another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from toolkit.market import find_instrument
from toolkit.platforms.simmt5 import STRICT, SimMT5
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.platforms.simulated.desk import VenueRules
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 3, 5, 9, tzinfo=UTC)
D = Decimal


def terminal(folder: Path, mode: str = "hedging", checks: VenueRules = STRICT) -> SimMT5:
    """Open a terminal at 1.10000 / 1.10010."""
    account = PaperAccount("USD", 10_000, mode=mode)  # type: ignore[arg-type]
    venue = SimulatedPlatform(folder / "v.sqlite", account, [find_instrument("EURUSD")], checks=checks)
    venue.push_quote("EURUSD", D("1.10000"), D("1.10010"), START)
    sim = SimMT5(venue)
    sim.initialize()
    return sim


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimMT5]:
    """A hedging account."""
    found = terminal(tmp_path)
    yield found
    found.platform.close()


def deal(**more: Any) -> dict[str, Any]:
    """Return a market buy."""
    return {
        "action": 1,
        "symbol": "EURUSD",
        "volume": 0.1,
        "type": 0,
        "price": 1.1001,
        "magic": 5,
        "comment": "a",
        **more,
    }


def limit(**more: Any) -> dict[str, Any]:
    """Return a buy limit at 1.09500."""
    return {
        "action": 5, "symbol": "EURUSD", "volume": 0.1, "type": 2, "price": 1.095, "type_filling": 2, "magic": 5, **more,
    }  # fmt: skip


def change(order: int, **more: Any) -> dict[str, Any]:
    """Return a change of a working order."""
    return {"action": 7, "order": order, "symbol": "EURUSD", "price": 1.095, **more}


def test_mt5_modify_moves_price_levels_and_expiry_of_a_working_order(sim: SimMT5) -> None:
    """The order keeps its ticket; it fills at its new price with its new levels."""
    order = sim.order_send(limit()).order
    until = sim.server.time.wall(START + timedelta(hours=1))
    answer = sim.order_send(change(order, price=1.097, sl=1.095, tp=1.1, type_time=2, expiration=until))
    assert (answer.retcode, answer.order) == (10009, order)
    (working,) = sim.orders_get() or ()
    assert (working.ticket, working.price_open, working.sl, working.tp) == (order, 1.097, 1.095, 1.1)
    assert working.time_expiration == until and working.type_time == sim.ORDER_TIME_SPECIFIED
    sim.platform.push_quote("EURUSD", D("1.09690"), D("1.09700"), START + timedelta(minutes=1))
    (position,) = sim.positions_get() or ()
    assert (position.identifier, position.sl, position.tp) == (order, 1.095, 1.1)


def test_mt5_modify_without_levels_takes_them_away(sim: SimMT5) -> None:
    """Zero means none, as for positions."""
    order = sim.order_send(limit(sl=1.09, tp=1.11)).order
    assert sim.order_send(change(order)).retcode == 10009
    (working,) = sim.orders_get() or ()
    assert (working.sl, working.tp) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("more", "retcode"),
    [
        ({}, 10025),  # already so
        ({"price": 1.1002}, 10015),  # on the wrong side of the market
        ({"price": 1.0950001}, 10015),  # between two points
        ({"sl": 1.096}, 10016),  # a stop above a buy limit
        ({"expiration": 5}, 10022),  # an expiry without its kind
        ({"type_time": 2, "expiration": 5}, 10022),  # long gone
    ],
)
def test_mt5_modify_is_refused_as_a_server_would(sim: SimMT5, more: dict[str, Any], retcode: int) -> None:
    """Each refusal has its code and leaves the order as it was."""
    order = sim.order_send(limit()).order
    before = sim.orders_get()
    assert sim.order_send(change(order, **more)).retcode == retcode
    assert sim.orders_get() == before


def test_mt5_modify_and_remove_of_an_order_that_is_not_there(sim: SimMT5) -> None:
    """10035 for both; nothing else tells that it ever was."""
    assert sim.order_send(change(99)).retcode == 10035
    assert sim.order_send({"action": 8, "order": 99}).retcode == 10035


def test_mt5_modify_and_remove_near_the_market_are_frozen(tmp_path: Path) -> None:
    """Within the freeze level an order can neither be moved nor taken away: 10029."""
    sim = terminal(tmp_path, checks=VenueRules(freeze_level_points=600))
    order = sim.order_send(limit()).order
    assert sim.order_send(change(order, price=1.09)).retcode == 10029
    assert sim.order_send({"action": 8, "order": order}).retcode == 10029
    sim.platform.close()


def test_mt5_remove_ends_a_working_order(sim: SimMT5) -> None:
    """It is history with the state cancelled; a second removal finds nothing."""
    order = sim.order_send(limit()).order
    assert sim.order_send({"action": 8, "order": order}).retcode == 10009
    assert sim.orders_get() == ()
    (ended,) = sim.history_orders_get(ticket=order) or ()
    assert ended.state == sim.ORDER_STATE_CANCELED
    assert sim.order_send({"action": 8, "order": order}).retcode == 10035


def test_mt5_a_changed_order_survives_a_restart(tmp_path: Path) -> None:
    """The change is in the server's journal."""
    sim = terminal(tmp_path)
    order = sim.order_send(limit()).order
    sim.order_send(change(order, price=1.08, tp=1.2))
    sim.platform.close()
    with SimulatedPlatform(tmp_path / "v.sqlite") as again:
        (working,) = again.book().orders
        assert (working.limit_price, working.take_profit) == (D("1.08000"), D("1.20000"))


def test_mt5_close_by_nets_two_opposite_positions(sim: SimMT5) -> None:
    """The smaller one is gone, the difference stays; both deals are OUT_BY and only the first carries money."""
    buy = sim.order_send(deal(volume=0.3)).order
    sim.platform.push_quote("EURUSD", D("1.10100"), D("1.10110"), START + timedelta(minutes=1))
    sell = sim.order_send(deal(type=1, price=1.101, volume=0.1)).order
    balance = sim.account_info().balance
    answer = sim.order_send({"action": 10, "position": buy, "position_by": sell, "magic": 7})
    assert answer.retcode == 10009
    (left,) = sim.positions_get() or ()
    assert (left.ticket, left.volume, left.price_open) == (buy, 0.2, 1.1001)
    deals = (sim.history_deals_get(0, 2**40) or ())[-2:]
    assert [d.entry for d in deals] == [sim.DEAL_ENTRY_OUT_BY] * 2
    assert [d.position_id for d in deals] == [buy, sell] and [d.profit for d in deals] == [9.0, 0.0]
    assert sim.account_info().balance == balance + 9.0  # 0.1 lot from 1.10010 to 1.10100
    (order,) = sim.history_orders_get(ticket=answer.order) or ()
    assert order.type == sim.ORDER_TYPE_CLOSE_BY


def test_mt5_close_by_needs_opposite_positions_of_a_hedging_account(tmp_path: Path, sim: SimMT5) -> None:
    """Same side is 10013, a position that is gone 10036, and a netting account has no pair."""
    one, two = (sim.order_send(deal()).order for _ in range(2))
    assert sim.order_send({"action": 10, "position": one, "position_by": two}).retcode == 10013
    assert sim.order_send({"action": 10, "position": one, "position_by": 99}).retcode == 10036
    (tmp_path / "n").mkdir()
    netting = terminal(tmp_path / "n", "netting")
    only = netting.order_send(deal()).order
    assert netting.order_send({"action": 10, "position": only, "position_by": only}).retcode == 10013
    netting.platform.close()


def test_mt5_volumes_are_kept_with_eight_decimals(sim: SimMT5) -> None:
    """0.1 + 0.2 is 0.3 for a server, whatever the float says."""
    assert sim.order_send(deal(volume=0.1 + 0.2)).retcode == 10009
    (position,) = sim.positions_get() or ()
    assert position.volume == 0.3

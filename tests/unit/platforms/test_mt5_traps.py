"""The traps of the MetaTrader5 package, each pinned in the double and in the adapter.

1. Texts of 30 characters and more are refused silently.          7. All times are the server's wall clock.
2. Only float, int and str, in a real dict.                       8. Filling by the symbol's mask and execution mode.
3. A call holds the interpreter lock and has no deadline.         9. Stops and freeze levels; stops refused on an entry.
4. One terminal, one account: the guard before every send.       10. Volume steps and limits; profit needs Market Watch.
5. Netting turns positions; closing by age.                      11. The server knows no repetition; identity is ours.
6. The identifier stays, the ticket changes.                     12. The forming bar, revisions, None is an error, and
                                                                     order_check promises nothing.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.clock import ManualClock, from_ns
from toolkit.errors import PlatformUnavailable, ReadFailed, UnknownSymbol, WrongAccount
from toolkit.execution.ports import ClientTag, ClosePosition, ModifyProtection, OpenOrder, OrderType, Outcome
from toolkit.market import Side, find_instrument, sample_bars
from toolkit.platforms.metatrader5 import MetaTrader5Platform, convert, platform, requests
from toolkit.platforms.simmt5 import STRICT, SimMT5, SimMT5Platform
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript, SimulatedPlatform
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 3, 5, 9, tzinfo=UTC)
TAG = ClientTag("q1" + "A" * 26, (0x5EA << 51) | 12345)
D = Decimal


def venue(path: Path, mode: str = "hedging", **more: Any) -> SimulatedPlatform:
    """Open a venue at 1.10000 / 1.10010."""
    account = PaperAccount("USD", 10_000, mode=mode)  # type: ignore[arg-type]
    found = SimulatedPlatform(path / "v.sqlite", account, [find_instrument("EURUSD")], checks=STRICT, **more)
    found.push_quote("EURUSD", D("1.10000"), D("1.10010"), START)
    return found


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimMT5]:
    """A terminal, initialised, on a demo account."""
    terminal = SimMT5(venue(tmp_path))
    terminal.initialize()
    yield terminal
    terminal.platform.close()


def adapter(sim: SimMT5, **more: Any) -> MetaTrader5Platform:
    """Return a connected adapter on a terminal."""
    login, server, _ = sim.logged_in
    found = MetaTrader5Platform(sim, login=login, server=server, clock="New York + 7", utc=sim.clock, **more)
    found.connect()
    return found


def deal_request(**more: Any) -> dict[str, Any]:
    """Return a market buy as the package takes it."""
    return {
        "action": 1,
        "symbol": "EURUSD",
        "volume": 0.1,
        "type": 0,
        "price": 1.1001,
        "type_filling": 0,
        "magic": 5,
        "comment": "q1x",
        **more,
    }


BUY = OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.MARKET, D("0.10"))


@pytest.mark.parametrize("field", ["comment", "symbol"])
def test_mt5_trap_1_text_of_30_characters_is_refused_silently(sim: SimMT5, field: str) -> None:
    """29 characters pass the package's check, 30 give None and -2."""
    assert sim.order_send(deal_request(comment="c" * 29)).retcode == 10009
    assert sim.order_send(deal_request(**{field: "c" * 30})) is None
    assert sim.last_error() == (-2, f'Invalid "{field}" argument')


def test_mt5_trap_1_our_tag_fits_and_a_longer_one_is_never_sent(sim: SimMT5) -> None:
    """A tag of 28 characters passes; a too long one is refused by us, with its length named."""
    at = adapter(sim)
    assert at.send(BUY).outcome is Outcome.DONE
    result = at.send(replace(BUY, tag=ClientTag("x" * 30, 5)))
    assert result.outcome is Outcome.FINAL and "29 characters" in result.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("volume", 1),
        ("volume", D("0.1")),
        ("price", 1),
        ("sl", D("1.09")),
        ("magic", np.int64(5)),
        ("type", 0.0),
        ("comment", 5),
        ("nonsense", 1),
    ],
)
def test_mt5_trap_2_other_number_types_are_refused_silently(sim: SimMT5, field: str, value: object) -> None:
    """Prices and volumes must be float, all else a Python int."""
    assert sim.order_send(deal_request(**{field: value})) is None
    assert sim.last_error()[0] == -2


def test_mt5_trap_2_numpy_floats_pass_and_other_mappings_do_not(sim: SimMT5) -> None:
    """``numpy.float64`` is a float; a mapping that is no dict is refused."""

    class Other(dict[str, Any]):
        pass

    assert sim.order_send(deal_request(volume=np.float64(0.1))).retcode == 10009
    assert sim.order_send(Other(deal_request())) is None


def test_mt5_trap_2_the_adapter_casts_every_value(sim: SimMT5) -> None:
    """What the adapter builds holds float, int and str and nothing else."""
    seen: list[dict[str, Any]] = []
    real = sim.order_send
    sim.order_send = lambda request: (seen.append(request), real(request))[1]  # type: ignore[method-assign]
    at = adapter(sim)
    opened = at.send(replace(BUY, stop_loss=D("1.09"), take_profit=D("1.12")))
    at.send(ModifyProtection(TAG, str(opened.position_id), D("1.095"), None))
    at.send(ClosePosition(TAG, str(opened.position_id), D("0.05")))
    expires = START + timedelta(hours=1)
    at.send(OpenOrder(TAG, "EURUSD", Side.SELL, OrderType.LIMIT, D("0.1"), D("1.2"), expires_at=expires))
    assert [r["action"] for r in seen] == [1, 6, 1, 5]
    assert {type(v) for r in seen for v in r.values()} == {float, int, str}


def test_mt5_trap_3_call_that_hangs_holds_the_interpreter_lock(tmp_path: Path) -> None:
    """Nothing else of the process runs while the package waits: that is why a session has a process of its own.

    What the toolkit makes of it is in test_isolation.py and tests/unit/live/test_mt5_feed.py.
    """
    beats: list[float] = []
    over = threading.Event()

    def heart() -> None:
        while not over.wait(0.01):
            beats.append(time.monotonic())

    with venue(tmp_path) as paper:
        sim = SimMT5(paper, hang_after=1, hang_seconds=0.6)
        at = adapter(sim)
        beating = threading.Thread(target=heart)
        beating.start()
        began = time.monotonic()
        assert at.send(BUY).outcome is Outcome.DONE
        ended = time.monotonic()
        over.set()
        beating.join(timeout=5)
    inside = [began, *(b for b in beats if began < b < ended), ended]
    assert max(b - a for a, b in pairwise(inside)) > 0.55


def test_mt5_trap_4_terminal_without_its_server_sends_nothing(sim: SimMT5) -> None:
    """A terminal that has lost its server is not asked to send: nothing can have been accepted."""
    at = adapter(sim)
    sim.cut_line()
    assert at.send(BUY).outcome is Outcome.NOT_ACCEPTED
    with pytest.raises(PlatformUnavailable, match="not connected"):
        at.book()
    assert sim.platform.order_count() == 0


def test_mt5_trap_4_another_login_in_the_terminal_stops_every_send(sim: SimMT5) -> None:
    """A person who switches the terminal's account makes sends refused and reads fail, and nothing reaches the server."""
    at = adapter(sim)
    sim.log_in_as(999, "Other-Demo")
    result = at.send(BUY)
    assert (result.outcome, result.code) == (Outcome.WAIT, "WRONG_ACCOUNT")
    with pytest.raises(WrongAccount, match="999 at Other-Demo"):
        at.book()
    assert sim.platform.order_count() == 0


def test_mt5_trap_4_demo_and_real_are_not_mixed_up(sim: SimMT5) -> None:
    """The same login on a real account is another account."""
    at = adapter(sim)
    login, server, _ = sim.logged_in
    sim.log_in_as(login, server, trade_mode=2)
    assert at.send(BUY).code == "WRONG_ACCOUNT"
    with pytest.raises(WrongAccount, match=r"\(real\)"):
        at.connect()


def test_mt5_trap_4_the_adapter_never_calls_login() -> None:
    """Switching the terminal is done by nobody in the adapter, and the resending helpers are never used."""
    source = inspect.getsource(platform)
    assert not [w for w in (".login(", ".Buy(", ".Sell(", ".Close(") if w in source]


@pytest.mark.parametrize("off", ["trade_allowed", "tradeapi_disabled"])
def test_mt5_trap_4_trading_switched_off_waits(sim: SimMT5, off: str) -> None:
    """Auto-trading off, or the interface disabled, is WAIT before anything is sent."""
    at = adapter(sim)
    setattr(sim, off, off == "tradeapi_disabled")
    assert at.send(BUY).outcome is Outcome.WAIT
    assert sim.order_send(deal_request()).retcode == 10027


def test_mt5_trap_5_unpinned_opposite_order_turns_a_netting_account_but_a_pinned_close_cannot(tmp_path: Path) -> None:
    """The server turns a netted position on an unpinned deal; the adapter's close is pinned and clamped."""
    with venue(tmp_path, "netting") as paper:
        sim = SimMT5(paper)
        at = adapter(sim)
        opened = at.send(BUY)
        assert at.send(ClosePosition(TAG, str(opened.position_id), D("5"))).filled_lots == D("0.10")
        assert at.send(ClosePosition(TAG, str(opened.position_id))).outcome is Outcome.ALREADY
        assert sim.positions_get() == ()
        at.send(BUY)
        sim.order_send(deal_request(type=1, price=1.1, volume=0.3))
        assert sim.positions_get()[0].type == sim.POSITION_TYPE_SELL  # type: ignore[index]


def test_mt5_trap_5_close_beyond_the_position_is_refused_by_the_server(sim: SimMT5) -> None:
    """More than there is, or the wrong direction, is not executed."""
    ticket = sim.order_send(deal_request()).order
    assert sim.order_send(deal_request(type=1, position=ticket, volume=0.2)).retcode == 10038
    assert sim.order_send(deal_request(type=0, position=ticket)).retcode == 10013


def test_mt5_trap_5_account_that_closes_by_age_refuses_the_newer_position(sim: SimMT5) -> None:
    """With ``fifo_close`` the newer of two positions cannot go first (10045); the reason comes back, the older one closes."""
    sim.server.fifo_close = True
    at = adapter(sim)
    older, newer = at.send(BUY), at.send(BUY)
    assert at.book().account.fifo_close
    refused = at.send(ClosePosition(TAG, str(newer.position_id)))
    assert (refused.outcome, refused.code) == (Outcome.FINAL, "FIFO_CLOSE")
    assert at.send(ClosePosition(TAG, str(older.position_id))).outcome is Outcome.DONE
    assert at.send(ClosePosition(TAG, str(newer.position_id))).outcome is Outcome.DONE


def test_mt5_trap_6_turned_netting_position_keeps_its_identifier_under_a_new_ticket(tmp_path: Path) -> None:
    """A reversal on a netting account: the old ticket is gone, the identifier is the same."""
    with venue(tmp_path, "netting") as paper:
        sim = SimMT5(paper)
        at = adapter(sim)
        opened = at.send(BUY)
        turning = sim.order_send(deal_request(type=1, price=1.1, volume=0.3)).order
        (position,) = at.book().positions
        assert (position.position_id, position.ticket) == (opened.position_id, str(turning))
        assert at.deals_of(str(opened.position_id))[-1].entry == "inout"


def test_mt5_trap_6_identifier_stays_and_ticket_changes(sim: SimMT5) -> None:
    """After a re-opening the old ticket is no position any more; the adapter still finds it by its identifier."""
    at = adapter(sim)
    opened = at.send(BUY)
    ticket = int(sim.platform.change_ticket(str(opened.position_id)))
    assert sim.order_send(deal_request(type=1, position=int(str(opened.position_id)))).retcode == 10036
    position = at.book().positions[0]
    assert (position.position_id, position.ticket) == (opened.position_id, str(ticket))
    assert at.send(ClosePosition(TAG, str(opened.position_id))).outcome is Outcome.DONE


def test_mt5_trap_6_server_exit_carries_another_comment_and_joins_by_position(sim: SimMT5) -> None:
    """A stop's deal has the server's comment; its position id and reason tell whose it is."""
    at = adapter(sim)
    opened = at.send(replace(BUY, stop_loss=D("1.09900")))
    sim.platform.push_quote("EURUSD", D("1.09890"), D("1.09900"), START + timedelta(minutes=1))
    deal = at.history(START, START + timedelta(days=1)).deals[-1]
    assert deal.tag_text == "[sl 1.0989]" and deal.magic == TAG.magic
    assert (deal.position_id, deal.reason) == (opened.position_id, "stop_loss")


def test_mt5_trap_7_times_are_server_wall_clock(sim: SimMT5) -> None:
    """09:00 UTC in March before Europe changes is 11:00 on New York + 7; the adapter gives UTC back."""
    tick = sim.symbol_info_tick("EURUSD")
    assert tick.time == int(START.timestamp()) + 2 * 3600
    at = adapter(sim)
    assert at.quote("EURUSD").ts == START
    at.send(BUY)
    assert at.book().positions[0].opened_at == START
    summer = START + timedelta(days=10)
    sim.platform.push_quote("EURUSD", D("1.1"), D("1.1"), summer)
    assert sim.symbol_info_tick("EURUSD").time == int(summer.timestamp()) + 3 * 3600
    assert at.quote("EURUSD").ts == summer


def test_mt5_trap_7_history_is_asked_in_server_time_with_room(sim: SimMT5) -> None:
    """A deal of this second is found although the server's clock runs hours ahead."""
    at = adapter(sim)
    at.send(BUY)
    assert len(at.history(START, START).deals) == 1
    assert at.history(START + timedelta(seconds=1), START + timedelta(hours=9)).deals == ()
    naive = sim.history_deals_get(START - timedelta(hours=1), START + timedelta(hours=1))
    assert [d for d in naive or () if d.type < 2] == []  # what asking in UTC would have missed


def test_mt5_trap_7_expiration_is_sent_in_server_time(sim: SimMT5) -> None:
    """The expiry of a pending order comes back as the UTC moment asked for."""
    at = adapter(sim)
    until = START + timedelta(hours=3)
    at.send(OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09"), expires_at=until))
    assert at.book().orders[0].expires_at == until


@pytest.mark.parametrize(
    ("mask", "mode", "expected"), [(1, 2, 0), (2, 2, 1), (3, 2, 0), (0, 2, 2), (4, 2, 2), (3, 1, 2), (1, 0, 2)]
)
def test_mt5_trap_8_filling_follows_mask_and_execution_mode(sim: SimMT5, mask: int, mode: int, expected: int) -> None:
    """FOK before IOC; RETURN without a mask or outside market execution; bit 4 is not RETURN."""
    sim.server.filling_mode, sim.server.exemode = mask, mode
    assert requests.filling(sim.symbol_info("EURUSD")) == expected


def test_mt5_trap_8_wrong_filling_is_refused_by_the_server(sim: SimMT5) -> None:
    """A filling outside the mask is 10030; pending orders take RETURN only."""
    sim.server.filling_mode = 2
    assert sim.order_send(deal_request(type_filling=0)).retcode == 10030
    assert sim.order_send(deal_request(action=5, type=2, price=1.09, type_filling=1)).retcode == 10030


def test_mt5_trap_9_levels_nearer_than_the_stops_level_are_not_sent(tmp_path: Path) -> None:
    """The level counts from the bid for a long's stop; the adapter refuses before the send, the server too."""
    checks = replace(STRICT, stops_level_points=50)
    account = PaperAccount("USD", 10_000)
    with SimulatedPlatform(tmp_path / "v.sqlite", account, [find_instrument("EURUSD")], checks=checks) as paper:
        paper.push_quote("EURUSD", D("1.10000"), D("1.10010"), START)
        sim = SimMT5(paper)
        sim.server.stops_level = 50
        at = adapter(sim)
        near = at.send(replace(BUY, stop_loss=D("1.09960")))
        assert near.outcome is Outcome.FINAL and "stop_loss must be below 1.10000 by 0.00050" in near.message
        assert sim.order_send(deal_request(sl=1.0996)).retcode == 10016
        assert at.send(replace(BUY, stop_loss=D("1.09950"))).outcome is Outcome.DONE


def test_mt5_trap_9_stop_that_the_fill_did_not_take_over_is_set_right_after(tmp_path: Path) -> None:
    """One more request sets it; where that fails too, protected is False and the account's guard decides."""
    bare = Fault(FaultKind.NO_PROTECTION)
    with venue(tmp_path, faults=FaultScript([bare])) as paper:
        at = adapter(SimMT5(paper))
        result = at.send(replace(BUY, stop_loss=D("1.09")))
        assert (result.outcome, result.protected) == (Outcome.DONE, True)
        assert at.book().positions[0].stop_loss == D("1.09")
    (tmp_path / "again").mkdir()
    with venue(tmp_path / "again", faults=FaultScript([bare, Fault(FaultKind.REJECT, on="modify")])) as paper:
        result = adapter(SimMT5(paper)).send(replace(BUY, stop_loss=D("1.09")))
        assert (result.outcome, result.protected) == (Outcome.DONE, False)


def test_mt5_trap_9_server_that_refuses_stops_on_entries_gets_them_after(sim: SimMT5) -> None:
    """Sent with its stop the entry is refused; an account that says so has the stop follow the fill."""
    sim.server.stops_with_entry = False
    with_stop = replace(BUY, stop_loss=D("1.09"), take_profit=D("1.12"))
    assert adapter(sim).send(with_stop).outcome is Outcome.FINAL
    at = adapter(sim, stops_with_entry=False)
    result = at.send(with_stop)
    assert (result.outcome, result.protected) == (Outcome.DONE, True)
    assert (at.book().positions[0].stop_loss, at.book().positions[0].take_profit) == (D("1.09"), D("1.12"))


def test_mt5_trap_9_frozen_levels_are_not_accepted_for_now(tmp_path: Path) -> None:
    """Within the freeze level nothing can be changed (10029): that may be tried again, it is no refusal for good."""
    checks = replace(STRICT, freeze_level_points=200)
    account = PaperAccount("USD", 10_000)
    with SimulatedPlatform(tmp_path / "v.sqlite", account, [find_instrument("EURUSD")], checks=checks) as paper:
        paper.push_quote("EURUSD", D("1.10000"), D("1.10010"), START)
        at = adapter(SimMT5(paper))
        opened = at.send(replace(BUY, stop_loss=D("1.09900")))
        moved = at.send(ModifyProtection(TAG, str(opened.position_id), D("1.09500"), None))
        assert (moved.outcome, moved.code) == (Outcome.NOT_ACCEPTED, "FROZEN")


@pytest.mark.parametrize("lots", ["0.015", "0.001", "501"])
def test_mt5_trap_10_volume_off_the_step_is_refused_on_both_sides(sim: SimMT5, lots: str) -> None:
    """The adapter never sends it, the server answers 10014."""
    assert adapter(sim).send(replace(BUY, lots=D(lots))).outcome is Outcome.FINAL
    assert sim.order_send(deal_request(volume=float(lots))).retcode == 10014


def test_mt5_trap_10_volume_limit_counts_positions_and_orders_of_one_side(sim: SimMT5) -> None:
    """Beyond the server's sum per symbol and side nothing is sent; the server would say 10034. The other side is free."""
    sim.server.volume_limit = 0.25
    at = adapter(sim)
    at.send(BUY)
    at.send(OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09")))
    beyond = at.send(BUY)
    assert beyond.outcome is Outcome.FINAL and "0.10 with 0.20 there already" in beyond.message
    assert sim.order_send(deal_request()).retcode == 10034
    assert at.send(replace(BUY, side=Side.SELL)).outcome is Outcome.DONE


def test_mt5_trap_10_number_of_orders_is_limited(sim: SimMT5) -> None:
    """One pending order too many is refused for good (10033)."""
    sim.server.limit_orders = 1
    at = adapter(sim)
    pending = OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09"))
    assert at.send(pending).outcome is Outcome.WORKING
    assert (at.send(pending).outcome, at.send(pending).code) == (Outcome.FINAL, "LIMIT_ORDERS")


def test_mt5_trap_10_profit_needs_market_watch(tmp_path: Path) -> None:
    """The terminal calculates nothing for a symbol outside Market Watch; the adapter selects it first."""
    with venue(tmp_path) as paper:
        sim = SimMT5(paper, hidden=["EURUSD"])
        sim.initialize()
        assert sim.order_calc_profit(0, "EURUSD", 1.0, 1.1, 1.2) is None
        assert sim.symbol_info_tick("EURUSD") is None
        at = adapter(sim)
        assert at.profit("EURUSD", Side.BUY, D(1), D("1.1"), D("1.2")) == D("10000.00")
        assert at.quote("EURUSD").bid == D("1.1")


def test_mt5_trap_11_the_server_does_not_know_a_repeated_order(sim: SimMT5) -> None:
    """There is no idempotency at the server: the same request twice is two positions."""
    at = adapter(sim)
    at.send(BUY)
    at.send(BUY)
    assert [p.magic for p in at.book().positions] == [TAG.magic] * 2
    assert sim.platform.duplicate_orders() == 1


def test_mt5_trap_11_positions_cannot_be_filtered_by_magic(sim: SimMT5) -> None:
    """The package has no such argument."""
    with pytest.raises(TypeError):
        sim.positions_get(magic=5)  # type: ignore[call-arg]


def test_mt5_trap_12_forming_bar_is_position_0_and_never_closed(tmp_path: Path) -> None:
    """The bar under way is the last row; the adapter leaves it out until a newer one has opened."""
    bars = sample_bars("EURUSD", "H1")[:50]
    at = SimMT5Platform(SimulatedPlatform(tmp_path / "v.sqlite", PaperAccount("USD", 10_000), checks=STRICT))
    at.load_replay("EURUSD", bars)
    at.connect()
    at.advance_clock_to(from_ns(int(bars.ts[9])))
    rates = at.terminal.copy_rates_from_pos("EURUSD", at.terminal.TIMEFRAME_H1, 0, 3)
    assert rates["high"][-1] == rates["low"][-1] == rates["open"][-1] == bars.open[9]
    closed = at.closed_bars("EURUSD", "H1", None, 100)
    assert closed.ts.tolist() == bars.ts[:9].tolist()
    assert all((column == bars[:9].columns[name]).all() for name, column in closed.columns.items())
    assert at.closed_bars("EURUSD", "H1", from_ns(int(bars.ts[3])), 2).ts.tolist() == bars.ts[4:6].tolist()
    assert len(at.closed_bars("EURUSD", "H1", from_ns(int(bars.ts[8])), 2)) == 0
    at.close()


def test_mt5_trap_12_check_that_passes_promises_nothing(tmp_path: Path) -> None:
    """``order_check`` says 0 and the server refuses all the same: its answer counts, and only once was anything sent."""
    with venue(tmp_path, faults=FaultScript([Fault(FaultKind.REJECT, on="open")])) as paper:
        sim = SimMT5(paper)
        at = adapter(sim)
        assert sim.order_check(deal_request()).retcode == 0
        assert at.send(BUY).outcome is Outcome.FINAL
        assert paper.venue.state.sends["any"] == 1


def test_mt5_trap_12_late_revision_of_a_closed_bar_is_reported(tmp_path: Path) -> None:
    """A bar that changed after it was handed out is named once."""
    bars = sample_bars("EURUSD", "H1")[:50]
    at = SimMT5Platform(SimulatedPlatform(tmp_path / "v.sqlite", PaperAccount("USD", 10_000), checks=STRICT))
    at.load_replay("EURUSD", bars)
    at.connect()
    at.advance_clock_to(from_ns(int(bars.ts[9])))
    at.closed_bars("EURUSD", "H1", None, 100)
    real = at.terminal.copy_rates_range

    def revised(*arguments: Any) -> Any:
        rates = real(*arguments).copy()
        rates["high"][0] += 0.0005
        return rates

    at.terminal.copy_rates_range = revised  # type: ignore[method-assign]
    at.advance_clock_to(from_ns(int(bars.ts[11])))
    after = from_ns(int(bars.ts[8]))
    assert len(at.closed_bars("EURUSD", "H1", after, 100)) == 2
    at.closed_bars("EURUSD", "H1", after, 100)
    assert len(at.revisions) == 1 and "changed after it had closed" in at.revisions[0]
    at.close()


def test_mt5_none_is_an_error_and_an_empty_tuple_is_not(sim: SimMT5) -> None:
    """No positions are (); a failed call is None, and the adapter raises on it."""
    at = adapter(sim)
    assert sim.positions_get() == () and at.book().positions == ()
    sim.positions_get = lambda **_: None  # type: ignore[method-assign]
    with pytest.raises(ReadFailed):
        at.book()


def test_mt5_deposit_is_no_trade(sim: SimMT5) -> None:
    """The opening balance is a deal at the server and none of ours."""
    at = adapter(sim)
    everything = sim.history_deals_get(0, 2**40)
    assert everything is not None and everything[0].type == sim.DEAL_TYPE_BALANCE
    assert at.history(START - timedelta(days=9), START + timedelta(days=9)).deals == ()


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("kind", [FaultKind.ANSWER_LOST, FaultKind.COMMAND_LOST])
def test_mt5_lost_answer_is_unknown_whether_or_not_it_was_executed(
    tmp_path: Path, silent: bool, kind: FaultKind
) -> None:
    """Retcode 10012 and a None both leave the outcome open; the book tells later."""
    with venue(tmp_path, faults=FaultScript([Fault(kind)])) as paper:
        at = adapter(SimMT5(paper, silent=silent))
        assert at.send(BUY).outcome is Outcome.UNKNOWN
        assert len(at.book().positions) == (1 if kind is FaultKind.ANSWER_LOST else 0)


def test_mt5_exception_during_the_send_is_unknown_and_before_it_is_not(sim: SimMT5) -> None:
    """A remote module may raise: after the point of no return that is UNKNOWN, before it NOT_ACCEPTED."""

    def broken(_: object) -> None:
        raise ConnectionResetError("rpc line lost, secret=hunter2")

    at = adapter(sim)
    real, sim.order_send = sim.order_send, broken  # type: ignore[method-assign]
    result = at.send(BUY)
    assert result.outcome is Outcome.UNKNOWN and "hunter2" not in result.message
    sim.order_send = real  # type: ignore[method-assign]
    sim.order_check = broken  # type: ignore[method-assign,assignment]
    assert at.send(BUY).outcome is Outcome.NOT_ACCEPTED
    assert sim.platform.order_count() == 0


def test_mt5_refused_login_is_wrong_account_without_the_password(tmp_path: Path) -> None:
    """A wrong password names login and server, never the password."""
    with venue(tmp_path) as paper:
        sim = SimMT5(paper, password="right")
        at = MetaTrader5Platform(
            sim, login=5_000_001, server="SimServer-Demo", password=lambda: "wrong-secret", clock="UTC"
        )
        with pytest.raises(WrongAccount, match="login refused") as told:
            at.connect()
        assert "wrong-secret" not in str(told.value)


def test_mt5_terminal_not_started_is_unavailable(sim: SimMT5) -> None:
    """Without a line to the terminal reads raise PlatformUnavailable and a send is not accepted."""
    at = adapter(sim)
    sim.shutdown()
    with pytest.raises(PlatformUnavailable, match="no line to the terminal"):
        at.book()
    assert at.send(BUY).outcome is Outcome.NOT_ACCEPTED


def test_mt5_symbol_table_and_suffix_name_the_same_symbol(tmp_path: Path) -> None:
    """Orders, positions and quotes carry our name; the server sees its own."""
    with venue(tmp_path) as paper:
        sim = SimMT5(paper, suffix=".pro")
        at = adapter(sim, suffix=".pro")
        at.send(BUY)
        assert sim.positions_get()[0].symbol == "EURUSD.pro"  # type: ignore[index]
        assert at.book().positions[0].symbol == "EURUSD"
        with pytest.raises(UnknownSymbol, match="suffix"):
            adapter(sim).instrument("EURUSD")


@pytest.mark.parametrize("suffix", [".r", "m", "#", "_i", ".pro"])
def test_mt5_any_suffix_is_taken_off_and_put_on(tmp_path: Path, suffix: str) -> None:
    """Quotes, orders and positions go by our name whatever the server's names end on."""
    with venue(tmp_path) as paper:
        at = adapter(SimMT5(paper, suffix=suffix), suffix=suffix)
        assert at.server_name("EURUSD") == f"EURUSD{suffix}" and at.quote("EURUSD").bid == D("1.1")
        assert at.send(BUY).outcome is Outcome.DONE
        assert at.book().positions[0].symbol == at.deals_of(at.book().positions[0].position_id)[0].symbol == "EURUSD"


def test_mt5_position_of_a_person_in_a_symbol_without_our_suffix_does_not_blind_us(tmp_path: Path) -> None:
    """A symbol outside the account's naming keeps its own name in book and history, and ours is not mistaken for it."""
    account = PaperAccount("USD", 10_000)
    facts = [find_instrument("EURUSD"), replace(find_instrument("EURUSD"), symbol="PLAIN"),
             replace(find_instrument("EURUSD"), symbol="US500")]  # fmt: skip
    with SimulatedPlatform(tmp_path / "v.sqlite", account, facts, checks=STRICT) as paper:
        for symbol in ("EURUSD", "PLAIN", "US500"):
            paper.push_quote(symbol, D("1.10000"), D("1.10010"), START)
        # at the server: EURUSD.r is ours, and there are a plain EURUSD and a US500 that a person trades
        sim = SimMT5(paper, names={"EURUSD": "EURUSD.r", "PLAIN": "EURUSD"})
        sim.initialize()
        at = adapter(sim, suffix=".r")
        sim.order_send(deal_request(symbol="US500", magic=0, comment="by hand"))
        sim.order_send(deal_request(symbol="EURUSD", magic=0, comment="by hand"))
        at.send(BUY)
        assert [p.symbol for p in at.book().positions] == ["US500", "EURUSD*", "EURUSD"]
        assert [d.symbol for d in at.history(START, START).deals] == ["US500", "EURUSD*", "EURUSD"]
        assert at.server_name("EURUSD") == "EURUSD.r"


def test_mt5_history_in_a_symbol_that_is_gone_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was traded before the server dropped a symbol neither stops the read nor is told twice."""
    account = PaperAccount("USD", 10_000)
    old = replace(find_instrument("EURUSD"), symbol="OLD")
    with SimulatedPlatform(tmp_path / "v.sqlite", account, [find_instrument("EURUSD"), old], checks=STRICT) as paper:
        for symbol in ("EURUSD", "OLD"):
            paper.push_quote(symbol, D("1.10000"), D("1.10010"), START)
        sim = SimMT5(paper)
        sim.initialize()
        ticket = sim.order_send(deal_request(symbol="OLD")).order
        sim.order_send(deal_request(symbol="OLD", type=1, position=ticket, price=1.1))
        at = adapter(sim)
        at.send(BUY)
        sim.server.gone.add("OLD")
        for _ in range(2):
            assert [d.symbol for d in at.history(START, START).deals] == ["EURUSD"]
        assert caplog.text.count("no such symbol any more") == 1


def test_mt5_instrument_facts_equal_the_packaged_ones(sim: SimMT5) -> None:
    """The facts read from the terminal are those it was made from, in every field."""
    assert adapter(sim).instrument("EURUSD") == find_instrument("EURUSD")


def test_mt5_three_routes_to_the_pip_value_agree(sim: SimMT5) -> None:
    """Tick value, profit calculation and contract arithmetic give 10 USD a pip and lot."""
    at = adapter(sim)
    value = at.point_value("EURUSD")
    assert value is not None and value * 10 == D("10.0")
    assert at.profit("EURUSD", Side.BUY, D(1), D("1.1"), D("1.1001")) == D("10.00")


def test_mt5_volumes_of_floats_are_whole_steps() -> None:
    """0.1 + 0.2 lots as the package gives them is 0.30, not 0.29."""
    assert convert.lots(0.1 + 0.2, find_instrument("EURUSD")) == D("0.30")
    assert convert.lots(0.29999999999999993, find_instrument("EURUSD")) == D("0.30")


def test_mt5_now_is_this_machines_utc(sim: SimMT5) -> None:
    """The adapter's clock is the one it was given."""
    login, server, _ = sim.logged_in
    clock = ManualClock(START)
    at = MetaTrader5Platform(sim, login=login, server=server, clock="UTC", utc=clock)
    clock.advance(5)
    assert at.now() == START + timedelta(seconds=5)
    assert from_ns(0).tzinfo is UTC

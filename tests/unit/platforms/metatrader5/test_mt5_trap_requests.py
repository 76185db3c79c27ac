"""Traps of the request: texts of 30 characters (1), number types (2), filling (8), levels (9), volumes and limits (10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mt5_terminal import BUY, START, TAG, D, adapter, deal_request, venue

from toolkit.execution.ports import ClientTag, ClosePosition, ModifyProtection, OpenOrder, OrderType, Outcome
from toolkit.market import Side, find_instrument
from toolkit.platforms.metatrader5 import requests
from toolkit.platforms.simmt5 import STRICT, SimMT5
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript, SimulatedPlatform
from toolkit.simulation.account import PaperAccount


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

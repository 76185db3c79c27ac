"""Traps of the book: netting and closing by age (5), ticket and identifier (6), no repetition known, no filter by magic (11)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from mt5_terminal import BUY, START, TAG, D, adapter, deal_request, venue

from toolkit.execution.ports import ClosePosition, Outcome
from toolkit.platforms.simmt5 import SimMT5


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

"""The adapter on the sandbox as one platform of a replay: it can tell for certain what of a dead process arrived."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.unit.platforms.ctrader.conftest import START, buy
from toolkit.execution.ports import (
    CancelOrder,
    ClientTag,
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderType,
    Outcome,
    PlatformCommand,
)
from toolkit.market import Side, find_instrument
from toolkit.platforms.simctrader import SimCTraderPlatform
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript, SimulatedPlatform
from toolkit.simulation.account import PaperAccount

D = Decimal
EXIT = ClientTag("q1" + "E" * 26, 77, "run-1")


@pytest.fixture(params=[FaultKind.LATE_ACCEPTANCE, FaultKind.COMMAND_LOST], ids=["late", "lost"])
def replayed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SimCTraderPlatform, bool]]:
    """A platform whose third command gets no answer, and whether it is carried out after all."""
    venue = SimulatedPlatform(
        tmp_path / "venue.sqlite", PaperAccount("USD", 10_000), [find_instrument("EURUSD")],
        faults=FaultScript([Fault(request.param, at=3, seconds=90)]),
    )  # fmt: skip
    venue.push_quote("EURUSD", D("1.10000"), D("1.10010"), START)
    made = SimCTraderPlatform(venue, tmp_path, reply_seconds=0.5)
    made.connect()
    yield made, request.param is FaultKind.LATE_ACCEPTANCE
    made.close()


def exit_of(kind: str, position_id: str, order_id: str) -> PlatformCommand:
    """Return an exit of that kind with the tag `EXIT`."""
    if kind == "close":
        return ClosePosition(EXIT, position_id)
    if kind == "levels":
        return ModifyProtection(EXIT, position_id, D("1.09000"), None)
    return CancelOrder(EXIT, order_id)


@pytest.mark.parametrize("kind", ["close", "levels", "cancel"])
def test_ctrader_venue_knows_an_exit_that_is_on_its_way(replayed: tuple[SimCTraderPlatform, bool], kind: str) -> None:
    """Only one that never arrived may be sent again by another process at once; no client sees the tag."""
    at, arrives = replayed
    position = at.send(buy()).position_id
    order = at.send(OpenOrder(buy().tag, "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.05000"))).order_id
    assert position is not None and order is not None
    assert at.send(exit_of(kind, position, order)).outcome is Outcome.UNKNOWN
    assert at.has_received(EXIT.text) is arrives
    at.advance_clock_to(START + timedelta(minutes=5))
    book = at.book()
    open_now = bool(book.positions), bool(book.positions and book.positions[0].stop_loss), bool(book.orders)
    untouched = (True, False, True)
    carried_out = {"close": (False, False, True), "levels": (True, True, True), "cancel": (True, False, False)}
    assert open_now == (carried_out[kind] if arrives else untouched)
    past = at.history(START - timedelta(days=1), START + timedelta(days=1))
    assert all(EXIT.text not in (o.tag_text, o.label) for o in past.orders if o.side is Side.SELL or kind == "cancel")

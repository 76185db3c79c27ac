"""Stops and targets: set, moved, removed, refused, carried out, kept over a restart."""

from __future__ import annotations

import pytest
from platform_worlds import D, Harness, deals, only, opens, tag

from toolkit.execution.ports import (
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderType,
    Outcome,
)
from toolkit.market import Side
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript


def test_platform_modify_sets_both_levels(at: Harness) -> None:
    """Stop and target are absolute; asking for what is already so is ALREADY."""
    result = opens(at, stop="1.09500")
    change = ModifyProtection(tag(), str(result.position_id), D("1.09700"), D("1.10900"))
    assert at.platform.send(change).outcome is Outcome.DONE
    assert (only(at).stop_loss, only(at).take_profit) == (D("1.09700"), D("1.10900"))
    assert at.platform.send(change).outcome is Outcome.ALREADY


def test_platform_modify_removes_a_level(at: Harness) -> None:
    """None takes a level away."""
    result = opens(at, stop="1.09500", target="1.10900")
    change = ModifyProtection(tag(), str(result.position_id), D("1.09500"), None)
    assert at.platform.send(change).outcome is Outcome.DONE
    assert (only(at).stop_loss, only(at).take_profit) == (D("1.09500"), None)


def test_platform_modify_of_a_closed_position_is_already(at: Harness) -> None:
    """There is nothing left to protect."""
    result = opens(at)
    at.platform.send(ClosePosition(tag(), str(result.position_id)))
    gone = at.platform.send(ModifyProtection(tag(), str(result.position_id), D("1.09000"), None))
    assert gone.outcome is Outcome.ALREADY


def test_platform_stop_loss_closes_the_position(at: Harness) -> None:
    """A quote beyond the stop ends the position with the reason stop_loss, joined by its position."""
    result = opens(at, Side.BUY, stop="1.09900")
    at.move("1.09890", "1.09900")
    assert at.platform.book().positions == ()
    deal = deals(at)[-1]
    assert (deal.reason, deal.entry, deal.position_id) == ("stop_loss", "out", result.position_id)
    assert deal.price == D("1.09890")


def test_platform_take_profit_closes_a_short_on_the_ask(at: Harness) -> None:
    """A short's target is reached by the ask, not by the bid."""
    opens(at, Side.SELL, stop="1.10500", target="1.09900")
    at.move("1.09895", "1.09905")
    assert len(at.platform.book().positions) == 1
    at.move("1.09885", "1.09895")
    assert at.platform.book().positions == ()
    assert deals(at)[-1].reason == "take_profit"


@pytest.mark.parametrize(
    ("side", "stop", "target"),
    [
        (Side.BUY, "1.10500", None),
        (Side.BUY, None, "1.09500"),
        (Side.SELL, "1.09500", None),
        (Side.SELL, None, "1.10500"),
    ],
)
def test_platform_level_on_the_wrong_side_is_refused(
    at: Harness, side: Side, stop: str | None, target: str | None
) -> None:
    """A stop or target on the wrong side opens nothing."""
    result = at.platform.send(
        OpenOrder(
            tag(),
            "EURUSD",
            side,
            OrderType.MARKET,
            D("0.1"),
            stop_loss=None if stop is None else D(stop),
            take_profit=None if target is None else D(target),
        )
    )
    assert result.outcome is Outcome.FINAL
    assert at.platform.book().positions == ()


def test_platform_restart_keeps_watching_the_stop(at: Harness) -> None:
    """A stop set before the restart fires after it."""
    opens(at, Side.BUY, stop="1.09900")
    at.restart()
    at.move("1.09880", "1.09890")
    assert at.platform.book().positions == ()
    assert deals(at)[-1].reason == "stop_loss"


def test_platform_fill_without_protection_says_so(at: Harness) -> None:
    """A fill whose stop was not taken over is reported unprotected, and can be protected afterwards.

    An adapter may try by itself, right after the fill; here the venue refuses that.
    """
    at.restart(FaultScript([Fault(FaultKind.NO_PROTECTION), Fault(FaultKind.REJECT, on="modify")]))
    at.move("1.10000", "1.10010")
    result = opens(at, stop="1.09500")
    assert result.protected is False and only(at).stop_loss is None
    change = ModifyProtection(tag(), str(result.position_id), D("1.09500"), None)
    if at.platform.send(change).outcome is Outcome.FINAL:  # the one refusal, where the adapter had not tried
        assert at.platform.send(change).outcome is Outcome.DONE
    assert only(at).stop_loss == D("1.09500")

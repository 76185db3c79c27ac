"""What goes wrong: faults in their class, answers that never come, lost connections, restarts, people at the terminal."""

from __future__ import annotations

from datetime import timedelta

import pytest
from platform_worlds import START, D, Harness, deals, only, opens, tag

from toolkit.errors import PlatformUnavailable
from toolkit.execution.ports import (
    ClosePosition,
    ClosesUntagged,
    OpenOrder,
    OrderType,
    Outcome,
    SentClose,
)
from toolkit.market import Side
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript


def test_platform_history_is_complete_and_within_its_span(at: Harness) -> None:
    """Every deal of the span is there, in order, and none outside it."""
    first = opens(at, Side.BUY, "0.10")
    between = at.platform.now() + timedelta(seconds=30)
    at.move("1.10100", "1.10110")
    at.platform.send(ClosePosition(tag(), str(first.position_id)))
    end = at.platform.now() + timedelta(days=1)
    assert [d.entry for d in at.platform.history(START, end).deals] == ["in", "out"]
    assert [d.entry for d in at.platform.history(START, between).deals] == ["in"]
    assert [d.entry for d in at.platform.history(between, end).deals] == ["out"]
    assert all(d.at.tzinfo is not None for d in at.platform.history(START, end).deals)


def test_platform_manual_close_is_seen_as_manual(at: Harness) -> None:
    """A person's close is a deal on our position without our tag; our own close is then ALREADY."""
    mark = tag()
    result = opens(at, mark=mark)
    at.by_hand(str(result.position_id))
    assert at.platform.book().positions == ()
    deal = deals(at)[-1]
    assert (deal.position_id, deal.entry, deal.reason) == (result.position_id, "out", "manual")
    assert deal.tag_text != mark.text
    assert at.platform.send(ClosePosition(tag(), str(result.position_id))).outcome is Outcome.ALREADY


def test_platform_close_without_an_answer_is_ours_after_a_restart(at: Harness) -> None:
    """Another process finds the deal of a close it never heard of; a server that keeps no tag of one is told what to look for."""
    position = str(opens(at).position_id)
    at.restart(FaultScript([Fault(FaultKind.ANSWER_LOST, on="close")]))
    at.move("1.10000", "1.10010")
    closing, sent_at = tag(), at.platform.now()
    assert at.platform.send(ClosePosition(closing, position)).outcome is Outcome.UNKNOWN
    at.restart()
    at.move("1.10000", "1.10010")
    if isinstance(at.platform, ClosesUntagged):
        at.platform.expect_closes([SentClose(closing, position, D(0), "signal", sent_at)])
    last = deals(at)[-1]
    assert (last.position_id, last.entry, last.reason) == (position, "out", "signal")
    assert last.tag_text == closing.text


def test_platform_restart_gives_the_same_book(at: Harness) -> None:
    """After a new session positions, orders and history are what they were."""
    opens(at, Side.BUY, "0.10", stop="1.09000", target="1.12000")
    at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09000")))
    before, past = at.platform.book(), deals(at)
    at.restart()
    at.platform.connect()
    after = at.platform.book()
    assert (after.positions, after.orders, deals(at)) == (before.positions, before.orders, past)
    assert after.account.balance == before.account.balance


def test_platform_without_connection_reads_fail_and_sends_are_not_accepted(at: Harness) -> None:
    """A failed read raises, it never looks like an empty book; a command that never left may be sent again."""
    opens(at)
    at.cut()
    with pytest.raises(PlatformUnavailable):
        at.platform.book()
    with pytest.raises(PlatformUnavailable):
        at.platform.history(START, START + timedelta(days=1))
    result = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.MARKET, D("0.1")))
    assert result.outcome is Outcome.NOT_ACCEPTED
    at.platform.connect()
    assert len(at.platform.book().positions) == 1


@pytest.mark.parametrize(
    ("kind", "outcome", "exists"),
    [
        (FaultKind.REJECT, Outcome.FINAL, False),
        (FaultKind.REQUOTE, Outcome.NOT_ACCEPTED, False),
        (FaultKind.MARKET_CLOSED, Outcome.WAIT, False),
        (FaultKind.COMMAND_LOST, Outcome.UNKNOWN, False),
        (FaultKind.ANSWER_LOST, Outcome.UNKNOWN, True),
    ],
)
def test_platform_fault_has_its_class_and_its_truth(
    at: Harness, kind: FaultKind, outcome: Outcome, exists: bool
) -> None:
    """Each fault maps to its outcome; only the book tells whether an unknown one was carried out."""
    at.restart(FaultScript([Fault(kind)]))
    at.move("1.10000", "1.10010")
    mark = tag()
    result = at.platform.send(OpenOrder(mark, "EURUSD", Side.BUY, OrderType.MARKET, D("0.1")))
    assert result.outcome is outcome
    assert [p.magic for p in at.platform.book().positions] == ([mark.magic] if exists else [])


def test_platform_late_acceptance_appears_later_with_our_tag(at: Harness) -> None:
    """An order answered UNKNOWN may turn up after a while, under the tag it was sent with."""
    at.restart(FaultScript([Fault(FaultKind.LATE_ACCEPTANCE, seconds=150)]))
    at.move("1.10000", "1.10010")
    mark = tag()
    order = OpenOrder(mark, "EURUSD", Side.BUY, OrderType.MARKET, D("0.1"))
    assert at.platform.send(order).outcome is Outcome.UNKNOWN
    at.move("1.10000", "1.10010")
    assert at.platform.book().positions == ()
    for _ in range(3):
        at.move("1.10000", "1.10010")
    assert only(at).magic == mark.magic

"""A close that nobody heard the end of is found again by another process, although the server keeps no tag of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from execution_desk import EURUSD, START, Desk, memory_desk

from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ports import ClientTag, ClosePosition, SentClose
from toolkit.platforms.ctrader import CTraderPlatform
from toolkit.platforms.ctrader.asked import Asked, Evidence
from toolkit.platforms.simctrader.platform import MemoryCredentials, VenueClock
from toolkit.platforms.simctrader.server import Sandbox
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

D = Decimal


class Killed(BaseException):
    """A process that dies at a failpoint."""


class World:
    """A server that lives, and processes on one store that come and go."""

    def __init__(self, folder: Path) -> None:
        self.venue = SimulatedPlatform(folder / "venue.sqlite", PaperAccount("USD", 10_000, leverage=500), [EURUSD])
        self.venue.push_quote("EURUSD", D("1.10000"), D("1.10010"), START)
        self.server = Sandbox(self.venue, folder)
        self.server.start()
        self.desk: Desk = memory_desk()
        self._sessions: list[CTraderPlatform] = []
        self._workers = 0
        self.process()

    def process(self, failpoint: Callable[[str], None] = lambda name: None) -> None:
        """Let a new process take the account over: another session, another service, the same store."""
        if self._workers:
            self.tick(31)  # the lease of the one before it ends
        self._workers += 1
        session = CTraderPlatform(
            MemoryCredentials(self.server.gate), login=self.server.login, host="127.0.0.1", port=self.server.port,
            tls=self.server.client_tls(), reply_seconds=1.0, utc=VenueClock(self.venue),
        )  # fmt: skip
        session.connect()
        session.quote("EURUSD")
        self._sessions.append(session)
        self.desk.platform = session  # type: ignore[assignment]
        self.desk.service = self.desk.make_service(f"w{self._workers}", failpoint=failpoint)

    def tick(self, seconds: float) -> None:
        """Let time pass, on the machine and at the server."""
        self.desk.clock.advance(seconds)
        self.venue.push_quote("EURUSD", D("1.10000"), D("1.10010"), self.venue.now() + timedelta(seconds=seconds))
        self.server.publish()

    def opened(self) -> str:
        """Open 0.50 lots; return the position's number."""
        intent = self.desk.entry(quote=self.venue.quote("EURUSD"))
        after = self.desk.service.execute(intent.intent_id)
        assert after.state is IntentState.FILLED and after.position_id is not None
        return after.position_id

    def killed_after(self, intent: Any) -> None:
        """Carry an intent out in a process that dies after the server has answered, before that is written down."""

        def die(name: str) -> None:
            if name == "FP5_answered":
                raise Killed

        self.process(die)
        with pytest.raises(Killed):
            self.desk.service.execute(intent.intent_id)
        self.process()

    def state(self, intent: Any) -> Any:
        """Return an intent as it is now."""
        with self.desk.read() as work:
            return work.intent(intent.intent_id)

    def trade(self, position_id: str) -> Any:
        """Return the trade of a position."""
        with self.desk.read() as work:
            return work.trade_of_position(self.desk.account_id, position_id)

    def close(self) -> None:
        """End everything."""
        for session in self._sessions:
            session.close()
        self.server.stop()
        self.venue.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a running server with one process on it."""
    made = World(tmp_path)
    yield made
    made.close()


def test_ctrader_close_of_a_process_that_died_is_ours_after_the_restart(world: World) -> None:
    """The deal is found by position and volume: the intent has its fill, the trade its reason."""
    position = world.opened()
    intent = world.desk.exit(Action.CLOSE_POSITION, position)
    world.killed_after(intent)
    world.desk.service.reconcile()
    after = world.state(intent)
    assert (after.state, after.filled_lots, after.average_price) == (IntentState.FILLED, D("0.50"), D("1.10000"))
    assert (world.trade(position).status, world.trade(position).exit_reason) == ("closed", "signal")


def test_ctrader_reduction_of_a_process_that_died_is_ours_after_the_restart(world: World) -> None:
    """What was to remain tells the order from any other of the position."""
    position = world.opened()
    first = world.desk.exit(Action.REDUCE_POSITION, position, remaining_lots=D("0.30"))
    assert world.desk.service.execute(first.intent_id).state is IntentState.FILLED
    second = world.desk.exit(Action.REDUCE_POSITION, position, remaining_lots=D("0.10"))
    world.killed_after(second)
    world.desk.service.reconcile()
    after = world.state(second)
    assert (after.state, after.filled_lots) == (IntentState.FILLED, D("0.20"))
    assert world.state(first).filled_lots == D("0.20")
    assert world.trade(position).open_lots == D("0.10")


def test_ctrader_close_by_hand_is_not_taken_for_ours_after_a_restart(world: World) -> None:
    """A close that never left and a part closed at the terminal: the part is manual, the close is planned again."""
    position = world.opened()
    intent = world.desk.exit(Action.CLOSE_POSITION, position)

    def die(name: str) -> None:
        if name == "FP3_sending":
            raise Killed

    world.process(die)
    with pytest.raises(Killed):
        world.desk.service.execute(intent.intent_id)
    other = world._sessions[0]
    other.send(ClosePosition(ClientTag("by hand", 0), position, D("0.20")))
    world.process()
    report = world.desk.service.reconcile()
    assert report.replanned == [intent.intent_id]
    assert world.state(intent).filled_lots == 0
    assert world.trade(position).open_lots == D("0.30")
    assert [d.reason for d in world.desk.platform.deals_of(position)] == ["", "manual"]  # type: ignore[attr-defined]


def expected(leaves: str = "0", *, tag: str = "q1a", at: Any = START, position: str = "7") -> SentClose:
    """Return a close that may have arrived."""
    return SentClose(ClientTag(tag, 5, "run"), position, D(leaves), "reverse", at)


def evidence(would_leave: str = "0", *, at: Any = START, order: int = 70, position: int = 7) -> Evidence:
    """Return an order of the server."""
    return Evidence(order, position, at, D(would_leave))


@pytest.mark.parametrize(
    ("seen", "ours"),
    [
        (evidence(), True),
        (evidence(at=START + timedelta(days=3)), True),
        (evidence("0.1"), False),
        (evidence(at=START - timedelta(days=2)), False),
        (evidence(position=8), False),
    ],
    ids=["fits", "accepted-late", "leaves-something", "before-it-was-sent", "another-position"],
)
def test_ctrader_order_is_ours_only_when_everything_fits(seen: Evidence, ours: bool) -> None:
    """Position, moment and what would have remained: one that differs is somebody else's."""
    asked = Asked()
    asked.expect([expected()])
    found = asked.of_evidence(seen)
    assert (found is not None) is ours
    assert asked.of_order(70) == found


def test_ctrader_close_whose_order_is_known_is_not_open_ended() -> None:
    """What the line said is not looked for again."""
    asked = Asked()
    asked.expect([expected()])
    asked.know(71, ClosePosition(ClientTag("q1a", 5, "run"), "7", None, "reverse"))
    assert not asked.may_be_ours(7)
    assert asked.of_evidence(evidence(order=72)) is None
    assert asked.of_order(71) == (ClientTag("q1a", 5, "run"), "reverse")


def test_ctrader_close_sent_twice_counts_from_the_first_time() -> None:
    """An acceptance of the first attempt that shows itself after the second is still ours."""
    asked = Asked()
    asked.expect([expected(at=START)])
    asked.expect([expected(at=START + timedelta(days=5))])
    assert asked.of_evidence(evidence(at=START + timedelta(minutes=1))) is not None

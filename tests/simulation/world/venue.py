"""A platform that loses answers, accepts late, fills in part, closes, and remembers every command that was accepted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from execution_desk import EURUSD, START, ScriptedPlatform

from toolkit.execution.ports import (
    Book,
    ClientTag,
    ClosePosition,
    History,
    ModifyProtection,
    OpenOrder,
    OrderResult,
    OrderType,
    Outcome,
    PlatformCommand,
)
from toolkit.market import Quote, Side
from world.ground import SimClock

if TYPE_CHECKING:
    from execution_simulation import World


class Venue(ScriptedPlatform):
    """A platform that loses answers, accepts late, fills in part and remembers every command that was accepted."""

    clock_tolerance = timedelta(0)

    def __init__(self, world: World) -> None:
        super().__init__(SimClock(world))  # type: ignore[arg-type]
        self.world = world
        self.accepted_opens: Counter[str] = Counter()
        self.late: list[tuple[float, PlatformCommand]] = []
        self.calls: list[tuple[str, PlatformCommand]] = []
        self.foreign: set[str] = set()
        self.touched_foreign: list[str] = []
        self.closed_until = 0.0

    def session(self) -> Venue:
        """Return what a worker trades on."""
        return self

    def close(self) -> None:
        """Nothing to give back."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.world.seconds)

    def move_quote(self, points: int) -> None:
        """Let the market move."""
        old = self.quotes["EURUSD"]
        step = points * EURUSD.point
        self.quotes["EURUSD"] = replace(old, bid=old.bid + step, ask=old.ask + step)

    def open_by_hand(self) -> str:
        """Let a person open a position at the terminal."""
        order = OpenOrder(
            ClientTag("manual", 0), "EURUSD", Side.BUY, OrderType.MARKET, Decimal("0.3"), None, Decimal(1)
        )
        answer = ScriptedPlatform.fill(self, order)
        assert answer.position_id is not None
        return answer.position_id

    def settle_time(self) -> None:
        """Let the venue's time follow the world's, and accept what is due."""
        now = self.now()
        if now == self.time:
            return
        self.time = now
        old = self.quotes["EURUSD"]
        self.quotes["EURUSD"] = Quote(old.bid, old.ask, now)
        if not self.late:
            return
        due = [c for at, c in self.late if at <= self.world.seconds]
        self.late = [(at, c) for at, c in self.late if at > self.world.seconds]
        for command in due:
            self.world.count("accepted_late")
            self._accept(command)

    def book(self) -> Book:
        self._pause_read("book")
        return super().book()

    def history(self, since: datetime, until: datetime) -> History:
        self._pause_read("history")
        return super().history(since, until)

    def send(self, command: PlatformCommand) -> OrderResult:
        world, dial, rng = self.world, self.world.dial, self.world.rng
        world.check_send(command)
        self.calls.append((world.current_name, command))
        world.pause("on the wire")
        if world.seconds < self.closed_until:
            world.count("market_closed")
            return OrderResult(Outcome.WAIT, code="10018")
        x = rng.random()
        if x < dial.ambiguous:
            fate = rng.random()
            if fate < dial.lost_request:
                world.count("request_lost")
            elif fate < dial.lost_request + dial.late:
                self.late.append((world.seconds + rng.choice([2, 20, 200, 900]), command))
            else:
                world.count("answer_lost")
                self._accept(command)
            world.pause("time-out")
            return OrderResult(Outcome.UNKNOWN, code="10012")
        x -= dial.ambiguous
        if x < dial.not_accepted:
            return OrderResult(Outcome.NOT_ACCEPTED, code="10004")
        x -= dial.not_accepted
        if x < dial.refused:
            return OrderResult(Outcome.FINAL, code="10006")
        x -= dial.refused
        if x < dial.raises:
            self._accept(command)
            raise RuntimeError("simulated: the pipe broke after the request was written")
        answer = self._accept(command)
        world.pause("answer on the wire")
        return answer

    def _accept(self, command: PlatformCommand) -> OrderResult:
        dial, rng = self.world.dial, self.world.rng
        if isinstance(command, OpenOrder):
            self.accepted_opens[command.tag.text] += 1
            partial = rng.random() < dial.partial
            bare = rng.random() < dial.unprotected
            order = replace(
                command,
                lots=command.lots / 2 // Decimal("0.01") * Decimal("0.01") if partial else command.lots,
                stop_loss=None if bare else command.stop_loss,
                tag=replace(command.tag, text=command.tag.text[:16])
                if rng.random() < dial.cut_comment
                else command.tag,
            )
            answer = super().fill(order)
            answer = replace(answer, protected=not bare)
            return replace(answer, outcome=Outcome.PARTIAL) if partial else answer
        if isinstance(command, ClosePosition | ModifyProtection):
            if command.position_id in self.foreign:
                self.touched_foreign.append(command.position_id)
            held = self.positions.get(command.position_id)
            if held is None:
                return OrderResult(Outcome.ALREADY, position_id=command.position_id)
            if isinstance(command, ClosePosition) and command.lots is not None and command.lots >= held.lots:
                command = replace(command, lots=None)
        return super().fill(command)

    def _pause_read(self, name: str) -> None:
        self.world.pause(name)
        if self.world.inside_worker and self.world.rng.random() < self.world.dial.read_fails:
            self.fail_reads = 1

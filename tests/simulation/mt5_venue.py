"""The simulated world's platform as a MetaTrader 5 server: every worker trades through the adapter and a terminal of its own.

The server is a paper venue with strict checks behind `SimMT5`. Commands meet the world's faults there, reads of the module
fail or come late, tickets change, comments are cut, the line drops, and the terminal's machine may have a wrong clock. Run it
alone with::

    python tests/simulation/mt5_venue.py --seeds 2000
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from execution_simulation import EURUSD, START, World, main

from toolkit.execution.ports import ClientTag, OpenOrder, OrderResult, OrderType, PlatformCommand
from toolkit.market import Quote, Side
from toolkit.platforms.metatrader5 import MetaTrader5Platform
from toolkit.platforms.simmt5 import STRICT, SimMT5
from toolkit.platforms.simulated import Fault, FaultKind, SimulatedPlatform
from toolkit.simulation.account import PaperAccount

SUFFIX = ".r"
_EXTRA = 0.03  # each of the faults that only a MetaTrader server has


class HostileServer:
    """Draws the server's fault for each command from the world's own dice; a `FaultScript` by its shape."""

    wrong_side = False
    extra_slippage_points = 0

    def __init__(self, world: World) -> None:
        self._world = world

    def pick(self, kind: str, counts: Mapping[str, int]) -> Fault | None:
        """Return what happens to this command."""
        world, dial, rng = self._world, self._world.dial, self._world.rng
        if not dial.ambiguous or not world.inside_worker:
            return None
        if world.seconds < world.venue.closed_until:
            world.count("market_closed")
            return Fault(FaultKind.MARKET_CLOSED)
        x = rng.random()
        if x < dial.ambiguous:
            fate = rng.random()
            if fate < dial.lost_request:
                world.count("request_lost")
                return Fault(FaultKind.COMMAND_LOST)
            if fate < dial.lost_request + dial.late:
                world.count("accepted_late")
                return Fault(FaultKind.LATE_ACCEPTANCE, seconds=rng.choice([2, 20, 200, 900]))
            world.count("answer_lost")
            return Fault(FaultKind.ANSWER_LOST)
        x -= dial.ambiguous
        for kind_of_fault, chance in (
            (FaultKind.REQUOTE, dial.not_accepted),
            (FaultKind.REJECT, dial.refused),
            (FaultKind.MARKET_CLOSED, _EXTRA / 3),
            (FaultKind.DISCONNECT, _EXTRA / 3),
            (FaultKind.PARTIAL, dial.partial if kind == "open" else 0.0),
            (FaultKind.NO_PROTECTION, dial.unprotected if kind == "open" else 0.0),
            (FaultKind.CUT_COMMENT, dial.cut_comment if kind == "open" else 0.0),
            (FaultKind.MANUAL_CLOSE, _EXTRA if kind in ("close", "modify") else 0.0),
            (FaultKind.CHANGE_TICKET, _EXTRA),
        ):
            if x < chance:
                world.count(str(kind_of_fault))
                return Fault(kind_of_fault)
            x -= chance
        return None


class Terminal(SimMT5):
    """One worker's terminal: it gives way to the world around every call, and its reads may fail."""

    def __init__(self, world: World, venue: Mt5Venue) -> None:
        super().__init__(venue.server, suffix=SUFFIX)
        self._world, self._venue = world, venue

    def _reads(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        world = self._world
        world.pause(name)
        if world.inside_worker and world.rng.random() < world.dial.read_fails:
            world.count("reads_failed")
            return self._fail((-10002, "IPC recv failed"))
        return call(*arguments, **named)

    def positions_get(self, *arguments: Any, **named: Any) -> Any:
        return self._reads("positions_get", super().positions_get, *arguments, **named)

    def orders_get(self, *arguments: Any, **named: Any) -> Any:
        return self._reads("orders_get", super().orders_get, *arguments, **named)

    def history_orders_get(self, *arguments: Any, **named: Any) -> Any:
        return self._reads("history_orders_get", super().history_orders_get, *arguments, **named)

    def history_deals_get(self, *arguments: Any, **named: Any) -> Any:
        return self._reads("history_deals_get", super().history_deals_get, *arguments, **named)

    def order_check(self, request: dict[str, Any]) -> Any:
        return self._reads("order_check", super().order_check, request)

    def order_send(self, request: dict[str, Any]) -> Any:
        world, dial = self._world, self._world.dial
        world.pause("on the wire")
        self._venue.note_request(request)
        self._silent = world.rng.random() < 0.5
        answer = super().order_send(request)
        if answer is None or answer.retcode == self.TRADE_RETCODE_TIMEOUT:
            world.pause("time-out")
        elif world.inside_worker and world.rng.random() < dial.raises:
            world.count("line_broke")
            raise ConnectionResetError("simulated: the pipe broke after the request was written")
        world.pause("answer on the wire")
        return answer


class Session(MetaTrader5Platform):
    """One worker's adapter on its own terminal; what it knows dies with the worker."""

    def __init__(self, world: World, venue: Mt5Venue) -> None:
        self._world, self._venue = world, venue
        terminal = Terminal(world, venue)
        login, server, _ = terminal.logged_in
        super().__init__(terminal, login=login, server=server, suffix=SUFFIX, clock="New York + 7", utc=world.clock)
        self.connect()

    def send(self, command: PlatformCommand) -> OrderResult:
        self._world.check_send(command)
        self._venue.calls.append((self._world.current_name, command))
        return super().send(command)


class Mt5Venue:
    """The server, as the world and its invariants look at it: the truth, past every terminal."""

    make_script = HostileServer

    def __init__(self, world: World) -> None:
        self.world = world
        self.foreign: set[str] = set()
        self.touched_foreign: list[str] = []
        self.closed_until = 0.0
        self.calls: list[tuple[str, PlatformCommand]] = []
        self._quote = Quote("1.10000", "1.10010", START)
        self._folder = tempfile.TemporaryDirectory(prefix="mt5-world-", dir=_memory_disk())
        account = PaperAccount("USD", 10_000, leverage=500, commission_per_lot=Decimal("3.5"))
        self.server = SimulatedPlatform(
            Path(self._folder.name) / "server.sqlite",
            account,
            [EURUSD],
            checks=STRICT,
            faults=self.make_script(world),  # type: ignore[arg-type]  # a script by its shape
        )
        self._journal = self.server.venue.journal._db
        self._journal.execute("PRAGMA synchronous=OFF")  # nobody pulls the plug of the server here
        self.settle_time()

    def close(self) -> None:
        """End the server."""
        self.server.close()
        self._folder.cleanup()

    def session(self) -> Session:
        """Open a terminal for a worker."""
        return Session(self.world, self)

    # --- time and market
    def now(self) -> datetime:
        """Return the server's moment; no operator turns that clock."""
        return START + timedelta(seconds=self.world.seconds)

    @property
    def clock_tolerance(self) -> timedelta:
        """Return how well a session can know the time: exactly, or to the age of its last tick once its machine is behind."""
        return timedelta(seconds=2 if self.world.wall_offset < 0 else 0)

    @property
    def quotes(self) -> dict[str, Quote]:
        """Return the last quotes."""
        return {"EURUSD": self._quote}

    def move_quote(self, points: int) -> None:
        """Let the market move."""
        self._quote = replace(
            self._quote, bid=self._quote.bid + points * EURUSD.point, ask=self._quote.ask + points * EURUSD.point
        )

    def settle_time(self) -> None:
        """Let the server's time follow the world's; late commands are carried out, a cut line comes back in time."""
        self._quote = replace(self._quote, ts=self.now())
        if not self.server.venue.line_up and (self.world.rng.random() < 0.1 or not self.world.dial.ambiguous):
            self.server.connect()
        self.server.push_quote("EURUSD", self._quote.bid, self._quote.ask, self._quote.ts)

    # --- what happened
    @property
    def positions(self) -> dict[str, Any]:
        """Return the open positions."""
        return {p.position_id: p for p in self._truth(self.server.book).positions}

    @property
    def deals(self) -> tuple[Any, ...]:
        """Return every deal there is."""
        return tuple(self._truth(lambda: self.server.deals_after(None)))

    @property
    def accepted_opens(self) -> Counter[str]:
        """Return how often the server accepted an entry of each tag."""
        rows = self._journal.execute(
            "SELECT sent_tag, COUNT(*) FROM orders WHERE action = 'open' AND sent_tag <> 'by hand' GROUP BY sent_tag"
        )
        return Counter(dict(rows.fetchall()))

    def _truth(self, read: Callable[[], Any]) -> Any:
        """Read past a cut line."""
        up, self.server.venue.line_up = self.server.venue.line_up, True
        try:
            return read()
        finally:
            self.server.venue.line_up = up

    def note_request(self, request: Mapping[str, Any]) -> None:
        """Note a request that names a position which is not ours."""
        tickets = {p.ticket: p.position_id for p in self.positions.values()}
        found = tickets.get(str(request.get("position", "")))
        if found in self.foreign:
            self.touched_foreign.append(str(found))

    # --- what people do
    def close_out(self, position_id: str, lots: None, reason: str) -> None:
        """Let the server or a person close a position."""
        self.server.manual_close(position_id)

    def open_by_hand(self) -> str:
        """Let a person open a position at the terminal."""
        order = OpenOrder(
            ClientTag("by hand", 0), "EURUSD", Side.BUY, OrderType.MARKET, Decimal("0.3"), None, Decimal(1)
        )
        answer = self._truth(lambda: self.server.send(order))
        assert answer.position_id is not None, answer
        return str(answer.position_id)


def _memory_disk() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    raise SystemExit(main(make_venue=Mt5Venue))

"""The simulated world's platform as a cTrader server: every worker trades through the adapter and a line of its own.

The server is the sandbox's dialogue over a paper venue with strict checks; the messages are the real ones, in memory. Commands
meet the world's faults there; reads fail, lines break before and after a write, comments are cut, and the machine's clock may
be wrong. Run it alone with::

    python tests/simulation/ctrader_venue.py --seeds 2000
    python tests/simulation/ctrader_venue.py --seeds 50 --socket
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

from execution_simulation import World, main
from mt5_venue import HostileServer, Mt5Venue

from toolkit.errors import PlatformUnavailable
from toolkit.execution.ports import OrderResult, PlatformCommand
from toolkit.market import Quote
from toolkit.platforms.ctrader.line.client import LineLost
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.ctrader.platform import CTraderPlatform
from toolkit.platforms.simctrader.book import VenueBook
from toolkit.platforms.simctrader.dialogue import Dialogue, Gate, Limits, Plan
from toolkit.platforms.simctrader.direct import DirectLine, DirectTalk
from toolkit.platforms.simctrader.platform import MemoryCredentials
from toolkit.platforms.simctrader.server import Sandbox
from toolkit.platforms.simulated import Fault, FaultKind

if TYPE_CHECKING:
    from google.protobuf.message import Message

LOGIN = 5_000_001
_ORDERS = (
    pb.ProtoOANewOrderReq,
    pb.ProtoOAClosePositionReq,
    pb.ProtoOAAmendPositionSLTPReq,
    pb.ProtoOACancelOrderReq,
)
_READS = (pb.ProtoOAReconcileReq, pb.ProtoOADealListReq, pb.ProtoOAOrderListReq, pb.ProtoOATraderReq)


class HostileCTrader(HostileServer):
    """The same faults, but for a ticket that changes: a cTrader position has one number for life."""

    def pick(self, kind: str, counts: Mapping[str, int]) -> Fault | None:
        """Return what happens to this command."""
        found = super().pick(kind, counts)
        return None if found is not None and found.kind is FaultKind.CHANGE_TICKET else found


class WorldLine(DirectLine):
    """One worker's line: it gives way to the world around every order, breaks, and its reads may fail."""

    def __init__(self, world: World, venue: CTraderVenue, on_event: Callable[[Message], None]) -> None:
        super().__init__(venue.connect, on_event)
        self._world, self._venue = world, venue

    def begin(self, request: Message) -> DirectTalk:
        """Hand a request over, with whatever the world has in mind for it."""
        world, dial = self._world, self._world.dial
        if isinstance(request, _ORDERS):
            return self._order(request)
        if isinstance(request, _READS):
            world.pause("read")
            if world.inside_worker and world.rng.random() < dial.read_fails:
                world.count("reads_failed")
                if world.rng.random() < 0.5:
                    self.close()
                raise LineLost("simulated: the line broke at a read", written=True)
        return super().begin(request)

    def _order(self, request: Message) -> DirectTalk:
        world, dial = self._world, self._world.dial
        world.pause("on the wire")
        self._venue.note_request({"position": getattr(request, "positionId", "")})
        if world.inside_worker and world.rng.random() < dial.raises:
            world.count("line_broke_before")
            self.close()
            raise LineLost("simulated: the line broke before the write", written=False)
        talk = super().begin(request)
        if world.inside_worker and world.rng.random() < dial.raises:
            world.count("line_broke")
            self.close()
            return DirectTalk(deque())
        world.pause("answer on the wire")
        return talk


class Session(CTraderPlatform):
    """One worker's adapter; what it knows dies with the worker."""

    def __init__(self, world: World, venue: CTraderVenue, **line: Any) -> None:
        self._world, self._venue = world, venue
        super().__init__(
            MemoryCredentials(venue.gate), login=LOGIN, utc=world.clock, reconnect_seconds=0.0, host="127.0.0.1", **line
        )

    def now(self) -> datetime:
        self._hear()
        return super().now()

    def quote(self, symbol: str) -> Quote:
        self._hear()
        return super().quote(symbol)

    def _hear(self) -> None:
        line = self.session.client
        if isinstance(line, DirectLine):
            line.take_news()

    def send(self, command: PlatformCommand) -> OrderResult:
        self._world.check_send(command)
        self._venue.calls.append((self._world.current_name, command))
        return super().send(command)


class CTraderVenue(Mt5Venue):
    """The server, as the world and its invariants look at it."""

    make_script = HostileCTrader

    def __init__(self, world: World) -> None:
        self.gate = Gate()
        super().__init__(world)
        self._book = VenueBook(self.server, 45_000_001, LOGIN)

    def connect(self) -> Dialogue:
        """Take a new connection, unless the line is cut."""
        if not self.server.venue.line_up:
            raise PlatformUnavailable("simulated: the server cannot be reached")
        return Dialogue(self._book, self.gate, Plan(), Limits(0, 0))

    def session(self) -> Session:
        """Open a line for a worker."""
        made = Session(self.world, self, make_line=lambda told: WorldLine(self.world, self, told))
        made.session._connected_before = True  # connects with its first read, as after a restart
        return made


class SocketVenue(CTraderVenue):
    """The same over TLS sockets: slower, and the line is the real one; faults are those of the server alone."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._sandbox = Sandbox(self.server, Path(self._folder.name), gate=self.gate, limits=Limits(0, 0), login=LOGIN)
        self._sandbox.start()
        self._sessions: dict[str, Session] = {}

    def settle_time(self) -> None:
        """Let time pass, and the server tell."""
        super().settle_time()
        if hasattr(self, "_sandbox"):
            self._sandbox.publish()

    def session(self) -> Session:
        """Open a socket for a worker; that of a worker that is gone is closed."""
        worker = self.world.current_name[:1]
        if worker in self._sessions:
            self._sessions.pop(worker).close()
        made = Session(
            self.world, self, port=self._sandbox.port, tls=self._sandbox.client_tls(), reply_seconds=0.3,
            requests_per_second=100_000, historical_per_second=100_000,
        )  # fmt: skip
        made.session._connected_before = True
        self._sessions[worker] = made
        return made

    def close(self) -> None:
        """End everything."""
        for session in self._sessions.values():
            session.close()
        self._sandbox.stop()
        super().close()


if __name__ == "__main__":
    over_socket = "--socket" in sys.argv
    sys.argv = [a for a in sys.argv if a != "--socket"]
    raise SystemExit(main(make_venue=SocketVenue if over_socket else CTraderVenue))

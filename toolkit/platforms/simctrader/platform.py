"""The cTrader adapter over the sandbox, as one platform whose clock a replay moves."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from toolkit.clock import SYSTEM
from toolkit.execution.ports import OrderResult, PlatformCommand
from toolkit.market import Bars, Quote
from toolkit.platforms.ctrader.access.tokens import Credentials
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.ctrader.platform import CTraderPlatform
from toolkit.platforms.file_lock import FileLock
from toolkit.platforms.simctrader.dialogue import Gate, Limits
from toolkit.platforms.simctrader.server import Sandbox
from toolkit.platforms.simulated import SimulatedPlatform


class MemoryCredentials:
    """Credentials of this process only."""

    def __init__(self, gate: Gate) -> None:
        self.kept = Credentials(gate.client_id, gate.client_secret, gate.access_token, gate.refresh_token)

    def load(self) -> Credentials:
        """Return what is kept now."""
        return self.kept

    def save(self, credentials: Credentials) -> None:
        """Replace it."""
        self.kept = credentials

    def lock(self) -> FileLock | None:
        """Return no lock: nobody else can renew these."""
        return None


class VenueClock:
    """The venue's time of day; waiting is real."""

    def __init__(self, platform: SimulatedPlatform) -> None:
        self._platform = platform

    def now(self) -> datetime:
        """Return the venue's clock."""
        return self._platform.now()

    def monotonic(self) -> float:
        """Return this machine's monotonic seconds."""
        return SYSTEM.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        SYSTEM.sleep(seconds)


class SimCTraderPlatform(CTraderPlatform):
    """`CTraderPlatform` on a `Sandbox`: what a LiveRun needs to replay bars through the cTrader path, over a real socket.

    Parameters
    ----------
    platform
        The venue; it is closed with this object.
    folder
        Where the sandbox writes its certificate.
    reply_seconds
        How long an answer may take.
    """

    def __init__(self, platform: SimulatedPlatform, folder: Path, *, reply_seconds: float = 15.0) -> None:
        self.venue_platform = platform
        # a replay has no second: the limits of a real server would make a year take hours
        self.sandbox = Sandbox(platform, folder, limits=Limits(0, 0))
        self.sandbox.start()
        super().__init__(
            MemoryCredentials(self.sandbox.gate),
            login=self.sandbox.login,
            environment="demo",
            host="127.0.0.1",
            port=self.sandbox.port,
            tls=self.sandbox.client_tls(),
            reply_seconds=reply_seconds,
            requests_per_second=100_000,
            historical_per_second=100_000,
            utc=VenueClock(platform),
        )
        self._moved = False

    def close(self) -> None:
        """End session, server and venue; safe to call twice."""
        super().close()
        self.sandbox.stop()
        self.venue_platform.close()

    def load_replay(self, symbol: str, bars: Bars) -> None:
        """Price a symbol by recorded bars."""
        self.venue_platform.load_replay(symbol, bars)

    def advance_clock_to(self, moment: datetime) -> int:
        """Move the venue's clock forward; return the number of new deals."""
        made = self.venue_platform.advance_clock_to(moment)
        self.published()
        return made

    def published(self) -> None:
        """Let the server tell its clients what the venue's clock or quotes brought."""
        self.sandbox.publish()
        self._moved = True

    def quote(self, symbol: str) -> Quote:
        """Return the spot of the venue's moment: the server has said it before it answers what is asked next."""
        if self._moved:
            self._moved = False
            self.session.ask(pb.ProtoOAVersionReq(), pb.ProtoOAVersionRes)
        return super().quote(symbol)

    def send(self, command: PlatformCommand) -> OrderResult:
        """Carry out one command, once; the venue's journal learns whose an exit is."""
        self.sandbox.know(command)
        return super().send(command)

    def first_touch(self, until: datetime) -> datetime | None:
        """Return the moment up to which the clock must move for something to fall due."""
        return self.venue_platform.first_touch(until)

    def has_received(self, tag_text: str) -> bool:
        """Tell whether a command with this tag ever reached the venue; a real server cannot be asked that."""
        return self.venue_platform.has_received(tag_text)

    def duplicate_orders(self) -> int:
        """Return how many accepted orders repeat the tag of an earlier one."""
        return self.venue_platform.duplicate_orders()

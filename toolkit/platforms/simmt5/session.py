"""The simulated terminal itself: who is logged in, what a person or a test does to it, and the calls about that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from toolkit.clock import SYSTEM
from toolkit.errors import ConversionRateMissing
from toolkit.market.platform_clock import NEW_YORK_PLUS_7, PlatformClock
from toolkit.platforms.simmt5.server import Server
from toolkit.platforms.simmt5.surface.constants import CONSTANTS
from toolkit.platforms.simmt5.surface.tuples import make
from toolkit.platforms.simulated import SimulatedPlatform

OK = (1, "Success")
NO_IPC = (-10004, "No IPC connection")
NOT_FOUND = (-4, "Terminal: Not found")
FAILED = (-1, "Terminal: Call failed")
LOST = (-10002, "IPC recv failed")


class VenueClock:
    """The venue's time as a `toolkit.clock.Clock`, so that an adapter over the double lives in the replay's time."""

    def __init__(self, platform: SimulatedPlatform) -> None:
        self._platform = platform
        self._since = platform.venue.now_ns

    def now(self) -> datetime:
        """Return the venue's clock."""
        return self._platform.now()

    def monotonic(self) -> float:
        """Return the venue's clock as seconds since this object was made: it only ever moves forward."""
        return (self._platform.venue.now_ns - self._since) / 1e9

    def sleep(self, seconds: float) -> None:
        """Wait on this machine's clock."""
        SYSTEM.sleep(seconds)


class TerminalSession:
    """The session of the simulated terminal; the base of `SimMT5`, which has the parameters."""

    def __init__(
        self,
        platform: SimulatedPlatform,
        *,
        login: int = 5_000_001,
        server: str = "SimServer-Demo",
        trade_mode: int = 0,
        password: str | None = None,
        clock: PlatformClock | str = NEW_YORK_PLUS_7,
        names: Mapping[str, str] | None = None,
        suffix: str = "",
        hidden: Iterable[str] = (),
        silent: bool = False,
        hang_after: int = 0,
        hang_seconds: float = 0.0,
    ) -> None:
        self.platform = platform
        self.server = Server(platform, clock, names or {}, suffix)
        self.clock = VenueClock(platform)
        self._account = (login, server, trade_mode)
        self._password = password
        self._hidden = set(hidden)
        self._silent = silent
        self._hang_after, self._hang_seconds = hang_after, hang_seconds
        self._ready = False
        self._error: tuple[int, str] = OK
        self._requests = 0
        self.trade_allowed = True
        self.tradeapi_disabled = False

    def __getattr__(self, name: str) -> int:
        try:
            return CONSTANTS[name]
        except KeyError:
            raise AttributeError(f"module 'MetaTrader5' has no attribute {name!r}") from None

    # --- what a test may do to the terminal ------------------------------------------------------------------------

    def log_in_as(self, login: int, server: str, trade_mode: int = 0) -> None:
        """Let a person switch the terminal to another account, as ``login()`` of any other program does for everybody."""
        self._account = (login, server, trade_mode)

    def cut_line(self) -> None:
        """Take the terminal's connection to its server away; `initialize` brings it back."""
        self.platform.disconnect()

    @property
    def logged_in(self) -> tuple[int, str, int]:
        """Return login, server and trade mode of the account the terminal is on."""
        return self._account

    # --- terminal --------------------------------------------------------------------------------------------------

    def initialize(
        self,
        path: str | None = None,
        *,
        login: int | None = None,
        password: str | None = None,
        server: str | None = None,
        timeout: int = 60_000,
        portable: bool = False,
    ) -> bool:
        """Connect to the terminal; False with ``last_error`` when the login is refused."""
        if login is not None and not self._may_log_in(login, password, server):
            self._error = (-6, "Terminal: Authorization failed")
            return False
        self._ready = True
        self.platform.connect()
        self._error = OK
        return True

    def login(self, login: int, password: str | None = None, server: str | None = None, timeout: int = 60_000) -> bool:
        """Log the terminal in; switches it for every program on it."""
        if not self._ready:
            return bool(self._fail(NO_IPC))
        if not self._may_log_in(login, password, server):
            self._error = (-6, "Terminal: Authorization failed")
            return False
        self._error = OK
        return True

    def _may_log_in(self, login: int, password: str | None, server: str | None) -> bool:
        known = login == self._account[0] and server in (None, self._account[1])
        return known and self._password in (None, password)

    def shutdown(self) -> None:
        """End the connection to the terminal."""
        self._ready = False

    def version(self) -> tuple[int, int, str] | None:
        """Return build information."""
        return (500, 6231, "27 Sep 2025") if self._open() else None

    def last_error(self) -> tuple[int, str]:
        """Return code and text of the last call's error."""
        return self._error

    def terminal_info(self) -> Any:
        """Return ``TerminalInfo``."""
        if not self._open():
            return None
        return make(
            "TerminalInfo",
            connected=self.server.venue.line_up,
            trade_allowed=self.trade_allowed,
            tradeapi_disabled=self.tradeapi_disabled,
            build=6231,
            maxbars=100_000,
            ping_last=1500,
            retransmission=0.0,
            community_balance=0.0,
            company="SimMT5",
            name="SimMT5",
            language="English",
        )

    def account_info(self) -> Any:
        """Return ``AccountInfo`` of whoever is logged in."""
        if not self._open():
            return None
        try:
            return self.server.account(*self._account)
        except ConversionRateMissing:
            return self._fail(FAILED)

    def _open(self) -> bool:
        self._error = OK if self._ready else NO_IPC
        return self._ready

    def _fail(self, error: tuple[int, str]) -> Any:
        self._error = error

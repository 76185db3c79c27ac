"""A platform session kept at arm's length: in its own process, watched, killed when it hangs, started again with backoff.

MetaTrader's package holds the interpreter lock through every call and has no deadline: a hung ``order_send`` would
stop the heartbeat and the lease of the whole worker. So the session lives in a child (or behind an agent on another
machine), the parent waits on a socket with a deadline, and a call that does not come back is ended by killing the
child. A send that was on its way then is UNKNOWN; it is never repeated here.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import PlatformError, PlatformUnavailable, ToolkitError
from toolkit.execution.ports import (
    AccountSnapshot,
    Book,
    History,
    OrderResult,
    Outcome,
    PlatformCommand,
    PlatformDeal,
)
from toolkit.market import Bars, Instrument, Quote, Side
from toolkit.platforms import wire
from toolkit.platforms.agent import error_of
from toolkit.platforms.findings import Finding

log = logging.getLogger(__name__)


class RemotePlatform(ABC):
    """A platform session on the other end of an authenticated line; one call at a time, each with a deadline.

    Parameters
    ----------
    read_seconds, send_seconds
        How long a read, and a send, may take before the line is given up.
    clock
        For backoff.
    """

    name = "metatrader5"

    def __init__(self, *, read_seconds: float, send_seconds: float, clock: Clock = SYSTEM) -> None:
        self._read_seconds = read_seconds
        self._send_seconds = send_seconds
        self._clock = clock
        self._guard = threading.Lock()
        self._line: wire.Line | None = None
        self._agent_ahead = 0.0  # the agent's monotonic clock minus ours, or less
        self._failures = 0
        self._not_before = 0.0

    @abstractmethod
    def _reach(self) -> wire.Line:
        """Open a line to a session that is there."""

    def _abandon(self) -> None:
        """Give the line up; whoever owns the session's process ends it here."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    # --- calls -----------------------------------------------------------------------------------------------------

    def _ready(self) -> wire.Line:
        if self._line is not None:
            return self._line
        wait = self._not_before - self._clock.monotonic()
        if wait > 0:
            raise PlatformUnavailable(f"the platform session is being restarted: try again in {wait:.1f} s")
        try:
            line = self._reach()
            line.set_deadline(self._read_seconds)
            line.write({"call": "clock"})
            told = line.read()["result"]
        except (OSError, ValueError, KeyError, ToolkitError) as e:
            self._back_off()
            if isinstance(e, ToolkitError):
                raise
            raise PlatformUnavailable(f"the platform session could not be reached: {type(e).__name__}") from e
        # read after the agent looked: our estimate of its clock is early, never late
        self._agent_ahead = float(told["monotonic"]) - self._clock.monotonic()
        self.name = str(told["platform"])
        self._line = line
        return line

    def _back_off(self) -> None:
        self._abandon()
        self._failures += 1
        pause = min(30.0, 0.25 * 2 ** (self._failures - 1))
        self._not_before = self._clock.monotonic() + pause

    def _call(self, call: str, *arguments: object) -> Any:
        with self._guard:
            line = self._ready()
            try:
                line.set_deadline(self._read_seconds)
                line.write({"call": call, "arguments": wire.pack(arguments)})
                answer = line.read()
            except (OSError, ValueError, PlatformError) as e:
                self._back_off()
                raise PlatformUnavailable(
                    f"{call} did not come back from the platform session within {self._read_seconds:g} s "
                    f"({type(e).__name__}): it is started again"
                ) from e
            self._failures = 0
        if "error" in answer:
            raise error_of(str(answer["error"]), str(answer["message"]))
        return wire.unpack(answer["result"])

    def send(self, command: PlatformCommand) -> OrderResult:
        """Carry out one command; whatever happens after it was written to the line is UNKNOWN unless the agent answers."""
        with self._guard:
            try:
                line = self._ready()
            except ToolkitError as e:
                return OrderResult(Outcome.NOT_ACCEPTED, code="NO_SESSION", message=str(e))
            not_after = self._clock.monotonic() + self._agent_ahead + self._send_seconds
            message = {"call": "send", "arguments": wire.pack((command,)), "not_after": repr(not_after)}
            try:
                line.set_deadline(self._send_seconds)
                line.write(message)
                answer = line.read()
                result = wire.unpack(answer["result"])
            except (OSError, ValueError, KeyError, TypeError, PlatformError) as e:
                self._back_off()
                log.error("a send did not come back within %g s; its outcome is unknown", self._send_seconds)
                return OrderResult(Outcome.UNKNOWN, code="HUNG", message=f"no answer to the send ({type(e).__name__})")
            self._failures = 0
            return cast(OrderResult, result)

    # --- the protocol ----------------------------------------------------------------------------------------------

    def connect(self) -> AccountSnapshot:
        """Open the session and return the account."""
        return cast(AccountSnapshot, self._call("connect"))

    def close(self) -> None:
        """End the session; safe to call twice."""
        with self._guard:
            line = self._line
            if line is not None:
                try:
                    line.set_deadline(self._read_seconds)
                    line.write({"call": "close", "arguments": []})
                    line.read()
                except (OSError, ValueError, PlatformError):
                    log.warning("the platform session did not end by itself")
            self._abandon()

    def now(self) -> datetime:
        """Return the platform's clock, in UTC."""
        return cast(datetime, self._call("now"))

    def instrument(self, symbol: str) -> Instrument:
        """Return the contract facts of the symbol."""
        return cast(Instrument, self._call("instrument", symbol))

    def quote(self, symbol: str) -> Quote:
        """Return the current bid and ask."""
        return cast(Quote, self._call("quote", symbol))

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars:
        """Return closed bars opened later than ``after``."""
        return cast(Bars, self._call("closed_bars", symbol, timeframe, after, limit))

    def ticks(self, symbol: str, since: datetime, until: datetime) -> tuple[Quote, ...]:
        """Return every change of bid or ask within the span, oldest first."""
        return cast("tuple[Quote, ...]", self._call("ticks", symbol, since, until))

    def book(self) -> Book:
        """Return account, positions and working orders."""
        return cast(Book, self._call("book"))

    def history(self, since: datetime, until: datetime) -> History:
        """Return ended orders and deals of the span."""
        return cast(History, self._call("history", since, until))

    def deals_of(self, position_id: str) -> tuple[PlatformDeal, ...]:
        """Return the deals of one position, oldest first."""
        return cast("tuple[PlatformDeal, ...]", self._call("deals_of", position_id))

    def profit(self, symbol: str, side: Side, lots: Decimal, open_price: Decimal, close_price: Decimal) -> Decimal:
        """Return the platform's own calculation of a profit."""
        return cast(Decimal, self._call("profit", symbol, side, lots, open_price, close_price))

    def margin(self, symbol: str, side: Side, lots: Decimal, price: Decimal) -> Decimal:
        """Return the margin the platform would block."""
        return cast(Decimal, self._call("margin", symbol, side, lots, price))

    def point_value(self, symbol: str) -> Decimal | None:
        """Return what one point of one lot is worth by the platform, None when it does not say."""
        return cast("Decimal | None", self._call("point_value", symbol))

    def examine(self, symbols: tuple[str, ...]) -> tuple[Finding, ...]:
        """Look the connected session over without trading; empty where the platform has no such look."""
        return cast("tuple[Finding, ...]", self._call("examine", symbols) or ())


class AgentPlatform(RemotePlatform):
    """The session of an agent that somebody else started, reached on a loopback port (an SSH tunnel's end, for instance).

    Parameters
    ----------
    port, host
        Where the agent listens.
    key
        The shared key, at least 16 bytes.
    """

    def __init__(
        self,
        port: int,
        key: bytes,
        *,
        host: str = "127.0.0.1",
        read_seconds: float = 20.0,
        send_seconds: float = 30.0,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(read_seconds=read_seconds, send_seconds=send_seconds, clock=clock)
        self._address, self._key = (host, port), key

    def _reach(self) -> wire.Line:
        connection = socket.create_connection(self._address, timeout=self._read_seconds)
        try:
            return wire.Line.to_agent(connection, self._key)
        except BaseException:
            connection.close()
            raise


class IsolatedPlatform(RemotePlatform):
    """A session in a child process of this one.

    Parameters
    ----------
    session
        What to open, as `toolkit.platforms.agent.open_session` takes it: references to secrets, never secrets.
    lock
        File the child locks, one per account, so that no two sessions of an account run on this machine.
    start_seconds
        How long the child may take to listen; starting a terminal is slow.
    """

    def __init__(
        self,
        session: Mapping[str, Any],
        *,
        lock: Path | None = None,
        start_seconds: float = 90.0,
        read_seconds: float = 20.0,
        send_seconds: float = 30.0,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(read_seconds=read_seconds, send_seconds=send_seconds, clock=clock)
        self._session = dict(session)
        self._lock = lock
        self._start_seconds = start_seconds
        self._child: subprocess.Popen[str] | None = None
        self._connected_before = False

    @property
    def child_pid(self) -> int | None:
        """Return the process id of the session, None when there is none."""
        return None if self._child is None else self._child.pid

    def connect(self) -> AccountSnapshot:
        """Start the session's process if need be, open the session and return the account."""
        found = super().connect()
        self._connected_before = True
        return found

    def _reach(self) -> wire.Line:
        self._end_child()
        key = secrets.token_bytes(32)
        instructions = {
            "key_hex": key.hex(),
            "listen": ["127.0.0.1", 0],
            "lock": None if self._lock is None else str(self._lock),
            "once": True,
            "session": self._session,
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "toolkit.platforms.agent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._child = child
        told = self._first_line(child, json.dumps(instructions))
        if "error" in told:
            raise error_of(str(told["error"]), str(told["message"]))
        connection = socket.create_connection(("127.0.0.1", int(told["port"])), timeout=self._read_seconds)
        line = wire.Line.to_agent(connection, key)
        if self._connected_before:
            # a restarted session is connected again before anyone uses it
            line.set_deadline(self._start_seconds)
            line.write({"call": "connect", "arguments": []})
            answer = line.read()
            if "error" in answer:
                raise error_of(str(answer["error"]), str(answer["message"]))
        return line

    def _first_line(self, child: subprocess.Popen[str], instructions: str) -> dict[str, Any]:
        """Give the child its instructions and return what it says first, within the time it has to start."""
        assert child.stdin is not None and child.stdout is not None
        told: list[str] = []
        out = child.stdout
        reader = threading.Thread(target=lambda: told.append(out.readline()), daemon=True)
        reader.start()
        child.stdin.write(instructions + "\n")
        child.stdin.close()
        reader.join(self._start_seconds)
        if not told or not told[0]:
            raise PlatformUnavailable(
                f"the platform session did not start within {self._start_seconds:g} s: see its log"
            )
        return cast(dict[str, Any], json.loads(told[0]))

    def _abandon(self) -> None:
        super()._abandon()
        self._end_child()

    def _end_child(self) -> None:
        """Kill the session's process; a call that hangs in it ends with it."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            try:
                child.wait(timeout=0.2)  # a session that was asked to close ends by itself
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(timeout=10)
        if child.stdout is not None:
            child.stdout.close()

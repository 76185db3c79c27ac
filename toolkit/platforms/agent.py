"""A platform session in a process of its own, answering a fixed list of calls over an authenticated loopback socket.

``python -m toolkit.platforms.agent`` reads its instructions as one line of JSON from standard input (never from the
command line, which other users can read), opens the session, and prints one line with the port it listens on. It runs
beside a terminal on Windows or under Wine, or as the child of `toolkit.platforms.isolation`.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from toolkit import errors
from toolkit.errors import BadInput, PlatformError, PlatformUnavailable, ToolkitError, must_be
from toolkit.execution.ports import OrderResult, Outcome, TradingPlatform
from toolkit.no_core import forbid_core_dumps
from toolkit.platforms import wire
from toolkit.platforms.file_lock import FileLock
from toolkit.platforms.secret_refs import resolve_secret

log = logging.getLogger(__name__)

#: All that can be called. ``send`` is apart: it has a moment after which it is refused.
READS = frozenset(
    {
        "connect",
        "now",
        "instrument",
        "quote",
        "closed_bars",
        "ticks",
        "book",
        "history",
        "deals_of",
        "profit",
        "margin",
        "point_value",
        "examine",
        "close",
    }
)
_HANDSHAKE_SECONDS = 10.0
#: Errors that keep their class across the line; any other comes back as PlatformError.
_ERRORS = {
    kind.__name__: kind
    for kind in (
        errors.BadInput,
        errors.ConversionRateMissing,
        errors.MissingPackage,
        errors.PlatformError,
        errors.PlatformUnavailable,
        errors.QuoteError,
        errors.ReadFailed,
        errors.UnknownSymbol,
        errors.WrongAccount,
    )
}


def error_of(name: str, message: str) -> ToolkitError:
    """Return the error a reply names."""
    return _ERRORS.get(name, PlatformError)(message)


class Agent:
    """Serves one platform session to one client at a time.

    Parameters
    ----------
    platform
        The session.
    key
        Shared secret of both sides, at least 16 bytes.
    """

    def __init__(self, platform: TradingPlatform, key: bytes) -> None:
        if len(key) < 16:
            raise BadInput(
                must_be("agent key", "at least 16 bytes", f"{len(key)}", "make one with secrets.token_hex(32)")
            )
        self._platform = platform
        self._key = key

    def serve(self, listener: socket.socket, *, once: bool = False) -> None:
        """Answer clients one after the other; ``once``: return when the first authenticated one has gone."""
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(_HANDSHAKE_SECONDS)
                try:
                    line = wire.Line.from_client(connection, self._key)
                except (OSError, ToolkitError):
                    log.warning("a connection was refused: it did not prove the key")
                    continue
                connection.settimeout(None)
                with suppress(OSError, PlatformUnavailable):  # the client went away
                    self._converse(line)
            if once:
                return

    def _converse(self, line: wire.Line) -> None:
        while True:
            try:
                message = line.read()
            except (ValueError, PlatformError) as e:
                if not isinstance(e, PlatformUnavailable):
                    log.warning("a message was refused, the connection is dropped")
                return
            line.write(self._reply(message))

    def _reply(self, message: Any) -> dict[str, Any]:
        try:
            call = message["call"]
            arguments = wire.unpack(message.get("arguments", []))
        except (KeyError, TypeError, ValueError, AttributeError):
            return {"error": "BadInput", "message": "a call could not be read"}
        if call == "clock":
            return {"result": {"monotonic": repr(time.monotonic()), "platform": self._platform.name}}
        if call == "send":
            return {"result": wire.pack(self._send(arguments, message.get("not_after")))}
        if call not in READS:
            return {"error": "BadInput", "message": "the agent has no such call"}
        function: Callable[..., Any] | None = getattr(self._platform, call, None)
        if function is None:
            return {"result": None}
        try:
            return {"result": wire.pack(function(*arguments))}
        except ToolkitError as e:
            return {"error": type(e).__name__, "message": str(e)}
        except Exception as e:
            log.exception("call %s failed", call)
            return {"error": "PlatformError", "message": f"{call} failed in the agent: {type(e).__name__}"}

    def _send(self, arguments: tuple[Any, ...], not_after: str | None) -> OrderResult:
        """Send, unless the client has stopped waiting: an order that nobody waits for any more is not placed."""
        if not_after is None or time.monotonic() > float(not_after):
            return OrderResult(
                Outcome.NOT_ACCEPTED, code="TOO_LATE", message="the send reached the agent after its deadline"
            )
        try:
            return self._platform.send(*arguments)
        except Exception as e:
            log.exception("send failed")
            return OrderResult(Outcome.UNKNOWN, code="EXCEPTION", message=f"{type(e).__name__} in the agent")


# --- what a session is made of
# ---------------------------------------------------------------------------------------


def _open_metatrader5(words: Mapping[str, Any]) -> TradingPlatform:
    from toolkit.platforms.metatrader5 import MetaTrader5Platform

    reference = words.get("secret_ref") or ""
    return MetaTrader5Platform(
        login=int(words["login"]),
        server=str(words["server"]),
        environment=words.get("environment", "demo"),
        password=(lambda: resolve_secret(reference)) if reference else None,
        path=words.get("path"),
        portable=bool(words.get("portable", True)),
        clock=words.get("clock"),
        symbols=words.get("symbols"),
        suffix=str(words.get("suffix", "")),
        stops_with_entry=words.get("stops", "with") == "with",
    )


def _open_paper(words: Mapping[str, Any], **more: Any) -> Any:
    from toolkit.market import Bars, Instrument
    from toolkit.platforms.simulated import SimulatedPlatform
    from toolkit.simulation.account import PaperAccount

    account = None if words.get("account") is None else PaperAccount.from_facts(words["account"])
    facts = [Instrument.from_facts(f) for f in words.get("instruments", ())]
    venue = SimulatedPlatform(Path(words["path"]), account, facts, login=words.get("login"), **more)
    for path in words.get("replays", ()):
        bars = Bars.open(path)
        venue.load_replay(bars.symbol, bars)
    if words.get("moment"):
        venue.advance_clock_to(datetime.fromisoformat(words["moment"]))
    return venue


def _open_simulated(words: Mapping[str, Any]) -> TradingPlatform:
    venue: TradingPlatform = _open_paper(words)
    return venue


def _open_simmt5(words: Mapping[str, Any]) -> TradingPlatform:
    from toolkit.platforms.simmt5 import STRICT, SimMT5Platform

    named = {"symbols": "names", "server": "server", "suffix": "suffix", "clock": "clock"}
    simulator = {theirs: words[ours] for ours, theirs in named.items() if words.get(ours)}
    simulator |= {k: words[k] for k in ("hang_after", "hang_seconds", "speed") if k in words}
    simulator |= {k: datetime.fromisoformat(words[k]) for k in ("begin", "since") if k in words}
    if words.get("login"):
        simulator["login"] = int(words["login"])
    return SimMT5Platform(_open_paper(words, checks=STRICT), **simulator)


_SESSIONS: Mapping[str, Callable[[Mapping[str, Any]], TradingPlatform]] = {
    "metatrader5": _open_metatrader5,
    "simmt5": _open_simmt5,
    "simulated": _open_simulated,
}


def open_session(words: Mapping[str, Any]) -> TradingPlatform:
    """Open the session that a settings object describes; ``kind`` is metatrader5, simmt5 or simulated."""
    kind = words.get("kind")
    opener = _SESSIONS.get(str(kind))
    if opener is None:
        raise BadInput(
            must_be("kind", "one of " + ", ".join(_SESSIONS), repr(kind), "name the platform of the account")
        )
    return opener(words)


def serve(words: Mapping[str, Any], listening: Callable[[int], None]) -> None:
    """Open a session and answer clients until the first has gone (``once``) or the process ends.

    Parameters
    ----------
    words
        ``session`` (see `open_session`), ``key_hex`` or ``key_ref``, ``listen`` ``[host, port]`` (loopback only), ``lock``
        (a file, one per account), ``once`` (end with the first client) and ``watch`` (keep the session in a child of the
        agent, which is killed when a call hangs).
    listening
        Told the port.
    """
    host, port = words.get("listen", ["127.0.0.1", 0])
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise BadInput(must_be("listen", "a loopback address", host, "reach it from elsewhere through an SSH tunnel"))
    lock = FileLock(Path(words["lock"]), "the session of this account") if words.get("lock") else None
    if lock is not None:
        lock.acquire()
    try:
        key = bytes.fromhex(words.get("key_hex") or resolve_secret(words.get("key_ref", "")))
        platform = _watched(words["session"]) if words.get("watch") else open_session(words["session"])
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.create_server((host, int(port)), family=family) as listener:
                listening(listener.getsockname()[1])
                Agent(platform, key).serve(listener, once=bool(words.get("once")))
        finally:
            platform.close()
    finally:
        if lock is not None:
            lock.release()


def main() -> int:
    """Run the agent: the instructions of `serve` as one JSON object on standard input, the port on standard output."""

    def listening(port: int) -> None:
        sys.stdout.write(json.dumps({"port": port}) + "\n")
        sys.stdout.flush()

    forbid_core_dumps()  # the account's secret is resolved in this process
    serve(json.loads(sys.stdin.readline()), listening)
    return 0


def _watched(session: Mapping[str, Any]) -> TradingPlatform:
    from toolkit.platforms.isolation import IsolatedPlatform  # the child side does not need it

    return IsolatedPlatform(session)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ToolkitError as refused:
        # one line the parent can show; the instructions themselves are never repeated
        sys.stdout.write(json.dumps({"error": type(refused).__name__, "message": str(refused)}) + "\n")
        sys.stdout.flush()
        sys.exit(2)

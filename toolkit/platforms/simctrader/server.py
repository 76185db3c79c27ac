"""The sandbox: a cTrader server on this machine over a paper venue, with TLS, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from contextlib import suppress
from pathlib import Path

from toolkit.errors import PlatformError
from toolkit.execution.ports import CancelOrder, ClientTag, ClosePosition, OpenOrder, PlatformCommand
from toolkit.platforms.ctrader.line.frames import decode, encode, read_body
from toolkit.platforms.simctrader import certificate
from toolkit.platforms.simctrader.book import VenueBook
from toolkit.platforms.simctrader.dialogue import Dialogue, Gate, Limits, Plan, Said
from toolkit.platforms.simctrader.refusals import HangUp
from toolkit.platforms.simulated import SimulatedPlatform

log = logging.getLogger(__name__)


class Sandbox:
    """A server of the Open API for one account of a paper venue.

    Parameters
    ----------
    platform
        The venue with the account; it stays the caller's.
    folder
        Where certificate and key are written.
    login
        The account's login.
    port
        0 takes a free one.
    gate, limits
        Who may come in, and how often they may ask.
    """

    def __init__(
        self,
        platform: SimulatedPlatform,
        folder: Path,
        *,
        login: int = 5_000_001,
        port: int = 0,
        gate: Gate | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.platform = platform
        self.gate = gate or Gate()
        self.plan = Plan()
        self.login = login
        self.certificate, self._key = certificate.make(folder)
        self._limits = limits or Limits()
        self.port = port
        self._book = VenueBook(platform, 40_000_000 + login, login)
        self._lines: dict[asyncio.StreamWriter, Dialogue] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._thread: threading.Thread | None = None

    def client_tls(self) -> ssl.SSLContext:
        """Return TLS that trusts this server."""
        return certificate.client_side(self.certificate)

    def start(self) -> None:
        """Listen; returns when connections are taken."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="ctrader-sandbox", daemon=True)
        self._thread.start()
        if not ready.wait(20.0) or self._server is None:
            raise PlatformError("the sandbox must listen within 20 s, did not: is the port taken?")

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        try:
            tls = certificate.server_side(self.certificate, self._key)
            self._server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls))
            self.port = int(self._server.sockets[0].getsockname()[1])
            self._loop = loop
        except OSError:
            log.exception("the sandbox cannot listen")
        finally:
            ready.set()
        if self._server is not None:
            loop.run_forever()
        loop.close()

    def stop(self) -> None:
        """End all connections and the thread; safe to call twice."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = None
        asyncio.run_coroutine_threadsafe(self._end(), loop).result(10.0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10.0)

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._lines):
            writer.close()
        current = asyncio.current_task()
        others = [t for t in asyncio.all_tasks() if t is not current]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self.platform.guard:
            dialogue = Dialogue(self._book, self.gate, self.plan, self._limits)
        self._lines[writer] = dialogue
        try:
            while True:
                message, mark = decode(await read_body(reader))
                with self.platform.guard:
                    said = dialogue.receive(message, mark)
                self._say(writer, said)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError, HangUp):
            pass  # the connection ended, or is ended; a cancelled one is the server's own end
        except PlatformError as e:
            log.warning("a connection was dropped: %s", e)
        finally:
            self._lines.pop(writer, None)
            writer.close()

    @staticmethod
    def _say(writer: asyncio.StreamWriter, said: Said) -> None:
        for message, mark in said:
            writer.write(encode(message, mark))

    def know(self, command: PlatformCommand) -> None:
        """Let the venue's journal say whose the next close, change of levels or cancel is. No client is ever told.

        A process can then be sure that an exit of a dead one never arrived (`SimCTraderPlatform.has_received`); of a real
        server nobody can.
        """
        if isinstance(command, OpenOrder):
            return  # an entry carries its tag
        about = (
            f"cancel {command.order_id}"
            if isinstance(command, CancelOrder)
            else f"{'close' if isinstance(command, ClosePosition) else 'levels'} {command.position_id}"
        )
        with self.platform.guard:
            self._book.whose[about] = ClientTag(command.tag.text, 0)

    def publish(self) -> None:
        """Send what is new to every connection; call it after the venue's clock or quotes moved."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._publish)

    def _publish(self) -> None:
        for writer, dialogue in list(self._lines.items()):
            with self.platform.guard:
                said = dialogue.news()
            with suppress(OSError):
                self._say(writer, said)

    def cut(self) -> None:
        """End all connections, as a network does; new ones are taken."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10.0)

    async def _cut(self) -> None:
        for writer in list(self._lines):
            writer.transport.abort()

"""A door in front of noida-db that lets a consumer wait for messages, as Kafka does.

noida-db answers a fetch at once, also when there is nothing, so an idle consumer and the broker keep a core busy with each
other. This proxy holds an empty answer until something was produced through it, or for the time Kafka would hold it. All else
passes as it is; only the broker's own address, where an answer names it, becomes the proxy's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress

_PRODUCE, _FETCH, _METADATA, _COORDINATOR, _END_TRANSACTION = 0, 1, 3, 10, 26
_HOLD_SECONDS = 0.1


class LongPoll:
    """Listens on a port of its own and leads to the broker's; runs on a thread until it is closed."""

    def __init__(self, broker_port: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._broker_port = broker_port
        self._real = b"127.0.0.1" + struct.pack(">i", broker_port)
        self._shown = b"127.0.0.1" + struct.pack(">i", self.port)
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="long-poll", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every connection and listen no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, sock=self._socket))
        try:
            self._loop.run_forever()
        finally:
            server.close()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: dict[int, tuple[int, int]] = {}  # correlation id: kind and length of the request
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.close()
            return
        tasks = [
            asyncio.ensure_future(self._requests(reader, up_writer, asked)),
            asyncio.ensure_future(self._answers(up_reader, writer, asked)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for one in (writer, up_writer):
                with suppress(OSError, RuntimeError):
                    one.close()

    async def _requests(
        self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, asked: dict[int, tuple[int, int]]
    ) -> None:
        while True:
            frame = await _frame(reader)
            kind, _, number = struct.unpack_from(">hhi", frame)
            asked[number] = (kind, len(frame))
            up.write(struct.pack(">i", len(frame)) + frame)
            await up.drain()

    async def _answers(
        self, up: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, tuple[int, int]]
    ) -> None:
        empty: dict[int, int] = {}  # length of a fetch: length of its shortest answer, which has no messages
        while True:
            frame = await _frame(up)
            kind, length = asked.pop(struct.unpack_from(">i", frame)[0], (-1, 0))
            if kind == _FETCH:
                empty[length] = min(empty.get(length, len(frame)), len(frame))
                if len(frame) == empty[length]:
                    with suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._news.wait(), _HOLD_SECONDS)
            elif kind in (_METADATA, _COORDINATOR):
                frame = frame.replace(self._real, self._shown)
            writer.write(struct.pack(">i", len(frame)) + frame)
            await writer.drain()
            if kind in (_PRODUCE, _END_TRANSACTION):
                news, self._news = self._news, asyncio.Event()
                news.set()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)

"""A door in front of noida-db that adds what it lacks of Kafka's protocol.

*Long polls.* noida-db answers a fetch at once, also when there is nothing, so an idle consumer and the broker keep a core busy
with each other. The door holds an empty answer until something was produced through it, or for the time Kafka would hold it.

*Session time-outs.* noida-db keeps a member that was killed in its group for ever. The door hears heartbeats pass, and takes a
member that has gone silent for its session out of the group, as Kafka's coordinator does.

*Rebalances.* A cooperative member joins again as soon as it has given partitions up; noida-db then forgets to answer members
whose answer to the join before was still due. The door lets a moment pass between the two.

All else passes as it is; only the broker's own address, where an answer names it, becomes the door's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

_PRODUCE, _FETCH, _METADATA, _COORDINATOR, _JOIN, _HEARTBEAT, _LEAVE, _SYNC = 0, 1, 3, 10, 11, 12, 13, 14
_END_TRANSACTION = 26
_HOLD_SECONDS = 0.1
_SESSION_SECONDS = 6.0
_SETTLE_SECONDS = 0.2
_DUE = (0.2, 0.5)  # how long a join waits for others before it is answered


@dataclass
class _Member:
    """A member of a group, as its requests show it."""

    heard: float
    joining: bool
    connection: object | None


class KafkaDoor:
    """Listens on a port of its own and leads to the broker's; runs on a thread until it is closed."""

    def __init__(self, broker_port: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._broker_port = broker_port
        self._real = b"127.0.0.1" + struct.pack(">i", broker_port)
        self._shown = b"127.0.0.1" + struct.pack(">i", self.port)
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._members: dict[tuple[str, str], _Member] = {}
        self._thread = threading.Thread(target=self._run, name="kafka-door", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every connection and listen no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, sock=self._socket))
        watch = self._loop.create_task(self._watch_sessions())
        try:
            self._loop.run_forever()
        finally:
            server.close()
            watch.cancel()
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
            for member in self._members.values():
                if member.connection is reader:
                    member.connection = None
            for one in (writer, up_writer):
                with suppress(OSError, RuntimeError):
                    one.close()

    async def _requests(
        self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, asked: dict[int, tuple[int, int]]
    ) -> None:
        while True:
            frame = await _frame(reader)
            kind, version, number = struct.unpack_from(">hhi", frame)
            asked[number] = (kind, len(frame))
            if kind in (_JOIN, _HEARTBEAT, _SYNC, _LEAVE):
                if kind == _JOIN:
                    await self._let_settle(reader)
                self._hear(kind, version, frame, reader)
            up.write(struct.pack(">i", len(frame)) + frame)
            await up.drain()

    async def _let_settle(self, connection: object) -> None:
        now = time.monotonic()
        if any(
            m.connection is connection and not m.joining and now - m.heard < _SETTLE_SECONDS
            for m in self._members.values()
        ):
            await asyncio.sleep(_SETTLE_SECONDS)
        # a join just before its answer is due: it would begin another round, and the answer would be forgotten
        while any(m.joining and _DUE[0] < time.monotonic() - m.heard < _DUE[1] for m in self._members.values()):
            await asyncio.sleep(0.02)

    def _hear(self, kind: int, version: int, frame: bytes, connection: object) -> None:
        place = 8 + 2 + max(0, struct.unpack_from(">h", frame, 8)[0])  # behind the header with its client id
        group, place = _text(frame, place)
        if kind in (_HEARTBEAT, _SYNC):
            member, _ = _text(frame, place + 4)  # behind the generation
        elif kind == _JOIN:
            member, _ = _text(frame, place + (8 if version else 4))  # behind the time-outs
        else:
            for key in [key for key in self._members if key[0] == group and key[1].encode() in frame]:
                del self._members[key]
            return
        if member:
            self._members[group, member] = _Member(time.monotonic(), kind == _JOIN, connection)

    async def _watch_sessions(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            for key, member in list(self._members.items()):
                gone = now - member.heard > _SESSION_SECONDS
                if gone and (member.connection is None or not member.joining):
                    del self._members[key]
                    with suppress(OSError, asyncio.IncompleteReadError):
                        await self._take_out(*key)

    async def _take_out(self, group: str, member: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        request = struct.pack(">hhih", _LEAVE, 0, 1, -1)
        for word in (group.encode(), member.encode()):
            request += struct.pack(">h", len(word)) + word
        writer.write(struct.pack(">i", len(request)) + request)
        await writer.drain()
        await asyncio.wait_for(_frame(reader), 2)
        writer.close()

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


def _text(frame: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", frame, place)
    end = place + 2 + max(0, length)
    return frame[place + 2 : end].decode(), end

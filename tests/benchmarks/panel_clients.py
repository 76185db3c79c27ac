"""Websocket clients of the page without a browser: they load it, say that they are ready, and answer every push as one would.

    python tests/benchmarks/panel_clients.py URL --count 18 --seconds 30 [--half-open]

Half-open clients open the websocket and never say that they are ready. Prints one JSON object on one line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

READY = {"kind": "MessageSent", "msg_type": "bokeh_event",
         "msg_data": {"type": "event", "name": "document_ready", "values": {"type": "map"}}}  # fmt: skip


@dataclass
class Client:
    """One session."""

    url: str
    pushes: int = 0
    received_bytes: int = 0
    echo: str = ""
    tick: str = ""
    socket: WebSocketClientConnection | None = None
    gaps: list[float] = field(default_factory=list)
    last: float = 0.0

    async def open(self, *, ready: bool) -> None:
        """Load the page and open its websocket; say that everything is drawn when ``ready``."""
        page = (await AsyncHTTPClient().fetch(self.url, request_timeout=120)).body.decode()
        token = re.search(r'"token":"([^"]+)"', page)
        assert token is not None, "the page carries no token"
        where = self.url.replace("http", "ws", 1).split("?")[0] + "/ws"
        self.socket = await websocket_connect(where, subprotocols=["bokeh", token.group(1)], max_message_size=2**28)
        await self._message()  # ACK
        if not ready:
            return
        await self._send("PULL-DOC-REQ", {})
        while True:
            header, content = await self._message()
            if header["msgtype"] == "PULL-DOC-REPLY":
                break
        self._find(content)
        assert self.echo and self.tick, "the page has no heartbeat"
        await self._send("PATCH-DOC", {"events": [READY]})

    async def follow(self) -> None:
        """Answer pushes until the socket is closed."""
        while self.socket is not None:
            header, content = await self._message()
            if header["msgtype"] != "PATCH-DOC":
                continue
            for event in content.get("events", ()):
                named = event.get("model", {}).get("id") == self.tick and event.get("attr") == "value"
                if event.get("kind") == "ModelChanged" and named:
                    self._count()
                    change = {"kind": "ModelChanged", "model": {"id": self.echo}, "attr": "value", "new": event["new"]}
                    await self._send("PATCH-DOC", {"events": [change]})

    def _count(self) -> None:
        now = time.monotonic()
        self.pushes += 1
        if self.last:
            self.gaps.append(now - self.last)
        self.last = now

    def _find(self, part: Any) -> None:
        if isinstance(part, dict):
            tags = (part.get("attributes") or {}).get("tags") if isinstance(part.get("attributes"), dict) else None
            if tags == ["seatrial-tick"]:
                self.tick = part["id"]
            if tags == ["seatrial-echo"]:
                self.echo = part["id"]
            for value in part.values():
                self._find(value)
        elif isinstance(part, list):
            for value in part:
                self._find(value)

    async def _message(self) -> tuple[dict[str, Any], dict[str, Any]]:
        header = json.loads(await self._frame())
        await self._frame()  # metadata
        content = json.loads(await self._frame())
        for _ in range(2 * int(header.get("num_buffers", 0))):
            await self._frame()
        return header, content

    async def _frame(self) -> str | bytes:
        assert self.socket is not None
        frame = await self.socket.read_message()
        if frame is None:
            raise ConnectionError("the server closed the websocket")
        self.received_bytes += len(frame)
        return frame

    async def _send(self, kind: str, content: dict[str, Any]) -> None:
        assert self.socket is not None
        for part in ({"msgid": uuid4().hex, "msgtype": kind}, {}, content):
            await self.socket.write_message(json.dumps(part))


async def run(url: str, count: int, seconds: float, *, half_open: bool) -> dict[str, Any]:
    """Hold so many clients for so long; says ``open`` once all are."""
    clients = [Client(url) for _ in range(count)]
    for client in clients:
        await client.open(ready=not half_open)
    print("open", flush=True)
    following = [] if half_open else [asyncio.create_task(client.follow()) for client in clients]
    await asyncio.sleep(seconds)
    for task in following:
        task.cancel()
    failed = [task for task in following if task.done() and not task.cancelled()]
    for client in clients:
        if client.socket is not None:
            client.socket.close()
    gaps = sorted(gap for client in clients for gap in client.gaps)
    return {
        "clients": count,
        "closed_by_server": len(failed),
        "pushes_each_second": round(sum(client.pushes for client in clients) / max(1, count) / seconds, 2),
        "longest_gap_seconds": round(gaps[-1], 2) if gaps else None,
        "kilobytes_each_second": round(
            sum(client.received_bytes for client in clients) / max(1, count) / seconds / 1000, 1
        ),
    }


def main() -> None:
    """Read the options, hold the clients, print what they saw."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("url")
    options.add_argument("--count", type=int, default=18)
    options.add_argument("--seconds", type=float, default=30)
    options.add_argument("--half-open", action="store_true")
    given = options.parse_args()
    print(json.dumps(asyncio.run(run(given.url, given.count, given.seconds, half_open=given.half_open))))


if __name__ == "__main__":
    main()

"""How a platform session is spoken to from another process: authenticated frames of JSON with a fixed vocabulary.

No pickle, no eval: a frame can only name the records listed here and the calls listed in `toolkit.platforms.agent`.
Both sides prove that they know the key before anything else is read, and every frame carries a code over direction,
number and content, so that a frame can be neither forged, replayed nor turned around.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import struct
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np

from toolkit.errors import PlatformError, PlatformUnavailable
from toolkit.execution import ports
from toolkit.market import Bars, Instrument, Quote, Side
from toolkit.platforms.findings import Finding

LIMIT = 16 * 1024 * 1024
_HEAD = struct.Struct(">I")
_MAC = 32
_NONCE = 32
_HELLO = b"seatrial platform agent 1\n"

_RECORDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        ports.AccountSnapshot,
        ports.Book,
        ports.CancelOrder,
        ports.ClientTag,
        ports.ClosePosition,
        ports.History,
        ports.ModifyProtection,
        ports.OpenOrder,
        ports.OrderResult,
        ports.PlatformDeal,
        ports.PlatformOrder,
        ports.PlatformPosition,
        Finding,
        Quote,
    )
}
_ENUMS: dict[str, type[Enum]] = {kind.__name__: kind for kind in (ports.OrderType, ports.Outcome, Side)}


def pack(value: object) -> Any:
    """Return a value as JSON-able data; what is not in the vocabulary raises TypeError."""
    if isinstance(value, Enum):
        return {"$e": [type(value).__name__, value.value]}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        return {"$d": str(value)}
    if isinstance(value, datetime):
        return {"$t": value.isoformat()}
    if isinstance(value, tuple | list):
        return [pack(v) for v in value]
    if isinstance(value, Instrument):
        return {"$i": {**value.facts(), "source": value.source}}
    if isinstance(value, Bars):
        return {"$b": _pack_bars(value)}
    if is_dataclass(value) and type(value).__name__ in _RECORDS:
        return {"$r": [type(value).__name__, {f.name: pack(getattr(value, f.name)) for f in fields(value) if f.init}]}
    raise TypeError(f"{type(value).__name__} is not in the agent's vocabulary")


def unpack(data: Any) -> Any:
    """Return the value that `pack` packed; anything else raises ValueError."""
    if data is None or isinstance(data, bool | int | str):
        return data
    if isinstance(data, list):
        return tuple(unpack(v) for v in data)
    if isinstance(data, dict) and len(data) == 1:
        ((mark, body),) = data.items()
        reader = _READERS.get(mark)
        if reader is not None:
            return reader(body)
    raise ValueError("a frame holds something outside the vocabulary")


def _read_record(body: Any) -> Any:
    name, values = body
    kind = _RECORDS[name]
    return kind(**{key: unpack(value) for key, value in values.items()})


def _pack_bars(bars: Bars) -> dict[str, Any]:
    columns: dict[str, Any] = {"ts": bars.ts, **bars.columns}
    if bars.volume is not None:
        columns["volume"] = bars.volume
    return {
        "symbol": bars.symbol,
        "timeframe": bars.timeframe.value,
        "instrument": pack(bars.instrument)["$i"],
        "columns": {
            name: [c.dtype.str, base64.b64encode(np.ascontiguousarray(c).tobytes()).decode()]
            for name, c in columns.items()
        },
    }


def _read_bars(body: Any) -> Bars:
    columns = {}
    for name, (kind, text) in body["columns"].items():
        if kind not in ("<i8", "<i4", "<f8"):
            raise ValueError("a column of bars is of another kind")
        columns[name] = np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)
    facts = _read_instrument(body["instrument"])
    return Bars.from_arrays(body["symbol"], body["timeframe"], columns.pop("ts"), instrument=facts, **columns)


def _read_instrument(body: Any) -> Instrument:
    source = body.pop("source", "")
    found = Instrument.from_facts(body)
    object.__setattr__(found, "source", source)
    return found


_READERS: types.MappingProxyType[str, Callable[[Any], Any]] = types.MappingProxyType(
    {
        "$e": lambda body: _ENUMS[body[0]](body[1]),
        "$d": Decimal,
        "$t": datetime.fromisoformat,
        "$i": lambda body: _read_instrument(dict(body)),
        "$b": _read_bars,
        "$r": _read_record,
    }
)


class Line:
    """One authenticated connection. Every read and write has the deadline of the socket.

    Use `Line.to_agent` or `Line.from_client`; both raise PlatformError when the other side does not know the key.
    """

    def __init__(self, connection: socket.socket, key: bytes, sends: bytes, receives: bytes) -> None:
        self._socket = connection
        self._key = key
        self._sends, self._receives = sends, receives
        self._sent = self._received = 0

    @classmethod
    def to_agent(cls, connection: socket.socket, key: bytes) -> Line:
        """Shake hands as the client."""
        mine = os.urandom(_NONCE)
        connection.sendall(_HELLO + mine)
        theirs = _exactly(connection, _NONCE)
        proof = _exactly(connection, _MAC)
        if not hmac.compare_digest(proof, _proof(key, b"agent", mine, theirs)):
            raise PlatformError("the agent must know the key, did not: use the same key on both sides")
        connection.sendall(_proof(key, b"client", mine, theirs))
        return cls(connection, _proof(key, b"session", mine, theirs), b"c", b"a")

    @classmethod
    def from_client(cls, connection: socket.socket, key: bytes) -> Line:
        """Shake hands as the agent."""
        if _exactly(connection, len(_HELLO)) != _HELLO:
            raise PlatformError("the client must speak this agent's protocol, did not")
        theirs = _exactly(connection, _NONCE)
        mine = os.urandom(_NONCE)
        connection.sendall(mine + _proof(key, b"agent", theirs, mine))
        if not hmac.compare_digest(_exactly(connection, _MAC), _proof(key, b"client", theirs, mine)):
            raise PlatformError("the client must know the key, did not")
        return cls(connection, _proof(key, b"session", theirs, mine), b"a", b"c")

    def set_deadline(self, seconds: float | None) -> None:
        """Let every following read and write raise TimeoutError after that long."""
        self._socket.settimeout(seconds)

    def write(self, message: Any) -> None:
        """Send one message."""
        body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
        if len(body) > LIMIT:
            raise PlatformError(f"a message must be at most {LIMIT} bytes, was {len(body)}: ask for less")
        mac = self._mac(self._sends, self._sent, body)
        self._sent += 1
        self._socket.sendall(_HEAD.pack(len(body)) + mac + body)

    def read(self) -> Any:
        """Receive one message."""
        (length,) = _HEAD.unpack(_exactly(self._socket, _HEAD.size))
        if length > LIMIT:
            raise PlatformError("a message is too long: the connection is dropped")
        mac, body = _exactly(self._socket, _MAC), _exactly(self._socket, length)
        if not hmac.compare_digest(mac, self._mac(self._receives, self._received, body)):
            raise PlatformError("a message was not written by the other side: the connection is dropped")
        self._received += 1
        return json.loads(body)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _mac(self, direction: bytes, number: int, body: bytes) -> bytes:
        return hmac.digest(self._key, direction + struct.pack(">Q", number) + body, hashlib.sha256)


def _proof(key: bytes, what: bytes, client: bytes, agent: bytes) -> bytes:
    return hmac.digest(key, what + client + agent, hashlib.sha256)


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        piece = connection.recv(min(count - len(parts), 1 << 20))
        if not piece:
            raise PlatformUnavailable("the other side closed the connection")
        parts += piece
    return bytes(parts)

"""Frames of the Open API: four bytes of length, most significant first, then a ``ProtoMessage`` around the payload."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from toolkit.errors import PlatformError, must_be
from toolkit.platforms.ctrader.messages import BY_NUMBER, number_of, pb

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: The largest frame the servers send or take, in bytes.
MAX_FRAME = 15_000_000


def encode(message: Message, client_msg_id: str = "") -> bytes:
    """Return the frame of one message."""
    outer = pb.ProtoMessage(payloadType=number_of(message), payload=message.SerializeToString())
    if client_msg_id:
        outer.clientMsgId = client_msg_id
    body = outer.SerializeToString()
    return len(body).to_bytes(4, "big") + body


def decode(body: bytes) -> tuple[Message | None, str]:
    """Return the message of a frame's body and its ``clientMsgId``; None for a kind of message we do not know.

    Raises
    ------
    PlatformError
        When the body is not a message of the Open API.
    """
    from google.protobuf.message import DecodeError

    outer = pb.ProtoMessage()
    try:
        outer.ParseFromString(body)
        kind = BY_NUMBER.get(outer.payloadType)
        if kind is None:
            return None, outer.clientMsgId
        message = kind()
        message.ParseFromString(outer.payload)
    except DecodeError as e:
        raise PlatformError(must_be("a frame", "a message of the Open API", "not readable", "check the port")) from e
    return message, outer.clientMsgId


async def read_body(reader: asyncio.StreamReader) -> bytes:
    """Read one frame and return its body.

    Raises
    ------
    asyncio.IncompleteReadError
        When the connection ended.
    PlatformError
        When the length cannot be one of the Open API.
    """
    size = int.from_bytes(await reader.readexactly(4), "big")
    if not 0 < size <= MAX_FRAME:
        raise PlatformError(
            must_be("a frame", f"1 to {MAX_FRAME} bytes", size, "check host and port: 5035 is protobuf")
        )
    return await reader.readexactly(size)

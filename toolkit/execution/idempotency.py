"""Keys that make a signal the same signal wherever and however often it is seen.

A key is the sha256 of a version byte and the UTF-8 fields, each behind its length (4 bytes, big-endian), so that no two
field lists share one text. Nothing in it comes from a quote: a bar evaluated again at another price gives the same key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from toolkit.clock import to_utc
from toolkit.errors import RequestError, must_be
from toolkit.execution.ports import ClientTag
from toolkit.market import Side

KEY_VERSION = b"\x01"
TAG_PREFIX = "q1"
APP_MAGIC = 0x5EA  # 12 bits, the top of every MT5 magic of ours

_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_LETTERS = [a + b for a in _BASE32 for b in _BASE32]
_SHIFTS = range(120, -1, -10)

Word = str | int | bool | Decimal | None


def signal_fingerprint(version_hash: str, words: Mapping[str, Word]) -> str:
    """Return the hash of a signal's own words.

    Parameters
    ----------
    version_hash
        Hash of the BotVersion that spoke; the AI's source name for an AI signal.
    words
        What the signal said, by name: distances, ratios, risk. Never a quote or anything computed from one.

    Raises
    ------
    RequestError
        When a word is a float: its text is not stable across platforms.
    """
    plain: dict[str, str | int | bool | None] = {}
    for name in sorted(words):
        value = words[name]
        if isinstance(value, float):
            raise RequestError(must_be(f"word {name}", "str, int, bool or Decimal", repr(value), "use Decimal(str(x))"))
        plain[name] = _plain_decimal(value) if isinstance(value, Decimal) else value
    text = _ENCODE(plain)
    return _digest(b"F" + KEY_VERSION, [version_hash, text]).hex()


def run_key(
    *,
    live_run_id: UUID,
    bar_time: datetime,
    symbol: str,
    side: Side,
    action: str,
    ordinal: int,
    fingerprint: str,
) -> str:
    """Return the idempotency key of a LiveRun's signal, 64 hex characters.

    Parameters
    ----------
    bar_time
        Open of the decision bar; tz-aware, taken in UTC.
    ordinal
        Counts equal actions of one bar: two reductions in one bar are two intents.
    """
    m = to_utc(bar_time)
    moment = f"{m.year:04d}-{m.month:02d}-{m.day:02d}T{m.hour:02d}:{m.minute:02d}:{m.second:02d}.{m.microsecond:06d}Z"
    fields = [str(live_run_id), moment, symbol, side.value, action, str(ordinal), fingerprint]
    return _digest(KEY_VERSION, fields).hex()


def ai_key(*, account_id: UUID, source: str, signal_id: str, action: str) -> str:
    """Return the idempotency key of an AI's signal, which is identified by its source and its own id."""
    if not source or not signal_id:
        raise RequestError(
            must_be("AI signal", "named by source and signal_id", f"{source!r}/{signal_id!r}", "send both")
        )
    return _digest(KEY_VERSION, [str(account_id), "ai", source, signal_id, action]).hex()


def payload_hash(action: str, symbol: str, side: Side, fingerprint: str) -> str:
    """Return the hash that tells whether an equal key really asks for the same thing."""
    return _digest(b"P" + KEY_VERSION, [action, symbol, side.value, fingerprint]).hex()


def client_tag(key: str, label: str = "") -> ClientTag:
    """Return what identifies the order of this key at the platform.

    ``text`` is "q1" and 26 base32 characters, 28 in all, because MT5 keeps at most 29; ``magic`` is 12 bits of ours and 51
    bits of the hash, a positive 63-bit number.
    """
    digest = hashlib.sha256(key.encode()).digest()
    bits = int.from_bytes(digest[:16], "big") << 2  # 128 bits and 2 of padding: 13 times 10, two base32 letters each
    text = TAG_PREFIX + "".join([_LETTERS[(bits >> shift) & 1023] for shift in _SHIFTS])
    magic = (APP_MAGIC << 51) | (int.from_bytes(digest[:8], "big") >> 13)
    return ClientTag(text=text, magic=magic, label=label)


def is_our_tag(text: str, magic: int) -> bool:
    """Whether a tag or magic found at the platform has our form (it may still belong to another installation)."""
    return (magic >> 51) == APP_MAGIC or (text.startswith(TAG_PREFIX) and len(text) >= 16)


def _digest(prefix: bytes, fields: list[str]) -> bytes:
    raws = [field.encode() for field in fields]
    return hashlib.sha256(prefix + b"".join([len(raw).to_bytes(4, "big") + raw for raw in raws])).digest()


def _plain_decimal(value: Decimal) -> str:
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text

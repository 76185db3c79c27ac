"""The signed pointer that travels over a message broker: it names an intent, the database holds the truth.

Anyone who can write to a message broker could otherwise call any actor with anything. A receiver therefore checks, in
this order, size, form, schema, key id, signature and age, and then believes nothing but ``intent_id`` and
``account_id``, which it compares with the row.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from toolkit.clock import to_utc
from toolkit.errors import BadInput, GatewayError, must_be

SCHEMA = "seatrial.intent-pointer.v1"
MAX_BYTES = 16 * 1024
MAX_AGE = timedelta(days=1)
MAX_AHEAD = timedelta(minutes=5)
_FIELDS = ("account_id", "intent_id", "issued_at", "key", "kid", "mac", "schema")
_MIN_SECRET_BYTES = 16
_FOREIGN = "it was not sent by Seatrial"


class EnvelopeRefused(GatewayError):
    """Raised when a message is not one of ours; ``why`` is a stable word for metrics and the audit row."""

    retryable = False

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a message says: which intent of which account, and when it was signed."""

    intent_id: UUID
    account_id: UUID
    key: str
    issued_at: datetime


class KeyRing:
    """Signing keys by id. The first signs, all verify, so a key is rotated by putting a new one in front.

    Parameters
    ----------
    keys
        ``{key id: secret}``, newest first; a secret has at least 16 bytes.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise BadInput(
                must_be("signing key", "set", "empty", "set SEATRIAL_SIGNING_KEY=<id>:<secret> for a message broker")
            )
        for kid, secret in keys.items():
            if len(secret) < _MIN_SECRET_BYTES:
                raise BadInput(
                    must_be(
                        f"signing key {kid!r}",
                        f"{_MIN_SECRET_BYTES} bytes or more",
                        f"{len(secret)} bytes",
                        "make a longer one",
                    )
                )
        self._keys = dict(keys)
        self.current = next(iter(self._keys))

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Read ``id:secret[,id:secret...]``, the resolved value of SEATRIAL_SIGNING_KEY."""
        keys: dict[str, bytes] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            kid, colon, secret = part.partition(":")
            if not colon or not kid:
                raise BadInput(
                    must_be("signing key", "<id>:<secret>", "without an id", "write SEATRIAL_SIGNING_KEY=k1:<secret>")
                )
            keys[kid] = secret.encode()
        return cls(keys)

    def sign(self, kid: str, body: bytes) -> str:
        """Return the HMAC-SHA256 of ``body`` under the key, as hex."""
        return hmac.new(self._keys[kid], body, hashlib.sha256).hexdigest()

    def knows(self, kid: str) -> bool:
        """Return whether the key id may still be used to verify."""
        return kid in self._keys

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"


def _canonical(fields: Mapping[str, str]) -> bytes:
    return json.dumps(dict(fields), sort_keys=True, separators=(",", ":")).encode()


def seal(pointer: Pointer, ring: KeyRing) -> str:
    """Return the signed message for a pointer, canonical JSON text."""
    fields = {
        "schema": SCHEMA,
        "intent_id": str(pointer.intent_id),
        "account_id": str(pointer.account_id),
        "key": pointer.key,
        "issued_at": to_utc(pointer.issued_at).isoformat(),
        "kid": ring.current,
    }
    return _canonical(fields | {"mac": ring.sign(ring.current, _canonical(fields))}).decode()


def unseal(text: str, ring: KeyRing, *, now: datetime) -> Pointer:
    """Check a message and return what it points to.

    Raises
    ------
    EnvelopeRefused
        With ``why`` one of: oversized, malformed, unknown_schema, unknown_key, forged, stale.
    """
    size = len(text.encode())
    if size > MAX_BYTES:
        raise _refused("oversized", "message", f"at most {MAX_BYTES} bytes", size, "send the pointer only")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused("malformed", "message", "JSON", "something else", _FOREIGN) from error
    if not isinstance(fields, dict) or any(not isinstance(value, str) for value in fields.values()):
        raise _refused("malformed", "message", "an object of strings", type(fields).__name__, _FOREIGN)
    if fields.get("schema") != SCHEMA:
        raise _refused("unknown_schema", "schema", SCHEMA, repr(fields.get("schema"))[:80], "upgrade the older side")
    if tuple(sorted(fields)) != _FIELDS:
        names = ", ".join(sorted(fields))[:200]
        raise _refused("malformed", "message fields", ", ".join(_FIELDS), names, "upgrade the older side")
    if not ring.knows(fields["kid"]):
        remedy = "add the key to SEATRIAL_SIGNING_KEY"
        raise _refused("unknown_key", "key id", "one of ours", repr(fields["kid"])[:40], remedy)
    mac = fields.pop("mac")
    if not hmac.compare_digest(mac.encode(), ring.sign(fields["kid"], _canonical(fields)).encode()):
        raise EnvelopeRefused(
            "forged", "the signature of a message does not match its content: it was changed or forged"
        )
    try:
        pointer = Pointer(
            intent_id=UUID(fields["intent_id"]),
            account_id=UUID(fields["account_id"]),
            key=fields["key"],
            issued_at=to_utc(datetime.fromisoformat(fields["issued_at"])),
        )
    except ValueError as error:
        raise EnvelopeRefused("malformed", f"a signed message holds a value that cannot be read: {error}") from error
    age = to_utc(now) - pointer.issued_at
    if age > MAX_AGE or age < -MAX_AHEAD:
        window = f"within {MAX_AGE} before and {MAX_AHEAD} after now"
        raise _refused("stale", "issued_at", window, f"{age} ago", "the outbox sends a fresh one")
    return pointer


def _refused(why: str, what: str, requirement: str, was: object, remedy: str) -> EnvelopeRefused:
    return EnvelopeRefused(why, must_be(what, requirement, was, remedy))

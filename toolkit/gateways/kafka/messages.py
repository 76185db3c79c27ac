"""What the three messages say, and their signatures: pointers as on the other message brokers, snapshots and results likewise."""

from __future__ import annotations

import hmac
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from toolkit.clock import to_utc
from toolkit.errors import BadInput
from toolkit.execution.ledger.records import IntentRecord
from toolkit.gateways.envelope import EnvelopeRefused, KeyRing, Pointer, seal, unseal
from toolkit.gateways.kafka.schemas import latest

_TIMES = frozenset({"at", "entry_time", "exit_time"})


def pointer_record(pointer: Pointer, ring: KeyRing) -> dict[str, Any]:
    """Return a signed pointer, field for field the one of the other message brokers."""
    return dict(json.loads(seal(pointer, ring)))


def read_pointer(record: dict[str, Any], ring: KeyRing, *, now: datetime) -> Pointer:
    """Check a pointer's signature and age, and return what it points to; EnvelopeRefused otherwise."""
    fields = {field["name"] for field in latest("pointer")["fields"]}
    return unseal(json.dumps({name: record[name] for name in fields}), ring, now=now)


def snapshot_record(intent: IntentRecord, ring: KeyRing) -> dict[str, Any]:
    """Return a signed snapshot of an intent as it was decided."""
    return _signed(
        {
            "schema": "seatrial.intent-snapshot.v1",
            "intent_id": str(intent.intent_id),
            "account_id": str(intent.account_id),
            "live_run_id": None if intent.live_run_id is None else str(intent.live_run_id),
            "action": intent.action.value,
            "symbol": intent.symbol,
            "side": intent.side.value,
            "signal_id": intent.signal_id,
            "bar_time": intent.bar_time,
            "ordinal": intent.ordinal,
            "payload": intent.payload_json,
            "payload_hash": intent.payload_hash,
            "key": intent.idempotency_key,
            "lots": None if intent.lots is None else format(intent.lots, "f"),
            "sl_policy": intent.sl_policy,
            "valid_until": intent.valid_until,
            "created_at": intent.created_at,
        },
        ring,
    )


def result_record(body: str, ring: KeyRing) -> dict[str, Any]:
    """Return the signed result of a row of the outbox."""
    said = json.loads(body)
    fields: dict[str, Any] = {"schema": "seatrial.intent-result.v1"}
    for field in latest("result")["fields"]:
        name = field["name"]
        if name in ("schema", "kid", "mac"):
            continue
        value = said.get(name)
        fields[name] = datetime.fromisoformat(value) if name in _TIMES and value is not None else value
    return _signed(fields, ring)


def verify(record: dict[str, Any], ring: KeyRing) -> None:
    """Check the signature of a snapshot or a result.

    Raises
    ------
    EnvelopeRefused
        With ``why`` one of: unknown_key, forged.
    """
    kid = str(record["kid"])
    if not ring.knows(kid):
        raise EnvelopeRefused(
            "unknown_key", f"key id {kid[:40]!r} is none of ours: add the key to SEATRIAL_SIGNING_KEY"
        )
    if not hmac.compare_digest(str(record["mac"]).encode(), ring.sign(kid, _canonical(record)).encode()):
        raise EnvelopeRefused(
            "forged", "the signature of a message does not match its content: it was changed or forged"
        )


def account_of_key(key: bytes | None) -> UUID | None:
    """Return the account that a message's key names, None when it names none."""
    try:
        return UUID((key or b"").decode())
    except (ValueError, UnicodeDecodeError):
        return None


def _signed(fields: dict[str, Any], ring: KeyRing) -> dict[str, Any]:
    record = fields | {"kid": ring.current}
    return record | {"mac": ring.sign(ring.current, _canonical(record))}


def _canonical(record: dict[str, Any]) -> bytes:
    # An absent value is left out, so a field that a later version adds and an earlier writer did not know changes no signature.
    plain = {name: _plain(value) for name, value in record.items() if name != "mac" and value is not None}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_utc(value).isoformat()
    if isinstance(value, str | int):
        return value
    raise BadInput(f"a message carries text, whole numbers and times, not {type(value).__name__}")


__all__ = ["account_of_key", "pointer_record", "read_pointer", "result_record", "snapshot_record", "verify"]

"""The signed pointer: what is refused, and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.gateways.envelope import MAX_BYTES, EnvelopeRefused, KeyRing, Pointer, seal, unseal

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
POINTER = Pointer(UUID(int=1), UUID(int=2), "k" * 64, NOW)
RING = KeyRing({"k1": b"0123456789abcdef"})


def refused(text: str, ring: KeyRing = RING, now: datetime = NOW) -> str:
    with pytest.raises(EnvelopeRefused) as caught:
        unseal(text, ring, now=now)
    return caught.value.why


def changed(**fields: str | None) -> str:
    body = json.loads(seal(POINTER, RING)) | fields
    return json.dumps({k: v for k, v in body.items() if v is not None})


def test_a_sealed_pointer_comes_back_as_it_went() -> None:
    """Unsealing returns exactly the pointer that was sealed."""
    assert unseal(seal(POINTER, RING), RING, now=NOW) == POINTER


@pytest.mark.parametrize("field", ["intent_id", "account_id", "key", "issued_at"])
def test_a_changed_field_is_forged(field: str) -> None:
    """Changing any signed field breaks the signature."""
    value = {"issued_at": (NOW + timedelta(seconds=1)).isoformat(), "key": "x"}.get(field, str(UUID(int=9)))
    assert refused(changed(**{field: value})) == "forged"


def test_another_key_is_forged() -> None:
    """A message signed with another secret under our key id is refused."""
    assert refused(seal(POINTER, KeyRing({"k1": b"another secret 16"}))) == "forged"


def test_an_unknown_key_id_is_refused() -> None:
    """A key id that is not in the ring is refused before any signature is computed."""
    assert refused(seal(POINTER, KeyRing({"k9": b"0123456789abcdef"}))) == "unknown_key"


def test_an_unknown_schema_is_refused() -> None:
    """Another schema name is refused, whatever its signature."""
    assert refused(changed(schema="seatrial.intent-pointer.v2")) == "unknown_schema"


def test_an_unknown_field_is_refused() -> None:
    """A field that the schema does not have is refused."""
    assert refused(changed(lots="100")) == "malformed"


def test_a_missing_field_is_refused() -> None:
    """A message without one of the fields is refused."""
    assert refused(changed(key=None)) == "malformed"


def test_an_oversized_message_is_refused() -> None:
    """A message above 16 KiB is refused before it is parsed."""
    assert refused(changed(key="k" * MAX_BYTES)) == "oversized"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"schema": 1}', "[" * 5000])
def test_what_is_not_an_object_of_strings_is_malformed(text: str) -> None:
    """Broken or foreign JSON is refused as malformed."""
    assert refused(text) == "malformed"


@pytest.mark.parametrize("age", [timedelta(days=1, seconds=1), timedelta(minutes=-6)])
def test_a_message_outside_its_window_is_stale(age: timedelta) -> None:
    """A message from yesterday or from the future is refused."""
    assert refused(seal(POINTER, RING), now=NOW + age) == "stale"


def test_a_rotated_key_still_verifies_and_the_new_one_signs() -> None:
    """After rotation old messages verify and new ones carry the new key id."""
    rotated = KeyRing({"k2": b"fedcba9876543210", "k1": b"0123456789abcdef"})
    assert unseal(seal(POINTER, RING), rotated, now=NOW) == POINTER
    assert json.loads(seal(POINTER, rotated))["kid"] == "k2"


def test_a_ring_without_a_key_names_the_variable() -> None:
    """A bus without a signing key does not start."""
    with pytest.raises(BadInput, match="SEATRIAL_SIGNING_KEY"):
        KeyRing.parse("")


def test_a_short_secret_is_refused() -> None:
    """A secret under 16 bytes is refused."""
    with pytest.raises(BadInput, match="16 bytes or more"):
        KeyRing.parse("k1:short")


def test_a_ring_never_shows_its_secrets() -> None:
    """The representation holds key ids only."""
    assert "0123456789abcdef" not in repr(RING)


@given(st.text(max_size=300))
def test_no_text_is_accepted_by_chance(text: str) -> None:
    """Any text that we did not seal is refused with an EnvelopeRefused, never another error."""
    with pytest.raises(EnvelopeRefused):
        unseal(text, RING, now=NOW)

"""The codec at the door: registry, signatures, and the refusal of everything that is not ours."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schema_registry import SchemaRegistry

from toolkit.errors import BadInput, GatewayError
from toolkit.gateways.envelope import EnvelopeRefused, KeyRing, Pointer
from toolkit.gateways.kafka.messages import pointer_record, read_pointer, result_record, verify
from toolkit.gateways.kafka.registry import Codec, open_codec
from toolkit.gateways.kafka.schemas import NAMES, latest, subject_of

fastavro = pytest.importorskip("fastavro")
RING = KeyRing.parse("k1:0123456789abcdef0123456789abcdef")
NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
POINTER = Pointer(uuid4(), uuid4(), "k" * 64, NOW)


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    """A registry over HTTP."""
    made = SchemaRegistry()
    yield made
    made.close()


@pytest.fixture(scope="module")
def codec() -> Codec:
    """A codec whose registry is in this process."""
    return open_codec("mock://test")


def why(codec: Codec, value: bytes | None) -> str:
    with pytest.raises(EnvelopeRefused) as refused:
        codec.decode(value)
    return refused.value.why


def written(schema: Any, record: dict[str, Any], schema_id: int) -> bytes:
    out = io.BytesIO()
    out.write(b"\0" + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def test_two_processes_over_one_kafka_registry_read_each_other(registry: SchemaRegistry) -> None:
    """Schemas are registered once; the other side looks them up by id, and asks once only."""
    sender, receiver = open_codec(registry.url), open_codec(registry.url)
    assert sender.prepare() == receiver.prepare() == {"pointer": 1, "snapshot": 2, "result": 3}
    assert sorted(registry.subjects) == sorted(subject_of(name) for name in NAMES)
    value = sender.encode("pointer", pointer_record(POINTER, RING))
    name, record = receiver.decode(value)
    asked = registry.requests
    assert receiver.decode(value) == (name, record)
    assert registry.requests == asked
    assert (name, read_pointer(record, RING, now=NOW)) == ("pointer", POINTER)


def test_a_registered_kafka_schema_that_does_not_fit_keeps_a_process_from_starting(registry: SchemaRegistry) -> None:
    """The refusal names the subject, the field and what to do."""
    other = copy.deepcopy(latest("pointer"))
    other["fields"].append({"name": "must", "type": "string"})
    registry.register(subject_of("pointer"), json.dumps(other))
    with pytest.raises(
        GatewayError, match=r"IntentPointer version 1 must be compatible .* must: not written, .* upgrade"
    ):
        open_codec(registry.url).prepare()


def test_a_kafka_registry_that_refuses_or_is_gone_is_named(registry: SchemaRegistry) -> None:
    """A registry's own rule and its silence are errors with a remedy, not a crash."""
    registry.frozen = True
    with pytest.raises(GatewayError, match=r"answering 409.*grant write on the subject"):
        open_codec(registry.url).prepare()
    registry.close()
    with pytest.raises(GatewayError, match="does not answer"):
        open_codec(registry.url).prepare()


def test_a_kafka_message_of_a_later_version_that_fits_is_read(registry: SchemaRegistry) -> None:
    """A field that we do not know is left out; the signature covers what we know."""
    codec = open_codec(registry.url)
    codec.prepare()
    later = copy.deepcopy(latest("pointer"))
    later["fields"].append({"name": "more", "type": ["null", "string"], "default": None})
    number = registry.register(subject_of("pointer"), json.dumps(later))
    name, record = codec.decode(written(later, pointer_record(POINTER, RING) | {"more": "x"}, number))
    assert (name, read_pointer(record, RING, now=NOW)) == ("pointer", POINTER)


def test_kafka_messages_that_do_not_fit_are_refused_by_why(registry: SchemaRegistry) -> None:
    """Unknown id, foreign record, incompatible version, no Avro, more bytes behind, too big: each has its word."""
    codec = open_codec(registry.url)
    codec.prepare()
    value = codec.encode("pointer", pointer_record(POINTER, RING))
    broken = copy.deepcopy(latest("pointer"))
    broken["fields"].pop(1)
    fields = {name: text for name, text in pointer_record(POINTER, RING).items() if name != broken["fields"][1]["name"]}
    bad = registry.register(subject_of("pointer"), json.dumps(broken))
    foreign = registry.register("other", '{"type": "record", "name": "Foreign", "fields": []}')
    assert why(codec, b"\0" + (99).to_bytes(4, "big") + value[5:]) == "unknown_schema"
    assert why(codec, b"\0" + foreign.to_bytes(4, "big")) == "unknown_schema"
    assert why(codec, written(broken, {**fields, "account_id": "x"}, bad)) == "unknown_schema"
    assert why(codec, None) == why(codec, b"{}") == why(codec, value[:20]) == why(codec, value + b"x") == "malformed"
    assert why(codec, value + b"x" * 20_000) == "oversized"


@given(st.binary(max_size=200))
def test_no_bytes_break_the_kafka_codec(codec: Codec, noise: bytes) -> None:
    """Whatever arrives is refused with a word, behind a right header too."""
    for value in (noise, b"\0\0\0\0\1" + noise, b"\0\0\0\0\3" + noise):
        try:
            codec.decode(value)
        except EnvelopeRefused as error:
            assert error.why in ("malformed", "unknown_schema")


def test_a_changed_kafka_pointer_or_result_is_forged(codec: Codec) -> None:
    """A pointer carries the signature of the other buses; a result has its own; neither survives a change."""
    record = pointer_record(POINTER, RING)
    with pytest.raises(EnvelopeRefused) as refused:
        read_pointer(record | {"intent_id": str(uuid4())}, RING, now=NOW)
    assert refused.value.why == "forged"
    with pytest.raises(EnvelopeRefused) as refused:
        read_pointer(record, RING, now=NOW + timedelta(days=2))
    assert refused.value.why == "stale"
    body = dict.fromkeys((field["name"] for field in latest("result")["fields"]), "x") | {
        "attempt": 1, "at": NOW.isoformat(), "entry_time": None, "exit_time": None, "price": None
    }  # fmt: skip
    result = result_record(json.dumps(body), RING)
    _, read = codec.decode(codec.encode("result", result))
    verify(read, RING)
    with pytest.raises(EnvelopeRefused) as refused:
        verify(read | {"state": "FILLED"}, RING)
    assert refused.value.why == "forged"
    with pytest.raises(EnvelopeRefused) as refused:
        verify(read, KeyRing.parse("k2:0123456789abcdef0123456789abcdef"))
    assert refused.value.why == "unknown_key"


def test_kafka_without_a_registry_says_what_to_set() -> None:
    """The remedy names the variable."""
    with pytest.raises(BadInput, match="SEATRIAL_SCHEMA_REGISTRY_URL must be the address"):
        open_codec("")

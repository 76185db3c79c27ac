"""Avro schemas of the Kafka messages: every released version reads every other, and what would break that is noticed."""

from __future__ import annotations

import copy
import io
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from toolkit.gateways.kafka.schemas import NAMES, latest, name_of, released, subject_of, unreadable

fastavro = pytest.importorskip("fastavro")
GOLDEN = Path(__file__).parent / "golden"
VERSIONS = [(name, number) for name in NAMES for number in range(1, len(released(name)) + 1)]


def golden(name: str, number: int) -> list[dict[str, Any]]:
    """Messages that this version really wrote, as bytes and as the fields they hold."""
    return json.loads((GOLDEN / f"{name}.v{number}.json").read_text())


def plain(record: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(record, default=lambda value: value.isoformat()))


@pytest.mark.parametrize(("name", "number"), VERSIONS)
def test_the_golden_messages_of_a_kafka_schema_are_what_it_writes(name: str, number: int) -> None:
    """A released schema still gives the same bytes: it was not edited."""
    schema = fastavro.parse_schema(released(name)[number - 1])
    messages = golden(name, number)
    assert len(messages) >= 2
    for message in messages:
        record = fastavro.schemaless_reader(io.BytesIO(bytes.fromhex(message["avro"])), schema, None)
        assert plain(record) == message["fields"]
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, record)
        assert out.getvalue().hex() == message["avro"]


@pytest.mark.parametrize("name", NAMES)
def test_every_version_of_a_kafka_schema_reads_every_other(name: str) -> None:
    """Backward and forward: golden messages of each version are read with each version, none of their shared fields changed."""
    versions = released(name)
    for writer, reader in product(range(len(versions)), repeat=2):
        assert unreadable(versions[writer], versions[reader]) == []
        for message in golden(name, writer + 1):
            body = io.BytesIO(bytes.fromhex(message["avro"]))
            parsed = fastavro.parse_schema(versions[writer]), fastavro.parse_schema(versions[reader])
            read = plain(fastavro.schemaless_reader(body, *parsed))
            assert {field: read[field] for field in message["fields"] if field in read} == {
                field: value for field, value in message["fields"].items() if field in read
            }


def changed(name: str, change: str) -> dict[str, Any]:
    schema = copy.deepcopy(latest(name))
    fields = schema["fields"]
    if change == "field without a default":
        fields.append({"name": "new", "type": "string"})
    elif change == "field with a default":
        fields.append({"name": "new", "type": ["null", "string"], "default": None})
    elif change == "field removed":
        fields.pop(1)
    elif change == "other type":
        fields[1]["type"] = "long"
    elif change == "other name":
        schema["name"] = "Somebody"
    return schema


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "backward", "forward"),
    [
        ("field with a default", True, True), ("field without a default", False, True), ("field removed", True, False),
        ("other type", False, False), ("other name", False, False),
    ],
)  # fmt: skip
def test_a_change_that_breaks_a_kafka_schema_is_noticed(name: str, change: str, backward: bool, forward: bool) -> None:
    """The checker says for each kind of change in which direction it breaks, and Avro's own reader agrees."""
    old, new = latest(name), changed(name, change)
    assert (unreadable(old, new) == [], unreadable(new, old) == []) == (backward, forward)
    if backward:
        fields = golden(name, 1)[0]
        body = io.BytesIO(bytes.fromhex(fields["avro"]))
        assert fastavro.schemaless_reader(body, fastavro.parse_schema(old), fastavro.parse_schema(new))
    elif change != "other name":  # fastavro resolves a renamed top record; we do not
        with pytest.raises(Exception, match=r"default|mismatch|resolve|not in"):
            body = io.BytesIO(bytes.fromhex(golden(name, 1)[0]["avro"]))
            fastavro.schemaless_reader(body, fastavro.parse_schema(old), fastavro.parse_schema(new))


def test_a_kafka_subject_names_topic_and_record() -> None:
    """Pointers and snapshots share a topic and have a subject each."""
    assert [subject_of(name) for name in NAMES] == [
        "trade.intents-seatrial.IntentPointer", "trade.intents-seatrial.IntentSnapshot", "trade.results-seatrial.IntentResult"
    ]  # fmt: skip
    assert [name_of(latest(name)) for name in NAMES] == list(NAMES)
    assert name_of({"type": "record", "name": "Other", "fields": []}) == name_of("string") == ""

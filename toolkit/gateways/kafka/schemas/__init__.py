"""The Avro schemas of every released version, and what makes two of them understand each other.

A version that was released is never edited: a change is a new file, and `tests/unit/gateways/kafka/test_schemas.py` reads the
golden messages of every version with every other one.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

NAMES = ("pointer", "snapshot", "result")
TOPIC_OF = {"pointer": "trade.intents", "snapshot": "trade.intents", "result": "trade.results"}
_PROMOTED = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


@cache
def released(name: str) -> tuple[dict[str, Any], ...]:
    """Return the schemas of a message, oldest version first."""
    folder = resources.files(__name__)
    found = {
        int(file.name.split(".")[1].removeprefix("v")): json.loads(file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.startswith(f"{name}.v") and file.name.endswith(".avsc")
    }
    return tuple(found[version] for version in sorted(found))


def latest(name: str) -> dict[str, Any]:
    """Return the schema that this version of the toolkit writes."""
    return released(name)[-1]


def full_name(schema: Any) -> str:
    """Return the name of a record schema with its namespace; empty when it is no record."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return ""
    name, space = str(schema.get("name", "")), schema.get("namespace")
    return name if "." in name or not space else f"{space}.{name}"


def name_of(schema: Any) -> str:
    """Return which of our messages a schema is for; empty when for none."""
    return next((name for name in NAMES if full_name(latest(name)) == full_name(schema)), "")


def subject_of(name: str) -> str:
    """Return the registry's subject of a message: topic and record name, since a topic may carry several."""
    return f"{TOPIC_OF[name]}-{full_name(latest(name))}"


def unreadable(writer: Any, reader: Any, path: str = "") -> list[str]:
    """Return why messages written with one schema cannot be read with the other; empty when all of them can.

    Follows Avro's rules of schema resolution for what our schemas use: records, unions, primitives and logical types.
    """
    if isinstance(writer, list):
        return [why for branch in writer for why in unreadable(branch, reader, path)]
    if isinstance(reader, list):
        if any(not unreadable(writer, branch, path) for branch in reader):
            return []
        return [f"{path or 'message'}: no branch reads {_kind(writer)}"]
    if full_name(writer) or full_name(reader):
        return _unreadable_record(writer, reader, path)
    if _logical(writer) != _logical(reader):
        return [f"{path}: {_logical(writer) or _kind(writer)} is not {_logical(reader) or _kind(reader)}"]
    if _kind(writer) == _kind(reader) or _kind(reader) in _PROMOTED.get(_kind(writer), ()):
        return []
    return [f"{path}: {_kind(writer)} cannot be read as {_kind(reader)}"]


def _unreadable_record(writer: Any, reader: Any, path: str) -> list[str]:
    if full_name(writer) != full_name(reader):
        return [
            f"{path or 'message'}: {full_name(writer) or _kind(writer)} is not {full_name(reader) or _kind(reader)}"
        ]
    written = {field["name"]: field["type"] for field in writer["fields"]}
    found = []
    for field in reader["fields"]:
        name = f"{path}.{field['name']}".lstrip(".")
        if field["name"] in written:
            found += unreadable(written[field["name"]], field["type"], name)
        elif "default" not in field:
            found.append(f"{name}: not written, and without a default")
    return found


def _kind(schema: Any) -> str:
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _logical(schema: Any) -> str:
    return str(schema.get("logicalType", "")) if isinstance(schema, dict) else ""


__all__ = ["NAMES", "full_name", "latest", "name_of", "released", "subject_of", "unreadable"]

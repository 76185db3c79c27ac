"""The codec of every message: Avro behind a schema id of the registry (Confluent's wire format and API).

At its start a process looks its schemas up in the registry, registers what is missing, and refuses to work beside a
registered version that it could not read or that could not read it. While it reads, a message whose schema is unknown or does
not fit is refused.
"""

from __future__ import annotations

import io
import json
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from toolkit.errors import BadInput, GatewayError, MissingPackage, must_be
from toolkit.gateways.envelope import MAX_BYTES, EnvelopeRefused
from toolkit.gateways.kafka.schemas import NAMES, latest, name_of, subject_of, unreadable

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

_MAGIC = 0
_HEADER = 5
INSTALL = "Kafka needs its client: pip install 'seatrial[kafka]'"


class Codec:
    """Writes the latest version of each message, reads every version that fits.

    Parameters
    ----------
    client
        A registry client; see `open_codec`.
    """

    def __init__(self, client: SchemaRegistryClient) -> None:
        from fastavro import parse_schema

        self._client = client
        self._ids: dict[str, int] = {}
        self._parsed = {name: parse_schema(latest(name)) for name in NAMES}
        self._writers: dict[int, tuple[str, Any]] = {}
        self._guard = threading.Lock()

    def prepare(self) -> dict[str, int]:
        """Look our schemas up in the registry, register what is missing, and compare with what else is there.

        Returns
        -------
        dict
            The registry's id of each message's schema.

        Raises
        ------
        GatewayError
            When the registry does not answer, refuses a schema, or holds a version that does not fit ours.
        """
        from confluent_kafka.schema_registry import Schema
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            for name in NAMES:  # always in this order: the ids of a registry in memory are then equal in every process
                subject, ours = subject_of(name), Schema(json.dumps(latest(name)), "AVRO")
                for version in self._versions(subject):
                    found = self._client.get_version(subject, version)
                    if found.schema is not None and found.schema.schema_str is not None:
                        _must_fit(name, f"{subject} version {version}", json.loads(found.schema.schema_str))
                try:
                    schema_id = self._client.lookup_schema(subject, ours).schema_id
                except SchemaRegistryError as error:
                    if error.http_status_code != 404:
                        raise
                    schema_id = self._client.register_schema(subject, ours)
                if schema_id is None:
                    raise GatewayError(f"the schema registry gave no id for {subject}")
                self._ids[name] = schema_id
        except SchemaRegistryError as error:
            raise GatewayError(
                must_be(
                    "schema registry",
                    f"willing to take the schema of {name}",
                    f"answering {error.http_status_code}: {str(error.error_message)[:200]}",
                    "grant write on the subject once, or upgrade the side that registered another schema",
                )
            ) from error
        except _transport_errors() as error:
            raise GatewayError(f"the schema registry does not answer: {type(error).__name__}") from error
        return dict(self._ids)

    def encode(self, name: str, record: dict[str, Any]) -> bytes:
        """Return a message's bytes, written with the latest schema."""
        from fastavro import schemaless_writer

        if name not in self._ids:
            self.prepare()
        out = io.BytesIO()
        out.write(bytes([_MAGIC]) + self._ids[name].to_bytes(4, "big"))
        schemaless_writer(out, self._parsed[name], record)
        return out.getvalue()

    def decode(self, value: bytes | None) -> tuple[str, dict[str, Any]]:
        """Return which message it is, and its fields as the latest schema has them.

        Raises
        ------
        EnvelopeRefused
            With ``why`` one of: oversized, malformed, unknown_schema.
        GatewayError
            When the registry does not answer; the same message may be read later.
        """
        from fastavro import schemaless_reader
        from fastavro.read import SchemaResolutionError

        if value is None or len(value) < _HEADER or value[0] != _MAGIC:
            raise _refused(
                "malformed", "message", "Avro with a schema id", "something else", "it was not sent by Seatrial"
            )
        if len(value) > MAX_BYTES:
            raise _refused("oversized", "message", f"at most {MAX_BYTES} bytes", len(value), "send the pointer only")
        name, writer = self._writer(int.from_bytes(value[1:_HEADER], "big"))
        body = io.BytesIO(value[_HEADER:])
        try:
            record = schemaless_reader(body, writer, self._parsed[name])
        except SchemaResolutionError as error:
            raise _refused(
                "unknown_schema", "schema", f"readable as our {name}", str(error)[:200], "upgrade the older side"
            ) from error
        except Exception as error:
            raise _refused(
                "malformed", "message", f"a {name} in Avro", type(error).__name__, "it was not sent by Seatrial"
            ) from error
        if body.read(1) or not isinstance(record, dict):
            raise _refused(
                "malformed", "message", f"one {name} and nothing behind it", "longer", "it was not sent by Seatrial"
            )
        return name, record

    def _writer(self, schema_id: int) -> tuple[str, Any]:
        with self._guard:
            known = self._writers.get(schema_id)
        if known is not None:
            return known
        from confluent_kafka.schema_registry.error import SchemaRegistryError
        from fastavro import parse_schema

        if not self._ids:
            self.prepare()
        try:
            text = self._client.get_schema(schema_id).schema_str
        except SchemaRegistryError as error:
            if error.http_status_code != 404:
                raise GatewayError(f"the schema registry answers {error.http_status_code}") from error
            remedy = "register it (`seatrial kafka setup` on the sender's side), or use one registry for both"
            raise _refused("unknown_schema", "schema id", "known to the registry", schema_id, remedy) from error
        except _transport_errors() as error:
            raise GatewayError(f"the schema registry does not answer: {type(error).__name__}") from error
        try:
            schema = json.loads(text or "null")
            name = name_of(schema)
            if not name:
                raise _refused(
                    "unknown_schema", "schema", "one of ours", f"id {schema_id}", "it was not sent by Seatrial"
                )
            wrong = unreadable(schema, latest(name))
            if wrong:
                raise _refused(
                    "unknown_schema",
                    f"schema id {schema_id}",
                    f"readable as our {name}",
                    "; ".join(wrong)[:200],
                    "upgrade the older side",
                )
            found = name, parse_schema(schema)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _refused(
                "unknown_schema",
                f"schema id {schema_id}",
                "an Avro schema",
                type(error).__name__,
                "it was not registered by Seatrial",
            ) from error
        with self._guard:
            self._writers[schema_id] = found
        return found

    def _versions(self, subject: str) -> list[int]:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return list(self._client.get_versions(subject))
        except SchemaRegistryError as error:
            if error.http_status_code == 404:
                return []
            raise


def open_codec(url: str, ca: str = "") -> Codec:
    """Return the codec over a schema registry; ``mock://NAME`` keeps one in this process.

    Raises
    ------
    BadInput
        When no address is given.
    MissingPackage
        Without the extra ``kafka``.
    """
    if not url:
        raise BadInput(
            must_be(
                "SEATRIAL_SCHEMA_REGISTRY_URL",
                "the address of a schema registry",
                "empty",
                "set it, https://user:password@host with credentials; mock://test keeps one in the process",
            )
        )
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise MissingPackage(INSTALL) from error
    settings: dict[str, Any] = {"url": url}
    if not url.startswith("mock://"):
        settings |= {"timeout": 10, "max.retries": 1}
        if ca:
            settings["ssl.ca.location"] = ca
    return Codec(SchemaRegistryClient.new_client(settings))


def _transport_errors() -> tuple[type[Exception], ...]:
    """Return what the registry's client raises when nobody answers; it uses whichever of the two packages is there."""
    found: list[type[Exception]] = [OSError]
    for package in ("httpx2", "httpx"):
        try:
            found.append(import_module(package).HTTPError)
        except ImportError:
            continue
    return tuple(found)


def _must_fit(name: str, where: str, other: Any) -> None:
    ours = latest(name)
    wrong = unreadable(other, ours) + unreadable(ours, other)
    if wrong:
        raise GatewayError(
            must_be(
                f"schema {where}",
                f"compatible with ours of {name}, both ways",
                "; ".join(wrong)[:300],
                "upgrade the older side; a schema that nobody uses is removed with the registry's DELETE subject version",
            )
        )


def _refused(why: str, what: str, requirement: str, was: object, remedy: str) -> EnvelopeRefused:
    return EnvelopeRefused(why, must_be(what, requirement, was, remedy))


__all__ = ["INSTALL", "Codec", "open_codec"]

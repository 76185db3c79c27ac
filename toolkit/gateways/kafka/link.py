"""The way to Kafka of one process: addresses and credentials, one idempotent producer, consumers, an admin client."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from toolkit.errors import BadInput, GatewayError, MissingPackage, must_be
from toolkit.gateways.kafka.registry import INSTALL
from toolkit.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient

# How long librdkafka tries to deliver a message before its report says that it failed; the outbox keeps it anyway.
DELIVERY_MS = 5_000
_REPORT_SECONDS = DELIVERY_MS / 1000 + 5


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to produce."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(slots=True, eq=False)
class _Reports:
    """Delivery reports of one call, in the order the messages were given."""

    errors: list[str | None]
    missing: int
    all_in: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def note(self, number: int, error: Any, _message: Any) -> None:
        """Take one report."""
        with self.guard:
            self.errors[number] = "" if error is None else str(error.str())
            self.missing -= 1
            if self.missing == 0:
                self.all_in.set()


class KafkaLink:
    """Connects when it is used first; one per process.

    Parameters
    ----------
    settings
        SEATRIAL_KAFKA_* variables.

    Raises
    ------
    BadInput
        Without SEATRIAL_KAFKA_BOOTSTRAP, or with credentials that do not belong together.
    MissingPackage
        Without the extra ``kafka``.
    """

    def __init__(self, settings: Settings) -> None:
        self._common = client_config(settings)
        try:
            import confluent_kafka
        except ImportError as error:
            raise MissingPackage(INSTALL) from error
        self._kafka = confluent_kafka
        self._producer: Producer | None = None
        self._guard = threading.Lock()
        self._waiting: list[_Reports] = []
        self._closed = threading.Event()
        self._reporter: threading.Thread | None = None

    def send(self, messages: Sequence[Outgoing]) -> tuple[int, str]:
        """Produce in order and wait for every delivery report.

        Returns
        -------
        tuple
            How many of the first messages all in-sync replicas have, and why the next one failed; empty when none did.
        """
        reports = _Reports([None] * len(messages), len(messages))
        with self._guard:
            self._waiting.append(reports)
        try:
            return self._send(messages, reports)
        finally:
            with self._guard:
                self._waiting.remove(reports)

    def consumer(self, group: str, **config: Any) -> Consumer:
        """Return a consumer of a group that reads what is committed, and commits only what it is told to."""
        base = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 100,
        }
        return self._kafka.Consumer(self._common | base | config)

    def admin(self) -> AdminClient:
        """Return an admin client."""
        from confluent_kafka.admin import AdminClient

        return AdminClient(dict(self._common))

    def ping(self) -> None:
        """Ask for a sign of life; GatewayError when there is none."""
        try:
            self._open_producer().list_topics(timeout=3)
        except self._kafka.KafkaException as error:
            raise GatewayError(f"Kafka does not answer: {error.args[0].str()}") from error

    def close(self) -> None:
        """Send what is under way and go; safe to call twice."""
        self._closed.set()
        with self._guard:
            producer, self._producer = self._producer, None
        if producer is not None:
            producer.flush(DELIVERY_MS / 1000)
        if self._reporter is not None:
            self._reporter.join(2)

    def _send(self, messages: Sequence[Outgoing], reports: _Reports) -> tuple[int, str]:
        producer = self._open_producer()
        try:
            for number, one in enumerate(messages):
                headers: list[tuple[str, str | bytes | None]] = list(one.headers)
                producer.produce(
                    one.topic, key=one.key, value=one.value, headers=headers, on_delivery=partial(reports.note, number)
                )
        except (self._kafka.KafkaException, BufferError) as error:
            self._renew(producer)
            if not messages or reports.errors[0] is None:
                return 0, str(error)
        if not reports.all_in.wait(_REPORT_SECONDS):
            self._renew(producer)
        taken = 0
        for said in list(reports.errors):
            if said != "":
                return taken, said or "no delivery report in time"
            taken += 1
        return taken, ""

    def _open_producer(self) -> Producer:
        with self._guard:
            if self._producer is None:
                own = {
                    "enable.idempotence": True,
                    "acks": "all",
                    "linger.ms": 0,
                    "delivery.timeout.ms": DELIVERY_MS,
                    "partitioner": "consistent",  # see `toolkit.gateways.kafka.topics.partition_of`
                    "message.max.bytes": 1_000_000,
                    "allow.auto.create.topics": False,
                }
                self._producer = self._kafka.Producer(self._common | own)
                if self._reporter is None:
                    self._reporter = threading.Thread(target=self._report, name="kafka-reports", daemon=True)
                    self._reporter.start()
            return self._producer

    def _renew(self, broken: Producer) -> None:
        # After a fatal error, e.g. a broker that has lost what it had confirmed, a producer sends nothing any more.
        with self._guard:
            if self._producer is broken:
                self._producer = None

    def _report(self) -> None:
        while not self._closed.is_set():
            producer = self._producer
            if producer is None:
                time.sleep(0.01)
                continue
            try:
                producer.poll(0.1)
            except self._kafka.KafkaException:  # fatal; librdkafka has written why
                self._renew(producer)
                with self._guard:
                    waiting = list(self._waiting)
                for reports in waiting:  # the broken one reports nothing any more
                    reports.all_in.set()


def client_config(settings: Settings) -> dict[str, Any]:
    """Return what every client of Kafka is told: where it is, and who we are.

    Raises
    ------
    BadInput
        With the remedy.
    """
    if not settings.kafka_bootstrap:
        raise BadInput(
            must_be(
                "SEATRIAL_KAFKA_BOOTSTRAP",
                "host:port of a Kafka broker",
                "empty",
                "set it, several separated by commas",
            )
        )
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": "seatrial",
        "security.protocol": settings.kafka_security,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "socket.keepalive.enable": True,
        "log_level": 2,
    }
    password = settings.kafka_password.get_secret_value()
    if settings.kafka_security.startswith("SASL"):
        if not settings.kafka_username or not password:
            raise BadInput(
                must_be(
                    "SEATRIAL_KAFKA_USERNAME and SEATRIAL_KAFKA_PASSWORD",
                    f"set with SEATRIAL_KAFKA_SECURITY={settings.kafka_security}",
                    "empty",
                    "make a user for Seatrial, see docs/guides/kafka.md",
                )
            )
        config |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_username,
            "sasl.password": password,
        }
    elif settings.kafka_username or password:
        raise BadInput(
            must_be(
                "SEATRIAL_KAFKA_SECURITY", "SASL_SSL with a user's name", settings.kafka_security, "set it to SASL_SSL"
            )
        )
    if settings.kafka_ca:
        config["ssl.ca.location"] = settings.kafka_ca
    return config


__all__ = ["DELIVERY_MS", "KafkaLink", "Outgoing", "client_config"]

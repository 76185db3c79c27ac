"""The page of metrics and the answer to "are you well?", the same for a worker and for ``panel serve``."""

from __future__ import annotations

import hmac
import ipaddress

from sqlalchemy import text

from toolkit.live.engine import Engine
from toolkit.store.reading.pulse import read_pulse

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(engine: Engine) -> str:
    """Return this process's counters together with how the installation stands now, in Prometheus' text format."""
    metrics = engine.metrics
    with engine.work(engine.service, write=False) as work:
        pulse = read_pulse(work.connection, engine.now())
    for state, count in pulse.intents.items():
        metrics.gauge("intents_now", count, state=state)
    for status, count in pulse.runs.items():
        metrics.gauge("runs_now", count, status=status)
    for name in (
        "outbox_waiting",
        "oldest_unknown_seconds",
        "oldest_new_seconds",
        "oldest_outbox_seconds",
        "oldest_heartbeat_seconds",
        "late_fills",
    ):
        metrics.gauge(name, getattr(pulse, name))
    return metrics.exposition()


def database_trouble(engine: Engine) -> str:
    """Return what keeps the database from answering, as the name of the error; empty while it answers."""
    try:
        with engine.work(engine.service, write=False) as work:
            work.connection.execute(text("SELECT 1")).scalar_one()
    except Exception as error:  # noqa: BLE001 - whatever the driver raised, the answer is the same: not healthy
        return type(error).__name__
    return ""


def may_scrape(remote: str, authorization: str, token: str, *, forwarded: bool = False) -> bool:
    """Whether a caller may read metrics and health.

    Parameters
    ----------
    remote
        Address that the connection comes from.
    authorization
        Its ``Authorization`` header.
    token
        ``SEATRIAL_METRICS_TOKEN``; when set, every caller must send it as ``Bearer TOKEN``, else only this host may read.
    forwarded
        Whether a proxy passed the request on: the address is then the proxy's and proves nothing.
    """
    if token:
        return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())
    return not forwarded and is_loopback(remote)


def is_loopback(address: str) -> bool:
    """Whether an address can only be reached from this host."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False

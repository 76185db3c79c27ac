"""Telling other processes over Redis that the database has news: a hint to look at once, never the news itself.

Whoever watches the database polls it anyway, so a hint that is lost, or a Redis that is gone, only makes it look later.
"""

from __future__ import annotations

import hashlib
import importlib.util
from threading import Event, Lock, Thread
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine, event

from toolkit.settings import Settings
from toolkit.store.sql.unit_of_work import READ_ONLY

_LOG = structlog.get_logger(__name__)
GAP_SECONDS: Final = 0.05
AGAIN_SECONDS: Final = 5.0


def redis_is_configured(settings: Settings) -> bool:
    """Whether these settings name a Redis and its client is installed; the default address alone names none."""
    named = "redis_url" in settings.model_fields_set or settings.gateway == "redis"
    return named and importlib.util.find_spec("redis") is not None


def news_channel(settings: Settings) -> str:
    """Return the channel on which hints about this database go; other databases on the same Redis have other ones."""
    name = hashlib.sha256(settings.effective_database_url.encode()).hexdigest()[:16]
    return f"seatrial:news:{name}"


class NewsBell:
    """Publishes that something was committed, from a thread of its own: a commit never waits for Redis.

    Commits that follow one another within `GAP_SECONDS` are one hint.
    """

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel
        self._due = Event()
        self._closed = Event()
        self._lock = Lock()
        self._thread: Thread | None = None

    def ring(self) -> None:
        """Note that there is news; returns at once."""
        self._due.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closed.is_set():
                    self._thread = Thread(target=self._run, name="seatrial-news", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """End the thread; a hint that has not gone out is dropped."""
        self._closed.set()
        self._due.set()

    def on_commits_of(self, database: Engine) -> None:
        """Ring after every commit of a writing transaction."""

        def committed(connection: Connection) -> None:
            if not connection.get_execution_options().get(READ_ONLY):
                self.ring()

        event.listen(database, "commit", committed)

    def _run(self) -> None:
        import redis

        client: Any = redis.Redis.from_url(self._url, socket_timeout=2.0, socket_connect_timeout=2.0)
        reachable = True
        while self._due.wait() and not self._closed.is_set():
            self._due.clear()
            try:
                client.publish(self._channel, b"1")
                reachable = True
            except (redis.RedisError, OSError) as error:
                if reachable:
                    _LOG.warning("news_not_sent", error=type(error).__name__)
                reachable = False
            self._closed.wait(GAP_SECONDS if reachable else AGAIN_SECONDS)
        client.close()

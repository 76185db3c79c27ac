"""Being woken over Redis when something was committed, so that the store looks at once instead of at its next turn."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final

import structlog

_log = structlog.get_logger(__name__)
LISTEN_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 2.0


class RedisWake:
    """Listens on a channel and calls ``wake`` for every hint; where Redis is gone it tries again and wakes nobody.

    Parameters
    ----------
    url, channel
        See `toolkit.live.outside.news`.
    wake
        Called on the listener's thread; must not wait for anything.
    """

    def __init__(self, url: str, channel: str, wake: Callable[[], None]) -> None:
        self._url = url
        self._channel = channel
        self._wake = wake
        self._closed = Event()
        self.listening = Event()
        self._thread = Thread(target=self._run, name="seatrial-redis-wake", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; returns at once."""
        self._closed.set()

    def _run(self) -> None:
        import redis

        while not self._closed.is_set():
            client: Any = redis.Redis.from_url(self._url, socket_connect_timeout=2.0)
            try:
                self._listen(client)
            except (redis.RedisError, OSError) as error:
                if self.listening.is_set():
                    _log.warning("panel_redis_lost", error=type(error).__name__)
                self.listening.clear()
                self._closed.wait(AGAIN_SECONDS)
            finally:
                client.close()

    def _listen(self, client: Any) -> None:
        with client.pubsub(ignore_subscribe_messages=False) as hints:
            hints.subscribe(self._channel)
            while not self._closed.is_set():
                found = hints.get_message(timeout=LISTEN_SECONDS)
                if found is None:
                    continue
                if found["type"] == "subscribe":
                    self.listening.set()
                self._wake()  # also once after a reconnect: hints may have been missed

"""One store per process: it polls the database for everybody and lets each session take what changed, at its own pace.

A *topic* is what one principal may see of the fleet or of one run. The store's thread asks the database with cursor queries
for the topics that somebody watches; a session keeps only the sequence numbers it has seen. So a session that is slow, or
whose browser is gone, costs the store nothing: no queue grows for it, and it is merely told, without waiting, that something
is new.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Protocol
from uuid import UUID
from weakref import WeakValueDictionary

import structlog
from sqlalchemy import Engine

from panel_app.data_store.topics import FleetTopic, ListTopic, RunTopic, Topic
from toolkit import clock
from toolkit.errors import ToolkitError
from toolkit.store.people.operations import Operations
from toolkit.store.reading.queries import Reader, ReadSide
from toolkit.store.reading.seen import SeenRows

_log = structlog.get_logger(__name__)
LEAST_SECONDS = 0.1  # between two polls, however much news there is
TELL_ANYWAY_SECONDS = 5.0  # ages on a page grow even when nothing happens


class Closes(Protocol):
    """Something that is ended."""

    def close(self) -> None:
        """End it."""


class Subscription:
    """A session's interest in a topic; ``close`` ends it and is safe to call twice."""

    def __init__(self, store: DataStore, topic: Topic, wake: Callable[[], None]) -> None:
        self._store = store
        self.topic = topic
        self.wake = wake

    def close(self) -> None:
        """Stop being told of news."""
        self._store._drop(self)


class DataStore:
    """What all sessions of one process share.

    Parameters
    ----------
    engine
        The database.
    home
        The data folder, where replay bars are kept.
    principal
        Whose view is shown where nobody logged in (a notebook, or a page on loopback without users).
    interval_seconds
        Time between two polls while somebody watches.
    listen
        Given a function that makes the store poll at once, begins to call it when there may be news, and returns what is
        closed when nobody watches any more; None: the store only polls.
    """

    def __init__(
        self,
        engine: Engine,
        home: Path,
        principal: Reader,
        *,
        interval_seconds: float = 0.5,
        listen: Callable[[Callable[[], None]], Closes] | None = None,
    ) -> None:
        self.read = ReadSide(engine)
        self.operations = Operations(engine)
        self.seen = SeenRows(engine)
        self.engine = engine
        self.home = home
        self.principal = principal
        self.interval_seconds = interval_seconds
        self.failure = ""  # why the last poll failed; empty while all is well
        self.polled_at: datetime | None = None
        self._topics: WeakValueDictionary[Hashable, Topic] = WeakValueDictionary()  # alive while a view holds them
        self._watchers: dict[Topic, list[Subscription]] = {}
        self._told: dict[Topic, float] = {}
        self._lock = Lock()
        self._polling = Lock()
        self._stop = Event()
        self._listen = listen
        self._news = Event()
        self._thread: Thread | None = None

    # ---- for sessions

    def fleet(self, reader: Reader | None = None) -> FleetTopic:
        """Return the fleet as that principal sees it, read once if nobody watched it before."""
        who = reader or self.principal
        topic = self._topic(
            ("fleet", who.user_id), lambda: FleetTopic(self.read, self.operations, self.seen, who, self.home)
        )
        assert isinstance(topic, FleetTopic)
        return topic

    def run(self, run_id: UUID, reader: Reader | None = None) -> RunTopic:
        """Return one run; `NotFound` when the principal may not see it."""
        who = reader or self.principal
        topic = self._topic(
            ("run", who.user_id, run_id),
            lambda: RunTopic(self.read, self.operations, self.seen, who, run_id, self.home),
        )
        assert isinstance(topic, RunTopic)
        return topic

    def listing(self, name: str, query: Callable[[Reader], object], reader: Reader | None = None) -> ListTopic:
        """Return a list that ``query`` reads, shared by the sessions of that principal under ``name``."""
        who = reader or self.principal
        topic = self._topic(("list", name, who.user_id), lambda: ListTopic(lambda: query(who)))
        assert isinstance(topic, ListTopic)
        return topic

    def watch(self, topic: Topic, wake: Callable[[], None]) -> Subscription:
        """Be told when a topic changed. ``wake`` runs on the store's thread and must not wait for anything."""
        subscription = Subscription(self, topic, wake)
        with self._lock:
            self._watchers.setdefault(topic, []).append(subscription)
            if self._thread is None and not self._stop.is_set():
                self._thread = Thread(target=self._run, name="seatrial-data-store", daemon=True)
                self._thread.start()
        return subscription

    @property
    def watched(self) -> int:
        """Number of subscriptions."""
        with self._lock:
            return sum(len(watchers) for watchers in self._watchers.values())

    def close(self) -> None:
        """End the thread and forget all subscriptions."""
        self._stop.set()
        self._news.set()
        with self._lock:
            thread, self._thread = self._thread, None
            self._watchers.clear()
            self._topics.clear()
        if thread is not None:
            thread.join(timeout=5)

    # ---- the thread

    def poll(self) -> None:
        """Read every watched topic once and tell those whose topic changed."""
        with self._lock:
            work = list(self._watchers)
        failure = ""
        for topic in work:
            changed = False
            try:
                with self._polling:
                    changed = topic.poll()
            except ToolkitError as error:
                failure = str(error)
            except Exception as error:  # noqa: BLE001 - any database driver error: shown on the page, tried again
                _log.warning("panel_poll_failed", topic=type(topic).__name__, error=str(error))
                failure = f"the database cannot be read: {type(error).__name__}"
            quiet = clock.SYSTEM.monotonic() - self._told.get(topic, 0.0) >= TELL_ANYWAY_SECONDS
            if changed or quiet or failure != self.failure:
                self._tell(topic)
        self.failure = failure
        self.polled_at = clock.now()

    def _run(self) -> None:
        listener = self._listen(self._news.set) if self._listen is not None else None
        try:
            while True:
                self._news.wait(self.interval_seconds)
                self._news.clear()
                with self._lock:
                    if self._stop.is_set() or not self._watchers:
                        self._thread = None
                        return
                self.poll()
                self._stop.wait(min(LEAST_SECONDS, self.interval_seconds))
        finally:
            if listener is not None:
                listener.close()

    def _tell(self, topic: Topic) -> None:
        with self._lock:
            watchers = list(self._watchers.get(topic, ()))
            self._told[topic] = clock.SYSTEM.monotonic()
        for watcher in watchers:
            try:
                watcher.wake()
            except Exception as error:  # noqa: BLE001 - a session that is going away must not stop the others
                _log.warning("panel_session_lost", error=str(error))
                self._drop(watcher)

    def _topic(self, key: Hashable, make: Callable[[], Topic]) -> Topic:
        with self._lock:
            topic = self._topics.get(key)
            watched = topic in self._watchers
        if topic is None:
            topic = make()
            watched = False
        if not watched:
            with self._polling:
                topic.poll()  # nobody has been keeping it up to date
        with self._lock:
            return self._topics.setdefault(key, topic)

    def _drop(self, subscription: Subscription) -> None:
        topic = subscription.topic
        with self._lock:
            watchers = self._watchers.get(topic, [])
            if subscription in watchers:
                watchers.remove(subscription)
            if not watchers:
                self._watchers.pop(topic, None)
                self._told.pop(topic, None)

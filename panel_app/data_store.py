"""One store per process: it polls the database for everybody and lets each session take what changed, at its own pace.

A *topic* is what one principal may see of the fleet or of one run. The store's thread asks the database with cursor queries
for the topics that somebody watches; a session keeps only the sequence numbers it has seen. So a session that is slow, or
whose browser is gone, costs the store nothing: no queue grows for it, and it is merely told, without waiting, that something
is new.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Protocol
from uuid import UUID
from weakref import WeakValueDictionary

import structlog
from sqlalchemy import Engine

from panel_app.change_log import ChangeLog
from panel_app.charts.series import EquityCurve
from panel_app.marks import Marker, bars_of
from toolkit import clock
from toolkit.errors import NotFound, ToolkitError
from toolkit.store.people.operations import Operations, StopMove
from toolkit.store.reading.queries import EVENT_OVERLAP, OVERLAP, Reader, ReadSide, Totals
from toolkit.store.reading.records import EventRow, FleetRow, IntentRow, RunDetail, TradeRow

_log = structlog.get_logger(__name__)
KEEP_ROWS = 500
LIST_SECONDS = 1.0
ACTIVE = ("RUNNING", "PAUSED", "STOPPING", "ERROR")
DRIFT_SECONDS = 15.0
TELL_ANYWAY_SECONDS = 5.0  # ages on a page grow even when nothing happens


class Topic(Protocol):
    """Something that can be watched."""

    def poll(self) -> bool:
        """Ask the database; return whether anything is new."""


class FleetTopic:
    """Every run that a principal may see."""

    def __init__(self, read: ReadSide, operations: Operations, reader: Reader, home: Path) -> None:
        self.runs: ChangeLog[UUID, FleetRow] = ChangeLog(lambda row: row.live_run_id)
        self._read = read
        self._operations = operations
        self._drifts: dict[UUID, Decimal] = {}
        self._drift_read: float | None = None
        self._reader = reader
        self._totals = Totals()
        self._marker = Marker(read, reader, home)

    def poll(self) -> bool:
        """Read all runs; trades are summed up incrementally."""
        rows = self._marker.mark(self._read.fleet(self._reader, totals=self._totals))
        bases = self._operations.day_bases(self._reader, [row.live_run_id for row in rows if row.status in ACTIVE])
        drifts = self._measured(rows)
        return self.runs.replace(
            [replace(row, day_base=bases.get(row.live_run_id), drift=drifts.get(row.live_run_id)) for row in rows]
        )

    def _measured(self, rows: list[FleetRow]) -> dict[UUID, Decimal]:
        # Measured once an hour by the watchdog, so a look now and then is enough.
        now = clock.SYSTEM.monotonic()
        if self._drift_read is None or now - self._drift_read >= DRIFT_SECONDS:
            self._drift_read = now
            found = self._operations.drifts(self._reader, [row.live_run_id for row in rows])
            self._drifts = {run_id: Decimal(gap) for run_id, gap in found.items()}
        return self._drifts


class RunTopic:
    """One run: its row, intents, trades, events, bars and equity curve.

    Attributes
    ----------
    detail
        What of the run never changes.
    bars
        All bars that its replay holds, or None when they are not on this machine.
    """

    def __init__(self, read: ReadSide, operations: Operations, reader: Reader, run_id: UUID, home: Path) -> None:
        self.run_id = run_id
        self.home = home
        self.reader = reader
        self.operations = operations
        self.moves: dict[str, list[StopMove]] = {}
        self.detail: RunDetail = read.run_detail(reader, run_id)
        self.row: FleetRow = read.run(reader, run_id)
        self.intents: ChangeLog[UUID, IntentRow] = ChangeLog(lambda row: row.intent_id, keep=KEEP_ROWS)
        self.trades: ChangeLog[UUID, TradeRow] = ChangeLog(lambda row: row.trade_id)
        self.events: ChangeLog[int, EventRow] = ChangeLog(lambda row: row.event_id, keep=KEEP_ROWS)
        self.bars, self.bars_missing = bars_of(self.detail, home)
        self.curve = EquityCurve(self.bars, self.row.capital, self.row.currency)
        self._read = read
        self._reader = reader
        self._totals = Totals()
        self._marker = Marker(read, reader, home)
        self._since: dict[str, datetime] = {}
        self._last_event = 0

    @property
    def stop(self) -> int:
        """How many of ``bars`` the run has seen."""
        if self.bars is None or self.row.cursor is None:
            return 0
        return int(self.bars.ts.searchsorted(clock.to_ns(self.row.cursor), side="right"))

    def poll(self) -> bool:
        """Read what changed of the run since the last time."""
        read, reader, run_id = self._read, self._reader, self.run_id
        runs = read.fleet(reader, totals=self._totals, run_id=run_id)
        if not runs:
            raise NotFound(f"run {run_id} is no longer visible to you")
        (row,) = self._marker.mark(runs)
        row = replace(row, day_base=self.operations.day_bases(reader, [run_id]).get(run_id))
        changed = row != self.row
        self.row = row
        intents = read.intents(reader, run_id=run_id, changed_since=self._from("intents"), limit=KEEP_ROWS)
        intents.reverse()
        if self.intents.put(intents):
            changed = True
            self.moves = _by_position(self.operations.stop_moves(reader, run_id))
        trades = read.trades(reader, run_id=run_id, changed_since=self._from("trades"))
        new_trades = self.trades.put(trades)
        self._seen("intents", [row.updated_at for row in intents])
        self._seen("trades", [row.updated_at for row in trades])
        events = read.events(reader, run_id=run_id, after=max(0, self._last_event - EVENT_OVERLAP), limit=KEEP_ROWS)
        changed |= self.events.put(events)
        if events:
            self._last_event = max(self._last_event, events[-1].event_id)
        if changed or new_trades:
            self.curve.update(self.stop, list(self.trades))
        return changed or new_trades

    def _from(self, what: str) -> datetime | None:
        since = self._since.get(what)
        return None if since is None else since - OVERLAP

    def _seen(self, what: str, moments: list[datetime]) -> None:
        if moments:
            self._since[what] = max([*moments, self._since.get(what, moments[0])])


def _by_position(moves: list[StopMove]) -> dict[str, list[StopMove]]:
    found: dict[str, list[StopMove]] = {}
    for move in moves:
        found.setdefault(move.position_id, []).append(move)
    return found


class ListTopic:
    """Rows of a plain list, such as the accounts; read at most once every `LIST_SECONDS`."""

    def __init__(self, query: Callable[[], object]) -> None:
        self.rows: object = query()
        self._query = query
        self._read_at = clock.SYSTEM.monotonic()

    def poll(self) -> bool:
        """Read the list again when it is old enough."""
        if clock.SYSTEM.monotonic() - self._read_at < LIST_SECONDS:
            return False
        rows, self._read_at = self._query(), clock.SYSTEM.monotonic()
        changed = rows != self.rows
        self.rows = rows
        return changed


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
    """

    def __init__(self, engine: Engine, home: Path, principal: Reader, *, interval_seconds: float = 0.5) -> None:
        self.read = ReadSide(engine)
        self.operations = Operations(engine)
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
        self._thread: Thread | None = None

    # ---- for sessions

    def fleet(self, reader: Reader | None = None) -> FleetTopic:
        """Return the fleet as that principal sees it, read once if nobody watched it before."""
        who = reader or self.principal
        topic = self._topic(("fleet", who.user_id), lambda: FleetTopic(self.read, self.operations, who, self.home))
        assert isinstance(topic, FleetTopic)
        return topic

    def run(self, run_id: UUID, reader: Reader | None = None) -> RunTopic:
        """Return one run; `NotFound` when the principal may not see it."""
        who = reader or self.principal
        topic = self._topic(
            ("run", who.user_id, run_id), lambda: RunTopic(self.read, self.operations, who, run_id, self.home)
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
        while not self._stop.wait(self.interval_seconds):
            with self._lock:
                if not self._watchers:
                    self._thread = None
                    return
            self.poll()

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

"""What can be watched: the fleet, one run, a plain list, each as one principal may see it; all read with cursor queries."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from panel_app.charts.series import EquityCurve
from panel_app.data_store.change_log import ChangeLog
from panel_app.data_store.marks import Marker, bars_of, is_live
from panel_app.data_store.seen import SeenSeries
from toolkit import clock
from toolkit.errors import NotFound
from toolkit.store.people.operations import DayMark, Operations, StopMove
from toolkit.store.reading.queries import EVENT_OVERLAP, OVERLAP, Reader, ReadSide, Totals
from toolkit.store.reading.records import EventRow, FleetRow, IntentRow, RunDetail, TradeRow
from toolkit.store.reading.seen import SeenRows
from toolkit.store.upkeep.alerts import AlertRow

T = TypeVar("T")
KEEP_ROWS = 500
LIST_SECONDS = 1.0
ACTIVE = ("RUNNING", "PAUSED", "STOPPING", "ERROR")
DRIFT_SECONDS = 15.0


class Topic(Protocol):
    """Something that can be watched."""

    def poll(self) -> bool:
        """Ask the database; return whether anything is new."""


class FleetTopic:
    """Every run that a principal may see."""

    def __init__(self, read: ReadSide, operations: Operations, seen: SeenRows, reader: Reader, home: Path) -> None:
        self.runs: ChangeLog[UUID, FleetRow] = ChangeLog(lambda row: row.live_run_id)
        self._read = read
        self._operations = operations
        self._prepared: dict[Hashable, Any] = {}
        self._drifts: dict[UUID, Decimal] = {}
        self._drift_read: float | None = None
        self._reader = reader
        self._totals = Totals()
        self._marker = Marker(read, seen, reader, home)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` makes, the same object for all sessions until the next poll.

        Sessions that show the same thing share the work of preparing it; they must not change it.
        """
        prepared = self._prepared
        if key not in prepared:
            prepared[key] = make()
        found: T = prepared[key]
        return found

    def poll(self) -> bool:
        """Read all runs; trades are summed up incrementally."""
        rows = self._marker.mark(self._read.fleet(self._reader, totals=self._totals))
        marks = self._operations.day_marks(self._reader, [row.live_run_id for row in rows if row.status in ACTIVE])
        bases = {run_id: mark.base for run_id, mark in marks.items()}
        drifts = self._measured(rows)
        changed = self.runs.replace(
            [replace(row, day_base=bases.get(row.live_run_id), drift=drifts.get(row.live_run_id)) for row in rows]
        )
        self._prepared = {}
        return changed

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
        All bars that its replay holds, or those that a run on live quotes has seen so far; None when there are none here.
    bars_missing
        Why there are none.
    """

    def __init__(
        self, read: ReadSide, operations: Operations, seen: SeenRows, reader: Reader, run_id: UUID, home: Path
    ) -> None:
        self.run_id = run_id
        self.home = home
        self.reader = reader
        self.operations = operations
        self.day: DayMark | None = None
        self.alerts: list[AlertRow] = []  # that stand now and name this run
        self.moves: dict[str, list[StopMove]] = {}
        self.detail: RunDetail = read.run_detail(reader, run_id)
        self.row: FleetRow = read.run(reader, run_id)
        self.intents: ChangeLog[UUID, IntentRow] = ChangeLog(lambda row: row.intent_id, keep=KEEP_ROWS)
        self.trades: ChangeLog[UUID, TradeRow] = ChangeLog(lambda row: row.trade_id)
        self.events: ChangeLog[int, EventRow] = ChangeLog(lambda row: row.event_id, keep=KEEP_ROWS)
        self.bars, self.bars_missing = bars_of(self.detail, home)
        self._live = SeenSeries(seen, reader, self.row, self.detail) if is_live(self.detail) else None
        self._follow_quotes()
        self.curve = EquityCurve(self.bars, self.row.capital, self.row.currency)
        self._read = read
        self._reader = reader
        self._totals = Totals()
        self._marker = Marker(read, seen, reader, home)
        self._since: dict[str, datetime] = {}
        self._alerts_read: float | None = None
        self._last_event = 0

    @property
    def live(self) -> bool:
        """Whether the run reads its bars from the platform, so that `bars` grows."""
        return self._live is not None

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
        self.day = self.operations.day_marks(reader, [run_id]).get(run_id)
        row = replace(row, day_base=None if self.day is None else self.day.base)
        changed = row != self.row
        self.row = row
        changed |= self._follow_quotes() | self._follow_alerts()
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
            self.curve.update(self.stop, list(self.trades), self.bars)
        return changed or new_trades

    def _follow_quotes(self) -> bool:
        if self._live is None or not self._live.update(self.row.cursor):
            return False
        self.bars, self.bars_missing = self._live.bars, self._live.missing
        return True

    def _follow_alerts(self) -> bool:
        now = clock.SYSTEM.monotonic()
        if self._alerts_read is not None and now - self._alerts_read < DRIFT_SECONDS:
            return False
        self._alerts_read = now
        found = self.operations.alerts(self._reader, self.run_id)
        changed, self.alerts = found != self.alerts, found
        return changed

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

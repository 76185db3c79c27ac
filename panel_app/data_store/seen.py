"""The bars of a run on live quotes: those it has seen, growing as it sees more."""

from __future__ import annotations

import json
from datetime import datetime
from uuid import UUID

import numpy as np

from toolkit.clock import to_ns
from toolkit.errors import ToolkitError
from toolkit.live.stepping.run_state import decode
from toolkit.live.stepping.sources.platform_feed import feed_name
from toolkit.market import Bars, Instrument
from toolkit.store.reading.queries import Reader
from toolkit.store.reading.records import FleetRow, RunDetail
from toolkit.store.reading.seen import Columns, SeenRows

MOST_BARS = 50_000  # read when a run is first looked at; what it sees later is added

NOTHING_YET = "this run has not seen a bar yet"
NOT_KEPT = "the bars this run saw are kept no longer"


class SeenSeries:
    """The first symbol's bars of one run on live quotes.

    Parameters
    ----------
    most
        How many of them are read at once, the newest.
    only_newest
        Forget what was read before when there is something newer.

    Attributes
    ----------
    bars
        What is known so far; rows are only ever added at the end. None before the first.
    missing
        Why there are none.
    """

    def __init__(
        self,
        rows: SeenRows,
        reader: Reader,
        row: FleetRow,
        detail: RunDetail,
        *,
        most: int = MOST_BARS,
        only_newest: bool = False,
    ) -> None:
        self.bars: Bars | None = None
        self.missing = NOTHING_YET
        self._rows = rows
        self._reader = reader
        self._run_id: UUID = row.live_run_id
        self._symbol = row.symbols[0]
        self._timeframe = row.timeframe
        self._most = most
        self._only_newest = only_newest
        self._until = 0
        self._instrument = Instrument.from_facts(json.loads(detail.instruments_json)[self._symbol])
        self._feed = feed_name(rows.account(row.account_id))

    def update(self, cursor: datetime | None) -> bool:
        """Read the bars up to the run's cursor; return whether there were new ones."""
        until = 0 if cursor is None else to_ns(cursor)
        if until <= self._until:
            return False
        self._until = until
        after = int(self.bars.ts[-1]) if self.bars is not None else self._first_ns() - 1
        found = self._rows.bars(
            self._reader, self._run_id, feed=self._feed, symbol=self._symbol, after_ns=after, until_ns=until,
            most=self._most,
        )  # fmt: skip
        if found is None:
            self.missing = NOT_KEPT if self.bars is None else ""
            return False
        if self.bars is not None and not self._only_newest:
            old = {"ts": self.bars.ts, "volume": _volume(self.bars), **self.bars.columns}
            found = {name: np.concatenate([old[name], values]) for name, values in found.items()}
        self.bars, self.missing = self._made(found), ""
        return True

    def _made(self, columns: Columns) -> Bars:
        volume = columns.pop("volume")
        known = None if np.isnan(volume).any() else volume
        ts = columns.pop("ts")
        return Bars.from_arrays(self._symbol, self._timeframe, ts, instrument=self._instrument, volume=known, **columns)

    def _first_ns(self) -> int:
        try:
            memory = decode(self._rows.state(self._reader, self._run_id))[0].extra
        except ToolkitError:
            return 0  # written by another toolkit: show what is kept
        return int(memory.get("first_ns", 0))


def _volume(bars: Bars) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.full(len(bars), np.nan) if bars.volume is None else bars.volume

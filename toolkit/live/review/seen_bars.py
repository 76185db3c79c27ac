"""The bars a run really saw, and those it should have seen."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import select

from toolkit.clock import from_ns, to_ns
from toolkit.errors import NotFound
from toolkit.live.engine import Engine
from toolkit.live.feed import FeedSpec, stored_bars
from toolkit.live.stepping.run_state import decode
from toolkit.live.stepping.sources.platform_feed import feed_name
from toolkit.market import Bars, Instrument
from toolkit.store.people.accounts import read_account
from toolkit.store.runs import RunRecord, VersionRecord
from toolkit.store.sql.models import BarSeen

_SEEN: Any = BarSeen.__table__
_COLUMNS = ("bid_open", "bid_high", "bid_low", "bid_close", "ask_open", "ask_high", "ask_low", "ask_close")


@dataclass(frozen=True, slots=True)
class SeenBars:
    """A run's series up to its cursor.

    Attributes
    ----------
    seen
        What the run decided on.
    full
        The same stretch as the venue knows it; equal to ``seen`` where nothing was lost.
    conversion
        Series that money was converted with, by symbol.
    first_fill
        First row at whose open the run could fill; what lies before only warmed it up.
    """

    seen: Bars
    full: Bars
    conversion: dict[str, Bars]
    first_fill: int = 0

    @property
    def missed(self) -> tuple[str, ...]:
        """Opens of the bars that the venue had and the run did not see, ISO 8601."""
        lost = np.setdiff1d(self.full.ts, self.seen.ts)
        return tuple(from_ns(int(ts)).isoformat() for ts in lost)


def seen_bars(engine: Engine, run: RunRecord, version: VersionRecord) -> SeenBars:
    """Read back what a run saw.

    Raises
    ------
    NotFound
        When the run has not seen a bar yet, or its bars are kept no longer.
    """
    if run.cursor is None:
        raise NotFound(f"run {run.live_run_id} has not seen a bar yet: wait for its first one")
    feed = FeedSpec.from_dict(json.loads(run.feed_json))
    # One bar more than the cursor: the decision of the last bar is carried out at the next one's open.
    if feed.kind == "replay":
        home = engine.settings.home
        seen = next(b for b in (stored_bars(home, f) for f in feed.series) if b.symbol == run.symbol)
        full = stored_bars(home, feed.venue) if feed.venue else seen
        end = int(seen.ts.searchsorted(to_ns(run.cursor), side="right")) + 1
        last = int(seen.ts[min(end, len(seen)) - 1])
        further = {b.symbol: b for b in (stored_bars(home, f) for f in feed.conversion)}
        return SeenBars(seen[:end], full[: int(full.ts.searchsorted(last, side="right"))], further)
    memory = decode(run.state)[0].extra
    memory = memory.get("spans", {}).get(run.symbol, memory)
    bars = _kept(engine, run, version, int(memory.get("first_ns", 0)))
    warm_to = int(memory.get("warm_to_ns", 0))
    return SeenBars(bars, bars, {}, int(bars.ts.searchsorted(warm_to, side="right")) + 1 if warm_to else 0)


def seen_of_each(engine: Engine, run: RunRecord, version: VersionRecord) -> dict[str, SeenBars]:
    """Read back what a run on several symbols saw of each.

    Of a replay up to the moment after the cursor; of a live feed up to each symbol's own cursor.
    """
    cursors = decode(run.state)[0].cursors
    found = {}
    for symbol in run.symbols:
        mine = run.seen_as(symbol)
        if symbol in cursors:
            mine = replace(mine, cursor=from_ns(int(cursors[symbol])))
        found[symbol] = seen_bars(engine, mine, version)
    if not cursors and run.cursor is not None:
        at = to_ns(run.cursor)
        later = [int(ts) for each in found.values() for ts in each.seen.ts[-1:] if ts > at]
        after = min(later, default=at)  # the moment that carries out what the last one decided
        found = {s: replace(e, seen=_until(e.seen, after), full=_until(e.full, after)) for s, e in found.items()}
    return found


def _until(bars: Bars, moment: int) -> Bars:
    return bars[: int(bars.ts.searchsorted(moment, side="right"))]


def _kept(engine: Engine, run: RunRecord, version: VersionRecord, first_ns: int) -> Bars:
    if run.cursor is None:
        raise NotFound(f"run {run.live_run_id} has not seen a bar yet: wait for its first one")
    with engine.work(engine.service, write=False) as work:
        account = read_account(work.connection, run.account_id)
        rows = list(
            work.connection.execute(
                select(_SEEN)
                .where(
                    _SEEN.c.feed == feed_name(account),
                    _SEEN.c.symbol == run.symbol,
                    _SEEN.c.timeframe == run.timeframe,
                    _SEEN.c.revision == 0,
                    _SEEN.c.ts >= first_ns,
                    _SEEN.c.ts <= to_ns(run.cursor),
                )
                .order_by(_SEEN.c.ts)
            )
        )
    if not rows:
        raise NotFound(f"the bars of run {run.live_run_id} are kept no longer: raise their retention")
    instrument = Instrument.from_facts(json.loads(version.instruments_json)[run.symbol])
    columns: dict[str, Any] = {
        name: np.array([getattr(row, name) for row in rows], dtype=np.int32) for name in _COLUMNS
    }
    volume = None if rows[0].volume is None else np.array([row.volume for row in rows], dtype=np.float64)
    ts = np.array([row.ts for row in rows], dtype=np.int64)
    return Bars.from_arrays(run.symbol, run.timeframe, ts, instrument=instrument, volume=volume, **columns)

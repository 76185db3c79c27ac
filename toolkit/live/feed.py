"""Where a run's closed bars come from: a stored series that is replayed, or a platform that is polled.

A replay stores its bars once, under ``HOME/bars/<fingerprint>.npz``, so that any process can pick the run up again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from toolkit.clock import to_ns
from toolkit.errors import BadInput, NotFound, must_be
from toolkit.market import Bars
from toolkit.market.series.several import as_series, checked_series

_CACHE_LIMIT = 32
_cache: dict[tuple[str, str], Bars] = {}


@dataclass(frozen=True)
class Replay:
    """Recorded bars, played through the live path.

    Parameters
    ----------
    bars
        The series the run decides on; of a run on several symbols all of them by symbol, in the order in which they act.
    speed
        Bars per second of wall time; None plays as fast as the machine goes.
    conversion
        Further series that only serve to convert profits into the account's currency.
    venue
        The series the paper venue prices by, when it knows bars that the run's feed lost; the run's own when left out.
    """

    bars: Bars | Mapping[str, Bars]
    speed: float | None = None
    conversion: Sequence[Bars] = ()
    venue: Bars | None = None

    @property
    def series(self) -> dict[str, Bars]:
        """The bars by symbol."""
        return as_series(self.bars)

    def __post_init__(self) -> None:
        if self.speed is not None and not self.speed > 0:
            raise BadInput(
                must_be("speed", "positive bars per second, or None", self.speed, "leave it out for full speed")
            )
        checked_series(self.series)
        if self.venue is not None and len(self.series) > 1:
            words = ", ".join(self.series)
            raise BadInput(must_be("venue of a replay", "left out with several symbols", words, "replay one symbol"))

    def store(self, home: Path) -> FeedSpec:
        """Write the series under ``home`` and return the words a run's row keeps of this feed."""
        first, *others = (store_bars(home, bars) for bars in self.series.values())
        return FeedSpec(
            kind="replay",
            fingerprint=first,
            others=tuple(others),
            speed=self.speed,
            conversion=tuple(store_bars(home, extra) for extra in self.conversion),
            venue="" if self.venue is None else store_bars(home, self.venue),
        )


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """What a LiveRun's row says about its feed.

    Attributes
    ----------
    kind
        ``replay`` (a stored series) or ``platform`` (closed bars polled from the account's platform).
    fingerprint, others
        Of the replayed series, the first symbol's and those of further symbols; empty for a platform feed.
    speed
        Bars per second of wall time, None for full speed.
    conversion
        Fingerprints of further series the paper venue converts money with.
    venue
        Fingerprint of the series the paper venue prices by, when it is another than the run's.
    """

    kind: Literal["replay", "platform"]
    fingerprint: str = ""
    speed: float | None = None
    conversion: tuple[str, ...] = field(default=())
    venue: str = ""
    others: tuple[str, ...] = field(default=())

    @property
    def series(self) -> tuple[str, ...]:
        """Fingerprints of all series the run decides on, in the order of its symbols."""
        return (self.fingerprint, *self.others) if self.kind == "replay" else ()

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object stored in the row."""
        if self.kind == "platform":
            return {"kind": "platform"}
        facts: dict[str, Any] = {
            "kind": "replay",
            "fingerprint": self.fingerprint,
            "speed": self.speed,
            "conversion": list(self.conversion),
            "venue": self.venue,
        }
        return {**facts, "others": list(self.others)} if self.others else facts

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> FeedSpec:
        """Read the row's JSON object."""
        kind = stored.get("kind")
        if kind == "platform":
            return cls("platform")
        if kind != "replay":
            raise BadInput(must_be("feed.kind", "'replay' or 'platform'", repr(kind), "start the run again"))
        return cls(
            "replay",
            str(stored["fingerprint"]),
            stored.get("speed"),
            tuple(stored.get("conversion", ())),
            stored.get("venue", ""),
            tuple(stored.get("others", ())),
        )


PLATFORM_FEED = FeedSpec("platform")


def bars_path(home: Path, fingerprint: str) -> Path:
    """Return where the series with that fingerprint is kept."""
    return home / "bars" / f"{fingerprint}.npz"


def store_bars(home: Path, bars: Bars) -> str:
    """Keep the series under ``home`` (once, whoever comes first) and return its fingerprint."""
    path = bars_path(home, bars.fingerprint)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".npz")
        os.close(handle)
        temporary = Path(name)
        try:
            bars.save(temporary)
            # A kill while writing leaves a temporary file, never a half-written series under the final name.
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return bars.fingerprint


def stored_bars(home: Path, fingerprint: str) -> Bars:
    """Return the stored series; kept in memory, since a hosted run asks for it at every step.

    Raises
    ------
    NotFound
        When the file is gone, or holds another series than its name says.
    """
    key = (str(home), fingerprint)
    bars = _cache.get(key)
    if bars is None:
        path = bars_path(home, fingerprint)
        if not path.exists():
            raise NotFound(
                f"replay bars {fingerprint[:12]} are not in {path.parent}: start a new run with tk.Replay(bars)"
            )
        bars = Bars.open(path)
        if bars.fingerprint != fingerprint:
            raise NotFound(f"{path.name} holds other bars than its name says: restore the file or start a new run")
        while len(_cache) >= _CACHE_LIMIT:
            _cache.pop(next(iter(_cache)))
        _cache[key] = bars
    return bars


def load_replay(home: Path, platform: Any, feed: FeedSpec) -> None:
    """Give a replay's series, and those it converts money with, to a paper venue; nothing to do for other feeds."""
    if feed.kind != "replay":
        return
    for fingerprint in (feed.venue or feed.fingerprint, *feed.others, *feed.conversion):
        bars = stored_bars(home, fingerprint)
        platform.load_replay(bars.symbol, bars)


class ClosedBarReader(Protocol):
    """What bars are polled from."""

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars:
        """Return closed bars whose open is later than ``after``, oldest first, at most ``limit``."""


def poll_closed(
    platform: ClosedBarReader, symbol: str, timeframe: str, after: datetime | None, limit: int
) -> Bars | None:
    """Return the platform's closed bars after a moment, oldest first, or None when there is none yet.

    A platform may hand out the last known bar again; what is not later than ``after`` is dropped here, so that a run
    sees each bar once.
    """
    bars = platform.closed_bars(symbol, timeframe, after, limit)
    if after is not None and len(bars):
        floor = to_ns(after)
        first = int(bars.ts.searchsorted(floor, side="right"))
        bars = bars[first:]
    return bars if len(bars) else None

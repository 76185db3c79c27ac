"""What is odd about a series of bars (gaps, crossed rows, zero spreads ...), counted so that a user can decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from toolkit.clock import from_ns
from toolkit.market.exact import Ints
from toolkit.market.series.checks import PARTS, Points, crossed_rows
from toolkit.market.timeframes import Timeframe

_DAY_NS = 86_400_000_000_000
_SATURDAY_NOON_NS = 2 * _DAY_NS + _DAY_NS // 2  # 1970-01-03 12:00Z was a Saturday


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without bars: the opens of the bars around it, and how many bars would fit between."""

    before: datetime
    after: datetime
    missing_bars: int
    weekend: bool

    @property
    def length(self) -> timedelta:
        """Return the time from the one open to the other."""
        return self.after - self.before


@dataclass(frozen=True, slots=True, repr=False)
class QualityReport:
    """Counts of what is odd in a series; displayed as a readable page.

    Attributes
    ----------
    rows, first, last
        Number of bars and the opens of the first and the last.
    missing_rows, duplicates, unsorted
        Rows with a missing time or price (left out of all other counts), rows at the same time as, or earlier than,
        the row before.
    crossed_rows, crossed
        Rows with an ask below the bid anywhere, and by part (open, high, low, close).
    zero_spread
        Rows with ask equal to bid, by part.
    disordered, not_positive
        Rows whose high and low do not enclose open and close, and rows with a price of 0 or less.
    finer_prices
        Columns with prices finer than a point.
    spread_points_median, spread_points_max
        Of the closes.
    gaps
        Every stretch longer than the timeframe, oldest first; those over a weekend are marked.
    """

    symbol: str
    timeframe: Timeframe
    rows: int
    first: datetime | None
    last: datetime | None
    missing_rows: int
    duplicates: int
    unsorted: int
    crossed_rows: int
    crossed: Mapping[str, int]
    zero_spread: Mapping[str, int]
    disordered: int
    not_positive: int
    finer_prices: tuple[str, ...]
    spread_points_median: float
    spread_points_max: int
    gaps: tuple[Gap, ...]

    @property
    def loadable(self) -> bool:
        """Return whether `load_bars` takes the series as it is."""
        bad = (
            self.missing_rows,
            self.duplicates,
            self.unsorted,
            self.crossed_rows,
            self.disordered,
            self.not_positive,
        )
        return not any(bad)

    def __str__(self) -> str:
        span = "no rows" if self.first is None else f"{self.first:%Y-%m-%d %H:%M} .. {self.last:%Y-%m-%d %H:%M} UTC"
        week = [gap for gap in self.gaps if not gap.weekend]
        lines = [
            f"{self.symbol} {self.timeframe}: {self.rows:,} rows, {span}",
            f"missing values      {self.missing_rows:,} rows",
            f"duplicates          {self.duplicates:,}, out of order {self.unsorted:,}",
            f"crossed (ask<bid)   {self.crossed_rows:,} rows: " + _by_part(self.crossed),
            "zero spread         " + _by_part(self.zero_spread),
            f"high/low disorder   {self.disordered:,}, price 0 or less {self.not_positive:,}",
            f"finer than a point  {', '.join(self.finer_prices) or 'none'}",
            f"spread of closes    median {self.spread_points_median:g} points, largest {self.spread_points_max:,} points",
            f"gaps                {len(self.gaps):,}, of them {len(self.gaps) - len(week):,} over a weekend",
        ]
        lines.extend(
            f"  {gap.before:%Y-%m-%d %H:%M} .. {gap.after:%Y-%m-%d %H:%M}  {gap.missing_bars:,} bars missing"
            for gap in sorted(week, key=lambda g: g.length, reverse=True)[:5]
        )
        lines.append("load_bars takes it as it is" if self.loadable else "load_bars refuses it as it is")
        return "\n".join(lines)

    __repr__ = __str__


def _by_part(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{part} {count:,}" for part, count in counts.items())


def examine(
    symbol: str,
    timeframe: Timeframe,
    ts: Ints,
    columns: Mapping[str, Points | Ints],
    *,
    missing_rows: int = 0,
    finer_prices: tuple[str, ...] = (),
) -> QualityReport:
    """Return the report on columns of points, clean or not; nothing is refused."""
    step = ts[1:] - ts[:-1]
    disordered = np.zeros(len(ts), dtype=bool)
    not_positive = np.zeros(len(ts), dtype=bool)
    for side in ("bid", "ask"):
        o, h, low, c = (columns[f"{side}_{part}"] for part in PARTS)
        disordered |= (h < np.maximum(o, c)) | (low > np.minimum(o, c)) | (h < low)
        not_positive |= np.minimum(low, np.minimum(o, c)) < 1
    spreads = columns["ask_close"].astype(np.int64) - columns["bid_close"]
    return QualityReport(
        symbol=symbol,
        timeframe=timeframe,
        rows=len(ts),
        first=from_ns(int(ts[0])) if len(ts) else None,
        last=from_ns(int(ts[-1])) if len(ts) else None,
        missing_rows=missing_rows,
        duplicates=int((step == 0).sum()),
        unsorted=int((step < 0).sum()),
        crossed_rows=int(crossed_rows(columns).sum()),
        crossed={part: int((columns[f"ask_{part}"] < columns[f"bid_{part}"]).sum()) for part in PARTS},
        zero_spread={part: int((columns[f"ask_{part}"] == columns[f"bid_{part}"]).sum()) for part in PARTS},
        disordered=int(disordered.sum()),
        not_positive=int(not_positive.sum()),
        finer_prices=finer_prices,
        spread_points_median=float(np.median(spreads)) if len(ts) else 0.0,
        spread_points_max=int(spreads.max()) if len(ts) else 0,
        gaps=_gaps(ts, step, timeframe),
    )


def _gaps(ts: Ints, step: Ints, timeframe: Timeframe) -> tuple[Gap, ...]:
    found: list[Gap] = []
    for i in np.nonzero(step > timeframe.ns)[0]:
        before, after = int(ts[i]), int(ts[i + 1])
        noon = before + (_SATURDAY_NOON_NS - before) % (7 * _DAY_NS)
        found.append(Gap(from_ns(before), from_ns(after), (after - before - 1) // timeframe.ns, noon < after))
    return tuple(found)

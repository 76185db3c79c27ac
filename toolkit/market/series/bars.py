"""Price bars as immutable, validated columns of integer points."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from toolkit.clock import from_ns, to_ns
from toolkit.errors import BarsError, MissingPackage, must_be
from toolkit.market.exact import Floats, Ints
from toolkit.market.instruments import Instrument, find_instrument
from toolkit.market.series import checks
from toolkit.market.series.checks import PRICE_COLUMNS, Points
from toolkit.market.series.quality import QualityReport, examine
from toolkit.market.timeframes import Timeframe

if TYPE_CHECKING:
    import pandas as pd

_FILE_FORMAT = 1


class _OpenColumn:
    """``bars.open`` is the column of bid opens, ``Bars.open(path)`` reads a saved file."""

    @overload
    def __get__(self, bars: None, owner: type[Bars]) -> Callable[[str | Path], Bars]: ...
    @overload
    def __get__(self, bars: Bars, owner: type[Bars]) -> Floats: ...
    def __get__(self, bars: Bars | None, owner: type[Bars]) -> Floats | Callable[[str | Path], Bars]:
        if bars is None:
            return _read_file
        column = bars.in_price_units(bars.bid_open)
        bars.__dict__["open"] = column  # found before this descriptor from now on
        return column


@dataclass(frozen=True, eq=False, repr=False)
class Bars:
    """Bid and ask bars of one symbol and timeframe: equally long, read-only columns, oldest bar first.

    Parameters
    ----------
    symbol, timeframe, instrument
        What the prices are of; the instrument gives the size of a point.
    ts : ndarray of int64, shape (n,)
        Open of each bar in UTC epoch nanoseconds, strictly increasing.
    bid_open, bid_high, bid_low, bid_close, ask_open, ask_high, ask_low, ask_close : ndarray of int32, shape (n,)
        Prices in points (price times ``10**digits``).
    volume : ndarray of float64, shape (n,), optional

    Raises
    ------
    BarsError
        When times are not int64, not strictly increasing or closer than the timeframe; when prices are not positive
        integers that fit 32 bits, high and low do not enclose open and close, or an ask is below its bid.
    """

    symbol: str
    timeframe: Timeframe
    instrument: Instrument
    ts: Ints
    bid_open: Points
    bid_high: Points
    bid_low: Points
    bid_close: Points
    ask_open: Points
    ask_high: Points
    ask_low: Points
    ask_close: Points
    volume: Floats | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "timeframe", Timeframe(self.timeframe))
        if not isinstance(self.instrument, Instrument):
            raise BarsError(
                must_be("instrument", "an Instrument", repr(self.instrument), "use find_instrument(symbol)")
            )
        if not self.symbol or not isinstance(self.symbol, str):
            raise BarsError(must_be("symbol", "a name", repr(self.symbol), "use the venue's name, e.g. 'EURUSD'"))
        ts = checks.as_times(self.ts)
        checks.check_spacing(ts, self.timeframe)
        put(self, "ts", ts)
        for name in PRICE_COLUMNS:
            put(self, name, checks.as_points(getattr(self, name), name, ts))
        checks.check_side("bid", ts, self.bid_open, self.bid_high, self.bid_low, self.bid_close)
        checks.check_side("ask", ts, self.ask_open, self.ask_high, self.ask_low, self.ask_close)
        checks.check_not_crossed(ts, self.columns)
        put(self, "volume", checks.as_volume(self.volume, ts))

    @classmethod
    def from_arrays(
        cls,
        symbol: str,
        timeframe: Timeframe | str,
        ts: npt.ArrayLike,
        *,
        bid_open: npt.ArrayLike,
        bid_high: npt.ArrayLike,
        bid_low: npt.ArrayLike,
        bid_close: npt.ArrayLike,
        ask_open: npt.ArrayLike,
        ask_high: npt.ArrayLike,
        ask_low: npt.ArrayLike,
        ask_close: npt.ArrayLike,
        volume: npt.ArrayLike | None = None,
        instrument: Instrument | None = None,
    ) -> Bars:
        """Build bars from columns of integer points; the instrument defaults to the packaged table's."""
        columns = dict(
            zip(
                PRICE_COLUMNS,
                (bid_open, bid_high, bid_low, bid_close, ask_open, ask_high, ask_low, ask_close),
                strict=True,
            )
        )
        return cls(
            symbol,
            Timeframe(timeframe),
            instrument if instrument is not None else find_instrument(symbol),
            np.asarray(ts),
            volume=None if volume is None else np.asarray(volume),
            **{name: np.asarray(column) for name, column in columns.items()},
        )

    def _trusted(self, ts: Ints, columns: Mapping[str, Points], volume: Floats | None) -> Bars:
        # Rows taken from validated bars need no second validation.
        new = object.__new__(Bars)
        new.__dict__.update(
            symbol=self.symbol,
            timeframe=self.timeframe,
            instrument=self.instrument,
            ts=ts,
            volume=volume,
            **columns,
        )
        return new

    @property
    def columns(self) -> dict[str, Points]:
        """Return the eight price columns by name, in their canonical order."""
        return {name: getattr(self, name) for name in PRICE_COLUMNS}

    def __len__(self) -> int:
        return len(self.ts)

    def __getitem__(self, rows: slice) -> Bars:
        """Return a run of rows as Bars that share the memory; only ``bars[i:j]`` is meant."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise BarsError(
                must_be(
                    "rows",
                    "a slice without step",
                    repr(rows),
                    "write bars[i:j], or bars.close[i] for one price",
                )
            )
        volume = None if self.volume is None else self.volume[rows]
        return self._trusted(self.ts[rows], {k: v[rows] for k, v in self.columns.items()}, volume)

    def between(self, start: datetime | str | None = None, end: datetime | str | None = None) -> Bars:
        """Return the bars whose open lies in ``[start, end)``.

        Parameters
        ----------
        start, end
            Aware datetimes, or ISO text; text without an offset is UTC. None leaves that side open.
        """
        i = 0 if start is None else int(np.searchsorted(self.ts, _moment_ns(start, "start")))
        j = len(self) if end is None else int(np.searchsorted(self.ts, _moment_ns(end, "end")))
        return self[i : max(i, j)]

    def closes_at(self, i: int) -> int:
        """Return when bar ``i`` closes (UTC epoch ns): its open plus the timeframe, or the next open if sooner."""
        n = len(self)
        if not -n <= i < n:
            raise BarsError(must_be("row", f"from 0 to {n - 1}", i, "check the number of bars"))
        i %= n
        close = int(self.ts[i]) + self.timeframe.ns
        return min(close, int(self.ts[i + 1])) if i + 1 < n else close

    def in_price_units(self, points: Points) -> Floats:
        """Return a column of points as read-only float64 prices, the one way every float price is made."""
        out = points / float(self.instrument.scale)
        out.flags.writeable = False
        return out

    open = _OpenColumn()

    @cached_property
    def high(self) -> Floats:
        """Return bid highs in price units (float64)."""
        return self.in_price_units(self.bid_high)

    @cached_property
    def low(self) -> Floats:
        """Return bid lows in price units (float64)."""
        return self.in_price_units(self.bid_low)

    @cached_property
    def close(self) -> Floats:
        """Return bid closes in price units (float64)."""
        return self.in_price_units(self.bid_close)

    @cached_property
    def index(self) -> pd.DatetimeIndex:
        """Return the bar opens as a pandas index in UTC."""
        import pandas as pd

        return pd.DatetimeIndex(self.ts, tz="UTC")

    @cached_property
    def derived(self) -> dict[Any, Any]:
        """Return a place for what others compute from these columns alone, which never change."""
        return {}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Return the bars as a pandas DataFrame in price units, indexed by UTC bar open.

        Raises
        ------
        MissingPackage
            When pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as e:
            raise MissingPackage("bars.frame needs pandas: pip install 'seatrial[research]'") from e
        data: dict[str, Any] = {name: self.in_price_units(column) for name, column in self.columns.items()}
        if self.volume is not None:
            data["volume"] = self.volume
        return pd.DataFrame(data, index=pd.DatetimeIndex(self.ts, tz="UTC", name="ts"), copy=True)

    @cached_property
    def fingerprint(self) -> str:
        """Return a sha256 hex digest of everything a result can depend on: names, point size, times, prices, volume."""
        digest = hashlib.sha256()
        head = {
            "format": _FILE_FORMAT,
            "symbol": self.symbol,
            "timeframe": self.timeframe.value,
            "digits": self.instrument.digits,
            "pip_size": self.instrument.facts()["pip_size"],
            "rows": len(self),
            "volume": self.volume is not None,
        }
        digest.update(json.dumps(head, sort_keys=True, separators=(",", ":")).encode())
        digest.update(np.ascontiguousarray(self.ts, dtype="<i8").tobytes())
        for column in self.columns.values():
            digest.update(np.ascontiguousarray(column, dtype="<i4").tobytes())
        if self.volume is not None:
            digest.update(np.ascontiguousarray(self.volume, dtype="<f8").tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the bars to one ``.npz`` file (numpy only) and return its path."""
        target = Path(path)
        head = json.dumps(
            {
                "format": _FILE_FORMAT,
                "symbol": self.symbol,
                "timeframe": self.timeframe.value,
                "instrument": self.instrument.facts(),
                "source": self.instrument.source,
            }
        )
        arrays: dict[str, Any] = {"ts": self.ts, **self.columns}
        if self.volume is not None:
            arrays["volume"] = self.volume
        with target.open("wb") as file:
            np.savez_compressed(file, head=np.frombuffer(head.encode(), dtype=np.uint8), **arrays)
        return target

    def quality(self) -> QualityReport:
        """Return counts of what is odd in the bars: gaps, zero spreads, the largest spread; see `QualityReport`."""
        return examine(self.symbol, self.timeframe, self.ts, self.columns)

    @classmethod
    def concat(cls, parts: Sequence[Bars]) -> Bars:
        """Join bars of one symbol, timeframe and instrument, each part later than the one before."""
        if not parts:
            raise BarsError(must_be("parts", "at least one Bars", "none", "give the bars to join"))
        first = parts[0]
        for other in parts[1:]:
            for what in ("symbol", "timeframe", "instrument"):
                a, b = getattr(first, what), getattr(other, what)
                if a != b:
                    raise BarsError(must_be(f"{what} of every part", f"{a}", f"{b}", "join only bars of one series"))
        has_volume = {part.volume is not None for part in parts}
        if len(has_volume) > 1:
            raise BarsError(must_be("parts", "all with volume or all without", "mixed", "load them the same way"))
        return cls(
            first.symbol,
            first.timeframe,
            first.instrument,
            np.concatenate([part.ts for part in parts]),
            volume=np.concatenate([part.volume for part in parts]) if first.volume is not None else None,
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in PRICE_COLUMNS},
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bars):
            return NotImplemented
        return self.instrument == other.instrument and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __getstate__(self) -> dict[str, Any]:
        keep = ("symbol", "timeframe", "instrument", "ts", *PRICE_COLUMNS, "volume")
        return {name: self.__dict__[name] for name in keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for value in state.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self.__dict__.update(state)

    def __repr__(self) -> str:
        if len(self) == 0:
            return f"Bars({self.symbol} {self.timeframe}, empty)"
        first, last = from_ns(int(self.ts[0])), from_ns(int(self.ts[-1]))
        span = f"{first:%Y-%m-%d %H:%M} .. {last:%Y-%m-%d %H:%M} UTC"
        return f"Bars({self.symbol} {self.timeframe}, {len(self):,} bars, {span})"


def _moment_ns(moment: datetime | str, what: str) -> int:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise BarsError(
                must_be(what, "an ISO date or time", repr(moment), "write it like '2017-03-01T08:00'")
            ) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    if moment.tzinfo is None:
        raise BarsError(must_be(what, "tz-aware", f"naive {moment.isoformat()}", "attach a timezone, e.g. tzinfo=UTC"))
    return to_ns(moment)


def _read_file(path: str | Path) -> Bars:
    """Read bars that `Bars.save` wrote; they are validated again."""
    with np.load(Path(path), allow_pickle=False) as file:
        head = json.loads(file["head"].tobytes())
        if head.get("format") != _FILE_FORMAT:
            raise BarsError(
                must_be("file format", str(_FILE_FORMAT), head.get("format"), "write it again with this version")
            )
        instrument = Instrument.from_facts({**head["instrument"], "source": head["source"]})
        volume = file["volume"] if "volume" in file.files else None
        return Bars(
            head["symbol"],
            Timeframe(head["timeframe"]),
            instrument,
            file["ts"],
            volume=volume,
            **{name: file[name] for name in PRICE_COLUMNS},
        )

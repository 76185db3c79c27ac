"""From a file or a DataFrame of decimal prices to validated `Bars`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from toolkit.errors import BarsError, MissingPackage, must_be
from toolkit.market.exact import Floats, Ints, Number, to_decimal
from toolkit.market.instruments import INT32_MAX, Instrument, find_instrument
from toolkit.market.platform_clock import PlatformClock, find_clock
from toolkit.market.series.bars import Bars
from toolkit.market.series.checks import PARTS, PRICE_COLUMNS, crossed_rows, row_name
from toolkit.market.series.quality import QualityReport, examine
from toolkit.market.timeframes import Timeframe

if TYPE_CHECKING:
    import pandas as pd


class FinerThanPoint(UserWarning):
    """Issued when prices are finer than a point of the instrument and were rounded."""


PriceKind = Literal["bid", "ask", "mid", "bidask"]
_GRID_TOLERANCE = 1e-3  # of a point: what float64 prices of up to 2^31 points keep is 1e-6; more is finer data


def load_bars(
    data: str | Path | pd.DataFrame,
    *,
    symbol: str,
    timeframe: Timeframe | str,
    price: PriceKind = "bid",
    spread_pips: Number | None = None,
    instrument: Instrument | None = None,
    clock: PlatformClock | str | None = None,
    on_crossed: Literal["refuse", "drop"] = "refuse",
) -> Bars:
    """Read price bars from a CSV or Parquet file or a DataFrame and validate them.

    Parameters
    ----------
    data
        Path ending in ``.csv``, ``.csv.gz`` or ``.parquet``, or a DataFrame. Columns ``open high low close``,
        optionally ``volume`` and ``spread_points``; with ``price="bidask"`` ``bid_open`` .. ``ask_close``.
        Bar opens are in ``ts`` or in the index, tz-aware.
    symbol, timeframe
        What the bars are of, e.g. ``"EURUSD"``, ``"H1"``.
    price
        Which side the prices are of. The other side is the spread away: per bar from ``spread_points`` if there is such
        a column and ``spread_pips`` is not given, else ``spread_pips``, else the instrument's default spread.
    spread_pips
        Constant spread in pips; a whole number of points.
    instrument
        Contract facts; default is the packaged table's entry for ``symbol``.
    clock
        What naive times in ``data`` are told by, e.g. ``"UTC"`` or ``"New York + 7"`` for MetaTrader server
        time. Without it naive times are refused.
    on_crossed
        ``"drop"`` leaves out rows whose ask is below the bid, with a warning; the default refuses them.

    Returns
    -------
    Bars
        With prices in whole points; prices finer than a point are rounded to the nearest, with a warning.

    Raises
    ------
    BarsError
        When a column is missing, a time is naive or anything in the prices is not fit to trade on.
    MissingPackage
        When pandas (and pyarrow for Parquet) is not installed.
    UnknownSymbol
        When ``symbol`` is not in the packaged table and no ``instrument`` is given.
    """
    if on_crossed not in ("refuse", "drop"):
        raise BarsError(must_be("on_crossed", "refuse or drop", repr(on_crossed), "pick one"))
    facts = instrument if instrument is not None else find_instrument(symbol)
    length = Timeframe(timeframe)
    frame = _read(data)
    ts, columns = _ts_and_points(frame, price, spread_pips, facts, clock)
    volume = frame["volume"].to_numpy() if "volume" in frame.columns else None
    if on_crossed == "drop":
        crossed = crossed_rows(columns)
        if crossed.any():
            warnings.warn(f"{int(crossed.sum())} of {len(ts)} rows dropped: ask below bid", UserWarning, stacklevel=2)
            keep = ~crossed
            ts, columns = ts[keep], {n: c[keep] for n, c in columns.items()}
            volume = None if volume is None else volume[keep]
    return Bars.from_arrays(symbol, length, ts, volume=volume, instrument=facts, **columns)


def inspect_bars(
    data: str | Path | pd.DataFrame,
    *,
    symbol: str,
    timeframe: Timeframe | str,
    price: PriceKind = "bid",
    spread_pips: Number | None = None,
    instrument: Instrument | None = None,
    clock: PlatformClock | str | None = None,
) -> QualityReport:
    """Return a report on data as it is, fit to load or not: what is crossed, missing, duplicated, and where gaps are.

    Takes what `load_bars` takes; only missing columns, naive times and unknown symbols are refused.
    """
    facts = instrument if instrument is not None else find_instrument(symbol)
    length = Timeframe(timeframe)
    frame = _read(data)
    names = [c for c in (PRICE_COLUMNS if price == "bidask" else PARTS) if c in frame.columns]
    whole = np.isfinite(frame[names].to_numpy(dtype=np.float64)).all(axis=1)
    if "ts" in frame.columns:
        whole &= frame["ts"].notna().to_numpy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ts, columns = _ts_and_points(frame[whole], price, spread_pips, facts, clock)
    finer = tuple(str(w.message).partition(":")[0] for w in caught if isinstance(w.message, FinerThanPoint))
    return examine(symbol, length, ts, columns, missing_rows=int((~whole).sum()), finer_prices=finer)


def _read(data: str | Path | pd.DataFrame) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError as e:
        raise MissingPackage("load_bars needs pandas and pyarrow: pip install 'seatrial[research]'") from e
    if isinstance(data, pd.DataFrame):
        return _lower(data)
    if not isinstance(data, str | Path):
        raise BarsError(must_be("data", "a path or a DataFrame", type(data).__name__, "give one of these"))
    path = Path(data)
    if not path.is_file():
        raise BarsError(must_be("data", "an existing file", str(path), "check the path"))
    name = path.name.lower()
    if name.endswith(".parquet"):
        try:
            return _lower(pd.read_parquet(path))
        except ImportError as e:
            raise MissingPackage("reading Parquet needs pyarrow: pip install 'seatrial[research]'") from e
    if name.endswith((".csv", ".csv.gz")):
        return _lower(pd.read_csv(path))
    raise BarsError(
        must_be("data", "a .csv, .csv.gz or .parquet file", path.name, "convert it, or read it into a DataFrame")
    )


def _lower(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns={c: str(c).strip().lower() for c in frame.columns})


def _ts_and_points(
    frame: pd.DataFrame,
    price: PriceKind,
    spread_pips: Number | None,
    instrument: Instrument,
    clock: PlatformClock | str | None,
) -> tuple[Ints, dict[str, Ints]]:
    """Return bar opens and both sides in points, rounded but not validated."""
    if price not in get_args(PriceKind):
        raise BarsError(must_be("price", "bid, ask, mid or bidask", repr(price), "say which side the prices are of"))
    if len(frame) == 0:
        raise BarsError(must_be("data", "at least one row", "empty", "check the file"))
    ts = _times(frame, clock)
    if price == "bidask":
        if spread_pips is not None:
            raise BarsError(
                must_be("spread_pips", "left out with price='bidask'", spread_pips, "the data has both sides")
            )
        columns = {n: _nearest(_column(frame, n, price), n, ts, instrument) for n in PRICE_COLUMNS}
    else:
        spread = _spread(frame, ts, spread_pips, instrument)
        columns = {}
        for part in PARTS:
            values = _column(frame, part, price)
            if price == "mid":
                # Mids of whole-point quotes lie on half points, so they are counted in half points.
                doubled = _nearest(values, part, ts, instrument, per_point=2)
                bid = (doubled - spread) // 2
            else:
                bid = _nearest(values, part, ts, instrument) - (spread if price == "ask" else 0)
            columns[f"bid_{part}"], columns[f"ask_{part}"] = bid, bid + spread
    return ts, columns


def _times(frame: pd.DataFrame, clock: PlatformClock | str | None) -> Ints:
    import pandas as pd

    raw: Any = frame["ts"] if "ts" in frame.columns else frame.index
    if pd.api.types.is_numeric_dtype(raw.dtype):
        raise BarsError(
            must_be(
                "ts",
                "tz-aware times in a column ts or the index",
                f"{raw.dtype} numbers",
                "convert them, e.g. frame['ts'] = pd.to_datetime(frame.ts, unit='s', utc=True)",
            )
        )
    if not pd.api.types.is_datetime64_any_dtype(raw.dtype):
        try:
            raw = pd.to_datetime(raw, format="ISO8601")
        except (ValueError, TypeError) as e:
            raise BarsError(
                must_be("ts", "ISO 8601 times", str(e).split("\n")[0], "write it like 2017-03-01T08:00:00Z")
            ) from e
    times = pd.DatetimeIndex(raw)
    missing = times.isna()
    if missing.any():
        raise BarsError(must_be(f"ts of row {int(np.argmax(missing))}", "a time", "missing", "drop the row"))
    if times.tz is None:
        if clock is None:
            raise BarsError(
                must_be(
                    "ts",
                    "tz-aware UTC bar opens",
                    f"naive, e.g. {times[0].isoformat()}",
                    "frame.ts.dt.tz_localize('UTC') if they are UTC, or clock='New York + 7' for server time",
                )
            )
        wall: Ints = times.as_unit("ns").asi8
        return find_clock(clock).to_utc(wall)
    if clock is not None:
        raise BarsError(must_be("clock", "left out", repr(clock), "the times carry their own timezone"))
    return np.array(times.tz_convert("UTC").as_unit("ns").asi8)


def _column(frame: pd.DataFrame, name: str, price: str) -> Floats:
    if name not in frame.columns:
        need = " ".join(PRICE_COLUMNS if price == "bidask" else PARTS)
        raise BarsError(
            must_be(
                "columns",
                f"{need} (price={price!r})",
                " ".join(map(str, frame.columns)),
                f"rename or add {name!r}",
            )
        )
    try:
        return np.asarray(frame[name].to_numpy(), dtype=np.float64)
    except (ValueError, TypeError) as e:
        raise BarsError(must_be(f"column {name}", "numbers", str(e), "check the decimal separator")) from e


def _nearest(values: Floats, name: str, ts: Ints, instrument: Instrument, per_point: int = 1) -> Ints:
    """Return prices as the nearest whole (or half) points, halves up; warn when they were finer than that."""
    exact = values * float(instrument.scale * per_point)
    bad = ~np.isfinite(exact)
    if bad.any():
        i = int(np.argmax(bad))
        raise BarsError(
            must_be(f"{name} of {row_name(ts, i)}", "a number", values[i], "drop the row, e.g. frame.dropna()")
        )
    big = exact > INT32_MAX * per_point
    if big.any():
        i = int(np.argmax(big))
        raise BarsError(
            must_be(
                f"{name} of {row_name(ts, i)}",
                f"at most {instrument.price(INT32_MAX)}",
                values[i],
                "use an instrument with fewer digits",
            )
        )
    points = np.floor(exact + 0.5)
    finer = np.abs(exact - points) > _GRID_TOLERANCE
    if finer.any():
        i = int(np.argmax(finer))
        warnings.warn(
            f"{name}: {int(finer.sum())} of {len(values)} prices are finer than a point of {instrument.symbol} "
            f"({instrument.point}), e.g. {values[i]} in {row_name(ts, i)}; rounded to the nearest point",
            FinerThanPoint,
            stacklevel=4,
        )
    return points.astype(np.int64)


def _spread(
    frame: pd.DataFrame, ts: Ints, spread_pips: Number | None, instrument: Instrument
) -> npt.NDArray[np.int64] | int:
    if spread_pips is None and "spread_points" in frame.columns:
        column = frame["spread_points"].to_numpy()
        if column.dtype.kind not in "iu":
            whole = np.asarray(column, dtype=np.float64)
            bad = ~(whole == np.floor(whole))
            if bad.any():
                i = int(np.argmax(bad))
                raise BarsError(
                    must_be(
                        f"spread_points of {row_name(ts, i)}",
                        "whole points",
                        whole[i],
                        "repair it or give spread_pips",
                    )
                )
        column = column.astype(np.int64)
        if (column < 0).any():
            i = int(np.argmax(column < 0))
            raise BarsError(must_be(f"spread_points of {row_name(ts, i)}", "0 or more", column[i], "drop the row"))
        return np.asarray(column)
    if spread_pips is None:
        if instrument.default_spread_pips is None:
            raise BarsError(
                must_be(
                    "spread_pips",
                    f"given for {instrument.symbol}",
                    "None and no default",
                    "say the spread, e.g. 0.8",
                )
            )
        pips = instrument.default_spread_pips
    else:
        pips = to_decimal(spread_pips, "spread_pips", BarsError)
    points = pips * instrument.points_per_pip
    if points < 0 or points != points.to_integral_value():
        raise BarsError(
            must_be(
                "spread_pips",
                f"0 or more and a multiple of {1 / instrument.points_per_pip:g}",
                pips,
                "round it",
            )
        )
    return int(points)

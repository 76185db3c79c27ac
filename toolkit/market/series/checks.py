"""What makes price columns fit to trade on, checked in bulk; every refusal names the row, the value and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.clock import from_ns
from toolkit.errors import BarsError, must_be
from toolkit.market.exact import Floats, Ints
from toolkit.market.instruments import INT32_MAX
from toolkit.market.timeframes import Timeframe

Points = npt.NDArray[np.int32]

PARTS = ("open", "high", "low", "close")
PRICE_COLUMNS = (
    "bid_open",
    "bid_high",
    "bid_low",
    "bid_close",
    "ask_open",
    "ask_high",
    "ask_low",
    "ask_close",
)
HOUR_NS = 3_600_000_000_000


def row_name(ts: Ints, i: int) -> str:
    """Return how a row is called in messages: its number and its moment."""
    return f"row {i} ({from_ns(int(ts[i])).isoformat()})"


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array C-contiguous and read-only, copied when somebody else could still write to it."""
    if array.flags.writeable or not array.flags.c_contiguous:
        array = np.array(array, order="C", copy=True)
        array.flags.writeable = False
    return array


def as_times(ts: object) -> Ints:
    """Return bar opens as read-only int64 epoch nanoseconds, strictly increasing, or refuse them."""
    array = np.asarray(ts)
    if array.ndim != 1 or array.dtype != np.int64:
        raise BarsError(
            must_be(
                "ts",
                "one column of int64 epoch nanoseconds (UTC)",
                f"{array.dtype} of shape {array.shape}",
                "let load_bars convert tz-aware times",
            )
        )
    if len(array) > 1:
        wrong = array[1:] <= array[:-1]
        if wrong.any():
            i = int(np.argmax(wrong)) + 1
            if array[i] == array[i - 1]:
                raise BarsError(
                    must_be(
                        f"ts of {row_name(array, i)}",
                        "later than the row before",
                        "a duplicate of it",
                        "drop it, e.g. frame.drop_duplicates('ts')",
                    )
                )
            raise BarsError(
                must_be(
                    f"ts of {row_name(array, i)}",
                    "later than the row before",
                    f"earlier than {from_ns(int(array[i - 1])).isoformat()}",
                    "sort it, e.g. frame.sort_values('ts')",
                )
            )
    return frozen(array)


def check_spacing(ts: Ints, timeframe: Timeframe) -> None:
    """Refuse bars that follow each other faster than their timeframe, a daylight-saving hour aside."""
    if len(ts) < 2:
        return
    least = timeframe.ns - (HOUR_NS if timeframe.ns > HOUR_NS else 0)
    close = (ts[1:] - ts[:-1]) < least
    if close.any():
        i = int(np.argmax(close)) + 1
        seconds = int(ts[i] - ts[i - 1]) / 1e9
        raise BarsError(
            must_be(
                f"ts of {row_name(ts, i)}",
                f"at least one {timeframe} after the row before",
                f"{seconds:g} s after it",
                "name the timeframe the data really has",
            )
        )


def as_points(column: object, name: str, ts: Ints) -> Points:
    """Return a price column as read-only int32 points, or refuse it."""
    array = np.asarray(column)
    if array.shape != ts.shape:
        raise BarsError(
            must_be(name, f"as long as ts ({len(ts)} rows)", f"of shape {array.shape}", "give one value a bar")
        )
    if array.dtype == np.int32:
        return frozen(array)
    if array.dtype.kind not in "iu":
        raise BarsError(
            must_be(
                name,
                "integer points (price times 10**digits)",
                str(array.dtype),
                "use load_bars for decimal prices",
            )
        )
    high = array > INT32_MAX
    if high.any():
        i = int(np.argmax(high))
        raise BarsError(
            must_be(
                f"{name} of {row_name(ts, i)}",
                f"at most {INT32_MAX} points",
                array[i],
                "use an instrument with fewer digits",
            )
        )
    low = array < 1
    if low.any():
        _refuse_not_positive(array, name, ts, low)
    return frozen(array.astype(np.int32))


def _refuse_not_positive(array: npt.NDArray[Any], name: str, ts: Ints, bad: npt.NDArray[np.bool_]) -> None:
    i = int(np.argmax(bad))
    raise BarsError(
        must_be(f"{name} of {row_name(ts, i)}", "above 0", f"{array[i]} points", "drop the row or repair the price")
    )


def check_side(side: str, ts: Ints, o: Points, h: Points, low: Points, c: Points) -> None:
    """Refuse a side whose prices are not positive or whose high and low do not enclose open and close."""
    if len(ts) == 0:
        return
    if int(low.min()) < 1:
        _refuse_not_positive(low, f"{side}_low", ts, low < 1)
    for name, inner, outer, outer_name, above in (
        ("high", low, h, "low", True),
        ("high", o, h, "open", True),
        ("high", c, h, "close", True),
        ("low", o, low, "open", False),
        ("low", c, low, "close", False),
    ):
        bad = (outer < inner) if above else (outer > inner)
        if bad.any():
            i = int(np.argmax(bad))
            requirement = f"at or {'above' if above else 'below'} the {outer_name} of {inner[i]} points"
            raise BarsError(
                must_be(
                    f"{side}_{name} of {row_name(ts, i)}",
                    requirement,
                    f"{outer[i]} points",
                    "drop the row or repair the price",
                )
            )


def crossed_rows(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Return which rows have an ask below its bid in any of open, high, low, close."""
    bad = columns["ask_open"] < columns["bid_open"]
    for part in ("high", "low", "close"):
        bad |= columns[f"ask_{part}"] < columns[f"bid_{part}"]
    return bad


def check_not_crossed(ts: Ints, columns: dict[str, Points]) -> None:
    """Refuse rows whose ask is below the bid."""
    for part in PARTS:
        bid, ask = columns[f"bid_{part}"], columns[f"ask_{part}"]
        bad = ask < bid
        if bad.any():
            i = int(np.argmax(bad))
            count = int(crossed_rows(columns).sum())
            raise BarsError(
                must_be(
                    f"ask_{part} of {row_name(ts, i)}",
                    f"at or above the bid of {bid[i]} points",
                    f"{ask[i]} points",
                    f'{count} rows are crossed; look at inspect_bars, then load with on_crossed="drop"',
                )
            )


def as_volume(volume: object, ts: Ints) -> Floats | None:
    """Return the volume column as read-only float64, or refuse it."""
    if volume is None:
        return None
    array = np.asarray(volume)
    if array.shape != ts.shape or array.dtype.kind not in "iuf":
        raise BarsError(
            must_be(
                "volume",
                f"{len(ts)} numbers",
                f"{array.dtype} of shape {array.shape}",
                "drop the column or repair it",
            )
        )
    array = array.astype(np.float64, copy=False)
    bad = ~(array >= 0) | np.isinf(array)
    if bad.any():
        i = int(np.argmax(bad))
        raise BarsError(must_be(f"volume of {row_name(ts, i)}", "0 or more", array[i], "drop the column or repair it"))
    return frozen(array)

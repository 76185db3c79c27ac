"""Higher bars hold exactly their base bars and are known no earlier than the data shows that they are over."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from toolkit.clock import from_ns, to_ns
from toolkit.errors import BarsError
from toolkit.market import Bars, aggregate, load_bars

HOUR = 3_600_000_000_000
PARTS = ("open", "high", "low", "close")


def hourly(*opens: datetime, volume=None) -> Bars:
    """H1 bars at these opens, each one point above the one before."""
    ts = np.array([to_ns(o) for o in opens])
    base = 100_000 + np.arange(len(ts), dtype=np.int32)
    side = {"open": base, "high": base + 3, "low": base - 2, "close": base + 1}
    columns = {f"bid_{k}": v for k, v in side.items()} | {f"ask_{k}": v + 8 for k, v in side.items()}
    return Bars.from_arrays("EURUSD", "H1", ts, **columns, volume=volume)


def at(day: int, hour: int) -> datetime:
    return datetime(2017, 3, day, hour, tzinfo=UTC)


def test_open_high_low_close_and_volume_are_those_of_the_base_bars():
    """A higher bar opens with its first, closes with its last, and spans the extremes."""
    bars = hourly(*(at(1, h) for h in range(8)), volume=np.arange(8.0))
    made = aggregate(bars, "H4").bars
    assert len(made) == 2
    assert (made.bid_open.tolist(), made.bid_close.tolist()) == ([100000, 100004], [100004, 100008])
    assert (made.bid_high.tolist(), made.bid_low.tolist()) == ([100006, 100010], [99998, 100002])
    assert (made.ask_high - made.bid_high).tolist() == [8, 8]
    assert made.volume.tolist() == [6, 22]
    assert [from_ns(t) for t in made.ts] == [at(1, 0), at(1, 4)]


def test_a_bar_completes_with_the_base_bar_that_reaches_its_end():
    """The fourth hour's close completes the H4 bar at once; an unfinished last bar is left out."""
    made = aggregate(hourly(*(at(1, h) for h in range(7))), "H4")
    assert made.completed_by.tolist() == [3]
    assert made.known_at(7).tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_a_bar_cut_by_a_gap_completes_with_the_next_base_bar():
    """When the last hour is missing, only the next base bar shows that the period is over."""
    made = aggregate(hourly(at(1, 0), at(1, 1), at(1, 2), at(1, 9), at(1, 10), at(1, 11)), "H4")
    assert [from_ns(t) for t in made.bars.ts] == [at(1, 0), at(1, 8)]
    assert made.completed_by.tolist() == [3, 5]


def test_days_follow_the_platforms_midnight():
    """platform: with New York + 7 a winter day runs from 22:00 to 22:00 UTC."""
    bars = hourly(*(at(1, h) for h in range(20, 24)), *(at(2, h) for h in range(24)), at(3, 0))
    made = aggregate(bars, "D1", day_end="New York + 7").bars
    assert [from_ns(t) for t in made.ts] == [datetime(2017, 2, 28, 22, tzinfo=UTC), at(1, 22)]
    assert made.bid_open[1] == 100002
    utc_days = aggregate(bars, "D1").bars
    assert [from_ns(t) for t in utc_days.ts] == [at(1, 0), at(2, 0)]


def test_weeks_start_on_sunday():
    """MetaTrader's weekly bars open on Sunday, so that Sunday's first hours belong to the coming week."""
    bars = hourly(at(3, 21), at(5, 22), at(5, 23), at(12, 22), at(12, 23))
    made = aggregate(bars, "W1").bars
    assert [from_ns(t) for t in made.ts] == [datetime(2017, 2, 26, tzinfo=UTC), at(5, 0)]


def test_base_bars_over_a_boundary_are_refused():
    """platform: H4 bars of a New York + 7 server cannot make UTC days; the message names the remedy."""
    ts = [datetime(2017, 1, 2, 22, tzinfo=UTC), datetime(2017, 1, 3, 2, tzinfo=UTC)]
    base = np.full(2, 100_000, dtype=np.int32)
    bars = Bars.from_arrays(
        "EURUSD",
        "H4",
        np.array([to_ns(t) for t in ts]),
        **{f"{s}_{p}": base for s in ("bid", "ask") for p in PARTS},
    )
    with pytest.raises(
        BarsError,
        match=r"bar of row 0 .* must be inside one D1 period of UTC, was over its end: give .*day_end=",
    ):
        aggregate(bars, "D1")
    assert len(aggregate(bars, "D1", day_end="New York + 7").bars) == 0


@pytest.mark.parametrize("timeframe", ["H1", "M30"])
def test_only_upwards(timeframe):
    """A timeframe that is not longer is refused."""
    with pytest.raises(BarsError, match=f"timeframe must be a multiple of H1, was {timeframe}: aggregate upwards"):
        aggregate(hourly(at(1, 0)), timeframe)


def test_empty_bars_aggregate_to_empty_bars():
    """Nothing in, nothing out."""
    made = aggregate(hourly(at(1, 0))[:0], "D1")
    assert len(made.bars) == 0
    assert made.known_at(0).tolist() == []


@pytest.mark.parametrize(("timeframe", "rule"), [("M5", "5min"), ("H1", "1h"), ("H4", "4h"), ("D1", "1D")])
def test_real_minutes_aggregate_as_pandas_resamples(real, timeframe, rule):
    """On 15,366 real minutes every complete higher bar equals pandas' resample."""
    bars = load_bars(real("oanda_eurusd_m1_bidask_201405.parquet"), symbol="EURUSD", timeframe="M1", price="bidask")
    made = aggregate(bars, timeframe).bars
    how = {
        f"{side}_{part}": w
        for side in ("bid", "ask")
        for part, w in zip(PARTS, ("first", "max", "min", "last"), strict=True)
    }
    want = bars.frame.resample(rule).agg(how).dropna()
    assert len(want) - len(made) in (0, 1)
    want = want.iloc[: len(made)]
    assert made.ts.tolist() == pd.DatetimeIndex(want.index).as_unit("ns").asi8.tolist()
    for name in how:
        assert (made.in_price_units(getattr(made, name)) == want[name].to_numpy()).all()


def test_the_future_does_not_change_what_is_known(real):
    """No look-ahead: cut anywhere, the higher bars known at the cut are those known there with the whole file."""
    whole = load_bars(real("oanda_eurusd_m1_bidask_201405.parquet"), symbol="EURUSD", timeframe="M1", price="bidask")
    full = aggregate(whole, "H1", day_end="New York + 7")
    known = full.known_at(len(whole))
    for cut in (1, 59, 60, 61, 1439, 1440, 5000, 7777, 15366):
        part = aggregate(whole[:cut], "H1", day_end="New York + 7")
        k = int(known[cut - 1])
        assert len(part.bars) == k
        if k:
            assert part.bars == full.bars[:k]

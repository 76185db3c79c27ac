"""Platform wall clocks: exact on real server times, over daylight-saving changes and at midnight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.clock import to_ns
from toolkit.errors import BadInput
from toolkit.market import PlatformClock, day_ids, day_starts, find_clock

NEW_YORK = find_clock("New York + 7")
ATHENS = find_clock("Europe/Athens")

REAL = [
    ("icm_eurusd_m1_mt5_2025a", "New York + 7"),
    ("icm_gbpusd_m1_mt5_2025a", "New York + 7"),
    ("icm_usdcad_m1_mt5_2025a", "New York + 7"),
    ("mt5_eurgbp_h1_bid_2012_2015", "Europe/Athens"),
    ("mt5_eurjpy_h1_bid_2012_2015", "Europe/Athens"),
    ("mt5_gbpjpy_h1_bid_2012_2015", "Europe/Athens"),
    ("mt5_usdjpy_h1_bid_2012_2015", "Europe/Athens"),
    ("mt5_eurusd_h4_bid_2012_2022", "Europe/Athens"),
]


def utc(*args: int) -> np.ndarray:
    return np.array([to_ns(datetime(*args, tzinfo=UTC))], dtype=np.int64)


def wall(*args: int) -> np.ndarray:
    return utc(*args)


@pytest.mark.parametrize(("name", "clock"), REAL, ids=[r[0] for r in REAL])
def test_server_times_of_real_files_convert_without_an_error(real, name, clock):
    """mt5: every ts_server of the file becomes its ts and back, to the nanosecond."""
    frame = pd.read_parquet(real(f"{name}.parquet"), columns=["ts", "ts_server"])
    ts = pd.DatetimeIndex(frame.ts).as_unit("ns").asi8
    server = pd.DatetimeIndex(frame.ts_server).as_unit("ns").asi8
    found = find_clock(clock)
    assert int((found.to_utc(server) != ts).sum()) == 0
    assert int((found.from_utc(ts) != server).sum()) == 0


def test_the_other_clock_fails_on_real_files(real):
    """mt5: the two conventions are told apart by the weeks in which US and EU dates differ."""
    frame = pd.read_parquet(real("mt5_usdjpy_h1_bid_2012_2015.parquet"), columns=["ts", "ts_server"])
    ts = pd.DatetimeIndex(frame.ts).as_unit("ns").asi8
    server = pd.DatetimeIndex(frame.ts_server).as_unit("ns").asi8
    wrong = int((NEW_YORK.from_utc(ts) != server).sum())
    assert wrong > 500


@pytest.mark.parametrize(
    ("moment", "new_york", "athens"),
    [
        ((2025, 1, 15, 12), 2, 2),
        ((2025, 3, 9, 6, 59), 2, 2),
        ((2025, 3, 9, 7, 0), 3, 2),
        ((2025, 3, 30, 0, 59), 3, 2),
        ((2025, 3, 30, 1, 0), 3, 3),
        ((2025, 7, 1, 0), 3, 3),
        ((2025, 10, 26, 1, 0), 3, 2),
        ((2025, 11, 2, 5, 59), 3, 2),
        ((2025, 11, 2, 6, 0), 2, 2),
    ],
)
def test_offsets_follow_us_and_eu_dates(moment, new_york, athens):
    """platform: New York + 7 changes on US dates, Athens on EU dates, at the exact minute."""
    hour = 3_600_000_000_000
    assert NEW_YORK.offsets(utc(*moment)).tolist() == [new_york * hour]
    assert ATHENS.offsets(utc(*moment)).tolist() == [athens * hour]


def test_a_skipped_wall_time_is_refused():
    """platform: a wall time that never was has no UTC moment."""
    with pytest.raises(
        BadInput, match=r"time 2025-03-30T03:30:00 of row 0 .* was skipped by a daylight-saving change: drop"
    ):
        ATHENS.to_utc(wall(2025, 3, 30, 3, 30))


def test_a_wall_time_shown_twice_is_refused():
    """platform: a wall time shown twice has two UTC moments, so it is refused and not guessed."""
    with pytest.raises(
        BadInput, match=r"time 2025-10-26T03:30:00 of row 1 on the clock Europe/Athens .* was shown twice"
    ):
        ATHENS.to_utc(np.concatenate([wall(2025, 10, 26, 2, 30), wall(2025, 10, 26, 3, 30)]))


def test_midnight_of_the_platform_starts_its_day():
    """platform: with New York + 7 the day changes at 17:00 New York, 22:00 UTC in winter and 21:00 in summer."""
    for before, after in (
        ((2025, 1, 15, 21, 59), (2025, 1, 15, 22, 0)),
        ((2025, 7, 15, 20, 59), (2025, 7, 15, 21, 0)),
    ):
        ids = day_ids(np.concatenate([utc(*before), utc(*after)]), "New York + 7")
        assert ids[1] - ids[0] == 1
        assert day_starts(ids[1:], "New York + 7").tolist() == utc(*after).tolist()


def test_days_without_a_clock_are_utc_days():
    """day_ids defaults to UTC days since 1970."""
    assert day_ids(np.concatenate([utc(1970, 1, 1), utc(1970, 1, 2, 23, 59), utc(2017, 3, 1)])).tolist() == [
        0,
        1,
        17226,
    ]


@pytest.mark.parametrize(
    ("words", "zone", "minutes"),
    [
        ("UTC", "UTC", 0),
        ("New York + 7", "America/New_York", 420),
        ("new york+7h", "America/New_York", 420),
        ("Europe/Athens", "Europe/Athens", 0),
        ("UTC+02:00", "UTC", 120),
        ("UTC-5", "UTC", -300),
        ("Etc/GMT+5", "Etc/GMT+5", 0),
    ],
)
def test_clocks_are_found_by_their_words(words, zone, minutes):
    """A clock is written in words and its name reads back to the same clock."""
    clock = find_clock(words)
    assert clock == PlatformClock(zone, minutes)
    assert find_clock(clock.name) == clock


@pytest.mark.parametrize("words", ["Atlantis", "", "New York + x"])
def test_unknown_clocks_are_refused(words):
    """An unknown zone is refused with an example."""
    with pytest.raises(BadInput, match=r"zone must be an IANA time zone, was .*: write it like 'Europe/Athens'"):
        find_clock(words)


def test_shift_must_be_whole_minutes_within_a_day():
    """A shift of more than a day is a unit mistake."""
    with pytest.raises(BadInput, match=r"shift_minutes must be whole minutes within a day, was 25200: 7 h are 420"):
        PlatformClock("UTC", 25200)


@settings(max_examples=300, deadline=None)
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001
    st.sampled_from(["Europe/Athens", "America/New_York", "Asia/Tokyo", "Australia/Sydney", "Africa/Casablanca"]),
)
def test_offsets_equal_those_of_zoneinfo(moment, zone):
    """The vectorised table gives what the standard library gives, at any moment."""
    aware = moment.replace(tzinfo=UTC, microsecond=0)
    want = aware.astimezone(ZoneInfo(zone)).utcoffset()
    assert PlatformClock(zone).offsets(np.array([to_ns(aware)])).tolist() == [want // timedelta(microseconds=1) * 1000]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 4_000_000_000), st.sampled_from([NEW_YORK, ATHENS, find_clock("UTC+05:30")]))
def test_day_starts_bound_their_day(second, clock):
    """A moment lies at or after the start of its day and before the start of the next."""
    ts = np.array([second * 1_000_000_000])
    day = day_ids(ts, clock)
    assert day_starts(day, clock) <= ts
    assert ts < day_starts(day + 1, clock)

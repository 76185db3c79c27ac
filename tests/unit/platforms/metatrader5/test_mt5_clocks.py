"""Finding a server's wall clock: measured from a fresh tick, narrowed by the weeks, never claimed beyond the evidence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from toolkit.clock import ManualClock
from toolkit.market.platform_clock import NEW_YORK_PLUS_7, PlatformClock
from toolkit.platforms.metatrader5.clocks import find_server_clock, measured_offset
from toolkit.platforms.metatrader5.convert import ServerTime
from toolkit.platforms.server_now import ServerNow

DATA = Path(__file__).parents[5] / "shared" / "data"
ATHENS = PlatformClock("Europe/Athens")


def week_of_hours(clock: PlatformClock, weeks: int, first: datetime) -> np.ndarray:
    """Return wall times of H1 bars from Sunday 17:00 to Friday 17:00 New York."""
    new_york = PlatformClock("America/New_York")
    found = []
    for week in range(weeks):
        opening = round((first + timedelta(weeks=week)).replace(tzinfo=UTC).timestamp()) * 10**9
        local = np.array([opening + h * 3_600 * 10**9 for h in range(120)], dtype=np.int64)
        found.append(clock.from_utc(new_york.to_utc(local)) // 10**9)
    return np.concatenate(found)


SUNDAY = datetime(2024, 1, 7, 17, tzinfo=UTC)


@pytest.mark.parametrize(("hours", "age", "expected"), [(2, 3, 120), (3, 200, 180), (0, 0, 0), (-5, 10, -300)])
def test_mt5_offset_is_measured_from_a_fresh_tick(hours: int, age: int, expected: int) -> None:
    """A tick some seconds old gives the server's difference to UTC."""
    tick = int(SUNDAY.timestamp()) + hours * 3600 - age
    assert measured_offset(tick, SUNDAY) == expected


def test_mt5_offset_is_not_measured_from_an_old_tick() -> None:
    """On a weekend the last tick says nothing about the clock."""
    assert measured_offset(int(SUNDAY.timestamp()) - 40 * 3600 - 700, SUNDAY) is None
    assert measured_offset(int(SUNDAY.timestamp()) + 7200 - 900, SUNDAY) is None


def test_mt5_clock_of_a_mismatch_week_is_certain() -> None:
    """In March, when America has changed and Europe has not, the measured offset tells the conventions apart."""
    moment = datetime(2024, 3, 20, 12, tzinfo=UTC)
    assert find_server_clock([], moment, 180).clock == NEW_YORK_PLUS_7
    assert find_server_clock([], moment, 120).clock == ATHENS


def test_mt5_clock_out_of_season_names_its_rivals() -> None:
    """In January New York + 7 and Athens show the same time: both are named, the common one is taken."""
    moment = datetime(2024, 1, 10, 12, tzinfo=UTC)
    found = find_server_clock(week_of_hours(NEW_YORK_PLUS_7, 3, SUNDAY - timedelta(weeks=4)), moment, 120)
    assert found.clock == NEW_YORK_PLUS_7 and ATHENS in found.rivals
    assert "state it in the account's settings" in str(found)


def test_mt5_clock_unlike_any_candidate_is_taken_as_measured() -> None:
    """A broker on UTC+5:30 keeps its own clock."""
    assert find_server_clock([], SUNDAY, 330).clock == PlatformClock("UTC", 330)


@pytest.mark.parametrize("name", ["icm_eurusd_m1_mt5_2025a", "icm_gbpusd_m1_mt5_2025a", "icm_usdcad_m1_mt5_2025a"])
def test_mt5_server_times_of_real_files_convert_to_utc_without_error(name: str) -> None:
    """The server column of every ICMarkets file becomes its UTC column, all rows."""
    pandas = pytest.importorskip("pandas")
    path = DATA / f"{name}.parquet"
    if not path.is_file():
        pytest.skip("the shared data folder is not here")
    frame = pandas.read_parquet(path, columns=["ts", "ts_server"])
    wall = frame["ts_server"].astype("datetime64[s]").astype("int64").to_numpy()
    utc = frame["ts"].astype("datetime64[ns, UTC]").astype("int64").to_numpy()
    time = ServerTime(NEW_YORK_PLUS_7)
    assert (time.utc_columns(wall) == utc).all()
    last = datetime.fromtimestamp(int(utc[-1]) // 10**9, tz=UTC)
    assert find_server_clock(wall, last, None).clock == NEW_YORK_PLUS_7
    assert time.wall(last) == int(wall[-1])


def test_mt5_now_is_never_behind_the_ticks_and_the_time_since() -> None:
    """A machine two hours behind is told the time by the last tick and its own monotonic seconds."""
    machine = ManualClock(SUNDAY - timedelta(hours=2))
    now = ServerNow(machine)
    assert now.now() == SUNDAY - timedelta(hours=2)
    now.saw(SUNDAY)
    machine.advance(30)
    assert now.now() == SUNDAY + timedelta(seconds=30)
    now.saw(SUNDAY + timedelta(seconds=5))  # older than what is known
    assert now.now() == SUNDAY + timedelta(seconds=30)


def test_mt5_now_keeps_a_tick_that_this_machine_was_ahead_of() -> None:
    """The clock was two hours ahead when the tick came and is turned back right after: the tick still counts."""
    machine = ManualClock(SUNDAY + timedelta(hours=2))
    now = ServerNow(machine)
    now.saw(SUNDAY)
    assert now.now() == SUNDAY + timedelta(hours=2)
    machine.jump(SUNDAY - timedelta(hours=2))
    machine.advance(7)
    assert now.now() == SUNDAY + timedelta(seconds=7)


def test_mt5_now_does_not_believe_a_tick_of_another_day() -> None:
    """A tick more than a day ahead of this machine is a mistake somewhere."""
    now = ServerNow(ManualClock(SUNDAY))
    now.saw(SUNDAY + timedelta(days=1, seconds=1))
    assert now.now() == SUNDAY

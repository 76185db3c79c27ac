"""Bars refuse what is not fit to trade on and keep what is, unchanged."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from toolkit.errors import BadInput, BarsError
from toolkit.market import Bars, Instrument, Timeframe

HOUR = 3_600_000_000_000


def make(columns, **changes):
    return Bars.from_arrays("EURUSD", "H1", **{**columns, **changes})


def test_columns_are_int32_points_contiguous_and_read_only(columns):
    """Price columns are kept as C-contiguous, read-only int32 points."""
    bars = make(columns)
    for name in (
        "bid_open",
        "bid_high",
        "bid_low",
        "bid_close",
        "ask_open",
        "ask_high",
        "ask_low",
        "ask_close",
    ):
        column = getattr(bars, name)
        assert column.dtype == np.int32
        assert column.flags.c_contiguous
        assert not column.flags.writeable
    assert bars.ts.dtype == np.int64
    assert not bars.ts.flags.writeable


def test_later_writes_to_the_source_do_not_reach_the_bars(columns):
    """A caller who keeps writing to its arrays does not change bars built from them."""
    bars = make(columns)
    columns["bid_close"][0] = 1
    columns["ts"][0] = 1
    assert bars.bid_close[0] == 105000
    assert bars.ts[1] - bars.ts[0] == HOUR


def test_attributes_cannot_be_set(columns):
    """Bars are immutable."""
    with pytest.raises(AttributeError):
        make(columns).symbol = "X"


def test_floats_are_points_over_scale(columns):
    """What strategy nodes read is exactly bid points divided by 10**digits."""
    bars = make(columns)
    assert bars.close.tolist() == [p / 100000 for p in bars.bid_close.tolist()]
    assert bars.open.tolist() == [p / 100000 for p in bars.bid_open.tolist()]
    assert bars.high.tolist() == [p / 100000 for p in bars.bid_high.tolist()]
    assert bars.low.tolist() == [p / 100000 for p in bars.bid_low.tolist()]
    assert bars.close is bars.close
    assert not bars.open.flags.writeable


REFUSALS = [
    ("duplicate", {"ts": (2, 1)}, r"ts of row 2 \(2017-03-01T01:00:00\+00:00\) must be later .*drop_duplicates"),
    ("unsorted", {"ts": (3, 0)}, r"ts of row 3 .* was earlier than 2017-03-01T02:00:00\+00:00: sort it"),
    (
        "high below low", {"bid_low": (1, 105036), "bid_high": (1, 105035)},
        r"bid_high of row 1 .* must be at or above the low of 105036 points, was 105035 points: drop",
    ),
    ("high below open", {"ask_high": (0, 105010)}, r"ask_high of row 0 .* at or above the open of 105018 points"),
    ("high below close", {"bid_high": (3, 105049)}, r"bid_high of row 3 .* at or above the close of 105050 points"),
    ("low above open", {"bid_low": (1, 105001)}, r"bid_low of row 1 .* at or below the open of 105000 points"),
    ("low above close", {"ask_low": (4, 105049)}, r"ask_low of row 4 .* at or below the close of 105048 points"),
    ("price zero", {"bid_low": (2, 0)}, r"bid_low of row 2 .* must be above 0, was 0 points: drop"),
    ("price negative", {"ask_low": (2, -5)}, r"ask_low of row 2 .* must be above 0, was -5 points: drop"),
    ("crossed open", {"ask_open": (1, 104999)}, r"ask_open of row 1 .* at or above the bid of 105000 points, was 104999"),
    ("crossed close", {"ask_close": (4, 105039)}, r"ask_close of row 4 .* 1 rows are crossed; .*on_crossed=\"drop\""),
    ("crossed high", {"ask_high": (0, 105024)}, r"ask_high of row 0 .* at or above the bid of 105025"),
    ("crossed low", {"ask_low": (0, 104987)}, r"ask_low of row 0 .* at or above the bid of 104988"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
def test_bad_rows_are_refused_with_row_value_and_remedy(columns, changes, message):
    """Each kind of bad row is refused by a message naming row, value and remedy."""
    for name, (row, value) in changes.items():
        columns[name][row] = columns["ts"][value] if name == "ts" else value
    with pytest.raises(BarsError, match=message):
        make(columns)


def test_prices_beyond_int32_are_refused(columns):
    """A price that does not fit 32 bits of points is refused, not wrapped around."""
    wide = columns["ask_high"].astype(np.int64)
    wide[2] = 2**31
    with pytest.raises(
        BarsError, match=r"ask_high of row 2 .* at most 2147483647 points, was 2147483648: use an instr"
    ):
        make(columns, ask_high=wide)


def test_the_largest_point_is_accepted(columns):
    """2**31 - 1 points is the largest price."""
    wide = columns["ask_high"].astype(np.int64)
    wide[2] = 2**31 - 1
    assert make(columns, ask_high=wide).ask_high[2] == 2**31 - 1


def test_wide_integers_that_are_not_positive_are_refused(columns):
    """int64 columns get the same check as int32 ones."""
    with pytest.raises(BarsError, match=r"bid_open of row 0 .* must be above 0, was -1 points"):
        make(columns, bid_open=np.array([-1, 1, 1, 1, 1], dtype=np.int64))


def test_float_prices_are_refused(columns):
    """Decimal prices belong to load_bars; the constructor takes points."""
    with pytest.raises(BarsError, match=r"bid_open must be integer points .*: use load_bars"):
        make(columns, bid_open=columns["bid_open"] / 100000)


def test_columns_of_another_length_are_refused(columns):
    """All columns have one value a bar."""
    with pytest.raises(BarsError, match=r"ask_low must be as long as ts \(5 rows\), was of shape \(4,\)"):
        make(columns, ask_low=columns["ask_low"][:4])


def test_times_that_are_not_int64_are_refused(columns):
    """Times are epoch nanoseconds; datetime64 would be silently naive."""
    with pytest.raises(BarsError, match=r"ts must be one column of int64 epoch nanoseconds .* was datetime64"):
        make(columns, ts=columns["ts"].astype("datetime64[ns]"))


def test_bars_closer_than_the_timeframe_are_refused(columns):
    """M1 data called H1 is refused."""
    ts = columns["ts"][0] + 60_000_000_000 * np.arange(5)
    with pytest.raises(
        BarsError, match=r"ts of row 1 .* at least one H1 after the row before, was 60 s after it: name the"
    ):
        make(columns, ts=ts)


def test_a_short_daylight_saving_day_is_accepted(columns):
    """Daily bars may follow each other after 23 hours."""
    ts = columns["ts"][0] + np.array([0, 24, 47, 71, 95]) * HOUR
    assert len(Bars.from_arrays("EURUSD", "D1", **{**columns, "ts": ts})) == 5


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf])
def test_bad_volume_is_refused(columns, bad):
    """Volume is a finite number of 0 or more."""
    with pytest.raises(BarsError, match=r"volume of row 3 .* must be 0 or more, was"):
        make(columns, volume=np.array([1, 2, 3, bad, 5.0]))


def test_an_unknown_timeframe_is_refused(columns):
    """A timeframe is one of the known names."""
    with pytest.raises(BadInput, match=r"timeframe must be one of M1 M5 .* was 'H7'"):
        Bars.from_arrays("EURUSD", "H7", **columns)


def test_slices_share_memory_and_need_no_validation(columns):
    """bars[i:j] is a view of the same columns."""
    bars = make(columns, volume=np.arange(5.0))
    part = bars[1:4]
    assert len(part) == 3
    assert np.shares_memory(part.bid_open, bars.bid_open)
    assert part.volume.tolist() == [1, 2, 3]
    assert part.close.tolist() == bars.close[1:4].tolist()
    assert bars[-2:].ts.tolist() == bars.ts[3:].tolist()
    assert len(bars[3:3]) == 0


@pytest.mark.parametrize("rows", [2, slice(None, None, 2), slice(None, None, -1)])
def test_other_subscripts_are_refused(columns, rows):
    """A single row or a step is not a run of bars."""
    with pytest.raises(BarsError, match=r"rows must be a slice without step"):
        make(columns)[rows]


def test_between_is_half_open(columns):
    """between takes opens in [start, end) and accepts aware datetimes or ISO text."""
    bars = make(columns)
    assert len(bars.between("2017-03-01T01:00", "2017-03-01T03:00")) == 2
    assert len(bars.between(datetime(2017, 3, 1, 4, tzinfo=UTC))) == 1
    assert len(bars.between(end="2017-03-01")) == 0
    assert len(bars.between("2017-03-01T03:00", "2017-03-01T01:00")) == 0
    assert len(bars.between()) == 5


def test_between_refuses_naive_times(columns):
    """A naive datetime is refused with the remedy."""
    with pytest.raises(BarsError, match=r"start must be tz-aware, was naive 2017-03-01T00:00:00: attach"):
        make(columns).between(datetime(2017, 3, 1))  # noqa: DTZ001
    with pytest.raises(BarsError, match=r"end must be an ISO date or time, was 'soon'"):
        make(columns).between(None, "soon")


def test_closes_at_is_open_plus_timeframe_or_next_open(columns):
    """A bar closes one timeframe after its open, or at the next open on a short day."""
    bars = make(columns)
    assert bars.closes_at(0) == bars.ts[1]
    assert bars.closes_at(-1) == bars.ts[4] + HOUR
    daily = Bars.from_arrays(
        "EURUSD", "D1", **{**columns, "ts": columns["ts"][0] + np.array([0, 24, 47, 71, 95]) * HOUR}
    )
    assert daily.closes_at(1) == daily.ts[2]
    with pytest.raises(BarsError, match=r"row must be from 0 to 4, was 5"):
        bars.closes_at(5)


def test_save_and_open_keep_everything(columns, tmp_path):
    """A saved file reads back equal, instrument and volume included, by numpy alone."""
    gold = Instrument("GOLD.x", "USD", "0.01", 100, "0.01", 50, "0.01", digits=2, source="venue")
    bars = Bars.from_arrays("GOLD.x", "H1", **columns, volume=np.arange(5), instrument=gold)
    again = Bars.open(bars.save(tmp_path / "gold.npz"))
    assert again == bars
    assert again.fingerprint == bars.fingerprint
    assert again.instrument == gold
    assert again.instrument.source == "venue"
    assert again.volume.tolist() == bars.volume.tolist()


def test_a_spoiled_file_is_refused(columns, tmp_path):
    """Reading validates again, so a file changed on disk does not pass."""
    path = make(columns).save(tmp_path / "x.npz")
    with np.load(path) as file:
        arrays = dict(file)
    arrays["ask_close"] = arrays["bid_close"] - 1
    np.savez(path, **arrays)
    with pytest.raises(BarsError, match=r"crossed"):
        Bars.open(path)


@pytest.mark.parametrize("change", ["symbol", "timeframe", "ts", "bid_open", "ask_close", "volume", "digits"])
def test_fingerprint_changes_with_everything_a_result_depends_on(columns, change):
    """No change that can alter a result keeps the fingerprint."""
    bars = make(columns, volume=np.ones(5))
    other = dict(columns, volume=np.ones(5))
    symbol, timeframe, facts = "EURUSD", "H1", bars.instrument.facts()
    if change == "symbol":
        symbol = "EURUSD.r"
    elif change == "timeframe":
        timeframe = "M30"
    elif change == "digits":
        facts["digits"] = 6
    elif change == "ask_close":
        other[change] = other[change] + np.array([0, 0, 0, 0, 1], dtype=np.int32)
    elif change == "bid_open":
        other[change] = other[change] - np.array([1, 0, 0, 0, 0], dtype=np.int32)
    elif change == "ts":
        other[change] = other[change] + np.array([0, 0, 0, 0, HOUR])
    else:
        other["volume"] = np.array([1, 1, 1, 1, 2.0])
    changed = Bars.from_arrays(symbol, timeframe, **other, instrument=Instrument.from_facts(facts))
    assert changed.fingerprint != bars.fingerprint
    assert changed != bars


def test_fingerprint_of_a_slice_equals_that_of_fresh_bars(columns):
    """The fingerprint depends on values, not on how the memory is laid out."""
    bars = make(columns)
    fresh = make({name: column[1:4].copy() for name, column in columns.items()})
    assert bars[1:4].fingerprint == fresh.fingerprint
    assert hash(bars[1:4]) == hash(fresh)


def test_fingerprint_is_pinned(columns):
    """The fingerprint is stored as evidence, so its bytes must not change by accident."""
    assert make(columns).fingerprint == "dc1a8ee144a2dbc8626aa9bb477913179845eb6060840f4f1ef864f6a1e6ba07"


def test_concat_joins_and_validates(columns):
    """concat joins consecutive parts and refuses overlapping or foreign ones."""
    bars = make(columns)
    assert Bars.concat([bars[:2], bars[2:]]) == bars
    with pytest.raises(BarsError, match=r"duplicate"):
        Bars.concat([bars[:3], bars[2:]])
    with pytest.raises(BarsError, match=r"timeframe of every part must be H1, was M30: join only bars of one series"):
        Bars.concat([bars, Bars.from_arrays("EURUSD", "M30", **columns)])
    with pytest.raises(BarsError, match=r"parts must be at least one Bars"):
        Bars.concat([])
    with pytest.raises(BarsError, match=r"all with volume or all without"):
        Bars.concat([bars[:2], make(columns, volume=np.ones(5))[2:]])


def test_pickle_keeps_bars_read_only(columns):
    """Bars travel to a worker process and stay immutable."""
    again = pickle.loads(pickle.dumps(make(columns)))
    assert again == make(columns)
    assert not again.bid_open.flags.writeable


def test_frame_is_a_copy_in_price_units(columns):
    """The pandas view has UTC times and prices, and writing to it leaves the bars alone."""
    bars = make(columns, volume=np.arange(5))
    frame = bars.frame
    assert frame.columns[0] == "bid_open"
    assert str(frame.index.tz) == "UTC"
    assert frame.index.as_unit("ns").asi8.tolist() == bars.ts.tolist()
    assert frame.ask_close.tolist() == [p / 100000 for p in bars.ask_close.tolist()]
    frame.iloc[0, 0] = 0.0
    assert bars.bid_open[0] == 105010


def test_empty_bars_are_allowed(columns):
    """A feed may have nothing new; that is Bars of length 0."""
    empty = make({name: column[:0] for name, column in columns.items()})
    assert len(empty) == 0
    assert "empty" in repr(empty)
    assert len(empty.fingerprint) == 64


def test_timeframe_names_lengths():
    """Each timeframe knows its seconds and nanoseconds."""
    assert [(t.name, t.seconds) for t in Timeframe] == [
        ("M1", 60), ("M5", 300), ("M15", 900), ("M30", 1800), ("H1", 3600), ("H4", 14400), ("D1", 86400), ("W1", 604800)
    ]  # fmt: skip
    assert Timeframe("h1") is Timeframe.H1
    assert Timeframe.M1.ns == 60_000_000_000
    assert f"{Timeframe.H4}" == "H4"


def test_a_million_rows_are_validated_fast():
    """Validation of 10**6 rows is vectorised: the best of five stays under the stated 100 ms, with room for a busy machine."""
    n = 1_000_000
    rng = np.random.default_rng(1)
    o = rng.integers(100_000, 120_000, n, dtype=np.int32)
    c = rng.integers(100_000, 120_000, n, dtype=np.int32)
    h, low = np.maximum(o, c) + np.int32(5), np.minimum(o, c) - np.int32(5)
    made = {"ts": np.arange(n, dtype=np.int64) * 60_000_000_000}
    for name, values in (("open", o), ("high", h), ("low", low), ("close", c)):
        made[f"bid_{name}"], made[f"ask_{name}"] = values, values + np.int32(8)
    best = 9.0
    for _ in range(5):
        start = time.perf_counter()
        Bars.from_arrays("EURUSD", "M1", **made)
        best = min(best, time.perf_counter() - start)
    assert best < 0.3


def test_market_needs_numpy_only():
    """Importing toolkit.market loads neither pandas nor pyarrow nor numba."""
    heavy = "{'pandas', 'pyarrow', 'numba', 'scipy'}"
    code = f"import sys, toolkit.market, toolkit.risk.management; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "set()"

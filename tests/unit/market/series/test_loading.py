"""load_bars reads files and frames of any side, and refuses with a remedy what it cannot trust."""

from __future__ import annotations

import builtins
import warnings
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.clock import to_ns
from toolkit.errors import BarsError, MissingPackage, UnknownSymbol
from toolkit.market import Bars, Instrument, find_instrument, inspect_bars, load_bars


def frame(rows: int = 4, **changes: object) -> pd.DataFrame:
    """Clean EURUSD H1 prices on the point grid."""
    close = np.array([1.05000, 1.05020, 1.04990, 1.05050])[:rows]
    made = pd.DataFrame(
        {
            "ts": pd.date_range("2017-03-01", periods=rows, freq="h", tz="UTC"),
            "open": close - 0.0001, "high": close + 0.0003, "low": close - 0.0004, "close": close,
        }
    )  # fmt: skip
    for name, value in changes.items():
        made[name] = value
    return made


def load(data, **changes):
    return load_bars(data, **{"symbol": "EURUSD", "timeframe": "H1", "price": "bid", "spread_pips": "0.8", **changes})


@pytest.fixture(autouse=True)
def warnings_are_errors():
    """A clean file must load without a warning; tests of warnings catch them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(
    ("price", "bid", "ask"), [("bid", 105000, 105008), ("ask", 104992, 105000), ("mid", 104996, 105004)]
)
def test_each_side_gives_the_other_a_spread_away(price, bid, ask):
    """bid, ask and mid prices put the other side exactly one spread away."""
    bars = load(frame(), price=price)
    assert bars.bid_close[0] == bid
    assert bars.ask_close[0] == ask
    for part in ("open", "high", "low", "close"):
        assert set((getattr(bars, f"ask_{part}") - getattr(bars, f"bid_{part}")).tolist()) == {8}


@settings(max_examples=200, deadline=None)
@given(st.integers(100_000, 150_000), st.integers(0, 60))
def test_mid_of_whole_point_quotes_is_recovered_exactly(bid, spread):
    """A mid on the half-point grid gives back the very bid and ask it is the mid of, odd spreads included."""
    mid = (2 * bid + spread) / 200_000
    one = pd.DataFrame(
        {
            "ts": pd.date_range("2017", periods=1, tz="UTC"),
            **dict.fromkeys(("open", "high", "low", "close"), mid),
        }
    )
    bars = load(one, price="mid", spread_pips=spread / 10)
    assert (bars.bid_close[0], bars.ask_close[0]) == (bid, bid + spread)


def test_bidask_columns_are_taken_as_they_are():
    """With both sides given nothing is added."""
    base = frame()
    both = pd.DataFrame({"ts": base.ts})
    for part in ("open", "high", "low", "close"):
        both[f"bid_{part}"], both[f"ask_{part}"] = base[part], base[part] + 0.00013
    bars = load(both, price="bidask", spread_pips=None)
    assert (bars.ask_high - bars.bid_high).tolist() == [13] * 4
    with pytest.raises(
        BarsError, match=r"spread_pips must be left out with price='bidask', was 0.8: the data has both sides"
    ):
        load(both, price="bidask")


def test_spread_points_column_is_used_unless_a_spread_is_given():
    """A per-bar spread column wins over the default, an explicit spread over the column."""
    data = frame(spread_points=[0, 3, 70, 5])
    assert (load(data, spread_pips=None).ask_low - load(data, spread_pips=None).bid_low).tolist() == [
        0,
        3,
        70,
        5,
    ]
    assert (load(data).ask_low - load(data).bid_low).tolist() == [8] * 4


def test_the_default_spread_is_the_instruments():
    """Without a column or argument the packaged default spread is used; an instrument without one asks for it."""
    assert find_instrument("EURUSD").default_spread_pips * 10 == 13
    assert set((load(frame(), spread_pips=None).ask_open - load(frame(), spread_pips=None).bid_open).tolist()) == {13}
    bare = Instrument("EURUSD", "USD", "0.0001", 100_000, "0.01", 100, "0.01")
    with pytest.raises(
        BarsError, match=r"spread_pips must be given for EURUSD, was None and no default: say the spread"
    ):
        load(frame(), spread_pips=None, instrument=bare)


def test_index_times_other_zones_and_capital_names_are_read():
    """Times may be in the index and in any zone; column names may be capitalised."""
    data = frame().set_index("ts").tz_convert("Asia/Tokyo").rename(columns=str.title)
    assert load(data) == load(frame())


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_files_read_like_the_frame_they_were_written_from(tmp_path, suffix):
    """CSV and Parquet give the same bars."""
    path = tmp_path / f"x.{suffix}"
    data = frame(volume=[1, 2, 3, 4])
    data.to_parquet(path) if suffix == "parquet" else data.to_csv(path, index=False)
    assert load(path) == load(data)
    assert load(str(path)).volume.tolist() == [1, 2, 3, 4]


def test_the_frame_given_is_not_changed():
    """Loading does not rename columns of the caller's frame."""
    data = frame().rename(columns=str.upper)
    load(data.rename(columns={"TS": "ts"}))
    assert list(data.columns) == ["TS", "OPEN", "HIGH", "LOW", "CLOSE"]


def test_naive_times_are_refused_with_both_remedies():
    """Naive times are never assumed to be UTC."""
    data = frame()
    data["ts"] = data.ts.dt.tz_localize(None)
    with pytest.raises(
        BarsError,
        match=r"ts must be tz-aware UTC bar opens, was naive, e.g. 2017-03-01T00:00:00: .*tz_localize.*clock=",
    ):
        load(data)


def test_naive_text_in_csv_is_refused(tmp_path):
    """A CSV with naive times is refused like a frame."""
    data = frame()
    data["ts"] = data.ts.dt.strftime("%Y-%m-%d %H:%M")
    data.to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(BarsError, match="ts must be tz-aware UTC bar opens, was naive"):
        load(tmp_path / "x.csv")


def test_server_times_are_read_by_a_named_clock():
    """platform: clock= says what naive times are told by."""
    data = frame()
    server = data.assign(ts=(data.ts + pd.Timedelta("2h")).dt.tz_localize(None))
    assert load(server, clock="New York + 7") == load(frame())
    assert load(data.assign(ts=data.ts.dt.tz_localize(None)), clock="UTC") == load(frame())
    with pytest.raises(BarsError, match="clock must be left out, was 'UTC': the times carry their own timezone"):
        load(data, clock="UTC")


def bad(column, row, value):
    data = frame()
    data[column] = data[column].astype(object) if isinstance(value, str) else data[column]
    data.loc[row, column] = value
    return data


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (bad("close", 2, np.nan), {}, r"close of row 2 \(2017-03-01T02:00:00\+00:00\) must be a number, was nan: drop the row"),
        (bad("open", 1, np.inf), {}, r"open of row 1 .* must be a number, was inf"),
        (bad("high", 1, 30000.0), {}, r"high of row 1 .* must be at most 21474.83647, was 30000.0: use an instrument"),
        (bad("low", 3, -1.0), {}, r"bid_low of row 3 .* must be above 0, was -100000 points"),
        (bad("high", 3, 1.05), {}, r"bid_high of row 3 .* must be at or above the low of 105010 points, was 105000"),
        (bad("close", 0, "1,05"), {}, r"column close must be numbers, was .*: check the decimal separator"),
        (bad("ts", 1, pd.NaT), {}, r"ts of row 1 must be a time, was missing: drop the row"),
        (frame().drop(columns="low"), {}, r"columns must be open high low close \(price='bid'\), was ts open high close: "),
        (frame(), {"price": "bidask", "spread_pips": None}, r"columns must be bid_open .*: rename or add 'bid_open'"),
        (frame().assign(ts=[1, 2, 3, 4]), {}, r"ts must be tz-aware times .*, was int64 numbers: convert them, .*utc=True"),
        (frame().assign(ts=["soon"] * 4), {}, r"ts must be ISO 8601 times, was .*: write it like 2017-03-01T08:00:00Z"),
        (frame().iloc[::-1], {}, r"ts of row 1 .* must be later than the row before, was earlier than .*sort_values"),
        (pd.concat([frame(), frame()]), {}, r"ts of row 4 .* was earlier than"),
        (frame().iloc[[0, 1, 1, 2]], {}, r"ts of row 2 .* a duplicate of it: drop it, e.g. frame.drop_duplicates"),
        (frame()[:0], {}, "data must be at least one row, was empty"),
        (frame(), {"price": "last"}, "price must be bid, ask, mid or bidask, was 'last'"),
        (frame(), {"on_crossed": "keep"}, "on_crossed must be refuse or drop, was 'keep'"),
        (frame(), {"spread_pips": "0.85"}, r"spread_pips must be 0 or more and a multiple of 0.1, was 0.85: round it"),
        (frame(), {"spread_pips": -1}, r"spread_pips must be 0 or more"),
        (frame(), {"spread_pips": "nan"}, r"spread_pips must be finite, was nan"),
        (frame(), {"timeframe": "H4"}, r"at least one H4 after the row before, was 3600 s after it"),
        (frame(spread_points=[1, 2, -3, 4]), {"spread_pips": None}, r"spread_points of row 2 .* must be 0 or more, was -3"),
        (frame(spread_points=[1, 2, 0.5, 4]), {"spread_pips": None}, r"spread_points of row 2 .* must be whole points, was 0.5"),
        (frame(volume=[1, np.nan, 2, 3]), {}, r"volume of row 1 .* must be 0 or more, was nan"),
        (["x"], {}, "data must be a path or a DataFrame, was list"),
        ("nowhere.csv", {}, "data must be an existing file, was nowhere.csv: check the path"),
    ],
)  # fmt: skip
def test_refusals_name_row_value_and_remedy(data, changes, message):
    """Each kind of bad data is refused by a message that says what to do."""
    with pytest.raises(BarsError, match=message):
        load(data, **changes)


def test_an_unknown_file_kind_is_refused(tmp_path):
    """Only file kinds that keep times and numbers apart are read."""
    (tmp_path / "x.xls").write_text("")
    with pytest.raises(BarsError, match=r"data must be a .csv, .csv.gz or .parquet file, was x.xls"):
        load(tmp_path / "x.xls")


def test_an_unknown_symbol_needs_an_instrument():
    """A symbol outside the table loads with its facts given."""
    with pytest.raises(UnknownSymbol, match="instrument="):
        load(frame(), symbol="ACME")
    acme = Instrument("ACME", "USD", "0.0001", 1, 1, 100, 1, digits=5)
    assert load(frame(), symbol="ACME", instrument=acme).instrument == acme


def test_finer_prices_are_rounded_to_the_nearest_point_with_a_warning():
    """Prices finer than a point are rounded, and the warning says how many and where."""
    data = frame()
    data.loc[0, "close"] = 1.050006
    with pytest.warns(
        UserWarning,
        match=r"close: 1 of 4 prices are finer than a point of EURUSD \(0.00001\), e.g. 1.050006 in row 0",
    ):
        bars = load(data)
    assert bars.bid_close[0] == 105001


def test_missing_pandas_names_the_extra(monkeypatch):
    """Without pandas the message says which extra to install."""
    real_import = builtins.__import__

    def without_pandas(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(MissingPackage, match=r"load_bars needs pandas and pyarrow: pip install 'seatrial\[research\]'"):
        load("x.csv")


REAL = [
    ("oanda_eurusd_h1_bidask_2007_2013", "EURUSD", "H1", "bidask", 43596),
    ("oanda_eurusd_m1_bidask_201405", "EURUSD", "M1", "bidask", 15366),
    ("oanda_eurusd_d1_bidask_2007_2012", "EURUSD", "D1", "bidask", 1877),
    ("oanda_eurgbp_d1_bidask_2007_2012", "EURGBP", "D1", "bidask", 1877),
    ("oanda_gbpusd_d1_bidask_2007_2012", "GBPUSD", "D1", "bidask", 1877),
    ("oanda_de30eur_m1_bidask_20190222", "DE40", "M1", "bidask", 950),
    ("coinbase_btcusd_m1_bidask_20171217", "BTCUSD", "M1", "bidask", 1439),
    ("coinbase_ethusd_m1_bidask_201709", "ETHUSD", "M1", "bidask", 2874),
    ("coinbase_btcusd_h1_2017_2019", "BTCUSD", "H1", "bid", 20111),
    ("icm_eurusd_m1_mt5_2025a", "EURUSD", "M1", "bid", 184293),
    ("icm_gbpusd_m1_mt5_2025a", "GBPUSD", "M1", "bid", 33087),
    ("icm_usdcad_m1_mt5_2025a", "USDCAD", "M1", "bid", 33087),
    ("mt5_eurgbp_h1_bid_2012_2015", "EURGBP", "H1", "bid", 19225),
    ("mt5_eurjpy_h1_bid_2012_2015", "EURJPY", "H1", "bid", 19222),
    ("mt5_gbpjpy_h1_bid_2012_2015", "GBPJPY", "H1", "bid", 19238),
    ("mt5_usdjpy_h1_bid_2012_2015", "USDJPY", "H1", "bid", 19224),
    ("mt5_eurusd_h4_bid_2012_2022", "EURUSD", "H4", "bid", 14400),
]


@pytest.mark.parametrize(("name", "symbol", "timeframe", "price", "rows"), REAL, ids=[r[0] for r in REAL])
def test_real_files_load_exactly(real, name, symbol, timeframe, price, rows):
    """Every row of a clean real file arrives, without a warning, as the shortest decimal of what the file holds."""
    path = real(f"{name}.parquet")
    bars = load_bars(path, symbol=symbol, timeframe=timeframe, price=price)
    source = pd.read_parquet(path)
    assert len(bars) == rows == len(source)
    prefix = "bid_" if price == "bidask" else ""
    for part in ("open", "high", "low", "close"):
        # Some files hold float noise (1.0351500000000001); the nearest decimal of the price is what is meant.
        assert (getattr(bars, part) == source[prefix + part].round(bars.instrument.digits).to_numpy()).all()
        assert np.abs(getattr(bars, part) - source[prefix + part].to_numpy()).max() < 1e-11
    assert bars.ts.tolist() == pd.DatetimeIndex(source.ts).as_unit("ns").asi8.tolist()
    if "spread_points" in source:
        assert (bars.ask_close - bars.bid_close == source.spread_points.to_numpy()).all()


@pytest.mark.parametrize("name", ["icm_eurusd_m1_mt5_2025a", "icm_gbpusd_m1_mt5_2025a"])
def test_server_time_files_load_to_the_same_bars(real, name):
    """mt5: reading ts_server by its clock gives the bars that ts gives."""
    data = pd.read_parquet(real(f"{name}.parquet"))
    symbol = name[4:10].upper()
    server = data.assign(ts=data.ts_server).drop(columns="ts_server")
    kind = {"symbol": symbol, "timeframe": "M1", "spread_pips": None}
    assert load(server, clock="New York + 7", **kind) == load(data, **kind)


def test_real_prices_finer_than_a_point_are_rounded(real):
    """Gold quoted to 0.001 is rounded to the 0.01 of the table, with a warning; own facts keep every digit."""
    path = real("oanda_xauusd_m1_bidask_20140501_09.parquet")
    with pytest.warns(UserWarning, match="finer than a point of XAUUSD"):
        rounded = load_bars(path, symbol="XAUUSD", timeframe="M1", price="bidask")
    fine = Instrument("XAUUSD", "USD", "0.1", 100, "0.01", 50, "0.01", digits=3, base_currency="XAU")
    exact = load_bars(path, symbol="XAUUSD", timeframe="M1", price="bidask", instrument=fine)
    assert len(rounded) == len(exact) == 9558
    assert (exact.close == pd.read_parquet(path).bid_close.to_numpy()).all()
    assert np.abs(rounded.close - exact.close).max() < 0.0051


def test_the_dirty_file_is_refused_inspected_and_dropped(real):
    """The FXCM file with 374 crossed closes is refused, its report counts them, and on_crossed='drop' loads the rest."""
    path = real("fxcm_eurusd_m1_bidask_201405.parquet")
    kind = {"symbol": "EURUSD", "timeframe": "M1", "price": "bidask"}
    with pytest.raises(BarsError, match=r'ask_open of row \d+ .* rows are crossed; .*on_crossed="drop"'):
        load_bars(path, **kind)
    report = inspect_bars(path, **kind)
    assert report.rows == 15857
    assert report.crossed["close"] == 374
    assert report.crossed["open"] == 652
    assert report.zero_spread["close"] == 1080
    assert len(report.gaps) == 179
    assert (report.duplicates, report.unsorted, report.missing_rows, report.disordered) == (0, 0, 0, 0)
    assert not report.loadable
    assert "crossed (ask<bid)" in str(report)
    with pytest.warns(UserWarning, match=rf"{report.crossed_rows} of 15857 rows dropped: ask below bid"):
        bars = load_bars(path, **kind, on_crossed="drop")
    assert len(bars) == 15857 - report.crossed_rows
    assert bars.quality().loadable


def test_a_clean_real_file_has_no_crossed_row(real):
    """The OANDA file of the same days has none of it."""
    bars = load_bars(real("oanda_eurusd_m1_bidask_201405.parquet"), symbol="EURUSD", timeframe="M1", price="bidask")
    report = bars.quality()
    assert report.crossed_rows == 0
    assert set(report.zero_spread.values()) == {0}
    assert report.loadable


def test_inspection_counts_every_kind_of_dirt():
    """Duplicates, disorder, missing values, finer prices and bad highs are counted, not refused."""
    data = frame(4)
    data = pd.concat([data, data.iloc[[3]], data.iloc[[1]]], ignore_index=True)
    data.loc[0, "high"] = 1.0
    data.loc[2, "close"] = np.nan
    data.loc[1, "open"] = 1.0500001234
    report = inspect_bars(data, symbol="EURUSD", timeframe="H1", spread_pips=1)
    assert (report.rows, report.missing_rows, report.duplicates, report.unsorted) == (5, 1, 1, 1)
    assert report.disordered == 1
    assert report.finer_prices == ("open",)
    assert report.spread_points_median == 10
    assert not report.loadable


def test_gaps_are_listed_and_weekends_marked():
    """A gap names the bars around it, how many bars are missing, and whether a Saturday lies in it."""
    friday = to_ns(datetime(2017, 3, 3, 21, tzinfo=UTC))
    hour = 3_600_000_000_000
    ts = friday + hour * np.array([0, 48, 49, 52])
    column = np.full(4, 105000, dtype=np.int32)
    names = ("bid_open", "bid_high", "bid_low", "bid_close", "ask_open", "ask_high", "ask_low", "ask_close")
    report = Bars.from_arrays("EURUSD", "H1", ts, **dict.fromkeys(names, column)).quality()
    assert [(g.missing_bars, g.weekend) for g in report.gaps] == [(47, True), (2, False)]
    assert report.gaps[1].before == datetime(2017, 3, 5, 22, tzinfo=UTC)
    assert report.gaps[1].length.total_seconds() == 3 * 3600
    assert "2017-03-05 22:00 .. 2017-03-06 01:00  2 bars missing" in str(report)
    assert report.zero_spread == {"open": 4, "high": 4, "low": 4, "close": 4}

"""Indicators against independent references, by hand where there is none, and both drivers on all of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from toolkit.market import Bars
from toolkit.strategy import registry
from toolkit.strategy.columns import kernels

Make = Callable[..., st.StrategySpec]


def columns(make: Make, bars: Bars, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Values of named nodes over whole bars."""
    frame = st.evaluate(make(write), bars, frame=True).frame
    assert frame is not None
    return frame


def everything(bars: Any) -> dict[str, Any]:
    """Every indicator there is, some on others."""
    close = bars.close
    return {
        "sma": st.sma(close, 20),
        "wma": st.wma(close, 13),
        "hma": st.hma(close, 16),
        "dema": st.dema(close, 8),
        "tema": st.tema(close, 8),
        "kama": st.kama(close, 10),
        "rsi": st.rsi(close, 14),
        "stochastic": st.stochastic(bars, 14, 3, 3),
        "cci": st.cci(bars, 20),
        "macd": st.macd(close),
        "roc": st.roc(close, 10),
        "momentum": st.momentum(close, 5),
        "williams": st.williams(bars, 14),
        "atr": st.atr(bars, 14),
        "bollinger": st.bollinger(close, 20, 2),
        "keltner": st.keltner(bars),
        "donchian": st.donchian(bars, 20),
        "std": st.std(close, 20, ddof=1),
        "zscore": st.zscore(close, 30),
        "line": st.linear_regression(close, 14),
        "slope": st.slope(close, 14),
        "quantile": st.quantile(close, 21, 0.8),
        "median": st.median(close, 10),
        "supertrend": st.supertrend(bars, 10, 3),
        "sar": st.parabolic_sar(bars),
        "dmi": st.dmi(bars, 14),
        "vwap": st.vwap(bars),
        "obv": st.obv(bars),
        "london_high": st.session_high(bars, 8, 16),
        "asia_low": st.session_low(bars, 22, 7),
        "open9": st.session_open(bars, 9, 10),
        "day_high": st.day_high(bars),
        "day_low": st.day_low(bars),
        "day_open": st.day_open(bars),
        "minute": st.minute_of_day(),
        "weekday": st.weekday(),
        "on_others": st.sma(st.rsi(close, 5), 7) + st.std(st.ema(close, 3), 5),
        "known": st.known(st.rsi(close, 14)),
    }


def test_every_indicator_agrees_in_both_drivers(
    bars: Bars, strategy_of: Make, drivers_agree: Callable[..., None]
) -> None:
    """Columns and single bars give the same bits, with the state saved and restored on the way."""
    drivers_agree(strategy_of(everything), bars[:1500], (1, 13, 14, 200, 777))


@pytest.mark.parametrize(
    "file",
    [("oanda_eurusd_h1_bidask_2007_2013", "EURUSD", "H1", 5), ("mt5_usdjpy_h1_bid_2012_2015", "USDJPY", "H1", 3)],
)
def test_every_indicator_agrees_on_real_prices(
    file: tuple[str, str, str, int], strategy_of: Make, drivers_agree: Callable[..., None], data_bars: Any
) -> None:
    """Columns and single bars give the same bits on a stretch of a real file with its weekends."""
    bars = data_bars(*file)
    if bars.volume is None:
        names = [f"{side}_{part}" for side in ("bid", "ask") for part in ("open", "high", "low", "close")]
        sides = {n: getattr(bars, n) for n in names}
        bars = Bars.from_arrays(symbol=file[1], timeframe=file[2], ts=bars.ts, volume=np.ones(len(bars)), **sides)
    drivers_agree(strategy_of(everything), bars[:12_000], (5_000,))


def test_plain_loops_give_the_bits_of_the_kernels(bars: Bars, strategy_of: Make) -> None:
    """Without numba every indicator gives exactly the same column."""
    compiled = columns(strategy_of, bars[:600], everything)
    kernels.use_numba(False)
    try:
        plain = columns(strategy_of, bars[:600], everything)
    finally:
        kernels.use_numba(True)
    for name, column in compiled.items():
        assert np.array_equal(column, plain[name], equal_nan=column.dtype.kind == "f"), name


def test_no_step_function_is_left_out(strategy_of: Make) -> None:
    """The graphs tested here and in test_drivers.py use every registered node type."""
    used = set(strategy_of(everything).graph.versions())
    elsewhere = {"add", "sub", "mul", "div", "floordiv", "neg", "abs", "sqrt", "min", "max", "gt", "ge", "lt", "le"}
    elsewhere |= {"eq", "ne", "and", "or", "not", "where", "where_logic", "known", "in_session", "shift", "shift_logic"}
    elsewhere |= {"crossed_above", "crossed_below", "ema_sma", "wilder_sma", "rsi_sma", "highest", "lowest"}
    own = {name for name, step in registry.STEPS.items() if not step.source}
    assert own - used - elsewhere == set()


@pytest.fixture(scope="module")
def skender() -> Any:
    """Reference values of Stock.Indicators on 502 daily SPY bars, prices scaled to points."""
    from pathlib import Path

    file = Path(__file__).resolve().parents[4] / "shared" / "data" / "ref_indicators_skender_a.parquet"
    if not file.exists():
        pytest.skip("the shared data folder is not here")
    return pytest.importorskip("pandas").read_parquet(file)


def bars_of(frame: Any) -> Bars:
    """A reference frame as bars with five digits."""
    points = {c: np.round(frame[c].to_numpy() * 1e5).astype(np.int32) for c in ("open", "high", "low", "close")}
    sides = {f"{side}_{c}": v for side in ("bid", "ask") for c, v in points.items()}
    ts = frame["date"].astype("datetime64[ns]").astype("int64").to_numpy()
    volume = frame["volume"].to_numpy(np.float64)
    return Bars.from_arrays(symbol="EURUSD", timeframe="D1", ts=ts, volume=volume, **sides)


@pytest.mark.parametrize(
    ("column", "write"),
    [
        ("sma", lambda b: st.sma(b.close, 20)),
        ("ema", lambda b: st.ema(b.close, 20, seed="sma")),
        ("rsi", lambda b: st.rsi(b.close, 14, seed="sma")),
        ("atr", lambda b: st.atr(b, 14, seed="sma")),
        ("atr_tr", lambda b: st.true_range(b)),
    ],
)
def test_values_of_stock_indicators(column: str, write: Callable[[Any], Any], skender: Any, strategy_of: Make) -> None:
    """Averages, RSI and ATR equal the independent reference to 1e-9, from the same first bar."""
    # the reference was computed on prices of two decimals, rounded for storage to four to ten of its own
    got = columns(strategy_of, bars_of(skender), lambda b: {"value": write(b)})["value"]
    want = skender[column].to_numpy()
    assert np.array_equal(np.isnan(got), np.isnan(want))
    known = ~np.isnan(want)
    assert np.max(np.abs(got[known] / want[known] - 1)) < 1e-9


TALIB: list[tuple[str, Callable[[Any], Any], Callable[[Any, Bars], Any], int]] = [
    ("sma", lambda b: st.sma(b.close, 20), lambda t, b: t.SMA(b.close, 20), 0),
    ("wma", lambda b: st.wma(b.close, 13), lambda t, b: t.WMA(b.close, 13), 0),
    ("ema", lambda b: st.ema(b.close, 26, seed="sma"), lambda t, b: t.EMA(b.close, 26), 0),
    ("dema", lambda b: st.dema(b.close, 10, seed="sma"), lambda t, b: t.DEMA(b.close, 10), 0),
    ("tema", lambda b: st.tema(b.close, 10, seed="sma"), lambda t, b: t.TEMA(b.close, 10), 0),
    ("kama", lambda b: st.kama(b.close, 10), lambda t, b: t.KAMA(b.close, 10), 0),
    ("rsi", lambda b: st.rsi(b.close, 14, seed="sma"), lambda t, b: t.RSI(b.close, 14), 0),
    ("atr", lambda b: st.atr(b, 14, seed="sma"), lambda t, b: t.ATR(b.high, b.low, b.close, 14), 0),
    ("cci", lambda b: st.cci(b, 20), lambda t, b: t.CCI(b.high, b.low, b.close, 20), 0),
    ("roc", lambda b: st.roc(b.close, 10), lambda t, b: t.ROC(b.close, 10), 0),
    ("momentum", lambda b: st.momentum(b.close, 10), lambda t, b: t.MOM(b.close, 10), 0),
    ("williams", lambda b: st.williams(b, 14), lambda t, b: t.WILLR(b.high, b.low, b.close, 14), 0),
    ("std", lambda b: st.std(b.close, 20), lambda t, b: t.STDDEV(b.close, 20), 0),
    ("upper", lambda b: st.bollinger(b.close, 20, 2).upper, lambda t, b: t.BBANDS(b.close, 20, 2, 2)[0], 0),
    ("lower", lambda b: st.bollinger(b.close, 20, 2).lower, lambda t, b: t.BBANDS(b.close, 20, 2, 2)[2], 0),
    ("line", lambda b: st.linear_regression(b.close, 14), lambda t, b: t.LINEARREG(b.close, 14), 0),
    ("slope", lambda b: st.slope(b.close, 14), lambda t, b: t.LINEARREG_SLOPE(b.close, 14), 0),
    ("highest", lambda b: st.highest(b.high, 55), lambda t, b: t.MAX(b.high, 55), 0),
    ("lowest", lambda b: st.lowest(b.low, 20), lambda t, b: t.MIN(b.low, 20), 0),
    ("sar", lambda b: st.parabolic_sar(b).line, lambda t, b: t.SAR(b.high, b.low, 0.02, 0.2), 0),
    ("obv", lambda b: st.obv(b), lambda t, b: t.OBV(b.close, b.volume), 0),
    ("k", lambda b: st.stochastic(b, 14, 3, 3).k, lambda t, b: t.STOCH(b.high, b.low, b.close, 14, 3, 0, 3, 0)[0], 20),
    ("d", lambda b: st.stochastic(b, 14, 3, 3).d, lambda t, b: t.STOCH(b.high, b.low, b.close, 14, 3, 0, 3, 0)[1], 0),
    # other definitions at the start: equal once the start is forgotten
    ("macd", lambda b: st.macd(b.close, seed="sma").line, lambda t, b: t.MACD(b.close, 12, 26, 9)[0], 800),
    ("signal", lambda b: st.macd(b.close, seed="sma").signal, lambda t, b: t.MACD(b.close, 12, 26, 9)[1], 800),
    ("plus", lambda b: st.dmi(b, 14).plus, lambda t, b: t.PLUS_DI(b.high, b.low, b.close, 14), 800),
    ("minus", lambda b: st.dmi(b, 14).minus, lambda t, b: t.MINUS_DI(b.high, b.low, b.close, 14), 800),
    ("adx", lambda b: st.dmi(b, 14).adx, lambda t, b: t.ADX(b.high, b.low, b.close, 14), 1200),
    ("ema seeded", lambda b: st.ema(b.close, 26), lambda t, b: t.EMA(b.close, 26), 800),
]


@pytest.mark.parametrize(("write", "reference", "skip"), [c[1:] for c in TALIB], ids=[c[0] for c in TALIB])
def test_values_of_talib(
    write: Callable[[Any], Any], reference: Callable[[Any, Bars], Any], skip: int, bars: Bars, strategy_of: Make
) -> None:
    """Indicators equal TA-Lib to 1e-9, and begin on the same bar where the definitions agree."""
    talib = pytest.importorskip("talib")
    got = columns(strategy_of, bars, lambda b: {"value": write(b)})["value"]
    want = np.asarray(reference(talib, bars))
    known = ~np.isnan(want)
    known[:skip] = False
    assert known.sum() > 1500
    if skip == 0:
        assert np.array_equal(np.isnan(got), np.isnan(want))
    scale = np.maximum(np.abs(want[known]), 1.0)
    assert np.max(np.abs(got[known] - want[known]) / scale) < 1e-9


def test_quantiles_equal_numpys(bars: Bars, strategy_of: Make) -> None:
    """Rolling quantile and median are numpy's, ties and both ends included."""
    close = np.round(bars.close, 3)  # ties
    fractions = {"least": 0.0, "quarter": 0.25, "middle": 0.5, "most": 1.0}
    got = columns(
        strategy_of,
        bars,
        lambda b: {name: st.quantile((b.close * 1000 + 0.5) // 1, 15, q) for name, q in fractions.items()},
    )
    counts = np.floor(bars.close * 1000 + 0.5)
    assert len(np.unique(close)) < len(close)
    windows = np.lib.stride_tricks.sliding_window_view(counts, 15)
    for name, column in got.items():
        want = np.quantile(windows, fractions[name], axis=1)
        assert np.isnan(column[:14]).all()
        assert np.allclose(column[14:], want, rtol=1e-12, atol=0)


def test_supertrend_by_hand(bars: Bars, strategy_of: Make) -> None:
    """SuperTrend equals a plain loop over its published rule."""
    got = columns(strategy_of, bars, lambda b: {"atr": st.atr(b, 10), "st": st.supertrend(b, 10, 3)})
    mid, close, width = (bars.high + bars.low) / 2, bars.close, 3.0 * got["atr"]
    upper = lower = side = np.nan
    for i in range(len(bars)):
        if np.isnan(width[i]):
            assert np.isnan(got["st.line"][i])
            continue
        high, low = mid[i] + width[i], mid[i] - width[i]
        if np.isnan(side):
            upper, lower, side = high, low, 1.0 if close[i] >= mid[i] else -1.0
        else:
            upper = high if high < upper or close[i - 1] > upper else upper
            lower = low if low > lower or close[i - 1] < lower else lower
            side = (-1.0 if close[i] < lower else 1.0) if side > 0 else (1.0 if close[i] > upper else -1.0)
        assert got["st.side"][i] == side
        assert got["st.line"][i] == (lower if side > 0 else upper)


def test_sessions_by_hand(bars: Bars, strategy_of: Make) -> None:
    """Session values grow inside the session, hold after it, and start only with a session seen from its start."""
    bars = bars[3:400]  # the first bar opens at 03:00, inside the Asian session
    got = columns(
        strategy_of,
        bars,
        lambda b: {"high": st.session_high(b, 8, 16), "asia": st.session_low(b, 22, 7), "open": st.day_open(b)},
    )
    hour = (bars.ts // 3_600_000_000_000) % 24
    day = bars.ts // 86_400_000_000_000
    assert np.isnan(got["high"][:5]).all() and not np.isnan(got["high"][5:]).any()
    assert np.isnan(got["asia"][:19]).all() and not np.isnan(got["asia"][19:]).any()
    assert np.isnan(got["open"][:21]).all() and not np.isnan(got["open"][21:]).any()
    for i in range(30, len(bars)):
        inside = [j for j in range(i + 1) if 8 <= hour[j] < 16]
        last = day[inside[-1]]
        assert got["high"][i] == max(bars.high[j] for j in inside if day[j] == last)
        first = next(j for j in range(len(bars)) if day[j] == day[i])
        assert got["open"][i] == bars.open[first]


def test_vwap_by_hand(bars: Bars, strategy_of: Make) -> None:
    """VWAP is the day's volume-weighted typical price and starts with the first whole day."""
    bars = bars[5:300]
    got = columns(strategy_of, bars, lambda b: {"vwap": st.vwap(b)})["vwap"]
    day = bars.ts // 86_400_000_000_000
    price = (bars.high + bars.low + bars.close) / 3
    assert bars.volume is not None
    for i in range(len(bars)):
        rows = np.flatnonzero(day[: i + 1] == day[i])
        if day[i] == day[0]:
            assert np.isnan(got[i])
        else:
            assert got[i] == pytest.approx(np.average(price[rows], weights=bars.volume[rows]), rel=1e-12)


def test_window_sums_do_not_depend_on_the_start(bars: Bars, strategy_of: Make) -> None:
    """Two runs that began on different bars have the same bits from the second UTC day after both are full."""
    names = ("sma", "wma", "std", "line", "zscore", "bollinger.upper")
    early = columns(strategy_of, bars[:900], everything)
    late = columns(strategy_of, bars[111:900], everything)
    for name in names:
        assert np.array_equal(early[name][111 + 80 :], late[name][80:]), name


def test_flat_prices_have_no_spread(strategy_of: Make, bars: Bars) -> None:
    """Equal values give a deviation of exactly 0 and an unknown z-score, whatever was summed before."""
    write = lambda b: {"s": st.std(st.where(st.weekday() < 2, b.close, 1.1), 12), "z": st.zscore(b.close * 0.0, 5)}  # noqa: E731
    got = columns(strategy_of, bars[:500], write)
    assert (got["s"] == 0.0).sum() > 100 and np.isnan(got["z"]).all()


def test_a_nan_restarts_the_count(strategy_of: Make, bars: Bars) -> None:
    """One missing value makes a window unknown until it is full again, and an average start anew."""
    gap = lambda b: st.where(b.close == b.open, b.close / 0.0, b.close)  # noqa: E731
    hole = np.flatnonzero(bars.close == bars.open)
    assert len(hole) > 3
    got = columns(
        strategy_of, bars, lambda b: {"sma": st.sma(gap(b), 5), "ema": st.ema(gap(b), 5), "hi": st.highest(gap(b), 5)}
    )
    first = next(h for h, g in pairwise(hole) if g - h > 12)
    for column in got.values():
        assert np.isnan(column[first : first + 5]).all() and not np.isnan(column[first + 5 : first + 10]).any()
    assert got["sma"][first + 5] == pytest.approx(bars.close[first + 1 : first + 6].mean(), rel=1e-12)


def test_windows_may_be_parameters(bars: Bars) -> None:
    """Windows and factors of every indicator may be symbols: one graph serves a grid."""

    class Grid(st.SectionedStrategy):
        n = st.Int(20, 4, 60)
        k = st.Float(2.0, 0.5, 4.0)

        def indicators(self, b: Any) -> dict[str, Any]:
            return {
                "hma": st.hma(b.close, self.n),
                "bands": st.bollinger(b.close, self.n, self.k),
                "slope": st.slope(b.close, self.n * 2),
                "q": st.quantile(b.close, self.n, self.k / 4.0),
                "trend": st.supertrend(b, self.n, self.k),
                "std": st.std(b.close, self.n, ddof=1),
            }

        def entry(self, x: Any) -> st.Entry:
            return st.Entry(long=x.close > x.bands.upper)

        def protection(self, x: Any) -> st.Protection:
            return st.Protection(stop_loss=st.Pips(self.n))

        def risk(self) -> Any:
            return st.RiskPercent(self.k)

    spec = st.StrategySpec.from_strategy(Grid())
    moved = spec.with_params(n=33, k=1.5)
    direct = st.StrategySpec.from_strategy(Grid(n=33, k=1.5))
    assert moved == direct
    one, two = (st.evaluate(s, bars, frame=True) for s in (moved, direct))
    assert one.frame is not None and two.frame is not None
    for name in one.frame:
        assert np.array_equal(one.frame[name], two.frame[name], equal_nan=True)
    assert one.stop_points.tolist() == [330]
    assert str(moved.risk.percent) == "1.5"  # type: ignore[union-attr]

"""What the charts draw: merged candles keep every extreme, thinned curves too, and equity adds up."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panel_app.charts import series


@given(start=st.integers(0, 400), count=st.integers(1, 500), factor=st.sampled_from([1, 2, 8, 64]))
def test_merged_candles_open_and_close_as_their_bars_and_keep_high_and_low(
    seeding: Any, start: int, count: int, factor: int
) -> None:
    """However bars are merged, first open, last close, highest high and lowest low of the span stay."""
    bars = _bars(seeding)
    stop = min(start + count, len(bars))
    drawn = series.candles(bars, start, stop, factor)
    first = (start // factor) * factor
    assert drawn["open"][0] == bars.open[first]
    assert drawn["close"][-1] == bars.close[stop - 1]
    assert drawn["high"].max() == bars.high[first:stop].max()
    assert drawn["low"].min() == bars.low[first:stop].min()
    assert len(drawn["x"]) == -(-(stop - first) // factor)


_CACHE: dict[str, Any] = {}


def _bars(seeding: Any) -> Any:
    if "bars" not in _CACHE:
        _CACHE["bars"] = seeding.made_bars(900)
    return _CACHE["bars"]


def test_candles_of_no_bars_are_empty_columns(seeding: Any) -> None:
    """A run that has seen nothing yet gets a chart without candles, not an error."""
    drawn = series.candles(_bars(seeding), 0, 0)
    assert set(drawn) == set(series.CANDLE_COLUMNS)
    assert all(len(column) == 0 for column in drawn.values())


@given(count=st.integers(1, 2_000_000), most=st.integers(2, 1500))
def test_the_merge_factor_is_the_smallest_power_of_two_that_fits(count: int, most: int) -> None:
    """The factor keeps the candles under the limit, and half of it would not."""
    factor = series.merge_factor(count, most)
    assert -(-count // factor) + 1 <= most
    assert factor == 1 or -(-count // (factor // 2)) + 1 > most


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), most=st.integers(4, 60))
def test_a_thinned_curve_keeps_its_ends_and_extremes(values: list[float], most: int) -> None:
    """Thinning leaves first, last, highest and lowest, in order, and hardly more points than asked for."""
    y = np.array(values)
    rows = series.thin(y, most)
    assert list(rows) == sorted(set(rows))
    assert (rows[0], rows[-1]) == (0, len(y) - 1)
    assert (y[rows].max(), y[rows].min()) == (y.max(), y.min())
    assert len(rows) <= max(most, 4)


def test_equity_ends_at_capital_plus_realised_when_nothing_is_open(seed: Any, seeding: Any) -> None:
    """The last point of a flat run's curve is its money, and drawdown is never above zero."""
    run, topic_trades = _run_trades(seed, seeding, 120)
    curve = series.EquityCurve(run.bars, Decimal("10000.00"), "USD")
    curve.update(run.row, topic_trades)
    assert curve.marked
    assert curve.equity[-1] == pytest.approx(float(run.equity), abs=0.005)
    assert len(curve.equity) == run.row
    assert (curve.fall <= 0).all()


def test_equity_in_a_third_currency_draws_only_realised_money(seed: Any, seeding: Any) -> None:
    """When neither currency of the pair is the account's, no rate is guessed: the curve moves at exits only."""
    run, trades = _run_trades(seed, seeding, 120)
    curve = series.EquityCurve(run.bars, Decimal("10000.00"), "JPY")
    curve.update(run.row, trades)
    assert not curve.marked
    moves = np.flatnonzero(np.diff(curve.equity))
    assert list(moves + 1) == [35, 75, 115]


def test_equity_of_a_pair_quoted_the_other_way_converts_at_the_close(seed: Any, seeding: Any) -> None:
    """In the base currency, open profit is divided by the close at which it is marked."""
    run, trades = _run_trades(seed, seeding, 30)
    (trade,) = trades
    trade = replace(trade, commission=Decimal(0))
    quote = series.EquityCurve(run.bars, Decimal(0), "USD")
    base = series.EquityCurve(run.bars, Decimal(0), "EUR")
    for curve in (quote, base):
        curve.update(run.row, [trade])
    side = run.bars.bid_close if trade.side == "BUY" else run.bars.ask_close
    price = side[run.row - 1] / run.bars.instrument.scale
    assert base.equity[-1] == pytest.approx(quote.equity[-1] / price)


def _run_trades(seed: Any, seeding: Any, count: int) -> Any:
    from toolkit.store.reading.queries import ReadSide

    run = seed.run(seed.account(), seed.version(), seeding.made_bars(200))
    run.advance(count)

    class Me:
        user_id = seed.user_id

    return run, ReadSide(seed.engine).trades(Me(), run_id=run.run_id)

"""Higher timeframes inside a strategy: nothing is read before it is over, and both drivers agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from toolkit.errors import BarsError, StrategyError
from toolkit.market import Bars
from toolkit.strategy.drivers import columnar

Make = Callable[..., st.StrategySpec]


def filtered(bars: Any) -> dict[str, Any]:
    """Indicators of three timeframes, mixed."""
    h4, d1 = st.higher_timeframe(bars, "H4"), st.higher_timeframe(bars, "D1", day_end="New York + 7")
    return {
        "h4": h4.close,
        "h4_ema": st.ema(h4.close, 5),
        "h4_up": st.crossed_above(h4.close, st.sma(h4.close, 3)),
        "h4_range": h4.high - h4.low,
        "d1_open": d1.open.shift(1),
        "d1_atr": st.atr(d1, 3),
        "mixed": bars.close - st.sma(h4.hl2, 4) + st.rsi(d1.close, 2) * 0.001,
        "volume": h4.volume,
    }


@pytest.fixture
def spec(strategy_of: Make) -> st.StrategySpec:
    """An entry that needs the higher timeframe's side."""
    return strategy_of(
        filtered,
        entry=lambda x: st.Entry(long=(x.close > x.h4_ema) & x.h4_up, short=x.close < x.h4_ema),
        protection=lambda x: st.Protection(stop_loss=x.d1_atr),
    )


def with_gaps(bars: Bars) -> Bars:
    """The bars without some hours, also at the ends of higher periods."""
    keep = np.ones(len(bars), bool)
    keep[np.random.default_rng(3).integers(0, len(bars), len(bars) // 3)] = False
    names = [f"{side}_{part}" for side in ("bid", "ask") for part in ("open", "high", "low", "close")]
    sides = {n: np.ascontiguousarray(getattr(bars, n)[keep]) for n in names}
    assert bars.volume is not None
    return Bars.from_arrays(symbol="EURUSD", timeframe="H1", ts=bars.ts[keep], volume=bars.volume[keep], **sides)


@pytest.mark.parametrize("gaps", [False, True])
def test_higher_timeframes_agree_in_both_drivers(
    gaps: bool, spec: st.StrategySpec, bars: Bars, drivers_agree: Callable[..., None]
) -> None:
    """Columns and single bars are equal to the bit, with missing hours, over a saved state and a clock change."""
    chosen = with_gaps(bars) if gaps else bars
    assert st.StrategySpec.from_json(spec.to_json()) == spec
    drivers_agree(spec, chosen, (3, 250, 1111))


def test_a_higher_bar_is_read_when_it_is_over(strategy_of: Make, bars: Bars) -> None:
    """On the bar that opens at 03:00 the H4 close of 00:00 is known for the first time, not one bar earlier."""
    made = strategy_of(lambda b: {"h4": st.higher_timeframe(b, "H4").close})
    frame = st.evaluate(made, bars[:24], frame=True).frame
    assert frame is not None
    held = frame["h4"]
    assert np.isnan(held[:3]).all()
    for i in range(3, 24):
        assert held[i] == bars.close[(i + 1) // 4 * 4 - 1]


def test_the_future_does_not_change_the_past(spec: st.StrategySpec, bars: Bars) -> None:
    """Cutting the bars anywhere leaves all earlier values as they were."""
    whole = st.evaluate(spec, bars[:600], frame=True)
    for cut in (97, 203, 388, 599):
        part = st.evaluate(spec, bars[:cut], frame=True)
        assert np.array_equal(part.code, whole.code[:cut])
        assert part.frame is not None and whole.frame is not None
        for name, column in part.frame.items():
            assert np.array_equal(column, whole.frame[name][:cut], equal_nan=column.dtype.kind == "f"), name


def test_the_live_driver_needs_the_timeframe(spec: st.StrategySpec, bars: Bars) -> None:
    """Without the base timeframe nobody knows when a higher bar is over."""
    with pytest.raises(StrategyError, match="timeframe must be given for a strategy that reads"):
        st.Incremental(spec, bars.instrument)


def test_a_lower_timeframe_is_refused(strategy_of: Make, bars: Bars) -> None:
    """A timeframe that is not higher cannot be built."""
    made = strategy_of(lambda b: {"m5": st.higher_timeframe(b, "M5").close})
    with pytest.raises(BarsError, match="must be a multiple of H1"):
        st.evaluate(made, bars, frame=True)
    with pytest.raises(BarsError, match="must be a multiple of H1"):
        st.Incremental(made, bars.instrument, timeframe="H1")


def test_timeframes_are_derived_from_the_own_bars(strategy_of: Make) -> None:
    """A timeframe of a timeframe is refused."""
    with pytest.raises(StrategyError, match="derive each timeframe from the strategy's own bars"):
        strategy_of(lambda b: {"d1": st.higher_timeframe(st.higher_timeframe(b, "H4"), "D1").close})


def test_blocks_are_refused(spec: st.StrategySpec, bars: Bars) -> None:
    """Blocks of columns work on one timeframe only, and say so."""
    with pytest.raises(StrategyError, match="on one timeframe"):
        columnar.advance(spec, bars)

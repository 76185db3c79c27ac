"""Every node type on real prices: both drivers give the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from toolkit.market import Bars

FILES = {
    "oanda_eurusd_h1_bidask_2007_2013": ("EURUSD", "H1", 5),
    "mt5_usdjpy_h1_bid_2012_2015": ("USDJPY", "H1", 3),
    "icm_eurusd_m1_mt5_2025a": ("EURUSD", "M1", 5),
}


def every_node(bars: Any) -> dict[str, Any]:
    """Every node type of the spine, by name."""
    close = bars.close
    return {
        "ema": st.ema(close, 12),
        "ema_sma": st.ema(close, 26, seed="sma"),
        "wilder": st.wilder(close, 14, seed="sma"),
        "sma": st.sma(close, 50),
        "rsi": st.rsi(close, 14),
        "rsi_sma": st.rsi(close, 14, seed="sma"),
        "atr": st.atr(bars, 14),
        "highest": st.highest(bars.high, 55),
        "lowest": st.lowest(bars.low, 20).shift(1),
        "ratio": (close - bars.open) / (bars.high - bars.low),
        "above": st.crossed_above(close, st.sma(close, 20)),
        "below": st.crossed_below(st.rsi(close, 14), 30),
        "session": st.hour_between(7.5, 16) & (st.weekday() < 4),
        "hlc3": st.where(close > bars.open, bars.hlc3, bars.hl2),
    }


@pytest.mark.parametrize("name", FILES)
def test_every_node_agrees_on_real_prices(
    name: str, strategy_of: Callable[..., st.StrategySpec], drivers_agree: Callable[..., None], data_bars: Any
) -> None:
    """Columns and single bars are equal to the bit on a whole real file, a state saved in the middle included."""
    bars: Bars = data_bars(name, *FILES[name])
    spec = strategy_of(
        every_node,
        entry=lambda x: st.Entry(long=x.above & x.session, short=x.below),
        exit=lambda x: st.Exit(long=x.close < x.lowest, short=x.close > x.ema),
        protection=lambda x: st.Protection(stop_loss=2 * x.atr, take_profit=3 * x.atr),
    )
    drivers_agree(spec, bars, (len(bars) // 3, len(bars) // 2))
    code = st.evaluate(spec, bars).code
    assert np.count_nonzero(code & 1) > 50 and np.count_nonzero(code & 2) > 50

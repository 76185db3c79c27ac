"""Signal functions for the tests of `FunctionStrategy`: sound ones, and one for each way to read the future."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def cross(bars: Any, fast: int = 12, slow: int = 30) -> Any:
    """Cross of two rolling means, with a stop by range."""
    close = bars["close"]
    a, b = close.rolling(fast).mean().round(7), close.rolling(slow).mean().round(7)
    up = (a > b) & (a.shift(1) <= b.shift(1))
    down = (a < b) & (a.shift(1) >= b.shift(1))
    reach = (bars["high"] - bars["low"]).rolling(20).max()
    return pd.DataFrame({"entry_long": up, "entry_short": down, "exit_long": down, "exit_short": up, "reach": reach})


def from_talib(bars: Any, n: int = 14) -> Any:
    """TA-Lib inside: its sums begin with the window, so the reading is rounded."""
    import talib

    rsi = np.round(talib.SMA(talib.MOM(bars["close"].to_numpy(), n), n), 7)
    rsi = pd.Series(rsi, bars.index)
    return {"entry_long": (rsi > 0) & (rsi.shift(1) <= 0), "entry_short": (rsi < 0) & (rsi.shift(1) >= 0)}


def from_vectorbt(bars: Any, n: int = 20) -> Any:
    """A vectorbt indicator inside."""
    import vectorbt as vbt

    mean = vbt.MA.run(bars["close"], n).ma.round(7)
    above = bars["close"] > mean
    return {
        "entry_long": above & ~above.shift(1, fill_value=True),
        "entry_short": ~above & above.shift(1, fill_value=False),
    }


def centred_window(bars: Any) -> Any:
    """A mean over bars on both sides."""
    mean = bars["close"].rolling(9, center=True).mean()
    return {"entry_long": bars["close"] < mean, "entry_short": bars["close"] > mean}


def whole_series_mean(bars: Any) -> Any:
    """A threshold that knows every close."""
    return {"entry_long": bars["close"] < bars["close"].mean(), "entry_short": bars["close"] > bars["close"].mean()}


def resample_labelled_early(bars: Any) -> Any:
    """The close of a four-hour bar, known at its first hour."""
    wide = bars["close"].resample("4h").last().reindex(bars.index, method="ffill")
    return {"entry_long": wide > bars["close"], "entry_short": wide < bars["close"]}


def next_bar(bars: Any) -> Any:
    """The close of the bar after."""
    after = bars["close"].shift(-1)
    return {"entry_long": after > bars["close"], "entry_short": after < bars["close"]}


def remembers_everything(bars: Any) -> Any:
    """Counts bars from the first one."""
    count = np.arange(len(bars)) % 11
    return {"entry_long": count == 0, "entry_short": count == 5}


def numbers_for_bools(bars: Any) -> Any:
    """Conditions as numbers."""
    return {"entry_long": bars["close"].diff()}

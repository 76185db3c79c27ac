"""What `research.py` measures: the bars, our strategies, and the same rules written vectorbt's and backtesting.py's way."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.market import Bars, find_instrument
from toolkit.research.backtest import backtest
from toolkit.simulation.account import PaperAccount
from toolkit.strategy import (
    Entry,
    Exit,
    Int,
    Pips,
    Protection,
    RiskPercent,
    SectionedStrategy,
    atr,
    bollinger,
    compute,
    crossed_above,
    crossed_below,
    ema,
    highest,
    lowest,
    rsi,
)

ACCOUNT = PaperAccount("USD", 1_000_000)
STOP, TARGET = 20e-4, 40e-4


def walk(n: int, seed: int = 0) -> Bars:
    """A seeded walk in points, M1."""
    rng = np.random.default_rng(seed)
    close = np.maximum(120_000 + np.cumsum(rng.normal(0, 33, n)).astype(int), 30_000)
    open_ = np.concatenate([[120_000], close[:-1]]) + rng.integers(-5, 6, n)
    high, low = np.maximum(open_, close) + rng.integers(0, 20, n), np.minimum(open_, close) - rng.integers(0, 20, n)
    spread = rng.integers(2, 13, n)
    ts = 1_600_000_020_000_000_000 // 60_000_000_000 * 60_000_000_000 + 60_000_000_000 * np.arange(n)
    columns = {"bid_open": open_, "bid_high": high, "bid_low": low, "bid_close": close}
    columns |= {name.replace("bid", "ask"): values + spread for name, values in list(columns.items())}
    return Bars.from_arrays("EURUSD", "M1", ts, instrument=find_instrument("EURUSD"), **columns)


class Fixed(SectionedStrategy):
    """Stop of 20 pips, target of 40, 0.01 % risk."""

    def protection(self, x: Any) -> Protection:
        return Protection(stop_loss=Pips(20), take_profit=Pips(40))

    def risk(self) -> RiskPercent:
        return RiskPercent(0.01)


class EmaCross(Fixed):
    """Two exponential averages cross."""

    fast = Int(12, 2, 400)
    slow = Int(26, 3, 900)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {"fast": ema(bars.close, self.fast), "slow": ema(bars.close, self.slow)}

    def entry(self, x: Any) -> Entry:
        return Entry(long=crossed_above(x.fast, x.slow), short=crossed_below(x.fast, x.slow))


class RsiReversal(Fixed):
    """Oversold is bought, overbought sold."""

    n = Int(14, 2, 100)
    level = Int(30, 5, 45)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {"r": rsi(bars.close, self.n)}

    def entry(self, x: Any) -> Entry:
        return Entry(long=crossed_above(x.r, self.level), short=crossed_below(x.r, 100 - self.level))


class Donchian(Fixed):
    """The close leaves the range of the bars before; left at the shorter range."""

    enter = Int(55, 5, 400)
    leave = Int(20, 5, 200)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {
            "c": bars.close,
            "up": highest(bars.high, self.enter).shift(1),
            "down": lowest(bars.low, self.enter).shift(1),
            "xup": highest(bars.high, self.leave).shift(1),
            "xdown": lowest(bars.low, self.leave).shift(1),
        }

    def entry(self, x: Any) -> Entry:
        return Entry(long=x.c > x.up, short=x.c < x.down)

    def exit(self, x: Any) -> Exit:
        return Exit(long=x.c < x.xdown, short=x.c > x.xup)


class Filtered(EmaCross):
    """A twelve-node graph: crosses, with the trend, not overbought, when the range is wide."""

    def indicators(self, bars: Any) -> dict[str, Any]:
        more = {"trend": ema(bars.close, 200), "r": rsi(bars.close, 14), "a": atr(bars, 14), "c": bars.close}
        return super().indicators(bars) | more

    def entry(self, x: Any) -> Entry:
        wide = x.a > 0.0003
        return Entry(
            long=crossed_above(x.fast, x.slow) & (x.c > x.trend) & (x.r < 70) & wide,
            short=crossed_below(x.fast, x.slow) & (x.c < x.trend) & (x.r > 30) & wide,
        )


def ours(bars: Bars) -> int:
    """The whole public call with materialised trades and equity."""
    result = backtest(EmaCross(), bars, account=ACCOUNT)
    return len(result.trades) + len(result.equity)


def frame_of(bars: Bars) -> Any:
    import pandas as pd

    columns = {"open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(bars.ts))


def vectorbt_run(frame: Any, long: Any, short: Any, engine: str, leave: tuple[Any, Any] | None = None) -> float:
    import vectorbt as vbt

    close = frame["close"].to_numpy()[:, None]
    more = {} if leave is None else {"exits": leave[0], "short_exits": leave[1]}
    portfolio = vbt.Portfolio.from_signals(
        frame["close"], entries=long, short_entries=short, price=frame["open"], open=frame["open"], high=frame["high"],
        low=frame["low"], sl_stop=STOP / close, tp_stop=TARGET / close, size=5_000.0, init_cash=1e6,
        upon_opposite_entry="reverse", freq="1min", engine=engine, **more,
    )  # fmt: skip
    portfolio.trades.count()
    portfolio.max_drawdown()
    portfolio.sharpe_ratio()
    return float(np.sum(portfolio.total_return()))


def vectorbt_cross(frame: Any, fast: Any, slow: Any, engine: str) -> float:
    """Averages, crosses, fills at the next open, stops, trades, return, Sharpe and drawdown, vectorbt's way."""
    import vectorbt as vbt

    a = vbt.MA.run(frame["close"], fast, ewm=True, short_name="fast")
    b = vbt.MA.run(frame["close"], slow, ewm=True, short_name="slow")
    long, short = a.ma_crossed_above(b), a.ma_crossed_below(b)
    return vectorbt_run(frame, long.vbt.signals.fshift(1), short.vbt.signals.fshift(1), engine)


def vectorbt_rsi(frame: Any, sets: list[dict[str, int]], engine: str) -> float:
    """RSI reversals in one wide call."""
    import pandas as pd
    import vectorbt as vbt

    r = vbt.RSI.run(frame["close"], sorted({s["n"] for s in sets}), ewm=True).rsi
    columns = [r[s["n"]] if r.ndim > 1 and s["n"] in r.columns else r.iloc[:, 0] for s in sets]
    wide = pd.concat([c.iloc[:, 0] if c.ndim > 1 else c for c in columns], axis=1, keys=range(len(sets)))
    level = np.array([s["level"] for s in sets], float)
    before = wide.shift(1)
    long = (wide > level) & (before <= level)
    short = (wide < 100 - level) & (before >= 100 - level)
    return vectorbt_run(frame, long.vbt.signals.fshift(1), short.vbt.signals.fshift(1), engine)


def vectorbt_donchian(frame: Any, sets: list[dict[str, int]], engine: str) -> float:
    """Breakouts in one wide call."""
    import pandas as pd

    close = frame["close"]

    def bands(n: int) -> tuple[Any, Any]:
        return frame["high"].rolling(n).max().shift(1), frame["low"].rolling(n).min().shift(1)

    found = {n: bands(n) for s in sets for n in (s["enter"], s["leave"])}
    parts = [
        (
            close > found[s["enter"]][0],
            close < found[s["enter"]][1],
            close < found[s["leave"]][1],
            close > found[s["leave"]][0],
        )
        for s in sets
    ]
    long, short, xl, xs = (
        pd.concat([p[k] for p in parts], axis=1, keys=range(len(sets))).vbt.signals.fshift(1) for k in range(4)
    )
    return vectorbt_run(frame, long, short, engine, (xl, xs))


def vectorbt_filtered(frame: Any, sets: list[dict[str, int]], engine: str) -> float:
    """The filtered crosses in one wide call."""
    import vectorbt as vbt

    close = frame["close"]
    a = vbt.MA.run(close, [s["fast"] for s in sets], ewm=True).ma.to_numpy()
    b = vbt.MA.run(close, [s["slow"] for s in sets], ewm=True).ma
    import pandas as pd

    trend = close.ewm(span=200, adjust=False).mean().to_numpy()[:, None]
    r = vbt.RSI.run(close, 14, ewm=True).rsi.to_numpy().reshape(-1, 1)
    wide = vbt.ATR.run(frame["high"], frame["low"], close, 14, ewm=True).atr.to_numpy().reshape(-1, 1) > 0.0003
    now = pd.DataFrame(a > b.to_numpy(), index=close.index)
    up, down = now & ~now.shift(1, fill_value=False), ~now & now.shift(1, fill_value=False)
    c = close.to_numpy()[:, None]
    long, short = up & (c > trend) & (r < 70) & wide, down & (c < trend) & (r > 30) & wide
    return vectorbt_run(frame, long.vbt.signals.fshift(1), short.vbt.signals.fshift(1), engine)


def backtesting_py(frame: Any) -> float:
    """The same rules in backtesting.py: next open, stop and target in the bar, constant relative spread."""
    from backtesting import Backtest, Strategy

    close = frame["close"]
    fast, slow = (close.ewm(span=n, adjust=False).mean().to_numpy() for n in (12, 26))

    class Cross(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.up = self.I(lambda: fast > slow)

        def next(self) -> None:
            if len(self.data) < 3 or self.up[-1] == self.up[-2]:
                return
            price = self.data.Close[-1]
            self.position.close()
            if self.up[-1]:
                self.buy(size=0.05, sl=price - STOP, tp=price + TARGET)
            else:
                self.sell(size=0.05, sl=price + STOP, tp=price - TARGET)

    table = frame.rename(columns=str.capitalize)
    stats = Backtest(table, Cross, cash=1e6, spread=0.00006, margin=0.01, finalize_trades=True).run()
    return float(stats["Return [%]"])


class Four(Fixed):
    """The four indicators, and nothing else to do."""

    def indicators(self, bars: Any) -> dict[str, Any]:
        return four_of(bars)

    def entry(self, x: Any) -> Entry:
        return Entry(long=False)


def four_of(bars: Any) -> dict[str, Any]:
    """EMA, RSI, ATR and Bollinger bands."""
    return {"e": ema(bars.close, 26), "r": rsi(bars.close, 14), "a": atr(bars, 14), "b": bollinger(bars.close, 20)}


def four_ours(bars: Bars) -> Any:
    """All four in one call."""
    return compute(bars, four_of)


def four_pandas(frame: Any) -> Any:
    """The same four, as pandas users write them."""
    import pandas as pd

    high, low, close = frame["high"], frame["low"], frame["close"]
    change, before = close.diff(), close.shift(1)
    up, down = (c.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean() for c in (change, -change))
    ranges = pd.concat([high - low, (high - before).abs(), (low - before).abs()], axis=1).max(axis=1)
    middle, spread = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    return (
        close.ewm(span=26, adjust=False).mean(), 100 - 100 / (1 + up / down),
        ranges.ewm(alpha=1 / 14, adjust=False).mean(), middle, middle + 2 * spread, middle - 2 * spread,
    )  # fmt: skip


def four_vectorbt(frame: Any) -> Any:
    """The same four by vectorbt."""
    import vectorbt as vbt

    high, low, close = frame["high"], frame["low"], frame["close"]
    bands = vbt.BBANDS.run(close, 20)
    return (
        vbt.MA.run(close, 26, ewm=True).ma, vbt.RSI.run(close, 14, ewm=True).rsi,
        vbt.ATR.run(high, low, close, 14, ewm=True).atr, bands.upper, bands.middle, bands.lower,
    )  # fmt: skip

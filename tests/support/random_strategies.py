"""Random strategies over the whole graph, as hypothesis draws them, and the files they run on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from hypothesis import strategies as hs

import toolkit.strategy as st
from toolkit.market import Bars, load_bars
from toolkit.risk.guardrails import Guards

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

#: Real files long enough for slices of 20,000 bars, with a timeframe above their own.
FILES: dict[str, tuple[dict[str, Any], str]] = {
    "oanda_eurusd_h1_bidask_2007_2013": ({"symbol": "EURUSD", "timeframe": "H1", "price": "bidask"}, "H4"),
    "icm_eurusd_m1_mt5_2025a": ({"symbol": "EURUSD", "timeframe": "M1", "price": "bid"}, "M15"),
    "icm_gbpusd_m1_mt5_2025a": ({"symbol": "GBPUSD", "timeframe": "M1", "price": "bid"}, "H1"),
    "icm_usdcad_m1_mt5_2025a": ({"symbol": "USDCAD", "timeframe": "M1", "price": "bid"}, "M5"),
}


@st.indicator(settings=("n",), state={"e": nan})
def drifting(x: Any, n: Any, e: Any) -> Any:
    """A user's own average: moves a fraction of the way, not at all for small changes."""
    if e != e:
        return x, x
    d = x - e
    e = e if abs(d) < 0.00002 else e + d / (n + 1)
    return e, e


@st.indicator
def body(high: Any, low: Any, close: Any, open: Any) -> Any:
    """A user's own node without memory: the share of a bar that its body fills."""
    return abs(close - open) / (high - low)


NUMBERS: list[Callable[..., Any]] = [
    lambda b, h, a, c, n: a + c,
    lambda b, h, a, c, n: a - c,
    lambda b, h, a, c, n: a / c,
    lambda b, h, a, c, n: st.minimum(a, c),
    lambda b, h, a, c, n: st.maximum(a, c),
    lambda b, h, a, c, n: st.where(a > c, a, c),
    lambda b, h, a, c, n: a.shift(n),
    lambda b, h, a, c, n: st.ema(a, n),
    lambda b, h, a, c, n: st.ema(a, n, seed="sma"),
    lambda b, h, a, c, n: st.wilder(a, n),
    lambda b, h, a, c, n: st.sma(a, n),
    lambda b, h, a, c, n: st.wma(a, n),
    lambda b, h, a, c, n: st.hma(a, n + 3),
    lambda b, h, a, c, n: st.kama(a, n),
    lambda b, h, a, c, n: st.std(a, n + 1),
    lambda b, h, a, c, n: st.zscore(a, n + 1),
    lambda b, h, a, c, n: st.quantile(a, n, 0.8),
    lambda b, h, a, c, n: st.rsi(a, n),
    lambda b, h, a, c, n: st.highest(a, n),
    lambda b, h, a, c, n: st.lowest(a, n).shift(1),
    lambda b, h, a, c, n: st.atr(b, n),
    lambda b, h, a, c, n: st.bollinger(a, n + 1).upper,
    lambda b, h, a, c, n: st.macd(a, n, n + 7, 5).histogram,
    lambda b, h, a, c, n: st.adx(b, n),
    lambda b, h, a, c, n: st.supertrend(b, n, 2.0).line,
    lambda b, h, a, c, n: b.hlc3,
    lambda b, h, a, c, n: st.ema(h.close, n),
    lambda b, h, a, c, n: st.highest(h.high, n),
    lambda b, h, a, c, n: st.atr(h, n),
    lambda b, h, a, c, n: drifting(a, n),
    lambda b, h, a, c, n: body(b.high, b.low, b.close, b.open),
]
CONDITIONS: list[Callable[..., Any]] = [
    lambda a, c, p, q, n: a > c,
    lambda a, c, p, q, n: a <= c,
    lambda a, c, p, q, n: p & q,
    lambda a, c, p, q, n: p | q,
    lambda a, c, p, q, n: ~p,
    lambda a, c, p, q, n: st.where(p, q, True),
    lambda a, c, p, q, n: st.crossed_above(a, c) | q,
    lambda a, c, p, q, n: p.shift(n),
    lambda a, c, p, q, n: st.weekday() < 3,
]


@dataclass(frozen=True)
class Drawn:
    """One random strategy with the slice and the guards it runs under; prints as what made it."""

    recipe: tuple[tuple[int, int, int, int], ...]
    file: str
    start: float
    trigger: int
    hour: int
    stop: str
    target: str
    leaves: bool
    percent: float | None
    cooldown: int
    management: tuple[str, ...] = ()

    def bars(self, size: int, loaded: dict[str, Bars]) -> Bars:
        """Return the slice of the real file."""
        if self.file not in loaded:
            loaded[self.file] = load_bars(DATA / f"{self.file}.parquet", **FILES[self.file][0])
        whole = loaded[self.file]
        first = int(self.start * max(0, len(whole) - size))
        return whole[first : first + size]

    def guards(self) -> Guards:
        """Return guards that keep the number of orders, and so the time of a replay, in bounds."""
        return Guards(cooldown_bars=self.cooldown, daily_loss_percent=3)

    def strategy(self) -> st.SectionedStrategy:
        """Return the strategy."""
        drawn = self

        class Random(st.SectionedStrategy):
            """Drawn at random."""

            def indicators(self, bars: Any) -> dict[str, Any]:
                above = st.higher_timeframe(bars, FILES[drawn.file][1])
                numbers = [bars.close, bars.open, bars.high, bars.low]
                conditions = [bars.close > bars.open]
                for choice, left, right, n in drawn.recipe:
                    a, c = numbers[left % len(numbers)], numbers[right % len(numbers)]
                    p, q = conditions[left % len(conditions)], conditions[right % len(conditions)]
                    numbers.append(NUMBERS[choice % len(NUMBERS)](bars, above, a, c, n))
                    conditions.append(CONDITIONS[choice % len(CONDITIONS)](a, c, p, q, n))
                named = {f"n{i}": e for i, e in enumerate(numbers)} | {f"c{i}": e for i, e in enumerate(conditions)}
                average = st.ema(bars.close, drawn.trigger)
                up, down = st.crossed_above(bars.close, average), st.crossed_below(bars.close, average)
                return named | {"up": up, "down": down, "a": st.atr(bars, 14)}

            def entry(self, x: Any) -> st.Entry:
                last = len(drawn.recipe)
                gate = st.hour_between(drawn.hour, (drawn.hour + 6) % 24)
                return st.Entry(long=x.up & x[f"c{last}"] & gate, short=x.down & ~x[f"c{last - 1}"] & gate)

            def exit(self, x: Any) -> st.Exit:
                return st.Exit(long=x.down & x.c1) if drawn.leaves else st.Exit()

            def protection(self, x: Any) -> st.Protection:
                stop = st.Pips(20) if drawn.stop == "pips" else 3 * x.a + 0.0005
                target = {"rr": st.RR(1.7), "pips": st.Pips(31), "atr": 4 * x.a + 0.0003, "none": None}[drawn.target]
                ways: dict[str, dict[str, Any]] = {
                    "trail": {"trailing_stop": 3 * x.a + 0.0004},
                    "break_even": {"break_even": st.BreakEven(after=st.RR(1))},
                    "time": {"max_bars": 60},
                }
                more: dict[str, Any] = {}
                for name in drawn.management:
                    more |= ways[name]
                return st.Protection(stop_loss=stop, take_profit=target, **more)

            def risk(self) -> st.RiskPercent | st.Lots:
                return st.Lots("0.1") if drawn.percent is None else st.RiskPercent(drawn.percent)

        return Random()


def drawn_strategies(*, cooldown: tuple[int, ...] = (50, 200), managed: bool = True) -> hs.SearchStrategy[Drawn]:
    """Return random strategies; ``cooldown`` bounds the number of trades."""
    step = hs.tuples(hs.integers(0, 99), hs.integers(0, 99), hs.integers(0, 99), hs.integers(2, 40))
    ways = hs.sets(hs.sampled_from(("trail", "break_even", "time"))).map(lambda s: tuple(sorted(s)))
    return hs.builds(
        Drawn,
        recipe=hs.lists(step, min_size=3, max_size=10).map(tuple),
        file=hs.sampled_from(sorted(FILES)),
        start=hs.floats(0, 1),
        trigger=hs.integers(5, 60),
        hour=hs.integers(0, 23),
        stop=hs.sampled_from(("pips", "atr")),
        target=hs.sampled_from(("rr", "pips", "atr", "none")),
        leaves=hs.booleans(),
        percent=hs.sampled_from((None, 0.5, 1.0)),
        cooldown=hs.sampled_from(cooldown),
        management=ways if managed else hs.just(()),
    )

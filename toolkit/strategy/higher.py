"""Higher timeframes inside a strategy: a bar of them is read only once the data shows that it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toolkit.errors import BarsError, StrategyError, must_be
from toolkit.market.platform_clock import find_clock
from toolkit.market.series.aggregation import period_starts
from toolkit.market.timeframes import Timeframe
from toolkit.strategy.authoring.expressions import FIELDS, Expr
from toolkit.strategy.authoring.symbols import BarsSymbol, as_bars
from toolkit.strategy.times import SECOND_NS, time_values

if TYPE_CHECKING:
    from toolkit.market.platform_clock import PlatformClock

#: Numbers a `Resampler` keeps: whether a period is open, its start, then open, high, low, close, volume.
STATE = 7


def clock_name(timeframe: Timeframe | str, day_end: str) -> str:
    """Return how a graph calls a higher timeframe."""
    name, clock = Timeframe(timeframe).value, find_clock(day_end).name
    return name if clock == "UTC" else f"{name}|{clock}"


def parse_clock(name: str) -> tuple[Timeframe, PlatformClock]:
    """Return the timeframe and the platform clock of a graph's clock name."""
    timeframe, _, clock = name.partition("|")
    return Timeframe(timeframe), find_clock(clock or "UTC")


def higher_timeframe(bars: object, timeframe: Timeframe | str, *, day_end: str = "UTC") -> BarsSymbol:
    """Return the bars of a higher timeframe: ``h4 = tk.higher_timeframe(bars, "H4")``, then ``tk.ema(h4.close, 50)``.

    Indicators of it step once per higher bar; on the strategy's own bars they hold the value of the last completed one.
    A higher bar completes with the first base bar whose close reaches its end, else with the next bar after the gap.

    Parameters
    ----------
    bars
        The bars given to ``indicators``.
    timeframe
        A multiple of the strategy's timeframe.
    day_end
        The platform's clock whose midnight ends the day, such as ``"New York + 7"``.
    """
    source = as_bars(bars, "higher_timeframe")
    if source.is_derived:
        raise StrategyError(
            must_be(
                "the input of higher_timeframe",
                "the bars given to indicators()",
                repr(source),
                "derive each timeframe from the strategy's own bars",
            )
        )
    clock = clock_name(timeframe, day_end)
    return BarsSymbol(None, lambda name: Expr("resampled", (name, clock), clock=clock))


class Resampler:
    """Builds bars of one higher timeframe from single base bars, with the rules of `toolkit.market.series.aggregation`."""

    def __init__(self, clock: str, base: Timeframe, state: list[float]) -> None:
        self.higher, self.wall = parse_clock(clock)
        if self.higher.ns <= base.ns or self.higher.ns % base.ns:
            raise BarsError(
                must_be("the higher timeframe", f"a multiple of {base}", str(self.higher), "aggregate upwards")
            )
        self.base = base
        self.state = state

    def push(
        self, ts_ns: int, open: float, high: float, low: float, close: float, volume: float
    ) -> list[tuple[float, ...]]:
        """Take one base bar; return the higher bars it completes, oldest first, as the values of `FIELDS`."""
        at = np.array([ts_ns], np.int64)
        start = int(period_starts(at, self.higher, self.wall)[0])
        state, done = self.state, []
        if state[0] and int(state[1]) * SECOND_NS != start:
            done.append(self._take())
        if state[0]:
            state[3] = high if high > state[3] else state[3]
            state[4] = low if low < state[4] else state[4]
            state[5] = close
            state[6] += volume
        else:
            state[:] = [1.0, start / SECOND_NS, open, high, low, close, volume]
        end = int(self.wall.first_utc(np.array([start + self.higher.ns], np.int64))[0])
        if ts_ns + self.base.ns > end:
            raise BarsError(
                must_be(
                    "a base bar",
                    f"inside one {self.higher} period of {self.wall.name}",
                    "over its end",
                    "give the platform's clock, e.g. day_end='New York + 7'",
                )
            )
        if ts_ns + self.base.ns == end:
            done.append(self._take())
        return done

    def _take(self) -> tuple[float, ...]:
        start = np.array([int(self.state[1]) * SECOND_NS], np.int64)
        self.state[0] = 0.0
        return (*self.state[2:], *time_values(int(self.wall.first_utc(start)[0])))


def fresh_state() -> list[float]:
    """Return a resampler's state before the first bar."""
    return [0.0] * STATE


__all__ = ["FIELDS", "STATE", "Resampler", "clock_name", "fresh_state", "higher_timeframe", "parse_clock"]

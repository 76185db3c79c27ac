"""What is refused while a strategy is written, and what the refusal says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import toolkit.strategy as st
from toolkit.errors import LookAheadError, StrategyError
from toolkit.market import Bars

Make = Callable[..., st.StrategySpec]

WRITTEN: list[tuple[str, Callable[[Any], Any], str]] = [
    ("and", lambda b: b.close > b.open and b.close > 1, r"use & for and, \| for or"),
    ("or", lambda b: b.close > b.open or b.close > 1, r"use & for and, \| for or"),
    ("not", lambda b: not b.close > b.open, "~ for not"),
    ("if", lambda b: 1 if b.close > b.open else 2, r"tk\.where"),
    ("chained", lambda b: 1 < b.close < 2, "a chained comparison"),
    ("in", lambda b: b.close in (1.0, 2.0), "tested with if"),
    ("negative shift", lambda b: b.close.shift(-1), "shift must be 0 or more bars, was -1"),
    ("fractional shift", lambda b: b.close.shift(1.5), "a whole number of bars, was 1.5"),
    ("indexing", lambda b: b.close[-1], r"read with \.shift"),
    ("bars indexing", lambda b: b[-1], "a symbol such as bars"),
    ("pandas method", lambda b: b.close.rolling(3), r"asked for \.rolling"),
    ("unknown price", lambda b: b.closing, "did you mean 'close'"),
    ("power", lambda b: b.close**2, r"write x \* x"),
    ("modulo", lambda b: b.close % 2, "used with %"),
    ("xor", lambda b: (b.close > 1) ^ (b.open > 1), r"used with \^"),
    ("float", lambda b: float(b.close), "turned into a number by float"),
    ("round", lambda b: round(b.close, 5), "rounded by round"),
    ("math", lambda b: math.sqrt(b.close), "turned into a number by float"),
    ("iteration", lambda b: list(b.close), "looped over"),
    ("len", lambda b: len(b.close), "measured by len"),
    ("array right", lambda b: b.close * np.ones(3), "a captured ndarray"),
    ("array left", lambda b: np.ones(3) * b.close, "a captured ndarray"),
    ("series", lambda b: b.close > pd.Series([1.0, 2.0]), "a captured Series"),
    ("series left", lambda b: pd.Series([1.0, 2.0]) - b.close, "captured"),
    ("array into node", lambda b: st.ema(np.ones(3), 5), "a captured ndarray"),
    ("text", lambda b: b.close + "1", "was str"),
    ("none", lambda b: b.close + None, "did a function forget its return"),
    ("nan", lambda b: b.close + float("nan"), "must be finite"),
    ("condition as number", lambda b: (b.close > 1) + 1, r"use tk\.where"),
    ("number as condition", lambda b: b.close & (b.open > 1), "compare it with something first"),
    ("number literal as condition", lambda b: (b.open > 1) & 1, "write True or False"),
    ("truth as number", lambda b: b.close + True, r"write 1\.0 or 0\.0"),
    ("window of an expression", lambda b: st.ema(b.close, b.volume), "changes from bar to bar"),
    ("fractional window", lambda b: st.ema(b.close, 2.5), "a whole number of bars, was 2.5"),
    ("bars for a price", lambda b: st.ema(b, 5), r"such as bars\.close"),
    ("price for bars", lambda b: st.atr(b.close, 5), r"tk\.atr\(bars"),
    ("seed", lambda b: st.ema(b.close, 5, seed="mean"), "'first' or 'sma'"),
    ("hour", lambda b: st.hour_between(8, 25), "between 0 and 24"),
]


@pytest.mark.parametrize(("write", "message"), [w[1:] for w in WRITTEN], ids=[w[0] for w in WRITTEN])
def test_misuse_is_refused_where_it_is_written(write: Callable[[Any], Any], message: str, strategy_of: Make) -> None:
    """Each misuse raises on its own line with the remedy in the message."""
    with pytest.raises(StrategyError, match=message):
        strategy_of(lambda bars: {"value": write(bars)})


def test_a_negative_shift_is_a_look_ahead(strategy_of: Make) -> None:
    """A negative shift has its own error."""
    with pytest.raises(LookAheadError, match="reads the future"):
        strategy_of(lambda bars: {"value": bars.close.shift(-1)})


def test_captured_bars_are_refused(strategy_of: Make, bars: Bars) -> None:
    """Bars from outside the strategy may know the future."""
    with pytest.raises(StrategyError, match="captured Bars"):
        strategy_of(lambda _: {"value": st.atr(bars, 14)})


SYMBOL: list[tuple[str, Callable[[Any], Any], str]] = [
    ("int", int, r"turned into a number by int\(\)"),
    ("range", lambda n: list(range(n)), r"used as a whole number by range\(\)"),
    ("float", float, r"turned into a number by float\(\)"),
    ("if", lambda n: 1 if n else 2, "tested with if"),
    ("branch", lambda n: 1 if n > 5 else 2, "tested with if"),
]


@pytest.mark.parametrize(("use", "message"), [s[1:] for s in SYMBOL], ids=[s[0] for s in SYMBOL])
def test_parameters_are_symbols_while_traced(use: Callable[[Any], Any], message: str) -> None:
    """A parameter cannot be branched or looped on; the remedy names tk.Choice or the expression words."""

    class Bad(st.SectionedStrategy):
        n = st.Int(10, 5, 50)

        def indicators(self, bars: Any) -> dict[str, Any]:
            use(self.n)
            return {}

    with pytest.raises(StrategyError, match=message):
        Bad().trace()


def test_a_windows_lower_bound_is_checked_when_bound(strategy_of: Make, bars: Bars) -> None:
    """A window of 0 is refused with its node's name."""
    spec = strategy_of(lambda b: {"e": st.ema(b.close, 0)})
    with pytest.raises(StrategyError, match="window of ema must be a whole number of at least 1, was 0"):
        st.evaluate(spec, bars, frame=True)


def test_bounds_of_a_parameter(ema_cross: type[st.SectionedStrategy]) -> None:
    """A value outside the bounds is refused with both bounds."""
    with pytest.raises(StrategyError, match="fast must be between 5 and 50, was 4: "):
        ema_cross(fast=4)


def test_a_whole_number_parameter_refuses_fractions(ema_cross: type[st.SectionedStrategy]) -> None:
    """An Int takes no fraction."""
    with pytest.raises(StrategyError, match=r"fast must be a whole number, was 10\.5"):
        ema_cross(fast=10.5)


def test_an_unknown_parameter_gets_a_suggestion(ema_cross: type[st.SectionedStrategy]) -> None:
    """A misspelt parameter names the closest one."""
    with pytest.raises(StrategyError, match="did you mean 'fast'"):
        ema_cross(fst=10)


def test_a_default_outside_its_bounds_is_refused_at_the_class() -> None:
    """A declaration is checked where it stands."""
    with pytest.raises(StrategyError, match=r"fast must be between 5 and 50, was 99"):

        class Bad(st.SectionedStrategy):
            fast = st.Int(99, 5, 50)


def test_assigning_a_parameter_is_refused(ema_cross: type[st.SectionedStrategy]) -> None:
    """Parameters are given when the strategy is made."""
    with pytest.raises(StrategyError, match=r"write EmaCross\(fast=7\)"):
        ema_cross().fast = 7


STOPS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("negative number", lambda x: -0.001, "stop_loss must be a distance greater than 0"),
    ("zero", lambda x: 0, "stop_loss must be a distance greater than 0"),
    ("negative factor", lambda x: -2 * x.atr, "which is never above 0"),
    ("negated", lambda x: -x.atr, "which is never above 0"),
    ("price", lambda x: x.close, "a distance from the entry price, was the price level close"),
    ("average", lambda x: x.ema, "the price level"),
    ("level below", lambda x: x.close - 2 * x.atr, "the price level"),
    ("multiple", lambda x: st.RR(2), "a multiple of the stop is for take_profit"),
]


@pytest.mark.parametrize(("stop", "message"), [s[1:] for s in STOPS], ids=[s[0] for s in STOPS])
def test_a_stop_on_the_wrong_side_is_refused(stop: Callable[[Any], Any], message: str, strategy_of: Make) -> None:
    """Negative distances and price levels are refused for a stop."""
    with pytest.raises(StrategyError, match=message):
        strategy_of(
            lambda b: {"atr": st.atr(b, 14), "ema": st.ema(b.close, 9)},
            protection=lambda x: st.Protection(stop_loss=stop(x)),
        )


@pytest.mark.parametrize("make", [st.Pips, st.RR, st.RiskPercent, st.Lots])
def test_sizes_must_be_positive(make: Callable[[Any], Any]) -> None:
    """Pips, ratios, percents and lots are greater than 0."""
    with pytest.raises(StrategyError, match="must be greater than 0, was -5"):
        make(-5)


def test_risk_needs_a_stop(strategy_of: Make) -> None:
    """A percent of risk without a stop has no size; fixed lots may go without."""
    with pytest.raises(StrategyError, match=r"stop_loss must be given when the risk is tk\.RiskPercent"):
        strategy_of(lambda b: {}, protection=lambda x: st.Protection())
    assert strategy_of(lambda b: {}, protection=lambda x: st.Protection(), risk=st.Lots("0.1")).risk == st.Lots("0.1")


def test_a_section_that_returns_nothing_is_refused() -> None:
    """A forgotten return names the section and what to return."""

    class Bad(st.SectionedStrategy):
        def entry(self, x: Any) -> Any:
            st.Entry(long=x.close > x.open)

    with pytest.raises(StrategyError, match=r"what Bad\.entry returns must be Entry, was None"):
        Bad().trace()


def test_indicators_that_return_nothing_are_refused() -> None:
    """A forgotten return of indicators is refused."""

    class Bad(st.SectionedStrategy):
        def indicators(self, bars: Any) -> Any:
            pass

    with pytest.raises(StrategyError, match=r"what Bad\.indicators returns must be Mapping, was None"):
        Bad().trace()


def test_a_missing_section_is_refused() -> None:
    """A strategy without protection says what to add."""

    class Bad(st.SectionedStrategy):
        def entry(self, x: Any) -> st.Entry:
            return st.Entry(long=x.close > x.open)

    with pytest.raises(StrategyError, match=r"Bad.protection must be defined, was missing: add it: return tk"):
        Bad().trace()


def test_an_unknown_node_gets_a_suggestion(strategy_of: Make) -> None:
    """Reading x.fats names x.fast."""
    with pytest.raises(StrategyError, match="did you mean 'fast'"):
        strategy_of(lambda b: {"fast": b.close}, entry=lambda x: st.Entry(long=x.fats > 1))


def test_an_empty_entry_is_refused() -> None:
    """An entry without a side enters nothing."""
    with pytest.raises(StrategyError, match="given long=, short= or both"):
        st.Entry()


def test_a_class_instead_of_an_object_is_refused(ema_cross: type[st.SectionedStrategy]) -> None:
    """The class itself is not a strategy."""
    with pytest.raises(StrategyError, match=r"write EmaCross\(\)"):
        st.StrategySpec.from_strategy(ema_cross)


def test_tracing_must_give_the_same_graph_twice() -> None:
    """A strategy that counts its calls is not data."""
    counter = iter(range(5, 100))

    class Bad(st.SectionedStrategy):
        def indicators(self, bars: Any) -> dict[str, Any]:
            return {"e": st.ema(bars.close, next(counter))}

        def entry(self, x: Any) -> st.Entry:
            return st.Entry(long=x.close > x.e)

        def protection(self, x: Any) -> st.Protection:
            return st.Protection(stop_loss=st.Pips(10))

        def risk(self) -> st.Lots:
            return st.Lots(1)

    with pytest.raises(StrategyError, match=r"the same every time, was different in e: ema\(close, 5\) becomes"):
        Bad().trace()

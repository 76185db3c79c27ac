"""Nodes computed together in one pass give the bits of each computed alone, and leave the same state behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from tests.unit.strategy.conftest import random_bars
from toolkit.market import Bars
from toolkit.strategy import graph
from toolkit.strategy.authoring.expressions import as_expr
from toolkit.strategy.columns import kernels
from toolkit.strategy.drivers import columnar


def holes(b: Any) -> Any:
    """A close that is missing now and then, and stands still now and then."""
    gap = st.where((b.high - b.low > 0.0009) & (b.close > b.open), b.close / 0.0, b.close)
    return st.where(st.hour_between(3, 5), as_expr(1.1, "test"), gap)


GRAPHS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "averages": lambda b: {f"e{n}": st.ema(b.close, n) for n in (3, 8, 21, 55, 89)} | {"w": st.wilder(b.high, 14)},
    "averages and strengths": lambda b: {
        "e": st.ema(b.close, 26),
        "r": st.rsi(b.close, 14),
        "q": st.rsi(b.open, 5),
        "a": st.atr(b, 14),
        "n": st.rsi(holes(b), 9),
        "m": st.ema(holes(b), 9),
    },
    "window": lambda b: {"z": st.zscore(b.close, 20), "s": st.std(b.close, 20), "m": st.sma(b.close, 20)},
    "band": lambda b: {"b": st.bollinger(b.close, 20, 2.5), "long": st.bollinger(b.close, 300)},
    "band with holes": lambda b: {"b": st.bollinger(holes(b), 5), "long": st.bollinger(holes(b), 40)},
    "a band whose deviation is read": lambda b: {"b": st.bollinger(b.close, 20), "s": st.std(b.close, 20)},
    "half a band": lambda b: {"u": st.bollinger(b.close, 20).upper},
    "crossings": lambda b: {
        "up": st.crossed_above(b.close, st.sma(b.close, 5)),
        "down": st.crossed_below(b.close, st.sma(b.close, 5)),
        "hup": st.crossed_above(holes(b), st.sma(b.close, 5)),
        "hdown": st.crossed_below(holes(b), st.sma(b.close, 5)),
    },
}


def spec_of(name: str) -> st.StrategySpec:
    """A strategy that only computes."""

    class Several(st.SectionedStrategy):
        def indicators(self, bars: Any) -> dict[str, Any]:
            return GRAPHS[name](bars)

        def entry(self, x: Any) -> st.Entry:
            return st.Entry(long=False)

        def protection(self, x: Any) -> st.Protection:
            return st.Protection()

        def risk(self) -> st.Lots:
            return st.Lots(1)

    return Several().to_spec()


def agree(name: str, bars: Bars, rows: list[Any]) -> None:
    """Columns, plain and in blocks, equal the live driver on every bar, and so does the state at the end."""
    spec = spec_of(name)
    cut = len(bars) * 2 // 5
    whole = st.evaluate(spec, bars, frame=True).frame
    first, state = columnar.advance(spec, bars[:cut], frame=True)
    second, end = columnar.advance(spec, bars[cut:], state, frame=True)
    live = st.Incremental(spec, bars.instrument)
    stepped: dict[str, list[float]] = {n: [] for n in spec.named}
    for row in rows:
        live.step(*row)
        for node, value in live.values.items():
            stepped[node].append(value)
    assert whole is not None and first.frame is not None and second.frame is not None
    for node, values in stepped.items():
        same = np.array(values)
        assert np.array_equal(whole[node], same, equal_nan=same.dtype.kind == "f"), node
        joined = np.concatenate([first.frame[node], second.frame[node]])
        assert np.array_equal(joined, same, equal_nan=same.dtype.kind == "f"), node
    assert end == live.state()


@pytest.mark.skipif(not kernels.available(), reason="these passes are compiled")
@pytest.mark.parametrize("timeframe", ["H1", "M1"])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_pass_gives_the_bits_of_single_bars(name: str, timeframe: str, rows: Callable[[Bars], list[Any]]) -> None:
    """Compiled passes agree."""
    bars = random_bars(3_100, seed=3, timeframe=timeframe)
    agree(name, bars, rows(bars))


@pytest.mark.parametrize("name", ["averages", "averages and strengths", "crossings"])
def test_a_pass_without_numba_gives_the_bits_of_single_bars(name: str, rows: Callable[[Bars], list[Any]]) -> None:
    """Passes in plain Python and numpy agree too."""
    bars = random_bars(900, seed=5)
    kernels.use_numba(False)
    try:
        agree(name, bars, rows(bars))
    finally:
        kernels.use_numba(True)


def test_what_goes_together_is_seen_in_the_graph() -> None:
    """A band takes its mean along and drops what only it reads; a deviation that is read keeps its column."""

    def order(name: str) -> graph.Order:
        spec = spec_of(name)
        return spec.graph.order(tuple(spec.named.values()), alone=True)

    assert len(order("band").bands) == 2
    assert not order("a band whose deviation is read").bands and not order("half a band").bands
    assert max(len(group) for group in order("averages").together.values()) == 6

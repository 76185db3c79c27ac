"""Parameter sets bound by what is new in them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from toolkit.market import Bars
from toolkit.strategy.columns.sets import SetBinder
from toolkit.strategy.drivers.columnar import evaluate_set
from toolkit.strategy.drivers.plan import bind


def test_a_bound_set_is_what_binding_it_alone_gives(bars: Bars, ema_cross: type[st.SectionedStrategy]) -> None:
    """Scalars, settings and column numbers of every set equal those of the set bound by itself."""
    spec = st.StrategySpec.from_strategy(ema_cross())
    cache = st.ColumnCache(bars)
    binder = SetBinder(spec, cache)
    for fast, slow in itertools.product((5, 6, 5), (20, 30, 20)):
        values = {"fast": fast, "slow": slow}
        bound, alone = binder.bind(values), bind(spec.graph, {**spec.values, **values})
        assert repr(bound.binding) == repr(alone)
        assert bound.keys[: len(spec.graph.nodes)] == cache.keys(spec.graph, alone)


class Distances(st.SectionedStrategy):
    """Stop and target from columns, several averages side by side."""

    n = st.Int(10, 2, 100)
    k = st.Float(2.0, 0.5, 5.0)

    def indicators(self, bars: Any) -> dict[str, Any]:
        fast, slow = st.ema(bars.close, self.n), st.ema(bars.close, 2 * self.n)
        return {"a": fast, "b": slow, "r": st.rsi(bars.close, 14), "v": st.atr(bars, 14)}

    def entry(self, x: Any) -> st.Entry:
        up, down = st.crossed_above(x.a, x.b), st.crossed_below(x.a, x.b)
        return st.Entry(long=up & (x.r < 70), short=down & (x.r > 30))

    def protection(self, x: Any) -> st.Protection:
        return st.Protection(stop_loss=self.k * x.v, take_profit=3 * x.v)

    def risk(self) -> st.RiskPercent:
        return st.RiskPercent(1)


@pytest.mark.parametrize("values", [{"n": 5, "k": 1.0}, {"n": 5, "k": 2.5}, {"n": 20, "k": 1.0}])
def test_decisions_of_a_set_equal_those_of_the_strategy(bars: Bars, values: dict[str, float]) -> None:
    """Codes, stops and targets of a set on a shared cache, warm with other sets, equal a run of its own."""
    spec = st.StrategySpec.from_strategy(Distances())
    cache = st.ColumnCache(bars)
    binder = SetBinder(spec, cache)
    others = [binder.bind({"n": n, "k": k}) for n in (5, 20) for k in (1.0, 2.5)]
    for bound in others:
        cache.retain(bound.keys)
        evaluate_set(spec, bound, cache)
    mine = evaluate_set(spec, binder.bind(values), cache)
    alone = st.evaluate(spec.with_params(values), bars)
    assert np.array_equal(mine.code, alone.code)
    assert np.array_equal(mine.stop_points, alone.stop_points)
    assert mine.target_points is not None and alone.target_points is not None
    assert np.array_equal(mine.target_points, alone.target_points)

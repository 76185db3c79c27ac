"""A strategy as data: JSON, hash, parameters, words."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from toolkit.errors import SpecError, StrategyError
from toolkit.market import Bars

Strategy = type[st.SectionedStrategy]


@pytest.fixture
def spec(ema_cross: Strategy) -> st.StrategySpec:
    """The EMA cross as data."""
    return st.StrategySpec.from_strategy(ema_cross())


def test_json_round_trip_keeps_hash_and_values(spec: st.StrategySpec, bars: Bars) -> None:
    """A rebuilt spec is equal and decides the same."""
    again = st.StrategySpec.from_json(spec.to_json())
    assert again == spec and again.hash == spec.hash and again.to_json() == spec.to_json()
    assert np.array_equal(st.evaluate(again, bars).code, st.evaluate(spec, bars).code)


def test_json_is_canonical(spec: st.StrategySpec) -> None:
    """Keys are sorted, nothing is padded, and a decoder gives the same text again."""
    text = spec.to_json()
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


def test_the_same_class_typed_again_has_the_same_hash(spec: st.StrategySpec) -> None:
    """Hashes are of content: a class typed again, without source at hand, gives the same one."""
    code = """
import toolkit.strategy as st
class EmaCross(st.SectionedStrategy):
    '''Follow the trend when the fast average crosses the slow one.'''
    fast = st.Int(12, 5, 50)
    slow = st.Int(26, 20, 200)
    k = st.Float(2.0, 0.5, 5.0)
    def indicators(self, bars):
        return dict(slow=st.ema(bars.close, self.slow), fast=st.ema(bars.close, self.fast), atr=st.atr(bars, 14))
    def entry(self, x):
        return st.Entry(long=st.crossed_above(x.fast, x.slow), short=st.crossed_below(x.fast, x.slow))
    def exit(self, x):
        return st.Exit(long=st.crossed_below(x.fast, x.slow), short=st.crossed_above(x.fast, x.slow))
    def protection(self, x):
        return st.Protection(stop_loss=self.k * x.atr, take_profit=st.RR(2.0))
    def risk(self):
        return st.RiskPercent(1.0)
"""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(
        compile(
            code.replace(
                "slow=st.ema(bars.close, self.slow), fast=st.ema(bars.close, self.fast)",
                "fast=st.ema(bars.close, self.fast), slow=st.ema(bars.close, self.slow)",
            ),
            "<cell>",
            "exec",
        ),
        space,
    )
    assert st.StrategySpec.from_strategy(space["EmaCross"]()).hash == spec.hash


def test_equal_expressions_become_one_node(strategy_of: Callable[..., st.StrategySpec]) -> None:
    """Writing an average twice costs one node."""
    once = strategy_of(lambda b: {"a": st.ema(b.close, 9)})
    twice = strategy_of(lambda b: {"a": st.ema(b.close, 9), "b": st.ema(b.close, 9)})
    assert len(once.graph.nodes) == len(twice.graph.nodes)


def test_zero_and_minus_zero_are_two_literals(strategy_of: Callable[..., st.StrategySpec]) -> None:
    """Literals that compare equal but are not the same number stay apart."""
    spec = strategy_of(lambda b: {"a": b.close * 0.0, "b": b.close * -0.0})
    assert [repr(n.args[0]) for n in spec.graph.nodes if n.op == "lit"][:2] == ["0.0", "-0.0"]


def test_params_travel_with_their_bounds(spec: st.StrategySpec) -> None:
    """A rebuilt spec still refuses a value outside the bounds, and misspelt names."""
    again = st.StrategySpec.from_json(spec.to_json())
    assert again.with_params(fast=20).values == {"fast": 20, "slow": 26, "k": 2.0}
    with pytest.raises(StrategyError, match="fast must be between 5 and 50, was 4"):
        again.with_params({"fast": 4})
    with pytest.raises(StrategyError, match="did you mean 'slow'"):
        again.with_params(slo=30)


def test_with_params_equals_the_class_with_them(ema_cross: Strategy, spec: st.StrategySpec) -> None:
    """One graph serves a whole grid."""
    direct = st.StrategySpec.from_strategy(ema_cross(fast=20, k=1))
    assert spec.with_params(fast=20, k=1) == direct
    assert spec.with_params(fast=20, k=1).hash == direct.hash != spec.hash


class Chosen(st.SectionedStrategy):
    """Branches on a choice."""

    kind = st.Choice("ema", ["ema", "sma"])
    both = st.Bool(False)
    n = st.Int(10, 2, 50)

    def indicators(self, bars: Any) -> dict[str, Any]:
        return {"m": st.ema(bars.close, self.n) if self.kind == "ema" else st.sma(bars.close, self.n)}

    def entry(self, x: Any) -> st.Entry:
        if self.both:
            return st.Entry(long=x.close > x.m, short=x.close < x.m)
        return st.Entry(long=x.close > x.m)

    def protection(self, x: Any) -> st.Protection:
        return st.Protection(stop_loss=st.Pips(10))

    def risk(self) -> st.Lots:
        return st.Lots("0.10")


def test_a_choice_retraces() -> None:
    """Another choice is another graph, in the class and through with_params."""
    first = st.StrategySpec.from_strategy(Chosen())
    other = first.with_params(kind="sma", both=True, n=7)
    assert other == st.StrategySpec.from_strategy(Chosen(kind="sma", both=True, n=7))
    assert "entry_short" in other.roots and "entry_short" not in first.roots


def test_a_stored_spec_cannot_take_another_choice() -> None:
    """Without the class a choice stays as it was traced."""
    stored = st.StrategySpec.from_json(st.StrategySpec.from_strategy(Chosen()).to_json())
    assert stored.with_params(kind="ema", n=20).values["n"] == 20
    with pytest.raises(StrategyError, match="a choice changes the graph"):
        stored.with_params(kind="sma")


def test_a_choice_refuses_other_values() -> None:
    """A choice lists its options."""
    with pytest.raises(StrategyError, match="kind must be one of 'ema', 'sma', was 'wma'"):
        Chosen(kind="wma")


def test_risk_is_exact(spec: st.StrategySpec) -> None:
    """The percentage and the lots are decimals, also when a parameter gives them."""
    assert spec.risk == st.RiskPercent(Decimal("1.0"))
    assert st.StrategySpec.from_strategy(Chosen()).risk.lots == Decimal("0.10")  # type: ignore[union-attr]


def test_another_semantics_version_is_refused(spec: st.StrategySpec) -> None:
    """A toolkit whose node means something else refuses the spec."""
    text = spec.to_json().replace('"ema":1', '"ema":2')
    with pytest.raises(SpecError, match="the version of node 'ema' must be 1, was 2"):
        st.StrategySpec.from_json(text)


def test_other_fill_rules_are_refused(spec: st.StrategySpec) -> None:
    """A toolkit with other fill rules refuses the spec."""
    with pytest.raises(SpecError, match="the fill rules' version must be 1, was 9"):
        st.StrategySpec.from_json(spec.to_json().replace('"fill_rules":1', '"fill_rules":9'))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["nodes"].append(["eval", "import os"]), "an argument of node"),
        (lambda d: d["nodes"].append(["system", 0]), "a node type must be known"),
        (lambda d: d["nodes"].append(["add", 0, 99]), "the index of an earlier node"),
        (lambda d: d["nodes"].append(["add", 0]), "given 2 arguments"),
        (lambda d: d["roots"].update(entry_long=0), "entry_long must be a i1 node"),
        (lambda d: d["roots"].update(entry_all=0), "a root must be one of"),
        (lambda d: d["params"]["fast"].update(value=1), "fast must be between 5 and 50"),
        (lambda d: d["protection"]["stop"].update(kind="hope"), "the kind of stop must be one of"),
        (lambda d: d["risk"].update(value="-1"), "the risk must be a number above 0"),
        (lambda d: d.pop("nodes"), "a spec must be complete"),
        (lambda d: d.update(format=2), "the spec's format must be 1"),
    ],
)
def test_a_damaged_spec_is_refused(spec: st.StrategySpec, change: Callable[[Any], Any], message: str) -> None:
    """Whatever is wrong in a stored spec is named."""
    data = json.loads(spec.to_json())
    change(data)
    with pytest.raises(StrategyError, match=message):
        st.StrategySpec.from_json(json.dumps(data))


def test_text_that_is_no_json_is_refused() -> None:
    """Anything but JSON is refused."""
    with pytest.raises(SpecError, match="a spec must be JSON text"):
        st.StrategySpec.from_json("EmaCross()")


def test_specs_pickle_for_sweep_workers(spec: st.StrategySpec) -> None:
    """A spec goes to another process without its class."""
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_words_name_every_part(spec: st.StrategySpec) -> None:
    """The description reads like the strategy."""
    words = spec.describe()
    for part in (
        "EmaCross: Follow the trend",
        "parameter fast: 12 (5 to 50)",
        "fast: ema(close, fast)",
        "enter long when: fast crosses above slow",
        "stop loss: k * atr in price",
        "take profit: 2 times the stop distance",
        "risk: 1.0 % of equity per trade",
    ):
        assert part in words


def test_differences_are_said_in_words(spec: st.StrategySpec, ema_cross: Strategy) -> None:
    """Two specs differ in named parts."""
    assert spec.diff(st.StrategySpec.from_strategy(ema_cross())) == []
    assert spec.diff(spec.with_params(fast=20)) == ["parameter fast: 12 (5 to 50) becomes 20 (5 to 50)"]


def test_literals_are_listed(spec: st.StrategySpec) -> None:
    """Numbers that are not parameters are listed for the report."""
    assert spec.literals == (2.0, 14.0)


def test_warm_up_covers_the_slowest_path(spec: st.StrategySpec) -> None:
    """The declared estimate grows with the slowest average."""
    assert spec.with_params(slow=200).warmup_bars > spec.warmup_bars > 26


def test_strategies_show_themselves(ema_cross: Strategy) -> None:
    """A strategy prints its parameters and has an HTML form."""
    assert repr(ema_cross(fast=9)) == "EmaCross(fast=9, slow=26, k=2.0)"
    assert "fast crosses above slow" in ema_cross()._repr_html_()


def test_importing_strategies_is_light() -> None:
    """Neither numba nor pandas is loaded before the first backtest."""
    code = "import sys, toolkit.strategy; print([m for m in ('numba', 'pandas', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"

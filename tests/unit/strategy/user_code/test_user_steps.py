"""Step functions of the user: what they may hold, and that they ship and agree like the toolkit's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from toolkit.errors import StrategyError
from toolkit.market import Bars
from toolkit.strategy.columns import kernels

Make = Callable[..., st.StrategySpec]
FACTOR = 2.0


@st.indicator(settings=("n",), state={"e": nan, "k": 0})
def smooth(x: Any, n: Any, e: Any, k: Any) -> Any:
    """An average that forgets when a value is missing."""
    if x != x:
        return nan, nan, 0
    e = x if k == 0 else e + (x - e) * 2 / (n + 1)
    k += 1
    if k < n and k != n:
        return nan, e, k
    return e, e, k


@st.indicator
def body(high: Any, low: Any, close: Any, open: Any) -> Any:
    """Share of the bar that its body fills."""
    size = max(close, open, 0) - min(close, open)
    return abs(size) / (high - low)


@st.indicator(settings=("power",))
def stretched(x: Any, power: Any) -> Any:
    """A value without memory but with a setting."""
    return -x * power if x < 0 or power > 1.5 else sqrt(x)  # noqa: F821


@pytest.fixture
def spec(strategy_of: Make) -> st.StrategySpec:
    """A strategy on three functions of the user's."""
    return strategy_of(
        lambda b: {
            "smooth": smooth(b.close, 9),
            "own": st.ema(b.close, 9),
            "body": body(b.high, b.low, b.close, b.open),
            "flat": body(b.high, b.high, b.close, b.open),
            "stretched": stretched(b.close - b.open, 1.2),
            "level": body(b.high, b.low, b.close, 1.1),
        },
        entry=lambda x: st.Entry(long=st.crossed_above(x.close, x.smooth)),
    )


def test_user_functions_agree_in_both_drivers(
    spec: st.StrategySpec, bars: Bars, drivers_agree: Callable[..., None]
) -> None:
    """Columns and single bars are equal to the bit, and the function does what the same node of the toolkit does."""
    drivers_agree(spec, bars[:900], (5, 300))
    frame = st.evaluate(spec, bars, frame=True).frame
    assert frame is not None
    assert np.allclose(frame["smooth"], frame["own"], rtol=1e-13, atol=0, equal_nan=True)
    assert np.isnan(frame["flat"]).all() and np.nanmax(frame["body"]) <= 1.0
    kernels.use_numba(False)
    try:
        plain = st.evaluate(spec, bars[:300], frame=True).frame
    finally:
        kernels.use_numba(True)
    assert plain is not None
    assert all(np.array_equal(plain[n], frame[n][:300], equal_nan=True) for n in plain)


def test_the_source_ships_with_the_spec(spec: st.StrategySpec, bars: Bars) -> None:
    """A process that never saw the functions rebuilds the strategy from its JSON and decides the same."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from conftest import random_bars\nimport toolkit.strategy as st\n"
        "spec = st.StrategySpec.from_json(sys.stdin.read())\n"
        "print(spec.hash, int(st.evaluate(spec, random_bars(3_000)).code.sum()))"
    )
    folder = __file__.rsplit("/", 2)[0]
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        input=spec.to_json(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == [spec.hash, str(int(st.evaluate(spec, bars).code.sum()))]


def test_changed_source_is_refused(spec: st.StrategySpec) -> None:
    """Source that does not match its hash does not run."""
    data = json.loads(spec.to_json())
    op = next(iter(data["steps"]))
    data["steps"][op][0] = data["steps"][op][0].replace("return", "return 1.0 +", 1)
    with pytest.raises(StrategyError, match="what its hash says"):
        st.StrategySpec.from_json(json.dumps(data))


def test_shipped_source_is_checked_like_written_source(spec: st.StrategySpec) -> None:
    """A stored spec cannot smuggle in a call."""
    data = json.loads(spec.to_json())
    op = next(iter(data["steps"]))
    data["steps"][op][0] = "def body(high, low, close, open):\n    return __import__('os').system('true')\n"
    with pytest.raises(StrategyError, match="a call of"):
        st.StrategySpec.from_json(json.dumps(data))


def uses_global(x: Any) -> Any:
    """Reads a module constant."""
    return x * FACTOR


def uses_numpy(x: Any) -> Any:
    """Calls a library."""
    return np.tanh(x)


def loops(x: Any) -> Any:
    """Loops."""
    for _ in range(3):
        x = x + 1
    return x


def forgets(x: Any) -> Any:
    """Returns only sometimes."""
    if x > 0:
        return x


def unset(x: Any) -> Any:
    """Reads a name that is set on one way only."""
    if x > 0:
        y = 1
    return y


def indexes(x: Any) -> Any:
    """Reads earlier values."""
    return x[-1]


def truth(x: Any) -> Any:
    """Tests a number."""
    return 1 if x else 2


def default(x: Any, n: Any = 3) -> Any:
    """Has a default."""
    return x * n


def power(x: Any) -> Any:
    """Raises to a power."""
    return x**2


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (uses_global, "the name 'FACTOR'.*globals are not shipped"),
        (uses_numpy, r"a call of 'np\.tanh'"),
        (loops, "was for: only assignments"),
        (forgets, "a way through without return"),
        (unset, "the name 'y'"),
        (indexes, "was subscript"),
        (truth, "a condition that compares nothing"),
        (default, "no defaults or stars"),
        (power, "was binop"),
    ],
)
def test_anything_else_is_refused_by_name(function: Callable[..., Any], message: str) -> None:
    """What a function may not hold is named with its line."""
    with pytest.raises(StrategyError, match=message):
        st.indicator(function)


def test_wrong_number_of_states_is_refused() -> None:
    """A function returns its value and each state."""

    def half(x: Any, e: Any) -> Any:
        return x

    with pytest.raises(StrategyError, match="return of 1 values: return 2"):
        st.indicator(state={"e": 0})(half)


def test_wrong_number_of_arguments_is_refused(strategy_of: Make) -> None:
    """A node is given each input and setting."""
    with pytest.raises(StrategyError, match="given x, n, was 1 values"):
        strategy_of(lambda b: {"s": smooth(b.close)})

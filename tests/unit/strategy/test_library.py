"""The example strategies: documented, traced, and the same in both drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import toolkit.strategy as st
from toolkit.market import Bars
from toolkit.strategy import library
from toolkit.strategy.authoring.management import FEATURES

EXAMPLES = [getattr(library, name) for name in library.__all__]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_agree_and_trade(
    example: type[st.SectionedStrategy], bars: Bars, drivers_agree: Callable[..., None]
) -> None:
    """Each example signals both sides on a random walk, with a stop, equally in both drivers."""
    spec = st.StrategySpec.from_strategy(example())
    drivers_agree(spec, bars, (700,))
    decisions = st.evaluate(spec, bars, supports=FEATURES)
    entered = (decisions.code & 3) > 0
    assert (decisions.code & 1).any() and (decisions.code & 2).any()
    assert (np.broadcast_to(decisions.stop_points, len(bars))[entered] > 0).all()
    assert spec.doc and st.StrategySpec.from_json(spec.to_json()) == spec


def test_the_librarys_ema_cross_is_the_designs(ema_cross: type[st.SectionedStrategy]) -> None:
    """The library's EMA cross is the strategy of the documentation, to the hash."""
    assert library.EmaCross().to_spec().hash == ema_cross().to_spec().hash


def test_compute_gives_named_columns(bars: Bars) -> None:
    """Indicators of real bars in one call."""

    def write(b: Any) -> dict[str, Any]:
        return {"ema": st.ema(b.close, 26), "bands": st.bollinger(b.close), "up": b.close > b.open}

    got = st.compute(bars, write)
    assert list(got) == ["ema", "bands.upper", "bands.middle", "bands.lower", "up"]
    assert np.array_equal(got["up"] == 2, bars.close > bars.open)
    weights = (1 - 2 / 27) ** np.arange(len(bars))[::-1] * (2 / 27)
    weights[0] = (1 - 2 / 27) ** (len(bars) - 1)
    assert got["ema"][-1] == pytest.approx(weights @ bars.close, rel=1e-12)

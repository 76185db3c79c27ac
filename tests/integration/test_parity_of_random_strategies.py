"""Random strategies on real files: the small case of ``tests/e2e/parity_at_scale.py``."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from tests.e2e.parity_at_scale import compare
from tests.support.random_strategies import Drawn, drawn_strategies
from toolkit.market import Bars

LOADED: dict[str, Bars] = {}
SMALL = settings(
    max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@SMALL
@given(drawn_strategies())
def test_columns_equal_single_bars(drawn: Drawn) -> None:
    """Twenty-five strategies, managed positions included: every node and decision of both drivers is the same."""
    compare(drawn, drawn.bars(4_000, LOADED), replay=False)


@settings(SMALL, max_examples=6)
@given(drawn_strategies(cooldown=(200,)))
def test_a_backtest_equals_its_replay_on_the_paper_platform(drawn: Drawn) -> None:
    """Through store, intents and the paper platform the same trades come out, guards included."""
    compare(drawn, drawn.bars(2_500, LOADED))

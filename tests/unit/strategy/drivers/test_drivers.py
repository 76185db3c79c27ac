"""The columnar and the incremental driver give the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as hs

import toolkit.strategy as st
from toolkit.errors import SpecError, StrategyError
from toolkit.market import Bars
from toolkit.strategy.columns import kernels
from toolkit.strategy.columns.sets import SetBinder
from toolkit.strategy.drivers import columnar

NUMBERS: list[Callable[..., Any]] = [
    lambda b, a, c, n: a + c,
    lambda b, a, c, n: a - c,
    lambda b, a, c, n: a * c,
    lambda b, a, c, n: a / c,
    lambda b, a, c, n: 1.5 * a,
    lambda b, a, c, n: a // 0.01,
    lambda b, a, c, n: -a,
    lambda b, a, c, n: abs(a - c),
    lambda b, a, c, n: st.sqrt_of(a - c),
    lambda b, a, c, n: st.minimum(a, c, 1.1),
    lambda b, a, c, n: st.maximum(a, c),
    lambda b, a, c, n: st.where(a > c, a, c),
    lambda b, a, c, n: a.shift(n),
    lambda b, a, c, n: st.ema(a, n),
    lambda b, a, c, n: st.ema(a, n, seed="sma"),
    lambda b, a, c, n: st.wilder(a, n),
    lambda b, a, c, n: st.wilder(a, n, seed="sma"),
    lambda b, a, c, n: st.sma(a, n),
    lambda b, a, c, n: st.rsi(a, n),
    lambda b, a, c, n: st.rsi(a, n, seed="sma"),
    lambda b, a, c, n: st.highest(a, n),
    lambda b, a, c, n: st.lowest(a, n),
    lambda b, a, c, n: st.atr(b, n),
    lambda b, a, c, n: b.hlc3,
]
CONDITIONS: list[Callable[..., Any]] = [
    lambda a, c, p, q, n: a > c,
    lambda a, c, p, q, n: a >= 1.1,
    lambda a, c, p, q, n: a < c,
    lambda a, c, p, q, n: a <= c,
    lambda a, c, p, q, n: a == c,
    lambda a, c, p, q, n: a != c,
    lambda a, c, p, q, n: p & q,
    lambda a, c, p, q, n: p | q,
    lambda a, c, p, q, n: ~p,
    lambda a, c, p, q, n: st.where(p, q, False),
    lambda a, c, p, q, n: st.crossed_above(a, c),
    lambda a, c, p, q, n: st.crossed_below(a, 1.1),
    lambda a, c, p, q, n: p.shift(n),
    lambda a, c, p, q, n: st.hour_between(22, n % 24),
    lambda a, c, p, q, n: st.known(a),
    lambda a, c, p, q, n: st.weekday() < 3,
]
recipe = hs.lists(
    hs.tuples(hs.integers(0, 99), hs.integers(0, 99), hs.integers(0, 99), hs.integers(1, 30)), min_size=4, max_size=14
)


def build(recipe: list[tuple[int, int, int, int]]) -> Callable[[Any], dict[str, Any]]:
    """Turn random numbers into a random graph with a name for every node."""

    def indicators(bars: Any) -> dict[str, Any]:
        numbers = [bars.open, bars.high, bars.low, bars.close]
        conditions = [bars.close > bars.open]
        for choice, left, right, n in recipe:
            a, c = numbers[left % len(numbers)], numbers[right % len(numbers)]
            numbers.append(NUMBERS[choice % len(NUMBERS)](bars, a, c, n))
            p, q = conditions[left % len(conditions)], conditions[right % len(conditions)]
            conditions.append(CONDITIONS[choice % len(CONDITIONS)](a, c, p, q, n))
        named = {f"n{i}": e for i, e in enumerate(numbers)}
        return named | {f"c{i}": e for i, e in enumerate(conditions)}

    return indicators


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipe=recipe, splits=hs.sets(hs.integers(1, 699), max_size=3))
def test_random_graphs_agree_bit_for_bit(
    recipe: list[tuple[int, int, int, int]],
    splits: set[int],
    bars: Bars,
    strategy_of: Callable[..., st.StrategySpec],
    drivers_agree: Callable[..., None],
) -> None:
    """Any graph gives the same values in both drivers, whatever the bars at which the state is saved and restored."""
    last = len(recipe)
    spec = strategy_of(
        build(recipe),
        entry=lambda x: st.Entry(long=x[f"c{last}"], short=~x[f"c{last - 1}"]),
        exit=lambda x: st.Exit(long=x[f"c{last - 2}"]),
        protection=lambda x: st.Protection(stop_loss=abs(x[f"n{last}"] - x.open), take_profit=abs(x.high - x.low)),
    )
    drivers_agree(spec, bars[:700], tuple(splits))
    assert st.StrategySpec.from_json(spec.to_json()) == spec


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipe=recipe, cut=hs.integers(1, 499))
def test_blocks_of_columns_hand_their_state_on(
    recipe: list[tuple[int, int, int, int]], cut: int, bars: Bars, strategy_of: Callable[..., st.StrategySpec]
) -> None:
    """Two blocks of columns give what one gives, and the walker continues from a block's state."""
    spec = strategy_of(build(recipe))
    whole, end = columnar.advance(spec, bars[:500], frame=True)
    first, state = columnar.advance(spec, bars[:cut], frame=True)
    second, other_end = columnar.advance(spec, bars[cut:500], state, frame=True)
    assert end == other_end
    assert st.Incremental(spec, bars.instrument, state).state() == state
    assert whole.frame is not None and first.frame is not None and second.frame is not None
    for name, column in whole.frame.items():
        joined = np.concatenate([first.frame[name], second.frame[name]])
        assert np.array_equal(column, joined, equal_nan=column.dtype.kind == "f")


def test_plain_loops_give_the_bits_of_the_kernels(bars: Bars, strategy_of: Callable[..., st.StrategySpec]) -> None:
    """Without numba every node type gives exactly the same column."""
    recipe = [(i, i, i + 1, 3 + i % 9) for i in range(len(NUMBERS))]
    spec = strategy_of(build(recipe), protection=lambda x: st.Protection(stop_loss=x.high - x.low + 0.001))
    compiled = st.evaluate(spec, bars[:400], frame=True)
    kernels.use_numba(False)
    try:
        plain = st.evaluate(spec, bars[:400], frame=True)
    finally:
        kernels.use_numba(True)
    assert np.array_equal(compiled.code, plain.code)
    assert np.array_equal(compiled.stop_points, plain.stop_points)
    assert compiled.frame is not None and plain.frame is not None
    for name, column in compiled.frame.items():
        assert column.dtype == plain.frame[name].dtype
        assert np.array_equal(column, plain.frame[name], equal_nan=column.dtype.kind == "f"), name


def test_ema_cross_decides_alike_and_saves_its_state(
    bars: Bars, ema_cross: type[st.SectionedStrategy], drivers_agree: Callable[..., None]
) -> None:
    """The EMA cross agrees with states saved at the first bars and in the middle."""
    drivers_agree(st.StrategySpec.from_strategy(ema_cross()), bars, (1, 2, 27, 1500))


def test_a_state_of_another_spec_is_refused(bars: Bars, ema_cross: type[st.SectionedStrategy]) -> None:
    """A state names the spec it belongs to."""
    one = st.Incremental(st.StrategySpec.from_strategy(ema_cross()), bars.instrument)
    with pytest.raises(SpecError, match="must be made by EmaCross with hash"):
        st.Incremental(st.StrategySpec.from_strategy(ema_cross(fast=10)), bars.instrument, one.state())


def test_a_damaged_state_is_refused(bars: Bars, ema_cross: type[st.SectionedStrategy]) -> None:
    """A truncated state is not read as a shorter one."""
    spec = st.StrategySpec.from_strategy(ema_cross())
    state = st.Incremental(spec, bars.instrument).state()
    with pytest.raises(SpecError, match="a strategy state must be"):
        st.Incremental(spec, bars.instrument, state[:-8])


def test_both_entries_make_neither(bars: Bars, strategy_of: Callable[..., st.StrategySpec]) -> None:
    """A bar that asks for both sides enters none."""
    spec = strategy_of(lambda b: {}, entry=lambda x: st.Entry(long=x.close > 0, short=x.close > 0))
    assert set(st.evaluate(spec, bars).code.tolist()) == {0}


def test_entry_and_exit_of_a_side_make_no_entry(bars: Bars, strategy_of: Callable[..., st.StrategySpec]) -> None:
    """A side both entered and left on a bar is only left."""
    spec = strategy_of(
        lambda b: {}, entry=lambda x: st.Entry(long=x.close > 0), exit=lambda x: st.Exit(long=x.close > 0)
    )
    assert set(st.evaluate(spec, bars).code.tolist()) == {4}


def test_unknown_never_signals(bars: Bars, strategy_of: Callable[..., st.StrategySpec]) -> None:
    """A comparison with NaN is unknown, also negated, and an unknown condition enters nothing."""
    spec = strategy_of(
        lambda b: {"slow": st.sma(b.close, 100)},
        entry=lambda x: st.Entry(long=x.close > x.slow, short=~(x.close > x.slow)),
    )
    code = st.evaluate(spec, bars).code
    assert not code[:99].any()
    assert set(code[99:].tolist()) == {1, 2}


def test_filters_hold_back_entries_only(bars: Bars, strategy_of: Callable[..., st.StrategySpec]) -> None:
    """A filter is needed by every entry and by no exit."""
    spec = strategy_of(
        lambda b: {},
        entry=lambda x: st.Entry(long=x.close > x.open),
        exit=lambda x: st.Exit(long=x.close < x.open),
        filters=lambda x: [st.hour_between(8, 17), st.weekday() != 4],
    )
    code = st.evaluate(spec, bars).code
    hours = (bars.ts // 3_600_000_000_000) % 24
    weekday = (bars.ts // 86_400_000_000_000 + 3) % 7
    allowed = (hours >= 8) & (hours < 17) & (weekday != 4)
    assert np.array_equal((code & 1) == 1, allowed & (bars.close > bars.open))
    assert np.array_equal((code & 4) == 4, bars.close < bars.open)


def test_stop_points_are_whole_pips_rounded_up(bars: Bars, strategy_of: Callable[..., st.StrategySpec]) -> None:
    """A distance goes to the nearest point and then up to whole pips; a NaN distance gives 0."""
    spec = strategy_of(
        lambda b: {"range": b.high - b.low}, protection=lambda x: st.Protection(stop_loss=x.range.shift(1))
    )
    stops = st.evaluate(spec, bars).stop_points
    points = (bars.bid_high - bars.bid_low)[:-1].astype(np.int64)
    assert stops[0] == 0
    assert np.array_equal(stops[1:], (points + 9) // 10 * 10)


def test_fixed_pips_give_one_number(bars: Bars, strategy_of: Callable[..., st.StrategySpec]) -> None:
    """Pips stops are one value for all bars, fractions rounded up; pips targets keep their points."""
    spec = strategy_of(
        lambda b: {}, protection=lambda x: st.Protection(stop_loss=st.Pips(20.1), take_profit=st.Pips("20.1"))
    )
    decisions = st.evaluate(spec, bars)
    assert decisions.stop_points.tolist() == [210]
    assert decisions.target_points is not None and decisions.target_points.tolist() == [201]


def test_a_sweep_shares_columns_and_frees_them(bars: Bars, ema_cross: type[st.SectionedStrategy]) -> None:
    """Sets that share averages compute them once, give the same decisions, and leave nothing behind when released."""
    spec = st.StrategySpec.from_strategy(ema_cross())
    sets = [spec.with_params(fast=f, slow=s) for f in (5, 6, 7) for s in (20, 30)]
    cache = st.ColumnCache(bars)
    binder = SetBinder(spec, cache)
    plans = [binder.bind(s.values) for s in sets]
    for bound in plans:
        cache.retain(bound.keys)
    emas = {k for bound in plans for k in bound.keys}
    assert len(emas) < sum(len(set(bound.keys)) for bound in plans)
    for one, bound in zip(sets, plans, strict=True):
        shared = columnar.evaluate_set(spec, bound, cache)
        assert np.array_equal(shared.code, st.evaluate(one, bars).code)
        cache.release(bound.keys)
    assert cache.columns_held == 0


def test_bars_without_volume_are_refused_by_a_volume_node(
    strategy_of: Callable[..., st.StrategySpec], bars: Bars
) -> None:
    """A strategy that reads volume names what is missing."""
    names = [f"{side}_{part}" for side in ("bid", "ask") for part in ("open", "high", "low", "close")]
    bare = Bars.from_arrays(symbol="EURUSD", timeframe="H1", ts=bars.ts, **{n: getattr(bars, n) for n in names})
    spec = strategy_of(lambda b: {"v": b.volume})
    with pytest.raises(StrategyError, match="must be given with volume"):
        st.evaluate(spec, bare, frame=True)

"""The compiled loop, the plain loop and an independent reference simulator tell the same story, to the minor unit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.simulation import loop, state
from toolkit.simulation import run as driver
from toolkit.simulation.compiling.compiled import compiled_loop


@st.composite
def cases(draw, case_type):
    n = draw(st.integers(2, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    move = draw(st.sampled_from([3, 15, 60]))
    rows = []
    price = 1000
    for _ in range(n):
        open_ = max(60, price + int(rng.integers(-move, move + 1)))
        close = max(60, open_ + int(rng.integers(-move, move + 1)))
        high = max(open_, close) + int(rng.integers(0, move + 1))
        low = max(50, min(open_, close) - int(rng.integers(0, move + 1)))
        spread = [int(s) for s in rng.integers(0, 12, 4)]
        a_open, a_close = open_ + spread[0], close + spread[3]
        a_high = max(high + spread[1], a_open, a_close)
        a_low = max(low, min(low + spread[2], a_open, a_close))
        rows.append((open_, high, low, close, a_open, a_high, a_low, a_close))
        price = close
    busy = draw(st.sampled_from([0.1, 0.5, 0.9]))
    code = []
    for _ in range(n):
        c = int(rng.integers(0, 16)) if rng.random() < busy else 0
        if c & 3 == 3:
            c &= 12
        if c & 4:
            c &= ~1
        if c & 8:
            c &= ~2
        code.append(c)
    stop = [int(s) for s in rng.choice([0, 1, 5, 20, 20, 20, 60, 2000], n)]
    if draw(st.booleans()):
        stop = [draw(st.sampled_from([0, 1, 10, 40]))]
    kind = draw(st.sampled_from(["none", "ratio", "distance", "one distance"]))
    target = None
    if kind == "distance":
        target = [int(t) for t in rng.choice([0, 1, 10, 30, 30, 3000], n)]
    elif kind == "one distance":
        target = [draw(st.sampled_from([1, 25]))]
    ratio = draw(st.sampled_from([Fraction(1, 2), Fraction(2), Fraction(3, 2)])) if kind == "ratio" else None
    fixed = draw(st.sampled_from([0, 0, 7]))
    rates = draw(st.sampled_from([[Fraction(1)], [Fraction(100, 163)], "moving"]))
    if rates == "moving":
        rates = [Fraction(int(rng.integers(100, 200)), int(rng.integers(50, 300))) for _ in range(n)]
    balance = draw(st.sampled_from([50, 10_000, 1_000_000]))
    tight = Fraction(balance * 9, 70) if fixed else Fraction(balance, 300)  # leaves little above the stop-out level
    return case_type(
        rows=rows,
        code=code,
        stop=stop,
        target=target,
        ratio=ratio,
        balance=balance,
        rates=rates,
        fixed_steps=fixed,
        risk=draw(st.sampled_from([Fraction(1, 100), Fraction(1, 3000).limit_denominator(10**6), Fraction(1, 2)]))
        if fixed == 0
        else Fraction(1, 100),
        max_steps=draw(st.sampled_from([10, 1_000_000])),
        commission=draw(st.sampled_from([Fraction(0), Fraction(7, 2), Fraction(1, 3)])),
        slippage=draw(st.sampled_from([0, 2])),
        at_close=draw(st.booleans()),
        has_stop=draw(st.booleans()) if fixed else True,
        daily_loss=draw(st.sampled_from([None, Fraction(1, 100), Fraction(1, 1000)])),
        cooldown=draw(st.sampled_from([0, 1, 3])),
        max_spread=draw(st.sampled_from([None, 8])),
        drawdown=draw(st.sampled_from([None, None, Fraction(1, 50), Fraction(1, 1000)])),
        max_losses=draw(st.sampled_from([None, None, 1, 2])),
        max_steps_open=draw(st.sampled_from([None, None, 6, 400])),
        exposure=draw(st.sampled_from([None, None, Fraction(1, 2), Fraction(30)])),
        closed_hours=[bool(c) for c in rng.random(n) < draw(st.sampled_from([0.0, 0.0, 0.3]))],
        days=[i // 7 for i in range(n)],
        margin=draw(
            st.sampled_from([None, (1, Fraction(1, 30)), (1, Fraction(9, 7)), (2, tight), (2, tight), (2, Fraction(3))])
        ),
        stop_out=draw(st.sampled_from([0, 50, 100])),
        swap=draw(
            st.sampled_from(
                [
                    None,
                    (1, Fraction(-66, 10), Fraction(21, 100)),
                    (2, Fraction(-5, 36000), Fraction(1, 36000)),
                    (3, Fraction(-7, 3), Fraction(1, 2)),
                    (1, Fraction(-90), Fraction(-90)),
                ]
            )
        ),
        nights=[0, *(int(k) for k in rng.integers(0, 4, (n - 1) // 7))],
    )


def exact(case):
    # the loop's risk is in millionths; make the reference read the same number
    case.risk = Fraction(int(case.risk * 1_000_000), 1_000_000)
    return case


def assert_same(run, expected):
    assert [tuple(r) for r in run.trades.tolist()] == expected.trades
    assert [tuple(r) for r in run.skips.tolist()] == expected.skips
    assert run.equity.tolist() == expected.equity
    opened = run.open_trade
    assert (
        None
        if opened is None
        else (
            opened.side,
            opened.steps,
            opened.entry_bar,
            opened.entry_price,
            opened.stop,
            opened.target,
            opened.commission,
        )
    ) == expected.open


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_loop_equals_reference_on_random_strategies_and_bars(data, make_case, run_case, reference):
    """Every trade, skip, equity value and open position of a random run equals the reference's."""
    case = exact(data.draw(cases(make_case)))
    assert_same(run_case(case), reference(case))


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_plain_loop_equals_compiled_loop(data, make_case, run_case, monkeypatch):
    """Without numba the same source gives the same integers and the same floats."""
    case = exact(data.draw(cases(make_case)))
    with monkeypatch.context() as m:
        m.setattr(driver, "loop_at_hand", compiled_loop)
        compiled = run_case(case)
        m.setattr(driver, "loop_at_hand", lambda: loop)
        plain = run_case(case)
    for name in ("trades", "skips", "equity", "daily", "totals", "moments"):
        assert np.array_equal(getattr(compiled, name), getattr(plain, name)), name


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_totals_without_records_equal_those_with_records(data, make_case, run_case):
    """A sweep's run, which writes no records, ends in the same totals, daily equity and moments."""
    case = exact(data.draw(cases(make_case)))
    full, lean = run_case(case), run_case(case, full=False)
    assert np.array_equal(full.totals[state.FIRST_STATE :], lean.totals[state.FIRST_STATE :])
    assert np.array_equal(full.daily, lean.daily)
    assert np.array_equal(full.moments, lean.moments)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_totals_are_those_of_the_records(data, make_case, run_case):
    """Wins, gross sums, commission, drawdown and exposure follow from trades and equity by their definitions."""
    case = exact(data.draw(cases(make_case)))
    run = run_case(case)
    nets = [t[7] + t[8] + t[9] for t in run.trades.tolist()]
    s = run.totals
    assert s[state.TRADES] == len(nets)
    assert s[state.WINS] == sum(v > 0 for v in nets)
    assert s[state.GROSS_WIN] == sum(v for v in nets if v > 0)
    assert s[state.GROSS_LOSS] == -sum(v for v in nets if v <= 0)
    assert s[state.COMMISSION] == sum(t[8] for t in run.trades.tolist())
    peak, worst = case.balance, 0.0
    for value in run.equity.tolist():
        peak = max(peak, value)
        worst = max(worst, (peak - value) / peak)
    assert run.moments[state.MAX_DRAWDOWN] == worst
    open_cost = 0 if run.open_trade is None else run.open_trade.commission
    open_swap = 0 if run.open_trade is None else int(s[state.TRADE_SWAP])
    assert s[state.BALANCE] == case.balance + sum(nets) + open_cost + open_swap
    assert s[state.SWAP] == sum(t[9] for t in run.trades.tolist())
    assert run.daily.tolist() == [run.equity[i] for i in range(len(case.rows)) if i == len(case.rows) - 1 or i % 7 == 6]


def test_records_grow_past_their_first_capacity(make_case, run_case, reference):
    """A run with far more trades than the first allocation keeps every one of them."""
    n = 3000
    rows = [(1000, 1004, 996, 1000, 1001, 1005, 997, 1001)] * n
    case = make_case(rows=rows, code=[1, 2] * (n // 2), stop=[500], fixed_steps=1, balance=10**9)
    run = run_case(case)
    assert len(run.trades) == n - 2
    assert_same(run, reference(case))


@pytest.mark.parametrize("n", [2, 3])
def test_shortest_runs(n, make_case, run_case, reference):
    """Two bars fill one decision; the last bar decides nothing."""
    rows = [(1000, 1004, 996, 1000, 1001, 1005, 997, 1001)] * n
    case = make_case(rows=rows, code=[1] * n, stop=[50], fixed_steps=1)
    run = run_case(case)
    assert run.open_trade.entry_bar == 1
    assert_same(run, reference(case))

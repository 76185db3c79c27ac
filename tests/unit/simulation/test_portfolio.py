"""Several symbols on one equity: with one symbol the portfolio loop is the plain loop, and the rules between symbols."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.simulation.test_loop_against_reference import cases, exact
from toolkit.simulation import rules, state
from toolkit.simulation import run as driver
from toolkit.simulation.account import Costs
from toolkit.simulation.holding.terms import MarginTerms
from toolkit.simulation.portfolio import cells, loop
from toolkit.simulation.portfolio import run as portfolio


class Series:
    """What the portfolio needs of bars, from rows of integers."""

    def __init__(self, rows, ts):
        self.ts = np.array(ts, np.int64)
        for k, name in enumerate(("bid_open", "bid_high", "bid_low", "bid_close")):
            setattr(self, name, np.array([r[k] for r in rows], np.int32))
        for k, name in enumerate(("ask_open", "ask_high", "ask_low", "ask_close")):
            setattr(self, name, np.array([r[4 + k] for r in rows], np.int32))

    def __len__(self):
        return len(self.ts)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_one_symbol_is_the_plain_loop(data, make_case, run_case, monkeypatch):
    """Trades, skips, equity, daily equity, totals and moments of a random run are the same integers and floats."""
    case = exact(data.draw(cases(make_case)))
    case.at_close = False
    seen = {}
    plain = driver.run_loop
    with monkeypatch.context() as m:
        m.setattr(driver, "run_loop", lambda *a, **k: seen.setdefault("run", (a, plain(*a, **k)))[1])
        expected = run_case(case)
    (prices, plan, terms), _ = seen["run"]
    n = len(case.rows)
    ts = np.arange(n)
    pairs = terms.value.reshape(-1, 2)
    pairs = np.repeat(pairs, n, axis=0) if len(pairs) == 1 else pairs
    value = np.concatenate([pairs[:1], pairs])  # the rate after a bar is that of the next open
    nights = portfolio.nights_of_bars(n, terms, prices.day_last)
    leg = portfolio.Leg(Series(case.rows, ts), plan, terms, nights, value)
    new_day = np.array([0] + [int(case.days[i] != case.days[i - 1]) for i in range(1, n)], np.uint8)
    got = portfolio.run_portfolio([leg], ts, new_day)
    assert got.trades[:, 1:].tolist() == expected.trades.tolist()
    assert got.skips[:, 1:].tolist() == expected.skips.tolist()
    assert got.equity.tolist() == expected.equity.tolist()
    assert got.daily.tolist() == expected.daily.tolist()
    for cell in ("BALANCE", "WINS", "GROSS_WIN", "GROSS_LOSS", "COMMISSION", "SWAP", "BARS_IN", "SKIPS", "TRADES"):
        assert got.totals[getattr(state, cell)] == expected.totals[getattr(state, cell)], cell
    assert got.moments.tolist() == expected.moments.tolist()


def bar(o, h, low, c, spread=2):
    return (o, h, low, c, o + spread, h + spread, low + spread, c + spread)


FLAT = bar(1000, 1000, 1000, 1000)


@pytest.fixture(params=["compiled", "plain"])
def play(request, monkeypatch):
    """Run symbols given as (rows, decisions by row, moments); 7 minor units risked of 700, a point of a step is 1."""
    if request.param == "plain":
        monkeypatch.setattr(portfolio, "compiled_portfolio_loop", lambda: loop)

    def go(*symbols, **changes):
        moments = sorted({t for _, _, ts in symbols for t in ts})
        legs = []
        for rows, decisions, ts in symbols:
            code = np.array([decisions.get(i, 0) for i in range(len(rows))], np.uint8)
            given = {"balance": 10_000, "min_steps": 1, "max_steps": 1_000, "fixed_steps": 10, **changes}
            terms = driver.Terms(**given)
            plan = driver.Plan(code, np.array([20], np.int32))
            value = np.ones((len(moments) + 1, 2), np.int64)
            legs.append(portfolio.Leg(Series(rows, ts), plan, terms, np.zeros(len(rows), np.int64), value))
        new_day = np.zeros(len(moments), np.uint8)
        return portfolio.run_portfolio(legs, np.array(moments, np.int64), new_day)

    return go


def test_sizing_of_a_later_symbol_sees_what_came_before(play):
    """The first symbol's commission, paid at the same open, makes the second one's equity smaller."""
    rows = [FLAT, FLAT, FLAT]
    moments = [0, 1, 2]
    run = play(
        (rows, {0: 1}, moments), (rows, {0: 1}, moments),
        fixed_steps=0, risk_ppm=20_000, costs=Costs(100, 1, 0),
    )  # fmt: skip
    # 2 % of 10,000 over 20 points: 10 steps for 1,000 commission and 20 of spread; then 2 % of 8,980
    assert run.open[:, cells.P_STEPS].tolist() == [10, 8]


def test_a_symbol_without_a_bar_is_marked_at_its_last_close(play):
    """While only the second symbol has bars the first one keeps the value of its last close."""
    first = ([FLAT, bar(1000, 1010, 995, 1005)], {0: 1}, [0, 1])
    second = ([FLAT] * 4, {}, [0, 1, 2, 3])
    assert play(first, second).equity.tolist() == [10_000, 10_030, 10_030, 10_030]


def test_exits_of_all_symbols_come_before_entries(play):
    """The exit of the second symbol frees the margin that the entry of the first one needs, at the same open."""
    margin = MarginTerms(1, 1, 2, 50)
    rows = [FLAT, FLAT, FLAT, FLAT]
    first, second = (rows, {1: 1}, [0, 1, 2, 3]), (rows, {0: 1, 1: 4}, [0, 1, 2, 3])
    run = play(first, second, margin=margin)
    assert [rules.EXIT_REASONS[r] for r in run.trades[:, 7]] == ["signal"]
    assert run.open[:, cells.P_POS].tolist() == [1, 0]
    held = play(first, (rows, {0: 1}, [0, 1, 2, 3]), margin=margin)
    assert [rules.SKIP_REASONS[r] for r in held.skips[:, 3]] == ["insufficient_margin"]


def test_stop_out_closes_the_worst_position_first_and_only_as_many_as_needed(play):
    """One of two losers is closed, at the first price on its way at which the level is broken; that is enough."""
    margin = MarginTerms(2, 450, 1, 100)  # 4,500 for each position: the level is 9,000 with both, 4,500 with one
    first = ([FLAT, FLAT, bar(1000, 1000, 985, 990)], {0: 1}, [0, 1, 2])
    second = ([FLAT, FLAT, bar(1000, 1000, 984, 990)], {0: 1}, [0, 1, 2])
    run = play(first, second, margin=margin, balance=9_250)
    # both have lost 20 by the spread; at their worst prices 170 and 180: 8,900 is below 9,000
    assert run.trades[:, [0, 6]].tolist() == [[1, 993]]
    assert rules.EXIT_REASONS[run.trades[0, 7]] == "stop_out"
    assert run.open[:, cells.P_POS].tolist() == [1, 0]


def test_guards_count_the_positions_of_the_whole_run(play):
    """max_open lets one symbol in and denies the next one at the same open."""
    rows = [FLAT, FLAT, FLAT]
    run = play((rows, {0: 1}, [0, 1, 2]), (rows, {0: 2}, [0, 1, 2]), max_open_run=1)
    assert run.open[:, cells.P_POS].tolist() == [1, 0]
    assert run.skips[:, [0, 3]].tolist() == [[1, 22]]


def test_records_grow(play):
    """More trades and skips than the first allocation holds are all kept."""
    n = 1_500
    rows, code = [FLAT] * n, {i: 1 + i % 2 for i in range(n)}
    run = play((rows, code, list(range(n))), (rows, code, list(range(n))), balance=10**9)
    assert len(run.trades) == 2 * (n - 2)
    assert run.equity[-1] == 10**9 + run.trades[:, 8:].sum() - 2 * 2 * 10

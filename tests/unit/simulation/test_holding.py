"""Margin, stop-out and swap: published figures, exact boundaries, and the fewest points that lose too much."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.market import Rate, find_instrument
from toolkit.simulation import rules
from toolkit.simulation.account import PaperAccount, from_minor, point_value
from toolkit.simulation.holding.margin import equity_floor, loss_points_over, stop_out_price
from toolkit.simulation.holding.swap import nights_charged
from toolkit.simulation.holding.terms import MarginTerms, margin_terms, swap_terms

GBPCAD = replace(find_instrument("GBPUSD"), symbol="GBPCAD", quote_currency="CAD")
SPX = replace(find_instrument("US30"), symbol="SPX", contract_size=Decimal(50), margin_mode="cfd_leverage")


@pytest.mark.parametrize(
    ("facts", "currency", "leverage", "lots", "price", "rate", "want"),
    [
        pytest.param(find_instrument("USDJPY"), "USD", 100, 2, "110.025", Rate(1, 110), "2000.00", id="W25"),
        # GBP at the opening price in CAD, CAD at the closes of the day: 1,733.89 CAD / 1.26057
        pytest.param(GBPCAD, "USD", 100, 1, "1.73389", Rate(100_000, 126_057), "1375.48", id="W26"),
        pytest.param(find_instrument("EURUSD"), "USD", 100, 5, "1.3296", Rate.ONE, "6648.00", id="W15"),
        pytest.param(find_instrument("EURGBP"), "GBP", 500, "0.5", "0.84955", Rate.ONE, "84.96", id="W13 rounded"),
        pytest.param(SPX, "USD", 200, "0.1", "1794.0", Rate.ONE, "44.85", id="W18"),
    ],
)
def test_published_margins(facts, currency, leverage, lots, price, rate, want):
    """The margin of an entry equals the published one, rounded to the account's cents."""
    terms = margin_terms(PaperAccount(currency, 10_000, leverage=leverage), facts)
    value = point_value(facts, currency, rate.num, rate.den)
    need = terms.needed(facts.to_points(price), facts.steps_floor(Decimal(str(lots))), value)
    assert from_minor(need, currency) == Decimal(want)


def test_no_leverage_is_no_margin():
    """None and 0 switch margin and stop-out off; modes that ignore the leverage block the whole notional."""
    facts = find_instrument("EURUSD")
    for unlimited in (None, 0):
        assert margin_terms(PaperAccount("USD", 1000, leverage=unlimited), facts) == MarginTerms()
    whole = margin_terms(PaperAccount("USD", 1000, leverage=30), replace(facts, margin_mode="forex_no_leverage"))
    assert from_minor(whole.needed(110_000, 100, point_value(facts, "USD")), "USD") == Decimal("110000.00")


@given(
    budget=st.integers(-(10**9), 10**9),
    steps=st.integers(1, 10**5),
    vn=st.integers(1, 10**6),
    vd=st.integers(1, 10**9),
)
def test_loss_points_over_is_the_first_that_loses_too_much(budget, steps, vn, vd):
    """The booked loss of that many points is more than the budget, that of one point less is not."""
    k = loss_points_over(budget, steps, vn, vd)
    assert -rules.money(-k, steps, vn, vd) > budget
    assert -rules.money(-(k - 1), steps, vn, vd) <= budget


def test_stop_out_level_is_exact():
    """Equity at the level holds the position, one minor unit below closes it; odd margins round the level up."""
    assert [equity_floor(m, 50) for m in (2000, 2001)] == [1000, 1001]
    # long 10 steps from 1000 with 3,000 of balance and a floor of 2,900: 100 lost is allowed, 110 is not
    assert stop_out_price(1, 1000, 999, 900, 100, 10, 1, 1) == 989
    assert stop_out_price(-1, 1000, 1001, 1100, 100, 10, 1, 1) == 1011
    assert stop_out_price(1, 1000, 985, 900, 100, 10, 1, 1) == 985  # the open is beyond already: never better


def test_margin_is_refused_only_above_the_free_margin(make_case, run_case):
    """An entry that needs exactly the equity is made; one minor unit less equity and it is not."""
    rows = [(1000, 1000, 1000, 1000, 1002, 1002, 1002, 1002)] * 3
    given = {
        "rows": rows,
        "code": [1, 0, 0],
        "stop": [500],
        "fixed_steps": 10,
        "margin": (1, Fraction(1, 2)),
        "stop_out": 0,
    }
    assert run_case(make_case(**given, balance=5010)).open_trade is not None
    refused = run_case(make_case(**given, balance=5009))
    assert [rules.SKIP_REASONS[r] for r in refused.skips[:, 2]] == ["insufficient_margin"]


def test_open_quote_at_the_level_is_no_stop_out(make_case, run_case):
    """A position whose equity is exactly the floor at an open stays; one point lower it is closed at that open."""
    flat = (1000, 1000, 1000, 1000, 1002, 1002, 1002, 1002)
    at, below = ((p, p, p, p, p + 2, p + 2, p + 2, p + 2) for p in (992, 991))
    given = {"code": [1, 0, 0], "stop": [500], "fixed_steps": 10, "balance": 5010, "margin": (2, Fraction(491))}
    # the margin is 4,910, at 100 % so is the floor: 10 points of loss from 1002 leave exactly that
    assert run_case(make_case(rows=[flat, flat, at], stop_out=100, **given)).open_trade is not None
    closed = run_case(make_case(rows=[flat, flat, below], stop_out=100, **given)).trades.tolist()
    assert [(t[5], rules.EXIT_REASONS[t[6]]) for t in closed] == [(991, "stop_out")]


def test_worked_example_of_the_fill_rules():
    """Long 0.5 lots of EURUSD at -6.63 points: 3.32 USD a night, 9.95 on Wednesday."""
    facts = replace(find_instrument("EURUSD"), swap_mode="points", swap_long="-6.63", swap_short="1.27")
    terms = swap_terms(PaperAccount("USD", 1000), facts)
    value = point_value(facts, "USD")
    assert [terms.money(1, 110_000, 50, k, value) for k in (1, 3)] == [-332, -995]
    assert terms.money(-1, 110_000, 50, 1, value) == 64


@pytest.mark.parametrize(
    ("mode", "rate", "want"),
    [("money", "-7.1", "-3.55"), ("money_base", "-5.03", "-2.77"), ("money_account", "-7.5", "-3.75"),
     ("percent", "-2.75", "-4.20"), ("none", "-2.75", "0.00")],
)  # fmt: skip
def test_swap_modes(mode, rate, want):
    """Half a lot of EURUSD at 1.10000 for one night, each way of stating the rate."""
    facts = replace(find_instrument("EURUSD"), swap_mode=mode, swap_long=rate)
    terms = swap_terms(PaperAccount("USD", 1000), facts)
    assert from_minor(terms.money(1, 110_000, 50, 1, point_value(facts, "USD")), "USD") == Decimal(want)


@given(first=st.integers(10_000, 30_000), days=st.integers(0, 40), triple=st.integers(0, 6))
def test_nights_are_those_counted_one_by_one(first, days, triple):
    """Monday to Friday one night, the triple day three, the weekend none."""
    one_by_one = 0
    for day in range(first, first + days):
        weekday = (day + 3) % 7
        one_by_one += 3 if weekday == triple else weekday < 5
    assert nights_charged(first, first + days - 1, triple) == one_by_one


def test_a_week_of_wednesday_triples_is_seven_nights():
    """From Monday 1970-01-05 over seven midnights."""
    assert nights_charged(4, 10, 2) == 7
    assert [nights_charged(day, day, 2) for day in range(4, 11)] == [1, 1, 3, 1, 1, 0, 0]


def test_rates_that_do_not_fit_are_refused():
    """A swap rate of absurd precision names the field."""
    facts = replace(find_instrument("EURUSD"), swap_mode="points", swap_long="-6.123456789012")
    with pytest.raises(BadInput, match="swap_long of EURUSD"):
        swap_terms(PaperAccount("USD", 1000), facts)

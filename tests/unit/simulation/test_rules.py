"""The scalar rules alone: exact integers of any size, and sizes equal to the Decimal oracle."""

from __future__ import annotations

import os
import random
from decimal import Decimal
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.market import Instrument, Quote, Rate, Side
from toolkit.risk.management import calculate_position_size
from toolkit.simulation import rules
from toolkit.simulation.account import PaperAccount, point_value, to_minor
from toolkit.simulation.compiling.compiled import compiled_loop, have_numba

BIG = st.integers(0, 2**62 - 1)
#: 20,000 in CI; the whole proof: SEATRIAL_SIZING_CASES=1000000 pytest tests/unit/simulation/test_rules.py -k oracle
ORACLE_CASES = int(os.environ.get("SEATRIAL_SIZING_CASES", "20000"))


@cache
def both(name):
    plain = getattr(rules, name)
    if not have_numba():
        return [plain]
    from numba import njit

    part = getattr(compiled_loop(), name)  # made to be called by compiled code only
    return [plain, njit(lambda *given: part(*given))]


@settings(max_examples=300, deadline=None)
@given(a=BIG, b=BIG, c=BIG, d=st.integers(1, 2**62 - 1))
def test_mul_div_floor_is_exact_plain_and_compiled(a, b, c, d):
    """Products far beyond 64 bits divide exactly in both forms; a quotient that cannot fit is clamped."""
    expected = min((a * b + c) // d, 2**62)
    assert [fn(a, b, c, d) for fn in both("mul_div_floor")] == [expected] * len(both("mul_div_floor"))


@settings(max_examples=300, deadline=None)
@given(
    points=st.integers(-(2**31) + 1, 2**31 - 1),
    steps=st.integers(0, 2**30),
    num=st.integers(1, 2**31 - 1),
    den=st.integers(1, 2**61 - 1),
)
def test_money_is_the_fraction_rounded_half_away(points, steps, num, den):
    """Money equals the exact fraction rounded half away from zero, plain and compiled."""
    exact = Fraction(abs(points) * steps * num, den) + Fraction(1, 2)
    expected = exact.numerator // exact.denominator * (1 if points >= 0 else -1)
    if abs(expected) < 2**62 and (den != 1 or abs(points * steps * num) < 2**62):
        assert {fn(points, steps, num, den) for fn in both("money")} == {expected}


def _random_sizing(rng: random.Random):
    digits = rng.choice([2, 3, 5])
    pip = Decimal(1).scaleb(1 - digits)
    step = rng.choice(["0.01", "0.1", "1", "0.001"])
    contract = rng.choice([1, 10, 100, 5000, 100_000 if step == "0.01" else 5])
    facts = Instrument(
        "TEST", "JPY", pip, contract, Decimal(step) * rng.choice([1, 1, 5]),
        Decimal(step) * rng.choice([50, 5000, 10**7]), step, digits=digits,
    )  # fmt: skip
    currency = rng.choice(["USD", "USD", "JPY"])
    equity = to_minor(Decimal(rng.randint(1, 10 ** rng.randint(1, 13))) / 100, currency)
    ppm = rng.choice([10_000, 5_000, 333, 1, 250_000, 1_000_000, rng.randint(1, 1_000_000)])
    rate = Rate(rng.randint(1, 20_000), rng.randint(1, 400_000)) if rng.random() < 0.8 else Rate.ONE
    stop = rng.randint(1, 500) * facts.points_per_pip
    return facts, currency, equity, ppm, rate, stop


def test_lots_for_risk_equals_the_oracle_on_random_cases():
    """The integer sizes are those of calculate_position_size, case by case, also when equity is a hair below a step."""
    rng = random.Random(20261122)
    seen = {"accepted": 0, "capped": 0, "below": 0}
    for _ in range(ORACLE_CASES):
        facts, currency, equity, ppm, rate, stop = _random_sizing(rng)
        num, den = point_value(facts, currency, rate.num, rate.den)
        if rng.random() < 0.5:  # put equity right at the money of a whole number of steps, or one minor unit beside it
            steps = rng.randint(1, 400)
            need = Fraction(steps * stop * num, den) * 1_000_000 / ppm
            equity = max(0, -(-need.numerator // need.denominator) + rng.choice([-1, 0, 0, 1]))
        ask = facts.price(10_000_000)
        size = calculate_position_size(
            side=Side.BUY,
            quote=Quote(ask, ask),
            stop_loss=facts.price(10_000_000 - stop),
            equity=PaperAccount(currency, 1).money(equity),
            risk_percent=Decimal(ppm) / 10_000,
            instrument=facts,
            quote_to_account=rate,
        )
        steps, capped, reason = rules.lots_for_risk(equity, ppm, stop, num, den, facts.min_steps, facts.max_steps)
        assert (steps, capped) == (size.steps, size.capped), (facts, currency, equity, ppm, rate, stop)
        assert (reason == rules.OK) == size.accepted
        seen["capped" if capped else "accepted" if steps else "below"] += 1
    assert min(seen.values()) > ORACLE_CASES // 100


@settings(max_examples=300, deadline=None)
@given(
    equity=st.integers(-(10**6), 2**60),
    ppm=st.integers(1, 10**6),
    stop=st.integers(0, 2**31 - 1),
    num=st.integers(1, 2**31 - 1),
    den=st.integers(1, 2**61 - 1),
)
def test_lots_for_risk_compiled_equals_plain(equity, ppm, stop, num, den):
    """Sizing gives one answer, however large the numbers."""
    results = {tuple(map(int, fn(equity, ppm, stop, num, den, 1, 10**9))) for fn in both("lots_for_risk")}
    assert len(results) == 1
    steps, capped, reason = results.pop()
    if reason == rules.OK and not capped:
        assert steps * stop * num * 10**6 <= equity * ppm * den < (steps + 1) * stop * num * 10**6


@pytest.mark.parametrize(
    ("distance", "points"),
    [(0.00120, 120), (0.001204, 120), (0.0012049, 120), (0.001206, 130), (0.00000499, 0), (0.000005, 10),
     (float("nan"), 0), (-1.0, 0), (0.0, 0), (1e30, 0), (float("inf"), 0)],
)  # fmt: skip
def test_stop_distance_goes_to_the_nearest_point_then_up_to_whole_pips(distance, points):
    """0.001204 is 120.4 points, 120 at the nearest, exactly 12 pips; 120.6 is 121, so 13; NaN and nonsense are no stop."""
    assert rules.stop_points_from_distance(distance, 100_000, 10) == points


def test_stop_distance_is_rounded_up_not_to_the_nearest_pip():
    """121 points are 13 pips."""
    assert rules.stop_points_from_distance(0.00121, 100_000, 10) == 130


def test_account_terms_are_refused_with_a_remedy():
    """Balance, leverage, commission and mode out of range name the requirement and what was given."""
    with pytest.raises(BadInput, match="balance must be above 0, was 0"):
        PaperAccount("USD", 0)
    with pytest.raises(BadInput, match="leverage must be a whole number from 1 to 5000, or None, was -1"):
        PaperAccount("USD", 1, leverage=-1)
    with pytest.raises(BadInput, match="commission_per_lot must be 0 or more, was -1"):
        PaperAccount("USD", 1, commission_per_lot=-1)
    with pytest.raises(BadInput, match="mode must be 'hedging' or 'netting', was 'hedge'"):
        PaperAccount("USD", 1, mode="hedge")


def test_account_survives_its_facts():
    """An account rebuilt from its stored facts is equal."""
    account = PaperAccount(
        "USD", "10000.005", leverage=100, commission_per_lot="3.5", day_end="New York + 7", stop_out_percent=20
    )
    assert account.balance == Decimal("10000.01")
    assert PaperAccount.from_facts(account.facts()) == account

"""Conversion rates are exact ratios from real quotes, never assumed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import BadInput, ConversionRateMissing
from toolkit.market import (
    Instrument,
    Quote,
    Rate,
    RatesTable,
    find_instrument,
    find_rate,
    load_rates,
    mid_rate,
    rate_from_quote,
)

USDJPY = (find_instrument("USDJPY"), Quote("110.100", "110.130"))
AUDUSD = (find_instrument("AUDUSD"), Quote("0.80000", "0.80010"))
EURUSD = (find_instrument("EURUSD"), Quote("1.11712", "1.11728"))


def test_the_same_currency_needs_no_pair():
    """From a currency to itself the rate is exactly 1."""
    assert find_rate("USD", "USD", []) == Rate.ONE
    assert rate_from_quote(*USDJPY, "EUR", "EUR") is Rate.ONE


def test_direct_and_inverse_pairs_use_the_mid():
    """nautilus' mid cases: USD to JPY 110.115 and JPY to USD its inverse."""
    assert find_rate("USD", "JPY", [USDJPY]).decimal == Decimal("110.115")
    back = find_rate("JPY", "USD", [USDJPY])
    assert float(back.decimal) == 0.009081414884438995
    assert back == Rate(1000, 110115)


def test_the_integer_form_equals_the_decimal_form():
    """mid_rate from points and rate_from_quote from decimals are the same ratio."""
    assert mid_rate(111712, 111728, 5) == rate_from_quote(*EURUSD, "EUR", "USD") == Rate(111720, 100000)
    assert mid_rate(110100, 110130, 3).inverse == find_rate("JPY", "USD", [USDJPY])


def test_two_pairs_chain_through_a_common_currency():
    """AUD to JPY goes through USD as the exact product of the two mids."""
    assert find_rate("AUD", "JPY", [AUDUSD, USDJPY]).decimal == Decimal("0.80005") * Decimal("110.115")
    assert find_rate("JPY", "AUD", [AUDUSD, USDJPY]) == find_rate("AUD", "JPY", [USDJPY, AUDUSD]).inverse


def test_one_pair_is_preferred_to_two():
    """A direct pair wins over a chain, wherever it stands in the list."""
    audjpy = (find_instrument("AUDJPY"), Quote("90.000", "90.010"))
    assert find_rate("AUD", "JPY", [AUDUSD, USDJPY, audjpy]).decimal == Decimal("90.005")


def test_a_missing_rate_is_an_error_and_never_one():
    """With only AUDUSD known, USD to JPY is missing; three pairs in a row are not tried."""
    with pytest.raises(
        ConversionRateMissing, match=r"rate USD to JPY must be known, was missing \(pairs given: AUDUSD\): add"
    ):
        find_rate("USD", "JPY", [AUDUSD])
    with pytest.raises(ConversionRateMissing, match=r"pairs given: none"):
        find_rate("USD", "JPY", [])
    gbpeur = (Instrument("EURGBP", "GBP", "0.0001", 1, 1, 1, 1, base_currency="EUR"), Quote("0.83", "0.84"))
    with pytest.raises(ConversionRateMissing):
        find_rate("GBP", "JPY", [gbpeur, EURUSD, USDJPY])
    with pytest.raises(
        ConversionRateMissing, match=r"conversion pair must be one of EUR and JPY, was USDJPY: give a quote of"
    ):
        rate_from_quote(*USDJPY, "EUR", "JPY")


def test_index_symbols_are_not_conversion_pairs():
    """A symbol without a base currency converts nothing."""
    with pytest.raises(ConversionRateMissing):
        find_rate("USD", "EUR", [(find_instrument("US30"), Quote(40000, 40002))])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rate(0, 1), "rate must be a ratio of two positive integers, was 0/1: check the quote"),
        (lambda: Rate(1, -1), "was 1/-1"),
        (lambda: Rate.of(0), "rate must be above 0, was 0"),
        (lambda: Rate.of("nan"), "rate must be finite, was nan"),
    ],
)
def test_rates_are_positive(make, message):
    """Zero, negative and missing rates are refused."""
    with pytest.raises(BadInput, match=message):
        make()


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(1, 10**9), st.integers(1, 10**9))
def test_rates_multiply_as_fractions(a, b, c, d):
    """Rates are reduced and multiply exactly."""
    product = Rate(a, b) * Rate(c, d)
    assert Fraction(product.num, product.den) == Fraction(a, b) * Fraction(c, d)
    assert (Rate(a, b) * Rate(a, b).inverse) == Rate.ONE
    assert Rate(a * 7, b * 7) == Rate(a, b)


DAYS = pd.DataFrame(
    {
        "ts": pd.to_datetime(["2025-01-02", "2025-01-03", "2025-01-06", "2025-01-30"], utc=True),
        "USD": [1.03, 1.0299, np.nan, 1.04],
        "JPY": [162.0, 161.5, 163.0, 161.0],
    }
)


def test_daily_rates_are_the_last_known_at_the_moment():
    """A rate dated by day counts from the next day on by default, so that nothing is known before it is published."""
    table = load_rates(DAYS)
    assert table.rate("EUR", "USD", datetime(2025, 1, 3, 23, 59, tzinfo=UTC)).decimal == Decimal("1.03")
    assert table.rate("EUR", "USD", datetime(2025, 1, 4, tzinfo=UTC)).decimal == Decimal("1.0299")
    assert table.rate("USD", "JPY", datetime(2025, 1, 4, tzinfo=UTC)) == Rate(1615000, 10299)
    assert table.rate("JPY", "EUR", datetime(2025, 1, 4, tzinfo=UTC)) == Rate(2, 323)
    at_once = load_rates(DAYS, known_after=timedelta(0))
    assert at_once.rate("EUR", "USD", datetime(2025, 1, 3, tzinfo=UTC)).decimal == Decimal("1.0299")
    assert at_once.rate("EUR", "USD", datetime(2025, 1, 2, tzinfo=UTC)).decimal == Decimal("1.03")


def test_a_hole_in_a_column_falls_back_to_the_row_before():
    """A currency without a rate on a day uses its last one."""
    table = load_rates(DAYS, known_after=timedelta(0))
    assert table.rate("EUR", "USD", datetime(2025, 1, 7, tzinfo=UTC)).decimal == Decimal("1.0299")


@pytest.mark.parametrize(
    ("frm", "to", "at", "message"),
    [
        (
            "EUR",
            "USD",
            datetime(2025, 1, 1, tzinfo=UTC),
            r"rate EUR to USD at 2025-01-01T.* was missing: use a table that covers",
        ),
        (
            "EUR",
            "USD",
            datetime(2025, 1, 20, tzinfo=UTC),
            r"must be known and at most 10 days old, was last of 2025-01-0\d",
        ),
        (
            "EUR",
            "XXX",
            datetime(2025, 1, 6, tzinfo=UTC),
            r"currency must be one of EUR USD JPY, was XXX: add its column",
        ),
    ],
)
def test_no_rate_is_made_up(frm, to, at, message):
    """Before the table, long after its last row and for unknown currencies the rate is missing."""
    with pytest.raises(ConversionRateMissing, match=message):
        load_rates(DAYS).rate(frm, to, at)


def test_bad_tables_are_refused():
    """Naive or unsorted times and rates of 0 are refused."""
    with pytest.raises(
        BadInput, match=r"ts must be a column of tz-aware times, was missing or naive: use .*tz_localize"
    ):
        load_rates(DAYS.assign(ts=DAYS.ts.dt.tz_localize(None)))
    with pytest.raises(BadInput, match="later than the row before"):
        load_rates(DAYS.iloc[::-1])
    with pytest.raises(BadInput, match="rates of USD must be above 0 and finite"):
        load_rates(DAYS.assign(USD=0.0))
    with pytest.raises(BadInput, match="base must be not among the columns, was USD"):
        load_rates(DAYS, base="USD")
    with pytest.raises(BadInput, match="rates of USD must be 4 numbers"):
        RatesTable("EUR", load_rates(DAYS).ts, {"USD": np.ones(3)})


def test_the_real_ecb_table_gives_published_rates(real):
    """The ECB file reads whole and crosses are exact ratios of two of its columns."""
    path = real("ecb_daily_per_eur_2005_2026.parquet")
    table = load_rates(path, known_after=timedelta(0))
    assert table.currencies[:4] == ("EUR", "USD", "JPY", "GBP")
    at = datetime(2005, 1, 3, 12, tzinfo=UTC)
    assert table.rate("EUR", "USD", at).decimal == Decimal("1.3507")
    assert table.rate("USD", "JPY", at) == Rate(1388400, 13507)
    frame = pd.read_parquet(path)
    last = frame.iloc[-1]
    assert table.rate("EUR", "GBP", last.ts.to_pydatetime()).decimal == Decimal(repr(float(last.GBP)))


def test_a_row_after_a_day_of_23_hours_is_not_known_an_hour_early():
    """Fixings at 16:00 in Frankfurt come 23 hours apart at the change to summer time; no bar closes before its row is known."""
    days = ("2024-03-29T15", "2024-03-30T15", "2024-03-31T14", "2024-04-01T14")
    ts = np.array(days, "datetime64[ns]").astype(np.int64)
    table = RatesTable("EUR", ts, {"USD": np.array([1.0, 2.0, 3.0, 4.0])}, known_after=timedelta(0))
    pair = table.pair("EUR", "USD")
    closes = np.minimum(pair.ts + 86_400 * 10**9, np.append(pair.ts[1:], 2**62))
    assert (closes >= ts).all()
    assert (pair.ts[1:] > pair.ts[:-1]).all()
    assert closes.tolist() == ts.tolist()


def test_a_pair_of_the_table_has_the_rates_of_its_rows_where_they_become_known():
    """Bars of a pair close when the row is known, hold the cross rate to seven digits, and skip rows with a gap."""
    start = 1_600_000_000 * 10**9 // (86_400 * 10**9) * (86_400 * 10**9)
    ts = np.array([start + k * 86_400 * 10**9 for k in range(3)], np.int64)
    usd, jpy = np.array([1.2, 1.25, 1.3]), np.array([120.0, np.nan, 130.0])
    table = RatesTable("EUR", ts, {"USD": usd, "JPY": jpy}, known_after=timedelta(days=1))
    pair = table.pair("JPY", "USD")
    assert (pair.symbol, pair.instrument.base_currency, pair.instrument.quote_currency) == ("JPYUSD", "JPY", "USD")
    assert pair.ts.tolist() == [int(ts[0]), int(ts[2])]
    assert [pair.instrument.price(p) for p in pair.bid_close] == [Decimal("0.010000000")] * 2
    assert [table.pair("EUR", "USD").instrument.price(p) for p in table.pair("EUR", "USD").ask_close][1] == Decimal(
        "1.25"
    )
    with pytest.raises(ConversionRateMissing, match="CHF"):
        table.pair("CHF", "USD")
    with pytest.raises(BadInput, match="two currencies"):
        table.pair("USD", "USD")

"""Columns give back exactly what was put in, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import StatementError

from toolkit.store.sql.types import ExactDecimal, UtcDateTime


@pytest.fixture
def table(database):
    """A table with one moment and one amount."""
    number = Column("n", Integer, primary_key=True)
    made = Table("probe", MetaData(), number, Column("at", UtcDateTime), Column("x", ExactDecimal))
    made.create(database)

    def roundtrip(at=None, x=None):
        with database.begin() as connection:
            connection.execute(made.delete())
            connection.execute(insert(made), {"n": 1, "at": at, "x": x})
            return connection.execute(select(made.c.at, made.c.x)).one()

    return roundtrip


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2017, 1, 3, 10, 0, tzinfo=UTC),
        datetime(2026, 11, 22, 22, 23, 55, 747287, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2099, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    ],
)
def test_a_moment_is_exact_to_the_microsecond(table, moment):
    """What is read equals what was written, and is aware UTC."""
    read = table(at=moment).at
    assert read == moment
    assert read.utcoffset() == timedelta(0)


def test_another_zone_reads_as_utc(table):
    """The moment is kept, not the wall clock."""
    local = datetime(2026, 7, 1, 12, 0, tzinfo=timezone(timedelta(hours=3)))
    assert table(at=local).at.isoformat() == "2026-07-01T09:00:00+00:00"


def test_a_naive_time_is_refused(table):
    """A time without a zone is not a moment."""
    with pytest.raises(StatementError, match="tz-aware"):
        table(at=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    "text",
    ["0.1", "1.11712", "-0.000000000000000000000000000000001", "123456789012345678901234567890.123456789", "0", "1E+3"],
)
def test_an_amount_is_exact(table, text):
    """No digit is lost and none invented, at any length."""
    assert table(x=Decimal(text)).x == Decimal(text)


@pytest.mark.parametrize("value", [0.1, Decimal("NaN"), Decimal("Infinity"), True])
def test_what_is_not_an_exact_number_is_refused(table, value):
    """Floats and non-finite Decimals never reach a money column."""
    with pytest.raises(StatementError, match="amount must be"):
        table(x=value)


def test_nothing_stays_nothing(table):
    """NULL is not zero."""
    assert tuple(table()) == (None, None)

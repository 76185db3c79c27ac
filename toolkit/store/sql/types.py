"""Column types that give back exactly what was put in, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Numeric, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from toolkit.errors import BadInput, must_be

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, exact to the microsecond.

    SQLite has no time type, so it holds whole epoch microseconds there (sortable, exact, no text parsing);
    PostgreSQL holds ``timestamptz``, which has the same resolution. A naive datetime is refused.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the database in use."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return what is written: epoch microseconds, or the aware moment itself."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise BadInput(
                must_be("time", "tz-aware", f"naive {value.isoformat()}", "attach a timezone, e.g. tzinfo=UTC")
            )
        if dialect.name == "postgresql":
            return value
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the moment, always in UTC."""
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return _EPOCH + timedelta(microseconds=int(value))


class ExactDecimal(TypeDecorator[Decimal]):
    """A Decimal, exact: ``numeric`` without bounds on PostgreSQL, plain text without exponent on SQLite.

    Text does not sort as numbers do: never ORDER BY or compare such a column inside SQLite.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the database in use."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric(asdecimal=True))
        return dialect.type_descriptor(String(64))

    def process_bind_param(self, value: Decimal | int | None, dialect: Dialect) -> Any:
        """Return what is written; a float is refused because it is not the number it looks like."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, Decimal | int):
            raise BadInput(must_be("amount", "a Decimal", repr(value), "convert it with Decimal(str(value))"))
        number = Decimal(value)
        if not number.is_finite():
            raise BadInput(must_be("amount", "finite", str(number), "correct the number where it is computed"))
        return number if dialect.name == "postgresql" else format(number, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the Decimal that was written."""
        if value is None:
            return None
        return value if isinstance(value, Decimal) else Decimal(str(value))

"""Statements compiled once and run on the driver's own cursor: the hot path of execution spends its time in the database.

SQLAlchemy still writes the SQL, converts the values and owns connection and transaction; only its per-call work (building
the clause, its cache key, the result object) is done once instead of every time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import ClauseElement, Connection, Dialect, Select, Uuid

from toolkit.errors import StoreError
from toolkit.store.sql.unit_of_work import DatabaseBusy

Convert: TypeAlias = Callable[[Any], Any] | None
_NUMERIC_OID = 1700
_BUSY = ("locked", "busy", "lock timeout", "deadlock")


class Statement:
    """One statement, compiled for each database it meets.

    Parameters
    ----------
    make
        Returns the clause for a dialect; values are ``bindparam(name)``.
    """

    def __init__(self, make: Callable[[Dialect], ClauseElement]) -> None:
        self._make = make
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """Execute with these values and return the driver's cursor, positioned before its first row.

        Raises
        ------
        DatabaseBusy
            When somebody else holds a lock; the same transaction may succeed later.
        StoreError
            When a rule of the database is broken or the statement fails.
        """
        compiled = self._for(connection.dialect)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(compiled.sql, compiled.bind(values))
        except Exception as error:  # noqa: BLE001 - each driver has its own tree; what is not a driver's is raised again
            cursor.close()
            _raise_named(error)
        return cursor

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[list[Any]]:
        """Return all rows, their values converted, in the order of the columns."""
        cursor = self.run(connection, values)
        try:
            found = cursor.fetchall()
        finally:
            cursor.close()
        convert = self._for(connection.dialect).convert
        return [[value if f is None else f(value) for f, value in zip(convert, row, strict=True)] for row in found]

    def changed(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Execute and return how many rows were changed."""
        cursor = self.run(connection, values)
        count = int(cursor.rowcount)
        cursor.close()
        return count

    def _for(self, dialect: Dialect) -> _Compiled:
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._make(dialect), dialect)
        return compiled


class _Compiled:
    """SQL text, and how values go in and come out, for one database."""

    def __init__(self, clause: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = clause.compile(dialect=dialect)
        self.sql: str = compiled.string
        names: list[str] = list(compiled.positiontup) if compiled.positional else list(compiled.bind_names.values())
        types = {name: bind.type for bind, name in compiled.bind_names.items()}
        fixed = {name: bind.value for bind, name in compiled.bind_names.items() if not bind.required}
        self._positional = bool(compiled.positional)
        self._plan: list[tuple[str, Convert, bool, Any]] = [
            (name, types[name].dialect_impl(dialect).bind_processor(dialect), name in fixed, fixed.get(name))
            for name in names
        ]
        columns: Sequence[Any] = list(clause.selected_columns) if isinstance(clause, Select) else []
        # The drivers' column type codes are not known before a result; only PostgreSQL's numeric is asked for its own.
        self.convert: list[Convert] = [
            _cached(c.type, c.type.dialect_impl(dialect).result_processor(dialect, _NUMERIC_OID)) for c in columns
        ]

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Return what the driver takes: a tuple or a dict of converted values."""
        out = []
        for name, convert, has_fixed, fixed in self._plan:
            value = values[name] if not has_fixed or name in values else fixed
            out.append(value if convert is None else convert(value))
        if self._positional:
            return tuple(out)
        return {plan[0]: value for plan, value in zip(self._plan, out, strict=True)}


def _cached(kind: Any, convert: Convert) -> Convert:
    """Remember identifiers: the same few are read again and again, and making a UUID of text is slow."""
    return lru_cache(maxsize=4096)(convert) if convert is not None and isinstance(kind, Uuid) else convert


def _raise_named(error: Exception) -> None:
    kind = type(error).__name__
    text = str(error)
    if any(word in text.lower() for word in _BUSY):
        raise DatabaseBusy(text) from error
    if kind.endswith("Error") or type(error).__module__.startswith("psycopg"):
        words = (
            "a rule of the database was broken" if "Integrity" in kind or "Violation" in kind else "the database failed"
        )
        raise StoreError(f"{words}: {text}") from error
    raise error

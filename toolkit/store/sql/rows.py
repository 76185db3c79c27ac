"""Records to rows and back: every field is named as its column, and each statement is compiled once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Table,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from toolkit.execution.intents import Action, IntentState
from toolkit.market import Side
from toolkit.store.sql.statements import Statement
from toolkit.store.sql.unit_of_work import UnitOfWork

R = TypeVar("R")

_ENUMS: dict[str, type[Action] | type[Side] | type[IntentState]] = {
    "action": Action,
    "side": Side,
    "state": IntentState,
}
_FIELDS: dict[type[Any], tuple[str, ...]] = {}
_ENUM_FIELDS: dict[type[Any], tuple[tuple[int, str], ...]] = {}
_GETTERS: dict[type[Any], Callable[[Any], tuple[Any, ...]]] = {}
_STATEMENTS: dict[Hashable, Statement] = {}


def _names(record: type[Any]) -> tuple[str, ...]:
    names = _FIELDS.get(record)
    if names is None:
        names = _FIELDS[record] = tuple(f.name for f in fields(record))
        _ENUM_FIELDS[record] = tuple((i, n) for i, n in enumerate(names) if n in _ENUMS)
        _GETTERS[record] = attrgetter(*names)
    return names


def _to_record(record: type[R], row: list[Any]) -> R:
    names = _names(record)
    for i, name in _ENUM_FIELDS[record]:
        row[i] = _ENUMS[name](row[i])
    return record(**dict(zip(names, row, strict=True)))


def to_row(record: Any) -> dict[str, Any]:
    """Return a record as the values of its row."""
    kind = type(record)
    names = _names(kind)
    values = dict(zip(names, _GETTERS[kind](record), strict=True))
    for _, name in _ENUM_FIELDS[kind]:
        values[name] = values[name].value
    for name in ("terms", "data"):
        if name in values:
            values[name] = dict(values[name])
    return values


def changed_row(before: Any, after: Any) -> dict[str, Any]:
    """Return the values of the row in which a record differs from the one before it."""
    kind = type(after)
    names = _names(kind)
    pairs = zip(names, _GETTERS[kind](before), _GETTERS[kind](after), strict=True)
    changed = {name: new for name, old, new in pairs if new is not old and new != old}
    for _, name in _ENUM_FIELDS[kind]:
        if name in changed:
            changed[name] = changed[name].value
    for name in ("terms", "data"):
        if name in changed:
            changed[name] = dict(changed[name])
    return changed


def statement(key: Hashable, make: Callable[[Dialect], ClauseElement]) -> Statement:
    """Return the statement of a key, made at its first use."""
    known = _STATEMENTS.get(key)
    if known is None:
        known = _STATEMENTS[key] = Statement(make)
    return known


def equals(table: Table, names: tuple[str, ...]) -> list[ColumnElement[bool]]:
    """Return ``column = :column`` for each name."""
    return [table.c[name] == bindparam(name, type_=table.c[name].type) for name in names]


def _values(table: Table, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: bindparam(name, type_=table.c[name].type) for name in names}


def select_by(table: Table, record: type[Any], *keys: str) -> Select[Any]:
    """Return a record's columns where these columns equal their values."""
    return select(*(table.c[name] for name in _names(record))).where(*equals(table, keys))


def _insert_for(dialect: Dialect) -> Callable[[Table], Any]:
    return pg_insert if dialect.name == "postgresql" else sqlite_insert


class RecordTables:
    """Reads and writes records on the connection of a unit of work."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    @property
    def _db(self) -> Connection:
        return self._work.connection

    def _all(self, record: type[R], key: Hashable, query: Callable[[], Select[Any]], **values: Any) -> list[R]:
        prepared = statement(key, lambda _dialect: query())
        return [_to_record(record, row) for row in prepared.rows(self._db, values)]

    def _one(self, record: type[R], table: Table, *, lock: bool = False, **keys: Any) -> R | None:
        names = tuple(keys)

        def make(_dialect: Dialect) -> ClauseElement:
            query = select_by(table, record, *names)
            return query.with_for_update() if lock else query

        rows = statement((record, names, lock), make).rows(self._db, keys)
        return _to_record(record, rows[0]) if rows else None

    def _insert(self, table: Table, values: Mapping[str, Any]) -> None:
        names = tuple(values)
        # inline: no RETURNING for a number nobody asks for
        statement(("insert", table.name, names), lambda _d: insert(table).inline().values(_values(table, names))).run(
            self._db, values
        ).close()

    def _upsert(self, table: Table, keys: tuple[str, ...], values: Mapping[str, Any]) -> None:
        names = tuple(values)

        def make(dialect: Dialect) -> ClauseElement:
            row: Any = _insert_for(dialect)(table).inline().values(_values(table, names))
            changed = {name: row.excluded[name] for name in names if name not in keys}
            clause: ClauseElement = row.on_conflict_do_update(index_elements=list(keys), set_=changed)
            return clause

        statement(("upsert", table.name, names), make).run(self._db, values).close()

    def _insert_new(self, table: Table, keys: tuple[str, ...], values: Mapping[str, Any]) -> bool:
        names = tuple(values)

        def make(dialect: Dialect) -> ClauseElement:
            row: Any = _insert_for(dialect)(table).inline().values(_values(table, names))
            clause: ClauseElement = row.on_conflict_do_nothing(index_elements=list(keys))
            return clause

        return statement(("insert_new", table.name, names), make).changed(self._db, values) == 1

    def _update(self, table: Table, where: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
        keys, names = tuple(where), tuple(changes)

        def make(_dialect: Dialect) -> ClauseElement:
            compared = [table.c[k] == bindparam(f"was_{k}", type_=table.c[k].type) for k in keys]
            return update(table).where(*compared).values(_values(table, names))

        values = {f"was_{key}": value for key, value in where.items()} | dict(changes)
        return statement(("update", table.name, keys, names), make).changed(self._db, values)

"""The venue's journal: one SQLite file per account, committed before the venue answers.

The file is the venue. What is not in it did not happen, so a process may be killed at any instruction and the next
one opens the same book. Only one process may have it open (an OS lock beside the file); readers elsewhere may look,
since the file is in WAL mode.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from toolkit.errors import PlatformError, must_be
from toolkit.execution.ports import OrderType
from toolkit.platforms.file_lock import FileLock
from toolkit.platforms.simulated.book.records import Deal, LateCommand, Order, Position, VenueState

FORMAT = 2


def _columns(record: type) -> str:
    return ", ".join(f.name for f in fields(record))


def _table(name: str, record: type) -> str:
    """Return the statement that makes a table of a record: its first field is the key, whole numbers and text."""
    kinds = {"int": "INTEGER", "str": "TEXT", "OrderState": "TEXT", "OrderType": "TEXT"}
    columns = [f"{f.name} {kinds[str(f.type)]} NOT NULL" for f in fields(record)]
    columns[0] = f"{fields(record)[0].name} INTEGER PRIMARY KEY"
    return f"CREATE TABLE {name} ({', '.join(columns)})"


_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE quotes (symbol TEXT PRIMARY KEY, bid INTEGER NOT NULL, ask INTEGER NOT NULL, at_ns INTEGER NOT NULL)",
    _table("positions", Position),
    _table("orders", Order),
    _table("deals", Deal),
    _table("late", LateCommand),
    "CREATE INDEX orders_done ON orders (done_ns)",
    "CREATE INDEX orders_working ON orders (state) WHERE state = 'working'",
    "CREATE INDEX orders_tag ON orders (sent_tag, action)",
    "CREATE INDEX deals_at ON deals (at_ns)",
    "CREATE INDEX deals_position ON deals (position_id)",
    "CREATE INDEX deals_order ON deals (order_id)",
)


def _insert(table: str, record: type) -> str:
    marks = ", ".join("?" * len(fields(record)))
    return f"INSERT OR REPLACE INTO {table} ({_columns(record)}) VALUES ({marks})"  # noqa: S608


_PUT_POSITION = _insert("positions", Position)
_PUT_ORDER = _insert("orders", Order)
_PUT_DEAL = _insert("deals", Deal).replace("INSERT OR REPLACE", "INSERT")
_PUT_LATE = _insert("late", LateCommand)


class Changes:
    """What one call changed; written as one transaction."""

    __slots__ = ("deals", "gone_late", "gone_positions", "late", "orders", "positions")

    def __init__(self) -> None:
        self.positions: dict[int, Position] = {}
        self.gone_positions: set[int] = set()
        self.orders: dict[int, Order] = {}
        self.deals: list[Deal] = []
        self.late: list[LateCommand] = []
        self.gone_late: list[int] = []

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)


class Journal:
    """The open journal of one account.

    Parameters
    ----------
    path
        The SQLite file; its folder is made when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"), f"the venue journal {path.name}")
        self._lock.acquire()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._prepare()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Close the file and give the lock back; safe to call twice."""
        self._db.close()
        self._lock.release()

    def _prepare(self) -> None:
        with self.transaction():
            if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
                for statement in _SCHEMA:
                    self._db.execute(statement)
                self.put_meta("format", FORMAT)
                return
        found = self.meta("format")
        if found == 1:
            found = self._upgrade()
        if found != FORMAT:
            raise PlatformError(
                must_be(
                    "venue journal format", str(FORMAT), found, f"open {self.path.name} with the toolkit that wrote it"
                )
            )

    def _upgrade(self) -> int:
        """Bring a journal of format 1 on: its positions know no margin, and their swap begins with their opening day."""
        with self.transaction():
            for column in ("margin", "paid_day"):
                self._db.execute(f"ALTER TABLE positions ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
            self.put_meta("format", FORMAT)
        return FORMAT

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block as one durable write; any error rolls all of it back."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def meta(self, key: str) -> Any:
        """Return a stored fact, or None."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put_meta(self, key: str, value: Any) -> None:
        """Store a fact; the caller holds the transaction."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, sort_keys=True)))

    def load(self) -> VenueState:
        """Read the whole state of the venue."""
        stored = self.meta("state") or {}
        state = VenueState(
            clock_ns=stored.get("clock_ns", 0),
            balance=stored.get("balance", 0),
            next_id=stored.get("next_id", 1),
            sends=dict(stored.get("sends", {})),
        )
        for row in self._db.execute(f"SELECT {_columns(Position)} FROM positions ORDER BY position_id"):  # noqa: S608
            state.positions[row[0]] = Position(*row)
        for row in self._db.execute(f"SELECT {_columns(Order)} FROM orders WHERE state = 'working' ORDER BY order_id"):  # noqa: S608
            state.orders[row[0]] = _order(row)
        for symbol, bid, ask, at_ns in self._db.execute("SELECT symbol, bid, ask, at_ns FROM quotes"):
            state.quotes[symbol] = (bid, ask, at_ns)
        state.late = [LateCommand(*row) for row in self._db.execute("SELECT * FROM late ORDER BY due_ns, sequence")]
        return state

    def write(self, state: VenueState, changes: Changes) -> None:
        """Commit the changes of one call together with clock, balance and counters."""
        with self.transaction():
            run = self._db.executemany
            if changes.gone_positions:
                run("DELETE FROM positions WHERE position_id = ?", [(i,) for i in sorted(changes.gone_positions)])
            if changes.positions:
                run(_PUT_POSITION, [_row(p) for p in changes.positions.values()])
            if changes.orders:
                run(_PUT_ORDER, [_row(o) for o in changes.orders.values()])
            if changes.deals:
                run(_PUT_DEAL, [_row(d) for d in changes.deals])
            if changes.late:
                run(_PUT_LATE, [_row(c) for c in changes.late])
            if changes.gone_late:
                run("DELETE FROM late WHERE sequence = ?", [(i,) for i in changes.gone_late])
            if state.quotes:
                run("INSERT OR REPLACE INTO quotes VALUES (?, ?, ?, ?)", [(s, *q) for s, q in state.quotes.items()])
            self.put_meta(
                "state",
                {
                    "clock_ns": state.clock_ns,
                    "balance": state.balance,
                    "next_id": state.next_id,
                    "sends": state.sends,
                },
            )

    def ended_orders(self, since_ns: int, until_ns: int) -> list[Order]:
        """Return the orders that ended within the span, both ends included, oldest first."""
        rows = self._db.execute(
            f"SELECT {_columns(Order)} FROM orders"  # noqa: S608
            " WHERE state <> 'working' AND done_ns BETWEEN ? AND ? ORDER BY order_id",
            (since_ns, until_ns),
        )
        return [_order(row) for row in rows]

    def deals(self, since_ns: int, until_ns: int) -> list[Deal]:
        """Return the deals of the span, both ends included, oldest first."""
        return self._deals("WHERE at_ns BETWEEN ? AND ?", (since_ns, until_ns))

    def deals_after(self, deal_id: int) -> list[Deal]:
        """Return the deals booked after the given one."""
        return self._deals("WHERE deal_id > ?", (deal_id,))

    def deals_of(self, position_id: int) -> list[Deal]:
        """Return the deals of one position."""
        return self._deals("WHERE position_id = ?", (position_id,))

    def deals_of_order(self, order_id: int) -> list[Deal]:
        """Return the deals of one order."""
        return self._deals("WHERE order_id = ?", (order_id,))

    def first_deal_ns(self) -> int | None:
        """Return the moment of the earliest deal, None when there is none."""
        found = self._db.execute("SELECT MIN(at_ns) FROM deals").fetchone()[0]
        return None if found is None else int(found)

    def ended_order(self, order_id: int) -> Order | None:
        """Return one ended order."""
        row = self._db.execute(
            f"SELECT {_columns(Order)} FROM orders WHERE state <> 'working' AND order_id = ?",  # noqa: S608
            (order_id,),
        ).fetchone()
        return None if row is None else _order(row)

    def _deals(self, where: str, values: Iterable[int]) -> list[Deal]:
        rows = self._db.execute(f"SELECT {_columns(Deal)} FROM deals {where} ORDER BY deal_id", tuple(values))  # noqa: S608
        return [Deal(*row) for row in rows]

    def duplicate_orders(self) -> int:
        """Count accepted orders beyond the first of each tag and action, by the tag as it was sent."""
        row = self._db.execute(
            "SELECT COALESCE(SUM(n - 1), 0) FROM (SELECT COUNT(*) AS n FROM orders"
            " WHERE sent_tag <> '' AND state <> 'rejected' GROUP BY sent_tag, action)"
        ).fetchone()
        return int(row[0])

    def has_received(self, tag: str) -> bool:
        """Tell whether an order was made of a command with this tag, or a late command still carries it."""
        row = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM orders WHERE sent_tag = ?)"
            " OR EXISTS (SELECT 1 FROM late WHERE instr(command, ?) > 0)",
            (tag, tag),
        ).fetchone()
        return bool(row[0])

    def count(self, table: str) -> int:
        """Return the number of rows of ``orders``, ``deals`` or ``positions``."""
        if table not in ("orders", "deals", "positions"):
            raise ValueError(f"table must be orders, deals or positions, was {table}: name one of them")
        return int(self._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])  # noqa: S608


def _order(row: tuple[Any, ...]) -> Order:
    order = Order(*row)
    order.order_type = OrderType(order.order_type)
    return order


_GETTERS: dict[type[Any], Any] = {}


def _row(record: Any) -> tuple[Any, ...]:
    """Return a flat record's fields, without the deep copies of `dataclasses.astuple`."""
    kind = type(record)
    getter = _GETTERS.get(kind)
    if getter is None:
        getter = _GETTERS[kind] = attrgetter(*(f.name for f in fields(kind)))
    row: tuple[Any, ...] = getter(record)
    return row

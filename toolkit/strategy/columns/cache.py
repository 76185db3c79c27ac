"""Columns shared by the parameter sets of a sweep, counted so that the last user frees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import StrategyError, must_be
from toolkit.market.series.aggregation import Aggregation, aggregate
from toolkit.strategy.authoring.expressions import BASE
from toolkit.strategy.drivers.plan import Binding
from toolkit.strategy.graph import Graph
from toolkit.strategy.higher import parse_clock
from toolkit.strategy.times import time_column

if TYPE_CHECKING:
    from toolkit.market import Bars

Column = NDArray[Any]
KINDS = {"f8": np.float64, "i1": np.int8, "u1": np.uint8, "i4": np.int32}
_TIMES = ("time", "day", "minute", "weekday")


class ColumnCache:
    """Columns of one stretch of bars by what they compute: node type, inputs and parameter VALUES.

    Without `retain` every column is kept as long as the cache. A sweep retains the keys of every set first and releases
    a set's keys after it: a column is dropped, and its memory reused, when its last user is done. One thread each.
    """

    def __init__(self, bars: Bars | Mapping[str, Bars], *, shared: bool = True) -> None:
        self.shared = shared
        self.bars = next(iter(bars.values())) if isinstance(bars, Mapping) else bars
        self.others: Mapping[str, Bars] = bars if isinstance(bars, Mapping) else {}
        self.length = len(self.bars)
        self._ids: dict[Any, int] = {}
        self._columns: dict[int, Column] = {}
        self._uses: dict[int, int] = {}
        self._made: set[int] = set()
        self._pool: dict[str, list[Column]] = {kind: [] for kind in KINDS}
        self._never: Column | None = None
        self._higher: dict[str, Aggregation] = {}

    def keys(self, graph: Graph, binding: Binding, fresh: bool = False) -> list[int]:
        """Return, per node, the number of its column: equal numbers mean equal columns."""
        if fresh:
            ids = self._ids
            return [ids.setdefault(("block", len(ids), index), len(ids)) for index in range(len(graph.nodes))]
        result: list[int] = []
        for index in range(len(graph.nodes)):
            result.append(self.key(graph, index, binding.scalars, binding.bound, result))
        return result

    def key(self, graph: Graph, index: int, scalars: list[Any], bound: list[Any], keys: list[int]) -> int:
        """Return the number of one node's column, those of its inputs being known."""
        node, shape = graph.nodes[index], graph.shapes[index]
        key: Any
        if shape.scalar:
            key = ("scalar", repr(scalars[index]))
        elif shape.step is None:
            key = (node.op, *(keys[a] if isinstance(a, int) else a for a in node.args))
        else:
            key = (node.op, *(keys[c] for c in shape.columns), "|", *bound[index])
        return self._ids.setdefault(key, len(self._ids))

    def number(self, key: tuple[Any, ...]) -> int:
        """Return the number of a column that is no node's own, by what it is computed from."""
        return self._ids.setdefault(key, len(self._ids))

    def retain(self, keys: list[int]) -> None:
        """Count one more user of each column."""
        uses = self._uses
        for key in keys:
            uses[key] = uses.get(key, 0) + 1

    def release(self, keys: list[int]) -> None:
        """Count one user less of each column; a column without users is dropped and its memory reused."""
        for key in keys:
            left = self._uses.get(key, 0) - 1
            if left > 0:
                self._uses[key] = left
                continue
            self._uses.pop(key, None)
            column = self._columns.pop(key, None)
            if column is not None and key in self._made:
                self._made.discard(key)
                self._pool[column.dtype.str[1:]].append(column)

    def get(self, key: int) -> Column | None:
        """Return a column if it is there."""
        return self._columns.get(key)

    def put(self, key: int, column: Column, made: bool) -> None:
        """Keep a column; ``made`` says that its memory came from `buffer` and may be used again."""
        self._columns[key] = column
        if made:
            self._made.add(key)

    def rows(self, clock: str) -> int:
        """Return how many bars a timeframe has; higher ones only count what is complete."""
        return self.length if not clock else len(self._aggregation(clock).bars)

    def _aggregation(self, clock: str) -> Aggregation:
        found = self._higher.get(clock)
        if found is None:
            timeframe, day_end = parse_clock(clock)
            found = self._higher[clock] = aggregate(self.bars, timeframe, day_end=day_end)
        return found

    def higher_field(self, name: str, clock: str) -> Column:
        """Return a price, the volume or a time of a higher timeframe's complete bars."""
        bars = self._aggregation(clock).bars
        return time_column(name, bars.ts) if name in _TIMES else _prices(bars, name)

    def held(self, clock: str, column: Column) -> Column:
        """Return a higher timeframe's column on the base bars: on each, the value of the last complete higher bar."""
        known = self._aggregation(clock).known_at(self.length)
        unknown = np.nan if column.dtype == np.float64 else 1
        padded = np.concatenate((np.array([unknown], column.dtype), column))
        return np.ascontiguousarray(padded[known])

    def buffer(self, kind: str, clock: str = BASE) -> Column:
        """Return memory for a new column; its content is undefined."""
        if clock:
            return np.empty(self.rows(clock), KINDS[kind])
        pool = self._pool[kind]
        return pool.pop() if pool else np.empty(self.length, KINDS[kind])

    def never(self) -> Column:
        """Return a condition that is false on every bar."""
        if self._never is None:
            self._never = np.zeros(self.length, np.int8)
        return self._never

    def field(self, name: str, symbol: str | None = None) -> Column:
        """Return a price, the volume or a time of the bars as float64."""
        if symbol is not None and symbol != self.bars.symbol:
            if symbol not in self.others:
                raise StrategyError(
                    must_be(f"bars[{symbol!r}]", "among the bars given", "missing", "pass its bars as well")
                )
            return self._aligned(name, self.others[symbol])
        if name in _TIMES:
            return time_column(name, self.bars.ts)
        return _prices(self.bars, name)

    def _aligned(self, name: str, other: Bars) -> Column:
        """Return another symbol's column on these bars: of its last bar closed by the end of each, NaN before the first."""
        closed = _closes(other).searchsorted(_closes(self.bars), "right")
        column = time_column(name, other.ts) if name in _TIMES else _prices(other, name)
        padded: Column = np.concatenate((np.array([np.nan]), column))
        return np.ascontiguousarray(padded[closed])

    @property
    def columns_held(self) -> int:
        """Number of columns that are kept now."""
        return len(self._columns)

    @property
    def nbytes(self) -> int:
        """Memory held by columns, in bytes."""
        return sum(c.nbytes for c in self._columns.values()) + sum(c.nbytes for p in self._pool.values() for c in p)


def _closes(bars: Bars) -> NDArray[np.int64]:
    """Return the moment each bar is closed: at its end, or where the next one opens if that comes sooner."""
    ends = bars.ts + bars.timeframe.ns
    ends[:-1] = np.minimum(ends[:-1], bars.ts[1:])
    return ends


def _prices(bars: Bars, name: str) -> Column:
    column: Column | None = getattr(bars, name)
    if column is None:
        raise StrategyError(
            must_be(
                f"the bars of {bars.symbol}",
                "given with volume",
                "without",
                "load bars with a volume column, or leave volume nodes out",
            )
        )
    return np.ascontiguousarray(column, np.float64)

"""Stretches of bars by rows in time, of one symbol or of several: rows are bars, or the moments that symbols share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.market import Bars
from toolkit.market.series.several import shared_moments
from toolkit.research.trial.checks import columns_of, decided_columns, last_unequal
from toolkit.research.trial.views import Series, views
from toolkit.simulation.rates import closes
from toolkit.strategy.authoring.management import FEATURES
from toolkit.strategy.drivers.columnar import evaluate
from toolkit.strategy.spec import StrategySpec

__all__ = ["Line", "cut", "measured_warm_up"]

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Line:
    """Opens and closes of the rows, UTC nanoseconds."""

    ts: Int64
    closes: Int64

    @classmethod
    def of(cls, given: Series) -> Line:
        """Return the bars' own rows, or the moments of several symbols."""
        if isinstance(given, Bars):
            return cls(given.ts, closes(given))
        ts = shared_moments(given.values())
        return cls(ts, ts + next(iter(given.values())).timeframe.ns)

    def __len__(self) -> int:
        return len(self.ts)


def cut(given: Series, line: Line, start: int, stop: int) -> Any:
    """Return the bars of rows [start, stop), of every symbol those that open in that time."""
    if isinstance(given, Bars):
        return given[start:stop]
    low = int(line.ts[start])
    high = int(line.ts[stop]) if stop < len(line) else int(line.closes[-1])
    return {
        symbol: bars[int(bars.ts.searchsorted(low)) : int(bars.ts.searchsorted(high))] for symbol, bars in given.items()
    }


def first_fills(given: Mapping[str, Bars], moment: int) -> dict[str, int]:
    """Return of each symbol the row of its first bar that opens at a moment or after it."""
    return {symbol: int(bars.ts.searchsorted(moment)) for symbol, bars in given.items()}


def measured_warm_up(spec: StrategySpec, given: Series, first: int) -> int:
    """Rows before row ``first`` that decisions from there to the end need, to equal those made with the whole history.

    Starts at the declared number and doubles it until every decision, and every distance of an entry, is equal.
    """
    line = Line.of(given)
    moment, stop = int(line.ts[first]) if first < len(line) else int(line.closes[-1]), len(line)
    whole = _decided(spec, given, moment)
    need = max(1, spec.warmup_bars)
    while need < first:
        if _equal(whole, _decided(spec, cut(given, line, first - need, stop), moment)):
            return need
        need *= 2
    return min(first, stop)


def _decided(spec: StrategySpec, given: Series, moment: int) -> list[dict[str, Any]]:
    """Return what each symbol decides from the bar before a moment on: that decision fills at the moment."""
    found = []
    for view in views(given):
        decisions = evaluate(spec, view.given, supports=FEATURES)
        columns = columns_of(decisions, len(view.bars))
        row = max(0, int(view.bars.ts.searchsorted(moment)) - 1)
        found.append({n: columns[n][row:] for n in decided_columns(decisions)})
    return found


def _equal(whole: list[dict[str, Any]], late: list[dict[str, Any]]) -> bool:
    for one, other in zip(whole, late, strict=True):
        if len(one["decision"]) != len(other["decision"]) or last_unequal(one, other) >= 0:
            return False
    return True

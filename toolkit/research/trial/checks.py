"""The first three checks of a sea trial: look-ahead, warm-up, and compiled against live driver."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.clock import from_ns
from toolkit.market import Bars
from toolkit.market.series.several import as_series
from toolkit.research.trial.report import CheckResult
from toolkit.research.trial.views import Series, View, views
from toolkit.strategy import StrategySpec
from toolkit.strategy.authoring.management import FEATURES, point_columns

ENTRY = 3  # decision bits of an entry, either side
_CUTS = 12
_STARTS = 6

Columns = dict[str, npt.NDArray[Any]]


def _columnar(spec: StrategySpec, bars: Series) -> Any:
    from toolkit.strategy.drivers.columnar import evaluate

    return evaluate(spec, bars, frame=True, supports=FEATURES)


def _incremental(spec: StrategySpec, bars: Series) -> Any:
    from toolkit.strategy.drivers.incremental import Incremental
    from toolkit.strategy.drivers.joint import Joint

    if isinstance(bars, Bars):
        return Incremental(spec, bars.instrument, timeframe=bars.timeframe, supports=FEATURES)
    frame = next(iter(bars.values())).timeframe
    return Joint(spec, {symbol: b.instrument for symbol, b in bars.items()}, timeframe=frame, supports=FEATURES)


@dataclass(frozen=True)
class Drivers:
    """The two drivers of a strategy; tests plant faults here."""

    columnar: Callable[[StrategySpec, Series], Any] = _columnar
    incremental: Callable[[StrategySpec, Series], Any] = _incremental


def columns_of(decisions: Any, rows: int) -> Columns:
    """Return decisions and named nodes as equally long columns; a distance counts only where an entry is decided."""
    entering = (np.asarray(decisions.code) & ENTRY) != 0
    columns: Columns = {name: np.asarray(values) for name, values in (decisions.frame or {}).items()}
    columns["decision"] = np.asarray(decisions.code)
    for name, points in _distances(decisions).items():
        columns[name] = np.where(entering, _full(points, rows), 0)
    return columns


def decided_columns(decisions: Any) -> list[str]:
    """Return the names of the columns of `columns_of` that are decided, not only computed."""
    return ["decision", *_distances(decisions)]


def _distances(decisions: Any) -> dict[str, Any]:
    """Return every distance and level of a decision by name, a column or one value, in points."""
    found = {"stop_points": decisions.stop_points}
    if decisions.target_points is not None:
        found["target_points"] = decisions.target_points
    if decisions.management is not None:
        found |= point_columns(decisions.management)
    return found


def _full(values: Any, rows: int) -> npt.NDArray[Any]:
    array = np.asarray(values)
    return np.broadcast_to(array, (rows,)) if array.shape in ((), (1,)) else array


def first_unequal(left: Columns, right: Columns) -> tuple[str, int] | None:
    """Return node and row of the earliest place where two sets of columns differ; NaN equals NaN."""
    found: tuple[str, int] | None = None
    for name, mine in left.items():
        theirs = right[name]
        same = mine == theirs
        if mine.dtype.kind == "f" and theirs.dtype.kind == "f":
            same = same | (np.isnan(mine) & np.isnan(theirs))
        if not same.all():
            row = int(np.argmin(same))
            if found is None or row < found[1]:
                found = (name, row)
    return found


def _head(columns: Columns, rows: int) -> Columns:
    return {name: values[:rows] for name, values in columns.items()}


def _cuts(rows: int) -> list[int]:
    """Return where to cut: spread over the data, never at its ends, at positions that share no common step."""
    return sorted({min(rows - 1, max(2, math.floor(rows * (k + 0.618) / (_CUTS + 1)))) for k in range(_CUTS)})


def check_look_ahead(spec: StrategySpec, bars: Series, drivers: Drivers) -> CheckResult:
    """Compare everything up to a bar with a run that never saw the rest, and with one that saw another future.

    Of several symbols the future of all is cut off or replaced at the same moment.
    """
    every = 0
    for view in views(bars):
        rows = len(view.bars)
        whole = columns_of(drivers.columnar(spec, view.given), rows)
        cuts = _cuts(rows)
        every += len(cuts)
        for cut in cuts:
            for way, other in (("cut off", view.until(cut)), ("replaced", view.changed(cut, with_another_future))):
                got = columns_of(drivers.columnar(spec, other.given), len(other.bars))
                unequal = first_unequal(_head(whole, cut), _head(got, cut))
                if unequal is not None:
                    node, row = unequal
                    moment = from_ns(int(view.bars.ts[row])).isoformat()
                    detail = (
                        f"{view.label}{node} at bar {row} ({moment}) changes when the bars from {cut} on are {way}: "
                        "it reads the future"
                    )
                    return CheckResult("look_ahead", False, detail, node, row, moment)
    return CheckResult("look_ahead", True, f"{every} cuts, future cut off and replaced: nothing before them changed")


def with_another_future(bars: Bars, cut: int) -> Bars:
    """Return the bars with every price from row ``cut`` on moved by a large, changing amount; the past is untouched."""
    rows = len(bars)
    low = int(min(bars.bid_low.min(), bars.ask_low.min()))
    room = max(1, low // 4)
    rng = np.random.default_rng(cut)
    shift = np.zeros(rows, dtype=np.int64)
    shift[cut:] = rng.integers(room // 2, room, rows - cut) * rng.choice((-1, 1), rows - cut)
    moved = {name: (column.astype(np.int64) + shift).astype(np.int32) for name, column in bars.columns.items()}
    volume = None
    if bars.volume is not None:
        volume = bars.volume.copy()
        volume[cut:] = volume[cut:] * 3.0 + 1.0
    return Bars.from_arrays(bars.symbol, bars.timeframe, bars.ts, instrument=bars.instrument, volume=volume, **moved)


def measure_warm_up(spec: StrategySpec, bars: Series, drivers: Drivers) -> tuple[CheckResult, int]:
    """Start late, several times, and count the bars until decisions equal those of the whole history for good."""
    measured = count = 0
    for view in views(bars):
        rows = len(view.bars)
        decisions = drivers.columnar(spec, view.given)
        whole = columns_of(decisions, rows)
        decided = {name: whole[name] for name in decided_columns(decisions)}
        starts = sorted({max(1, math.floor(rows / 2 * (k + 0.618) / _STARTS)) for k in range(_STARTS)})
        needed = worst = 0
        for start in starts:
            late = view.since(start)
            got = columns_of(drivers.columnar(spec, late.given), len(late.bars))
            last = last_unequal({n: v[start:] for n, v in decided.items()}, {n: got[n] for n in decided})
            if last + 1 > needed:
                needed, worst = last + 1, start
        if needed > max(rows // 4, spec.warmup_bars):
            row = worst + needed - 1
            moment = from_ns(int(view.bars.ts[row])).isoformat()
            detail = (
                f"started at bar {worst}, the decision of {view.label}bar {row} ({moment}) still differs after {needed} "
                "bars: it depends on where history begins"
            )
            return CheckResult("warm_up", False, detail, "decision", row, moment), needed
        measured, count = max(measured, needed), count + len(starts)
    detail = f"{measured} bars measured over {count} late starts, {spec.warmup_bars} declared"
    return CheckResult("warm_up", True, detail), measured


def last_unequal(left: Columns, right: Columns) -> int:
    """Return the last row in which two sets of columns differ, -1 when they are equal."""
    last = -1
    for name, mine in left.items():
        different = np.flatnonzero(mine != right[name])
        if len(different):
            last = max(last, int(different[-1]))
    return last


def bar_fields(bars: Bars) -> Iterator[tuple[int, float, float, float, float, float]]:
    """Yield what the live driver is given of each bar: open time in ns, bid open, high, low, close, volume."""
    volume = bars.volume.tolist() if bars.volume is not None else [math.nan] * len(bars)
    return zip(
        bars.ts.tolist(),
        bars.open.tolist(),
        bars.high.tolist(),
        bars.low.tolist(),
        bars.close.tolist(),
        volume,
        strict=True,
    )


class _Expected:
    """What the columns hold of one symbol, to be compared with the live driver bar by bar."""

    def __init__(self, spec: StrategySpec, view: View, drivers: Drivers) -> None:
        decisions = drivers.columnar(spec, view.given)
        columns = columns_of(decisions, len(view.bars))
        decided = decided_columns(decisions)
        # A function's columns are its own business (pandas' sums depend on where they began); what it decides is compared.
        self.nodes = (
            {} if spec.function is not None else {n: c.tolist() for n, c in columns.items() if n not in decided}
        )
        self._codes = columns["decision"].tolist()
        self._distances = {n: columns[n].tolist() for n in decided[1:]}

    def wrong(self, row: int, got: Any, values: Callable[[], Mapping[str, Any]]) -> str:
        """Return in words where the live decision of a bar, or a named node, is another; empty when all are equal."""
        if got.code != self._codes[row]:
            return f"decision: {self._codes[row]} in columns, {got.code} live"
        if got.code & ENTRY:
            points = _distances(got)
            for n, c in self._distances.items():
                if points[n] != c[row]:
                    return f"{n}: {c[row]} in columns, {points[n]} live"
        live = values() if self.nodes else {}
        for node, column in self.nodes.items():
            here, there = column[row], live[node]
            if here != there and not (here != here and there != there):  # NaN equals NaN
                return f"{node}: {here!r} in columns, {there!r} live"
        return ""


def check_drivers_agree(spec: StrategySpec, bars: Series, drivers: Drivers) -> CheckResult:
    """Step the live driver over every bar and compare decisions and named nodes with the columns, by ``==``."""
    name = "columnar_equals_incremental"
    every = views(bars)
    expected = {view.bars.symbol: _Expected(spec, view, drivers) for view in every}
    for symbol, row, wrong in _differences(spec, bars, drivers, expected):
        own = as_series(bars)[symbol]
        moment = from_ns(int(own.ts[row])).isoformat()
        detail = f"{symbol + ' ' if len(every) > 1 else ''}bar {row} ({moment}), {wrong}"
        if spec.function is not None:
            detail += f"; live it is given the last {spec.function.window} bars: raise window= if it needs more"
        return CheckResult(name, False, detail, wrong.split(":")[0], row, moment)
    rows, nodes = sum(len(view.bars) for view in every), len(expected[every[0].bars.symbol].nodes)
    return CheckResult(name, True, f"{rows:,} bars, {nodes} named nodes and every decision equal to the bit")


def _differences(
    spec: StrategySpec, bars: Series, drivers: Drivers, expected: Mapping[str, _Expected]
) -> Iterator[tuple[str, int, str]]:
    """Yield symbol, row and words of every bar on which the live driver differs."""
    live = drivers.incremental(spec, bars)
    if isinstance(bars, Bars):
        mine = expected[bars.symbol]
        for row, fields in enumerate(bar_fields(bars)):
            wrong = mine.wrong(row, live.step(*fields), lambda: live.values)
            if wrong:
                yield bars.symbol, row, wrong
        return
    at: dict[int, dict[str, Any]] = {}
    for symbol, own in bars.items():
        for fields in bar_fields(own):
            at.setdefault(fields[0], {})[symbol] = fields
    rows = dict.fromkeys(bars, -1)
    for moment in sorted(at):
        for symbol, got in live.step(at[moment]).items():
            rows[symbol] += 1
            values = live.drivers[symbol]
            wrong = expected[symbol].wrong(rows[symbol], got, lambda values=values: values.values)  # type: ignore[misc]
            if wrong:
                yield symbol, rows[symbol], wrong

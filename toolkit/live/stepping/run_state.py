"""What a run remembers between two steps, stored in its row: decisions in waiting, its own money, the strategy's state.

The row's ``state`` column is one JSON line followed by the bytes of the strategy's incremental state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from toolkit.errors import RunError, must_be

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Waiting:
    """A decision that has been taken but not carried out yet.

    Attributes
    ----------
    bar_ns
        Open of the bar it was decided on.
    act_ns
        Moment it is carried out: the open of the next bar.
    code, stop_points, target_points, rr, has_stop
        The decision's own words, see `toolkit.strategy.drivers.incremental.Decision`.
    plan
        Of a managed strategy: what the entry asks for besides stop and target, see `toolkit.live.stepping.plan_words`.
    bid_high, ask_low
        Of a managed strategy: the best prices of the decision's bar for a long and for a short.
    symbol
        Of a run on several symbols: the one it was decided on.
    """

    bar_ns: int
    act_ns: int
    code: int
    stop_points: int
    target_points: int
    rr: float | None
    has_stop: bool
    plan: Mapping[str, Any] | None = None
    bid_high: int = 0
    ask_low: int = 0
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class RunState:
    """A run's memory.

    Attributes
    ----------
    clock_ns
        Platform moment up to which the run has agreed and acted. A paper venue whose clock stands earlier after a kill is
        moved here again before anything else happens.
    ready_ns
        Replay only: the venue's clock may move up to here as far as this run is concerned.
    due
        The decision to be carried out at ``due.act_ns``.
    entry
        The entry that waits for the opposite position to be closed, at the same open.
    realised
        Profit, commission and swap of the run's closed trades, minor units.
    counted_from_ns, counted
        Closed trades entered at or after this moment that ``realised`` already holds, with the time they were entered.
    last_exit_ns
        Open of the bar in which the run last closed a position.
    day_ns, day_base
        First bar open of the platform's day that the daily loss is measured from, and the run's equity then.
    peak
        No longer kept; the rows of ``equity_marks`` are.
    gaps
        Missing stretches of bars noticed so far.
    managed
        Of a managed strategy: the entry planned last and what its position has reached, see
        `toolkit.live.stepping.managing`.
    pending, entries, cursors
        Of a run on several symbols: the newest decision of each that waits for its symbol's next open; the entries that wait
        for the exits of the same moment; the newest bar taken of each symbol.
    """

    clock_ns: int = 0
    ready_ns: int = 0
    due: Waiting | None = None
    entry: Waiting | None = None
    realised: int = 0
    counted_from_ns: int = 0
    counted: Mapping[str, int] = field(default_factory=dict)
    last_exit_ns: int | None = None
    day_ns: int | None = None
    day_base: int = 0
    peak: int = 0
    gaps: int = 0
    managed: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    pending: tuple[Waiting, ...] = ()
    entries: tuple[Waiting, ...] = ()
    cursors: Mapping[str, int] = field(default_factory=dict)


def encode(state: RunState, strategy: bytes) -> bytes:
    """Return the row's ``state`` column."""
    head = asdict(state)
    head["format"] = FORMAT
    return json.dumps(head, separators=(",", ":"), allow_nan=False).encode() + b"\n" + strategy


def decode(stored: bytes | None) -> tuple[RunState, bytes | None]:
    """Return memory and strategy state of a row; a run that has not begun has neither."""
    if not stored:
        return RunState(), None
    head, _, strategy = bytes(stored).partition(b"\n")
    try:
        values = json.loads(head)
        if values.pop("format") != FORMAT:
            raise RunError(
                must_be("the run's state", f"format {FORMAT}", "another", "resume it with the toolkit that wrote it")
            )
        for name in ("due", "entry"):
            values[name] = None if values[name] is None else Waiting(**values[name])
        for name in ("pending", "entries"):
            values[name] = tuple(Waiting(**each) for each in values.get(name, ()))
        return RunState(**values), strategy
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(must_be("the run's state", "readable", str(error), "start a new run")) from error


def ready_of(stored: bytes | None) -> int:
    """Return only ``ready_ns`` of a row's state; the replay barrier asks it of every run of the account."""
    if not stored:
        return 0
    return int(json.loads(bytes(stored).partition(b"\n")[0])["ready_ns"])

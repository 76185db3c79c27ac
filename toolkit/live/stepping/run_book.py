"""A run's own money, from its own trades: realised profit, open profit, equity at a bar's open, the day's base.

Integers throughout (points, steps, minor units), with the rule functions of the backtest, so that a guard sees the same
number live as in research. Other runs and manual positions on the same account do not enter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from toolkit.clock import to_ns
from toolkit.execution.ports import Book
from toolkit.live.stepping.run_state import RunState
from toolkit.market import Instrument, Side
from toolkit.market.platform_clock import day_ids
from toolkit.simulation import rules
from toolkit.simulation.account import to_minor


@dataclass(frozen=True, slots=True)
class OpenTrade:
    """One open position of the run."""

    trade_id: UUID
    position_id: str
    side: Side
    steps: int
    entry_points: int
    entry_ns: int
    booked: int  # commission, swap and partial profits so far, minor units
    stop_points: int = 0
    target_points: int = 0
    entry_steps: int = 0  # volume of the entry, partial closes or not
    earned: int = 0  # commission and partial profits so far, without any swap
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class ClosedTrade:
    """A closed position of the run, as far as its money is concerned."""

    trade_id: UUID
    side: Side
    steps: int
    entry_points: int
    entry_ns: int
    exit_ns: int
    booked: int
    entry_booked: int  # what had been booked before it was left: the entry's commission, and swap
    swap: int = 0
    symbol: str = ""


#: Bid, ask and point value of a symbol at a moment.
Mark = tuple[int, int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Positions:
    """What the run holds, and what it closed since the last committed step."""

    open: tuple[OpenTrade, ...]
    closed: tuple[ClosedTrade, ...] = ()

    @property
    def one(self) -> OpenTrade | None:
        """The position of a one-symbol run, None when flat."""
        return self.open[0] if self.open else None

    def of(self, symbol: str) -> Positions:
        """Return what is held in one symbol."""
        return replace(self, open=tuple(t for t in self.open if t.symbol == symbol))


def read_positions(
    rows: Iterable[Any], state: RunState, instruments: Mapping[str, Instrument], currency: str
) -> Positions:
    """Turn rows of ``trades`` into the run's positions.

    Parameters
    ----------
    rows
        The run's trades that are open, or that entered at or after ``state.counted_from_ns``.
    state
        Says which closed trades are already in ``realised``.
    """
    held: list[OpenTrade] = []
    gone: list[ClosedTrade] = []
    for row in rows:
        instrument = instruments[row.symbol]
        booked = to_minor(row.profit + row.commission + row.swap, currency)
        side = Side(row.side)
        steps = instrument.steps_floor(row.lots)
        entry = instrument.to_points(row.entry_price)
        entered = to_ns(row.entry_time)
        if row.status == "open":
            left = instrument.steps_floor(row.open_lots)
            stop, target = (0 if p is None else instrument.to_points(p) for p in (row.stop_loss, row.take_profit))
            held.append(
                OpenTrade(
                    row.trade_id,
                    row.position_id,
                    side,
                    left,
                    entry,
                    entered,
                    booked,
                    stop,
                    target,
                    steps,
                    to_minor(row.profit + row.commission, currency),
                    row.symbol,
                )
            )
        elif str(row.trade_id) not in state.counted:
            # A trade's two commissions are equal: volume in is volume out. Half of it was booked at the entry.
            swap = to_minor(row.swap, currency)
            paid = to_minor(row.commission, currency) // 2 + swap
            gone.append(
                ClosedTrade(
                    row.trade_id, side, steps, entry, entered, to_ns(row.exit_time), booked, paid, swap, row.symbol
                )
            )
    gone.sort(key=lambda t: (t.exit_ns, t.entry_ns))
    return Positions(tuple(held), tuple(gone))


def with_swap(positions: Positions, book: Book, currency: str) -> Positions:
    """Add the swap the platform has charged open positions so far; it comes as a deal only when they are left."""
    charged = {p.position_id: to_minor(p.swap, currency) for p in book.positions}
    held = [replace(t, booked=t.booked + charged.get(t.position_id, 0)) for t in positions.open]
    return replace(positions, open=tuple(held))


def count_closed(state: RunState, positions: Positions) -> RunState:
    """Take newly closed trades into the run's realised money, each once."""
    if not positions.closed:
        return state
    last_exit = max(t.exit_ns for t in positions.closed)
    if state.last_exit_ns is not None:
        last_exit = max(last_exit, state.last_exit_ns)
    counted = {**state.counted, **{str(t.trade_id): t.entry_ns for t in positions.closed}}
    # What entered before the oldest position still open can never change again, so it need not be remembered.
    kept_from = min([t.entry_ns for t in positions.open] or [max(counted.values())])
    return replace(
        state,
        realised=state.realised + sum(t.booked for t in positions.closed),
        counted_from_ns=kept_from,
        counted={trade: entered for trade, entered in counted.items() if entered >= kept_from},
        last_exit_ns=last_exit,
    )


def equity_at_open(
    capital: int, realised_before: int, held: Sequence[OpenTrade], bid: int, ask: int, value: tuple[int, int]
) -> int:
    """Return the run's equity at one open quote, before anything happens there, minor units."""
    return equity_of(capital, realised_before, held, lambda _: (bid, ask, value))


def equity_of(capital: int, realised_before: int, held: Sequence[OpenTrade], mark_of: Callable[[str], Mark]) -> int:
    """Return the run's equity with each position at its symbol's quote, minor units."""
    total = capital + realised_before
    for trade in held:
        bid, ask, (num, den) = mark_of(trade.symbol)
        mark = rules.close_quote(trade.side.sign, bid, ask)
        total += trade.booked + rules.money(trade.side.sign * (mark - trade.entry_points), trade.steps, num, den)
    return total


def equity_at_first_open(
    capital: int, state: RunState, positions: Positions, first_ns: int, mark_of: Callable[[str], Mark]
) -> int:
    """Return the equity at a bar open that may lie behind us, from what was open then.

    A trade was open "before anything happens at that open" when it was entered earlier and not left earlier.
    """
    realised = state.realised + sum(t.booked for t in positions.closed if t.exit_ns < first_ns)
    held = [t for t in positions.open if t.entry_ns < first_ns]
    held += [
        OpenTrade(t.trade_id, "", t.side, t.steps, t.entry_points, t.entry_ns, t.entry_booked, symbol=t.symbol)
        for t in positions.closed
        if t.entry_ns < first_ns <= t.exit_ns
    ]
    return equity_of(capital, realised, held, mark_of)


def first_rows_of_days(ts: npt.NDArray[np.int64], day_end: str) -> npt.NDArray[np.int64]:
    """Return the rows that are the first of their platform day; row 0 counts as one."""
    days = day_ids(ts, day_end)
    return np.concatenate([[0], np.flatnonzero(days[1:] != days[:-1]) + 1]).astype(np.int64)

"""A run's own money: counted once, marked at the right quote, based at the first open of the platform's day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolkit.clock import to_ns
from toolkit.live.stepping.run_book import (
    count_closed,
    equity_at_first_open,
    equity_at_open,
    first_rows_of_days,
    read_positions,
)
from toolkit.live.stepping.run_state import RunState, Waiting, decode, encode, ready_of
from toolkit.market import find_instrument

EURUSD = find_instrument("EURUSD")
START = datetime(2017, 1, 2, tzinfo=UTC)
VALUE = (1, 1)  # one cent per point and step


@dataclass
class Row:
    """A row of ``trades``."""

    entry: int
    exit: int | None
    side: str = "BUY"
    profit: Decimal = Decimal(0)
    commission: Decimal = Decimal("-0.70")
    lots: Decimal = Decimal("0.10")
    entry_price: Decimal = Decimal("1.05000")
    swap: Decimal = Decimal(0)
    symbol: str = "EURUSD"
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None

    def __post_init__(self) -> None:
        self.trade_id: UUID = uuid4()
        self.position_id = "1"
        self.status = "open" if self.exit is None else "closed"
        self.open_lots = self.lots if self.exit is None else Decimal(0)
        self.entry_time = START + timedelta(hours=self.entry)
        self.exit_time = None if self.exit is None else START + timedelta(hours=self.exit)


def read(rows: list[Row], state: RunState) -> Any:
    """Read positions as the run does: open ones, and those entered from the remembered moment on."""
    seen = [r for r in rows if to_ns(r.entry_time) >= state.counted_from_ns]
    return read_positions(seen, state, {"EURUSD": EURUSD}, "USD")


def test_a_closed_trade_is_counted_once() -> None:
    """Reading it again after it was counted changes nothing."""
    row = Row(1, 5, profit=Decimal("12.34"))
    state = count_closed(RunState(), read([row], RunState()))
    assert state.realised == 1_234 - 70
    assert count_closed(state, read([row], state)) == state
    assert state.last_exit_ns == to_ns(START + timedelta(hours=5))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30), st.integers(-500, 500)), max_size=12), st.data())
def test_realised_money_does_not_depend_on_when_it_is_looked_at(trades: list[tuple[int, int, int]], data: Any) -> None:
    """However often and whenever the run looks, the sum is that of all closed trades."""
    rows = [Row(e, e + d, profit=Decimal(p) / 100, commission=Decimal(0)) for e, d, p in trades]
    rows.sort(key=lambda r: r.entry_time)
    state = RunState()
    for hour in [*sorted(data.draw(st.lists(st.integers(0, 80), max_size=8))), 1_000]:
        now = START + timedelta(hours=hour)
        visible = []
        for row in rows:
            if row.entry_time <= now:
                shown = replace(row, exit=None) if row.exit_time is None or row.exit_time > now else row
                shown.trade_id = row.trade_id
                visible.append(shown)
        state = count_closed(state, read(visible, state))
    assert state.realised == sum(int(r.profit * 100) for r in rows)


def test_open_profit_is_marked_at_the_closing_quote() -> None:
    """A long at the bid, a short at the ask, with what its entry cost."""
    long = read([Row(1, None)], RunState())
    short = read([Row(1, None, side="SELL")], RunState())
    assert equity_at_open(1_000_000, 0, long.open, 105_010, 105_020, VALUE) == 1_000_000 - 70 + 10 * 10
    assert equity_at_open(1_000_000, 0, short.open, 105_010, 105_020, VALUE) == 1_000_000 - 70 - 20 * 10


def test_the_days_base_sees_what_was_open_before_anything_happened() -> None:
    """A trade left at the day's first open is still open in the base; one entered there is not."""
    first = to_ns(START + timedelta(hours=24))
    left_there = read([Row(20, 24, profit=Decimal("99.00"), commission=Decimal("-1.40"))], RunState())
    entered_there = read([Row(24, None)], RunState())
    left_before = read([Row(20, 23, profit=Decimal("99.00"), commission=Decimal("-1.40"))], RunState())
    base = [
        equity_at_first_open(1_000_000, RunState(), held, first, lambda _: (105_003, 105_005, VALUE))
        for held in (left_there, entered_there, left_before)
    ]
    assert base == [1_000_000 - 70 + 30, 1_000_000, 1_000_000 + 9_900 - 140]


def test_days_follow_the_platforms_clock() -> None:
    """With a day that ends at 22:00 UTC the first rows move."""
    ts = np.array([to_ns(START + timedelta(hours=h)) for h in range(60)], dtype=np.int64)
    assert first_rows_of_days(ts, "UTC").tolist() == [0, 24, 48]
    assert first_rows_of_days(ts, "UTC+02:00").tolist() == [0, 22, 46]


def test_a_runs_memory_survives_its_row() -> None:
    """Every field and the strategy's bytes come back exactly."""
    waiting = Waiting(1, 2, 3, 40, 80, None, True)
    state = RunState(clock_ns=5, ready_ns=9, due=waiting, entry=waiting, realised=-7, counted={"a": 4}, last_exit_ns=3)
    stored = encode(state, b"\x00\nbytes\n")
    assert decode(stored) == (state, b"\x00\nbytes\n")
    assert ready_of(stored) == 9 and ready_of(None) == 0

"""The one short transaction of a step: cursor, memory, intents with their outbox rows, marks and events, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, or_, select

from toolkit.clock import from_ns
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.submit import submit
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.decide import Orders
from toolkit.live.stepping.program import Hot, forget
from toolkit.live.stepping.run_book import Positions, count_closed, read_positions, with_swap
from toolkit.live.stepping.run_state import encode
from toolkit.live.stepping.sources.rounds import current_round
from toolkit.simulation.account import from_minor, to_minor
from toolkit.store.intents import SqlTransaction
from toolkit.store.runs import RunRecord, Runs, add_event, put_equity_mark
from toolkit.store.sql.models import ExecutionIntent, Trade
from toolkit.store.sql.statements import Statement
from toolkit.store.sql.unit_of_work import UnitOfWork

_INTENTS: Any = ExecutionIntent.__table__
_TRADES: Any = Trade.__table__
_UNSETTLED = tuple(s.value for s in (IntentState.NEW, IntentState.CLAIMED, IntentState.SENDING, IntentState.UNKNOWN))
_TRADE_NAMES = (
    "trade_id", "position_id", "symbol", "side", "status", "lots", "open_lots", "entry_time", "entry_price", "stop_loss",
    "take_profit", "exit_time", "profit", "commission", "swap",
)  # fmt: skip
# Asked at every step of every run, so compiled once.
_UNSETTLED_OF = Statement(
    lambda _: select(
        _INTENTS.c.intent_id, _INTENTS.c.action, _INTENTS.c.state, _INTENTS.c.not_before, _INTENTS.c.symbol
    ).where(
        _INTENTS.c.live_run_id == bindparam("live_run_id", type_=_INTENTS.c.live_run_id.type),
        or_(*(_INTENTS.c.state == state for state in _UNSETTLED)),
    )
)
_TRADES_SINCE = Statement(
    lambda _: select(*(_TRADES.c[name] for name in _TRADE_NAMES)).where(
        _TRADES.c.live_run_id == bindparam("live_run_id", type_=_TRADES.c.live_run_id.type),
        _TRADES.c.entry_time >= bindparam("since", type_=_TRADES.c.entry_time.type),
    )
)


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The run's intents that are not settled.

    Attributes
    ----------
    under_way
        One is on its way: no bar is stepped before it has arrived.
    unknown
        The fate of one is not known: exits only.
    waiting
        Symbol and action of exits that the platform would not take and that are sent again later, by intent; no entry
        before they are done.
    """

    under_way: bool = False
    unknown: bool = False
    waiting: Mapping[UUID, tuple[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.under_way or self.unknown or bool(self.waiting)

    def exits_of(self, symbol: str) -> frozenset[str]:
        """Return the actions of the exits that wait in a symbol."""
        return frozenset(action for where, action in self.waiting.values() if where == symbol)

    @property
    def why_no_entry(self) -> str:
        """Say why no entry may be made, empty when nothing stands against one."""
        if self.waiting:
            return "an exit of this run waits until the platform takes it: no entry before"
        return "an intent of this run is UNKNOWN: no entry until it is resolved" if self.unknown else ""


@dataclass(frozen=True, slots=True)
class Mark:
    """The run's equity at the first open of a platform day, minor units."""

    at_ns: int
    equity: int


@dataclass(slots=True)
class Step:
    """What a step found and decided; `commit_step` keeps all of it or none."""

    bars: int = 0
    cursor_ns: int | None = None
    orders: Orders = field(default_factory=Orders)
    signals: int = 0
    marks: list[Mark] = field(default_factory=list)
    events: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)  # kind, level, message, data
    changes: dict[str, Any] = field(default_factory=dict)  # further columns of the row, e.g. its status
    market_time: datetime | None = None
    also: list[Callable[[Connection], None]] = field(default_factory=list)  # further writes of the same moment


def unsettled_intents(engine: Engine, live_run_id: UUID) -> Unsettled:
    """Return what is on its way, waits or is unknown of a run's intents."""
    with engine.work(engine.service, write=False) as work:
        rows = _UNSETTLED_OF.rows(work.connection, {"live_run_id": live_run_id})
    waiting = {
        row[0]: (str(row[4]), str(row[1])) for row in rows if row[2] == IntentState.NEW.value and row[3] is not None
    }
    unknown = any(row[2] == IntentState.UNKNOWN.value for row in rows)
    under_way = any(row[0] not in waiting and row[2] != IntentState.UNKNOWN.value for row in rows)
    return Unsettled(under_way, unknown, waiting)


def load_positions(engine: Engine, desk: Desk, run: RunRecord, hot: Hot) -> Positions:
    """Read the run's open trades, with their swap, and those that closed since they were last counted."""
    since = from_ns(hot.state.counted_from_ns)
    with engine.work(engine.service, write=False) as work:
        rows = _TRADES_SINCE.rows(work.connection, {"live_run_id": run.live_run_id, "since": since})
    trades = (SimpleNamespace(**dict(zip(_TRADE_NAMES, row, strict=True))) for row in rows)
    positions = read_positions(trades, hot.state, hot.program.instruments, hot.program.currency)
    if hot.program.swapped and positions.open:
        return with_swap(positions, desk.platform.book(), hot.program.currency)
    return positions


def commit_step(engine: Engine, run: RunRecord, hot: Hot, positions: Positions, step: Step) -> RunRecord:
    """Write a step if the row is still as it was read.

    Raises
    ------
    LostRace
        When somebody else changed the row (another host, a stop): nothing of this step was written.
    """
    now = engine.now()
    if run.stage == "shadow":
        _cast_no_orders(step)
    state = count_closed(hot.state, positions)
    if step.marks:
        state = replace(state, day_ns=step.marks[-1].at_ns, day_base=step.marks[-1].equity)
    changes: dict[str, Any] = {
        "state": encode(state, hot.driver.state()),
        "heartbeat_at": now,
        "bars_count": run.bars_count + step.bars,
        **step.changes,
    }
    if step.cursor_ns is not None:
        changes["cursor"] = from_ns(step.cursor_ns)
    if step.signals:
        changes["signals_count"] = run.signals_count + step.signals
    if step.orders.intents:
        changes["intents_count"] = run.intents_count + len(step.orders.intents)
        changes["last_action_at"] = now
        changes["last_action"] = _words(step.orders)
    if step.orders.skips:
        changes["refused_count"] = run.refused_count + len(step.orders.skips)
    current = current_round()
    shares = not step.orders and not hot.program.replayed and "status" not in step.changes
    if current is not None and shares:
        # Nothing leaves because of this step, so it may share a commit with those of other runs.
        def write(work: UnitOfWork) -> None:
            _write(engine, work, run, hot, step, changes, now)

        current.defer(write, lambda: forget(engine, run.live_run_id))
        saved = replace(run, version=run.version + 1, **changes)
    else:
        with engine.work(engine.service) as work:
            saved = _write(engine, work, run, hot, step, changes, now)
            work.commit()
    hot.state = state
    hot.row_version = saved.version
    return saved


def _write(
    engine: Engine, work: UnitOfWork, run: RunRecord, hot: Hot, step: Step, changes: dict[str, Any], now: datetime
) -> RunRecord:
    saved = Runs(work.connection, engine.service).save(run, **changes)
    transaction = SqlTransaction(work)
    for intent in step.orders.intents:
        submit(transaction, intent, engine.service)
    for skip in step.orders.skips:
        add_event(
            work.connection, now, run, "entry_skipped", skip.message, level="warning",
            market_time=step.market_time, data={"side": skip.side.value, "code": skip.code},
        )  # fmt: skip
    # The peak is the rows', not this process's: somebody may have reset the drawdown guard meanwhile.
    latest = transaction.equity_mark(run.account_id, str(run.live_run_id)) if step.marks else None
    highest = 0 if latest is None else to_minor(latest.peak_equity, hot.program.currency)
    for mark in step.marks:
        highest = max(highest, mark.equity)
        put_equity_mark(
            work.connection,
            run,
            from_ns(mark.at_ns),
            from_minor(mark.equity, hot.program.currency),
            from_minor(highest, hot.program.currency),
            now,
        )
    for kind, level, message, data in step.events:
        add_event(work.connection, now, run, kind, message, level=level, market_time=step.market_time, data=data)
    for write in step.also:
        write(work.connection)
    return saved


def _cast_no_orders(step: Step) -> None:
    """Turn what a shadow would send into events: it decides on live bars, and nothing leaves."""
    for intent in step.orders.intents:
        message = f"would send {intent.action.value} {intent.side.value} {intent.symbol}"
        step.events.append(("shadow_signal", "info", message, {"payload": intent.payload_json}))
    step.orders.intents.clear()


def _words(orders: Orders) -> str:
    return ", ".join(f"{i.action.value} {i.side.value} {i.symbol}" for i in orders.intents)[:200]

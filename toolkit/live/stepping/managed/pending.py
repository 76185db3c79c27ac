"""The run's pending orders that work at the platform, and settling those that have ended there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select

from toolkit.execution.intents import Action, IntentState
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.managed.memory import planned, without_order
from toolkit.live.stepping.program import Hot
from toolkit.market import Side
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import ExecutionIntent
from toolkit.store.sql.statements import Statement

_INTENTS: Any = ExecutionIntent.__table__
_WORKING = Statement(
    lambda _: select(_INTENTS.c.intent_id, _INTENTS.c.side, _INTENTS.c.order_id).where(
        _INTENTS.c.live_run_id == bindparam("live_run_id", type_=_INTENTS.c.live_run_id.type),
        _INTENTS.c.state == IntentState.WORKING.value,
        _INTENTS.c.action == Action.OPEN_TRADE.value,
    )
)


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """A pending order of the run that was accepted and, as far as we know, still works."""

    intent_id: UUID
    side: Side
    order_id: str


def working_orders(engine: Engine, live_run_id: UUID) -> list[WorkingOrder]:
    """Return the run's pending orders that work, as our own books have it."""
    with engine.work(engine.service, write=False) as work:
        rows = _WORKING.rows(work.connection, {"live_run_id": live_run_id})
    return [WorkingOrder(row[0], Side(row[1]), str(row[2])) for row in rows if row[2] is not None]


def settled_orders(engine: Engine, desk: Desk, run: RunRecord) -> list[WorkingOrder]:
    """Return the run's pending orders that work, after those that have ended at the platform were settled."""
    working = working_orders(engine, run.live_run_id)
    if not working:
        return working
    desk.service.reconcile()
    return working_orders(engine, run.live_run_id)


def orders_to_take_back(engine: Engine, desk: Desk, run: RunRecord, hot: Hot) -> list[WorkingOrder]:
    """Return the pending orders that a decision may cancel.

    An order whose acceptance was found late is not the one this run remembers; it may have ended without anybody looking, and
    must be seen as it is whether or not a restart looked in between.
    """
    working = working_orders(engine, run.live_run_id)
    remembered = len(working) == 1 and int(hot.state.managed.get("until", 0)) > 0
    return working if remembered or not working else settled_orders(engine, desk, run)


def note_entry(hot: Hot, plan: Mapping[str, Any] | None, until_ns: int | None) -> None:
    """Remember the entry that has just been planned, of a managed strategy."""
    if until_ns is not None and hot.program.managed:
        hot.state = replace(hot.state, managed=planned(hot.state.managed, plan, until_ns))


def look_after_order(engine: Engine, desk: Desk, run: RunRecord, hot: Hot, now_ns: int) -> None:
    """Find out whether the pending order still works, and remember when it does not.

    Called where it may be gone: at the beginning of a step, because its placing may have been refused or a cancel carried
    out, and once the platform's clock has passed its end.
    """
    until = int(hot.state.managed.get("until", 0))
    if not until:
        return
    over = now_ns >= until
    working = settled_orders(engine, desk, run) if over else working_orders(engine, run.live_run_id)
    if not working:
        hot.state = replace(hot.state, managed=without_order(hot.state.managed))

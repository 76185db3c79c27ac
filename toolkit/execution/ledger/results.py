"""What came of an intent or a trade, as one canonical text: what an account's results say on a replayable bus.

A result is written by the transaction that makes it true, into the outbox of accounts whose gateway carries results.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import IntentRecord, TradeRecord

# CLAIMED and SENDING are steps of one worker; what somebody outside may learn from is where the intent was left.
_WITHIN = frozenset({IntentState.NEW, IntentState.CLAIMED, IntentState.SENDING})


def is_told(state: IntentState) -> bool:
    """Return whether reaching this state is a result."""
    return state not in _WITHIN


def intent_result(intent: IntentRecord, from_state: IntentState, at: datetime, detail: str) -> str:
    """Return what an intent has come to; ``result_id`` is the same however often it is sent."""
    return _text(
        result_id=f"{intent.intent_id}:{intent.version}",
        kind="intent",
        account_id=intent.account_id,
        intent_id=intent.intent_id,
        live_run_id=intent.live_run_id,
        at=at,
        action=intent.action.value,
        symbol=intent.symbol,
        side=intent.side.value,
        from_state=from_state.value,
        state=intent.state.value,
        reason=intent.reason,
        detail=detail,
        attempt=intent.attempt,
        lots=intent.filled_lots,
        price=intent.average_price,
        order_id=intent.order_id,
        position_id=intent.position_id,
    )


def trade_result(trade: TradeRecord, at: datetime) -> str:
    """Return how a trade stands after a booking: opened, reduced or closed."""
    return _text(
        result_id=f"{trade.trade_id}:{trade.status}:{trade.lots:f}:{trade.open_lots:f}",
        kind="trade",
        account_id=trade.account_id,
        intent_id=trade.intent_id,
        live_run_id=trade.live_run_id,
        at=at,
        action="",
        symbol=trade.symbol,
        side=trade.side.value,
        from_state="",
        state=trade.status,
        reason=trade.exit_reason,
        detail=str(trade.trade_id),
        attempt=0,
        lots=trade.lots,
        price=trade.entry_price,
        order_id=None,
        position_id=trade.position_id,
        open_lots=trade.open_lots,
        entry_time=trade.entry_time,
        exit_time=trade.exit_time,
        exit_price=trade.exit_price,
        profit=trade.profit,
        commission=trade.commission,
        swap=trade.swap,
    )


def _text(**fields: Any) -> str:
    return json.dumps({name: _plain(value) for name, value in fields.items()}, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, datetime) else str(value)


__all__ = ["intent_result", "is_told", "trade_result"]

"""Exits that the service signals itself, to protect or to flatten: written into the store like every other intent."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from toolkit.execution.idempotency import ai_key, signal_fingerprint
from toolkit.execution.intents import Action
from toolkit.execution.ledger.records import IntentRecord, TradeRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ledger.submit import make_intent, submit
from toolkit.execution.principal import Principal
from toolkit.execution.request import CancelRequest, CloseRequest, RequestMetadata


def submit_close(
    work: Transaction,
    trade: TradeRecord,
    *,
    principal: Principal,
    now: datetime,
    source: str,
    signal_id: str,
    reason: str,
) -> UUID:
    """Put a close of one of our trades into the store; return the intent's id."""
    key = ai_key(
        account_id=trade.account_id,
        source=f"seatrial:{source}",
        signal_id=f"{signal_id}:{trade.position_id}",
        action=Action.CLOSE_POSITION.value,
    )
    request = CloseRequest(
        account_id=trade.account_id,
        symbol=trade.symbol,
        direction=trade.side,
        position_id=trade.position_id,
        metadata=RequestMetadata(live_run_id=trade.live_run_id, signal_id=source, reason=reason),
        idempotency_key=key,
    )
    intent = make_intent(
        request,
        action=Action.CLOSE_POSITION,
        key=key,
        fingerprint=signal_fingerprint(f"seatrial:{source}", {"position": trade.position_id}),
        principal=principal,
        now=now,
        terms={"reason": reason},
    )
    return submit(work, intent, principal).intent.intent_id


def submit_cancel(
    work: Transaction, owner: IntentRecord, order_id: str, *, principal: Principal, now: datetime, signal_id: str
) -> UUID:
    """Put the cancel of an entry's working order into the store; return the intent's id."""
    key = ai_key(
        account_id=owner.account_id,
        source="seatrial:flatten",
        signal_id=f"{signal_id}:{order_id}",
        action=Action.CANCEL_ORDER.value,
    )
    request = CancelRequest(
        account_id=owner.account_id,
        symbol=owner.symbol,
        direction=owner.side,
        order_id=order_id,
        metadata=RequestMetadata(live_run_id=owner.live_run_id, signal_id="flatten", reason="flatten"),
        idempotency_key=key,
    )
    intent = make_intent(
        request,
        action=Action.CANCEL_ORDER,
        key=key,
        fingerprint=signal_fingerprint("seatrial:flatten", {"order": order_id}),
        principal=principal,
        now=now,
    )
    return submit(work, intent, principal).intent.intent_id


__all__ = ["submit_cancel", "submit_close"]

"""No position without its stop for longer than a limit: confirm it, or close the position."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from toolkit.execution.idempotency import ai_key, signal_fingerprint
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.records import IntentRecord, TradeRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ledger.submit import make_intent, move, submit
from toolkit.execution.ports import Book
from toolkit.execution.request import CloseRequest, RequestMetadata
from toolkit.execution.sending.context import ServiceContext


class ProtectionGuard:
    """Watches entries that were filled before their stop was confirmed."""

    def __init__(self, context: ServiceContext, execute: Callable[[UUID], IntentRecord]) -> None:
        self._c = context
        self._execute = execute

    def run(self, book: Book) -> list[UUID]:
        """Confirm stops that the book shows; close positions that have been without one for too long.

        Returns
        -------
        list of UUID
            Close intents that were made and carried out.
        """
        c = self._c
        with c.store.begin(c.principal, write=False) as work:
            waiting = work.intents_in(c.account_id, [IntentState.PROTECTION_PENDING])
        closed: list[UUID] = []
        for intent in waiting:
            close_id = self._look_after(intent, book)
            if close_id is not None:
                self._execute(close_id)
                closed.append(close_id)
        return closed

    def _look_after(self, intent: IntentRecord, book: Book) -> UUID | None:
        c = self._c
        now = c.clock.now()
        with c.store.begin(c.principal) as work:
            fresh = c.fresh(work, intent.intent_id)
            trades = [t for t in work.trades_of_intent(intent.intent_id) if t.status == "open"]
            held = {p.position_id: p for p in book.positions}
            bare = [t for t in trades if t.position_id in held and held[t.position_id].stop_loss is None]
            if not bare:
                detail = "its stop is confirmed" if trades else "its position is closed"
                after = move(work, fresh, IntentState.FILLED, actor=c.worker, now=now, detail=detail, new_token=True)
                c.tell(work, after, "protection_confirmed", detail, "info", None, now)
                work.commit()
                return None
            since = fresh.updated_at
            if (now - since).total_seconds() < c.policy.protection_limit_seconds:
                return None
            close_id = self._submit_close(work, fresh, bare[0])
            detail = f"without a confirmed stop for {(now - since).total_seconds():.0f} s: closed"
            c.tell(work, fresh, "protection_closed", detail, "error", None, now)
            work.commit()
        return close_id

    def _submit_close(self, work: Transaction, intent: IntentRecord, trade: TradeRecord) -> UUID:
        return submit_close(
            self._c, work, trade, source="protection", signal_id=str(intent.intent_id), reason="flatten"
        )


def submit_close(
    c: ServiceContext, work: Transaction, trade: TradeRecord, *, source: str, signal_id: str, reason: str
) -> UUID:
    """Put a close of one of our trades into the store, made by the service itself; return the intent's id."""
    fingerprint = signal_fingerprint(f"seatrial:{source}", {"position": trade.position_id})
    key = ai_key(
        account_id=c.account_id,
        source=f"seatrial:{source}",
        signal_id=f"{signal_id}:{trade.position_id}",
        action=Action.CLOSE_POSITION.value,
    )
    request = CloseRequest(
        account_id=c.account_id,
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
        fingerprint=fingerprint,
        principal=c.principal,
        now=c.clock.now(),
        terms={"reason": reason},
    )
    return submit(work, intent, c.principal).intent.intent_id

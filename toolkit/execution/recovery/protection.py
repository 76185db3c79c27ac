"""No position without its stop for longer than a limit: confirm it, or close the position."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from toolkit.execution.intents import BARRIER_STATES, UNRESOLVED_STATES, IntentState
from toolkit.execution.ledger.records import IntentRecord, TradeRecord
from toolkit.execution.ledger.submit import move
from toolkit.execution.ports import Book
from toolkit.execution.recovery.closing import submit_close
from toolkit.execution.sending.context import ServiceContext


class ProtectionGuard:
    """Watches our positions for their stops, however they came to be without one."""

    def __init__(self, context: ServiceContext, execute: Callable[[UUID], IntentRecord]) -> None:
        self._c = context
        self._execute = execute
        self._bare_since: dict[str, float] = {}
        self._last_close: dict[str, UUID] = {}

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
            ours = {t.position_id: t for t in work.open_trades(c.account_id)}
        bare = {p.position_id for p in book.positions if p.stop_loss is None and p.position_id in ours}
        self._bare_since = {pid: self._bare_since.get(pid, c.clock.monotonic()) for pid in bare}
        for intent in waiting:
            self._confirm(intent, bare)
        never_had_one = {i.intent_id for i in waiting}
        closed: list[UUID] = []
        for position_id in sorted(bare):
            waited = c.clock.monotonic() - self._bare_since[position_id]
            if ours[position_id].intent_id in never_had_one:
                since_fill = (book.as_of - ours[position_id].entry_time).total_seconds()
                waited = max(waited, since_fill)
            if waited >= c.policy.protection_limit_seconds:
                close_id = self._close(ours[position_id], waited)
                if close_id is not None:
                    self._execute(close_id)
                    closed.append(close_id)
        return closed

    def _confirm(self, intent: IntentRecord, bare: set[str]) -> None:
        c = self._c
        now = c.clock.now()
        with c.writing() as work:
            fresh = c.fresh(work, intent.intent_id)
            open_ids = {t.position_id for t in work.trades_of_intent(intent.intent_id) if t.status == "open"}
            if fresh.state is not IntentState.PROTECTION_PENDING or open_ids & bare:
                return
            detail = "its stop is confirmed" if open_ids else "its position is closed"
            after = move(work, fresh, IntentState.FILLED, actor=c.worker, now=now, detail=detail, new_token=True)
            c.tell(work, after, "protection_confirmed", detail, "info", None, now)
            work.commit()

    def _close(self, trade: TradeRecord, waited: float) -> UUID | None:
        c = self._c
        now = c.clock.now()
        with c.writing() as work:
            last_id = self._last_close.get(trade.position_id)
            last = None if last_id is None else work.intent(last_id)
            if last is not None and last.state in (BARRIER_STATES | UNRESOLVED_STATES):
                return None  # one is on its way
            signal_id = now.isoformat()
            close_id = submit_close(
                work, trade, principal=c.principal, now=now, source="protection", signal_id=signal_id, reason="flatten"
            )
            entry = c.fresh(work, trade.intent_id)
            detail = f"position {trade.position_id} is without a stop for {waited:.0f} s: closing it"
            c.tell(work, entry, "protection_closed", detail, "error", None, now)
            work.commit()
        self._last_close[trade.position_id] = close_id
        return close_id

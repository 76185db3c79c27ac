"""What a platform's answer means for an intent, as data and as the rows it leaves."""

from __future__ import annotations

from decimal import Decimal

from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.bookkeeping import TradeChange
from toolkit.execution.ledger.records import IntentRecord, RunEventRecord
from toolkit.execution.ports import OrderResult, Outcome

# After SENDING. NOT_ACCEPTED and WAIT lead back to NEW because nothing was accepted, provably.
STATE_OF_OUTCOME: dict[Outcome, IntentState] = {
    Outcome.DONE: IntentState.FILLED,
    Outcome.PARTIAL: IntentState.PARTIAL,
    Outcome.WORKING: IntentState.WORKING,
    Outcome.UNKNOWN: IntentState.UNKNOWN,
    Outcome.NOT_ACCEPTED: IntentState.NEW,
    Outcome.WAIT: IntentState.NEW,
    Outcome.FINAL: IntentState.REJECTED,
    Outcome.ALREADY: IntentState.FILLED,
}


def state_after(action: Action, answer: OrderResult, *, deals_seen: bool) -> IntentState:
    """Return the state an answer leads to.

    An entry that the platform calls done but whose deal was not seen yet stays WORKING: it keeps its guardrail slot until
    the deal is booked. "Already so" cannot be the answer to an entry, so it is taken as ambiguous.
    """
    if action.is_entry:
        if answer.outcome is Outcome.ALREADY:
            return IntentState.UNKNOWN
        if answer.outcome in (Outcome.DONE, Outcome.PARTIAL):
            if not deals_seen:
                return IntentState.WORKING
            if not answer.protected:
                return IntentState.PROTECTION_PENDING
    return STATE_OF_OUTCOME[answer.outcome]


def trade_events(changes: list[TradeChange], intent: IntentRecord | None) -> list[RunEventRecord]:
    """Return what people are told about trades that were opened, reduced or closed."""
    out: list[RunEventRecord] = []
    for change in changes:
        t = change.after
        if change.opened:
            kind, text = "trade_opened", f"{t.side.value} {t.lots:f} {t.symbol} at {t.entry_price:f}"
        if change.closed:
            kind, text = "trade_closed", f"{t.symbol} closed at {t.exit_price:f} by {t.exit_reason}, {_money(t.booked)}"
        elif change.reduced:
            kind, text = "trade_reduced", f"{t.symbol} down to {t.open_lots:f} lots"
        elif not change.opened:
            continue
        out.append(
            RunEventRecord(
                live_run_id=t.live_run_id,
                account_id=t.account_id,
                intent_id=t.intent_id if intent is None else intent.intent_id,
                kind=kind,
                level="info",
                message=text,
                market_time=t.exit_time or t.entry_time,
                at=t.updated_at,
                data={"trade_id": str(t.trade_id), "position_id": t.position_id},
            )
        )
    return out


def _money(amount: Decimal) -> str:
    return f"{amount:+f}"

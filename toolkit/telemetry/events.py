"""The kinds of rows in ``run_events``, with the words a person reads; a new kind is added here first."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    """What happened in a run, or on an account."""

    # the run itself
    CREATED = "created"
    STARTED = "started"
    STOPPING = "stopping"
    STOPPED = "stopped"
    PAUSED = "paused"
    RESUMED = "resumed"
    FAILED = "error"
    BARS_QUARANTINED = "bars_quarantined"
    FLATTEN_WAITS = "flatten_waits"
    # signals and intents
    ENTRY_SKIPPED = "entry_skipped"
    ENTRY_REFUSED = "entry_refused"
    ORDER_REJECTED = "order_rejected"
    ORDER_EXPIRED = "order_expired"
    ORDER_WORKING = "order_working"
    EXIT_ALREADY_SO = "exit_already_so"
    EXIT_REFUSED = "exit_refused"
    EXIT_REPLANNED = "exit_replanned"
    EXIT_WAITS = "exit_waits"
    EXIT_GIVEN_UP = "exit_given_up"
    # trades
    TRADE_OPENED = "trade_opened"
    TRADE_REDUCED = "trade_reduced"
    TRADE_CLOSED = "trade_closed"
    # trouble and its end
    INTENT_UNKNOWN = "intent_unknown"
    INTENT_RESOLVED = "intent_resolved"
    INTENT_ABANDONED = "intent_abandoned"
    INTENT_RELEASED = "intent_released"
    LATE_FILL_ADOPTED = "late_fill_adopted"
    PROTECTION_PENDING = "protection_pending"
    PROTECTION_CONFIRMED = "protection_confirmed"
    PROTECTION_CLOSED = "protection_closed"
    FOREIGN_POSITION = "foreign_position"
    # the kill switch
    HALTED = "halted"
    FLATTENED = "flattened"
    HALT_LIFTED = "halt_lifted"


WORDS: dict[EventKind, str] = {
    EventKind.ENTRY_SKIPPED: "Entry skipped",
    EventKind.ENTRY_REFUSED: "Entry refused",
    EventKind.EXIT_WAITS: "The platform does not take an exit now; it is sent again",
    EventKind.INTENT_UNKNOWN: "Outcome at the platform unknown",
    EventKind.INTENT_ABANDONED: "Given up without a trace at the platform; its slot stays reserved",
    EventKind.LATE_FILL_ADOPTED: "Late fill found and adopted",
    EventKind.FLATTEN_WAITS: "Stopping; an order whose fate is unknown is looked for first",
    EventKind.PROTECTION_PENDING: "Filled, the stop is not confirmed yet",
    EventKind.PROTECTION_CLOSED: "Closed because its stop was not confirmed in time",
}


def words(kind: str) -> str:
    """Return what a person reads for a kind; unknown kinds read as they are written."""
    try:
        known = EventKind(kind)
    except ValueError:
        return kind.replace("_", " ").capitalize()
    return WORDS.get(known, known.value.replace("_", " ").capitalize())

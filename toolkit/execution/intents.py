"""The states of an intent and the table of moves between them, as data."""

from __future__ import annotations

from enum import StrEnum

from toolkit.errors import IllegalTransition


class Action(StrEnum):
    """What an intent asks a ``TradeService`` to do."""

    OPEN_TRADE = "OPEN_TRADE"
    CLOSE_POSITION = "CLOSE_POSITION"
    REDUCE_POSITION = "REDUCE_POSITION"
    MODIFY_SLTP = "MODIFY_SLTP"
    CANCEL_ORDER = "CANCEL_ORDER"

    @property
    def is_entry(self) -> bool:
        """Whether it may enlarge exposure; only such actions are denied by guardrails and never sent twice."""
        return self is Action.OPEN_TRADE


class IntentState(StrEnum):
    """Where an intent stands."""

    NEW = "NEW"
    CLAIMED = "CLAIMED"
    SENDING = "SENDING"
    WORKING = "WORKING"
    PROTECTION_PENDING = "PROTECTION_PENDING"
    FILLED = "FILLED"
    PARTIAL = "PARTIAL"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    DENIED = "DENIED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    ABANDONED = "ABANDONED"
    RELEASED = "RELEASED"


S = IntentState

# Found at the platform by our tag: whatever we believed before, the platform is right.
_EVIDENCE = frozenset({S.WORKING, S.PROTECTION_PENDING, S.FILLED, S.PARTIAL})

TRANSITIONS: dict[IntentState, frozenset[IntentState]] = {
    S.NEW: frozenset({S.CLAIMED, S.EXPIRED, S.DENIED, S.CANCELLED}),
    S.CLAIMED: frozenset({S.SENDING, S.NEW}),
    S.SENDING: _EVIDENCE | {S.REJECTED, S.NEW, S.UNKNOWN},
    S.WORKING: frozenset({S.FILLED, S.PARTIAL, S.PROTECTION_PENDING, S.EXPIRED, S.CANCELLED, S.REJECTED}),
    S.PROTECTION_PENDING: frozenset({S.FILLED, S.PARTIAL}),
    S.UNKNOWN: _EVIDENCE | {S.REJECTED, S.EXPIRED, S.CANCELLED, S.ABANDONED},
    S.ABANDONED: _EVIDENCE | {S.RELEASED},
    S.FILLED: frozenset(),
    S.PARTIAL: frozenset({S.FILLED}),
    S.REJECTED: frozenset(),
    S.EXPIRED: frozenset(),
    S.DENIED: frozenset(),
    S.CANCELLED: frozenset(),
    S.RELEASED: frozenset(),
}
# Late evidence: an order that we had given up shows itself at the platform and is adopted. Only of intents once sent.
LATE_ADOPTION: dict[IntentState, frozenset[IntentState]] = {
    S.NEW: _EVIDENCE,
    S.CLAIMED: _EVIDENCE,
    S.REJECTED: _EVIDENCE,
    S.EXPIRED: _EVIDENCE,
    S.CANCELLED: _EVIDENCE,
    S.RELEASED: _EVIDENCE,
}
# An exit says "remaining volume = x": after a complete read that shows x unmet and nothing of ours in flight it may be
# planned again. An entry may not.
EXIT_REPLAN = (S.UNKNOWN, S.NEW)

# States in which an entry occupies a guardrail slot although no position of it may be visible yet.
SLOT_STATES = frozenset({S.CLAIMED, S.SENDING, S.WORKING, S.PROTECTION_PENDING, S.UNKNOWN, S.ABANDONED})
# States that a worker or the reconciler still has to move on.
UNRESOLVED_STATES = frozenset({S.SENDING, S.WORKING, S.PROTECTION_PENDING, S.UNKNOWN})
# While one of these exists a run does not step its next bar.
BARRIER_STATES = frozenset({S.NEW, S.CLAIMED, S.SENDING})
SETTLED_STATES = frozenset({S.FILLED, S.PARTIAL, S.REJECTED, S.EXPIRED, S.DENIED, S.CANCELLED, S.ABANDONED, S.RELEASED})


def check_transition(
    action: Action | str,
    before: IntentState,
    after: IntentState,
    *,
    was_sent: bool = False,
) -> None:
    """Refuse a move that the table does not have.

    Parameters
    ----------
    was_sent
        Whether the intent has ever been handed to the platform; late evidence counts only then.

    Raises
    ------
    IllegalTransition
        When the two states are not joined.
    """
    if after is S.EXPIRED and not Action(action).is_entry:
        raise IllegalTransition(f"an intent of {action} cannot expire: an exit is sent until its target is met")
    if after in TRANSITIONS[before]:
        return
    if was_sent and after in LATE_ADOPTION.get(before, ()):
        return
    if (before, after) == EXIT_REPLAN and not Action(action).is_entry:
        return
    raise IllegalTransition(f"an intent of {action} cannot go from {before.value} to {after.value}")

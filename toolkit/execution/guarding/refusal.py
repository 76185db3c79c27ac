"""Why an entry is not sent, and the trip a guardrail leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid4

from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import IntentRecord, TripRecord
from toolkit.execution.ledger.store import Transaction


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an entry is not sent.

    Attributes
    ----------
    state, code, message
        Where the intent ends, the reason in one word and in a sentence.
    trip
        The guardrail that denied it, if one did.
    account_wide
        The guardrail is the account's, not the run's.
    lasts, until
        The trip goes on denying entries, up to that moment of the platform's clock; None: until somebody resets it.
    standing
        The trip in force that denied it.
    """

    state: IntentState
    code: str
    message: str
    trip: str = ""
    account_wide: bool = False
    lasts: bool = False
    until: datetime | None = None
    standing: TripRecord | None = None


def keep_trip(work: Transaction, intent: IntentRecord, refusal: Refusal, market_time: datetime) -> None:
    """Write the trip of a refusal, if a guardrail made it; one that stands already counts one denial more."""
    if refusal.standing is not None:
        work.put_trip(replace(refusal.standing, denied_count=refusal.standing.denied_count + 1))
    elif refusal.trip:
        work.put_trip(
            TripRecord(
                trip_id=uuid4(),
                account_id=intent.account_id,
                live_run_id=None if refusal.account_wide else intent.live_run_id,
                rule=refusal.trip,
                symbol="" if refusal.lasts else intent.symbol,
                reason=refusal.message,
                tripped_at=market_time,
                until=refusal.until if refusal.lasts else market_time,
            )
        )


def concerns(trip: TripRecord, live_run_id: UUID | None, symbol: str) -> bool:
    """Whether a trip is about entries of this run in this symbol."""
    return trip.live_run_id in (None, live_run_id) and trip.symbol in ("", symbol)

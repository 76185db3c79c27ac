"""What a process does with an account before it accepts anything new: take over from a dead one, resolve, read the book.

Fail-closed: a read that does not complete raises, and the desk is not opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, cast, runtime_checkable
from uuid import UUID

from toolkit.clock import Clock, from_ns
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import IntentRecord, LeaseRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ledger.submit import move
from toolkit.execution.ports import ReplayVenue, TradingPlatform
from toolkit.execution.trade_service import TradeService
from toolkit.live.feed import FeedSpec, load_replay
from toolkit.live.stepping.run_state import decode
from toolkit.store.runs import RunRecord


@runtime_checkable
class ExclusiveVenue(Protocol):
    """A platform whose journal only one process can have open, and which knows every command that ever reached it.

    Holding such a venue proves that the process which held the account before is dead, so its lease need not run out, and
    a command that the venue does not know has not been accepted.
    """

    def has_received(self, tag_text: str) -> bool:
        """Tell whether a command with this tag was ever carried out or still will be."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found in flight when the account was taken over, by intent."""

    given_back: tuple[UUID, ...] = ()  # claimed or sending, provably never accepted: NEW again
    unknown: tuple[UUID, ...] = ()  # the platform has to be asked


def prepare_venue(home: Path, platform: TradingPlatform, runs: Iterable[RunRecord]) -> None:
    """Give a paper venue the prices of every run of the account that is under way, and set its clock where they stand.

    A venue prices its positions by the replays; without them not even its book can be read.
    """
    if not isinstance(platform, ExclusiveVenue):
        return
    clock_ns = 0
    for run in runs:
        feed = FeedSpec.from_dict(json.loads(run.feed_json))
        if feed.kind == "replay":
            load_replay(home, platform, feed)
            clock_ns = max(clock_ns, decode(run.state)[0].clock_ns)
    if clock_ns:
        # After a kill the clock may stand a little earlier than the runs do; what falls due on the way is the same again.
        cast("ReplayVenue", platform).advance_clock_to(from_ns(clock_ns))


def recover(service: TradeService, clock: Clock) -> Recovery:
    """Take an account over and settle what its last owner left half-way.

    Raises
    ------
    LeaseLost
        When another live process owns the account.
    PlatformError
        When the platform cannot be read completely.
    """
    venue = service.platform if isinstance(service.platform, ExclusiveVenue) else None
    if venue is not None:
        _end_dead_lease(service)
    service.lease.ensure(service.policy.send_budget_seconds)
    given_back: list[UUID] = []
    unknown: list[UUID] = []
    with service.store.begin(service.principal) as work:
        now = clock.now()
        for intent in work.intents_in(service.account_id, [IntentState.CLAIMED, IntentState.SENDING]):
            if intent.lease_owner == service.worker:
                continue
            back = _settle(work, service, venue, intent, now)
            (given_back if back else unknown).append(intent.intent_id)
        work.commit()
    service.sync_book()
    return Recovery(tuple(given_back), tuple(unknown))


def _settle(
    work: Transaction, service: TradeService, venue: ExclusiveVenue | None, intent: IntentRecord, now: datetime
) -> bool:
    """Move one orphan on; return whether it is NEW again."""
    if intent.state is IntentState.CLAIMED:
        why = "its worker is gone, nothing was sent"
        move(work, intent, IntentState.NEW, actor=service.worker, now=now, detail=why, new_token=True)
        return True
    if venue is not None and not venue.has_received(intent.client_tag):
        why = "its worker is gone and the venue never received it"
        work.update_order(intent.intent_id, intent.attempt, {"outcome": "NOT_SENT", "message": why})
        move(work, intent, IntentState.NEW, actor=service.worker, now=now, detail=why, new_token=True)
        return True
    move(
        work,
        intent,
        IntentState.UNKNOWN,
        actor=service.worker,
        now=now,
        detail="its worker is gone after the point of no return",
        new_token=True,
        unknown_since=now,
    )
    if not intent.action.is_entry and venue is not None:
        # An exit names a target: asked again, it finds the position gone and sends nothing.
        fresh = cast("IntentRecord", work.intent(intent.intent_id))
        move(
            work, fresh, IntentState.NEW, actor=service.worker, now=now, detail="an exit is asked again", new_token=True
        )
        return True
    return False


def _end_dead_lease(service: TradeService) -> None:
    with service.store.begin(service.principal) as work:
        row = work.lease(service.account_id)
        if row is not None and row.owner and row.owner != service.worker:
            work.put_lease(LeaseRecord(account_id=row.account_id, owner="", token=row.token, until=None))
            work.commit()

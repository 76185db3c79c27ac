"""Entries that waited too long, or behind too many others: they expire where they stand, none is ever sent late."""

from __future__ import annotations

from uuid import UUID

from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.submit import move
from toolkit.execution.sending.context import ServiceContext

_MANY = 100_000


def expire_overdue(c: ServiceContext, limit: int) -> list[UUID]:
    """Expire the account's NEW entries whose time has passed on the platform's clock, and those beyond ``limit``.

    Exits are never expired: they make a position smaller, however late.

    Returns
    -------
    list of UUID
        Intents that were expired.
    """
    with c.store.begin(c.principal, write=False) as work:
        waiting = [i for i in work.intents_in(c.account_id, {IntentState.NEW}) if i.action.is_entry]
    if not waiting:
        return []
    market_now = c.platform.now()
    doomed: list[tuple[IntentRecord, str, str]] = []
    for place, intent in enumerate(waiting):
        if intent.valid_until is not None and market_now > intent.valid_until:
            said = f"valid until {intent.valid_until.isoformat()}, the platform says {market_now.isoformat()}"
            doomed.append((intent, "expired", f"{said}: it was never handed over in time"))
        elif place >= limit:
            said = f"{limit} entries of the account wait already (SEATRIAL_OUTBOX_LIMIT)"
            doomed.append((intent, "outbox_full", f"{said}: a later signal is worth more than a late order"))
    if not doomed:
        return []
    c.lease.ensure(c.policy.send_budget_seconds)
    expired: list[UUID] = []
    now = c.clock.now()
    with c.writing() as work:
        c.lease.check(work, 0)
        for intent, code, message in doomed:
            fresh = c.fresh(work, intent.intent_id)
            if fresh.state is not IntentState.NEW:
                continue
            after = move(work, fresh, IntentState.EXPIRED, actor=c.worker, now=now, detail=message, reason=code)
            c.tell(work, after, "entry_refused", message, "warning", market_now, now, code=code)
            expired.append(intent.intent_id)
        for row in work.unpublished(c.account_id, _MANY):
            if row.intent_id in expired:
                work.mark_published(row.outbox_id, now)
        work.commit()
    return expired

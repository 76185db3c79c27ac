"""Resetting a guardrail and releasing an abandoned intent: a person looked, decides, and is named in the audit trail."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from toolkit.errors import Forbidden, IllegalTransition, NotFound
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import IntentRecord, RunEventRecord
from toolkit.execution.ledger.submit import move
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.store import audit
from toolkit.store.accounts import may_act, may_see
from toolkit.store.intents import SqlTransaction
from toolkit.store.models import GuardrailTrip

_TRIPS: Any = GuardrailTrip.__table__


def reset_trip(engine: Engine, principal: Principal, trip_id: UUID, note: str = "") -> None:
    """Let a tripped guardrail allow entries again; a rule that is still broken trips at the next entry.

    Raises
    ------
    NotFound
        When there is no such trip that the principal may see.
    Forbidden
        When it may not trade on the account; the attempt is audited.
    """
    now = engine.now()
    with engine.work(principal) as work:
        db = work.connection
        trip = db.execute(select(_TRIPS).where(_TRIPS.c.trip_id == trip_id)).first()
        if trip is None or not may_see(db, principal, trip.account_id):
            raise NotFound(f"guardrail trip {trip_id} is not there, or not visible to you")
        if not may_act(db, principal, trip.account_id):
            audit.append(db, now, principal, "guardrail.refused", str(trip_id), "reset")
            work.commit()
            raise Forbidden(f"{principal.name} may not reset a guardrail of account {trip.account_id}: ask its owner")
        if trip.reset_at is not None:
            return
        db.execute(
            update(_TRIPS)
            .where(_TRIPS.c.trip_id == trip_id, _TRIPS.c.reset_at.is_(None))
            .values(reset_at=now, reset_by=principal.name)
        )
        audit.append(db, now, principal, "guardrail.reset", str(trip_id), f"{trip.rule} {note}".strip())
        message = f"guardrail {trip.rule} reset by {principal.name}{': ' + note if note else ''}"
        SqlTransaction(work).add_run_event(
            RunEventRecord(
                live_run_id=trip.live_run_id, account_id=trip.account_id, intent_id=None, kind="guardrail_reset",
                level="warning", message=message, market_time=None, at=now,
            )
        )  # fmt: skip
        work.commit()


def release_intent(engine: Engine, principal: Principal, intent_id: UUID, note: str) -> IntentRecord:
    """Free the guardrail slot of an ABANDONED entry, by a person who looked at the platform.

    Raises
    ------
    NotFound
        When there is no such intent on an account that the principal may see.
    Forbidden
        When the principal is no person or may not trade on the account; the attempt is audited.
    IllegalTransition
        When the intent is not ABANDONED.
    """
    now = engine.now()
    with engine.store.begin(principal) as work:
        intent = work.intent(intent_id)
        if intent is None or not _sees(engine, principal, intent.account_id):
            raise NotFound(f"intent {intent_id} is not there, or not visible to you")
        if principal.kind != "human" or not work.may_act(intent.account_id, principal):
            work.add_audit(now, principal, "intent.refused", str(intent_id), "release")
            work.commit()
            raise Forbidden(f"{principal.name} may not release intents of account {intent.account_id}: ask its owner")
        if intent.state is not IntentState.ABANDONED:
            raise IllegalTransition(f"only an ABANDONED intent can be released, {intent_id} is {intent.state.value}")
        after = move(work, intent, IntentState.RELEASED, actor=principal.name, now=now, detail=note, new_token=True)
        work.add_audit(now, principal, "intent.release", str(intent_id), note)
        work.add_run_event(
            RunEventRecord(
                live_run_id=intent.live_run_id, account_id=intent.account_id, intent_id=intent_id,
                kind="intent_released", level="warning", message=f"released by {principal.name}: {note}",
                market_time=None, at=now,
            )
        )  # fmt: skip
        work.commit()
    return after


def _sees(engine: Engine, principal: Principal, account_id: UUID) -> bool:
    with engine.work(principal, write=False) as work:
        return may_see(work.connection, principal, account_id)

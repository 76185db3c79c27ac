"""Releasing an abandoned intent: a person looked, decides, and is named in the audit trail."""

from __future__ import annotations

from uuid import UUID

from toolkit.errors import BadInput, Forbidden, NotFound, must_be
from toolkit.execution.ledger.records import IntentRecord, RunEventRecord
from toolkit.execution.principal import Principal
from toolkit.execution.recovery.kill_switch import let_go
from toolkit.live.engine import Engine
from toolkit.store.people.accounts import may_see


def release_intent(engine: Engine, principal: Principal, intent_id: UUID, note: str) -> IntentRecord:
    """Free the slot of an ABANDONED entry, or take back an exit that waits, by a person who looked at the platform.

    Parameters
    ----------
    note
        What was seen at the platform; kept in the audit trail, so it may not be empty.

    Raises
    ------
    BadInput
        When there is no note.
    NotFound
        When there is no such intent on an account that the principal may see.
    Forbidden
        When the principal is no person or may not trade on the account; the attempt is audited.
    IllegalTransition
        When the intent is neither.
    """
    if not note.strip():
        raise BadInput(must_be("reason of a release", "given", "empty", "say what you saw at the platform"))
    now = engine.now()
    with engine.store.begin(principal) as work:
        intent = work.intent(intent_id)
        if intent is None or not _sees(engine, principal, intent.account_id):
            raise NotFound(f"intent {intent_id} is not there, or not visible to you")
        if principal.kind != "human" or not work.may_act(intent.account_id, principal):
            work.add_audit(now, principal, "intent.refused", str(intent_id), "release")
            work.commit()
            raise Forbidden(f"{principal.name} may not release intents of account {intent.account_id}: ask its owner")
        after = let_go(work, intent, principal, now, note)
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

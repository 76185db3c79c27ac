"""Putting an intent into the store: once per key, with its history and its outbox row in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from toolkit.errors import Forbidden, IdempotencyConflict, LostRace, RequestError, must_be
from toolkit.execution.builder import BuiltTrade
from toolkit.execution.idempotency import client_tag, payload_hash
from toolkit.execution.intents import Action, IntentState, check_transition
from toolkit.execution.ledger.records import IntentEventRecord, IntentRecord
from toolkit.execution.ledger.results import intent_result, is_told
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.principal import Principal
from toolkit.execution.request import REQUEST_OF_ACTION, AnyRequest, request_from_json


def make_intent(
    request: AnyRequest,
    *,
    action: Action,
    key: str,
    fingerprint: str,
    principal: Principal,
    now: datetime,
    bar_time: datetime | None = None,
    ordinal: int = 0,
    valid_until: datetime | None = None,
    lots: Decimal | None = None,
    sl_policy: str = "reject",
    terms: Mapping[str, Any] | None = None,
) -> IntentRecord:
    """Make the row of a request; nothing is written yet.

    Parameters
    ----------
    key, fingerprint
        From `toolkit.execution.idempotency`; the request's own ``idempotency_key``, if set, must be the same.
    now
        Our own clock.

    Raises
    ------
    RequestError
        When the request does not fit the action or carries another key.
    """
    if not isinstance(request, REQUEST_OF_ACTION[action.value]):
        raise RequestError(
            must_be(
                f"request of {action.value}",
                REQUEST_OF_ACTION[action.value].__name__,
                type(request).__name__,
                "match them",
            )
        )
    if request.idempotency_key is None:
        request = request.model_copy(update={"idempotency_key": key})
    elif request.idempotency_key != key:
        raise RequestError(
            must_be("idempotency_key", f"the key {key} of the signal", request.idempotency_key, "use one key")
        )
    tag = client_tag(key)
    return IntentRecord(
        intent_id=uuid4(),
        account_id=request.account_id,
        live_run_id=request.metadata.live_run_id,
        action=action,
        symbol=request.symbol,
        side=request.direction,
        signal_id=request.metadata.signal_id or "",
        bar_time=bar_time,
        ordinal=ordinal,
        payload_json=request.to_json(),
        payload_hash=payload_hash(action.value, request.symbol, request.direction, fingerprint),
        idempotency_key=key,
        client_tag=tag.text,
        magic=tag.magic,
        lots=lots,
        sl_policy=sl_policy,
        terms=dict(terms or {}),
        valid_until=valid_until,
        created_by=principal.user_id,
        created_at=now,
        updated_at=now,
    )


def make_entry(
    built: BuiltTrade,
    *,
    key: str,
    fingerprint: str,
    principal: Principal,
    now: datetime,
    bar_time: datetime | None = None,
    ordinal: int = 0,
) -> IntentRecord:
    """Make the row of a built entry, with the terms the builder recorded."""
    return make_intent(
        built.request,
        action=Action.OPEN_TRADE,
        key=key,
        fingerprint=fingerprint,
        principal=principal,
        now=now,
        bar_time=bar_time,
        ordinal=ordinal,
        valid_until=built.valid_until,
        lots=built.lots,
        sl_policy=built.sl_policy,
        terms=built.terms,
    )


@dataclass(frozen=True, slots=True)
class Submitted:
    """The intent in the store, and whether this call created it."""

    intent: IntentRecord
    created: bool


def submit(work: Transaction, intent: IntentRecord, principal: Principal) -> Submitted:
    """Write an intent unless its key is known, with its first history row and its outbox pointer.

    The caller commits, together with whatever belongs to the same moment (a run's cursor).

    Raises
    ------
    Forbidden
        When the principal may not act on the account.
    IdempotencyConflict
        When the key is known for another payload.
    """
    known = work.intent_by_key(intent.account_id, intent.idempotency_key)
    if known is not None:
        if known.payload_hash != intent.payload_hash:
            raise IdempotencyConflict(
                f"idempotency key {intent.idempotency_key} of {intent.action} {intent.symbol} is taken by intent "
                f"{known.intent_id} with another payload: the same signal must say the same thing"
            )
        return Submitted(known, created=False)
    if not work.may_act(intent.account_id, principal):
        raise Forbidden(f"{principal.name} may not trade on account {intent.account_id}: ask its owner for a grant")
    if intent.action is Action.MODIFY_SLTP:
        _supersede(work, intent, principal)
    work.insert_intent(intent)
    work.append_event(
        IntentEventRecord(
            intent_id=intent.intent_id,
            seq=intent.version,
            from_state="",
            to_state=intent.state.value,
            actor=principal.name,
            token=intent.token,
            at=intent.created_at,
        )
    )
    work.add_outbox(intent.account_id, intent.intent_id, intent.idempotency_key, "", intent.created_at)
    return Submitted(intent, created=True)


def _supersede(work: Transaction, newer: IntentRecord, principal: Principal) -> None:
    """Take back levels that wait for a closed market: sent after the newer ones they would undo them."""
    position = target_of(newer)
    for older in work.intents_in(newer.account_id, [IntentState.NEW]):
        if older.waits and older.action is newer.action and target_of(older) == position:
            detail = f"superseded by intent {newer.intent_id}"
            move(work, older, IntentState.CANCELLED, actor=principal.name, now=newer.created_at, detail=detail,
                 reason="superseded")  # fmt: skip


def target_of(intent: IntentRecord) -> str | None:
    """Return the position or the pending order that an exit was made for; None for entries."""
    request = request_from_json(intent.action.value, intent.payload_json)
    target: str | None = getattr(request, "position_id", None) or getattr(request, "order_id", None)
    return target


def move(
    work: Transaction,
    before: IntentRecord,
    to: IntentState,
    *,
    actor: str,
    now: datetime,
    detail: str = "",
    new_token: bool = False,
    **changes: Any,
) -> IntentRecord:
    """Change an intent's state: one compare-and-set on state, token and version, and one row of history.

    Parameters
    ----------
    new_token
        Take the next fencing token, so that whoever held the old one can no longer write.
    changes
        Other columns that change with the state.

    Raises
    ------
    IllegalTransition
        When the table does not join the two states.
    LostRace
        When somebody else changed the row meanwhile.
    """
    check_transition(before.action, before.state, to, was_sent=before.was_sent)
    after = replace(
        before,
        state=to,
        token=before.token + (1 if new_token else 0),
        version=before.version + 1,
        updated_at=now,
        **changes,
    )
    if not work.replace_intent(before, after):
        raise LostRace(
            f"intent {before.intent_id} was no longer {before.state.value} with token {before.token}: "
            "another worker has it, stop"
        )
    work.append_event(
        IntentEventRecord(
            intent_id=before.intent_id,
            seq=after.version,
            from_state=before.state.value,
            to_state=to.value,
            actor=actor,
            token=after.token,
            at=now,
            detail=detail,
        )
    )
    if is_told(to):
        work.add_result(before.account_id, before.intent_id, intent_result(after, before.state, now, detail), now)
    return after


def amend(work: Transaction, before: IntentRecord, *, now: datetime, **changes: Any) -> IntentRecord:
    """Change columns of an intent without changing its state; compare-and-set like `move`, no history row.

    Raises
    ------
    LostRace
        When somebody else changed the row meanwhile.
    """
    after = replace(before, version=before.version + 1, updated_at=now, **changes)
    if not work.replace_intent(before, after):
        raise LostRace(f"intent {before.intent_id} was changed by another worker, stop")
    return after


__all__ = ["Submitted", "amend", "make_entry", "make_intent", "move", "submit", "target_of"]

"""The guards of an account and the trips of all guards: shown, set and reset by people, audited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from toolkit.errors import Forbidden, NotFound, must_be
from toolkit.execution.guarding.checks import ACCOUNT_SCOPE, account_guards_from_json
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.risk import guard_rules as rules
from toolkit.risk.account_guards import AccountGuards
from toolkit.risk.guardrails import GUARD_REASONS
from toolkit.store.intents import SqlTransaction
from toolkit.store.people import audit
from toolkit.store.people.accounts import Accounts, may_act
from toolkit.store.reading.queries import ReadSide
from toolkit.store.reading.records import TripRow
from toolkit.store.sql.models import Account, EquityMark, GuardrailTrip
from toolkit.store.sql.unit_of_work import UnitOfWork

_ACCOUNTS: Any = Account.__table__
_TRIPS: Any = GuardrailTrip.__table__
_MARKS: Any = EquityMark.__table__
_DRAWDOWN = GUARD_REASONS[rules.DRAWDOWN]


def account_guards(engine: Engine, principal: Principal, account_id: UUID) -> AccountGuards:
    """Return the guards of an account; all off when none were ever set."""
    with engine.work(principal, write=False) as work:
        account_id = Accounts(work.connection, principal).get(account_id).account_id
        query = select(_ACCOUNTS.c.guards_json).where(_ACCOUNTS.c.account_id == account_id)
        return account_guards_from_json(str(work.connection.execute(query).scalar_one()))


def set_account_guards(engine: Engine, principal: Principal, account_id: UUID, guards: AccountGuards) -> None:
    """Replace the guards of an account; they count from the next entry on, whoever executes it.

    Raises
    ------
    Forbidden
        When the principal does not own the account.
    """
    text = json.dumps(guards.facts(), sort_keys=True) if guards.facts() else ""
    with engine.work(principal) as work:
        accounts = Accounts(work.connection, principal)
        account = accounts.get(account_id)
        if account.owner_id != principal.user_id or not may_act(work.connection, principal, account_id):
            raise Forbidden(f"guards of {account.name} are set by its owner, {principal.name} is not: ask its owner")
        before = work.connection.execute(
            select(_ACCOUNTS.c.guards_json).where(_ACCOUNTS.c.account_id == account_id)
        ).scalar_one()
        work.connection.execute(update(_ACCOUNTS).where(_ACCOUNTS.c.account_id == account_id).values(guards_json=text))
        detail = f"{before or 'none'} -> {text or 'none'}"
        audit.append(work.connection, engine.now(), principal, "account.guards", str(account_id), detail)
        work.commit()


def guardrail_trips(
    engine: Engine, principal: Principal, *, account_id: UUID | None = None, active: bool = True
) -> list[TripRow]:
    """Return trips on the accounts this principal sees, newest first.

    Parameters
    ----------
    active
        Only those that go on denying entries: not reset, and without an end or with one that may still lie ahead.
    """
    rows = [t for t in ReadSide(engine.database).trips(principal) if account_id in (None, t.account_id)]
    return [t for t in rows if _goes_on(t)] if active else rows


def reset_trips(
    engine: Engine, principal: Principal, account_id: UUID, *, rule: str | None = None, live_run_id: UUID | None = None
) -> list[UUID]:
    """Lift trips that hold on; a person who has looked decides, and it is audited.

    A rule that ends with the day rests until then. A drawdown rests to the end of the day as well, and is measured anew from
    the equity at the start of the next one.

    Parameters
    ----------
    rule, live_run_id
        Only trips of this rule, of this run; all that hold on when left out.

    Returns
    -------
    list of UUID
        The trips that were reset.

    Raises
    ------
    Forbidden
        When the principal is no person or may not act on the account.
    NotFound
        When no such trip is in force.
    """
    now = engine.now()
    with engine.work(principal) as work:
        account = Accounts(work.connection, principal).get(account_id)
        if principal.kind != "human" or not may_act(work.connection, principal, account_id):
            raise Forbidden(f"{principal.name} may not reset guardrails of {account.name}: its owner decides")
        found = [t for t in _standing(work, account_id) if rule in (None, t.rule)]
        found = [t for t in found if live_run_id in (None, t.live_run_id)]
        if not found:
            raise NotFound(
                must_be(f"trip of {account.name}", "in force to be reset", rule or "none at all", "list them first")
            )
        for trip in found:
            ends = trip.until
            if trip.rule == _DRAWDOWN:
                _measure_anew(work, account_id, trip.live_run_id)
                ends = trip.tripped_at
            work.connection.execute(
                update(_TRIPS)
                .where(_TRIPS.c.trip_id == trip.trip_id)
                .values(reset_at=now, reset_by=principal.name, until=ends)
            )
            whose = "account" if trip.live_run_id is None else f"run {trip.live_run_id}"
            audit.append(work.connection, now, principal, "guardrail.reset", str(account_id), f"{trip.rule} of {whose}")
        work.commit()
    return [trip.trip_id for trip in found]


def _standing(work: UnitOfWork, account_id: UUID) -> Sequence[Any]:
    """Return trips that hold on and were not reset; by their length, because the platform's clock is not asked here."""
    query = select(_TRIPS).where(_TRIPS.c.account_id == account_id, _TRIPS.c.reset_at.is_(None))
    return [row for row in work.connection.execute(query.order_by(_TRIPS.c.tripped_at)) if _lasts(row)]


def _goes_on(trip: TripRow) -> bool:
    return trip.reset_at is None and _lasts(trip)


def _lasts(trip: Any) -> bool:
    return trip.until is None or bool(trip.until > trip.tripped_at)


def _measure_anew(work: UnitOfWork, account_id: UUID, live_run_id: UUID | None) -> None:
    """Forget the peak; the start of the next day is the first of the new ones."""
    scope = ACCOUNT_SCOPE if live_run_id is None else str(live_run_id)
    mark = SqlTransaction(work).equity_mark(account_id, scope)
    if mark is not None:
        work.connection.execute(
            update(_MARKS)
            .where(_MARKS.c.account_id == account_id, _MARKS.c.scope == scope, _MARKS.c.day == mark.day)
            .values(peak_equity=Decimal(0))
        )

"""What a principal may do with an account; the page asks it which buttons to show, the actions check it again themselves."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.store.people.accounts import Accounts, may_act, may_halt, role_of


@dataclass(frozen=True, slots=True)
class Rights:
    """A principal's rights on one account, at one moment.

    Attributes
    ----------
    role
        viewer, trader or admin.
    act
        May start, stop and trade there.
    halt
        May throw the kill switch.
    own
        May release the kill switch, arm, grant and change the gateway.
    """

    role: str
    act: bool
    halt: bool
    own: bool


def rights_on(engine: Engine, principal: Principal, account_id: UUID) -> Rights:
    """Return the principal's rights on an account; ``NotFound`` when it may not even see it."""
    with engine.work(principal, write=False) as work:
        account = Accounts(work.connection, principal).get(account_id)
        role = role_of(work.connection, principal)
        acts = may_act(work.connection, principal, account_id)
        return Rights(
            role=role, act=acts, halt=may_halt(work.connection, principal, account_id),
            own=acts and account.owner_id == principal.user_id,
        )  # fmt: skip

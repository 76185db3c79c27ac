"""What may be done with a row of a list: accounts, trips, intents, dead letters, users."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import panel_material_ui as pmui

from panel_app.actions.asking import Action
from panel_app.actions.runs import halt_actions
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.operate import by_hand, users
from toolkit.live.operate.rights import rights_on
from toolkit.live.outside.dead_letters import DeadLetter, drop_dead_letter, replay_dead_letter
from toolkit.live.safety.guards import reset_trips
from toolkit.store.people.operations import Operations, UserRow
from toolkit.store.people.users import ROLES
from toolkit.store.reading.records import AccountRow, IntentRow, TripRow


def account_actions(engine: Engine, principal: Principal, row: AccountRow) -> list[Action]:
    """Return the kill switch of an account."""
    return halt_actions(engine, principal, row.account_id, row.name, halted=row.halted_at is not None)


def trip_actions(engine: Engine, principal: Principal, row: TripRow) -> list[Action]:
    """Return the reset of a guardrail that was tripped and not reset yet."""
    if row.reset_at is not None or not rights_on(engine, principal, row.account_id).act:
        return []

    def reset(_given: Any) -> None:
        reset_trips(engine, principal, row.account_id, rule=row.rule, live_run_id=row.live_run_id)

    question = f"Let {row.rule} on {row.account} allow entries again? If it is still broken it trips anew."
    return [Action("Reset guardrail", question, reset)]


def intent_actions(engine: Engine, principal: Principal, row: IntentRow) -> list[Action]:
    """Return the release of an abandoned intent."""
    if row.state != "ABANDONED" or not rights_on(engine, principal, row.account_id).act:
        return []
    question = (
        f"Release {row.action} {row.side} {row.symbol} on {row.account}? Do it only after looking at the platform: "
        "its guardrail slot becomes free. Late evidence still adopts it."
    )

    def release(given: Any) -> None:
        by_hand.release_intent(engine, principal, row.intent_id, str(given["note"] or ""))

    return [Action("Release intent", question, release, form=_note("not at the platform"), danger=True)]


def letter_actions(engine: Engine, principal: Principal, account_id: UUID, row: DeadLetter) -> list[Action]:
    """Return replay and drop of a dead letter."""
    if not rights_on(engine, principal, account_id).act:
        return []

    def replay(_given: Any) -> str:
        again = replay_dead_letter(engine, principal, account_id, row.message_id)
        return "its intent goes out again" if again else "its intent needed nothing any more"

    question = "Point at its intent again? The intent's row decides whether anything is left to do."
    return [
        Action("Replay dead letter", question, replay),
        Action("Drop dead letter", "Remove it for good?",
               lambda _: drop_dead_letter(engine, principal, account_id, row.message_id), danger=True),
    ]  # fmt: skip


def user_actions(engine: Engine, principal: Principal, row: UserRow) -> list[Action]:
    """Return the change of a user's role, for an admin."""
    if Operations(engine.database).role(principal) != "admin" or row.kind != "human":
        return []
    return [_make(engine, principal, row, role) for role in ROLES if role != row.role]


def _make(engine: Engine, principal: Principal, row: UserRow, role: str) -> Action:
    question = f"Make {row.name}, a {row.role} now, a {role}? It holds from the next thing they ask for."
    return Action(
        f"Make {role}", question, lambda _: users.change_role(engine, principal, row.name, role), danger=role == "admin"
    )


def new_user_actions(engine: Engine, principal: Principal) -> list[Action]:
    """Return the button that adds a user with a password, for an admin."""
    if Operations(engine.database).role(principal) != "admin":
        return []

    def add(given: Any) -> str:
        from toolkit.errors import BadInput, must_be
        from toolkit.store.people.passwords import SHORTEST, password_file

        password = str(given["password"] or "")
        if len(password) < SHORTEST:
            raise BadInput(must_be("password", f"at least {SHORTEST} characters", len(password), "choose a longer one"))
        made = users.add_user(engine, principal, str(given["name"] or ""), str(given["role"]))
        password_file(engine.settings).set(made.name, password)
        return f"{made.name} may log in"

    def form() -> dict[str, Any]:
        return {
            "name": pmui.TextInput(label="Name", size="small"),
            "role": pmui.Select(label="Role", options=list(ROLES), value="viewer", size="small"),
            "password": pmui.PasswordInput(label="Password", size="small"),
        }

    return [Action("Add a user", "Add a person? They see only what is theirs or granted to them.", add, form=form)]


def _note(value: str) -> Any:
    return lambda: {"note": pmui.TextInput(label="Note for the audit trail", value=value, size="small")}

"""Roles: viewers look, traders act on their accounts, admins see all and manage users."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import update

from toolkit.bootstrap import build
from toolkit.errors import BadInput, Forbidden, NotFound
from toolkit.live import live_runs
from toolkit.live.opening.paper_accounts import open_paper_account
from toolkit.live.operate.rights import rights_on
from toolkit.live.operate.users import add_user, change_role
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.intents import SqlTransaction
from toolkit.store.people.accounts import Accounts, may_act, may_see
from toolkit.store.people.operations import Operations
from toolkit.store.reading.queries import ReadSide
from toolkit.store.sql.models import User


@pytest.fixture
def engine(tmp_path: Path):  # type: ignore[no-untyped-def]
    """An installation with one paper account of the local user."""
    made = build(Settings(home=tmp_path, database_url="", gateway="local"))  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.fixture
def account(engine):  # type: ignore[no-untyped-def]
    """The paper account."""
    return open_paper_account(engine, "paper-1", PaperAccount(currency="USD", balance=10_000, leverage=30))


def _grant(engine, account, to):  # type: ignore[no-untyped-def]
    with engine.work() as work:
        Accounts(work.connection, engine.principal).grant(account.account_id, to, engine.now())
        work.commit()


def test_the_user_of_this_machine_is_admin_and_others_are_traders(engine) -> None:  # type: ignore[no-untyped-def]
    """Whoever works on the machine administers it; a new user trades unless told otherwise."""
    add_user(engine, engine.principal, "anna")
    roles = {user.name: user.role for user in Operations(engine.database).users(engine.principal)}
    assert roles == {"local": "admin", "anna": "trader", "service": "trader"}


def test_a_granted_viewer_sees_the_account_and_changes_nothing(engine, account) -> None:  # type: ignore[no-untyped-def]
    """Reading works; halt, arm and intents are refused, in the store and in the intent store alike."""
    viewer = add_user(engine, engine.principal, "vera", "viewer")
    _grant(engine, account, viewer)
    assert [row.name for row in ReadSide(engine.database).accounts(viewer)] == ["paper-1"]
    with engine.work(viewer, write=False) as work:
        assert may_see(work.connection, viewer, account.account_id)
        assert not may_act(work.connection, viewer, account.account_id)
        assert not SqlTransaction(work).may_act(account.account_id, viewer)
    with pytest.raises(Forbidden, match="a viewer only looks"):
        live_runs.halt_account(engine, viewer, account.account_id)
    rights = rights_on(engine, viewer, account.account_id)
    assert (rights.act, rights.halt, rights.own) == (False, False, False)


def test_a_role_holds_from_the_next_question_on(engine, account) -> None:  # type: ignore[no-untyped-def]
    """A trader made viewer can act no more, with the same principal object in hand."""
    trader = add_user(engine, engine.principal, "tom")
    _grant(engine, account, trader)
    live_runs.halt_account(engine, trader, account.account_id, reason="test")
    change_role(engine, engine.principal, "tom", "viewer")
    with pytest.raises(Forbidden):
        live_runs.halt_account(engine, trader, account.account_id, reason="test")


def test_an_owner_who_is_viewer_may_not_release_the_kill_switch(engine, account) -> None:  # type: ignore[no-untyped-def]
    """Owning an account does not help a viewer."""
    add_user(engine, engine.principal, "boss", "admin")
    live_runs.halt_account(engine, engine.principal, account.account_id)
    change_role(engine, engine.principal, "local", "viewer")
    with pytest.raises(Forbidden, match="a viewer only looks"):
        live_runs.resume_account(engine, engine.principal, account.account_id)


def test_an_admin_sees_and_halts_a_foreign_account_and_trades_on_it_no_more_than_before(engine, account) -> None:  # type: ignore[no-untyped-def]
    """The kill switch is everybody's duty; orders, the release and arming stay with the owner."""
    admin = add_user(engine, engine.principal, "ada", "admin")
    assert [row.name for row in ReadSide(engine.database).accounts(admin)] == ["paper-1"]
    live_runs.halt_account(engine, admin, account.account_id, reason="drill")
    with pytest.raises(Forbidden):
        live_runs.resume_account(engine, admin, account.account_id)
    with engine.work(admin, write=False) as work:
        assert not may_act(work.connection, admin, account.account_id)
    rights = rights_on(engine, admin, account.account_id)
    assert (rights.act, rights.halt, rights.own) == (False, True, False)


def test_a_trader_neither_sees_a_foreign_account_nor_other_users(engine, account) -> None:  # type: ignore[no-untyped-def]
    """What is not his is not there."""
    stranger = add_user(engine, engine.principal, "eve")
    assert ReadSide(engine.database).accounts(stranger) == []
    assert [user.name for user in Operations(engine.database).users(stranger)] == ["eve"]
    with pytest.raises(NotFound):
        rights_on(engine, stranger, account.account_id)
    with pytest.raises(NotFound):
        live_runs.halt_account(engine, stranger, account.account_id)


@pytest.mark.parametrize("role", ["viewer", "trader"])
def test_only_an_admin_manages_users_and_a_refusal_is_audited(engine, role: str) -> None:  # type: ignore[no-untyped-def]
    """Nobody raises himself; the attempt stays on record."""
    someone = add_user(engine, engine.principal, "sam", role)
    for attempt in (
        lambda: change_role(engine, someone, "sam", "admin"),
        lambda: add_user(engine, someone, "friend", "admin"),
    ):
        with pytest.raises(Forbidden, match="ask an admin"):
            attempt()
    assert Operations(engine.database).role(someone) == role
    lines = Operations(engine.database).audit(engine.principal)
    assert [(line.principal, line.action) for line in lines[:2]] == [("sam", "user.refused")] * 2
    assert {line.principal for line in Operations(engine.database).audit(someone)} == {"sam"}


def test_the_last_admin_stays_and_bad_names_are_refused(engine) -> None:  # type: ignore[no-untyped-def]
    """An installation without an admin, a doubled name, an unknown role and the service principal's role are refused."""
    me = engine.principal
    for attempt, words in (
        (lambda: change_role(engine, me, "local", "viewer"), "admins must be at least one"),
        (lambda: add_user(engine, me, "local"), "user name must be new"),
        (lambda: add_user(engine, me, " x "), "user name must be"),
        (lambda: add_user(engine, me, "x", "king"), "role must be one of viewer, trader, admin"),
    ):
        with pytest.raises(BadInput, match=words):
            attempt()
    with pytest.raises(Forbidden, match="workers act as"):
        change_role(engine, me, "service", "admin")


def test_the_database_takes_no_other_role(engine) -> None:  # type: ignore[no-untyped-def]
    """The check constraint stands in a migrated database too."""
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError), engine.database.begin() as connection:
        connection.execute(update(User).values(role="king"))


def test_somebody_without_a_row_may_look_only(engine, account) -> None:  # type: ignore[no-untyped-def]
    """A principal whose user is gone is treated as a viewer of nothing."""
    from toolkit.execution.principal import Principal

    ghost = Principal(uuid4(), "ghost")
    assert Operations(engine.database).role(ghost) == "viewer"
    assert ReadSide(engine.database).accounts(ghost) == []

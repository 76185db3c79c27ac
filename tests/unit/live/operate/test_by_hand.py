"""What an operator does by hand: reset a guardrail, release an intent; checked, audited, refused to viewers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from toolkit import clock
from toolkit.bootstrap import build
from toolkit.errors import Forbidden, IllegalTransition, NotFound
from toolkit.live.operate.by_hand import release_intent, reset_trip
from toolkit.live.operate.dead_letters import dead_letters
from toolkit.live.operate.users import add_user
from toolkit.settings import Settings
from toolkit.store import models as m
from toolkit.store.accounts import Accounts
from toolkit.store.operations import Operations
from toolkit.store.queries import ReadSide

ROOT = Path(__file__).parents[4]


@pytest.fixture
def house(tmp_path: Path):  # type: ignore[no-untyped-def]
    """An engine over seeded rows: a run on an account of the local user."""
    spec = importlib.util.spec_from_file_location("seeding_by_hand", ROOT / "tests/unit/panel_app/seeding.py")
    assert spec is not None and spec.loader is not None
    seeding = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = seeding
    spec.loader.exec_module(seeding)
    seed = seeding.Seed(tmp_path)
    account = seed.account()
    run = seed.run(account, seed.version(), seeding.made_bars(60))
    run.advance(20)
    engine = build(Settings(home=tmp_path, database_url="", gateway="local"))  # type: ignore[arg-type]
    yield engine, seed, account, run
    engine.close()
    seed.engine.dispose()


def _trip(seed: Any, account: Any, run: Any) -> Any:
    trip_id = uuid4()
    seed.add(
        [
            m.GuardrailTrip(trip_id=trip_id, account_id=account, live_run_id=run.run_id, rule="guard_daily_loss",
                            symbol="", reason="equity 9,790 against 10,000", tripped_at=clock.now())
        ]
    )  # fmt: skip
    return trip_id


def _abandoned(seed: Any, run: Any) -> Any:
    from sqlalchemy.orm import Session

    with Session(seed.engine) as session:
        intent = run.intent(session, "OPEN_TRADE", "BUY", 15, "ABANDONED", None)
        session.commit()
    return intent


def _viewer(engine: Any, account: Any) -> Any:
    seen_by = add_user(engine, engine.principal, "vera", "viewer") if _is_admin(engine) else None
    assert seen_by is not None
    with engine.work() as work:
        Accounts(work.connection, engine.principal).grant(account, seen_by, engine.now())
        work.commit()
    return seen_by


def _is_admin(engine: Any) -> bool:
    with engine.database.begin() as connection:
        connection.execute(m.User.__table__.update().where(m.User.name == "local").values(role="admin"))
    return True


def test_a_reset_trip_is_in_force_no_more_and_says_by_whom(house) -> None:  # type: ignore[no-untyped-def]
    """The trip keeps who reset it; the run's log and the audit trail say so; twice changes nothing."""
    engine, seed, account, run = house
    trip_id = _trip(seed, account, run)
    read = ReadSide(engine.database)
    assert read.run(engine.principal, run.run_id).trips == ("guard_daily_loss",)
    reset_trip(engine, engine.principal, trip_id, "news is over")
    reset_trip(engine, engine.principal, trip_id, "again")
    assert read.run(engine.principal, run.run_id).trips == ()
    (trip,) = read.trips(engine.principal)
    assert trip.reset_by == "local"
    assert "news is over" in read.events(engine.principal, run_id=run.run_id)[-1].message
    actions = [line.action for line in Operations(engine.database).audit(engine.principal)]
    assert actions.count("guardrail.reset") == 1


def test_an_abandoned_intent_is_released_once_by_a_person_only(house) -> None:  # type: ignore[no-untyped-def]
    """RELEASED with a step that names who; the service principal may not; a second release is illegal."""
    engine, seed, account, run = house
    intent = _abandoned(seed, run)
    with engine.work() as work:
        Accounts(work.connection, engine.principal).grant(account, engine.service, engine.now())
        work.commit()
    with pytest.raises(Forbidden):
        release_intent(engine, engine.service, intent, "no person")
    assert release_intent(engine, engine.principal, intent, "not at the platform").state.value == "RELEASED"
    step = ReadSide(engine.database).intent_steps(engine.principal, intent)[-1]
    assert (step.from_state, step.to_state, step.actor) == ("ABANDONED", "RELEASED", "local")
    with pytest.raises(IllegalTransition):
        release_intent(engine, engine.principal, intent, "again")


def test_a_viewer_is_refused_and_a_stranger_finds_nothing(house) -> None:  # type: ignore[no-untyped-def]
    """Nothing changes, the viewer's attempts are audited, and for a stranger trip and intent do not exist."""
    engine, seed, account, run = house
    trip_id, intent = _trip(seed, account, run), _abandoned(seed, run)
    viewer = _viewer(engine, account)
    stranger = add_user(engine, engine.principal, "eve")
    with pytest.raises(Forbidden):
        reset_trip(engine, viewer, trip_id)
    with pytest.raises(Forbidden):
        release_intent(engine, viewer, intent, "x")
    for attempt in (
        lambda: reset_trip(engine, stranger, trip_id),
        lambda: release_intent(engine, stranger, intent, "x"),
        lambda: dead_letters(engine, stranger, account),
    ):
        with pytest.raises(NotFound):
            attempt()
    with engine.database.connect() as connection:
        assert connection.execute(select(m.GuardrailTrip.reset_at)).scalar_one() is None
        states = connection.execute(select(m.ExecutionIntent.state).where(m.ExecutionIntent.intent_id == intent))
        assert states.scalar_one() == "ABANDONED"
    refused = {line.action for line in Operations(engine.database).audit(engine.principal) if line.principal == "vera"}
    assert refused == {"guardrail.refused", "intent.refused"}


def test_an_account_without_a_message_broker_has_no_dead_letters(house) -> None:  # type: ignore[no-untyped-def]
    """A local account is answered without asking any broker."""
    engine, _, account, _ = house
    assert dead_letters(engine, engine.principal, account) == []

"""What an operator does by hand: an abandoned intent is released; checked, audited, refused to viewers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from toolkit.bootstrap import build
from toolkit.errors import Forbidden, IllegalTransition, NotFound
from toolkit.live.operate.by_hand import release_intent
from toolkit.live.operate.users import add_user
from toolkit.settings import Settings
from toolkit.store.people.accounts import Accounts
from toolkit.store.people.operations import Operations
from toolkit.store.reading.queries import ReadSide
from toolkit.store.sql import models as m

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
    """Nothing changes, the viewer's attempts are audited, and for a stranger the intent does not exist."""
    engine, seed, account, run = house
    intent = _abandoned(seed, run)
    viewer = _viewer(engine, account)
    stranger = add_user(engine, engine.principal, "eve")
    with pytest.raises(Forbidden):
        release_intent(engine, viewer, intent, "x")
    with pytest.raises(NotFound):
        release_intent(engine, stranger, intent, "x")
    with engine.database.connect() as connection:
        states = connection.execute(select(m.ExecutionIntent.state).where(m.ExecutionIntent.intent_id == intent))
        assert states.scalar_one() == "ABANDONED"
    refused = {line.action for line in Operations(engine.database).audit(engine.principal) if line.principal == "vera"}
    assert refused == {"intent.refused"}

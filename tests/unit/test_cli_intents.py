"""Intents from the command line: listed, and an abandoned one released with a reason, by who may."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from tests.plugins.live_support import Sea
from toolkit.bootstrap import build
from toolkit.cli.app import app
from toolkit.errors import BadInput, Forbidden, IllegalTransition, ToolkitError
from toolkit.execution.builder import build_trade_request
from toolkit.execution.idempotency import ai_key, signal_fingerprint
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.submit import make_entry, move, submit
from toolkit.market import Quote, Rate, Side
from toolkit.market.instruments import find_instrument
from toolkit.settings import Settings
from toolkit.store.intents import SqlTransaction
from toolkit.store.sql import models as m


@dataclass
class Home:
    """A data folder with one account that has one abandoned entry and one that is new."""

    sea: Sea
    folder: Path
    abandoned: UUID
    fresh: UUID

    def seatrial(self, *words: str) -> str:
        """Run a command on it and return what it printed."""
        result = CliRunner().invoke(app, [*words, "--home", str(self.folder)])
        if isinstance(result.exception, ToolkitError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make it."""
    monkeypatch.setenv("COLUMNS", "240")
    folder = tmp_path / "home"
    sea = Sea(build(Settings(home=folder, database_url="", _env_file=None)))  # type: ignore[call-arg, arg-type]
    account = sea.account()
    first, second = put(sea, account.account_id, "1"), put(sea, account.account_id, "2")
    with sea.engine.work(sea.engine.service) as unit:
        work = SqlTransaction(unit)
        intent: Any = work.intent(first)
        for state in ("CLAIMED", "SENDING", "UNKNOWN", "ABANDONED"):
            intent = move(work, intent, IntentState(state), actor="test", now=sea.engine.now(), new_token=True)
        unit.commit()
    yield Home(sea, folder, first, second)
    sea.engine.close()


def put(sea: Sea, account_id: UUID, number: str) -> UUID:
    engine = sea.engine
    key = ai_key(account_id=account_id, source="test", signal_id=number, action="OPEN_TRADE")
    built = build_trade_request(
        account_id=account_id, instrument=find_instrument("EURUSD"), side=Side.BUY, equity=Decimal(10_000),
        quote=Quote("1.10000", "1.10010", engine.now() - timedelta(seconds=1)), quote_to_account=Rate.ONE,
        stop_loss=Decimal("1.09810"), take_profit=Decimal("1.10400"), risk_percent=Decimal(1), idempotency_key=key,
    )  # fmt: skip
    words = signal_fingerprint("test", {"n": number})
    intent = make_entry(built, key=key, fingerprint=words, principal=engine.service, now=engine.now())
    with engine.work(engine.service) as work:
        submit(SqlTransaction(work), intent, engine.service)
        work.commit()
    return intent.intent_id


def audited(home: Home) -> list[tuple[str, str]]:
    query = select(m.Audit.action, m.Audit.detail).where(m.Audit.action.like("intent.%"))
    with home.sea.engine.work(write=False) as work:
        return [tuple(row) for row in work.connection.execute(query)]


def test_intents_of_an_account_are_listed_by_state(home: Home) -> None:
    """All of them, or those that wait for a person."""
    said = home.seatrial("intents", "list", "paper-1")
    assert str(home.abandoned) in said and str(home.fresh) in said
    said = home.seatrial("intents", "list", "paper-1", "--state", "abandoned")
    assert str(home.abandoned) in said and str(home.fresh) not in said
    assert "no such intents of paper-1" in home.seatrial("intents", "list", "paper-1", "--state", "UNKNOWN")


def test_an_abandoned_intent_is_released_with_a_reason_and_audited(home: Home) -> None:
    """Found by the beginning of its id; the reason is in the audit trail; a second release is refused."""
    said = home.seatrial("intents", "release", str(home.abandoned)[:13], "--reason", "nothing at the platform")
    assert said.strip() == f"OPEN_TRADE EURUSD {home.abandoned} is RELEASED"
    assert audited(home) == [("intent.release", "nothing at the platform")]
    with pytest.raises(IllegalTransition, match="only an ABANDONED entry or an exit that waits"):
        home.seatrial("intents", "release", str(home.abandoned), "--reason", "again")


def test_a_release_needs_a_reason_and_one_intent(home: Home) -> None:
    """An empty reason and a beginning that fits no abandoned intent are refused; nothing changes."""
    with pytest.raises(BadInput, match="reason of a release must be given"):
        home.seatrial("intents", "release", str(home.abandoned), "--reason", "  ")
    with pytest.raises(BadInput, match="must be the id of one ABANDONED intent"):
        home.seatrial("intents", "release", str(home.fresh)[:8], "--reason", "x")
    assert audited(home) == []


def test_who_may_not_trade_on_the_account_releases_nothing(home: Home) -> None:
    """The local user as a viewer: refused, and the attempt is in the audit trail."""
    with home.sea.engine.work() as work:
        work.connection.execute(m.User.__table__.update().where(m.User.name == "local").values(role="viewer"))
        work.commit()
    with pytest.raises(Forbidden, match="may not release"):
        home.seatrial("intents", "release", str(home.abandoned), "--reason", "let me")
    assert audited(home) == [("intent.refused", "release")]

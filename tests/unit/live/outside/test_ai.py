"""AI signals: the builder of the live path, the same payload, once per id, refused when they break a rule."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from tests.plugins.live_support import EmaCross, Sea
from toolkit.errors import Forbidden, IdempotencyConflict, NotFound, RequestError
from toolkit.live.advance import advance
from toolkit.live.outside.ai import AiRules, AiSignal, build_ai_request, execute_ai_trade
from toolkit.market import Bars, Side
from toolkit.store.people.accounts import ensure_user
from toolkit.store.sql.models import Audit, ExecutionIntent


@pytest.fixture
def quoted(sea: Sea, some_bars: Bars) -> Sea:
    """An account whose venue has a price: a run of the average cross has made its first order there."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    while not advance(sea.engine, run.live_run_id, run.account_id).orders:
        pass
    return sea


def signal(sea: Sea, **changed: Any) -> AiSignal:
    """Return a sound signal."""
    values: dict[str, Any] = {
        "source": "oracle", "signal_id": "s-1", "symbol": "EURUSD", "direction": Side.BUY, "stop_loss": Decimal("1.0300"),
        "take_profit": Decimal("1.0900"), "risk_percent": Decimal("0.5"), "model": "m-7", "reason": "news",
        "expires_at": sea.engine.now() + timedelta(minutes=5),
    }  # fmt: skip
    return AiSignal(**{**values, **changed})


def test_ai_signal_is_carried_out_once(quoted: Sea) -> None:
    """The same source and id again is the same intent and no second order."""
    given = signal(quoted)
    first = execute_ai_trade(quoted.engine, quoted.engine.principal, given, account="paper-1")
    again = execute_ai_trade(quoted.engine, quoted.engine.principal, given, account="paper-1")
    assert first.state.value == "FILLED" and again.intent_id == first.intent_id
    desk = quoted.engine.desk(first.account_id)
    assert desk.platform.duplicate_orders() == 0


def test_ai_signal_and_strategy_give_the_same_payload(quoted: Sea, some_bars: Bars) -> None:
    """For the inputs of a live intent the AI's canonical JSON is equal apart from metadata and key."""
    with quoted.engine.work(write=False) as work:
        row = work.connection.execute(select(ExecutionIntent)).first()
    payload = json.loads(row.payload_json)
    desk = quoted.engine.desk(row.account_id)
    side = Side(payload["direction"])
    entry = Decimal(row.terms["ask" if side is Side.BUY else "bid"])
    distance = payload["stop_loss_distance_pips"] * desk.service.instrument("EURUSD").pip_size
    given = signal(
        quoted, direction=side, stop_loss=entry - side.sign * distance, take_profit=Decimal(str(payload["take_profit_price"])),
        risk_percent=Decimal(str(payload["risk_percent"])),
    )  # fmt: skip
    with_equity = build_ai_request(desk, given, equity=Decimal(row.terms["equity"]))
    mine = json.loads(with_equity.request.to_json())
    for other in (mine, payload):
        other.pop("metadata")
        other.pop("idempotency_key")
    assert mine == payload


def test_ai_signal_with_the_same_id_and_other_words_is_a_conflict(quoted: Sea) -> None:
    """An id names one signal for ever."""
    execute_ai_trade(quoted.engine, quoted.engine.principal, signal(quoted), account="paper-1")
    with pytest.raises(IdempotencyConflict):
        execute_ai_trade(
            quoted.engine, quoted.engine.principal, signal(quoted, risk_percent=Decimal("0.7")), account="paper-1"
        )


@pytest.mark.parametrize(
    ("changed", "rules", "words"),
    [
        ({"confidence": Decimal("0.4")}, AiRules(min_confidence=Decimal("0.6")), "confidence must be at least 0.6"),
        ({"risk_percent": Decimal(3)}, AiRules(), "risk_percent must be at most 2"),
        ({}, AiRules(symbols=("GBPUSD",)), "symbol must be one of GBPUSD"),
        ({"stop_loss": None}, AiRules(), "stop_loss must be given"),
        ({"stop_loss": Decimal("1.2000")}, AiRules(), "stop_loss must be below"),
    ],
)
def test_ai_signal_that_breaks_a_rule_is_refused(
    quoted: Sea, changed: dict[str, Any], rules: AiRules, words: str
) -> None:
    """Each rule is named with its remedy, and nothing is written."""
    with pytest.raises(RequestError, match=words):
        execute_ai_trade(
            quoted.engine, quoted.engine.principal, signal(quoted, **changed), account="paper-1", rules=rules
        )
    with quoted.engine.work(write=False) as work:
        assert len(work.connection.execute(select(ExecutionIntent.intent_id)).all()) == 1


def test_ai_signal_that_has_expired_is_refused(quoted: Sea) -> None:
    """A late signal is not traded."""
    with pytest.raises(RequestError, match="expires_at must be after"):
        execute_ai_trade(
            quoted.engine,
            quoted.engine.principal,
            signal(quoted, expires_at=quoted.engine.now() - timedelta(seconds=1)),
            account="paper-1",
        )


def test_ai_signal_that_is_malformed_names_every_field(quoted: Sea) -> None:
    """A dict with wrong fields is refused with all of them at once."""
    with pytest.raises(RequestError, match="signal_id") as refused:
        execute_ai_trade(quoted.engine, quoted.engine.principal, {"source": "x", "direction": "UP"}, account="paper-1")
    assert "direction" in str(refused.value)


def test_ai_signal_on_a_foreign_account_is_refused(quoted: Sea) -> None:
    """An account is resolved among the caller's own."""
    with quoted.engine.work() as work:
        stranger = ensure_user(work.connection, quoted.engine.now(), "stranger", "human")
        work.commit()
    with pytest.raises((Forbidden, NotFound)):
        execute_ai_trade(quoted.engine, stranger, signal(quoted), account="paper-1")


def test_ai_signal_is_journaled_only_when_asked(quoted: Sea) -> None:
    """The journal is a flag beside the execution path."""
    execute_ai_trade(quoted.engine, quoted.engine.principal, signal(quoted), account="paper-1")
    kept = execute_ai_trade(
        quoted.engine, quoted.engine.principal, signal(quoted, signal_id="s-2"), account="paper-1", journal=True,
        attachments=["chart.png"],
    )  # fmt: skip
    with quoted.engine.work(write=False) as work:
        rows = work.connection.execute(select(Audit.subject, Audit.detail).where(Audit.action == "ai.signal")).all()
    assert [row.subject for row in rows] == [str(kept.intent_id)] and "chart.png" in rows[0].detail

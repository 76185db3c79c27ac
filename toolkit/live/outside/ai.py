"""Signals of an AI (or any other outside source): checked, then the same builder, the same intent, the same guardrails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolkit.errors import Forbidden, RequestError, must_be
from toolkit.execution.builder import REJECT, BuiltTrade, StopPolicy, build_trade_request
from toolkit.execution.idempotency import ai_key, signal_fingerprint
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.submit import make_entry, submit
from toolkit.execution.ports import OrderType
from toolkit.execution.principal import Principal
from toolkit.execution.symbol_info import conversion_rate
from toolkit.live.engine import Desk, Engine
from toolkit.market import Side
from toolkit.store.intents import SqlTransaction
from toolkit.store.people import audit
from toolkit.store.people.accounts import Accounts, may_act

ENTRY_VALID = timedelta(seconds=60)


class AiSignal(BaseModel):
    """What an AI says. Prices are absolute; a stop is required unless the caller sets a stop policy.

    Attributes
    ----------
    source, signal_id
        Who speaks and its own id; the same pair is the same signal, however often it comes.
    expires_at
        After this moment the signal is refused.
    confidence
        0 to 1; compared with the caller's minimum.
    model
        Name of the model, for the record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(min_length=1, max_length=60)
    signal_id: str = Field(min_length=1, max_length=60)
    symbol: str
    direction: Side
    order_type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    risk_percent: Decimal = Field(gt=0, le=100)
    expires_at: datetime
    confidence: Decimal = Field(default=Decimal(1), ge=0, le=1)
    model: str = Field(default="", max_length=120)
    reason: str = Field(default="", max_length=300)


@dataclass(frozen=True, slots=True)
class AiRules:
    """What a signal must fulfil before it is built into a request.

    Attributes
    ----------
    min_confidence
        Signals below it are refused.
    max_risk_percent
        Signals above it are refused.
    symbols
        When given, only these.
    """

    min_confidence: Decimal = Decimal(0)
    max_risk_percent: Decimal = Decimal(2)
    symbols: tuple[str, ...] = ()


def read_signal(signal: AiSignal | dict[str, Any]) -> AiSignal:
    """Check a signal's form; numbers given as text stay exact.

    Raises
    ------
    RequestError
        Naming every field that is not as it must be.
    """
    if isinstance(signal, AiSignal):
        return signal
    try:
        return AiSignal.model_validate(signal)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RequestError(must_be("AI signal", "complete and well-formed", wrong, "correct these fields")) from error


def check_signal(signal: AiSignal, rules: AiRules, now: datetime) -> None:
    """Refuse a signal that has expired or breaks a rule.

    Raises
    ------
    RequestError
        With the rule and the remedy.
    """
    if signal.expires_at.tzinfo is None:
        raise RequestError(
            must_be("expires_at", "tz-aware", f"naive {signal.expires_at.isoformat()}", "send it with an offset")
        )
    if signal.expires_at <= now:
        raise RequestError(
            must_be("expires_at", f"after {now.isoformat()}", signal.expires_at.isoformat(), "ask for a new signal")
        )
    if signal.confidence < rules.min_confidence:
        raise RequestError(
            must_be("confidence", f"at least {rules.min_confidence}", signal.confidence, "wait for a surer signal")
        )
    if signal.risk_percent > rules.max_risk_percent:
        raise RequestError(
            must_be("risk_percent", f"at most {rules.max_risk_percent}", signal.risk_percent, "risk less")
        )
    if rules.symbols and signal.symbol not in rules.symbols:
        raise RequestError(
            must_be("symbol", f"one of {', '.join(rules.symbols)}", signal.symbol, "allow it in the rules")
        )


def build_ai_request(
    desk: Desk,
    signal: AiSignal,
    *,
    key: str | None = None,
    equity: Decimal | None = None,
    stop_policy: StopPolicy = REJECT,
    valid_until: datetime | None = None,
) -> BuiltTrade:
    """Build the request of a signal at the platform's quote: what a strategy saying the same would get, but for metadata.

    ``equity`` is the account's own when left out.
    """
    instrument = desk.service.instrument(signal.symbol)
    account = desk.platform.book().account
    return build_trade_request(
        account_id=desk.account.account_id,
        instrument=instrument,
        quote=desk.platform.quote(signal.symbol),
        side=signal.direction,
        equity=account.equity if equity is None else equity,
        quote_to_account=conversion_rate(desk.platform, instrument.quote_currency, account.currency),
        stop_loss=signal.stop_loss,
        take_profit=signal.take_profit,
        risk_percent=signal.risk_percent,
        order_type=signal.order_type,
        limit_price=signal.limit_price,
        stop_policy=stop_policy,
        valid_until=valid_until,
        signal_id=f"{signal.source}:{signal.signal_id}"[:120],
        reason=(signal.reason or f"AI {signal.model}".strip())[:300],
        idempotency_key=key,
    )


def execute_ai_trade(
    engine: Engine,
    principal: Principal,
    signal: AiSignal | dict[str, Any],
    *,
    account: str,
    rules: AiRules | None = None,
    stop_policy: StopPolicy = REJECT,
    journal: bool = False,
    attachments: Sequence[str] = (),
) -> IntentRecord:
    """Carry out a signal on an account of the principal, once per source and id.

    Parameters
    ----------
    account
        Name of an account the principal owns.
    journal, attachments
        Keep the signal and references to its material in the audit trail; never part of the execution path, and written
        only after the order is on its way.

    Raises
    ------
    RequestError
        When the signal is malformed, expired or against the rules.
    Forbidden
        When the account is not the principal's to trade.
    """
    checked = read_signal(signal)
    now = engine.now()
    check_signal(checked, rules or AiRules(), now)
    account_id = _account_of(engine, principal, account)
    desk = engine.desk(account_id)
    key = ai_key(account_id=account_id, source=checked.source, signal_id=checked.signal_id, action="OPEN_TRADE")
    valid_until = desk.platform.now() + min(ENTRY_VALID, checked.expires_at - now)
    built = build_ai_request(desk, checked, key=key, stop_policy=stop_policy, valid_until=valid_until)
    fingerprint = signal_fingerprint(checked.source, _words(checked))
    intent = make_entry(built, key=key, fingerprint=fingerprint, principal=principal, now=now)
    with engine.work(principal) as work:
        written = submit(SqlTransaction(work), intent, principal)
        work.commit()
    if written.created:
        desk.gateway.deliver(account_id)
    if journal and written.created:
        _journal(engine, principal, checked, written.intent.intent_id, attachments)
    with engine.store.begin(principal, write=False) as reading:
        after = reading.intent(written.intent.intent_id)
    return after if after is not None else written.intent


def _account_of(engine: Engine, principal: Principal, name: str) -> UUID:
    with engine.work(principal, write=False) as work:
        account_id = Accounts(work.connection, principal).find(name).account_id
        if not may_act(work.connection, principal, account_id):
            raise Forbidden(f"{principal.name} may not trade on account {name}: ask its owner for a grant")
    return account_id


def _words(signal: AiSignal) -> dict[str, Any]:
    return {
        "order_type": signal.order_type.value,
        "limit_price": signal.limit_price,
        "stop_loss": signal.stop_loss,
        "take_profit": signal.take_profit,
        "risk_percent": signal.risk_percent,
    }


def _journal(
    engine: Engine, principal: Principal, signal: AiSignal, intent_id: UUID, attachments: Sequence[str]
) -> None:
    detail = signal.model_dump_json() + "".join(f" attachment:{a}" for a in attachments)
    with engine.work(principal) as work:
        audit.append(work.connection, engine.now(), principal, "ai.signal", str(intent_id), detail)
        work.commit()

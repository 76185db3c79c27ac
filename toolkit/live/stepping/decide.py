"""From a decision and the run's positions, at the quote of the moment, to intents: what to close, what to open, or why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from toolkit.clock import from_ns
from toolkit.execution.builder import EntrySkipped, build_trade_request
from toolkit.execution.idempotency import run_key, signal_fingerprint
from toolkit.execution.intents import Action
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.submit import make_entry, make_intent
from toolkit.execution.ports import OrderType
from toolkit.execution.principal import Principal
from toolkit.execution.request import AnyRequest, CloseRequest, RequestMetadata
from toolkit.live.stepping.program import Program
from toolkit.live.stepping.run_book import OpenTrade, Positions
from toolkit.live.stepping.run_state import Waiting
from toolkit.market import Quote, Rate, Side, Timeframe
from toolkit.simulation import rules
from toolkit.simulation.account import from_minor
from toolkit.simulation.managed import rules as managed
from toolkit.store.runs import RunRecord
from toolkit.strategy.authoring.sections import Lots

ENTRY_VALID = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Skip:
    """An entry that was not made, and why, in one word and in a sentence."""

    side: Side
    code: str
    message: str


@dataclass(slots=True)
class Orders:
    """What one decision leads to."""

    intents: list[IntentRecord] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    then_enter: bool = False  # the decision's entry follows once the exit is filled, or the pending order is gone
    until_ns: int | None = None  # an entry was planned; its pending order works until then, 0 for a market order

    def __bool__(self) -> bool:
        return bool(self.intents or self.skips)


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known when a decision is carried out.

    Attributes
    ----------
    quote
        Bid and ask of the open, from the platform.
    equity
        The run's own equity at that quote, minor units.
    rate
        Quote currency to account currency.
    cooldown_from
        Open of the oldest bar in which an exit still denies an entry; None when no cooldown is set.
    now
        Our own clock.
    entries_allowed
        False while an intent of the run is UNKNOWN or an exit waits, or in a catch-up on old bars.
    closing
        A close of the position waits until the platform takes it; it is not asked for twice.
    """

    quote: Quote
    equity: int
    rate: Rate
    cooldown_from: datetime | None
    now: datetime
    entries_allowed: bool = True
    why_not: str = ""
    closing: bool = False


def carry_out(
    program: Program, run: RunRecord, positions: Positions, decision: Waiting, moment: Moment, principal: Principal
) -> Orders:
    """Plan the orders of one decision: first the exit, then the entry, as in a backtest.

    An opposite entry waits for its exit (``then_enter``): it is planned again, at the same quote, when that is filled.
    """
    orders = Orders()
    held = positions.one
    sign = rules.entry_side(decision.code)
    if held is not None:
        reason = rules.exit_reason(held.side.sign, decision.code)
        if reason == rules.REVERSE and not program.reverse:
            reason = rules.NO_EXIT
        if reason == rules.NO_EXIT or moment.closing:
            return orders
        orders.intents.append(
            close_intent(program, run, held, decision, rules.EXIT_REASONS[reason], moment.now, principal)
        )
        orders.then_enter = sign != 0 and moment.entries_allowed
        return orders
    if sign == 0:
        return orders
    side = Side.BUY if sign > 0 else Side.SELL
    if not moment.entries_allowed:
        orders.skips.append(Skip(side, "entries_not_allowed", moment.why_not))
        return orders
    enter(orders, program, run, decision, side, moment, principal)
    return orders


def enter(
    orders: Orders,
    program: Program,
    run: RunRecord,
    decision: Waiting,
    side: Side,
    moment: Moment,
    principal: Principal,
) -> None:
    """Add the entry of a decision, or why it is not made."""
    try:
        intent, until_ns = _entry_intent(program, run, decision, side, moment, principal)
    except EntrySkipped as skipped:
        orders.skips.append(Skip(side, skipped.code, str(skipped)))
        return
    orders.intents.append(intent)
    orders.until_ns = until_ns


def close_intent(
    program: Program,
    run: RunRecord,
    held: OpenTrade,
    decision: Waiting,
    reason: str,
    now: datetime,
    principal: Principal,
    ordinal: int = 0,
) -> IntentRecord:
    """Make the intent that brings one position of the run to nothing."""
    words = {"code": decision.code, "position": held.position_id, "reason": reason}
    return exit_intent(
        program,
        run,
        decision,
        Action.CLOSE_POSITION,
        held.side,
        words,
        lambda head: CloseRequest(position_id=held.position_id, **head),
        reason,
        now,
        principal,
        ordinal,
    )


def exit_intent(
    program: Program,
    run: RunRecord,
    decision: Waiting,
    action: Action,
    side: Side,
    words: dict[str, Any],
    request_of: Callable[[dict[str, Any]], AnyRequest],
    reason: str,
    now: datetime,
    principal: Principal,
    ordinal: int = 0,
    terms: Mapping[str, Any] | None = None,
) -> IntentRecord:
    """Make the intent of anything that enlarges no exposure.

    Parameters
    ----------
    words
        What it says, for the fingerprint; nothing derived from a quote.
    request_of
        Makes the request from the fields that all of them share.
    """
    bar_time = from_ns(decision.bar_ns)
    fingerprint = signal_fingerprint(program.version_hash, words)
    key = run_key(
        live_run_id=run.live_run_id,
        bar_time=bar_time,
        symbol=run.symbol,
        side=side,
        action=action.value,
        ordinal=ordinal,
        fingerprint=fingerprint,
    )
    head: dict[str, Any] = {
        "account_id": run.account_id,
        "symbol": run.symbol,
        "direction": side,
        "metadata": _metadata(program, run, decision, reason),
        "idempotency_key": key,
    }
    return make_intent(
        request_of(head),
        action=action,
        key=key,
        fingerprint=fingerprint,
        principal=principal,
        now=now,
        bar_time=bar_time,
        ordinal=ordinal,
        terms={"reason": reason, **(terms or {})},
    )


def _entry_intent(
    program: Program,
    run: RunRecord,
    decision: Waiting,
    side: Side,
    moment: Moment,
    principal: Principal,
) -> tuple[IntentRecord, int]:
    instrument, sign = program.instrument, side.sign
    quote_points = instrument.to_points(moment.quote.price_for(side))
    pending = _pending(program, run, decision, side, moment)
    if pending is not None:
        quote_points = pending.level
    stop = decision.stop_points
    target = 0
    if program.has_target:
        target = decision.target_points if decision.rr is None else rules.target_points_from_rr(decision.rr, stop)
    policy_acts = not decision.has_stop and program.stop_policy.kind != "reject"
    if not policy_acts:
        spread = instrument.to_points(moment.quote.spread)
        refusal = rules.entry_refusal(sign, quote_points, spread, stop, program.has_target, target)
        if refusal != rules.OK:
            code = rules.SKIP_REASONS[refusal]
            raise EntrySkipped(code, f"{side.value} {run.symbol}: {code}, stop {stop} points, target {target} points")
    stop_points, target_points = rules.protection_levels(sign, quote_points, stop, target)
    words: dict[str, Any] = {
        "code": decision.code,
        "stop_points": stop,
        "target_points": target,
        **_risk_words(program),
        **({} if pending is None else pending.words),
    }
    fingerprint = signal_fingerprint(program.version_hash, words)
    bar_time = from_ns(decision.bar_ns)
    key = run_key(
        live_run_id=run.live_run_id,
        bar_time=bar_time,
        symbol=run.symbol,
        side=side,
        action=Action.OPEN_TRADE.value,
        ordinal=0,
        fingerprint=fingerprint,
    )
    terms: dict[str, Any] = {}
    if moment.cooldown_from is not None:
        terms["cooldown_from"] = moment.cooldown_from.isoformat()
    if pending is not None:
        terms["expires_at"] = from_ns(pending.until_ns).isoformat()
    risk = program.spec.risk
    built = build_trade_request(
        account_id=run.account_id,
        instrument=instrument,
        quote=moment.quote,
        side=side,
        equity=from_minor(max(moment.equity, 0), program.currency),  # below zero the sizing says no_equity
        quote_to_account=moment.rate,
        stop_loss=None if policy_acts else instrument.price(stop_points),
        take_profit=instrument.price(target_points) if program.has_target else None,
        risk_percent=None if isinstance(risk, Lots) else risk.percent,
        lots=risk.lots if isinstance(risk, Lots) else None,
        order_type=OrderType.MARKET if pending is None else pending.order_type,
        limit_price=None if pending is None else instrument.price(pending.level),
        stop_policy=program.stop_policy,
        valid_until=from_ns(decision.act_ns) + ENTRY_VALID,
        live_run_id=run.live_run_id,
        bot_version_id=program.version_id,
        signal_id=_signal_id(decision),
        reason="entry",
        idempotency_key=key,
        terms=terms,
    )
    intent = make_entry(built, key=key, fingerprint=fingerprint, principal=principal, now=moment.now, bar_time=bar_time)
    return intent, 0 if pending is None else pending.until_ns


@dataclass(frozen=True, slots=True)
class _Pending:
    """The pending order of an entry: what it waits for and how long."""

    order_type: OrderType
    level: int
    until_ns: int
    words: dict[str, Any]


def _pending(program: Program, run: RunRecord, decision: Waiting, side: Side, moment: Moment) -> _Pending | None:
    plan = decision.plan
    if plan is None or plan["kind"] == managed.AT_MARKET:
        return None
    instrument = program.instrument
    level = int(plan["long"] if side is Side.BUY else plan["short"])
    bid, ask = instrument.to_points(moment.quote.bid), instrument.to_points(moment.quote.ask)
    refusal = managed.trigger_refusal(plan["kind"], side.sign, level, bid, ask)
    if refusal != rules.OK:
        code = managed.PENDING_REASONS[refusal]
        raise EntrySkipped(code, f"{side.value} {run.symbol}: the quote {bid}/{ask} has reached level {level} already")
    order_type = OrderType.LIMIT if plan["kind"] == managed.AT_LIMIT else OrderType.STOP
    until_ns = decision.act_ns + plan["expiry_bars"] * Timeframe(run.timeframe).ns
    return _Pending(
        order_type, level, until_ns, {"order": order_type.value, "level": level, "bars": plan["expiry_bars"]}
    )


def _risk_words(program: Program) -> dict[str, Decimal]:
    risk = program.spec.risk
    return {"lots": risk.lots} if isinstance(risk, Lots) else {"risk_percent": risk.percent}


def _signal_id(decision: Waiting) -> str:
    return from_ns(decision.bar_ns).strftime("%Y%m%dT%H%M%SZ")


def _metadata(program: Program, run: RunRecord, decision: Waiting, reason: str) -> RequestMetadata:
    return RequestMetadata(
        live_run_id=run.live_run_id, bot_version_id=program.version_id, signal_id=_signal_id(decision), reason=reason
    )

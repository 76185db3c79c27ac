"""Whether an entry may be sent, decided inside the claiming transaction, and the order it becomes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from uuid import UUID

from toolkit.errors import SizingError
from toolkit.execution.builder import EntrySkipped, check_target, fixed_lots_projection, skip_code
from toolkit.execution.intents import SLOT_STATES, IntentState
from toolkit.execution.ledger.records import AccountRecord, IntentRecord, RunRecord, TradeRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ports import OpenOrder, OrderType
from toolkit.execution.principal import Principal
from toolkit.execution.request import TradeRequest
from toolkit.execution.sending.market_view import MarketView, equity_for
from toolkit.market import Quote, money_digits
from toolkit.risk.guardrails import GUARD_REASONS, Guards, entry_denied
from toolkit.risk.management import calculate_position_size


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an entry is not sent. ``trip`` names the guardrail that denied it, if one did."""

    state: IntentState
    code: str
    message: str
    trip: str = ""


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """An order ready to send, with the projections at the send quote."""

    command: OpenOrder
    quote: Quote
    equity: Decimal
    projected_profit: Decimal | None
    projected_loss: Decimal
    rr_ratio: Decimal | None


def decide_entry(
    work: Transaction,
    intent: IntentRecord,
    request: TradeRequest,
    view: MarketView,
    principal: Principal,
    *,
    wall_now: datetime,
    max_quote_age_seconds: float,
) -> EntryPlan | Refusal:
    """Decide on one entry from the database as it is inside this transaction and from the stamped view.

    The caller reserves the guardrail slot by moving the intent to CLAIMED in the same transaction.
    """
    account = work.account(intent.account_id)
    run = None if intent.live_run_id is None else work.run(intent.live_run_id)
    refusal = _standing(work, intent, account, run, principal, view, wall_now)
    if refusal is not None:
        return refusal
    if view.quote_age_seconds() > max_quote_age_seconds:
        return Refusal(
            IntentState.DENIED,
            "stale_quote",
            f"quote of {intent.symbol} must be at most {max_quote_age_seconds:g} s old, was {view.quote_age_seconds():.1f} s",
            "stale_quote",
        )
    open_trades = work.open_trades(intent.account_id)
    in_flight = [i for i in work.intents_in(intent.account_id, SLOT_STATES) if i.action.is_entry]
    unknown = [i for i in in_flight if i.state is IntentState.UNKNOWN and i.live_run_id == intent.live_run_id]
    if unknown:
        return Refusal(
            IntentState.DENIED,
            "unresolved_entry",
            f"intent {unknown[0].intent_id} of this run is UNKNOWN: resolve it first",
        )
    for trip in work.trips_in_force(intent.account_id, view.now):
        if trip.live_run_id in (None, intent.live_run_id) and trip.symbol in ("", intent.symbol):
            return Refusal(IntentState.DENIED, trip.rule, f"guardrail {trip.rule} is in force: {trip.reason}")
    equity = equity_for(intent, run, open_trades, view.book)
    if run is not None and account is not None:
        refusal = _guards(work, intent, run, account, view, equity, open_trades, in_flight)
        if refusal is not None:
            return refusal
    return _plan(intent, request, view, equity)


def _standing(
    work: Transaction,
    intent: IntentRecord,
    account: AccountRecord | None,
    run: RunRecord | None,
    principal: Principal,
    view: MarketView,
    wall_now: datetime,
) -> Refusal | None:
    if account is None or not work.may_act(intent.account_id, principal):
        return Refusal(
            IntentState.DENIED, "forbidden", f"{principal.name} may not trade on account {intent.account_id}"
        )
    if intent.valid_until is not None and view.now > intent.valid_until:
        return Refusal(
            IntentState.EXPIRED,
            "expired",
            f"valid until {intent.valid_until.isoformat()}, platform says {view.now.isoformat()}",
        )
    if account.halted_at is not None:
        return Refusal(IntentState.DENIED, "halted", f"account is halted since {account.halted_at.isoformat()}")
    if account.environment == "real" and (account.armed_until is None or account.armed_until <= wall_now):
        return Refusal(IntentState.DENIED, "not_armed", "a real account trades only while a person has armed it")
    if intent.live_run_id is not None and run is None:
        return Refusal(IntentState.DENIED, "no_such_run", f"run {intent.live_run_id} does not exist")
    if run is not None and run.account_id != intent.account_id:
        return Refusal(IntentState.DENIED, "forbidden", f"run {run.live_run_id} trades on another account")
    if run is not None and run.status != "RUNNING":
        return Refusal(IntentState.CANCELLED, "run_not_running", f"run is {run.status}")
    first = intent.terms.get("after_intent")
    if first is not None:
        other = work.intent(UUID(str(first)))
        if other is None or other.state is not IntentState.FILLED:
            state = "missing" if other is None else other.state.value
            return Refusal(IntentState.DENIED, "exit_not_filled", f"the exit {first} before it is {state}, not FILLED")
    return None


@lru_cache(maxsize=256)
def guards_from_json(text: str) -> Guards:
    """Return the guards of a run's row."""
    return Guards.from_facts(json.loads(text)) if text else Guards()


def _guards(
    work: Transaction,
    intent: IntentRecord,
    run: RunRecord,
    account: AccountRecord,
    view: MarketView,
    equity: Decimal,
    open_trades: list[TradeRecord],
    in_flight: list[IntentRecord],
) -> Refusal | None:
    guards = guards_from_json(run.guards_json)
    instrument = view.instrument
    mark = work.equity_mark(account.account_id, str(run.live_run_id))
    base = run.capital if mark is None else mark.base_equity
    ours = [t for t in open_trades if t.live_run_id == run.live_run_id and t.symbol == intent.symbol]
    # An entry in flight holds its slot until its trade is visible; then the trade holds it.
    with_trade = {t.intent_id for t in ours}
    waiting = [
        i
        for i in in_flight
        if i.live_run_id == run.live_run_id
        and i.symbol == intent.symbol
        and i.intent_id not in with_trade
        and i.intent_id != intent.intent_id
    ]
    code = entry_denied(
        minor_units(base, account.currency),
        minor_units(equity, account.currency),
        guards.daily_loss_ppm,
        len(ours) + len(waiting),
        guards.max_open_per_symbol or 0,
        _bars_since_exit(work, intent, run, guards),
        guards.cooldown_bars,
        instrument.to_points(view.quote.spread),
        guards.max_spread_points(instrument.points_per_pip),
    )
    if code == 0:
        return None
    rule = GUARD_REASONS[code]
    return Refusal(
        IntentState.DENIED,
        rule,
        f"{rule}: equity {equity:f} against {base:f} at the day's start, {len(ours)} open and {len(waiting)} on the way in "
        f"{intent.symbol}, spread {view.quote.spread:f}",
        rule,
    )


def _bars_since_exit(work: Transaction, intent: IntentRecord, run: RunRecord, guards: Guards) -> int:
    # The run knows its bars and says from which bar open on an exit still counts; the exits are read here, in the
    # transaction, so that one filled a moment ago is seen.
    start = intent.terms.get("cooldown_from")
    if guards.cooldown_bars <= 0 or start is None:
        return -1
    last = work.last_exit(run.live_run_id, intent.symbol)
    return 0 if last is not None and last >= datetime.fromisoformat(str(start)) else -1


def minor_units(amount: Decimal, currency: str) -> int:
    """Return an amount as whole minor units of its currency, rounded half away from zero."""
    return int(amount.scaleb(money_digits(currency)).to_integral_value(ROUND_HALF_UP))


def _plan(intent: IntentRecord, request: TradeRequest, view: MarketView, equity: Decimal) -> EntryPlan | Refusal:
    instrument = view.instrument
    side = request.direction
    priced_at = view.quote
    if request.limit_price is not None:
        priced_at = Quote(request.limit_price, request.limit_price, view.quote.ts)
    entry = priced_at.price_for(side)
    distance = request.stop_loss_distance_pips * instrument.points_per_pip
    stop_points = instrument.to_points(entry) - side.sign * distance
    if stop_points <= 0:
        return Refusal(
            IntentState.DENIED, "stop_beyond_zero", f"a stop {request.stop_loss_distance_pips} pips from {entry}"
        )
    if distance <= instrument.to_points(priced_at.spread):
        return Refusal(
            IntentState.DENIED,
            "stop_inside_spread",
            f"a stop {request.stop_loss_distance_pips} pips from {entry} at a spread of {priced_at.spread:f}",
        )
    stop = instrument.price(stop_points)
    target = None
    if request.take_profit_price is not None:
        target = instrument.price(instrument.to_points(request.take_profit_price))
    try:
        check_target(side, entry, target)
        size = calculate_position_size(
            side=side,
            quote=priced_at,
            stop_loss=stop,
            equity=max(equity, Decimal(0)),
            risk_percent=request.risk_percent,
            instrument=instrument,
            quote_to_account=view.quote_to_account,
            take_profit=target,
        )
    except EntrySkipped as skipped:
        return Refusal(IntentState.DENIED, skipped.code, str(skipped))
    except SizingError as error:
        return Refusal(IntentState.DENIED, "not_sizable", str(error))
    lots, loss, profit = size.lots, size.projected_loss, size.projected_profit
    if intent.lots is not None:
        steps = min(instrument.steps_floor(intent.lots), instrument.max_steps)
        lots = instrument.lots(steps)
        if steps < instrument.min_steps:
            return Refusal(
                IntentState.DENIED,
                "below_minimum_lots",
                f"{intent.lots:f} lots, the smallest is {instrument.volume_min:f}",
            )
        loss, profit = fixed_lots_projection(lots, size)
    elif equity <= 0:
        return Refusal(IntentState.DENIED, "no_equity", f"equity is {equity:f}")
    elif not size.accepted:
        return Refusal(IntentState.DENIED, skip_code(size.reason), size.reason)
    command = OpenOrder(
        tag=intent.tag,
        symbol=request.symbol,
        side=side,
        order_type=request.order_type,
        lots=lots,
        limit_price=request.limit_price,
        stop_loss=stop,
        take_profit=target,
        expires_at=None if request.order_type is OrderType.MARKET else intent.valid_until,
        max_deviation_points=int(intent.terms.get("max_deviation_points", 0)),
    )
    return EntryPlan(command, view.quote, equity, profit, loss, size.rr_ratio)

"""Whether an entry may be sent, decided inside the claiming transaction, and the order it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from toolkit.errors import SizingError
from toolkit.execution.builder import EntrySkipped, check_target, fixed_lots_projection, skip_code
from toolkit.execution.guarding.checks import GuardCheck, NeedsRates
from toolkit.execution.guarding.refusal import Refusal, concerns
from toolkit.execution.guarding.runaway import runaway_refusal
from toolkit.execution.intents import SLOT_STATES, IntentState
from toolkit.execution.ledger.records import AccountRecord, IntentRecord, RunRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ports import OpenOrder, OrderType
from toolkit.execution.principal import Principal
from toolkit.execution.request import TradeRequest
from toolkit.execution.sending.market_view import MarketView, equity_for
from toolkit.market import Quote
from toolkit.risk.management import calculate_position_size


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
    day_end: str = "UTC",
    last_mid: Decimal | None = None,
) -> EntryPlan | Refusal | NeedsRates:
    """Decide on one entry from the database as it is inside this transaction and from the stamped view.

    The caller reserves the guardrail slot by moving the intent to CLAIMED in the same transaction.
    """
    account = work.account(intent.account_id)
    run = None if intent.live_run_id is None else work.run(intent.live_run_id)
    refusal = _standing(work, intent, account, run, principal, view, wall_now)
    if refusal is not None:
        return refusal
    if account is None:  # refused above
        raise AssertionError("an entry has an account")
    open_trades = work.open_trades(intent.account_id)
    in_flight = [i for i in work.intents_in(intent.account_id, SLOT_STATES) if i.action.is_entry]
    unknown = [i for i in in_flight if i.state is IntentState.UNKNOWN and i.live_run_id == intent.live_run_id]
    if unknown:
        return Refusal(
            IntentState.DENIED,
            "unresolved_entry",
            f"intent {unknown[0].intent_id} of this run is UNKNOWN: resolve it first",
        )
    trips = work.standing_trips(intent.account_id, view.now)
    for trip in trips:
        if trip.reset_at is None and concerns(trip, intent.live_run_id, intent.symbol):
            words = f"guardrail {trip.rule} is in force: {trip.reason}"
            return Refusal(IntentState.DENIED, trip.rule, words, standing=trip)
    equity = equity_for(intent, run, open_trades, view.book)
    guards = GuardCheck(
        work,
        intent,
        account,
        run,
        view,
        run_equity=equity,
        open_trades=open_trades,
        in_flight=in_flight,
        trips=trips,
        day_end=day_end,
    )
    refusal = (
        _stale(intent, view, max_quote_age_seconds, guards.max_quote_age_seconds)
        or runaway_refusal(work, intent.account_id, guards.limits, view, last_mid)
        or guards.before_size()
    )
    if refusal is not None:
        return refusal
    plan = _plan(intent, request, view, equity)
    if isinstance(plan, Refusal):
        return plan
    return guards.on_size(plan.command.lots, _price(request, view)) or plan


def _stale(
    intent: IntentRecord, view: MarketView, policy_seconds: float, guard_seconds: Decimal | None
) -> Refusal | None:
    limit = policy_seconds if guard_seconds is None else min(policy_seconds, float(guard_seconds))
    age = view.quote_age_seconds()
    if age <= limit:
        return None
    words = f"quote of {intent.symbol} must be at most {limit:g} s old, was {age:.1f} s"
    return Refusal(IntentState.DENIED, "stale_quote", words, trip="stale_quote")


def _price(request: TradeRequest, view: MarketView) -> Decimal:
    return request.limit_price if request.limit_price is not None else view.quote.price_for(request.direction)


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
        expires_at=None if request.order_type is OrderType.MARKET else _expiry(intent),
        max_deviation_points=int(intent.terms.get("max_deviation_points", 0)),
    )
    return EntryPlan(command, view.quote, equity, profit, loss, size.rr_ratio)


def _expiry(intent: IntentRecord) -> datetime | None:
    """Return how long a pending order works; ``valid_until`` is how long it may be placed."""
    said = intent.terms.get("expires_at")
    return intent.valid_until if said is None else datetime.fromisoformat(str(said))

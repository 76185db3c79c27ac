"""The guardrails of a run and of its account, asked inside the claiming transaction.

The comparisons are those of the backtest (`toolkit.risk.guard_rules`); here is only what they are asked about: equity, its
bases, and what is open or on its way. The same questions are asked twice, of the run and of the account.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

from toolkit.clock import to_ns
from toolkit.execution.guarding.exposure import (
    Held,
    Rated,
    held_by_intents,
    held_by_positions,
    held_by_rests,
    net_by_currency,
    total_notional,
)
from toolkit.execution.guarding.refusal import Refusal
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.records import (
    AccountRecord,
    EquityMarkRecord,
    IntentRecord,
    RunRecord,
    TradeRecord,
    TripRecord,
)
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.sending.market_view import MarketView
from toolkit.market.platform_clock import day_span
from toolkit.risk import guard_rules as rules
from toolkit.risk.account_guards import AccountGuards
from toolkit.risk.guardrails import GUARD_REASONS, Guards
from toolkit.simulation.account import to_minor

ACCOUNT_SCOPE = "account"


@dataclass(frozen=True, slots=True)
class NeedsRates:
    """The claim has to be tried again with these symbols valued: a guard counts what is open in them."""

    symbols: tuple[str, ...]


@lru_cache(maxsize=256)
def guards_from_json(text: str) -> Guards:
    """Return the guards of a run's row."""
    return Guards.from_facts(json.loads(text)) if text else Guards()


@lru_cache(maxsize=256)
def account_guards_from_json(text: str) -> AccountGuards:
    """Return the guards of an account's row."""
    return AccountGuards.from_facts(json.loads(text)) if text else AccountGuards()


@dataclass(frozen=True, slots=True)
class _Scope:
    """A run, or the account as a whole, with what its guards count."""

    name: str
    guards: Guards
    equity: int
    equity_words: str
    run: RunRecord | None  # None: the account
    trades: list[TradeRecord]
    foreign: tuple[str, ...]  # positions that are nobody's of ours, by symbol; counted by the account only
    waiting: list[IntentRecord]


class GuardCheck:
    """Everything the guards of one entry are asked about, as it is inside this transaction.

    Parameters
    ----------
    open_trades, in_flight
        Of the whole account; ``in_flight`` are entries that hold a slot although no trade of theirs may be visible.
    trips
        Trips that have not ended, those that somebody has reset included: a rule that was reset rests until its end.
    day_end
        Name of the platform's clock, whose midnight ends the day.
    """

    def __init__(
        self,
        work: Transaction,
        intent: IntentRecord,
        account: AccountRecord,
        run: RunRecord | None,
        view: MarketView,
        *,
        run_equity: Decimal,
        open_trades: list[TradeRecord],
        in_flight: list[IntentRecord],
        trips: Sequence[TripRecord],
        day_end: str,
    ) -> None:
        self._work = work
        self._intent = intent
        self._account = account
        self._view = view
        self._trips = trips
        self._day_end = day_end
        self.limits = account_guards_from_json(account.guards_json)
        with_trade = {t.intent_id for t in open_trades}
        waiting = [i for i in in_flight if i.intent_id not in with_trade and i.intent_id != intent.intent_id]
        known = {t.position_id for t in open_trades}
        foreign = tuple(p.symbol for p in view.book.positions if p.position_id not in known)
        self._scopes: list[_Scope] = []
        if run is not None:
            self._scopes.append(
                _Scope(
                    str(run.live_run_id),
                    guards_from_json(run.guards_json),
                    to_minor(run_equity, account.currency),
                    f"{run_equity:f}",
                    run,
                    [t for t in open_trades if t.live_run_id == run.live_run_id],
                    (),
                    [i for i in waiting if i.live_run_id == run.live_run_id],
                )
            )
        if account.guards_json:
            equity = view.book.account.equity
            self._scopes.append(
                _Scope(
                    ACCOUNT_SCOPE,
                    self.limits.entries,
                    to_minor(equity, account.currency),
                    f"{equity:f}",
                    None,
                    open_trades,
                    foreign,
                    waiting,
                )
            )

    @property
    def max_quote_age_seconds(self) -> Decimal | None:
        """Tightest limit on the age of a quote, None when no guard sets one."""
        ages = [s.guards.max_quote_age_seconds for s in self._scopes]
        return min((a for a in ages if a is not None), default=None)

    def before_size(self) -> Refusal | None:
        """Ask every guard that does not need the size."""
        for scope in self._scopes:
            refusal = self._ask(scope)
            if refusal is not None:
                return refusal
        return None

    def on_size(self, lots: Decimal, price: Decimal) -> Refusal | NeedsRates | None:
        """Ask the guards on volume and exposure, with the size that would be sent."""
        for scope in self._scopes:
            answer = self._ask_size(scope, lots, price)
            if answer is not None:
                return answer
        return self._ask_currencies(lots)

    def _ask(self, scope: _Scope) -> Refusal | None:
        guards, view, symbol = scope.guards, self._view, self._intent.symbol
        rests = self._resting(scope)
        base = peak = scope.equity
        if guards.daily_loss_ppm or guards.drawdown_ppm:
            base, peak = self._bases(scope)
        in_symbol = sum(t.symbol == symbol for t in scope.trades) + scope.foreign.count(symbol)
        waiting_here = sum(i.symbol == symbol for i in scope.waiting)
        hours = guards.trading_hours
        code = rules.entry_denied(
            hours is not None and not hours.allows(to_ns(view.now)),
            0,  # a trip that stands was looked at before: it may be a person's, and may concern one symbol only
            base,
            scope.equity,
            0 if _name(rules.DAILY_LOSS) in rests else guards.daily_loss_ppm,
            peak,
            0 if _name(rules.DRAWDOWN) in rests else guards.drawdown_ppm,
            self._losses(scope) if guards.max_consecutive_losses else 0,
            0 if _name(rules.LOSING_STREAK) in rests else guards.max_consecutive_losses or 0,
            in_symbol + waiting_here,
            guards.max_open_per_symbol or 0,
            len(scope.trades) + len(scope.foreign) + len(scope.waiting),
            guards.max_open or 0,
            self._bars_since_exit(scope),
            guards.cooldown_bars,
            view.instrument.to_points(view.quote.spread),
            guards.max_spread_points(view.instrument.points_per_pip),
        )
        if code == 0:
            return None
        words = (
            f"equity {scope.equity_words}, day's base {base} and peak {peak} minor units, {in_symbol} open and "
            f"{waiting_here} on the way in {symbol}, spread {view.quote.spread:f}"
        )
        return self._refusal(scope, code, words)

    def _ask_size(self, scope: _Scope, lots: Decimal, price: Decimal) -> Refusal | NeedsRates | None:
        guards, view, symbol = scope.guards, self._view, self._intent.symbol
        limit = guards.max_steps(view.instrument.volume_step)
        if limit == 0 and guards.exposure_centi == 0:
            return None
        held = self._held(scope)
        steps = view.instrument.steps_floor(lots) + sum(
            view.instrument.steps_floor(h.lots) for h in held if h.symbol == symbol
        )
        notional = 0
        if guards.exposure_centi:
            missing = self._missing(held)
            if missing:
                return NeedsRates(missing)
            notional = self._rated()[symbol].notional(price, lots, self._account.currency)
            notional += total_notional(held, self._rated(), self._account.currency)
        code = rules.volume_denied(steps, limit, notional, scope.equity, guards.exposure_centi)
        if code == 0:
            return None
        words = f"{view.instrument.lots(steps):f} lots and {notional} minor units would be open on {scope.equity_words}"
        return self._refusal(scope, code, words)

    def _ask_currencies(self, lots: Decimal) -> Refusal | NeedsRates | None:
        if self.limits.max_currency_exposure <= 0:
            return None
        account = self._scopes[-1]  # an account with this limit has a scope
        new = Held(self._intent.symbol, self._intent.side, lots)
        held = self._held(account)
        missing = self._missing(held)
        if missing:
            return NeedsRates(missing)
        before = net_by_currency(held, self._rated(), self._account.currency)
        after = net_by_currency([*held, new], self._rated(), self._account.currency)
        limit = int(self.limits.max_currency_exposure * 100)
        for currency, amount in sorted(after.items()):
            grows = abs(amount) > abs(before.get(currency, 0))
            if grows and rules.exposure_exceeded(abs(amount), account.equity, limit):
                return Refusal(
                    IntentState.DENIED,
                    "guard_currency_exposure",
                    f"guard_currency_exposure: {amount} minor units of {currency} would be open on equity "
                    f"{account.equity_words}, {self.limits.max_currency_exposure:f} times equity is allowed",
                    trip="guard_currency_exposure",
                    account_wide=True,
                )
        return None

    def _refusal(self, scope: _Scope, code: int, words: str) -> Refusal:
        rule = GUARD_REASONS[code]
        until = day_span(self._view.now, self._day_end)[1] if rules.ends_with_the_day(code) else None
        whose = "account" if scope.run is None else "run"
        return Refusal(
            IntentState.DENIED,
            rule,
            f"{rule} of the {whose}: {words}",
            trip=rule,
            account_wide=scope.run is None,
            lasts=rules.holds_on(code),
            until=until,
        )

    def _resting(self, scope: _Scope) -> set[str]:
        owner = None if scope.run is None else scope.run.live_run_id
        return {t.rule for t in self._trips if t.reset_at is not None and t.live_run_id == owner}

    def _bases(self, scope: _Scope) -> tuple[int, int]:
        mark: EquityMarkRecord | None
        if scope.run is None:
            view = self._view
            mark = mark_account_day(self._work, self._account, view.book.account.equity, view.now, self._day_end)
        else:
            mark = self._work.equity_mark(self._account.account_id, scope.name)
        if mark is None:
            capital = 0 if scope.run is None else to_minor(scope.run.capital, self._account.currency)
            return capital, capital
        base, peak = (to_minor(m, self._account.currency) for m in (mark.base_equity, mark.peak_equity))
        return base, peak or scope.equity  # a peak of 0: somebody reset the drawdown, it begins anew tomorrow

    def _losses(self, scope: _Scope) -> int:
        """Count losing trades in a row, the last first, among those closed on the platform's present day."""
        midnight = day_span(self._view.now, self._day_end)[0]
        count = 0
        for trade in reversed(self._work.trades_closed_since(self._account.account_id, midnight)):
            if scope.run is not None and trade.live_run_id != scope.run.live_run_id:
                continue
            if trade.booked >= 0:
                break
            count += 1
        return count

    def _bars_since_exit(self, scope: _Scope) -> int:
        # The run knows its bars and says from which bar open on an exit still counts; the exits are read here, in the
        # transaction, so that one filled a moment ago is seen.
        start = self._intent.terms.get("cooldown_from")
        if scope.run is None or scope.guards.cooldown_bars <= 0 or start is None:
            return -1
        last = self._work.last_exit(scope.run.live_run_id, self._intent.symbol)
        return 0 if last is not None and last >= datetime.fromisoformat(str(start)) else -1

    def _held(self, scope: _Scope) -> list[Held]:
        positions = self._view.book.positions
        if scope.run is not None:
            ours = {t.position_id for t in scope.trades}
            positions = tuple(p for p in positions if p.position_id in ours)
        rests = held_by_rests(self._work, self._account.account_id, self._view.book.orders, counted=scope.waiting)
        owner = None if scope.run is None else scope.run.live_run_id
        return [
            *held_by_positions(positions),
            *held_by_intents(self._work, scope.waiting),
            *(h for h in rests if owner is None or (h.intent is not None and h.intent.live_run_id == owner)),
        ]

    def _missing(self, held: Sequence[Held]) -> tuple[str, ...]:
        return tuple(sorted({h.symbol for h in held} - set(self._rated())))

    def _rated(self) -> dict[str, Rated]:
        view = self._view
        own = Rated(view.instrument, view.quote, view.quote_to_account)
        return {**view.rated, view.instrument.symbol: own}


def mark_account_day(
    work: Transaction, account: AccountRecord, equity: Decimal, now: datetime, day_end: str
) -> EquityMarkRecord:
    """Return the account's equity mark of the platform's present day; the first look of a day makes it."""
    midnight = day_span(now, day_end)[0]
    mark = work.equity_mark(account.account_id, ACCOUNT_SCOPE)
    if mark is not None and mark.day >= midnight:
        return mark
    fresh = EquityMarkRecord(
        account_id=account.account_id,
        scope=ACCOUNT_SCOPE,
        day=midnight,
        base_equity=equity,
        peak_equity=equity if mark is None else max(equity, mark.peak_equity),
        updated_at=now,
    )
    work.put_equity_mark(fresh)
    return fresh


def _name(code: int) -> str:
    return GUARD_REASONS[code]

"""Guardrails at the claim: of a run and of its account, their trips, what they count, and what a reset does."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from execution_desk import START, memory_desk
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.execution.guarding.exposure import Held, Rated, net_by_currency
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.records import EquityMarkRecord
from toolkit.execution.ports import ClientTag, OpenOrder, OrderResult, OrderType, Outcome
from toolkit.market import Instrument, Quote, Rate, Side
from toolkit.risk.account_guards import AccountGuards
from toolkit.risk.guardrails import Guards

MIDNIGHT = datetime(2026, 3, 3, tzinfo=UTC)


def guarded(run=None, account=None):
    """A desk whose run and account have these guards."""
    return memory_desk(
        json.dumps((run or Guards()).facts()), json.dumps(account.facts()) if account is not None else ""
    )


def enter(desk, **changes):
    """Signal once; return where the intent stands and why."""
    after = desk.service.execute(desk.entry(take_profit=None, **changes).intent_id)
    return after.state, after.reason


def trips(desk, at=START):
    with desk.read() as work:
        return work.standing_trips(desk.account_id, at)


def by_hand(desk, lots="0.3", side=Side.BUY):
    """Open a position that is not ours."""
    order = OpenOrder(ClientTag("manual", 0), "EURUSD", side, OrderType.MARKET, Decimal(lots), None, Decimal(1))
    return desk.platform.fill(order).position_id


def lose(desk, times=1):
    """Open and stop out at a loss, several times."""
    for _ in range(times):
        _, position = desk.opened(take_profit=None)
        desk.platform.tick(1, "1.09780", "1.09790")
        desk.platform.close_out(position, None, "stop_loss")
        desk.platform.tick(1, "1.10000", "1.10010")
        desk.service.sync_book()


FILLED = (IntentState.FILLED, "")


def denied(rule):
    return (IntentState.DENIED, rule)


def test_max_open_counts_every_symbol_of_the_run():
    """Two may be open; the third is denied and may go once one is closed."""
    desk = guarded(Guards(max_open=2))
    assert enter(desk) == FILLED
    assert enter(desk, side=Side.SELL, stop_loss=Decimal("1.10200")) == FILLED
    assert enter(desk) == denied("guard_max_open")
    desk.platform.close_out(next(iter(desk.platform.positions)), None, "manual")
    desk.service.sync_book()
    assert enter(desk) == FILLED


def test_a_daily_loss_holds_to_the_platforms_midnight():
    """It trips once; equity that comes back does not open the door again, midnight does."""
    desk = guarded(Guards(daily_loss_percent=1))
    lose(desk)
    assert enter(desk) == denied("guard_daily_loss")
    (trip,) = trips(desk)
    assert (trip.until, trip.symbol, trip.live_run_id) == (MIDNIGHT, "", desk.live_run_id)
    with desk.store.begin(desk.principal) as work:
        work.add_realised(desk.live_run_id, Decimal(5000), 0, START)
        work.commit()
    assert enter(desk) == denied("guard_daily_loss")
    assert trips(desk)[0].denied_count == 2
    desk.platform.tick((MIDNIGHT - desk.platform.time).total_seconds())
    assert trips(desk, desk.platform.time) == []
    assert enter(desk)[0] is IntentState.FILLED


def test_a_trip_survives_a_restart():
    """Another process, started later, finds it in force."""
    desk = guarded(Guards(drawdown_percent=1))
    lose(desk)
    assert enter(desk) == denied("guard_drawdown")
    desk.platform.tick(90_000)
    desk.service = desk.make_service("worker-b")
    assert enter(desk) == denied("guard_drawdown")
    assert trips(desk, desk.platform.time)[0].denied_count == 2


def test_a_drawdown_is_measured_from_the_highest_start_of_a_day():
    """The peak is the row's; what was earned within the day does not raise it."""
    desk = guarded(Guards(drawdown_percent=10))
    mark = EquityMarkRecord(
        account_id=desk.account_id, scope=str(desk.live_run_id), day=START, base_equity=Decimal(10_000),
        peak_equity=Decimal(11_200), updated_at=START,
    )  # fmt: skip
    with desk.store.begin(desk.principal) as work:
        work.put_equity_mark(mark)
        work.commit()
    assert enter(desk) == denied("guard_drawdown")
    desk = guarded(Guards(drawdown_percent=10))
    with desk.store.begin(desk.principal) as work:
        work.put_equity_mark(
            replace(mark, account_id=desk.account_id, scope=str(desk.live_run_id), peak_equity=Decimal(11_000))
        )
        work.commit()
    assert enter(desk) == FILLED


def test_losing_trades_in_a_row_stop_the_day():
    """Two losers in a row stop entries; a winner in between would have begun the count anew."""
    desk = guarded(Guards(max_consecutive_losses=2))
    lose(desk)
    _, position = desk.opened(take_profit=None)
    desk.platform.tick(1, "1.10100", "1.10110")
    desk.platform.close_out(position, None, "take_profit")
    desk.platform.tick(1, "1.10000", "1.10010")
    desk.service.sync_book()
    lose(desk)
    assert enter(desk)[0] is IntentState.FILLED
    desk.platform.close_out(next(iter(desk.platform.positions)), None, "manual")
    desk.service.sync_book()
    assert enter(desk) == denied("guard_losing_streak")
    assert trips(desk)[0].until == MIDNIGHT


def test_a_reset_rule_rests_until_its_trip_would_have_ended():
    """Somebody said go on: the daily loss does not deny again today; other rules still do."""
    desk = guarded(Guards(daily_loss_percent=1, max_open=1))
    lose(desk)
    assert enter(desk) == denied("guard_daily_loss")
    with desk.store.begin(desk.principal) as work:
        work.put_trip(replace(trips(desk)[0], reset_at=START, reset_by="me"))
        work.commit()
    assert enter(desk)[0] is IntentState.FILLED
    assert enter(desk) == denied("guard_max_open")


def test_size_guards_count_what_is_open():
    """Lots and notional value of the run's open positions are added to the new one's."""
    desk = guarded(Guards(max_lots="0.6"))
    assert enter(desk, risk_percent=Decimal("0.5"))[0] is IntentState.FILLED  # 0.25 lots
    assert enter(desk, risk_percent=Decimal("0.5"))[0] is IntentState.FILLED
    assert enter(desk, risk_percent=Decimal("0.5")) == denied("guard_max_lots")
    desk = guarded(Guards(max_exposure=6))  # 60,000 USD
    assert enter(desk, risk_percent=Decimal("0.5"))[0] is IntentState.FILLED  # 27,500 USD
    assert enter(desk, risk_percent=Decimal("0.5"))[0] is IntentState.FILLED
    assert enter(desk, risk_percent=Decimal("0.5")) == denied("guard_max_exposure")


def test_an_order_whose_fate_is_unknown_counts_with_its_volume():
    """An UNKNOWN entry of another run holds its lots against the account's limit."""
    desk = guarded(account=AccountGuards(max_lots="0.6"))
    desk.platform.script = [OrderResult(Outcome.UNKNOWN)]
    assert enter(desk, risk_percent=Decimal("0.8"))[0] is IntentState.UNKNOWN  # 0.40 lots
    other = replace(desk)
    other.live_run_id = uuid4()
    other.service, other.ordinal = desk.service, 500
    with desk.read() as work:
        desk.store.add_run(replace(work.run(desk.live_run_id), live_run_id=other.live_run_id))
    assert enter(other, risk_percent=Decimal("0.8")) == denied("guard_max_lots")


def test_entries_keep_to_the_trading_hours():
    """Outside of them entries are denied, exits are not."""
    desk = guarded(Guards(trading_hours="Mon-Fri 08:00-12:00"))
    _, position = desk.opened(take_profit=None)
    desk.platform.tick(7200)
    assert enter(desk) == denied("guard_trading_hours")
    assert desk.service.execute(desk.exit(Action.CLOSE_POSITION, position).intent_id).state is IntentState.FILLED


def test_a_guard_may_ask_for_a_fresher_quote_than_the_service():
    """The tighter of the two limits counts."""
    desk = guarded(Guards(max_quote_age_seconds=2))
    desk.platform.time += timedelta(seconds=3)
    assert enter(desk) == denied("stale_quote")
    desk = guarded()
    desk.platform.time += timedelta(seconds=3)
    assert enter(desk) == FILLED


def test_account_guards_count_all_runs_and_manual_positions():
    """A position opened by hand takes one of the account's places, not one of the run's."""
    desk = guarded(Guards(max_open_per_symbol=2), AccountGuards(max_open=2))
    by_hand(desk)
    assert enter(desk) == FILLED
    assert enter(desk) == denied("guard_max_open")
    assert trips(desk, START - timedelta(seconds=1))[-1].live_run_id is None


def test_a_runs_wider_guards_do_not_loosen_the_accounts():
    """Both are asked; the tighter one denies."""
    assert enter(guarded(Guards(max_lots=9), AccountGuards(max_lots="0.1"))) == denied("guard_max_lots")
    assert enter(guarded(Guards(max_lots="0.1"), AccountGuards(max_lots=9))) == denied("guard_max_lots")


def test_the_accounts_day_begins_with_its_first_look():
    """The base is the account's equity at the first look of the platform's day, kept by reconciliation."""
    desk = guarded(account=AccountGuards(daily_loss_percent=1))
    desk.service.reconcile()
    lose(desk)
    assert enter(desk) == denied("guard_daily_loss")
    (trip,) = trips(desk)
    assert (trip.live_run_id, trip.until) == (None, MIDNIGHT)
    desk.platform.tick((MIDNIGHT - desk.platform.time).total_seconds())
    desk.service.reconcile()
    with desk.read() as work:
        assert work.equity_mark(desk.account_id, "account").base_equity == desk.platform.balance
    assert enter(desk)[0] is IntentState.FILLED


def test_the_orders_per_minute_cap_outlives_the_process():
    """The third entry within a minute of the platform's clock is denied, by any process; a minute later it may go."""
    desk = guarded(account=AccountGuards(orders_per_minute=2))
    assert [enter(desk)[0] for _ in range(2)] == [IntentState.FILLED] * 2
    desk.service.lease.release()
    desk.service = desk.make_service("worker-b")
    assert enter(desk) == denied("orders_per_minute")
    desk.platform.tick(61)
    assert enter(desk) == FILLED


def test_the_price_collar_denies_one_look():
    """A jump beyond the collar denies once; the next look takes the new price as reference."""
    desk = guarded(account=AccountGuards(price_collar_percent="0.05"))
    assert enter(desk) == FILLED
    desk.platform.tick(1, "1.10100", "1.10110")
    assert enter(desk) == denied("price_collar")
    assert enter(desk) == FILLED


@pytest.mark.parametrize("booked_by", ["sync_book", "reconcile"])
@pytest.mark.parametrize("of_the_account", [False, True])
def test_the_rest_of_a_partly_filled_pending_entry_counts(booked_by, of_the_account):
    """What still works of it may become volume any time: 0.2 filled and 0.3 working are 0.5, whoever booked the fill."""
    guards = ({"account": AccountGuards(max_lots="0.9")}) if of_the_account else ({"run": Guards(max_lots="0.9")})
    desk = guarded(**guards)
    limit = Decimal("1.09900")
    working = desk.service.execute(
        desk.entry(
            order_type=OrderType.LIMIT, limit_price=limit, stop_loss=Decimal("1.09700"), take_profit=None
        ).intent_id
    )
    assert working.state is IntentState.WORKING
    (order,) = desk.platform.orders.values()
    assert order.lots == Decimal("0.50")
    part = OpenOrder(working.tag, "EURUSD", Side.BUY, OrderType.MARKET, Decimal("0.2"), None, Decimal("1.09700"))
    filled = desk.platform.fill(part)
    rest = replace(order, filled_lots=Decimal("0.2"), position_id=filled.position_id, state="partial")
    desk.platform.orders[order.order_id] = rest
    getattr(desk.service, booked_by)()
    assert enter(desk, risk_percent=Decimal(1)) == denied("guard_max_lots")
    assert enter(desk, risk_percent=Decimal("0.8"))[0] is IntentState.FILLED
    del desk.platform.orders[order.order_id]
    assert enter(desk, risk_percent=Decimal("0.5"))[0] is IntentState.FILLED


def test_currency_exposure_is_net_and_may_always_shrink():
    """Long EUR beyond the limit is denied; an entry that makes the net position smaller is not."""
    desk = guarded(account=AccountGuards(max_currency_exposure=5))
    assert enter(desk, risk_percent=Decimal("0.8"))[0] is IntentState.FILLED  # 0.40 lots, 44,000 USD
    assert enter(desk, risk_percent=Decimal("0.8")) == denied("guard_currency_exposure")
    assert (
        enter(desk, side=Side.SELL, stop_loss=Decimal("1.10200"), risk_percent=Decimal("0.8"))[0] is IntentState.FILLED
    )
    assert enter(desk, risk_percent=Decimal("0.8"))[0] is IntentState.FILLED


def test_exposure_nets_over_pairs():
    """Long EURUSD and short EURGBP leave no euro, are short dollars and long pounds."""

    def rated(symbol, base, quote, rate, price):
        facts = Instrument(
            symbol=symbol, base_currency=base, quote_currency=quote, pip_size="0.0001", contract_size="100000",
            volume_min="0.01", volume_max="100", volume_step="0.01",
        )  # fmt: skip
        return Rated(facts, Quote(price, price, START), Rate.of(rate))

    pairs = {
        "EURUSD": rated("EURUSD", "EUR", "USD", "1", "1.20000"),
        "EURGBP": rated("EURGBP", "EUR", "GBP", "1.5", "0.80000"),
    }
    held = [Held("EURUSD", Side.BUY, Decimal("0.5")), Held("EURGBP", Side.SELL, Decimal("0.5"))]
    assert net_by_currency(held, pairs, "USD") == {"EUR": 0, "USD": -6_000_000, "GBP": 6_000_000}


def test_two_runs_and_a_manual_position_stay_apart():
    """Each run closes its own; the position opened by hand is never touched, and counts against neither run."""
    desk = guarded(Guards(max_open_per_symbol=1))
    other = replace(desk)
    other.live_run_id = uuid4()
    other.service = desk.service
    other.ordinal = 500
    with desk.read() as work:
        desk.store.add_run(replace(work.run(desk.live_run_id), live_run_id=other.live_run_id))
    manual = by_hand(desk)
    _, mine = desk.opened(take_profit=None)
    _, theirs = other.opened(take_profit=None)
    assert enter(desk) == denied("guard_max_open_per_symbol")
    stranger = desk.service.execute(desk.exit(Action.CLOSE_POSITION, theirs).intent_id)
    assert (stranger.state, stranger.reason) == (IntentState.REJECTED, "not_ours")
    assert desk.service.execute(desk.exit(Action.CLOSE_POSITION, manual).intent_id).state is IntentState.REJECTED
    assert desk.service.execute(desk.exit(Action.CLOSE_POSITION, mine).intent_id).state is IntentState.FILLED
    assert set(desk.platform.positions) == {manual, theirs}
    with desk.read() as work:
        assert work.run(other.live_run_id).realised == Decimal("-0.35")
        assert work.run(desk.live_run_id).realised == Decimal("-0.70") - 10 * Decimal("0.5")


@pytest.mark.parametrize(
    "wrong", [{"orders_per_minute": 0}, {"cooldown_bars": 2}, {"moon_phase": 1}, {"price_collar_percent": -1}]
)
def test_account_guards_out_of_range_are_refused(wrong):
    """Also those that only a run can have."""
    with pytest.raises(BadInput):
        AccountGuards(**wrong)


@given(
    rate=st.integers(0, 60), lots=st.sampled_from([None, "0.5", 3]), exposure=st.sampled_from([None, "2.50"]),
    hours=st.sampled_from([None, "Mon-Fri 08:00-20:00 Europe/London"]),
)  # fmt: skip
@settings(max_examples=30)
def test_account_guards_survive_their_facts(rate, lots, exposure, hours):
    """What is stored is what was set."""
    guards = AccountGuards(
        orders_per_minute=rate or None, max_lots=lots, max_currency_exposure=exposure, trading_hours=hours
    )
    assert AccountGuards.from_facts(json.loads(json.dumps(guards.facts()))) == guards

"""Random signals, replays, halts, restarts, stops and guardrail trips, found by hypothesis: nothing is ordered twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal

from execution_desk import memory_desk
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from toolkit.errors import LeaseLost
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.records import EquityMarkRecord
from toolkit.execution.ports import OpenOrder, OrderResult, Outcome
from toolkit.execution.recovery.kill_switch import halt, resume
from toolkit.gateways.local import ExecutionGatewayLocal
from toolkit.risk.account_guards import AccountGuards
from toolkit.risk.guardrails import Guards

ANSWERS = {
    "unknown, lost": OrderResult(Outcome.UNKNOWN),
    "requote": OrderResult(Outcome.NOT_ACCEPTED),
    "refused": OrderResult(Outcome.FINAL),
    "closed": OrderResult(Outcome.WAIT),
}


class Account(RuleBasedStateMachine):
    """One account as a person and a market would use it."""

    def __init__(self) -> None:
        super().__init__()
        guards = Guards(max_open_per_symbol=2, cooldown_bars=1, daily_loss_percent=2, max_consecutive_losses=2)
        limits = AccountGuards(max_open=3, drawdown_percent=8, orders_per_minute=6)
        self.desk = memory_desk(json.dumps(guards.facts()), json.dumps(limits.facts()))
        self.desk.platform.on_send = self.check_send
        self.wrong: list[str] = []
        self.worker = 0
        self.start()

    def start(self) -> None:
        self.worker += 1
        self.service = self.desk.make_service(f"w{self.worker}")
        self.gateway = ExecutionGatewayLocal(self.desk.store, self.desk.principal, self.service)

    def check_send(self, command) -> None:
        """No entry leaves while a guardrail that has tripped holds on."""
        if not isinstance(command, OpenOrder):
            return
        with self.desk.read() as work:
            standing = work.standing_trips(self.desk.account_id, self.desk.platform.time)
        self.wrong += [trip.rule for trip in standing if trip.reset_at is None]

    def run(self) -> None:
        try:
            self.gateway.deliver(self.desk.account_id)
        except LeaseLost:
            self.desk.platform.tick(40)
            self.service.reconcile()
            self.gateway.deliver(self.desk.account_id)

    @rule(ordinal=st.integers(min_value=1, max_value=12))
    def signal_or_replay(self, ordinal):
        """The same ordinal is the same signal, however often it comes."""
        self.desk.entry(ordinal=ordinal, take_profit=None)
        self.run()

    @rule(answer=st.sampled_from(sorted(ANSWERS)))
    def the_platform_misbehaves_next(self, answer):
        self.desk.platform.script = [ANSWERS[answer]]

    @rule()
    def an_order_is_accepted_and_its_answer_lost(self):
        def step(command):
            self.desk.platform.fill(command)
            return OrderResult(Outcome.UNKNOWN)

        self.desk.platform.script = [step]

    @precondition(lambda self: self.desk.platform.positions)
    @rule(data=st.data(), reason=st.sampled_from(["stop_loss", "manual", "signal"]))
    def a_position_goes(self, data, reason):
        position = data.draw(st.sampled_from(sorted(self.desk.platform.positions)))
        if reason == "signal":
            with self.desk.read() as work:
                known = work.trade_of_position(self.desk.account_id, position)
            if known is not None:
                self.desk.exit(Action.CLOSE_POSITION, position)
                self.run()
        else:
            self.desk.platform.close_out(position, None, reason)

    @precondition(lambda self: self.desk.platform.positions)
    @rule(pips=st.sampled_from([-200, -19, -1, 30]))
    def the_market_moves_and_stops_out(self, pips):
        """Everything is closed at a price that far away: losses trip the guards of run and account."""
        venue = self.desk.platform
        old = venue.quotes["EURUSD"]
        step = pips * Decimal("0.0001")
        venue.tick(1, f"{old.bid + step}", f"{old.ask + step}")
        for position in sorted(venue.positions):
            venue.close_out(position, None, "stop_loss")
        venue.tick(1, f"{old.bid}", f"{old.ask}")
        self.service.lease.ensure(1)
        self.service.reconcile()

    @rule()
    def a_person_resets_the_guardrails(self):
        with self.desk.store.begin(self.desk.principal) as work:
            for trip in work.standing_trips(self.desk.account_id, self.desk.platform.time):
                ended = trip.until or trip.tripped_at
                work.put_trip(replace(trip, reset_at=self.desk.clock.now(), reset_by="me", until=ended))
            work.commit()

    @rule()
    def midnight_passes(self):
        self.desk.platform.tick(86_400)
        self.service.lease.ensure(1)
        self.service.reconcile()
        desk, now = self.desk, self.desk.platform.time
        with desk.store.begin(desk.principal) as work:  # as the run does at the first bar of a day
            run = work.run(desk.live_run_id)
            equity = run.capital + run.realised
            scope = str(desk.live_run_id)
            mark = EquityMarkRecord(
                account_id=desk.account_id, scope=scope, day=now, base_equity=equity, peak_equity=equity, updated_at=now
            )
            work.put_equity_mark(mark)
            work.commit()

    @rule()
    def the_process_restarts(self):
        self.start()
        self.desk.platform.tick(40)
        self.service.reconcile()

    @rule()
    def halt_and_signal(self):
        halt(self.service, self.desk.principal, "x")
        sent = len(self.desk.platform.sent)
        self.desk.entry(take_profit=None, ordinal=1000 + self.desk.ordinal)
        self.run()
        assert not any(isinstance(c, OpenOrder) for c in self.desk.platform.sent[sent:])
        resume(self.service, self.desk.principal)

    @rule(seconds=st.sampled_from([1, 30, 400]))
    def time_passes(self, seconds):
        self.desk.platform.tick(seconds)
        self.service.lease.ensure(1)
        self.service.reconcile()

    @invariant()
    def no_signal_has_two_orders(self):
        opens = Counter(d.tag_text for d in self.desk.platform.deals if d.entry == "in")
        assert all(n == 1 for n in opens.values())

    @invariant()
    def nothing_is_sent_against_a_trip(self):
        assert self.wrong == []

    @invariant()
    def never_more_than_two_open(self):
        assert len(self.desk.platform.positions) <= 2

    def teardown(self) -> None:
        self.desk.platform.script = []
        for _ in range(4):
            self.desk.platform.tick(400)
            self.service.lease.ensure(1)
            self.service.reconcile()
            self.run()
        with self.desk.read() as work:
            trades = {t.position_id for t in work.open_trades(self.desk.account_id)}
            left = work.intents_in(self.desk.account_id, [IntentState.UNKNOWN, IntentState.SENDING, IntentState.NEW])
            run = work.run(self.desk.live_run_id)
        assert trades == set(self.desk.platform.positions)
        assert left == []
        assert run.realised == sum((d.profit + d.commission for d in self.desk.platform.deals), Decimal(0))


TestAccount = Account.TestCase
TestAccount.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_the_machine_reaches_trips():
    """The rules above do trip guards of the run and of the account; else their invariant would say nothing."""
    machine = Account()
    machine.signal_or_replay(ordinal=1)
    machine.the_market_moves_and_stops_out(pips=-200)
    machine.signal_or_replay(ordinal=2)
    assert len(machine.desk.platform.sent) == 1
    with machine.desk.read() as work:
        (trip,) = work.standing_trips(machine.desk.account_id, machine.desk.platform.time)
    assert trip.rule == "guard_daily_loss"
    machine.midnight_passes()
    machine.signal_or_replay(ordinal=3)
    with machine.desk.read() as work:
        (trip,) = work.standing_trips(machine.desk.account_id, machine.desk.platform.time)
    assert trip.live_run_id is None and trip.rule == "guard_drawdown"
    machine.a_person_resets_the_guardrails()
    machine.teardown()

"""Random signals, replays, halts, restarts and stops, found by hypothesis: replayed signals place no second order."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal

from execution_desk import memory_desk
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from toolkit.errors import LeaseLost
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ports import OpenOrder, OrderResult, Outcome
from toolkit.execution.recovery.kill_switch import halt, resume
from toolkit.gateways.local import ExecutionGatewayLocal
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
        self.desk = memory_desk(json.dumps(Guards(max_open_per_symbol=2, cooldown_bars=1).facts()))
        self.worker = 0
        self.start()

    def start(self) -> None:
        self.worker += 1
        self.service = self.desk.make_service(f"w{self.worker}")
        self.gateway = ExecutionGatewayLocal(self.desk.store, self.desk.principal, self.service)

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

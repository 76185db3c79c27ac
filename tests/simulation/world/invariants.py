"""What must hold in the simulated world: at every call, after every step, and once it is calm."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any
from uuid import UUID

from toolkit.execution.intents import BARRIER_STATES, Action, IntentState, check_transition
from toolkit.execution.ledger.memory import MemoryStore
from toolkit.execution.ledger.records import AccountRecord, IntentRecord, RunRecord, TradeRecord
from toolkit.execution.ledger.submit import target_of
from toolkit.execution.ports import OpenOrder, PlatformCommand
from toolkit.execution.principal import Principal
from toolkit.execution.trade_service import TradeService
from world.ground import ACCOUNT, MAX_OPEN, RUN, Violation, Worker

S = IntentState


class Invariants:
    """The checks of a `World`, which fills in everything declared here."""

    seconds: float
    broken: list[str]
    checked: tuple[int, int]
    counts: Counter[str]
    current: Worker | None
    principal: Principal
    memory: Any
    store: Any
    venue: Any

    def number(self, intent_id: UUID) -> int:
        """Return the intent's number in this world; ids themselves are random."""
        raise NotImplementedError

    def memory_account(self) -> AccountRecord:
        """Return the account as it is now."""
        raise NotImplementedError

    def memory_run(self) -> RunRecord:
        """Return the run as it is now."""
        raise NotImplementedError

    def check_send(self, command: PlatformCommand) -> None:
        """What must hold at the very call of the platform; noted, because the service takes every exception as ambiguous."""
        worker = self.current
        if worker is None or worker.service is None:
            return
        held = worker.service.lease.held
        if held is None or self.seconds > held.deadline:
            self.broken.append("fence: a worker called the platform after its lease was over")
        with self.memory.begin(self.principal, write=False) as work:
            owners = work.intents_by_tag(ACCOUNT, {command.tag.text})
        if not owners:
            self.broken.append("I2: the platform heard of an order that is not in the store")
            return
        intent = owners[0]
        if intent.state is not S.SENDING:
            self.broken.append(f"I2: sent while the store says {intent.state.value}")
        if not isinstance(command, OpenOrder):
            return
        if self.memory_account().halted_at is not None:
            self.broken.append("I5: an entry was sent while the account was halted")
        if self.memory_run().status != "RUNNING":
            self.broken.append("I5: an entry was sent after the run was told to stop")
        if intent.valid_until is not None and self.venue.now() > intent.valid_until + self.venue.clock_tolerance:
            self.broken.append("I5: an entry was sent after its time")

    def check_always(self) -> None:
        """What must hold after every step."""
        if self.broken:
            raise Violation(self.broken[0])
        twice = [tag for tag, n in self.venue.accepted_opens.items() if n > 1]
        if twice:
            raise Violation(f"I1: {len(twice)} intents have two orders at the platform")
        ours = len(self.venue.positions) - sum(1 for p in self.venue.positions if p in self.venue.foreign)
        if ours > MAX_OPEN:
            raise Violation(f"I4: {ours} positions open, {MAX_OPEN} allowed")
        if self.venue.touched_foreign:
            raise Violation("I3: a foreign position was touched")
        seen = (len(self.venue.deals), self.store.commits)
        if seen != self.checked:
            self.checked = seen
            self._check_books()

    def _check_books(self) -> None:
        """What the store says of the platform: never more than happened there, and exactly what it has seen of it."""
        ids = {d.deal_id for d in self.venue.deals}
        with self.memory.begin(self.principal, write=False) as work:
            known = work.known_deals(ACCOUNT, ids)
            trades = work.open_trades(ACCOUNT)
            linked = {link.trade_id for link in work.links(RUN)}
            run = work.run(RUN)
            unknown = work.intents_in(ACCOUNT, [S.UNKNOWN, S.ABANDONED])
        booked = Decimal(0)
        left: Counter[str] = Counter()
        for deal in self.venue.deals:
            if deal.deal_id not in known or deal.position_id in self.venue.foreign:
                continue
            booked += deal.profit + deal.commission + deal.swap
            left[deal.position_id] += int(deal.lots * 100) * (1 if deal.entry == "in" else -1)
        for trade in trades:
            if trade.trade_id not in linked:
                raise Violation(f"I3: the trade of position {trade.position_id} is linked to no run")
            if trade.position_id in self.venue.foreign:
                raise Violation(f"I3: the foreign position {trade.position_id} was taken for ours")
            if left[trade.position_id] != trade.open_lots * 100:
                raise Violation(f"I7: position {trade.position_id} has {trade.open_lots} lots in the store")
        if run is None or run.realised != booked:
            raise Violation(f"I7: the store booked {run and run.realised}, the deals it has seen say {booked}")
        if isinstance(self.memory, MemoryStore) and unknown:
            told = {e.intent_id for e in self.memory.run_events.values() if e.level == "error"}
            silent = [i for i in unknown if i.intent_id not in told]
            if silent:
                raise Violation(f"I2: nobody was told that intent {self.number(silent[0].intent_id)} is unresolved")

    def check_protected(self, bare_since: dict[str, float], service: TradeService) -> None:
        """After a whole reconciliation: a position that this process saw without its stop for too long is being closed."""
        bare = {p.position_id for p in self.venue.positions.values() if p.stop_loss is None}
        for position_id in set(bare_since) - bare:
            del bare_since[position_id]
        late = {
            i for i, since in bare_since.items() if self.seconds - since > 2 * service.policy.protection_limit_seconds
        }
        for position_id in bare:
            bare_since.setdefault(position_id, self.seconds)
        if not late:
            return
        with self.memory.begin(self.principal, write=False) as work:
            exits = [i for i in work.intents_in(ACCOUNT, list(S)) if i.action is Action.CLOSE_POSITION]
            ours = {t.position_id for t in work.open_trades(ACCOUNT)}
        closing = {json.loads(i.payload_json)["position_id"] for i in exits}
        for position_id in sorted(late & ours - closing):
            self.broken.append(f"I6: position {position_id} is without its stop and nobody closes it")

    def check_settled(self) -> None:
        """What must hold once the world is calm."""
        with self.memory.begin(self.principal, write=False) as work:
            everything = work.intents_in(ACCOUNT, list(S))
            open_trades = {t.position_id: t for t in work.open_trades(ACCOUNT)}
            histories = {i.intent_id: work.events(i.intent_id) for i in everything}
            run = work.run(RUN)
        for intent in everything:
            if intent.state in BARRIER_STATES or intent.state in (S.UNKNOWN, S.WORKING, S.PROTECTION_PENDING):
                raise Violation(f"I2: intent {self.number(intent.intent_id)} is left {intent.state.value}")
            self._check_history(intent, histories[intent.intent_id])
            self._check_carried_out(intent, open_trades)
        held = {p.position_id: p for p in self.venue.positions.values() if p.position_id not in self.venue.foreign}
        if set(held) != set(open_trades):
            raise Violation(f"I3: platform holds {sorted(held)}, the store says {sorted(open_trades)}")
        for position_id, position in held.items():
            if position.lots != open_trades[position_id].open_lots:
                raise Violation(
                    f"I7: {position.lots} lots at the platform, {open_trades[position_id].open_lots} in the store"
                )
            if position.stop_loss is None:
                raise Violation(f"I6: position {position_id} has no stop")
        booked = sum(
            (d.profit + d.commission + d.swap for d in self.venue.deals if d.position_id not in self.venue.foreign),
            Decimal(0),
        )
        if run is None or booked != run.realised:
            raise Violation(f"I7: platform booked {booked}, the store {run and run.realised}")
        self.counts.update(f"end_{i.state.value}" for i in everything)

    def _check_carried_out(self, intent: IntentRecord, open_trades: dict[str, TradeRecord]) -> None:
        """An exit that was asked for and not refused has reached its target, however long the market was closed."""
        if intent.action.is_entry or intent.state is S.REJECTED:
            return
        if intent.state not in (S.FILLED, S.PARTIAL, S.CANCELLED):
            raise Violation(f"I2: exit {self.number(intent.intent_id)} was given up: {intent.state.value}")
        left = open_trades.get(target_of(intent) or "")
        if left is None or intent.state is not S.FILLED:
            return
        if intent.action is Action.CLOSE_POSITION:
            raise Violation(f"I2: exit {self.number(intent.intent_id)} is FILLED, its position is open")
        if (
            intent.action is Action.REDUCE_POSITION
            and left.open_lots > json.loads(intent.payload_json)["remaining_lots"]
        ):
            raise Violation(f"I2: exit {self.number(intent.intent_id)} is FILLED, {left.open_lots} lots are left")

    def _check_history(self, intent: IntentRecord, events: list[Any]) -> None:
        state, seq, sent = "", -1, False
        for event in events:
            if event.from_state != state or event.seq <= seq:
                raise Violation(f"history of intent {self.number(intent.intent_id)} is broken at {event.seq}")
            if event.from_state:
                check_transition(intent.action, S(event.from_state), S(event.to_state), was_sent=sent)
            sent = sent or event.to_state == "SENDING"
            state, seq = event.to_state, event.seq
        if state != intent.state.value:
            raise Violation(
                f"history of intent {self.number(intent.intent_id)} ends {state}, its row {intent.state.value}"
            )

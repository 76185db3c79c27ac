"""Settling what is half-way, on evidence only: our tag in positions, orders, ended orders and deals.

A read that fails raises and concludes nothing. An entry is never sent again from UNKNOWN: it is found, refused by evidence,
or given up with its slot kept. An exit names a target, so it may be planned again once a complete read shows it unmet.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable
from uuid import UUID

from toolkit.errors import LostRace, ReadFailed
from toolkit.execution.guarding.checks import account_guards_from_json, mark_account_day
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ledger.submit import amend, move
from toolkit.execution.ports import Book, History, PlatformOrder
from toolkit.execution.recovery.book_sync import BookSync, SyncReport
from toolkit.execution.recovery.protection import ProtectionGuard
from toolkit.execution.request import request_from_json
from toolkit.execution.sending.context import ServiceContext
from toolkit.execution.sending.exit_plan import AlreadySo, NotOurs, plan_exit
from toolkit.market.platform_clock import day_span

_ENDED = {
    "cancelled": IntentState.CANCELLED,
    "expired": IntentState.EXPIRED,
    "rejected": IntentState.REJECTED,
}


@runtime_checkable
class KnowsItsCommands(Protocol):
    """A platform that can tell for certain whether a command ever reached it (the paper platform)."""

    def has_received(self, tag_text: str) -> bool:
        """Tell whether a command with this tag was ever carried out or still will be."""


@dataclass(slots=True)
class ReconcileReport:
    """What a reconciliation concluded, by intent."""

    given_back: list[UUID] = field(default_factory=list)  # claimed by a dead worker, nothing sent: NEW again
    made_unknown: list[UUID] = field(default_factory=list)  # a dead worker was past the point of no return
    resolved: list[UUID] = field(default_factory=list)
    replanned: list[UUID] = field(default_factory=list)
    abandoned: list[UUID] = field(default_factory=list)
    still_open: list[UUID] = field(default_factory=list)
    protection_closed: list[UUID] = field(default_factory=list)
    sent_again: list[UUID] = field(
        default_factory=list
    )  # exits that had waited because the platform would not take them
    sync: SyncReport = field(default_factory=SyncReport)


class Reconciler:
    """Reconciles one account."""

    def __init__(self, context: ServiceContext, book_sync: BookSync, execute: Callable[[UUID], IntentRecord]) -> None:
        self._c = context
        self._book_sync = book_sync
        self._execute = execute
        self._knows = context.platform if isinstance(context.platform, KnowsItsCommands) else None
        self._protection = ProtectionGuard(context, execute)
        self._marked_until: datetime | None = None
        self._looked_since: dict[UUID, float] = {}

    def run(self) -> ReconcileReport:
        """Take over, read completely, book, then conclude."""
        c = self._c
        report = ReconcileReport()
        c.lease.ensure(c.policy.send_budget_seconds)
        self._take_over(report)
        book = c.platform.book()
        if not book.account.connected:
            raise ReadFailed(
                f"the platform session of account {c.account_id} is not connected: nothing can be concluded"
            )
        report.sync = self._book_sync.run(book)
        self._mark_day(book)
        states = [IntentState.UNKNOWN, IntentState.WORKING, IntentState.PROTECTION_PENDING, IntentState.ABANDONED]
        with c.store.begin(c.principal, write=False) as work:
            pending = work.intents_in(c.account_id, states)
        open_ends = {i.intent_id for i in pending}
        self._looked_since = {k: since for k, since in self._looked_since.items() if k in open_ends}
        if pending:
            history = self._history_of(pending)
            for intent in pending:
                with suppress(LostRace):  # somebody moved it meanwhile; the next pass sees it as it is
                    self._conclude(intent, book, history, report)
        report.protection_closed.extend(self._protection.run(book))
        self._send_again(report)
        return report

    def _send_again(self, report: ReconcileReport) -> None:
        """Carry out the exits whose pause is over, whoever signalled them and whether or not that run still steps."""
        c = self._c
        with c.store.begin(c.principal, write=False) as work:
            waiting = [i for i in work.intents_in(c.account_id, [IntentState.NEW]) if i.waits]
        now = c.platform.now() if waiting else None
        for intent in waiting:
            if now is not None and c.policy.pause_is_over(intent.not_before, now):
                with suppress(LostRace):
                    self._execute(intent.intent_id)
                    report.sent_again.append(intent.intent_id)

    def _mark_day(self, book: Book) -> None:
        """Keep the account's equity of a day that has just begun, if a guard of the account measures it."""
        c = self._c
        now = c.platform.now()
        if self._marked_until is not None and now < self._marked_until:
            return
        with c.store.begin(c.principal, write=False) as work:
            account = work.account(c.account_id)
        if account is None or not account_guards_from_json(account.guards_json).counts_money:
            return
        with c.writing() as work:
            mark_account_day(work, account, book.account.equity, now, c.day_end)
            work.commit()
        self._marked_until = day_span(now, c.day_end)[1]

    def _take_over(self, report: ReconcileReport) -> None:
        """Move on what a worker left half-way; the account's lease is ours, so nobody else is sending."""
        c = self._c
        now = c.clock.now()
        with c.writing() as work:
            c.lease.check(work, 0)
            for intent in work.intents_in(c.account_id, [IntentState.CLAIMED, IntentState.SENDING]):
                if intent.state is IntentState.CLAIMED or self._never_received(intent):
                    why = "its worker is gone, the platform never received it"
                    if intent.state is IntentState.SENDING:
                        work.update_order(intent.intent_id, intent.attempt, {"outcome": "NOT_SENT", "message": why})
                    move(work, intent, IntentState.NEW, actor=c.worker, now=now, detail=why, new_token=True)
                    work.reopen_outbox(intent.intent_id)
                    report.given_back.append(intent.intent_id)
                    continue
                why = "its worker is gone after the point of no return"
                after = move(
                    work, intent, IntentState.UNKNOWN, actor=c.worker, now=now, detail=why, new_token=True,
                    unknown_since=now, empty_reads=0,
                )  # fmt: skip
                c.tell(work, after, "intent_unknown", why, "error", None, now)
                report.made_unknown.append(intent.intent_id)
            work.commit()

    def _never_received(self, intent: IntentRecord) -> bool:
        return self._knows is not None and not self._knows.has_received(intent.client_tag)

    def _history_of(self, pending: list[IntentRecord]) -> History:
        c = self._c
        now = c.platform.now()
        since = min(i.sent_at or now for i in pending) - timedelta(days=1)
        return c.platform.history(since, now + timedelta(days=1))

    def _conclude(self, intent: IntentRecord, book: Book, history: History, report: ReconcileReport) -> None:
        c = self._c
        now = c.clock.now()
        with c.writing() as work:
            fresh = c.fresh(work, intent.intent_id)
            if fresh.version != intent.version:
                return  # booked by the history read of this pass
            if fresh.action.is_entry:
                self._conclude_entry(work, fresh, book, history, now, report)
            elif fresh.state is IntentState.UNKNOWN:
                self._conclude_exit(work, fresh, book, now, report)
            work.commit()

    def _conclude_entry(
        self,
        work: Transaction,
        intent: IntentRecord,
        book: Book,
        history: History,
        now: datetime,
        report: ReconcileReport,
    ) -> None:
        if intent.state is IntentState.PROTECTION_PENDING:
            return  # the guard decides
        for trade in work.trades_of_intent(intent.intent_id):
            # Its deal was booked by a worker that lost the race for the state.
            if self._book_sync.adopt(work, intent, trade, book, now):
                report.resolved.append(intent.intent_id)
                return
        working = _of_intent(intent, book.orders)
        if working is not None:
            if intent.state is not IntentState.WORKING:
                self._resolve(
                    work, intent, IntentState.WORKING, "it works at the platform", now, report, working.order_id
                )
            return
        if any(p.tag_text == intent.client_tag or p.magic == intent.magic for p in book.positions):
            report.still_open.append(intent.intent_id)  # its position is there, its deal will be with the next read
            return
        ended = _of_intent(intent, history.orders)
        if ended is not None and ended.state in _ENDED and ended.filled_lots == 0:
            if intent.state is not IntentState.ABANDONED:
                self._resolve(
                    work, intent, _ENDED[ended.state], f"its order was {ended.state}", now, report, ended.order_id
                )
            return
        if ended is not None and ended.filled_lots > 0:
            report.still_open.append(intent.intent_id)  # its deals will be with the next read
            return
        if intent.state is IntentState.UNKNOWN:
            if ended is None and self._never_received(intent):
                self._resolve(work, intent, IntentState.REJECTED, "the platform never received it", now, report)
            else:
                self._one_more_empty_read(work, intent, now, report)
            return
        report.still_open.append(intent.intent_id)

    def _one_more_empty_read(
        self, work: Transaction, intent: IntentRecord, now: datetime, report: ReconcileReport
    ) -> None:
        c = self._c
        reads = intent.empty_reads + 1
        waited = self._waited(intent)
        if reads < c.policy.abandon_after_reads or waited < c.policy.abandon_after_seconds:
            amend(work, intent, now=now, empty_reads=reads)
            report.still_open.append(intent.intent_id)
            return
        detail = f"no trace in {reads} complete reads over {waited:.0f} s; never sent again, its slot stays reserved"
        after = move(
            work,
            intent,
            IntentState.ABANDONED,
            actor=c.worker,
            now=now,
            detail=detail,
            new_token=True,
            empty_reads=reads,
        )
        c.tell(work, after, "intent_abandoned", detail, "error", None, now)
        report.abandoned.append(intent.intent_id)

    def _waited(self, intent: IntentRecord) -> float:
        """Return seconds since the send: by the platform's clock, or as long as this process has been looking for it.

        A machine whose clock ran hours ahead at the send would otherwise leave the order UNKNOWN for as long. What was
        measured here without a wall clock can only be less than the truth.
        """
        c = self._c
        now = c.platform.now()
        looking = c.clock.monotonic() - self._looked_since.setdefault(intent.intent_id, c.clock.monotonic())
        return max((now - (intent.sent_at or now)).total_seconds(), looking)

    def _conclude_exit(
        self, work: Transaction, intent: IntentRecord, book: Book, now: datetime, report: ReconcileReport
    ) -> None:
        c = self._c
        request = request_from_json(intent.action.value, intent.payload_json)
        position_id = getattr(request, "position_id", None)
        trade = None if position_id is None else work.trade_of_position(c.account_id, position_id)
        plan = plan_exit(intent, request, book, trade)
        if isinstance(plan, AlreadySo):
            if plan.position is not None:
                self._c.keep_levels(work, plan.position, now)
            self._resolve(work, intent, IntentState.FILLED, plan.message, now, report)
            return
        if isinstance(plan, NotOurs):
            self._resolve(work, intent, IntentState.REJECTED, plan.message, now, report)
            return
        waited = self._waited(intent)
        reduces = intent.action is Action.REDUCE_POSITION
        needed = c.policy.replan_reduce_seconds if reduces else c.policy.replan_close_seconds
        in_flight = _of_intent(intent, book.orders) is not None
        if in_flight or waited < needed:
            report.still_open.append(intent.intent_id)
            return
        detail = "a complete read shows its target unmet and nothing of it in flight: planned again"
        after = move(work, intent, IntentState.NEW, actor=c.worker, now=now, detail=detail, new_token=True)
        work.reopen_outbox(intent.intent_id)
        c.tell(work, after, "exit_replanned", detail, "warning", None, now)
        report.replanned.append(intent.intent_id)

    def _resolve(
        self,
        work: Transaction,
        intent: IntentRecord,
        state: IntentState,
        detail: str,
        now: datetime,
        report: ReconcileReport,
        order_id: str | None = None,
    ) -> None:
        c = self._c
        after = move(
            work,
            intent,
            state,
            actor=c.worker,
            now=now,
            detail=detail,
            new_token=True,
            order_id=order_id or intent.order_id,
            unknown_since=None,
        )
        c.tell(work, after, "intent_resolved", f"{intent.state.value} -> {state.value}: {detail}", "info", None, now)
        report.resolved.append(intent.intent_id)


def _of_intent(intent: IntentRecord, orders: tuple[PlatformOrder, ...]) -> PlatformOrder | None:
    """Return the platform's order of an intent: by tag or magic exactly, else by the order's id, else by a cut comment."""
    for order in orders:
        if order.tag_text == intent.client_tag or (order.magic and order.magic == intent.magic):
            return order
        if intent.order_id is not None and order.order_id == intent.order_id:
            return order
    cut = [
        o
        for o in orders
        if len(o.tag_text) >= 16
        and intent.client_tag.startswith(o.tag_text)
        and (o.symbol, o.side) == (intent.symbol, intent.side)
    ]
    return cut[0] if len(cut) == 1 else None

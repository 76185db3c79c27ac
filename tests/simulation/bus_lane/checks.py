"""What must hold when a schedule is over, whatever happened: the invariants of ``docs/execution.md``."""

from __future__ import annotations

import sqlite3
from collections import Counter
from itertools import pairwise
from typing import Any

from sqlalchemy import select

from toolkit.bootstrap import venue_path
from toolkit.research.comparison import first_difference
from toolkit.store.people.accounts import AccountRecord
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import ExecutionIntent, LiveRunTradeLink, Order, RunEvent, Trade

from .berth import Berth, Template, signals_of

ENDED = {"FILLED", "PARTIAL", "REJECTED", "EXPIRED", "DENIED", "CANCELLED"}


def intents_of(berth: Berth, run: RunRecord) -> list[Any]:
    """Return a run's intents."""
    t = ExecutionIntent.__table__
    with berth.sea.engine.work(write=False) as work:
        return list(work.connection.execute(select(t).where(t.c.live_run_id == run.live_run_id)))


def events_of(berth: Berth, run: RunRecord, kind: str) -> list[Any]:
    """Return the moments of a run's events of one kind."""
    t = RunEvent.__table__.c
    query = select(t.at).where(t.live_run_id == run.live_run_id, t.kind == kind).order_by(t.event_id)
    with berth.sea.engine.work(write=False) as work:
        return list(work.connection.execute(query).scalars())


class Checks:
    """Compares one run with its backtest, the venue's journal and the database."""

    def __init__(self, template: Template, berth: Berth, account: AccountRecord, run: RunRecord) -> None:
        self.template = template
        self.berth = berth
        self.account = account
        self.run = run
        self.stopped = False
        self.intents = 0
        self.found: list[str] = []

    def wrong(self, what: str) -> None:
        """Note a violation."""
        self.found.append(what)

    def check(self) -> None:
        """Say what is wrong."""
        run = self.berth.sea.read(self.run)
        if run.status != "STOPPED" or run.last_error:
            self.wrong(f"I2 the run ended {run.status}: {run.last_error}")
            return
        intents = intents_of(self.berth, self.run)
        self.intents = len(intents)
        for row in intents:
            if row.state not in ENDED:
                self.wrong(f"I2 intent {row.intent_id} is still {row.state}")
        self.stopped = bool(events_of(self.berth, self.run, "stopping"))  # it may have ended before the stop reached it
        self._check_signals(run)
        self._check_book(intents)
        trades = self.berth.sea.trades(run)
        expected = self.template.expected[: len(trades)] if self.stopped else self.template.expected
        difference = first_difference(expected, trades)
        if difference is not None:
            self.wrong(f"I7 the trades are not the backtest's: {difference}")
        open_at: list[tuple[Any, Any]] = sorted((t["entry_time"], t["exit_time"]) for t in trades)
        if any(later[0] < earlier[1] for earlier, later in pairwise(open_at)):
            self.wrong("I4 two positions of the symbol were open at once")
        if self.stopped:
            self._check_nothing_after_the_stop(intents)

    def _check_signals(self, run: RunRecord) -> None:
        found = signals_of(self.berth.sea, run)
        wanted = [s for s in self.template.signals if s in found] if self.stopped else self.template.signals
        if found != wanted:
            self.wrong(f"I8 {len(found)} signals, {len(wanted)} expected, or not the same ones")

    def _check_book(self, intents: list[Any]) -> None:
        """Compare the venue's own journal with the store, row by row."""
        journal = sqlite3.connect(f"file:{venue_path(self.berth.home, self.account.account_id)}?mode=ro", uri=True)
        orders = journal.execute("SELECT sent_tag, action FROM orders WHERE state <> 'rejected' AND sent_tag <> ''")
        accepted = Counter(orders.fetchall())
        held = journal.execute("SELECT position_id, stop_points FROM positions")
        positions = {(str(row[0]), row[1] > 0) for row in held}
        journal.close()
        twice = [tag for tag, count in accepted.items() if count > 1]
        if twice:
            self.wrong(f"I1 sent more than once: {twice}")
        ours = {row.client_tag for row in intents}
        foreign = {tag for tag, _ in accepted} - ours
        if foreign:
            self.wrong(f"I3 orders at the venue that no intent knows: {foreign}")
        with self.berth.sea.engine.work(write=False) as work:
            db = work.connection
            trades = list(
                db.execute(select(Trade.__table__).where(Trade.__table__.c.live_run_id == self.run.live_run_id))
            )
            links = db.execute(
                select(LiveRunTradeLink.__table__.c.trade_id).where(
                    LiveRunTradeLink.__table__.c.live_run_id == self.run.live_run_id
                )
            ).scalars()
            linked = set(links)
            halves = db.execute(
                select(Order.__table__.c.outcome).where(Order.__table__.c.live_run_id == self.run.live_run_id)
            ).scalars()
            unanswered = [outcome for outcome in halves if outcome == ""]
        if {t.trade_id for t in trades} != linked:
            self.wrong("I3 a trade without its link")
        if {t.position_id for t in trades if t.status == "open"} != {position for position, _ in positions}:
            self.wrong("I7 the store's open trades are not the venue's positions")
        if any(not protected for _, protected in positions):
            self.wrong("I6 a position without a stop")
        if unanswered and not any(row.attempt > 1 or row.reason for row in intents):
            # an order row of a killed worker keeps no answer; its intent must then have been resolved by evidence
            resolved = events_of(self.berth, self.run, "intent_resolved") + events_of(
                self.berth, self.run, "late_fill_adopted"
            )
            if not resolved:
                self.wrong(f"I7 {len(unanswered)} orders without an answer and nothing that resolved them")

    def _check_nothing_after_the_stop(self, intents: list[Any]) -> None:
        stopping = events_of(self.berth, self.run, "stopping")
        for row in intents:
            if row.action == "OPEN_TRADE" and row.created_at > stopping[0]:
                self.wrong(f"I5 entry {row.intent_id} was decided after the stop")

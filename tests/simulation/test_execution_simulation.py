"""The execution layer in a hostile world, many seeds; and proof that the world would notice if it were weaker."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from execution_simulation import ACCOUNT, MAX_OPEN, OWNER, RUN, Violation, run_seed
from world import invariants

from toolkit.execution.intents import IntentState
from toolkit.execution.ledger import memory, submit
from toolkit.execution.recovery import book_sync, protection, reconcile
from toolkit.execution.sending import entry_check, exit_plan, exits, sender

IN_CI = bool(os.environ.get("CI"))
SEEDS = int(os.environ.get("SEATRIAL_SIMULATION_SEEDS", "2000" if IN_CI else "200"))
PAST = json.loads((Path(__file__).parent / "past_failures.json").read_text())
CHUNK = 50


def fresh() -> int:
    """Return the first seed: told, or taken from the commit, so that every push lives through worlds of its own."""
    told = os.environ.get("SEATRIAL_SIMULATION_FIRST_SEED")
    if told is not None:
        return int(told)
    command = ["git", "rev-parse", "--short=7", "HEAD"]
    words = ""
    with contextlib.suppress(OSError):  # no git here: the same worlds every time
        words = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent).stdout
    return 10_000_000 + int(words.strip() or "0", 16)


FIRST = fresh()


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_fresh_seeds_hold_every_invariant(first):
    """I1 to I8 hold after every step and once the world is calm; a failure names the seed that replays it."""
    for seed in range(first, first + min(CHUNK, FIRST + SEEDS - first)):
        run_seed(seed)


SQL_SEEDS = int(os.environ.get("SEATRIAL_SIMULATION_SQL_SEEDS", "50" if IN_CI else "10"))


@pytest.mark.parametrize("seed", range(SQL_SEEDS))
def test_seeds_hold_on_sqlite(sqlite_database, seed):
    """The same world over the real tables; synchronisation is off, because nobody pulls the plug here."""
    from execution_desk import sql_desk
    from sqlalchemy import event

    from toolkit.risk.guardrails import Guards

    @event.listens_for(sqlite_database, "connect")
    def _quick(connection, _record):
        connection.execute("PRAGMA synchronous=OFF")

    sqlite_database.dispose()

    def make_store():
        guards = json.dumps(Guards(max_open_per_symbol=MAX_OPEN).facts())
        return sql_desk(sqlite_database, guards, ids=(OWNER, ACCOUNT, RUN)).store

    run_seed(2_000_000 + seed, make_store=make_store)


@pytest.mark.parametrize("seed", PAST)
def test_a_seed_that_failed_once_holds_now(seed):
    """Every seed that ever found something stays in the file."""
    run_seed(seed)


def test_a_printed_seed_replays_exactly():
    """Two runs of one seed take the same steps to the same end; another seed does not."""
    first, again, other = run_seed(77), run_seed(77), run_seed(78)
    assert first.trace.hexdigest() == again.trace.hexdigest()
    assert first.counts == again.counts
    assert first.trace.hexdigest() != other.trace.hexdigest()


def test_the_world_is_hostile_enough():
    """Over a few seeds everything that can go wrong did, and trades were made nevertheless."""
    total = sum((run_seed(seed).counts for seed in range(40)), start=type(run_seed(0).counts)())
    for what in ("kills", "stalls", "database_failed", "ReadFailed", "messages_lost", "LeaseLost", "clock_jumps",
                 "request_lost", "accepted_late", "market_closed", "end_FILLED", "end_DENIED"):  # fmt: skip
        assert total[what] > 0, what


def no_compare_and_set(monkeypatch):
    def replace_intent(self, before, after):
        self._set(self._s.intents, after.intent_id, after)
        return True

    def append_event(self, event):
        rows = self._s.intent_events.get(event.intent_id, [])
        self._set(self._s.intent_events, event.intent_id, [*rows, event])

    monkeypatch.setattr(memory.MemoryTransaction, "replace_intent", replace_intent)
    monkeypatch.setattr(memory.MemoryTransaction, "append_event", append_event)


def guardrail_outside_the_transaction(monkeypatch):
    """The slot is not reserved: only what is visibly open counts."""
    monkeypatch.setattr(entry_check, "SLOT_STATES", frozenset())


def no_sweep(monkeypatch):
    monkeypatch.setattr(book_sync.BookSync, "run", lambda self, book=None: book_sync.SyncReport())


def resend_from_unknown(monkeypatch):
    def again(self, work, intent, now, report):
        after = submit.move(work, intent, IntentState.NEW, actor="mutant", now=now, new_token=True)
        work.reopen_outbox(after.intent_id)

    # the table forbids it too; with the table off, only the platform's book can tell
    monkeypatch.setattr(submit, "check_transition", lambda *args, **options: None)
    monkeypatch.setattr(invariants, "check_transition", lambda *args, **options: None)
    monkeypatch.setattr(reconcile.Reconciler, "_one_more_empty_read", again)


def no_fencing_check_before_the_send(monkeypatch):
    monkeypatch.setattr(
        sender.Sender, "_last_line", lambda self, sending, deadline: self._c.failpoint("FP4_before_send")
    )


def exits_not_pinned(monkeypatch):
    """An exit takes whatever position of the symbol comes first."""
    original = exit_plan.plan_exit

    def anyone(intent, request, book, trade):
        plan = original(intent, request, book, trade)
        if isinstance(plan, exit_plan.ClosePosition) and book.positions:
            return exit_plan.ClosePosition(intent.tag, book.positions[0].position_id, plan.lots)
        return plan

    monkeypatch.setattr(exits, "plan_exit", anyone)


def no_protection_guard(monkeypatch):
    """A position without its stop is left alone."""
    monkeypatch.setattr(protection.ProtectionGuard, "run", lambda self, book: [])


def exits_that_expire(monkeypatch):
    """An exit that the platform would not take is given up, as an entry is."""
    original = submit.move

    def give_up(work, before, to, **words):
        if to is IntentState.NEW and words.pop("not_before", None) is not None:
            before = original(work, before, to, **words)
            return original(work, before, IntentState.EXPIRED, actor="mutant", now=words["now"])
        return original(work, before, to, **words)

    monkeypatch.setattr(submit, "check_transition", lambda *args, **options: None)
    monkeypatch.setattr(invariants, "check_transition", lambda *args, **options: None)
    monkeypatch.setattr(sender, "move", give_up)


def waiting_exits_are_forgotten(monkeypatch):
    """An exit that waits says it is done."""
    original = submit.move

    def forget(work, before, to, **words):
        waits = to is IntentState.NEW and words.get("not_before") is not None
        return original(work, before, IntentState.FILLED if waits else to, **words)

    monkeypatch.setattr(sender, "move", forget)


MUTANTS = [
    no_compare_and_set,
    guardrail_outside_the_transaction,
    no_sweep,
    resend_from_unknown,
    no_fencing_check_before_the_send,
    exits_not_pinned,
    no_protection_guard,
    exits_that_expire,
    waiting_exits_are_forgotten,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.__name__)
def test_the_world_kills_the_mutant(monkeypatch, mutant):
    """Taking one safety away must be noticed within a few hundred seeds."""
    mutant(monkeypatch)
    for seed in range(400):
        try:
            run_seed(seed)
        except Violation:
            return
    pytest.fail(f"400 seeds did not notice {mutant.__name__}")

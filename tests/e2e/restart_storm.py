"""Kill a replay hundreds of times while positions are open, fills are partial and orders are accepted late.

    python tests/e2e/restart_storm.py --kills 300 [--seed N] [--bars 2000]

The paper venue follows a script of faults drawn from a seed: partial fills, answers that never arrive, commands that are
lost, acceptances that come later, requotes. Each replay is made twice under the same script, once unbroken and once killed
(SIGKILL) at random moments. Nothing may be left unexplained, no order doubled, and the venue's book and balance must be what
our trades say. Where the two differ in their trades, that is shown: a restart reconciles at once, so it may learn earlier
than the unbroken run what became of an order, and enter where that one still waited. Processes are forked, so a kill costs no
start of an interpreter.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e.kill_demo import _version

DEADLINE_SECONDS = 300.0


@dataclass
class Storm:
    """What a storm of kills came to."""

    kills: int = 0
    replays: int = 0
    trades: int = 0
    partial: int = 0
    unknown: int = 0
    late: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    other_course: list[str] = field(default_factory=list)


def script(seed: int) -> Any:
    """Return the venue's faults of a seed."""
    from toolkit.platforms.simulated.faults import FaultKind, FaultScript

    rates = {
        FaultKind.PARTIAL: 0.12,
        FaultKind.LATE_ACCEPTANCE: 0.08,
        FaultKind.ANSWER_LOST: 0.08,
        FaultKind.COMMAND_LOST: 0.05,
        FaultKind.REQUOTE: 0.05,
    }
    return FaultScript(seed=seed, rates=rates)


def engine_of(home: Path, seed: int) -> Any:
    """Open an engine whose paper venues misbehave by the seed."""
    from toolkit.bootstrap import build, open_paper_venue
    from toolkit.settings import Settings

    settings = Settings(home=home, database_url="", _env_file=None)  # type: ignore[call-arg]
    opener = {"simulated": lambda account, its: open_paper_venue(account, its, faults=script(seed))}
    return build(settings, open_platform=opener)


def begin(home: Path, seed: int, bars: Any) -> UUID:
    """Make a data folder with a started replay; return the run's id."""
    from tests.plugins.live_support import RsiReversal, Sea

    engine = engine_of(home, seed)
    sea = Sea(engine)
    run = sea.run(sea.version(RsiReversal(), bars), sea.account(balance=100_000, leverage=500), bars, capital=100_000)
    engine.close()
    return run.live_run_id


def host(home: Path, seed: int, run_id: UUID) -> None:
    """Host the run to its end, in this process."""
    from toolkit.live.host import host_run

    engine = engine_of(home, seed)
    host_run(engine, run_id)
    engine.close()


def forked(home: Path, seed: int, run_id: UUID) -> Any:
    """Host the run in a process forked from one that has imported everything and has never opened a database.

    A fork of this process would inherit what SQLite knows of files, and drop its locks when it lets go of that.
    """
    process = _CONTEXT.Process(target=host, args=(home, seed, run_id), daemon=True)
    process.start()
    return process


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["toolkit.bootstrap", "toolkit.live.host", "toolkit.platforms.simulated.platform"])


def kill_until_it_ends(home: Path, seed: int, run_id: UUID, budget: int, chance: random.Random) -> int:
    """Kill hosts of the run at random moments until it has ended or the budget is used; return how many were killed."""
    used = 0
    while True:
        before = _version(home, str(run_id))
        process = forked(home, seed, run_id)
        deadline = time.monotonic() + DEADLINE_SECONDS
        if used < budget:
            while process.is_alive() and _version(home, str(run_id)) == before and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(chance.random() ** 2 * 0.2)
            if process.is_alive():
                process.kill()
                used += 1
        process.join(DEADLINE_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"run {run_id} did not end within {DEADLINE_SECONDS:g} s")
        if process.exitcode == 0:
            return used
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the host of run {run_id} ended with {process.exitcode}")


@dataclass(frozen=True)
class End:
    """The final state of a replay, in what does not depend on ids and wall time."""

    status: str
    trades: tuple[tuple[Any, ...], ...]
    intents: tuple[tuple[Any, ...], ...]
    balance: Any
    unexplained: tuple[str, ...]
    unknown: int
    late: int


def end_of(home: Path, seed: int, run_id: UUID) -> End:
    """Read the final state, after a last reconciliation."""
    from sqlalchemy import select

    from toolkit.live import live_runs
    from toolkit.store.models import ExecutionIntent, IntentEvent, RunEvent
    from toolkit.store.runs import trades_of
    from toolkit.store.upkeep.balances import booked_by_trades

    engine = engine_of(home, seed)
    run = live_runs.get_run(engine, engine.principal, run_id)
    desk = engine.desk(run.account_id)
    report = desk.service.reconcile()
    book = desk.platform.book()
    names = ("symbol", "side", "status", "lots", "open_lots", "entry_time", "entry_price", "stop_loss", "take_profit",
             "exit_time", "exit_price", "exit_reason", "profit", "commission", "swap")  # fmt: skip
    with engine.work(write=False) as work:
        db = work.connection
        rows = trades_of(db, run_id)
        intents = db.execute(
            select(ExecutionIntent.bar_time, ExecutionIntent.action, ExecutionIntent.side, ExecutionIntent.state,
                   ExecutionIntent.filled_lots).order_by(ExecutionIntent.bar_time, ExecutionIntent.action,
                                                         ExecutionIntent.ordinal)
        ).all()  # fmt: skip
        # A stretch that is stepped again after a kill may meet a venue that is ahead already; an entry decided there is too
        # late and expires unsent, where the unbroken run still held the position and decided nothing. Both trade nothing.
        sent = [i for i in intents if i.state != "EXPIRED"]
        unknown = db.execute(select(IntentEvent.to_state).where(IntentEvent.to_state == "UNKNOWN")).all()
        late = db.execute(select(RunEvent.event_id).where(RunEvent.kind == "late_fill_adopted")).all()
        booked = booked_by_trades(db, run.account_id)
    unexplained = [f"{len(report.still_open)} intents still open"] * bool(report.still_open)
    unexplained += [f"foreign position {p}" for p in report.sync.foreign_positions]
    unexplained += [f"intent {i.action} {i.side} is {i.state}" for i in intents
                    if i.state in ("NEW", "CLAIMED", "SENDING", "UNKNOWN")]  # fmt: skip
    held = {p.position_id: p.lots for p in book.positions}
    ours = {row.position_id: row.open_lots for row in rows if row.status == "open"}
    if held != ours:
        unexplained.append(f"the venue holds {held}, our trades {ours}")
    if book.account.balance != 100_000 + booked:
        unexplained.append(f"balance {book.account.balance}, by our trades {100_000 + booked}")
    if desk.platform.duplicate_orders():
        unexplained.append(f"{desk.platform.duplicate_orders()} duplicate orders")
    engine.close()
    trades = tuple(tuple(getattr(row, name) for name in names) for row in rows)
    return End(run.status, trades, tuple(tuple(i) for i in sent), book.account.balance, tuple(unexplained),
               len(unknown), len(late))  # fmt: skip


def storm(folder: Path, kills: int, seed: int, rows: int) -> Storm:
    """Replay under faults, unbroken and killed, until the kills are used up."""
    import toolkit as tk

    bars = tk.sample_bars("EURUSD", "H1")[:rows]
    chance = random.Random(seed)
    begun = time.monotonic()
    result = Storm()
    while result.kills < kills:
        faults = seed + result.replays
        whole, broken = folder / f"whole-{result.replays}", folder / f"broken-{result.replays}"
        run_id = begin(whole, faults, bars)
        host(whole, faults, run_id)
        expected = end_of(whole, faults, run_id)
        run_id = begin(broken, faults, bars)
        result.kills += kill_until_it_ends(broken, faults, run_id, kills - result.kills, chance)
        got = end_of(broken, faults, run_id)
        name = f"replay {result.replays} (faults {faults})"
        result.replays += 1
        result.trades += len(got.trades)
        result.partial += sum(intent[3] == "PARTIAL" for intent in got.intents)
        result.unknown += got.unknown
        result.late += got.late
        result.wrong += [f"{name}, killed: {words}" for words in got.unexplained]
        result.wrong += [f"{name}, unbroken: {words}" for words in expected.unexplained]
        if got.status != "STOPPED" or expected.status != "STOPPED":
            result.wrong.append(f"{name}: {got.status}, unbroken {expected.status}")
        if got.balance != expected.balance:
            result.other_course.append(
                f"{name}: {got.status} {got.balance}, unbroken {expected.status} {expected.balance}"
            )
        for what in ("trades", "intents"):
            one, other = getattr(expected, what), getattr(got, what)
            if one != other:
                at = next(
                    (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
                )
                result.wrong.append(
                    f"{name}: {what} differ from number {at}: {one[at : at + 1]} and {other[at : at + 1]}"
                )
    result.seconds = time.monotonic() - begun
    return result


def main() -> int:
    """Run a storm from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--bars", type=int, default=2_000)
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    with tempfile.TemporaryDirectory(prefix="seatrial-storm-") as folder:
        s = storm(Path(folder), given.kills, seed, given.bars)
    print(
        f"{s.kills} kills (seed {seed}) over {s.replays} replays in {s.seconds:.0f} s: {s.trades} trades, {s.partial} partial "
        f"fills, {s.unknown} times UNKNOWN, {s.late} late acceptances adopted, {len(s.wrong)} unexplained; "
        f"{len({words.partition(':')[0] for words in s.other_course})} replays took another course than the unbroken one"
    )
    for words in s.wrong + s.other_course:
        print(f"  {words}")
    return 1 if s.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Kill a replay hundreds of times while positions are open, fills are partial and orders are accepted late.

    python tests/e2e/restart_storm.py --kills 300 [--seed N] [--bars 2000] [--managed] [--ctrader | --mt5]

The paper venue follows a script of faults drawn from a seed: partial fills, answers that never arrive, acceptances that
come later, requotes. Each replay is made twice under the same script, once unbroken and once killed (SIGKILL) at random
moments. Its trades, intents and balance must be those of the unbroken run, nothing may be left unexplained, no order doubled,
and the venue's book and balance must be what our trades say. Processes are forked, so a kill costs no start of an interpreter.

``--lost`` adds commands that never arrive, and then asks for all of that but the equality. Such a command leaves no trace. A
worker that lives has had no answer: UNKNOWN, and an entry is never sent again from there, so it ends REJECTED. A worker killed
before it wrote that down leaves SENDING, as one does that was killed before it called the venue; the venue proves that nothing
arrived, so the intent is NEW again and is sent. Both are right, and they trade differently.
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
    equal: int = 0
    trades: int = 0
    partial: int = 0
    unknown: int = 0
    late: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Weather:
    """What a replay meets: the seed of its venue's faults, and whether commands get lost on their way there.

    Every other replay leaves by signal and reverses, the ones between by stop and target alone; managed ones take turns with
    pending entries, partial exits, break-even, trailing stops, time exits, and all of them together.
    """

    seed: int
    number: int = 0
    lost: bool = False
    over: str = (
        ""  # "ctrader": through the adapter and the sandbox, over TLS; "mt5": through the adapter and its double
    )
    managed: bool = False

    def strategy(self) -> Any:
        """Return what trades in this replay."""
        from tests.plugins import managed_strategies
        from tests.plugins.live_support import EmaCross, RsiReversal

        kinds: Any = managed_strategies.ALL[::-1] if self.managed else (RsiReversal, EmaCross)
        return kinds[self.number % len(kinds)]()


def script(weather: Weather) -> Any:
    """Return the venue's faults of a replay."""
    from toolkit.platforms.simulated.faults import FaultKind, FaultScript

    rates = {
        FaultKind.PARTIAL: 0.12,
        FaultKind.LATE_ACCEPTANCE: 0.08,
        FaultKind.ANSWER_LOST: 0.08,
        FaultKind.REQUOTE: 0.05,
    }
    if weather.lost:
        rates[FaultKind.COMMAND_LOST] = 0.05
    return FaultScript(seed=weather.seed, rates=rates)


def engine_of(home: Path, weather: Weather) -> Any:
    """Open an engine whose paper venues misbehave."""
    from toolkit.bootstrap import build, open_paper_venue
    from toolkit.settings import Settings

    settings = Settings(home=home, database_url="", _env_file=None)  # type: ignore[call-arg]

    def opened(account: Any, its: Settings) -> Any:
        venue = open_paper_venue(account, its, faults=script(weather))
        if not weather.over:
            return venue
        if weather.over == "mt5":
            from tests.e2e.replay_mt5 import ShownAsPaper as OverMetaTrader

            shown: Any = OverMetaTrader(venue, suffix=".r")
        else:
            from tests.e2e.replay_ctrader import ShownAsPaper as OverCTrader

            shown = OverCTrader(venue, its.home, reply_seconds=0.5)
        shown.server = account.server
        return shown

    return build(settings, open_platform={"simulated": opened})


def begin(home: Path, weather: Weather, bars: Any) -> UUID:
    """Make a data folder with a started replay; return the run's id."""
    from tests.plugins.live_support import Sea

    engine = engine_of(home, weather)
    sea = Sea(engine)
    run = sea.run(
        sea.version(weather.strategy(), bars), sea.account(balance=100_000, leverage=500), bars, capital=100_000
    )
    engine.close()
    return run.live_run_id


def host(home: Path, weather: Weather, run_id: UUID) -> None:
    """Host the run to its end, in this process."""
    from toolkit.live.hosting.host import host_run

    engine = engine_of(home, weather)
    host_run(engine, run_id)
    engine.close()


def forked(home: Path, weather: Weather, run_id: UUID) -> Any:
    """Host the run in a process forked from one that has imported everything and has never opened a database.

    A fork of this process would inherit what SQLite knows of files, and drop its locks when it lets go of that.
    """
    process = _CONTEXT.Process(target=host, args=(home, weather, run_id), daemon=True)
    process.start()
    return process


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["toolkit.bootstrap", "toolkit.live.hosting.host", "toolkit.platforms.simulated.platform"]
)


def kill_until_it_ends(home: Path, weather: Weather, run_id: UUID, budget: int, chance: random.Random) -> int:
    """Kill hosts of the run at random moments until it has ended or the budget is used; return how many were killed."""
    used = 0
    while True:
        before = _version(home, str(run_id))
        process = forked(home, weather, run_id)
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


def end_of(home: Path, weather: Weather, run_id: UUID) -> End:
    """Read the final state, after a last reconciliation."""
    from sqlalchemy import select

    from toolkit.live import live_runs
    from toolkit.store.runs import trades_of
    from toolkit.store.sql.models import ExecutionIntent, IntentEvent, RunEvent
    from toolkit.store.upkeep.balances import booked_by_trades

    engine = engine_of(home, weather)
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
    return End(run.status, trades, tuple(tuple(i) for i in intents), book.account.balance, tuple(unexplained),
               len(unknown), len(late))  # fmt: skip


def differences(expected: End, got: End) -> list[str]:
    """Return where a killed replay ended otherwise than the unbroken one."""
    found: list[str] = []
    for what in ("trades", "intents"):
        one, other = getattr(expected, what), getattr(got, what)
        if one != other:
            pairs = enumerate(zip(one, other, strict=False))
            at = next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
            found.append(f"{what} differ from number {at}: unbroken {one[at : at + 1]}, killed {other[at : at + 1]}")
    if got.balance != expected.balance:
        found.append(f"balance: unbroken {expected.balance}, killed {got.balance}")
    return found


def storm(folder: Path, kills: int, seed: int, rows: int, **how: Any) -> Storm:
    """Replay under faults, unbroken and killed, until the kills are used up; ``how`` are fields of `Weather`."""
    import toolkit as tk

    bars = tk.sample_bars("EURUSD", "H1")[:rows]
    chance = random.Random(seed)
    begun = time.monotonic()
    result = Storm()
    while result.kills < kills:
        weather = Weather(seed + result.replays, result.replays, **how)
        whole, broken = folder / f"whole-{result.replays}", folder / f"broken-{result.replays}"
        run_id = begin(whole, weather, bars)
        host(whole, weather, run_id)
        expected = end_of(whole, weather, run_id)
        run_id = begin(broken, weather, bars)
        result.kills += kill_until_it_ends(broken, weather, run_id, kills - result.kills, chance)
        got = end_of(broken, weather, run_id)
        name = f"replay {result.replays} ({type(weather.strategy()).__name__}, faults {weather.seed})"
        result.replays += 1
        result.trades += len(got.trades)
        result.partial += sum(intent[3] == "PARTIAL" for intent in got.intents)
        result.unknown += got.unknown
        result.late += got.late
        result.wrong += [f"{name}, killed: {words}" for words in got.unexplained]
        result.wrong += [f"{name}, unbroken: {words}" for words in expected.unexplained]
        if got.status != "STOPPED" or expected.status != "STOPPED":
            result.wrong.append(f"{name}: {got.status}, unbroken {expected.status}")
        other = differences(expected, got)
        result.equal += not other
        if not weather.lost:
            result.wrong += [f"{name}: {words}" for words in other]
    result.seconds = time.monotonic() - begun
    return result


def main() -> int:
    """Run a storm from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--bars", type=int, default=2_000)
    parser.add_argument("--lost", action="store_true", help="commands get lost as well; equality is not asked for")
    over = parser.add_mutually_exclusive_group()
    over.add_argument("--ctrader", action="store_const", dest="over", const="ctrader", default="",
                      help="through the cTrader adapter and its sandbox, over TLS")  # fmt: skip
    over.add_argument("--mt5", action="store_const", dest="over", const="mt5",
                      help="through the MetaTrader 5 adapter and its double")  # fmt: skip
    parser.add_argument("--managed", action="store_true", help="strategies that look after orders and positions")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    with tempfile.TemporaryDirectory(prefix="seatrial-storm-") as folder:
        how = {"lost": given.lost, "over": given.over, "managed": given.managed}
        s = storm(Path(folder), given.kills, seed, given.bars, **how)
    print(
        f"{s.kills} kills (seed {seed}) over {s.replays} replays in {s.seconds:.0f} s: {s.trades} trades, {s.partial} partial "
        f"fills, {s.unknown} times UNKNOWN, {s.late} late acceptances adopted, {s.equal} replays equal to the unbroken one, "
        f"{len(s.wrong)} findings"
    )
    for words in s.wrong:
        print(f"  {words}")
    return 1 if s.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

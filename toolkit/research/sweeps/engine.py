"""Runs many parameter sets of one strategy on one setup, sharing what their graphs have in common.

Sets are taken in blocks. Within a block every column (an average of one window, say) is computed once, kept while a later set
of the block needs it, and its memory reused after that; a block ends where the columns worth keeping would pass the budget.
The kernels release the interpreter lock, so threads are enough to use every core.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.research.portfolio import JointSetup, run_joint
from toolkit.research.setup import Setup, plan_of, terms_of
from toolkit.simulation import state
from toolkit.simulation.run import Memory, Terms, run_totals
from toolkit.strategy.authoring.management import FEATURES
from toolkit.strategy.columns.cache import ColumnCache
from toolkit.strategy.columns.sets import BoundSet, SetBinder
from toolkit.strategy.drivers.columnar import evaluate_set
from toolkit.strategy.spec import StrategySpec

__all__ = ["KEPT", "Job", "Outcome", "run_job", "run_sets", "tiled"]

Values = Mapping[str, Any]

#: The loop's totals a sweep keeps of every set.
KEPT = (
    state.TRADES,
    state.WINS,
    state.GROSS_WIN,
    state.GROSS_LOSS,
    state.COMMISSION,
    state.SWAP,
    state.SKIPS,
    state.BARS_IN,
    state.OPENING,
)
_KEPT = np.array(KEPT)
BLOCK = 1024  # sets that share columns, at most
TILE = 256  # sets whose columns fit the processor's cache
MOST_DAILY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: a setup, one spec per choice of structure, and the sets as (spec number, values)."""

    setup: Setup | JointSetup
    specs: tuple[StrategySpec, ...]
    sets: Sequence[tuple[int, Values]]
    column_bytes: int = 100 << 20  # for shared columns, each thread


class Outcome:
    """Compact results of the sets, filled in by whichever thread ran them.

    Attributes
    ----------
    totals : int64 (sets, len(KEPT))
    final : int64 (sets,)
        Equity at the last close, minor units.
    moments : float64 (sets, 4)
    daily : int64 (sets, kept days)
        Equity at the end of every ``stride``-th day, minor units.
    done : bool (sets,)
    """

    def __init__(self, sets: int, days: int) -> None:
        self.stride = max(1, -(-sets * days * 8 // MOST_DAILY_BYTES))
        self.totals = np.zeros((sets, len(KEPT)), np.int64)
        self.final = np.zeros(sets, np.int64)
        self.moments = np.full((sets, state.WIDTH_F), np.nan)
        self.daily = np.zeros((sets, -(-days // self.stride)), np.int64)
        self.done = np.zeros(sets, np.bool_)

    def put(self, row: int, memory: Memory, f: npt.NDArray[np.float64]) -> None:
        """Take the results of one run out of the loop's working memory."""
        w = memory.w
        self.take(row, w, memory.part(state.DAILY_AT, int(w[state.DAYS])), f)

    def take(
        self, row: int, totals: npt.NDArray[np.int64], days: npt.NDArray[np.int64], f: npt.NDArray[np.float64]
    ) -> None:
        """Take a run's totals, its equity at the ends of days and its moments."""
        totals.take(_KEPT, out=self.totals[row])
        self.final[row] = days[-1]
        self.daily[row] = (
            days[self.stride - 1 :: self.stride] if len(days) % self.stride == 0 else _every(days, self.stride)
        )
        self.moments[row] = f
        self.done[row] = True

    def copy_from(self, other: Outcome, rows: Sequence[int]) -> None:
        """Take over rows computed elsewhere."""
        where = np.asarray(rows, np.int64)
        for name in ("totals", "final", "moments", "daily", "done"):
            getattr(self, name)[where] = getattr(other, name)


def _every(days: npt.NDArray[np.int64], stride: int) -> npt.NDArray[np.int64]:
    """Every ``stride``-th day end, and the last one for the rest."""
    return np.append(days[stride - 1 :: stride], days[-1])


class _Worker:
    """One thread's working memory and terms."""

    def __init__(self, job: Job, setup: Setup, out: Outcome) -> None:
        self.job = job
        self.setup = setup
        self.out = out
        self.terms: dict[int, Terms] = {}
        self.memory: dict[int, Memory] = {}
        self.moments = np.zeros(state.WIDTH_F)

    def run(self, rows: Sequence[int], stop: threading.Event, tick: Callable[[int], None]) -> None:
        """Run sets, in blocks whose shared columns fit the budget."""
        job = self.job
        most = max(8, job.column_bytes // (8 * len(self.setup.bars)))
        at = 0
        while at < len(rows) and not stop.is_set():
            cache = ColumnCache(self.setup.bars)
            binders: dict[int, SetBinder] = {}
            block: list[BoundSet] = []
            uses: dict[int, int] = {}
            shared = 0
            while at + len(block) < len(rows) and len(block) < BLOCK:
                number, values = job.sets[rows[at + len(block)]]
                if number not in binders:
                    binders[number] = SetBinder(job.specs[number], cache)
                bound = binders[number].bind(values)
                fresh = 0
                for k in bound.keys:
                    used = uses.get(k, 0)
                    fresh += used == 1
                    uses[k] = used + 1
                if block and shared + fresh > most:
                    break
                shared += fresh
                cache.retain(bound.keys)
                block.append(bound)
            for offset, bound in enumerate(block):
                if stop.is_set():
                    return
                self._one(rows[at + offset], bound, cache)
                cache.release(bound.keys)
                tick(1)
            at += len(block)

    def _one(self, row: int, bound: BoundSet, cache: ColumnCache) -> None:
        number, values = self.job.sets[row]
        spec, setup = self.job.specs[number], self.setup
        decisions = evaluate_set(spec, bound, cache, supports=FEATURES)
        plan = plan_of(decisions, setup)
        if "node" in spec.sizing:  # the risk itself is a parameter
            terms = terms_of(setup, spec.with_params(values), decisions.has_stop)
            memory = Memory(setup.prices, terms, full=False)
        else:
            if number not in self.memory:
                self.terms[number] = terms_of(setup, spec, decisions.has_stop)
                self.memory[number] = Memory(setup.prices, self.terms[number], full=False)
            terms, memory = self.terms[number], self.memory[number]
        run_totals(setup.prices, plan, terms, memory, self.moments)
        self.out.put(row, memory, self.moments)


def run_sets(job: Job, rows: Sequence[int]) -> Outcome:
    """Run some of a job's sets in this thread (a Dask task does this); rows of the outcome follow ``rows``."""
    mine = Job(job.setup, job.specs, [job.sets[r] for r in rows], job.column_bytes)
    days = job.setup.days
    out = Outcome(len(rows), days)
    out.stride = max(1, -(-len(job.sets) * days * 8 // MOST_DAILY_BYTES))
    out.daily = np.zeros((len(rows), -(-days // out.stride)), np.int64)
    if isinstance(job.setup, Setup):
        _Worker(mine, job.setup, out).run(range(len(rows)), threading.Event(), lambda _: None)
    else:
        _run_joint(mine, job.setup, range(len(rows)), lambda _: None, out)
    return out


def _run_joint(job: Job, setup: JointSetup, rows: Iterable[int], tick: Callable[[int], None], out: Outcome) -> None:
    """Run sets on several symbols, each as `tk.backtest` runs it."""
    for row in rows:
        number, values = job.sets[row]
        run = run_joint(job.specs[number].with_params(values), setup).run
        out.take(row, run.totals, run.daily, run.moments)
        tick(1)


def tiled(sets: Sequence[tuple[int, Values]]) -> list[int]:
    """Rows in an order in which neighbours share columns: small tiles of the grid, inside larger ones.

    A grid read line by line comes back to a column only after a whole line, when it has long left the processor's cache.
    """
    if not sets:
        return []
    names = list(sets[0][1])
    ranks = np.zeros((len(names), len(sets)), np.int64)
    for axis, name in enumerate(names):
        seen: dict[Any, int] = {}
        ranks[axis] = [seen.setdefault(values[name], len(seen)) for _, values in sets]
    side = max(2, round(TILE ** (1 / max(1, len(names)))))
    numbers = np.array([number for number, _ in sets], np.int64)
    return [
        int(row) for row in np.lexsort((*ranks[::-1], *(ranks // side)[::-1], *(ranks // (2 * side))[::-1], numbers))
    ]


def _shares(rows: Sequence[int], threads: int) -> Iterator[Sequence[int]]:
    """Contiguous shares, smaller towards the end so that no thread waits long for another."""
    at = 0
    while at < len(rows):
        size = max(64, min(BLOCK, (len(rows) - at) // (2 * threads)))
        yield rows[at : at + size]
        at += size


def run_job(job: Job, threads: int, tick: Callable[[int], None], out: Outcome) -> bool:
    """Run every set that is not done on this machine; an interrupt keeps what is done and returns False."""
    stop = threading.Event()
    left = [row for row in tiled(job.sets) if not out.done[row]]
    setup = job.setup
    if not isinstance(setup, Setup):
        try:
            _run_joint(job, setup, left, tick, out)
        except KeyboardInterrupt:
            return False
        return True
    if left:  # compile and load kernels before threads ask for them at once
        _Worker(job, setup, out).run(left[:1], stop, tick)
    shares = _shares(left[1:], threads)
    lock = threading.Lock()

    def work() -> None:
        worker = _Worker(job, setup, out)
        while not stop.is_set():
            with lock:
                share = next(shares, None)
            if share is None:
                return
            worker.run(share, stop, tick)

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work) for _ in range(threads)]
        try:
            wait(futures)
        except KeyboardInterrupt:
            stop.set()
            wait(futures)
            return False
        for future in futures:
            future.result()
    return True

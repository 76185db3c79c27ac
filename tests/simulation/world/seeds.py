"""Living through many seeds: side by side in processes, with progress, and every violation named by its seed."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

from world.ground import Violation

_CHUNK = 50
_TELL_EVERY = 15.0
RunSeed = Callable[..., Any]


@dataclass
class Tally:
    """What came of some seeds."""

    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add those of other seeds."""
        self.done += other.done
        self.counts.update(other.counts)
        self.violations += other.violations


_live: Callable[[range], Tally]  # set before the processes are forked, because a world's parts are no data


def _live_through(run_seed: RunSeed, options: dict[str, Any], seeds: range) -> Tally:
    tally = Tally()
    for seed in seeds:
        try:
            tally.counts.update(run_seed(seed, **options).counts)
        except Violation as violation:
            tally.violations.append(str(violation))
        tally.done += 1
    return tally


def _forked(seeds: range) -> Tally:
    return _live(seeds)


def main(run_seed: RunSeed, description: str | None, **options: Any) -> int:
    """Run many seeds and report; ``options`` are those of the world."""
    global _live
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes side by side; 0: one for each processor")
    arguments = parser.parse_args()
    workers = arguments.workers or os.cpu_count() or 1
    last = arguments.first + arguments.seeds
    chunks = [range(n, min(n + _CHUNK, last)) for n in range(arguments.first, last, _CHUNK)]

    def live(seeds: range) -> Tally:
        return _live_through(run_seed, options, seeds)

    _live = live
    started = told = time.monotonic()
    total = Tally()
    try:
        for tally in _side_by_side(chunks, workers) if workers > 1 else map(live, chunks):
            total.add(tally)
            if time.monotonic() - told > _TELL_EVERY:
                told = time.monotonic()
                spent = told - started
                rest = (arguments.seeds - total.done) * spent / total.done
                print(
                    f"{total.done} of {arguments.seeds} seeds, {total.done / spent:.1f} a second, "
                    f"{len(total.violations)} violations, {rest:.0f} s to go",
                    flush=True,
                )
    except KeyboardInterrupt:
        print("interrupted: what was done until now")
    spent = time.monotonic() - started
    print(f"{total.done} seeds in {spent:.0f} s, {len(total.violations)} violations")
    print(", ".join(f"{name} {n}" for name, n in sorted(total.counts.items())))
    for line in sorted(total.violations)[:20]:
        print(line)
    return 1 if total.violations else 0


def _side_by_side(chunks: list[range], workers: int) -> Iterator[Tally]:
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
        futures: list[Future[Tally]] = [pool.submit(_forked, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

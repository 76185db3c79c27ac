"""Chaos on a real message broker: workers, relay and broker are killed, frozen, emptied and lied to while a run trades.

Each schedule is one account with one replay, served by two worker processes, and a few faults drawn from a seed. Afterwards
the trades must be the backtest's, the venue's own journal must hold every order once, and every intent must have an end. The
time from the end of a fault to the run's next change is measured, and the time until a worker that stands by has the account
of one that was killed. Run alone with::

    python tests/simulation/bus_chaos.py redis --schedules 300 [--side 6] [--seed 1] [--json]
    python tests/simulation/bus_chaos.py rabbitmq --schedules 300
    python tests/simulation/bus_chaos.py kafka --schedules 300

Schedules mostly wait, so several run side by side. Each has a home (database, venue) and worker processes of its own, and over
Redis and Kafka a server of its own. A RabbitMQ node is shared, with queues of their own; every tenth schedule kills its node, and
these have a second node for themselves, one after the other. All share the machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from bus_lane.berth import Berth, Template, start_kafka, start_rabbitmq, start_redis
from bus_lane.outcome import Outcome
from bus_lane.schedule import Schedule, restarts_the_node
from worker_nest import WorkerNest

import toolkit as tk
from tests.plugins.servers import RabbitServer

STARTS: dict[str, Callable[[Path], Any]] = {"redis": start_redis, "kafka": start_kafka}


class Lane:
    """Plays schedules side by side on one kind of message broker."""

    def __init__(self, bus: str, folder: Path, side: int) -> None:
        self.bus = bus
        self.folder = folder
        self.side = side
        self.outcome = Outcome()
        self.template = Template(bus, folder, tk.sample_bars("EURUSD", "H1")[:260])
        (folder / "logs").mkdir()
        self.nest = WorkerNest({}, folder / "logs")
        self.nodes: dict[bool, RabbitServer] = {}

    def play(self, seeds: Sequence[int]) -> None:
        """Play these schedules; the first error of the lane itself is raised once all have ended."""
        if self.bus == "rabbitmq":
            for restarts in sorted({restarts_the_node(seed) for seed in seeds}):
                self.nodes[restarts] = start_rabbitmq(self.folder / f"node-{int(restarts)}")
        with ThreadPoolExecutor(self.side) as pool, ThreadPoolExecutor(1) as alone:
            waiting: list[Future[None]] = []
            for seed in seeds:
                serial = self.bus == "rabbitmq" and restarts_the_node(seed)
                waiting.append((alone if serial else pool).submit(self._one, seed))
            for future in waiting:
                future.result()

    def _one(self, seed: int) -> None:
        folder = self.folder / f"seed-{seed}"
        home = self.template.copy(folder / "home")
        node = self.nodes[restarts_the_node(seed)] if self.bus == "rabbitmq" else STARTS[self.bus](folder / "server")
        berth = Berth(self.bus, home, node)
        try:
            well = Schedule(self.template, berth, self.nest, seed).play(self.outcome)
        finally:
            berth.close()
        if well:
            shutil.rmtree(folder)

    def close(self) -> None:
        """End everything that was started."""
        self.nest.close()
        for node in self.nodes.values():
            node.close()


def run_lane(bus: str, folder: Path, schedules: int, seed: int, side: int) -> Outcome:
    """Run schedules on one kind of message broker and return what came of them."""
    lane = Lane(bus, folder, side)
    try:
        lane.play([seed * 100_000 + number for number in range(schedules)])
    finally:
        lane.close()
    return lane.outcome


def main() -> int:
    """Run many schedules and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bus", choices=["redis", "rabbitmq", "kafka"])
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--side", type=int, default=6, help="schedules side by side")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        outcome = run_lane(arguments.bus, Path(name), arguments.schedules, arguments.seed, arguments.side)
    for line in (*outcome.violations, *outcome.late(arguments.bus)):
        print(line, file=sys.stderr)
    figures = outcome.figures(arguments.bus) | {"side": arguments.side, "seconds": round(time.monotonic() - begun)}
    print(json.dumps(figures) if arguments.json else "\n".join(f"{k:22} {v}" for k, v in figures.items()))
    return 1 if outcome.violations or outcome.late(arguments.bus) else 0


if __name__ == "__main__":
    raise SystemExit(main())

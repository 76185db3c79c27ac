"""The execution layer on a hostile MetaTrader 5 server, many seeds; and adapters that would be too trusting are caught."""

from __future__ import annotations

import os
from collections import Counter

import mt5_venue
import pytest
from execution_simulation import Violation, run_seed
from mt5_venue import Mt5Venue

from toolkit.execution.ports import Outcome
from toolkit.platforms.metatrader5 import codes, requests

SEEDS = int(os.environ.get("SEATRIAL_SIMULATION_MT5_SEEDS", "40"))
FIRST = int(os.environ.get("SEATRIAL_SIMULATION_FIRST_SEED", "1000000"))
CHUNK = 20


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_mt5_fresh_seeds_hold_every_invariant(first: int) -> None:
    """I1 to I8 hold with the adapter and its terminals between the service and the server."""
    for seed in range(first, first + min(CHUNK, FIRST + SEEDS - first)):
        run_seed(seed, make_venue=Mt5Venue)


@pytest.mark.parametrize("seed", [61504])
def test_mt5_past_failures_stay_mended(seed: int) -> None:
    """A send made while the machine's clock ran two hours ahead was looked for until that hour had come."""
    run_seed(seed, make_venue=Mt5Venue)


def test_mt5_a_printed_seed_replays_exactly() -> None:
    """Two runs of one seed take the same steps to the same end."""
    first, again = (run_seed(77, make_venue=Mt5Venue) for _ in range(2))
    assert first.trace.hexdigest() == again.trace.hexdigest()
    assert first.counts == again.counts


def test_mt5_the_server_is_hostile_enough() -> None:
    """Over some seeds every fault of the server, the line and the terminals occurred, and trades were made."""
    total: Counter[str] = Counter()
    for seed in range(60):
        total.update(run_seed(seed, make_venue=Mt5Venue).counts)
    for what in ("request_lost", "answer_lost", "accepted_late", "line_broke", "reads_failed", "requote", "partial",
                 "cut_comment", "change_ticket", "clock_jumps", "kills", "end_FILLED", "end_ABANDONED"):  # fmt: skip
        assert total[what] > 0, what


def timeout_taken_for_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """10012 and a silent None are read as "not accepted", as many bridges do."""
    monkeypatch.setitem(codes.RETCODES, 10012, ("TIMEOUT", Outcome.NOT_ACCEPTED))
    monkeypatch.setitem(codes._NOT_SENT, -10002, ("NO_ANSWER", Outcome.NOT_ACCEPTED))


def no_magic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders carry the comment alone, which the server may cut."""
    real = requests.identity
    monkeypatch.setattr(requests, "identity", lambda tag: {**real(tag), "magic": 1})


def clock_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter believes this machine's clock, whatever the ticks say."""
    monkeypatch.setattr(mt5_venue.Session, "now", lambda self: self._world.clock.now())


@pytest.mark.parametrize("mutant", [timeout_taken_for_a_no, no_magic, clock_of_the_machine], ids=lambda m: m.__name__)
def test_mt5_the_world_kills_the_adapters_mutant(monkeypatch: pytest.MonkeyPatch, mutant: object) -> None:
    """Taking one care out of the adapter is noticed."""
    mutant(monkeypatch)  # type: ignore[operator]
    for seed in range(200):
        try:
            run_seed(seed, make_venue=Mt5Venue)
        except Violation:
            return
    pytest.fail("200 seeds did not notice")

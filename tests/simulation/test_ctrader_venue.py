"""The execution layer on a hostile cTrader server, many seeds; and adapters that would be too trusting are caught."""

from __future__ import annotations

import os
from collections import Counter

import ctrader_venue
import pytest
from ctrader_venue import CTraderVenue, SocketVenue
from execution_simulation import Violation, run_seed

from toolkit.execution.ports import Outcome
from toolkit.platforms.ctrader import convert, desk

SEEDS = int(os.environ.get("SEATRIAL_SIMULATION_CTRADER_SEEDS", "20"))
FIRST = int(os.environ.get("SEATRIAL_SIMULATION_FIRST_SEED", "1000000"))
CHUNK = 10


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_ctrader_fresh_seeds_hold_every_invariant(first: int) -> None:
    """I1 to I8 hold with the adapter and the real messages between the service and the server."""
    for seed in range(first, first + min(CHUNK, FIRST + SEEDS - first)):
        run_seed(seed, make_venue=CTraderVenue)


@pytest.mark.parametrize("seed", [171, 1047, 1547])
def test_ctrader_past_failures_stay_mended(seed: int) -> None:
    """Sessions that only reconciled heard no spot, so a clock turned back kept their orders UNKNOWN."""
    run_seed(seed, make_venue=CTraderVenue)


def test_ctrader_a_printed_seed_replays_exactly() -> None:
    """Two runs of one seed take the same steps to the same end."""
    first, again = (run_seed(77, make_venue=CTraderVenue) for _ in range(2))
    assert first.trace.hexdigest() == again.trace.hexdigest()
    assert first.counts == again.counts


def test_ctrader_seeds_over_the_socket_hold_every_invariant() -> None:
    """The same over TLS, where answers take their time; 50 seeds by the script's --socket."""
    for seed in range(3):
        run_seed(seed, make_venue=SocketVenue)


def test_ctrader_the_server_is_hostile_enough() -> None:
    """Over some seeds every fault of the server and the line occurred, and trades were made."""
    total: Counter[str] = Counter()
    for seed in (*range(40), 63, 86, 90, 113):  # the last four show what is rare
        total.update(run_seed(seed, make_venue=CTraderVenue).counts)
    for what in ("request_lost", "answer_lost", "accepted_late", "line_broke", "line_broke_before", "reads_failed",
                 "requote", "partial", "cut_comment", "clock_jumps", "kills", "end_FILLED", "end_ABANDONED"):  # fmt: skip
        assert total[what] > 0, what


def silence_taken_for_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is read as "not accepted"."""
    real = desk.Desk._follow

    def trusting(self: desk.Desk, *words: object) -> object:
        found = real(self, *words)  # type: ignore[arg-type]
        if found.outcome is Outcome.UNKNOWN:
            return desk.OrderResult(Outcome.NOT_ACCEPTED, code="SILENT")
        return found

    monkeypatch.setattr(desk.Desk, "_follow", trusting)


def no_number_in_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders carry the comment alone, which the server may cut."""
    monkeypatch.setattr(convert, "label_of", lambda tag: tag.label)


def clock_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter believes this machine's clock, whatever the ticks say."""
    monkeypatch.setattr(ctrader_venue.Session, "now", lambda self: self._world.clock.now())


@pytest.mark.parametrize(
    "mutant", [silence_taken_for_a_no, no_number_in_the_label, clock_of_the_machine], ids=lambda m: m.__name__
)
def test_ctrader_the_world_kills_the_adapters_mutant(monkeypatch: pytest.MonkeyPatch, mutant: object) -> None:
    """Taking one care out of the adapter is noticed."""
    mutant(monkeypatch)  # type: ignore[operator]
    for seed in range(200):
        try:
            run_seed(seed, make_venue=CTraderVenue)
        except Violation:
            return
    pytest.fail("200 seeds did not notice")

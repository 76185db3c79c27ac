"""Many runs in one process: each as if it were alone, one poll per feed, one commit for the quiet ones."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from tests.plugins.live_support import Donchian, EmaCross, RsiReversal, Sea
from toolkit.clock import from_ns
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.hosting.fleet import Fleet, host_fleet
from toolkit.live.stepping import program
from toolkit.live.stepping.run_state import decode
from toolkit.market import Bars
from toolkit.research.comparison import first_difference
from toolkit.store.runs import RunRecord

WARM, LAST = 320, 560


def begin(sea: Sea, bars: Bars, accounts: int, runs_each: int) -> tuple[list[Any], list[RunRecord]]:
    """Start runs of three versions on accounts whose venues show the same bars."""
    versions = [sea.version(s, bars) for s in (EmaCross(), RsiReversal(), Donchian())]
    platforms, runs = [], []
    for n in range(accounts):
        account = sea.account(f"paper-{n}", balance=1_000_000, leverage=500)
        platform: Any = sea.engine.desk(account.account_id).platform
        platform.load_replay("EURUSD", bars)
        platform.advance_clock_to(from_ns(int(bars.ts[WARM])))
        platforms.append(platform)
        runs += [
            sea.run(versions[k % 3], account, bars, feed=None, capital=5_000 + 1_000 * k, host="none")
            for k in range(runs_each)
        ]
    return platforms, runs


def test_runs_of_a_fleet_trade_as_each_alone(make_sea: Any, some_bars: Bars) -> None:
    """Twelve runs on two accounts, minute by minute, make the trades that each makes when it is advanced by itself."""
    many, single = make_sea("many"), make_sea("single")
    platforms, runs = begin(many, some_bars, 2, 6)
    others, alone = begin(single, some_bars, 2, 6)
    fleet = Fleet(many.engine)
    fleet.round()
    quiet = 0
    for row in range(WARM + 1, LAST):
        moment = from_ns(int(some_bars.ts[row]))
        for platform in platforms + others:
            platform.advance_clock_to(moment)
        report = fleet.round()
        assert (report.runs, report.polls) == (12, 2) and report.bars == 12
        quiet += report.commits <= 1
        for run in alone:
            while advance(single.engine, run.live_run_id, run.account_id).waiting != "feed":
                pass
    assert quiet == LAST - WARM - 1
    for run, solo in zip(runs, alone, strict=True):
        mine, its = many.read(run), single.read(solo)
        assert (mine.cursor, mine.bars_count, mine.bars_hash) == (its.cursor, its.bars_count, its.bars_hash)
        assert first_difference(single.trades(solo), many.trades(run)) is None
    assert sum(len(many.trades(run)) for run in runs) > 20


def test_idle_runs_are_not_advanced_and_show_that_they_live(sea: Sea, some_bars: Bars) -> None:
    """Between two bars a round only moves the heartbeats, all in one write."""
    _, runs = begin(sea, some_bars, 1, 3)
    fleet = Fleet(sea.engine)
    fleet.round()
    before = [sea.read(run) for run in runs]
    report = fleet.round()
    assert (report.advanced, report.polls) == (0, 0)
    after = [sea.read(run) for run in runs]
    assert all(b.heartbeat_at > a.heartbeat_at and b.version == a.version for a, b in zip(before, after, strict=True))


def test_a_run_stopped_between_its_step_and_the_shared_commit_loses_only_its_own(
    sea: Sea, some_bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compare-and-set leaves that run out; the others of the commit are kept, and the stop is carried out."""
    platforms, runs = begin(sea, some_bars, 1, 3)
    fleet = Fleet(sea.engine)
    fleet.round()
    commit = Fleet._commit

    def stop_first(self: Fleet, current: Any) -> None:
        if current.deferred:
            monkeypatch.setattr(Fleet, "_commit", commit)
            live_runs.stop_live_run(sea.engine, sea.engine.principal, runs[1].live_run_id)
        commit(self, current)

    monkeypatch.setattr(Fleet, "_commit", stop_first)
    platforms[0].advance_clock_to(from_ns(int(some_bars.ts[WARM + 1])))
    fleet.round()
    moved = [sea.read(run).cursor == from_ns(int(some_bars.ts[WARM])) for run in runs]
    assert moved == [True, False, True]
    for _ in range(3):
        fleet.round()
    assert [sea.read(run).status for run in runs] == ["RUNNING", "STOPPED", "RUNNING"]


def test_a_commit_that_fails_is_stepped_again(sea: Sea, some_bars: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written has not happened: the next round steps the same bars, with the same outcome."""
    platforms, runs = begin(sea, some_bars, 1, 2)
    fleet = Fleet(sea.engine)
    fleet.round()
    platforms[0].advance_clock_to(from_ns(int(some_bars.ts[WARM + 1])))
    with monkeypatch.context() as broken:
        broken.setattr("toolkit.live.stepping.commit.Runs.save", _full)
        with pytest.raises(OSError, match="disk full"):
            fleet.round()
    assert all(sea.read(run).cursor == from_ns(int(some_bars.ts[WARM - 1])) for run in runs)
    fleet.round()
    assert all(sea.read(run).cursor == from_ns(int(some_bars.ts[WARM])) for run in runs)


def _full(*_: Any, **__: Any) -> None:
    raise OSError("disk full")


def test_a_round_that_breaks_off_leaves_no_memory_of_steps_it_did_not_commit(
    make_sea: Any, some_bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes the runs on meanwhile, to the very row version the broken round had foreseen: its rows count."""
    disturbed, calm = make_sea("disturbed"), make_sea("calm")
    (venue,), runs = begin(disturbed, some_bars, 1, 3)
    (other_venue,), others = begin(calm, some_bars, 1, 3)
    fleet, other = Fleet(disturbed.engine), Fleet(calm.engine)

    def to_bar(row: int) -> None:
        for platform in (venue, other_venue):
            platform.advance_clock_to(from_ns(int(some_bars.ts[row])))

    for each in (fleet, other):
        each.round()
    to_bar(WARM + 1)
    other.round()
    real = Fleet._advance
    calls = iter(range(100))

    def breaks(self: Fleet, head: Any) -> Any:
        if next(calls) == 2:
            raise OSError("the disk went away")
        return real(self, head)

    monkeypatch.setattr(Fleet, "_advance", breaks)
    with pytest.raises(OSError, match="went away"):
        fleet.round()
    monkeypatch.setattr(Fleet, "_advance", real)
    to_bar(WARM + 2)
    other.round()
    ours = dict(program._cache)
    program._cache.clear()  # the memory of another process, which begins with the rows
    Fleet(disturbed.engine).round()
    program._cache.clear()
    program._cache.update(ours)
    to_bar(WARM + 3)
    for each in (fleet, other):
        each.round()
    for run, peer in zip(runs, others, strict=True):
        mine, its = disturbed.read(run), calm.read(peer)
        assert (mine.cursor, mine.bars_count, mine.bars_hash) == (its.cursor, its.bars_count, its.bars_hash)
        assert decode(mine.state)[1] == decode(its.state)[1]


def test_replays_are_hosted_to_their_end_beside_live_bars(sea: Sea, some_bars: Bars) -> None:
    """A fleet hosts what comes: a replay on another account ends as it does alone."""
    begin(sea, some_bars, 1, 1)
    account = sea.account("replayed")
    run = sea.run(sea.version(EmaCross(), some_bars), account, some_bars[:400], host="none")
    stop = threading.Event()
    deadline = sea.engine.now() + timedelta(seconds=60)

    def until_ended(_: Any) -> None:
        if sea.read(run).status == "STOPPED" or sea.engine.now() > deadline:
            stop.set()

    host_fleet(sea.engine, stop=stop, on_round=until_ended)
    assert sea.read(run).status == "STOPPED" and len(sea.trades(run)) > 5

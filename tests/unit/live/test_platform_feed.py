"""A run on its platform's own closed bars: warm-up, one step a bar, catch-up after downtime, revised bars."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from toolkit.clock import from_ns, to_ns
from toolkit.errors import BarsError
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.market import Bars
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.store.sql.models import BarSeen, RunEvent

WARM = 320


@pytest.fixture
def live(sea: Sea, some_bars: Bars) -> tuple[Sea, Any, Any]:
    """A run that reads its platform's bars, on a venue whose clock the test moves."""
    return begun(sea, some_bars, None)


def begun(sea: Sea, some_bars: Bars, guards: tk.Guards | None) -> tuple[Sea, Any, Any]:
    """Start such a run."""
    account = sea.account()
    platform = sea.engine.desk(account.account_id).platform
    platform.load_replay("EURUSD", some_bars)  # type: ignore[attr-defined]
    platform.advance_clock_to(from_ns(int(some_bars.ts[WARM])))  # type: ignore[attr-defined]
    version = sea.version(EmaCross(), some_bars, guards=guards)
    run = sea.run(version, account, some_bars, feed=None, capital=10_000)
    return sea, run, platform


def kinds(sea: Sea) -> list[str]:
    """Return the kinds of all events, oldest first."""
    with sea.engine.work(write=False) as work:
        return list(work.connection.execute(select(RunEvent.kind).order_by(RunEvent.event_id)).scalars())


def test_the_first_step_warms_up_and_sends_nothing(live: tuple[Sea, Any, Any], some_bars: Bars) -> None:
    """History is taken into the strategy, every bar of it is kept, and no order is made of it."""
    sea, run, _ = live
    progress = advance(sea.engine, run.live_run_id, run.account_id)
    assert progress.orders == 0 and progress.bars > 100
    row = sea.read(run)
    assert row.cursor == from_ns(int(some_bars.ts[WARM - 1])) and row.intents_count == 0
    with sea.engine.work(write=False) as work:
        seen = work.connection.execute(select(BarSeen.ts)).scalars().all()
    assert len(seen) == progress.bars


@pytest.mark.parametrize("cooldown", [0, 1, 3])
def test_bar_by_bar_it_makes_the_trades_of_a_backtest(sea: Sea, some_bars: Bars, cooldown: int) -> None:
    """From the same first bar on, live decisions on closed bars are those of research, filled at the next open.

    The cooldown counts bars really seen, so that the same entries are denied.
    """
    guards = tk.Guards(cooldown_bars=cooldown)
    sea, run, platform = begun(sea, some_bars, guards)
    last = 700
    for row in range(WARM, last + 1):
        platform.advance_clock_to(from_ns(int(some_bars.ts[row])))
        while advance(sea.engine, run.live_run_id, run.account_id).waiting != "feed":
            pass
    with sea.engine.work(write=False) as work:
        first = int(work.connection.execute(select(BarSeen.ts).order_by(BarSeen.ts)).scalars().first() or 0)
    first_row = int(some_bars.ts.searchsorted(first))
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    model = normalise_all(
        tk.backtest(EmaCross(), some_bars[first_row : last + 1], account=account, guards=guards).trade_records
    )
    start = from_ns(int(some_bars.ts[WARM]))
    mine = sea.trades(run)
    # The model's account differs by what it won before the run began, so sizes are compared by risk, not by lots.
    end = from_ns(int(some_bars.ts[last]))
    shared = [t for t in model if t["entry_time"] > start and t["exit_time"] < end]
    expected = [{**t, "lots": None, "profit": None} for t in shared]
    got = [{**t, "lots": None, "profit": None} for t in mine]
    assert len(expected) >= 5
    assert first_difference(expected, got) is None


def test_after_downtime_stale_entries_are_dropped_and_said(live: tuple[Sea, Any, Any], some_bars: Bars) -> None:
    """Bars missed while nobody hosted the run are taken in; entries of old bars are named and not made."""
    sea, run, platform = live
    advance(sea.engine, run.live_run_id, run.account_id)
    platform.advance_clock_to(from_ns(int(some_bars.ts[WARM + 200])))
    progress = advance(sea.engine, run.live_run_id, run.account_id)
    assert progress.bars == 200
    assert "stale_entry" in kinds(sea)
    assert sea.read(run).status == "RUNNING"


def test_between_bars_the_run_shows_that_it_lives(live: tuple[Sea, Any, Any]) -> None:
    """Without a new bar a step moves the heartbeat and tells the equity."""
    sea, run, _ = live
    advance(sea.engine, run.live_run_id, run.account_id)
    before = sea.read(run)
    assert advance(sea.engine, run.live_run_id, run.account_id).waiting == "feed"
    after = sea.read(run)
    assert after.heartbeat_at > before.heartbeat_at and after.version == before.version
    assert "equity" in kinds(sea)


def test_a_stop_between_bars_takes_effect_at_the_next_look(live: tuple[Sea, Any, Any]) -> None:
    """STOPPING needs no new bar."""
    sea, run, _ = live
    advance(sea.engine, run.live_run_id, run.account_id)
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    advance(sea.engine, run.live_run_id, run.account_id)
    assert sea.read(run).status == "STOPPED"


def test_stage_a_shadow_decides_and_sends_nothing(sea: Sea, some_bars: Bars) -> None:
    """Two shadows side by side tell what they would send; no intent is written."""
    account = sea.account()
    version = sea.version(EmaCross(), some_bars)
    one = sea.run(version, account, some_bars, stage="shadow")
    two = sea.run(sea.version(EmaCross(fast=15), some_bars), account, some_bars, stage="shadow")
    for _ in range(2_000):
        steps = [advance(sea.engine, r.live_run_id, r.account_id) for r in (one, two)]
        if all(step.ended for step in steps):
            break
    assert kinds(sea).count("shadow_signal") > 20
    assert sea.read(one).intents_count == 0 and sea.trades(two) == []


def test_a_dirty_bar_is_set_aside_and_the_run_goes_on(
    live: tuple[Sea, Any, Any], some_bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar that the platform cannot hand out clean costs that bar, one event, and no run."""
    sea, run, platform = live
    advance(sea.engine, run.live_run_id, run.account_id)
    bad = int(some_bars.ts[WARM + 1])
    read = platform.closed_bars

    def dirty(symbol: str, timeframe: str, after: Any, limit: int) -> Bars:
        bars: Bars = read(symbol, timeframe, after, limit)
        if bad in bars.ts.tolist():
            raise BarsError("ask_close of row 3 must be at or above the bid, was crossed")
        return bars

    monkeypatch.setattr(platform, "closed_bars", dirty)
    for row in range(WARM, WARM + 8):
        platform.advance_clock_to(from_ns(int(some_bars.ts[row])))
        for _ in range(3):
            advance(sea.engine, run.live_run_id, run.account_id)
    after = sea.read(run)
    assert after.status == "RUNNING" and after.cursor == from_ns(int(some_bars.ts[WARM + 6]))
    assert 1 <= kinds(sea).count("bars_quarantined") <= 3
    with sea.engine.work(write=False) as work:
        kept = work.connection.execute(select(BarSeen.ts)).scalars().all()
    assert bad not in kept and int(some_bars.ts[WARM + 2]) in kept


def test_a_revised_bar_is_told_and_kept_as_a_revision(
    live: tuple[Sea, Any, Any], some_bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed bar that reads differently later is an event and a second row; what was decided stays."""
    sea, run, platform = live
    advance(sea.engine, run.live_run_id, run.account_id)
    cursor = sea.read(run).cursor
    read = platform.closed_bars

    def revised(symbol: str, timeframe: str, after: Any, limit: int) -> Bars:
        bars: Bars = read(symbol, timeframe, after, limit)
        columns = {name: column.copy() for name, column in bars.columns.items()}
        for name in columns:
            if name.endswith("high"):
                columns[name] += (bars.ts == to_ns(cursor)).astype("int32")
        return Bars.from_arrays(symbol, timeframe, bars.ts, instrument=bars.instrument, volume=bars.volume, **columns)

    monkeypatch.setattr(platform, "closed_bars", revised)
    platform.advance_clock_to(from_ns(int(some_bars.ts[WARM + 1])))
    advance(sea.engine, run.live_run_id, run.account_id)
    assert kinds(sea).count("bar_revised") == 1
    with sea.engine.work(write=False) as work:
        revisions = work.connection.execute(select(BarSeen.revision).where(BarSeen.ts == to_ns(cursor))).scalars().all()
    assert sorted(revisions) == [0, 1]

"""Shadows on live bars: versions side by side on one account, each deciding as if it were alone, and nothing of it leaves."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from tests.plugins.live_support import Donchian, EmaCross, Sea
from toolkit.clock import from_ns
from toolkit.errors import RunError
from toolkit.live.hosting.fleet import Fleet
from toolkit.live.stepping.run_state import decode
from toolkit.market import Bars
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import RunEvent
from toolkit.strategy.drivers.columnar import evaluate
from toolkit.strategy.drivers.packing import ENTER_LONG, ENTER_SHORT

WARM, LAST = 320, 620


def signals(sea: Sea, run: RunRecord) -> list[tuple[datetime, str]]:
    """Return when a shadow would have sent which entry."""
    query = select(RunEvent.market_time, RunEvent.data).where(
        RunEvent.live_run_id == run.live_run_id, RunEvent.kind == "shadow_signal"
    )
    with sea.engine.work(write=False) as work:
        rows = work.connection.execute(query.order_by(RunEvent.event_id)).all()
    return [(at, json.loads(data["payload"])["direction"]) for at, data in rows]


def decided(strategy: Any, bars: Bars, first: int) -> list[tuple[datetime, str]]:
    """Return the entries the version decides on the same closed bars, by the columns of research."""
    seen = bars[first:LAST]
    codes = evaluate(strategy.to_spec(), seen).code.tolist()
    names = {ENTER_LONG: "BUY", ENTER_SHORT: "SELL"}
    return [
        (from_ns(int(bars.ts[first + row + 1])), names[code & 3])
        for row, code in enumerate(codes)
        if code & 3 and first + row >= WARM
    ]


def test_stage_versions_shadow_side_by_side_on_live_bars(sea: Sea, some_bars: Bars) -> None:
    """Two versions and another strategy beside a trading run: one poll a bar, each shadow's own signals, only the run trades."""
    account = sea.account(leverage=500)
    venue: Any = sea.engine.desk(account.account_id).platform
    venue.load_replay("EURUSD", some_bars)
    venue.advance_clock_to(from_ns(int(some_bars.ts[WARM])))
    strategies = (EmaCross(), EmaCross(fast=15), Donchian())
    live: dict[str, Any] = {"feed": None, "capital": 10_000, "host": "none"}
    shadows = [sea.run(sea.version(s, some_bars), account, some_bars, stage="shadow", **live) for s in strategies]
    trading = sea.run(sea.version(EmaCross(), some_bars), account, some_bars, **live)
    fleet = Fleet(sea.engine)
    fleet.round()
    for row in range(WARM + 1, LAST + 1):
        venue.advance_clock_to(from_ns(int(some_bars.ts[row])))
        report = fleet.round()
        assert (report.polls, report.bars) == (1, 4)
    told = [signals(sea, run) for run in shadows]
    for run, strategy, its in zip(shadows, strategies, told, strict=True):
        first = int(some_bars.ts.searchsorted(decode(sea.read(run).state)[0].extra["first_ns"]))
        assert its == decided(strategy, some_bars, first)
        assert (sea.read(run).intents_count, sea.trades(run), sea.read(run).bars_count) == (0, [], LAST - first)
    assert len(told[0]) > 3 and told[0] != told[1]
    assert len(sea.trades(trading)) > 3
    assert {p.label for p in venue.book().positions} <= {str(trading.live_run_id)}


def test_stage_shadows_stand_beside_a_run_on_a_netting_account(sea: Sea, some_bars: Bars) -> None:
    """Only what trades holds a symbol there: shadows come and go, a second trading run is refused."""
    account = sea.account(mode="netting")
    venue: Any = sea.engine.desk(account.account_id).platform
    venue.load_replay("EURUSD", some_bars)
    version = sea.version(EmaCross(), some_bars)
    live: dict[str, Any] = {"feed": None, "capital": 10_000, "host": "none"}
    runs = [sea.run(version, account, some_bars, stage=stage, **live) for stage in ("shadow", "paper", "shadow")]
    assert [run.status for run in runs] == ["RUNNING"] * 3
    with pytest.raises(RunError, match="traded by one run only"):
        sea.run(version, account, some_bars, **live)

"""Retention removes what may go and nothing that is still needed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from tests.plugins.live_support import EmaCross, Sea
from toolkit.clock import from_ns
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.watch.retention import prune_older
from toolkit.market import Bars
from toolkit.store.sql.models import Audit, BarSeen, RunEvent


def count(sea: Sea, table: Any) -> int:
    """Return how many rows a table has."""
    with sea.engine.work(write=False) as work:
        return int(work.connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_bars_of_a_run_under_way_are_kept_and_go_when_it_has_ended(sea: Sea, some_bars: Bars) -> None:
    """However short the retention, a running run can still be measured; afterwards its bars go, its history stays."""
    account = sea.account()
    platform: Any = sea.engine.desk(account.account_id).platform
    platform.load_replay("EURUSD", some_bars)
    platform.advance_clock_to(from_ns(int(some_bars.ts[320])))
    run = sea.run(sea.version(EmaCross(), some_bars), account, some_bars, feed=None, capital=10_000)
    advance(sea.engine, run.live_run_id, run.account_id)
    seen = count(sea, BarSeen)
    later = sea.engine.now() + timedelta(days=1)
    assert prune_older(sea.engine, later).bars == 0
    assert count(sea, BarSeen) == seen > 100
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    advance(sea.engine, run.live_run_id, run.account_id)
    before = count(sea, Audit)
    assert prune_older(sea.engine, later).bars == seen
    assert count(sea, BarSeen) == 0 and count(sea, Audit) == before
    with sea.engine.work(write=False) as work:
        kinds = set(work.connection.execute(select(RunEvent.kind)).scalars())
    assert {"created", "started", "stopped"} <= kinds and "equity" not in kinds

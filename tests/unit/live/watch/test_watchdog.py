"""The watchdog: one look finds what is wrong and tells it, balances are compared, clocks stand beside each other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from tests.plugins.live_support import Collector, EmaCross, Sea
from toolkit.bootstrap import build, open_paper_venue
from toolkit.clock import ManualClock, from_ns, now
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.stepping.ending import fail
from toolkit.live.watch.balance import check_balance
from toolkit.live.watch.clocks import clock_alerts, database_skew
from toolkit.live.watch.watchdog import Watchdog, WatchThread
from toolkit.market import Bars
from toolkit.platforms.simulated.faults import FaultScript
from toolkit.research.backtest import model_trades
from toolkit.settings import Settings
from toolkit.store.sql.models import AlertState, BalanceCheck, RunEvent


def active(sea: Sea) -> set[str]:
    """Return the kinds of alerts that stand."""
    with sea.engine.work(write=False) as work:
        keys = work.connection.execute(select(AlertState.key).where(AlertState.cleared_at.is_(None))).scalars()
        return {key.partition(":")[0] for key in keys}


def test_an_error_is_told_once_and_is_over_when_the_run_is_stopped(sea: Sea, some_bars: Bars) -> None:
    """Two looks are one message; a run that was stopped after its error stands on no list."""
    people = Collector()
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    fail(sea.engine, run, "planted")
    for _ in range(2):
        Watchdog(sea.engine, notifier=people).look()
    assert [a.body for a in people.seen] == ["planted"] and active(sea) == {"error"}
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    for _ in range(4):
        advance(sea.engine, run.live_run_id, run.account_id)
    Watchdog(sea.engine, notifier=people).look()
    assert active(sea) == set()


def test_drift_above_its_limit_is_measured_kept_and_told(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """A venue that slips is found by the standing measurement; the report is in the run's history."""
    script = FaultScript(extra_slippage_points=40)
    sea = make_sea(open_platform={"simulated": lambda a, s: open_paper_venue(a, s, faults=script)})
    people = Collector()
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    for _ in range(200):
        advance(sea.engine, run.live_run_id, run.account_id)
        if len(sea.trades(run)) >= 8:
            break
    Watchdog(sea.engine, model_trades, notifier=people).look()
    assert [a.key for a in people.seen] == [f"drift:{run.live_run_id}"] and "slippage" in people.seen[0].body
    with sea.engine.work(write=False) as work:
        data = work.connection.execute(select(RunEvent.data).where(RunEvent.kind == "drift")).scalar_one()
    assert data["entry_slippage_points"] > 0


def test_the_balance_is_explained_by_our_trades(sea: Sea, some_bars: Bars) -> None:
    """From check to check the platform's balance moves by exactly what our trades booked."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(commission_per_lot="3.5"), some_bars)
    desk = sea.engine.desk(run.account_id)
    checks = []
    for _ in range(1_000):
        ended = advance(sea.engine, run.live_run_id, run.account_id, limit=50).ended
        checks.append(check_balance(sea.engine, desk))
        if ended:
            break
    assert len(checks) > 5 and checks[-1].booked != 0
    assert [c.difference for c in checks] == [Decimal(0)] * len(checks)


def test_a_trade_made_by_hand_shows_in_the_balance(sea: Sea, some_bars: Bars) -> None:
    """Money that no trade of ours explains is named, told once a day, and kept."""
    people = Collector()
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
    advance(sea.engine, run.live_run_id, run.account_id)
    desk: Any = sea.engine.desk(run.account_id)
    watchdog = Watchdog(sea.engine, notifier=people)
    watchdog.look()
    desk.platform.venue.state.balance += 5_000  # somebody pays 50.00 in
    desk.platform.advance_clock_to(desk.platform.now() + timedelta(days=1))
    watchdog.look()
    watchdog.look()
    assert [a.key.partition(":")[0] for a in people.seen] == ["balance"] and "+50.00 USD" in people.seen[0].body
    with sea.engine.work(write=False) as work:
        rows = work.connection.execute(select(BalanceCheck.difference).order_by(BalanceCheck.check_id)).scalars().all()
    assert rows == [Decimal(0), Decimal("50.00")]


def test_clocks_that_agree_are_no_alert_and_one_that_does_not_is(make_sea: Callable[..., Sea]) -> None:
    """The database's clock is compared with ours: a host whose clock is wrong is found."""
    good = make_sea()
    assert abs(database_skew(good.engine)) < 2 and clock_alerts(good.engine, [], 2.0) == []
    wrong = make_sea("other", clock=ManualClock(now().replace(year=2001)))
    assert [a.key for a in clock_alerts(wrong.engine, [], 2.0)] == ["clock:database"]


def test_a_watch_thread_tells_a_webhook_and_calls_the_outside_alarm(
    tmp_path: Any,
    webhook: tuple[str, list[str]],
    some_bars: Bars,
) -> None:
    """With addresses in the settings, an error reaches people and the dead man's heartbeat is heard."""
    pytest.importorskip("apprise")
    address, bodies = webhook
    settings = Settings(
        home=tmp_path, database_url="", _env_file=None, alert_urls=f"json://{address}/hook",
        heartbeat_url=f"http://{address}/alive", watch_seconds=60,
    )  # type: ignore[call-arg, arg-type]  # fmt: skip
    sea = Sea(build(settings))
    try:
        run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars)
        fail(sea.engine, run, "planted")
        WatchThread(Watchdog(sea.engine)).stop()
    finally:
        sea.engine.close()
    assert "/alive" in bodies and any("planted" in body for body in bodies)


def test_drift_of_a_run_on_live_bars_is_exactly_zero(sea: Sea, some_bars: Bars) -> None:
    """Bar by bar on its platform's closed bars, warm-up and own capital included, the run is its own model."""
    account = sea.account()
    platform: Any = sea.engine.desk(account.account_id).platform
    platform.load_replay("EURUSD", some_bars)
    platform.advance_clock_to(from_ns(int(some_bars.ts[320])))
    run = sea.run(sea.version(EmaCross(), some_bars), account, some_bars, feed=None, capital=10_000)
    for row in range(320, 620):
        platform.advance_clock_to(from_ns(int(some_bars.ts[row])))
        while advance(sea.engine, run.live_run_id, run.account_id).waiting != "feed":
            pass
    from toolkit.live.review.drift import measure_drift

    report = measure_drift(sea.engine, sea.engine.principal, run.live_run_id, model_trades)
    assert report.matched >= 5 and report.is_zero, str(report)

"""Managed strategies: the same trades in backtest and live, whatever happens to the process in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

import toolkit as tk
from tests.plugins import managed_strategies as made
from tests.plugins.live_support import Sea
from toolkit.clock import from_ns
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.stepping.sources import replay
from toolkit.market import Bars
from toolkit.research.backtest import run_spec
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.research.setup import prepare
from toolkit.session import replay_in_temporary_home
from toolkit.store.sql.models import ExecutionIntent
from toolkit.strategy import StrategySpec

#: Costs and guards at work, so that a difference in any of them shows.
ACCOUNT = tk.PaperAccount(
    currency="USD", balance=10_000, leverage=500, commission_per_lot="3.5", slippage_points=2, day_end="New York + 7"
)
GUARDS = tk.Guards(daily_loss_percent=1, cooldown_bars=1)


def expected_of(strategy: Any, bars: Bars, **given: Any) -> list[dict[str, Any]]:
    """Return the backtest's trades."""
    return normalise_all(tk.backtest(strategy, bars, **{"account": ACCOUNT, **given}).trade_records)


def intents(sea: Sea) -> dict[tuple[str, str], int]:
    """Count intents by action and state."""
    table: Any = ExecutionIntent.__table__
    with sea.engine.work(write=False) as work:
        rows = work.connection.execute(
            select(table.c.action, table.c.state, func.count()).group_by(table.c.action, table.c.state)
        )
        return {(action, state): count for action, state, count in rows}


@pytest.mark.parametrize("strategy", made.ALL, ids=lambda s: s.__name__)
def test_backtest_and_live_replay_make_the_same_trades(strategy: Any, some_bars: Bars) -> None:
    """Every column is equal with commission, slippage, a daily-loss guard and a cooldown."""
    bars = some_bars[:600]
    expected = expected_of(strategy(), bars, guards=GUARDS)
    assert len(expected) >= 8
    got = replay_in_temporary_home(strategy(), bars, account=ACCOUNT, guards=GUARDS)
    assert first_difference(expected, got) is None


def test_the_whole_sea_trial_passes(some_bars: Bars) -> None:
    """Look-ahead, warm-up, drivers and replay hold for a strategy with everything in it."""
    report = tk.sea_trial(made.Everything(), some_bars[:500], account=ACCOUNT)
    assert report.passed, str(report)
    assert report.trades > 0


@st.composite
def combinations(draw: st.DrawFn) -> tk.SectionedStrategy:
    """Draw a strategy with any mixture of the features."""
    ratio = st.sampled_from([0.3, 0.5, 1.0, 1.7])
    kind = draw(st.sampled_from(["market", "limit", "stop"]))
    expiry, life = draw(st.integers(1, 5)), draw(st.sampled_from([None, 1, 4, 12]))
    trail, after, even, plus = (
        draw(st.sampled_from([None, 0.7, 1.5])),
        draw(ratio),
        draw(ratio),
        draw(st.integers(1, 5)),
    )
    parts = draw(st.lists(st.tuples(ratio, st.sampled_from([0.1, 0.25, 0.3])), max_size=3))
    late, evens = draw(st.booleans()), draw(st.booleans())

    class Drawn(made.Managed):
        fast = tk.Int(draw(st.integers(3, 9)), 2, 50)
        slow = tk.Int(draw(st.integers(10, 25)), 5, 200)

        def order(self, x: Any) -> Any:
            if kind == "market":
                return None
            levels = (x.bottom, x.top) if kind == "limit" else (x.top, x.bottom)
            make = tk.LimitEntry if kind == "limit" else tk.StopEntry
            return make(long=levels[0], short=levels[1], bars=expiry)

        def managed(self, x: Any) -> dict[str, Any]:
            found: dict[str, Any] = {"partials": [tk.Partial(tk.RR(at), part) for at, part in parts]}
            if trail is not None:
                found["trailing_stop"] = tk.Trail(trail * x.atr, after=tk.RR(after) if late else None)
            if evens:
                found["break_even"] = tk.BreakEven(tk.RR(even), plus=tk.Pips(plus))
            return found | ({} if life is None else {"max_bars": life})

    return Drawn()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(strategy=combinations(), start=st.integers(0, 5_000))
def test_any_combination_is_equal_in_backtest_and_live(strategy: Any, start: int) -> None:
    """A random mixture of features on a random stretch of a real year."""
    bars = tk.sample_bars("EURUSD", "H1")[start : start + 350]
    expected = expected_of(strategy, bars)
    difference = first_difference(expected, replay_in_temporary_home(strategy, bars, account=ACCOUNT))
    assert difference is None, f"{difference}\n{strategy.describe()}"


@pytest.mark.parametrize("strategy", [made.Everything, made.LimitEntries, made.Partials], ids=lambda s: s.__name__)
def test_restart_at_any_step_ends_the_same(make_sea: Callable[..., Sea], some_bars: Bars, strategy: Any) -> None:
    """A new process after every step, with nothing but the row and the venue's journal, makes the same trades."""
    bars = some_bars[:260]
    sea = make_sea()
    run = sea.run(sea.version(strategy(), some_bars), sea.account(), bars)
    for _ in range(600):
        progress = advance(sea.engine, run.live_run_id, run.account_id, limit=17)
        sea.engine.close()
        if progress.ended:
            break
        sea = make_sea()
    sea = make_sea()
    assert sea.read(run).status == "STOPPED"
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    assert first_difference(expected_of(strategy(), bars, account=account), sea.trades(run)) is None


def as_minutes(bars: Bars) -> Bars:
    """Return the same prices a minute apart: an order meant for one open is still valid at the next."""
    ts = bars.ts[0] + 60_000_000_000 * np.arange(len(bars))
    return Bars.from_arrays(bars.symbol, "M1", ts, instrument=bars.instrument, **bars.columns)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("strategy", [made.Everything, made.Busy], ids=lambda s: s.__name__)
def test_restart_after_the_venue_moved_and_before_the_commit(
    make_sea: Callable[..., Sea], some_bars: Bars, monkeypatch: pytest.MonkeyPatch, strategy: Any
) -> None:
    """The process dies each time the venue has executed something that the run has not committed; the trades stay equal."""
    bars = as_minutes(some_bars[:420])
    sea = make_sea()
    run = sea.run(sea.version(strategy(), bars), sea.account(), bars)
    moved, deaths = replay._move, itertools.count()

    def dies(*given: Any) -> Any:
        venue = given[2]
        before = venue.order_count()
        found = moved(*given)
        if venue.order_count() > before and next(deaths) < 60:
            raise Killed
        return found

    for _ in range(400):
        monkeypatch.setattr(replay, "_move", dies)
        try:
            if advance(sea.engine, run.live_run_id, run.account_id).ended:
                break
        except Killed:
            sea.engine.close()
            sea = make_sea()
    assert next(deaths) >= 5
    assert sea.read(run).status == "STOPPED"
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    assert first_difference(expected_of(strategy(), bars, account=account), sea.trades(run)) is None


def test_every_action_goes_through_the_trade_service(sea: Sea, some_bars: Bars) -> None:
    """Reductions, moved stops, pending orders and cancels are intents, and none of them is refused."""
    run = sea.finish(sea.run(sea.version(made.Everything(), some_bars), sea.account(), some_bars))
    assert run.status == "STOPPED"
    found = intents(sea)
    for done in (("REDUCE_POSITION", "FILLED"), ("MODIFY_SLTP", "FILLED"), ("CLOSE_POSITION", "FILLED"),
                 ("OPEN_TRADE", "FILLED"), ("OPEN_TRADE", "EXPIRED"), ("OPEN_TRADE", "CANCELLED"),
                 ("CANCEL_ORDER", "FILLED")):  # fmt: skip
        assert found.get(done, 0) > 0, (done, found)
    assert {state for _, state in found} <= {"FILLED", "EXPIRED", "CANCELLED", "DENIED"}


def test_a_stopped_run_leaves_no_pending_order(sea: Sea, some_bars: Bars) -> None:
    """What waits at the platform is taken back before the run is STOPPED."""
    run = sea.run(sea.version(made.LimitEntries(), some_bars), sea.account(), some_bars)
    platform = sea.engine.desk(run.account_id).platform
    for _ in range(400):
        advance(sea.engine, run.live_run_id, run.account_id, limit=1)
        if platform.book().orders:
            break
    assert platform.book().orders
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    assert sea.finish(run).status == "STOPPED"
    assert platform.book().orders == ()
    assert ("OPEN_TRADE", "WORKING") not in intents(sea)


@pytest.mark.parametrize("strategy", [made.Everything, made.LimitEntries], ids=lambda s: s.__name__)
def test_platform_bars_one_by_one_make_the_trades_of_a_backtest(sea: Sea, some_bars: Bars, strategy: Any) -> None:
    """On a connected account each closed bar moves stops, reduces, cancels and ends as in research."""
    warm, last = 320, 620
    account = sea.account()
    platform = sea.engine.desk(account.account_id).platform
    platform.load_replay("EURUSD", some_bars)  # type: ignore[attr-defined]
    platform.advance_clock_to(from_ns(int(some_bars.ts[warm])))  # type: ignore[attr-defined]
    run = sea.run(sea.version(strategy(), some_bars), account, some_bars, feed=None, capital=10_000)
    for row in range(warm, last + 1):
        platform.advance_clock_to(from_ns(int(some_bars.ts[row])))  # type: ignore[attr-defined]
        while advance(sea.engine, run.live_run_id, run.account_id).waiting != "feed":
            pass
    terms = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    # The run takes bars up to ``warm`` in and acts from the close of the next one on; so does the model.
    setup = prepare(some_bars[: last + 1], terms, None, "next_open", None)
    model = run_spec(StrategySpec.from_strategy(strategy()), setup, first_fill=warm + 1)
    end = from_ns(int(some_bars.ts[last]))  # the range of the last bar is not over yet
    expected = [t for t in normalise_all(model.trade_records) if t["exit_time"] < end]
    assert len(expected) >= 5
    assert first_difference(expected, [t for t in sea.trades(run) if t["exit_time"] < end]) is None

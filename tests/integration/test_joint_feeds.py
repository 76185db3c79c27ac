"""Live feeds of several symbols that differ: breaks, density, one that cannot be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.e2e.replay_files import DATA
from tests.integration.test_joint_live import WARM, begin, paper
from tests.integration.test_portfolio_equals_platform import yen_pairs
from tests.plugins.live_support import Donchian, RsiReversal, Sea
from toolkit.clock import from_ns, to_ns
from toolkit.errors import QuoteError
from toolkit.execution.ports import OpenOrder
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.stepping.joint.platform_feed import TOGETHER
from toolkit.market import Bars
from toolkit.market.series.several import shared_moments
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import EquityMark, ExecutionIntent, RunEvent
from toolkit.strategy.drivers.joint import Joint

pytestmark = [
    pytest.mark.skipif(not DATA.exists(), reason="the shared price files are not here"),
    pytest.mark.timeout(300),
]


def started(
    monkeypatch: pytest.MonkeyPatch, sea: Sea, series: dict[str, Bars], strategy: Any = None
) -> tuple[RunRecord, Any, list[int]]:
    """Start a run that polls its platform; return it, the platform, and the moments at which bars open."""
    monkeypatch.setattr("toolkit.live.opening.rehearsal.gettempdir", lambda: str(sea.home.parent))
    account = paper(sea)
    platform: Any = sea.engine.desk(account.account_id).platform
    for symbol, bars in series.items():
        platform.load_replay(symbol, bars)
    moments: list[int] = shared_moments(series.values()).tolist()
    platform.advance_clock_to(from_ns(moments[WARM]))
    return begin(sea, strategy or RsiReversal(), series, None, account=account), platform, moments


class FarStop(Donchian):
    """Left by its own exits only."""

    def protection(self, x: Any) -> Any:
        return tk.Protection(stop_loss=40 * x.atr, take_profit=None)


def all_of(sea: Sea, run: RunRecord) -> None:
    """Advance until the run waits for its feed; a run that tries the same again and again is a failure."""
    for _ in range(200):
        if advance(sea.engine, run.live_run_id, run.account_id).waiting == "feed":
            return
    raise AssertionError("the run does not come to wait for its feed")


def test_a_symbol_with_a_nightly_break_leaves_the_day_its_base(monkeypatch: pytest.MonkeyPatch, sea: Sea) -> None:
    """Its last bar before the break closes with the first tick after it: the platform day is not begun a second time."""
    series = yen_pairs(420)
    yen = series["GBPJPY"]
    rows = [n for n, t in enumerate(yen.ts.tolist()) if 2 <= from_ns(t).hour < 20]
    series["GBPJPY"] = tk.load_bars(
        yen.frame.iloc[rows], symbol="GBPJPY", timeframe="H1", price="bidask", instrument=yen.instrument
    )
    opens = series["GBPJPY"].ts.tolist()
    run, platform, moments = started(monkeypatch, sea, series)
    read = platform.closed_bars

    def with_late_ticks(symbol: str, timeframe: str, after: Any, limit: int) -> Bars:
        bars: Bars = read(symbol, timeframe, after, limit)
        if symbol != "GBPJPY":
            return bars
        now = to_ns(platform.now())
        shown = [t for t in bars.ts.tolist() if any(later + 20 * 10**9 <= now for later in opens if later > t)]
        return bars[: len(shown)]

    monkeypatch.setattr(platform, "closed_bars", with_late_ticks)
    for moment in moments[WARM : WARM + 75]:
        for clock in (from_ns(moment), from_ns(moment) + TOGETHER, from_ns(moment) + timedelta(seconds=30)):
            platform.advance_clock_to(clock)
            all_of(sea, run)
    query = select(EquityMark.day).where(EquityMark.scope == str(run.live_run_id)).order_by(EquityMark.updated_at)
    with sea.engine.work(write=False) as work:
        days = list(work.connection.execute(query).scalars())
    assert len(days) >= 3
    assert days == sorted(days)
    assert all(later - before >= timedelta(hours=23) for before, later in pairwise(days[1:]))


def test_after_downtime_the_bars_of_all_symbols_are_stepped_in_the_order_of_time(
    monkeypatch: pytest.MonkeyPatch, sea: Sea
) -> None:
    """Where reads are cut, a symbol with fewer bars is not stepped ahead, and no entry of an old bar is sent."""
    series = yen_pairs(1_200)
    thin = series["USDJPY"]
    series["USDJPY"] = tk.load_bars(
        thin.frame.iloc[::2], symbol="USDJPY", timeframe="H1", price="bidask", instrument=thin.instrument
    )
    run, platform, moments = started(monkeypatch, sea, series)
    platform.advance_clock_to(from_ns(moments[WARM]) + TOGETHER)
    all_of(sea, run)
    seen: list[int] = []
    step = Joint.step

    def noted(self: Joint, bars: Any) -> Any:
        seen.append(max(fields[0] for fields in bars.values()))
        return step(self, bars)

    monkeypatch.setattr(Joint, "step", noted)
    sent = monkeypatch_sends(monkeypatch, platform)
    platform.advance_clock_to(from_ns(moments[-1]) + TOGETHER)
    looks = 0
    while advance(sea.engine, run.live_run_id, run.account_id, limit=20).waiting != "feed":
        looks += 1
    assert looks >= 3
    assert len(seen) > 500
    assert seen == sorted(set(seen))
    newest = from_ns(max(seen))
    query = select(ExecutionIntent.bar_time, ExecutionIntent.state).where(ExecutionIntent.action == "OPEN_TRADE")
    with sea.engine.work(write=False) as work:
        old = [state for bar, state in work.connection.execute(query) if bar < newest and bar > from_ns(moments[WARM])]
        dropped = select(RunEvent.kind).where(RunEvent.kind == "stale_entry")
        told = list(work.connection.execute(dropped).scalars())
    assert set(old) <= {"EXPIRED"}
    assert len(told) >= 5
    assert sum(isinstance(command, OpenOrder) for command in sent) <= len(series)


def monkeypatch_sends(monkeypatch: pytest.MonkeyPatch, platform: Any) -> list[Any]:
    """Note every command that reaches the platform from here on."""
    send, sent = platform.send, []

    def noted(command: Any) -> Any:
        sent.append(command)
        return send(command)

    monkeypatch.setattr(platform, "send", noted)
    return sent


def test_a_symbol_that_cannot_be_read_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, sea: Sea) -> None:
    """The others' bars are taken, and what cannot be read is told once by its name."""
    run, platform, moments = started(monkeypatch, sea, yen_pairs(400))
    all_of(sea, run)
    read = platform.closed_bars

    def closed(symbol: str, *given: Any) -> Bars:
        if symbol == "GBPJPY":
            raise QuoteError("quote of GBPJPY must be known, was none yet")
        return read(symbol, *given)  # type: ignore[no-any-return]

    monkeypatch.setattr(platform, "closed_bars", closed)
    before = sea.read(run).bars_count
    for moment in moments[WARM + 1 : WARM + 7]:
        platform.advance_clock_to(from_ns(moment) + TOGETHER)
        all_of(sea, run)
    assert sea.read(run).bars_count >= before + 10
    with sea.engine.work(write=False) as work:
        told = list(work.connection.execute(select(RunEvent.kind).where(RunEvent.kind.like("bars_unread%"))).scalars())
    assert told == ["bars_unread_GBPJPY"]


def test_a_symbol_without_bars_and_without_a_price_keeps_no_exit_of_the_others(
    monkeypatch: pytest.MonkeyPatch, sea: Sea
) -> None:
    """It holds a position, so the run's equity is unknown: the others' exits go, entries say why they do not."""
    run, platform, moments = started(monkeypatch, sea, yen_pairs(1_200), FarStop())
    begun = 0
    for begun in range(WARM, len(moments)):
        platform.advance_clock_to(from_ns(moments[begun]) + TOGETHER)
        all_of(sea, run)
        if len({p.symbol for p in platform.book().positions}) == 2:
            break
    other, lost = (p.symbol for p in platform.book().positions)
    read, quote = platform.closed_bars, platform.quote

    def unless_lost(asked: Any) -> Any:
        def answer(symbol: str, *given: Any) -> Any:
            if symbol == lost:
                raise QuoteError(f"quote of {symbol} must be known, was none yet")
            return asked(symbol, *given)

        return answer

    monkeypatch.setattr(platform, "closed_bars", unless_lost(read))
    monkeypatch.setattr(platform, "quote", unless_lost(quote))
    sent = monkeypatch_sends(monkeypatch, platform)
    for moment in moments[begun + 1 :]:
        platform.advance_clock_to(from_ns(moment) + TOGETHER)
        all_of(sea, run)
        if any(not isinstance(command, OpenOrder) for command in sent):
            break
    assert lost in {p.symbol for p in platform.book().positions}
    assert any(not isinstance(command, OpenOrder) for command in sent)
    assert not any(isinstance(command, OpenOrder) for command in sent)
    assert other not in {p.symbol for p in platform.book().positions}
    assert sea.read(run).status == "RUNNING"


def test_a_stop_with_flatten_waits_for_an_entry_whose_deal_is_not_in_the_history_yet(
    monkeypatch: pytest.MonkeyPatch, sea: Sea
) -> None:
    """The platform has filled it, its history lags: the run ends only after the position it became is closed."""
    run, platform, moments = started(monkeypatch, sea, yen_pairs(420))
    after, of, history = platform.deals_after, platform.deals_of, platform.history
    lags = [True]
    monkeypatch.setattr(platform, "deals_after", lambda last: () if lags[0] else after(last))
    monkeypatch.setattr(platform, "deals_of", lambda position: () if lags[0] else of(position))
    monkeypatch.setattr(
        platform, "history", lambda a, b: replace(history(a, b), deals=()) if lags[0] else history(a, b)
    )
    for moment in moments[WARM:]:
        platform.advance_clock_to(from_ns(moment) + TOGETHER)
        for _ in range(5):
            advance(sea.engine, run.live_run_id, run.account_id)
        if platform.book().positions:
            break
    assert platform.book().positions
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id, flatten=True)
    for _ in range(3):
        assert not advance(sea.engine, run.live_run_id, run.account_id).ended
    lags[0] = False
    for _ in range(10):
        if advance(sea.engine, run.live_run_id, run.account_id).ended:
            break
    assert sea.read(run).status == "STOPPED"
    assert not platform.book().positions

"""Drift is zero without a fault and names the fault otherwise; explain tells why and why not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

import toolkit as tk
from tests.plugins.live_support import EmaCross, RsiReversal, Sea
from toolkit.bootstrap import open_paper_venue
from toolkit.clock import from_ns, to_ns
from toolkit.errors import NotFound
from toolkit.live.feed import Replay
from toolkit.live.review.drift import measure_drift
from toolkit.live.review.explain import explain
from toolkit.market import Bars
from toolkit.platforms.simulated.faults import FaultScript
from toolkit.research.backtest import model_trades


def drift_of(sea: Sea, run: object) -> object:
    """Measure the drift of a run against the backtest."""
    return measure_drift(sea.engine, sea.engine.principal, run.live_run_id, model_trades)


def test_drift_of_a_replay_without_faults_is_exactly_zero(sea: Sea, some_bars: Bars) -> None:
    """Every trade matched, no money apart, at the end and in the middle of the run."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(commission_per_lot="3.5"), some_bars)
    run = sea.finish(run)
    report = drift_of(sea, run)
    assert report.is_zero and report.profit_gap == 0 and report.matched >= 20
    assert "no drift" in str(report)


def test_drift_names_injected_slippage_in_points_and_money(make_sea: Callable[..., Sea], some_bars: Bars) -> None:
    """Three points on every market fill are three points a matched entry, and cost money."""
    script = FaultScript(extra_slippage_points=3)
    sea = make_sea(open_platform={"simulated": lambda a, s: open_paper_venue(a, s, faults=script)})
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars))
    report = drift_of(sea, run)
    assert not report.is_zero and not report.missing and not report.extra
    assert report.entry_slippage_points == 3 * report.matched
    assert report.exit_slippage_points > 0
    assert report.causes["entry_price"] < 0 and report.profit_gap == sum(report.causes.values())


def test_drift_names_a_missed_bar(sea: Sea, some_bars: Bars) -> None:
    """A run that lost the bar of a signal shows the bar, the missing entry and its money."""
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    entered = tk.backtest(EmaCross(), some_bars, account=account).trade_records[3]["entry_time"]
    lost = int(some_bars.ts.searchsorted(to_ns(entered))) - 1
    holed = Bars.concat([some_bars[:lost], some_bars[lost + 1 :]])
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), holed, feed=Replay(holed, venue=some_bars))
    report = drift_of(sea, sea.finish(run))
    assert report.missed_bars == (from_ns(int(some_bars.ts[lost])).isoformat(),)
    assert any(entered.isoformat() in name for name in report.missing)
    assert "missed bar" in str(report)


def test_explain_joins_bar_nodes_decision_order_and_fill(sea: Sea, some_bars: Bars) -> None:
    """For an entry: node values equal the backtest's, and the chain ends at the trade."""
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars))
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    result = tk.backtest(EmaCross(), some_bars, account=account)
    trade = result.trade_records[0]
    row = int(some_bars.ts.searchsorted(to_ns(trade["entry_time"]))) - 1
    said = explain(sea.engine, sea.engine.principal, run.live_run_id, from_ns(int(some_bars.ts[row])))
    assert said.decision and said.acted_at == trade["entry_time"]
    assert said.bar["bid_close"] == some_bars.instrument.price(int(some_bars.bid_close[row]))
    assert said.nodes["fast"] == float(result.frame["fast"].iloc[row])
    entry = next(i for i in said.intents if i.action == "OPEN_TRADE")
    assert entry.state == "FILLED" and entry.orders[0]["lots"] == trade["lots"]
    assert entry.trades[0]["entry_price"] == trade["entry_price"]
    assert any("NEW" in step for step in entry.steps) and "FILLED" in str(said)
    filled = explain(sea.engine, sea.engine.principal, run.live_run_id, trade["entry_time"])
    assert not filled.decision  # asked by the time of the trade: the answer lies one bar before
    assert f"explain {said.bar_time.isoformat()}" in filled.why[0] and said.decision[0] in filled.why[0]


def test_explain_says_why_not(sea: Sea, some_bars: Bars) -> None:
    """A signal on the side already held is explained as ignored; a silent bar as silent."""
    run = sea.finish(sea.run(sea.version(RsiReversal(), some_bars), sea.account(), some_bars))
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    trades = tk.backtest(RsiReversal(), some_bars, account=account).trade_records
    seen: set[str] = set()
    for row in range(60, len(some_bars) - 2):
        moment = from_ns(int(some_bars.ts[row]))
        if not any(t["entry_time"] - timedelta(hours=6) < moment < t["exit_time"] for t in trades[:6]):
            continue
        said = explain(sea.engine, sea.engine.principal, run.live_run_id, moment)
        seen.update(said.why)
        if any("already held that side" in line for line in seen) and any("said nothing" in line for line in seen):
            return
    raise AssertionError(f"neither reason was found: {seen}")


def test_explain_names_the_guard_that_denied(sea: Sea, some_bars: Bars) -> None:
    """An entry denied by the cooldown shows the guardrail's verdict on its bar."""
    guards = tk.Guards(cooldown_bars=30)
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars, guards=guards), sea.account(), some_bars))
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    result = tk.backtest(EmaCross(), some_bars, account=account, guards=guards)
    free = {t["entry_time"] for t in tk.backtest(EmaCross(), some_bars, account=account).trade_records}
    denied = sorted(free - {t["entry_time"] for t in result.trade_records})[0]
    row = int(some_bars.ts.searchsorted(to_ns(denied))) - 1
    said = explain(sea.engine, sea.engine.principal, run.live_run_id, from_ns(int(some_bars.ts[row])))
    assert "guard_cooldown" in str(said)


def test_explain_of_a_bar_that_was_not_seen_is_refused(sea: Sea, some_bars: Bars) -> None:
    """A time between two opens is no bar."""
    run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars[:100]))
    with pytest.raises(NotFound, match="no bar that opened at"):
        explain(sea.engine, sea.engine.principal, run.live_run_id, from_ns(int(some_bars.ts[5]) + 60_000_000_000))

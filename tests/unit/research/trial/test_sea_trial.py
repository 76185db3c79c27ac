"""The sea trial: each of its checks finds the fault that was planted for it, and passes without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.plugins.live_support import EmaCross
from toolkit.errors import BadInput
from toolkit.market import Bars
from toolkit.research.comparison import normalise_all
from toolkit.research.trial.checks import Drivers, with_another_future
from toolkit.research.trial.report import TrialReport
from toolkit.research.trial.sea_trial import sea_trial

ACCOUNT = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)


def trades_of_the_backtest(spec: Any, bars: Bars, account: Any, guards: Any) -> list[dict[str, Any]]:
    """Stand in for a live replay without a fault."""
    return normalise_all(tk.backtest(spec, bars, account=account, guards=guards).trade_records)


def trial(bars: Bars, **planted: Any) -> TrialReport:
    """Run the trial of the average cross with what a test plants."""
    planted.setdefault("live_replay", trades_of_the_backtest)
    return sea_trial(EmaCross(), bars, account=ACCOUNT, **planted)


def check(report: TrialReport, name: str) -> Any:
    """Return one check of a report."""
    return next(c for c in report.checks if c.name == name)


def test_a_sound_strategy_passes_all_four(some_bars: Bars) -> None:
    """The report names the spec, the data and the account it was made on."""
    report = trial(some_bars)
    assert report.passed and report.intact and not report.failures
    assert report.data_fingerprint == some_bars.fingerprint
    assert report.account["currency"] == "USD" and report.trades > 0


def test_a_node_that_reads_the_next_bar_is_found(some_bars: Bars) -> None:
    """A column shifted one bar into the future is named with the bar at which it shows."""

    def peeking(spec: Any, bars: Bars) -> Any:
        honest = Drivers().columnar(spec, bars)
        frame = dict(honest.frame)
        frame["atr"] = np.append(frame["atr"][1:], 0.0)
        return replace(honest, frame=frame)

    found = check(trial(some_bars, drivers=Drivers(columnar=peeking)), "look_ahead")
    assert not found.passed and found.node == "atr" and found.bar is not None and found.bar_time.startswith("2017-")


def _centred(close: Any) -> Any:
    """A mean of the five bars before, this one and the five after."""
    return np.convolve(close, np.ones(11) / 11, "same")


def _resampled_to_the_left(close: Any) -> Any:
    """The close of each four bars, shown from the first of them on."""
    last = np.minimum(np.arange(len(close)) // 4 * 4 + 3, len(close) - 1)
    return close[last]


PLANTED = {
    "a centred window": _centred,
    "the mean of the whole series": lambda close: close - close.mean(),
    "a resample labelled on the wrong side": _resampled_to_the_left,
    "a shift off by one": lambda close: np.append(close[1:], close[-1]),
    "the highest of this bar and the next": lambda close: np.maximum(close, np.append(close[1:], close[-1])),
}


@pytest.mark.parametrize("leak", PLANTED)
def test_a_leaking_node_is_found_and_named(some_bars: Bars, leak: str) -> None:
    """Each way a column may know the future fails the look-ahead check, which names node and bar."""

    def leaking(spec: Any, bars: Bars) -> Any:
        honest = Drivers().columnar(spec, bars)
        return replace(honest, frame=dict(honest.frame) | {"fast": PLANTED[leak](bars.close)})

    found = check(trial(some_bars, drivers=Drivers(columnar=leaking)), "look_ahead")
    assert not found.passed and found.node == "fast" and found.bar is not None
    assert "it reads the future" in found.detail and f"bar {found.bar} ({found.bar_time})" in found.detail


@pytest.mark.parametrize("leak", PLANTED)
def test_a_leak_inside_a_decision_is_found_and_named(some_bars: Bars, leak: str) -> None:
    """A leak that no node shows is seen in what is decided."""

    def leaking(spec: Any, bars: Bars) -> Any:
        honest = Drivers().columnar(spec, bars)
        value = PLANTED[leak](bars.close)
        return replace(honest, code=np.where(value > np.roll(value, 1), 1, 2).astype(np.uint8))

    found = check(trial(some_bars, drivers=Drivers(columnar=leaking)), "look_ahead")
    assert not found.passed and found.node == "decision" and found.bar is not None


def test_a_fill_on_the_signal_bar_is_found(some_bars: Bars) -> None:
    """A path that fills at the close a decision was made on differs from the backtest in its first trade."""

    def too_early(spec: Any, bars: Bars, account: Any, guards: Any) -> Any:
        return normalise_all(tk.backtest(spec, bars, account=account, guards=guards, fill_at="close").trade_records)

    found = check(trial(some_bars, live_replay=too_early), "backtest_equals_live")
    assert not found.passed and "trade 1 " in found.detail and "entry_time" in found.detail


def test_guards_are_part_of_the_trial(some_bars: Bars) -> None:
    """A path that forgets the guardrails makes other trades and fails; one that keeps them passes."""
    guards = tk.Guards(cooldown_bars=40)

    def forgetful(spec: Any, bars: Bars, account: Any, _: Any) -> Any:
        return normalise_all(tk.backtest(spec, bars, account=account).trade_records)

    assert check(trial(some_bars, guards=guards), "backtest_equals_live").passed
    assert not check(trial(some_bars, guards=guards, live_replay=forgetful), "backtest_equals_live").passed


def test_a_decision_that_knows_the_whole_series_is_found(some_bars: Bars) -> None:
    """A threshold taken from all closes, future ones included, changes when the future does."""

    def knowing(spec: Any, bars: Bars) -> Any:
        honest = Drivers().columnar(spec, bars)
        code = np.where(bars.close > bars.close.mean(), 1, 2).astype(np.uint8)
        return replace(honest, code=code)

    assert not check(trial(some_bars, drivers=Drivers(columnar=knowing)), "look_ahead").passed


def test_a_decision_that_depends_on_the_first_bar_is_found(some_bars: Bars) -> None:
    """Counting bars from the start of history never converges."""

    def counting(spec: Any, bars: Bars) -> Any:
        honest = Drivers().columnar(spec, bars)
        return replace(honest, code=(np.arange(len(bars)) % 7 == 0).astype(np.uint8))

    found = check(trial(some_bars, drivers=Drivers(columnar=counting)), "warm_up")
    assert not found.passed and "where history begins" in found.detail


def test_a_live_driver_that_differs_is_found(some_bars: Bars) -> None:
    """One bar's code changed in the live driver is named with its row."""

    class Faulty:
        def __init__(self, spec: Any, bars: Bars) -> None:
            self.inner, self.row = Drivers().incremental(spec, bars), -1

        def step(self, *bar: Any) -> Any:
            self.row += 1
            decided = self.inner.step(*bar)
            return replace(decided, code=decided.code ^ 1) if self.row == 123 else decided

        @property
        def values(self) -> dict[str, Any]:
            values: dict[str, Any] = self.inner.values
            return values

    found = check(trial(some_bars, drivers=Drivers(incremental=Faulty)), "columnar_equals_incremental")
    assert (found.passed, found.bar, found.node) == (False, 123, "decision")


def test_a_node_of_the_live_driver_that_drifts_is_found(some_bars: Bars) -> None:
    """The last bit of one node's value is enough."""

    class Drifting:
        def __init__(self, spec: Any, bars: Bars) -> None:
            self.inner = Drivers().incremental(spec, bars)

        def step(self, *bar: Any) -> Any:
            return self.inner.step(*bar)

        @property
        def values(self) -> dict[str, Any]:
            return {n: np.nextafter(v, 9.0) if n == "slow" else v for n, v in self.inner.values.items()}

    found = check(trial(some_bars, drivers=Drivers(incremental=Drifting)), "columnar_equals_incremental")
    assert not found.passed and found.node == "slow"


@pytest.mark.parametrize(
    ("column", "change"),
    [("entry_price", "0.00001"), ("profit", "0.01"), ("lots", "0.01")],
)
def test_a_live_trade_that_differs_is_found(some_bars: Bars, column: str, change: str) -> None:
    """A point, a cent or a lot step in one trade is named with trade and column."""

    def faulty(*given: Any) -> list[dict[str, Any]]:
        trades = trades_of_the_backtest(*given)
        trades[4] = {**trades[4], column: trades[4][column] + type(trades[4][column])(change)}
        return trades

    found = check(trial(some_bars, live_replay=faulty), "backtest_equals_live")
    assert not found.passed and "trade 5 " in found.detail and f"differs in {column}" in found.detail


def test_a_missing_live_trade_is_found(some_bars: Bars) -> None:
    """A trade that the live path did not make fails the trial."""
    found = check(trial(some_bars, live_replay=lambda *g: trades_of_the_backtest(*g)[:-1]), "backtest_equals_live")
    assert not found.passed and "missing live" in found.detail


def test_a_report_survives_json_and_shows_tampering(some_bars: Bars) -> None:
    """Read back it is the same report; one changed figure breaks the seal."""
    report = trial(some_bars)
    again = TrialReport.from_json(report.to_json())
    assert again == report and again.intact
    assert not replace(report, trades=report.trades + 1).intact
    assert "Sea trial of EmaCross: passed" in report._repr_html_()


def test_too_few_bars_are_refused(some_bars: Bars) -> None:
    """Nothing can be said about a strategy on thirty bars."""
    with pytest.raises(BadInput, match="at least 50"):
        trial(some_bars[:30])


def test_another_future_leaves_the_past_alone(some_bars: Bars) -> None:
    """The perturbed series equals the original before the cut and nowhere after it."""
    other = with_another_future(some_bars, 400)
    assert (other.bid_close[:400] == some_bars.bid_close[:400]).all()
    assert (other.bid_close[400:] != some_bars.bid_close[400:]).all()

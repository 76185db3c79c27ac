"""Function strategies: found again by path and hash, equal live on their window, and no look into the future."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

import toolkit as tk
from tests.plugins import function_signals as signals
from toolkit.errors import SpecError, StrategyError
from toolkit.market import Bars
from toolkit.research.trial.checks import Drivers, check_drivers_agree, check_look_ahead, measure_warm_up
from toolkit.strategy.spec import StrategySpec
from toolkit.strategy.user_code import functions


@pytest.fixture(scope="module")
def hours() -> Bars:
    """Four hundred real hours."""
    return tk.sample_bars("EURUSD", "H1")[:400]


def strategy(function: Any, **given: Any) -> Any:
    """Make one with a stop in pips."""
    return tk.FunctionStrategy(function, **{"stop_loss": tk.Pips(25), "take_profit": tk.RR(2), "window": 80, **given})


def test_a_backtest_runs_it_as_it_is(hours: Bars) -> None:
    """Trades, and its further columns in the frame; the stop may be a column."""
    bt = tk.backtest(strategy(signals.cross, stop_loss="reach", fast=8), hours)
    assert len(bt.trades) >= 5 and "reach" in bt.frame
    assert bt.spec.values == {"fast": 8, "slow": 30}


def test_it_is_data_that_names_its_source(hours: Bars) -> None:
    """The spec survives JSON; another parameter or window is another hash; words say where the function lives."""
    spec = StrategySpec.from_strategy(strategy(signals.cross))
    assert StrategySpec.from_json(spec.to_json()) == spec
    assert spec.hash != StrategySpec.from_strategy(strategy(signals.cross, fast=9)).hash
    assert spec.hash != StrategySpec.from_strategy(strategy(signals.cross, window=81)).hash
    assert "tests.plugins.function_signals:cross" in spec.describe()


def test_a_changed_source_is_refused_where_it_runs(hours: Bars) -> None:
    """A spec whose module reads differently now does not run."""
    spec = StrategySpec.from_strategy(strategy(signals.cross))
    assert spec.function is not None
    other = spec.to_json().replace(spec.function.source, "0" * 64)
    with pytest.raises(SpecError, match="restore that version of the module"):
        tk.backtest(StrategySpec.from_json(other), hours)


def test_what_cannot_be_found_again_is_refused() -> None:
    """A lambda, a closure and a cell's function are named with the remedy."""
    factor = 2

    def closure(bars: Any) -> Any:
        return {"entry_long": bars["close"] > factor}

    cell: dict[str, Any] = {"__name__": "__main__"}
    exec("def signals(bars):\n    return {}", cell)
    for function in (lambda bars: {}, closure, cell["signals"]):
        with pytest.raises(StrategyError, match="top level of a module file"):
            strategy(function)


def test_wrong_answers_are_named(hours: Bars) -> None:
    """Numbers for conditions and an unknown parameter are refused."""
    with pytest.raises(StrategyError, match="entry_long as bools"):
        tk.backtest(strategy(signals.numbers_for_bools), hours)
    with pytest.raises(StrategyError, match="correct the name"):
        strategy(signals.cross, quick=3)


@pytest.mark.parametrize(
    "function", [signals.cross, signals.from_talib, signals.from_vectorbt], ids=lambda f: f.__name__
)
def test_the_window_suffices_live(function: Any, hours: Bars) -> None:
    """Called again on its window at every bar it decides the same; a sound function passes the other checks too."""
    pytest.importorskip("talib" if function is signals.from_talib else "pandas")
    spec = StrategySpec.from_strategy(strategy(function))
    agree = check_drivers_agree(spec, hours, Drivers())
    assert agree.passed, agree.detail
    assert check_look_ahead(spec, hours, Drivers()).passed
    assert measure_warm_up(spec, hours, Drivers())[0].passed


def test_a_window_that_is_too_short_is_found(hours: Bars) -> None:
    """Twenty bars cannot hold a mean of thirty."""
    found = check_drivers_agree(StrategySpec.from_strategy(strategy(signals.cross, window=20)), hours, Drivers())
    assert not found.passed and found.node == "decision" and "raise window=" in found.detail


LEAKS = [signals.centred_window, signals.whole_series_mean, signals.resample_labelled_early, signals.next_bar]


@pytest.mark.parametrize("function", LEAKS, ids=lambda f: f.__name__)
def test_a_look_into_the_future_is_found(function: Any, hours: Bars) -> None:
    """Each planted leak fails the look-ahead check, by the bar at which it shows."""
    found = check_look_ahead(StrategySpec.from_strategy(strategy(function)), hours, Drivers())
    assert not found.passed and found.bar is not None


def test_a_memory_without_end_is_found(hours: Bars) -> None:
    """What depends on the first bar of history fails the warm-up."""
    found, _ = measure_warm_up(StrategySpec.from_strategy(strategy(signals.remembers_everything)), hours, Drivers())
    assert not found.passed


def test_a_sweep_says_that_it_needs_sections(hours: Bars) -> None:
    """Function strategies are prototypes: one at a time."""
    with pytest.raises(StrategyError, match=r"rewrite it as a tk\.SectionedStrategy"):
        tk.sweep(strategy(signals.cross), hours, grid={"fast": [5, 8]}, progress=False)


def test_the_sea_trial_passes_through_the_live_path(hours: Bars) -> None:
    """Window, replay and backtest are equal: the run imports the function, checks its hash and calls it bar by bar."""
    functions.find_function.cache_clear()
    account = tk.PaperAccount(currency="USD", balance=10_000)
    report = tk.sea_trial(strategy(signals.cross), hours, account=account)
    assert report.passed, str(report)
    assert report.trades >= 3


FIRST = """LEVEL = 1.0


def helper(close):
    return close > LEVEL


def signals(bars, n=3):
    return {"entry_long": helper(bars["close"]), "entry_short": bars["close"] < 0}
"""


@pytest.mark.parametrize(
    ("written", "other", "said"),
    [
        ("> LEVEL", ">= LEVEL", "helper"),
        ("LEVEL = 1.0", "LEVEL = 2.0", "LEVEL"),
        ("< 0", "< 1", "signals"),
        ("n=3", "n=4", "signals"),
        ("def helper", "# a line more\ndef helper", "helper"),
        ("close)", "close", "its text"),
    ],
)
def test_a_module_edited_after_its_import_is_refused(
    written: str, other: str, said: str, tmp_path: Any, monkeypatch: Any
) -> None:
    """The hash is of the file; a process that still runs the code of before must not promote under it."""
    name = f"edited_{abs(hash(written))}"
    file = tmp_path / f"{name}.py"
    file.write_text(FIRST)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(name)
    assert tk.FunctionStrategy(module.signals, stop_loss=tk.Pips(20)).to_spec().values == {"n": 3}
    file.write_text(FIRST.replace(written, other))
    with pytest.raises(StrategyError, match=f"imported before {said} was changed there: restart the kernel"):
        tk.FunctionStrategy(module.signals, stop_loss=tk.Pips(20))
    if said != "its text":
        os.utime(file, (1, 1))  # an edit within the clock's step of the first one
        tk.FunctionStrategy(importlib.reload(module).signals, stop_loss=tk.Pips(20))

"""The notebook's words, as DESIGN section 4 writes them, on an engine of the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import toolkit as tk
from tests.plugins import managed_strategies as made
from tests.plugins.live_support import EmaCross, Sea
from toolkit import session
from toolkit.errors import BadInput, RunError
from toolkit.market import Bars


@pytest.fixture
def notebook(sea: Sea) -> Iterator[Sea]:
    """Let the words work on the test's engine."""
    session.use(sea.engine)
    yield sea
    session.use(None)


def test_from_a_cell_to_a_stopped_run(notebook: Sea, some_bars: Bars) -> None:
    """Trial through the real execution path, promotion, a hosted run, its trades, its drift, its reasons."""
    bars = some_bars[:400]
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    guards = tk.Guards(daily_loss_percent=5, max_open_per_symbol=1, cooldown_bars=0)
    result = tk.backtest(EmaCross(), bars, account=account, guards=guards)
    trial = tk.sea_trial(EmaCross(), bars, account=account, guards=guards)
    assert trial.passed, str(trial)
    version = tk.promote(EmaCross(), trial=trial, note="as in the notebook")
    tk.open_paper_account("paper-1", account)
    run = tk.start(
        version,
        account="paper-1",
        symbols=["EURUSD"],
        timeframe="H1",
        stage="paper",
        feed=tk.Replay(bars),
        capital=10_000,
    )
    assert run.wait(120) == "STOPPED"
    assert list(run.trades.columns) == list(result.trades.columns)
    assert len(run.trades) == len(result.trades) > 5
    assert run.drift().is_zero and run.intents and run.events
    first = result.trade_records[0]["entry_time"]
    row = int(bars.frame.index.searchsorted(first)) - 1
    decided = bars.frame.index[row].to_pydatetime()
    assert "enter" in str(run.explain(decided))
    assert str(run.explain(f"{decided:%Y-%m-%dT%H:%M}")) == str(run.explain(decided))
    with pytest.raises(BadInput, match="bar time must be like 2017-03-14T08:00, was 'noon'"):
        run.explain("noon")
    assert [r.id for r in tk.runs()] == [run.id] and tk.run(str(run.id)[:8]).id == run.id
    assert "STOPPED" in repr(run) and "LiveRun" in run._repr_html_()


def test_a_position_closed_in_parts_is_a_row_for_each_part_as_in_the_backtest(notebook: Sea, some_bars: Bars) -> None:
    """`run.trades` and `bt.trades` have the same rows, and a run is started by the name of its version."""
    bars = some_bars[:400]
    account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
    tested = tk.backtest(made.Partials(), bars, account=account).trades
    assert (tested.exit_reason == "partial").sum() >= 2
    version = notebook.version(made.Partials(), some_bars)
    notebook.account()
    run = tk.start(
        version.name, account="paper-1", symbols=["EURUSD"], timeframe="H1", feed=tk.Replay(bars), capital=10_000
    )
    assert run.wait(120) == "STOPPED"
    live = run.trades
    for column in ("side", "exit_reason"):
        assert list(live[column].astype(str)) == list(tested[column].astype(str)), column
    for column in ("lots", "entry_price", "exit_price", "profit", "commission", "swap"):
        assert [float(v) for v in live[column]] == [float(v) for v in tested[column]], column


def test_stop_from_the_notebook(notebook: Sea, some_bars: Bars) -> None:
    """A paced run is ended by its handle."""
    version = notebook.version(EmaCross(), some_bars)
    notebook.account()
    run = tk.start(
        version,
        account="paper-1",
        symbols=["EURUSD"],
        timeframe="H1",
        feed=tk.Replay(some_bars, speed=10),
        capital=10_000,
    )
    assert run.stop(flatten=True) == "STOPPED"


def test_halt_and_resume_by_name(notebook: Sea) -> None:
    """The kill switch is thrown and released by the account's name."""
    notebook.account()
    tk.halt("paper-1")
    assert tk.account("paper-1").halted_at is not None
    tk.resume("paper-1")
    assert tk.account("paper-1").halted_at is None


def test_an_unknown_host_is_refused(notebook: Sea, some_bars: Bars) -> None:
    """Hosts are notebook, workers or none."""
    with pytest.raises(RunError, match="'notebook', 'workers' or 'none'"):
        tk.start(
            notebook.version(EmaCross(), some_bars), account="paper-1", symbols=["EURUSD"], timeframe="H1", host="moon"
        )

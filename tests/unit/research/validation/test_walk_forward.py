"""Walk-forward: spans, choice, warm-up, and test spans that equal plain backtests of the same bars."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from toolkit.errors import BadInput
from toolkit.research.backtest import backtest
from toolkit.research.result import TRADE_COLUMNS
from toolkit.research.sweeps.sweep import sweep
from toolkit.research.validation.trial_count import reset_trials, trials
from toolkit.research.validation.walk_forward import measured_warm_up, spans, walk_forward
from toolkit.risk.guardrails import Guards
from toolkit.simulation.account import PaperAccount
from toolkit.strategy import Entry, Exit, Lots, StrategySpec

ACCOUNT = PaperAccount("USD", 10_000, commission_per_lot="3.5", day_end="New York + 7")
GUARDS = Guards(daily_loss_percent=2, cooldown_bars=2)
GRID = {"fast": [5, 10, 15, 20], "slow": [30, 50, 80]}


@pytest.fixture(scope="module")
def walk(ema_cross, year):
    return walk_forward(ema_cross, year, grid=GRID, account=ACCOUNT, guards=GUARDS, train="90D", test="30D", threads=1)


def from_hour_class(base, start_ns):
    """The same strategy whose entries are filtered by the clock: no decision before the bar that closes at ``start_ns``."""
    from toolkit.strategy.authoring.expressions import Expr

    class From(base):
        def filters(self, x):
            return Expr("field", ("time",)) >= float(start_ns)

    return From


def test_windows_tile_the_data_without_overlap(walk, year):
    """Each test span begins where the one before ended, its training ends where it begins, and the last ends the file."""
    for before, after in pairwise(walk.parts):
        assert before.rows[2] == after.rows[1]
    for w in walk.parts:
        assert w.rows[0] < w.rows[1] < w.rows[2]
        assert w.train_end <= w.test_start
        assert timedelta(days=86) <= w.train_end - w.train_start <= timedelta(days=90)
        assert w.test_end - w.test_start <= timedelta(days=30)
    assert walk.parts[-1].rows[2] == len(year)
    assert len(walk) == 10


def test_anchored_training_starts_at_the_first_bar(year):
    """Anchored windows grow; their test spans are those of the rolling ones."""
    day = 86_400 * 10**9
    rolling = list(spans(year, 90 * day, 30 * day, anchored=False))
    anchored = list(spans(year, 90 * day, 30 * day, anchored=True))
    assert [a[1:] for a in anchored] == [r[1:] for r in rolling]
    assert {a[0] for a in anchored} == {0}
    assert rolling[0][0] == 0
    assert rolling[3][0] > 0


def test_choice_and_in_sample_are_those_of_a_sweep_of_the_training_span(walk, ema_cross, year):
    """Each window's set is the first of the plateau of a plain sweep, and its statistics are that sweep's."""
    for w in walk.parts[:3]:
        found = sweep(ema_cross, year[w.rows[0] : w.rows[1]], grid=GRID, account=ACCOUNT, guards=GUARDS, progress=False)
        row = int(found.plateau("sharpe").index[0])
        assert w.params == found.sets[row]
        plain = backtest(ema_cross(**w.params), year[w.rows[0] : w.rows[1]], account=ACCOUNT, guards=GUARDS)
        assert w.in_sample == plain.statistics


def test_test_span_equals_a_plain_backtest_with_the_same_warm_up(walk, ema_cross, year):
    """Trades, equity and skips of every window are ``==`` those of tk.backtest over the same bars, warm-up included.

    The plain backtest gets a strategy that may only enter from the close before the span on, by a filter on the clock.
    """
    capital = ACCOUNT
    for w in walk.parts:
        first, stop = w.rows[1], w.rows[2]
        begin = first - w.warmup_bars
        # a node reads a bar's time as seconds of its open
        time_of = from_hour_class(ema_cross, int(year.ts[first - 1]) / 1e9)
        plain = backtest(time_of(**w.params), year[begin:stop], account=capital, guards=GUARDS)
        mine = w.backtest
        assert mine.trade_rows() == plain.trade_rows()
        assert np.array_equal(w.equity, plain.run.equity[w.warmup_bars :])
        assert np.array_equal(mine.run.daily, plain.run.daily)
        assert mine.skipped == plain.skipped
        assert all(row["entry_time"] >= w.test_start for row in plain.trade_rows())
        capital = replace(ACCOUNT, balance=plain.final_equity)
    assert walk.final_equity == capital.balance
    assert len(walk.trades) > 50


def test_decisions_of_the_test_span_are_those_of_the_whole_history(walk, ema_cross, year):
    """With the measured warm-up every decision of the span equals that of a run from the first bar of the file."""
    from toolkit.strategy.drivers.columnar import evaluate

    for w in walk.parts:
        spec = StrategySpec.from_strategy(ema_cross(**w.params))
        first, stop = w.rows[1], w.rows[2]
        whole = evaluate(spec, year[:stop]).code[first - 1 :]
        late = evaluate(spec, year[first - w.warmup_bars : stop]).code[w.warmup_bars - 1 :]
        assert np.array_equal(whole, late)
        assert w.warmup_bars >= min(first, spec.warmup_bars)


def test_warm_up_is_measured_beyond_what_is_declared(ema_cross, year):
    """A declared number that is too small is found out and raised until the decisions agree."""
    from toolkit.strategy.drivers.columnar import evaluate

    spec = StrategySpec.from_strategy(ema_cross(fast=5, slow=30))
    spec.__dict__["warmup_bars"] = 1
    found = []
    for first in range(1000, 3000, 100):
        need = measured_warm_up(spec, year[: first + 500], first)
        whole = evaluate(spec, year[: first + 500]).code[first - 1 :]
        assert np.array_equal(whole, evaluate(spec, year[first - need : first + 500]).code[need - 1 :])
        found.append(need)
    assert max(found) > 16
    assert measured_warm_up(spec, year[:400], 1) == 1


def test_first_fill_is_at_the_first_open_of_the_span(fixed_pips, year):
    """A strategy that would enter on every bar enters at each span's first open: not before it, and not a bar later."""

    class Always(fixed_pips):
        def entry(self, x):
            return Entry(long=x.close > 0)

        def exit(self, x):
            return Exit()

    found = walk_forward(Always, year[:3000], grid={"fast": [5, 10]}, train="60D", test="20D", threads=1)
    assert len(found) == 6
    for w in found.parts:
        assert w.backtest.trade_rows()[0]["entry_time"] == w.test_start


def test_equity_is_carried_over(walk):
    """Each span starts with the money the one before ended with, and the joined curve is their concatenation."""
    assert walk.parts[0].opening == ACCOUNT.balance_minor
    for before, after in pairwise(walk.parts):
        assert after.opening == int(before.equity[-1])
    assert len(walk.equity) == sum(w.rows[2] - w.rows[1] for w in walk.parts)
    assert walk.equity.index.is_monotonic_increasing
    assert walk.equity.index.is_unique
    assert float(walk.final_equity) == walk.equity.iloc[-1]


def test_equity_is_balance_plus_trades_plus_marked_positions(walk, reversing, year):
    """Nothing is lost at the seams: what a span's end leaves open is listed and adds up to the cent."""
    always = walk_forward(reversing, year, grid={"fast": [5, 20]}, train="60D", test="20D", select="sharpe", threads=1)
    assert len(always.marked) >= 10
    for found, start in ((walk, Decimal(10_000)), (always, Decimal(10_000))):
        nets = sum(r["profit"] + r["commission"] + r["swap"] for r in found.trade_rows())
        assert found.final_equity == start + nets + sum(found.marked.values())


def test_trades_are_joined_in_order(walk):
    """The frame has a backtest's columns plus the window, one row for each exact row."""
    assert tuple(walk.trades.columns) == (*TRADE_COLUMNS, "window")
    assert walk.trades["exit_time"].is_monotonic_increasing
    assert walk.trades["profit"].tolist() == [float(r["profit"]) for r in walk.trade_rows()]
    assert str(walk.trades["entry_time"].dtype) == "datetime64[ns, UTC]"


def test_statistics_of_a_single_span_are_those_of_a_backtest(ema_cross, make_bars):
    """With a cold strategy of one window whose warm-up lies in flat days, the joined statistics are the loop's own."""
    bars = make_bars(6000, seed=5, timeframe="H1")
    walk = walk_forward(ema_cross, bars, grid={"fast": [9]}, train="100D", test="400D", select="sharpe", threads=1)
    assert len(walk) == 1
    w = walk.parts[0]
    own = walk.statistics
    loop = w.backtest.statistics
    for name in (
        "final_equity",
        "net_profit",
        "profit_factor",
        "expectancy",
        "win_rate",
        "average_win",
        "average_loss",
    ):
        assert own[name] == loop[name]
    for name in ("trades", "commission", "swap", "skipped", "max_drawdown", "total_return"):
        assert own[name] == loop[name]
    span = (w.test_end - w.test_start).total_seconds()
    assert own["cagr"] == pytest.approx((own["final_equity"] / 10_000) ** (365.25 * 86_400 / span) - 1, rel=1e-9)
    daily = walk.equity.groupby(walk.equity.index.floor("D")).last()
    change = np.diff(daily, prepend=10_000) / np.concatenate([[10_000], daily[:-1]])
    assert own["sharpe"] == pytest.approx(
        change.mean() / change.std(ddof=1) * np.sqrt(len(daily) / (span / (365.25 * 86_400))), rel=1e-9
    )
    held = loop["exposure"] * len(w.backtest.bars)
    assert own["exposure"] == pytest.approx(held / len(walk.equity), rel=1e-12)


def test_windows_frame_and_efficiency(walk):
    """The table shows what was chosen and both samples; efficiency is the ratio of their returns a year."""
    frame = walk.windows
    assert len(frame) == 10
    assert {"train_start", "test_end", "fast", "slow", "in_sharpe", "out_sharpe", "efficiency"} <= set(frame.columns)
    row = frame.iloc[1]
    w = walk.parts[1]
    inside = row["in_total_return"] / (w.train_end - w.train_start).total_seconds()
    outside = row["out_total_return"] / (w.test_end - w.test_start).total_seconds()
    assert row["efficiency"] == pytest.approx(outside / inside)
    assert row["out_total_return"] == pytest.approx(int(w.equity[-1]) / w.opening - 1, rel=1e-12)


def test_stability_counts_the_moves_of_each_parameter(walk):
    """Steps are counted in places of the grid."""
    chosen = [w.params["fast"] for w in walk.parts]
    places = [GRID["fast"].index(v) for v in chosen]
    row = walk.stability.loc["fast"]
    assert row["distinct"] == len(set(chosen))
    assert row["mean_step"] == np.mean([abs(b - a) for a, b in pairwise(places)])
    assert (row["lowest"], row["highest"], row["grid"]) == (min(chosen), max(chosen), 4)
    assert row["share"] == chosen.count(row["most_common"]) / 10


def test_select_by_a_statistic_takes_the_best_set(ema_cross, year):
    """A statistic's name chooses its best set: the smallest drawdown, where less is better."""
    found = walk_forward(ema_cross, year[:3000], grid=GRID, train="90D", test="30D", select="max_drawdown", threads=1)
    w = found.parts[0]
    table = sweep(ema_cross, year[w.rows[0] : w.rows[1]], grid=GRID, progress=False).results
    assert w.in_sample["max_drawdown"] == table["max_drawdown"].min()


def test_future_prices_do_not_change_past_windows(walk, ema_cross, year):
    """Windows that ended before a cut are the same when the file ends at the cut."""
    stop = walk.parts[4].rows[2]
    cut = walk_forward(
        ema_cross, year[:stop], grid=GRID, account=ACCOUNT, guards=GUARDS, train="90D", test="30D", threads=1
    )
    assert len(cut) == 5
    for a, b in zip(cut.parts, walk.parts, strict=False):
        assert (a.rows, a.params, a.in_sample, a.warmup_bars) == (b.rows, b.params, b.in_sample, b.warmup_bars)
        assert np.array_equal(a.equity, b.equity)


def test_grid_counts_once_on_the_whole_data(ema_cross, year):
    """Twelve sets are twelve trials, not twelve for each window; a sweep of them over the same bars adds none."""
    reset_trials()
    bars = year[:3000]
    walk_forward(ema_cross, bars, grid=GRID, train="60D", test="20D", threads=1)
    assert trials().count == 12
    sweep(ema_cross, bars, grid=GRID, progress=False)
    assert trials().count == 12


def test_a_strategy_that_never_trades_stays_flat(ema_cross, year):
    """Without a set that traded in training nothing is chosen, nothing is traded, and the result says so."""

    class Never(ema_cross):
        def entry(self, x):
            return Entry(long=x.close > 1e9)

        def risk(self):
            return Lots(0.01)

    found = walk_forward(Never, year[:3000], grid={"fast": [5, 10]}, train="60D", test="20D", threads=1)
    assert set(found.equity) == {10_000.0}
    assert len(found.trades) == 0
    assert {w.backtest for w in found.parts} == {None}
    assert "windows without a set that traded" in repr(found)
    assert np.isnan(found.overall_efficiency)
    assert found.stability.loc["fast", "distinct"] == 0


def test_ruin_ends_the_walk(reversing, make_bars):
    """When a span loses all capital the next ones are not traded, and the result says where."""

    class Reckless(reversing):
        def risk(self):
            return Lots(50)

    bars = make_bars(4000, seed=3, timeframe="H1")
    found = walk_forward(
        Reckless, bars, grid={"fast": [5]}, account=PaperAccount("USD", 500, leverage=None), train="30D", test="20D",
        select="trades", threads=1,
    )  # fmt: skip
    assert int(found.parts[-1].equity[-1]) <= 0
    assert "the capital was lost in window" in found.note
    assert "the capital was lost in window" in repr(found)


@pytest.mark.parametrize("kind", ["raised", "kept by the sweep"])
def test_an_interrupt_keeps_the_windows_that_are_done(walk, ema_cross, year, monkeypatch, kind):
    """Interrupted in the fourth window, three are returned, equal to those of the whole walk; in the first, it is raised."""
    import toolkit.research.validation.walk_forward as module

    def interrupted_at(stop):
        calls = []

        def stand_in(*args, **options):
            calls.append(1)
            if len(calls) <= stop:
                return sweep(*args, **options)
            if kind == "raised":
                raise KeyboardInterrupt
            found = sweep(*args, **options)
            found.complete = False
            return found

        return stand_in

    options = {"grid": GRID, "account": ACCOUNT, "guards": GUARDS, "train": "90D", "test": "30D", "threads": 1}
    monkeypatch.setattr(module, "sweep", interrupted_at(3))
    found = walk_forward(ema_cross, year, **options)
    assert found.note == "interrupted after 3 of 10 windows"
    assert [w.equity.tolist() for w in found.parts] == [w.equity.tolist() for w in walk.parts[:3]]
    monkeypatch.setattr(module, "sweep", interrupted_at(0))
    with pytest.raises(KeyboardInterrupt):
        walk_forward(ema_cross, year, **options)


def test_result_shows_itself(walk):
    """The result prints span, equity, efficiency and how the parameters moved."""
    for text in (repr(walk), walk._repr_html_()):
        assert "10 rolling, train 90D, test 30D, by plateau of sharpe" in text
        assert "of 4 values chosen" in text
        assert "out of sample" in text
    assert walk.stats["start"] == walk.parts[0].test_start == datetime(2017, 4, 2, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": "400D"}, r"train plus test must be shorter than the bars' 36\d days"),
        ({"train": "180"}, "train must be a length of time above 0, was '180': write '180D'"),
        ({"test": timedelta(0)}, "test must be a length of time above 0"),
        ({"select": "sharp"}, r"select must be one of plateau, .*, was 'sharp': pick one; did you mean 'sharpe'\?"),
        ({"metric": "calmer"}, r"metric must be one of .*, was 'calmer': pick one; did you mean 'calmar'\?"),
        ({"grid": {}}, "grid must be at least one parameter with values, was empty"),
        ({"grid": {"fast": []}}, r"grid\['fast'\] must be at least one value, was empty"),
        (
            {"grid": {"fats": [5]}},
            "a parameter of EmaCross must be one of fast, slow, k, was 'fats'.*did you mean 'fast'",
        ),
        ({"guards": {}}, "guards must be tk.Guards"),
    ],
)
def test_refusals_name_requirement_and_remedy(ema_cross, year, change, message):
    """Spans that do not fit, empty grids, unknown statistics and parameters are refused at the door."""
    with pytest.raises(BadInput, match=message):
        walk_forward(ema_cross, year, **{"grid": GRID, "train": "90D", "test": "30D", "threads": 1, **change})


@pytest.mark.parametrize(("text", "same"), [("4W", "28D"), ("672h", "28D"), ("40320min", "28D")])
def test_lengths_can_be_written_in_several_units(ema_cross, year, text, same):
    """Weeks, hours and minutes are the same spans as days; so is a timedelta."""
    from toolkit.research.validation.walk_forward import _length

    assert _length("test", text) == _length("test", same) == _length("test", timedelta(days=28))

"""Walk-forward: choose on the past, trade the future with the choice, move on; the joined futures are the result.

Pardo: The evaluation and optimization of trading strategies, 2nd ed., Wiley 2008, chapter 11 (walk-forward analysis and
efficiency).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.clock import from_ns
from toolkit.errors import BadInput, must_be, suggest
from toolkit.market import Bars
from toolkit.research.backtest import BacktestResult, run_spec
from toolkit.research.portfolio import prepare_joint, run_joint
from toolkit.research.portfolio_result import PortfolioResult
from toolkit.research.setup import prepare
from toolkit.research.stats import STATISTICS
from toolkit.research.sweeps.result import HIGHER_IS_BETTER
from toolkit.research.sweeps.sweep import sweep
from toolkit.research.trial.views import Series
from toolkit.research.validation.spans_of import Line, cut, first_fills, measured_warm_up
from toolkit.research.validation.trial_count import count_sets, not_counted
from toolkit.research.validation.walk_forward_result import WalkForward, Window
from toolkit.simulation.account import PaperAccount
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    from toolkit.research.sweeps.result import SweepResult
    from toolkit.risk.guardrails import Guards

__all__ = ["WalkForward", "Window", "measured_warm_up", "spans", "walk_forward"]

_UNITS_NS = {"W": 604_800 * 10**9, "D": 86_400 * 10**9, "H": 3_600 * 10**9, "MIN": 60 * 10**9}
_LENGTH = re.compile(r"\s*(\d+)\s*(W|D|H|min)\s*", re.IGNORECASE)


def walk_forward(
    strategy: Any,
    bars: Bars | Mapping[str, Bars],
    *,
    grid: Mapping[str, Iterable[Any]],
    account: PaperAccount | None = None,
    train: str | timedelta = "180D",
    test: str | timedelta = "30D",
    anchored: bool = False,
    select: str = "plateau",
    metric: str = "sharpe",
    guards: Guards | None = None,
    conversion: Mapping[str, Bars] | None = None,
    threads: int | None = None,
) -> WalkForward:
    """Choose parameters on each training span, trade the test span after it with them, and join the test spans.

    A test span is run as it would have been traded: indicators see as many bars before it as its decisions need (measured,
    see `measured_warm_up`), the first fill is at its first open, and its capital is the equity the span before ended
    with. A position still open at the end of a span is marked at its last close, not closed; the next span starts flat.

    Parameters
    ----------
    strategy
        Class, object or spec; parameters outside the grid keep its values.
    bars, account, guards, conversion
        As in `toolkit.research.backtest.backtest`; of several symbols a row is a moment, and spans are cut by time.
    grid
        Values of each parameter to choose.
    train, test
        Lengths: ``"180D"``, ``"26W"``, ``"12H"``, ``"90min"`` or a timedelta.
    anchored
        Every training span starts at the first bar; otherwise it moves along with the test span.
    select
        ``"plateau"``: the set whose neighbourhood on the grid has the best mean of ``metric``, the best set where the grid
        has no neighbourhoods. Or the name of a statistic: the set that is best by it.
    metric
        Statistic of the plateau, see `toolkit.research.stats.DEFINITIONS`.
    threads
        Of the sweeps; default: every core.

    Returns
    -------
    WalkForward
        ``.windows``, ``.equity``, ``.trades``, ``.stats``, ``.stability``, ``.plot()``.

    Raises
    ------
    BadInput
        When the spans do not fit the data, the grid is empty, or a statistic is unknown.

    Notes
    -----
    The grid counts as trials on these bars once, however many windows evaluate it. An interrupt keeps the windows that are
    done; ``.note`` says so.
    """
    by = metric if select == "plateau" else select
    if by not in STATISTICS:
        what = "metric" if select == "plateau" else "select"
        known = STATISTICS if select == "plateau" else ("plateau", *STATISTICS)
        raise BadInput(must_be(what, "one of " + ", ".join(known), repr(by), "pick one" + suggest(str(by), known)))
    first_account = account if account is not None else PaperAccount()
    # refuses early what every window would refuse
    if isinstance(bars, Mapping):
        prepare_joint(bars, first_account, guards, "next_open", conversion)
    else:
        prepare(bars, first_account, guards, "next_open", conversion)
    line = Line.of(bars)
    spec = StrategySpec.from_strategy(strategy() if isinstance(strategy, type) else strategy)
    axes = {name: list(values) for name, values in grid.items()}
    lengths = (_length("train", train), _length("test", test))
    rows = list(spans(line, *lengths, anchored=anchored))
    if not rows:
        have = timedelta(seconds=(int(line.closes[-1]) - int(line.ts[0])) // 10**9)
        raise BadInput(
            must_be("train plus test", f"shorter than the bars' {have}", f"{train} + {test}", "load more bars")
        )
    done: list[Window] = []
    balance, note = first_account.balance_minor, ""
    tried: list[dict[str, Any]] = []
    for number, span in enumerate(rows):
        try:
            with not_counted():
                search = sweep(
                    spec, cut(bars, line, span[0], span[1]), grid=axes, account=first_account, guards=guards,
                    conversion=conversion, threads=threads, progress=False,
                )  # fmt: skip
            tried = tried or search.sets
            if not search.complete:
                raise KeyboardInterrupt
            chosen = _chosen(search, select, metric)
            window = _test(spec, bars, line, search, chosen, span, number, balance, first_account, guards, conversion)
        except KeyboardInterrupt:
            if not done:
                raise
            note = f"interrupted after {number} of {len(rows)} windows"
            break
        done.append(window)
        balance = int(window.equity[-1])
        if balance <= 0:
            note = f"the capital was lost in window {number}"
            break
    count_sets(spec, bars, tried)
    return WalkForward(
        spec, bars, first_account, guards, tuple(done), axes,
        train=str(train), test=str(test), anchored=anchored,
        select=f"plateau of {metric}" if select == "plateau" else f"best {select}", note=note,
    )  # fmt: skip


def spans(bars: Bars | Line, train_ns: int, test_ns: int, *, anchored: bool) -> Iterator[tuple[int, int, int]]:
    """Yield the rows (first of training, first of test, first after test) of each window, oldest first.

    Windows are laid by the clock from the first bar on; the last one may be cut short by the end of the data. A window
    without at least 2 bars in both spans is left out.
    """
    ts = bars.ts
    test_at = int(ts[0]) + train_ns
    while test_at <= int(ts[-1]):
        from_ = 0 if anchored else int(np.searchsorted(ts, test_at - train_ns))
        middle, to = (int(k) for k in np.searchsorted(ts, [test_at, test_at + test_ns]))
        if middle - from_ >= 2 and to - middle >= 2:
            yield from_, middle, to
        test_at += test_ns


def _length(name: str, value: str | timedelta) -> int:
    if isinstance(value, timedelta):
        ns = int(value.total_seconds()) * 10**9
    else:
        found = _LENGTH.fullmatch(value) if isinstance(value, str) else None
        ns = int(found[1]) * _UNITS_NS[found[2].upper()] if found else 0
    if ns <= 0:
        raise BadInput(must_be(name, "a length of time above 0", repr(value), "write '180D', '26W', '12H' or '90min'"))
    return ns


def _chosen(search: SweepResult, select: str, metric: str) -> int | None:
    """Row of the set to trade; None when no set is known to be any good, because none traded."""
    by = metric if select == "plateau" else select
    values = search.results[by].to_numpy(np.float64)
    if not np.isfinite(values).any() or int(search.results["trades"].max()) == 0:
        return None
    sign = 1.0 if HIGHER_IS_BETTER(by) else -1.0
    if select == "plateau":
        ranked = search.plateau(metric)
        if len(ranked):
            return int(ranked.index.to_numpy()[0])
    return int(np.nanargmax(np.where(np.isfinite(values), values * sign, np.nan)))


def _test(
    spec: StrategySpec,
    bars: Series,
    line: Line,
    search: SweepResult,
    chosen: int | None,
    rows: tuple[int, int, int],
    number: int,
    balance: int,
    account: PaperAccount,
    guards: Guards | None,
    conversion: Mapping[str, Bars] | None,
) -> Window:
    train_from, first, stop = rows
    end = line.closes
    flat = Window(
        number=number,
        train_start=from_ns(int(line.ts[train_from])),
        train_end=from_ns(int(end[first - 1])),
        test_start=from_ns(int(line.ts[first])),
        test_end=from_ns(int(end[stop - 1])),
        rows=rows,
        opening=balance,
        params={},
        in_sample={},
        warmup_bars=0,
        backtest=None,
        equity=np.full(stop - first, balance, np.int64),
    )
    if chosen is None:
        return flat
    values = search.sets[chosen]
    picked = spec.with_params(values)
    warm = measured_warm_up(picked, cut(bars, line, 0, stop), first)
    capital = replace(account, balance=account.money(balance))
    span = cut(bars, line, first - warm, stop)
    result: BacktestResult | PortfolioResult
    if isinstance(span, Bars):
        result = run_spec(picked, prepare(span, capital, guards, "next_open", conversion), first_fill=warm)
    else:
        joint = prepare_joint(span, capital, guards, "next_open", conversion)
        result = run_joint(picked, joint, first_fill=first_fills(span, int(line.ts[first])))
    in_sample = {name: search.results[name].iloc[chosen].item() for name in STATISTICS}
    equity = result.run.equity[warm:]
    return replace(flat, params=dict(values), in_sample=in_sample, warmup_bars=warm, backtest=result, equity=equity)

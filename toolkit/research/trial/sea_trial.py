"""The sea trial: the checks between research and live. A strategy that fails one is not promoted.

1. *Look-ahead*: nodes and decisions up to a bar do not change when the future is cut off or replaced.
2. *Warm-up*: how many bars of history the decisions really need, measured by starting late.
3. *Columnar == incremental*: the compiled columns and the live driver agree to the bit, node by node.
4. *Backtest == live replay*: the same bars through the real way of an order give the same trades.

The live replay is handed in as a function, so that research does not import live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from toolkit.clock import from_ns
from toolkit.errors import BadInput, must_be
from toolkit.market import Bars
from toolkit.market.series.several import as_series, checked_series, fingerprint_of, shared_moments
from toolkit.research.comparison import TradeRecord, by_entry, first_difference, normalise_all
from toolkit.research.portfolio import refuse_managed
from toolkit.research.result import not_made
from toolkit.research.trial.checks import Drivers, check_drivers_agree, check_look_ahead, measure_warm_up
from toolkit.research.trial.report import CheckResult, TrialReport
from toolkit.research.trial.views import Series
from toolkit.research.validation.expectation import expectation
from toolkit.risk.guardrails import Guards
from toolkit.simulation.account import PaperAccount
from toolkit.strategy import StrategySpec

LiveReplay = Callable[[StrategySpec, Series, PaperAccount, Guards], list[TradeRecord]]


def sea_trial(
    strategy: Any,
    bars: Series,
    *,
    account: PaperAccount,
    guards: Guards | None = None,
    live_replay: LiveReplay,
    conversion: Mapping[str, Bars] | None = None,
    drivers: Drivers | None = None,
    backtest: Callable[..., Any] | None = None,
) -> TrialReport:
    """Put a strategy through the four checks.

    Parameters
    ----------
    strategy
        A ``SectionedStrategy`` or its spec.
    bars
        Closed bars of one symbol, oldest first; or of several by symbol, which then share the account's equity.
    account, guards
        What the backtest and the replay run on.
    live_replay
        Runs the spec over the bars through the live path and returns its closed trades.
    conversion
        Bars of pairs that convert the quote currency to the account's, by symbol.
    drivers, backtest
        For tests that plant a fault; the real ones when left out.

    Raises
    ------
    BadInput
        When there are too few bars to say anything.
    """
    series = checked_series(as_series(bars))
    first = next(iter(series.values()))
    bars = series if len(series) > 1 else first
    for each in series.values():
        if len(each) < 50:
            raise BadInput(must_be("bars", "at least 50 for a sea trial", len(each), "load a longer series"))
    spec = StrategySpec.from_strategy(strategy)
    if len(series) > 1:
        refuse_managed(spec)
    guards = guards if guards is not None else Guards()
    drivers = drivers or Drivers()
    look_ahead = check_look_ahead(spec, bars, drivers)
    warm_up, measured = measure_warm_up(spec, bars, drivers)
    agree = check_drivers_agree(spec, bars, drivers)
    replayed, records = _check_replay(spec, bars, account, guards, live_replay, conversion, backtest)
    return TrialReport.seal(
        name=spec.name,
        spec_hash=spec.hash,
        data_fingerprint=fingerprint_of(series),
        symbol=", ".join(series),
        timeframe=str(first.timeframe),
        bars=sum(len(each) for each in series.values()),
        first_bar=from_ns(min(int(each.ts[0]) for each in series.values())).isoformat(),
        last_bar=from_ns(max(int(each.ts[-1]) for each in series.values())).isoformat(),
        account=account.facts(),
        guards=guards.facts(),
        instrument=first.instrument.facts(),
        series=tuple(_facts(each) for each in series.values()) if len(series) > 1 else (),
        literals=tuple(repr(x) for x in spec.literals),
        declared_warmup_bars=spec.warmup_bars,
        measured_warmup_bars=measured,
        trades=len(records),
        checks=(look_ahead, warm_up, agree, replayed),
        expectation=expectation(records, account.balance, len(shared_moments(series.values()))).facts(),
    )


def _facts(bars: Bars) -> dict[str, Any]:
    return {
        "symbol": bars.symbol,
        "fingerprint": bars.fingerprint,
        "bars": len(bars),
        "instrument": bars.instrument.facts(),
    }


def _check_replay(
    spec: StrategySpec,
    bars: Series,
    account: PaperAccount,
    guards: Guards,
    live_replay: LiveReplay,
    conversion: Mapping[str, Bars] | None,
    backtest: Callable[..., Any] | None,
) -> tuple[CheckResult, list[TradeRecord]]:
    name = "backtest_equals_live"
    if backtest is None:
        from toolkit.research.backtest import backtest as run_backtest

        backtest = run_backtest
    tested = backtest(spec, bars, account=account, guards=guards, conversion=conversion)
    expected = normalise_all(tested.trade_records)
    got = normalise_all(live_replay(spec, bars, account, guards))
    if isinstance(bars, Mapping):  # the backtest lists trades in the order of exits, a run in that of entries
        difference = first_difference(by_entry(expected), by_entry(got))
    else:
        difference = first_difference(expected, got)
    if difference is not None:
        return CheckResult(name, False, str(difference), bar_time=difference.entry_time), expected
    detail = f"{len(expected)} trades, equal in every column"
    if tested.skipped or tested.denied:
        detail += f"; {not_made(tested.skipped, tested.denied)}"
    return CheckResult(name, True, detail), expected

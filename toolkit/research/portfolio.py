"""One strategy on several symbols that share an account: ``tk.backtest(strategy, {"EURUSD": a, "GBPUSD": b})``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toolkit.errors import BadInput, must_be
from toolkit.market import Bars
from toolkit.market.platform_clock import day_ids
from toolkit.market.series.several import checked_series, shared_moments
from toolkit.research.portfolio_result import PortfolioResult
from toolkit.research.setup import FillAt, filling_from, plan_of, prepare, terms_of
from toolkit.simulation.account import PaperAccount
from toolkit.simulation.portfolio.run import Leg, nights_of_bars, run_portfolio
from toolkit.simulation.rates import values_at
from toolkit.strategy.drivers.columnar import evaluate
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    from toolkit.risk.guardrails import Guards

__all__ = ["backtest_portfolio"]


def backtest_portfolio(
    spec: StrategySpec,
    series: Mapping[str, Bars],
    *,
    account: PaperAccount | None,
    guards: Guards | None,
    fill_at: FillAt,
    conversion: Mapping[str, Bars] | None,
    first_fill: Mapping[str, int] | None = None,
) -> PortfolioResult:
    """Run a strategy on every symbol, in the order given, on one equity; see `toolkit.research.backtest.backtest`.

    Of each symbol the bars before row ``first_fill`` only warm up: nothing fills before its open.
    """
    _check(spec, series, fill_at)
    terms = account or PaperAccount()
    ts = shared_moments(series.values())
    last = max(int(bars.ts[-1]) for bars in series.values()) + next(iter(series.values())).timeframe.ns
    moments = np.append(ts, last)
    days = day_ids(ts, terms.day_end)
    new_day = np.append([0], days[1:] != days[:-1]).astype(np.uint8)
    legs: list[Leg] = []
    setups = []
    for symbol, bars in series.items():
        rest = {name: other for name, other in series.items() if name != symbol}
        pairs = {**(conversion or {}), **rest}
        setup = prepare(bars, terms, guards, fill_at, pairs)
        decisions = evaluate(spec, {symbol: bars, **rest})
        plan = filling_from((first_fill or {}).get(symbol, 0), plan_of(decisions, setup))
        own = terms_of(setup, spec, decisions.has_stop)
        nights = nights_of_bars(len(bars), own, setup.prices.day_last)
        legs.append(Leg(bars, plan, own, nights, values_at(bars, moments, terms.currency, pairs)))
        setups.append(setup)
    return PortfolioResult(spec, tuple(setups), run_portfolio(legs, ts, new_day), last)


def _check(spec: StrategySpec, series: Mapping[str, Bars], fill_at: FillAt) -> None:
    checked_series(series)
    if fill_at != "next_open":
        raise BadInput(
            must_be("fill_at of several symbols", "'next_open'", repr(fill_at), "run one symbol to compare engines")
        )
    if spec.features:
        raise BadInput(
            must_be(
                "a strategy on several symbols",
                "one of market entries with fixed stops and targets",
                ", ".join(sorted(spec.features)),
                "backtest it on one symbol at a time",
            )
        )

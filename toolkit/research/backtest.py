"""One strategy on bars of one symbol, or of several: ``tk.backtest`` and its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

from toolkit.research.portfolio import prepare_joint, run_joint
from toolkit.research.portfolio_result import PortfolioResult
from toolkit.research.result import BacktestResult
from toolkit.research.setup import FillAt, Setup, filling_from, plan_of, prepare, terms_of
from toolkit.research.validation.trial_count import count_spec
from toolkit.simulation.run import run_loop
from toolkit.strategy.authoring.management import FEATURES
from toolkit.strategy.drivers.columnar import evaluate
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    from toolkit.market import Bars
    from toolkit.risk.guardrails import Guards
    from toolkit.simulation.account import PaperAccount

__all__ = ["BacktestResult", "backtest", "model_trades"]


@overload
def backtest(
    strategy: Any,
    bars: Bars,
    *,
    account: PaperAccount | None = None,
    guards: Guards | None = None,
    fill_at: FillAt = "next_open",
    conversion: Mapping[str, Bars] | None = None,
) -> BacktestResult: ...


@overload
def backtest(
    strategy: Any,
    bars: Mapping[str, Bars],
    *,
    account: PaperAccount | None = None,
    guards: Guards | None = None,
    fill_at: FillAt = "next_open",
    conversion: Mapping[str, Bars] | None = None,
) -> PortfolioResult: ...


def backtest(
    strategy: Any,
    bars: Bars | Mapping[str, Bars],
    *,
    account: PaperAccount | None = None,
    guards: Guards | None = None,
    fill_at: FillAt = "next_open",
    conversion: Mapping[str, Bars] | None = None,
) -> BacktestResult | PortfolioResult:
    """Run a strategy over bars, under the fill rules that also govern the paper platform.

    Parameters
    ----------
    strategy
        A ``SectionedStrategy`` object or a ``StrategySpec``.
    bars
        Closed bars of one symbol, oldest first; or of several, by symbol, of one timeframe: the strategy then trades each
        of them, in this order and on one equity, and may read another one's prices as ``bars["GBPUSD"].close``.
    account
        Terms of the account; 10,000 USD without commission when left out.
    guards
        Guardrails; none when left out.
    fill_at
        ``"next_open"``: a decision of closed bar t fills at the open quote of t+1, as live. ``"close"``: at the close
        quote of t, only to compare with engines that do so.
    conversion
        Bars of the pairs that convert the quote currency to the account currency, by symbol, for example
        ``{"GBPUSD": bars}`` for EURGBP on a USD account. The traded pair itself need not be given.

    Returns
    -------
    BacktestResult
        Or a `PortfolioResult`, for bars of several symbols.

    Raises
    ------
    BadInput
        When bars, account, guards or the strategy's sizing are refused; the message says what would do.
    ConversionRateMissing
        When profit cannot be converted to the account currency; a rate is never assumed.
    """
    spec = StrategySpec.from_strategy(strategy)
    if isinstance(bars, Mapping):
        many = run_joint(spec, prepare_joint(bars, account, guards, fill_at, conversion))
        count_spec(spec, bars)
        return many
    setup = prepare(bars, account, guards, fill_at, conversion)
    result = run_spec(spec, setup)
    count_spec(spec, bars)
    return result


def run_spec(spec: StrategySpec, setup: Setup, *, first_fill: int = 0) -> BacktestResult:
    """Run a spec on a prepared setup; bars before row ``first_fill`` only warm up: nothing fills before its open."""
    decisions = evaluate(spec, setup.bars, supports=FEATURES)
    plan = filling_from(first_fill, plan_of(decisions, setup))
    return BacktestResult(spec, setup, run_loop(setup.prices, plan, terms_of(setup, spec, decisions.has_stop)))


def model_trades(
    spec: StrategySpec,
    bars: Bars | Mapping[str, Bars],
    account: PaperAccount,
    guards: Guards,
    conversion: Mapping[str, Bars],
    first_fill: int | Mapping[str, int],
) -> list[dict[str, Any]]:
    """Return the trades a live run should have made over the bars it saw: what its drift is measured against."""
    pairs = dict(conversion) or None
    if isinstance(bars, Mapping):
        begin = first_fill if isinstance(first_fill, Mapping) else dict.fromkeys(bars, first_fill)
        joint = prepare_joint(bars, account, guards, "next_open", pairs)
        return run_joint(spec, joint, first_fill=begin).trade_records
    if isinstance(first_fill, Mapping):
        first_fill = first_fill[bars.symbol]
    setup = prepare(bars, account, guards, "next_open", pairs)
    return list(run_spec(spec, setup, first_fill=first_fill).trade_records)

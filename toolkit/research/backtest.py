"""One strategy on one symbol: ``tk.backtest`` and its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.research.result import BacktestResult
from toolkit.research.setup import FillAt, plan_of, prepare, terms_of
from toolkit.simulation.run import run_loop
from toolkit.strategy.columnar import evaluate
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    from toolkit.market import Bars
    from toolkit.risk.guardrails import Guards
    from toolkit.simulation.account import PaperAccount

__all__ = ["BacktestResult", "backtest"]


def backtest(
    strategy: Any,
    bars: Bars,
    *,
    account: PaperAccount | None = None,
    guards: Guards | None = None,
    fill_at: FillAt = "next_open",
    conversion: Mapping[str, Bars] | None = None,
) -> BacktestResult:
    """Run a strategy over bars, under the fill rules that also govern the paper platform.

    Parameters
    ----------
    strategy
        A ``SectionedStrategy`` object or a ``StrategySpec``.
    bars
        Closed bars of one symbol, oldest first.
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

    Raises
    ------
    BadInput
        When bars, account, guards or the strategy's sizing are refused; the message says what would do.
    ConversionRateMissing
        When profit cannot be converted to the account currency; a rate is never assumed.
    """
    setup = prepare(bars, account, guards, fill_at, conversion)
    spec = StrategySpec.from_strategy(strategy)
    decisions = evaluate(spec, bars)
    run = run_loop(setup.prices, plan_of(decisions), terms_of(setup, spec, decisions.has_stop))
    return BacktestResult(spec, setup, run)

"""One strategy on several symbols that share an account: ``tk.backtest(strategy, {"EURUSD": a, "GBPUSD": b})``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be
from toolkit.market import Bars
from toolkit.market.platform_clock import day_ids
from toolkit.market.series.several import checked_series, shared_moments
from toolkit.research.portfolio_result import PortfolioResult
from toolkit.research.setup import FillAt, Setup, filling_from, plan_of, prepare, terms_of
from toolkit.simulation.account import PaperAccount
from toolkit.simulation.portfolio.run import Leg, nights_of_bars, run_portfolio
from toolkit.simulation.rates import values_at
from toolkit.strategy.drivers.columnar import evaluate
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    from toolkit.risk.guardrails import Guards

__all__ = ["JointSetup", "prepare_joint", "refuse_managed", "run_joint"]


@dataclass(frozen=True, slots=True)
class JointSetup:
    """What every run on these symbols and this account shares; the counterpart of `toolkit.research.setup.Setup`.

    Attributes
    ----------
    setups
        Of each symbol, in their order.
    ts, end_ns, new_day
        The moments they share, the end of the last one, and 1 where a moment is the first of its platform day.
    values
        Point value of each symbol at each moment and at the end.
    """

    setups: tuple[Setup, ...]
    ts: npt.NDArray[np.int64]
    end_ns: int
    new_day: npt.NDArray[np.uint8]
    values: tuple[npt.NDArray[np.int64], ...]

    @property
    def given(self) -> dict[str, Bars]:
        """The bars by symbol."""
        return {setup.bars.symbol: setup.bars for setup in self.setups}

    @property
    def account(self) -> PaperAccount:
        """The account they share."""
        return self.setups[0].account

    @property
    def guards(self) -> Guards:
        """The guardrails of the run."""
        return self.setups[0].guards

    @property
    def days(self) -> int:
        """Number of platform days with bars."""
        return int(self.new_day.sum()) + 1

    @property
    def span_ns(self) -> int:
        """Time from the first open to the last close."""
        return self.end_ns - int(self.ts[0])

    @property
    def words(self) -> str:
        """The data in words."""
        return f"{len(self.ts):,} moments of {', '.join(self.given)} {self.setups[0].bars.timeframe}"

    def same_terms(self, other: Any) -> bool:
        """Whether results on another setup are results on this one."""
        return (
            isinstance(other, JointSetup)
            and len(self.setups) == len(other.setups)
            and all(a.same_terms(b) for a, b in zip(self.setups, other.setups, strict=True))
            and all(np.array_equal(a, b) for a, b in zip(self.values, other.values, strict=True))
        )


def prepare_joint(
    series: Mapping[str, Bars],
    account: PaperAccount | None,
    guards: Guards | None,
    fill_at: FillAt,
    conversion: Mapping[str, Bars] | None,
) -> JointSetup:
    """Check what the caller gave and compute what does not depend on the strategy.

    Raises
    ------
    BadInput
        When the bars cannot be played together, or are to fill at the close.
    ConversionRateMissing
        When profit cannot be converted to the account currency.
    """
    checked_series(series)
    if fill_at != "next_open":
        raise BadInput(
            must_be("fill_at of several symbols", "'next_open'", repr(fill_at), "run one symbol to compare engines")
        )
    terms = account or PaperAccount()
    ts = shared_moments(series.values())
    end_ns = int(ts[-1]) + next(iter(series.values())).timeframe.ns
    moments = np.append(ts, end_ns)
    days = day_ids(ts, terms.day_end)
    new_day = np.append([0], days[1:] != days[:-1]).astype(np.uint8)
    setups, values = [], []
    for symbol, bars in series.items():
        pairs = {**(conversion or {}), **{name: other for name, other in series.items() if name != symbol}}
        setups.append(prepare(bars, terms, guards, fill_at, pairs))
        values.append(values_at(bars, moments, terms.currency, pairs))
    return JointSetup(tuple(setups), ts, end_ns, new_day, tuple(values))


def refuse_managed(spec: StrategySpec) -> None:
    """Refuse what several symbols cannot do yet: pending entries and managed positions.

    Raises
    ------
    BadInput
        When the strategy has any.
    """
    if spec.features:
        raise BadInput(
            must_be(
                "a strategy on several symbols",
                "one of market entries with fixed stops and targets",
                ", ".join(sorted(spec.features)),
                "backtest it on one symbol at a time",
            )
        )


def run_joint(spec: StrategySpec, setup: JointSetup, *, first_fill: Mapping[str, int] | None = None) -> PortfolioResult:
    """Run a spec on several symbols; of each the bars before row ``first_fill`` only warm up: nothing fills before it.

    Raises
    ------
    BadInput
        When the strategy has pending entries or managed positions.
    """
    refuse_managed(spec)
    series = setup.given
    legs: list[Leg] = []
    for own, value in zip(setup.setups, setup.values, strict=True):
        symbol, bars = own.bars.symbol, own.bars
        decisions = evaluate(spec, {symbol: bars, **{s: b for s, b in series.items() if s != symbol}})
        plan = filling_from((first_fill or {}).get(symbol, 0), plan_of(decisions, own))
        terms = terms_of(own, spec, decisions.has_stop)
        legs.append(Leg(bars, plan, terms, nights_of_bars(len(bars), terms, own.prices.day_last), value))
    return PortfolioResult(spec, setup.setups, run_portfolio(legs, setup.ts, setup.new_day), setup.end_ns)

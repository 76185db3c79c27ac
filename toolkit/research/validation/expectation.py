"""What a run may be expected to do, from the trades of its backtest: a band around the likely equity, bar by bar.

Each closed trade multiplied equity by a factor; the logarithms of those factors have a mean and a spread, and trades came at a
rate. If trades keep both, the logarithm of equity after ``b`` bars is a compound Poisson sum: its mean is ``rate * b * mean`` and
its variance ``rate * b * (mean**2 + deviation**2)``. The band is where 90 of 100 such runs would be. It says nothing about a
market that changed; that is what leaving the band is a sign of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Z_90: Final = 1.6448536269514722  # 5 % on either side of a normal distribution
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Expectation:
    """A backtest in five numbers.

    Attributes
    ----------
    trades, bars
        Closed trades, and the bars they were made in.
    mean, deviation
        Of the logarithm of the factor by which one trade multiplied equity.
    max_drawdown_percent
        Deepest fall of equity from its peak, at the closes of trades; 0 or negative.
    """

    trades: int
    bars: int
    mean: float
    deviation: float
    max_drawdown_percent: float

    def facts(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Expectation | None:
        """Read `facts` back; None where a report of an older toolkit has none."""
        names = ("trades", "bars", "mean", "deviation", "max_drawdown_percent")
        if not all(name in facts for name in names):
            return None
        return cls(int(facts["trades"]), int(facts["bars"]), *(float(facts[name]) for name in names[2:]))

    def band(self, capital: float, bars: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """Return the lower edge, the middle and the upper edge of equity after these numbers of bars."""
        expected = np.asarray(bars, dtype=np.float64) * (self.trades / max(1, self.bars))
        middle = self.mean * expected
        spread = Z_90 * np.sqrt(expected * (self.mean**2 + self.deviation**2))
        return capital * np.exp(middle - spread), capital * np.exp(middle), capital * np.exp(middle + spread)


def expectation(trades: Sequence[Mapping[str, Any]], balance: Any, bars: int) -> Expectation:
    """Return the expectation of closed trades in order of exit, made in ``bars`` bars from ``balance``."""
    equity = float(balance)
    peak, deepest = equity, 0.0
    steps: list[float] = []
    for trade in trades:
        after = equity + float(trade["profit"]) + float(trade["commission"]) + float(trade["swap"])
        if after <= 0 or equity <= 0:
            break  # ruined: what follows has no logarithm
        steps.append(math.log(after / equity))
        equity = after
        peak = max(peak, equity)
        deepest = min(deepest, (equity / peak - 1.0) * 100.0)
    mean = math.fsum(steps) / len(steps) if steps else 0.0
    spread = math.sqrt(math.fsum((step - mean) ** 2 for step in steps) / len(steps)) if steps else 0.0
    return Expectation(len(steps), bars, mean, spread, deepest)

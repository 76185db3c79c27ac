"""The bars of a trial as each symbol sees them: its own first, those it may read behind them, all changed at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from toolkit.market import Bars
from toolkit.market.series.several import as_series

Series = Bars | Mapping[str, Bars]


@dataclass(frozen=True, slots=True)
class View:
    """One symbol's side of a trial.

    Attributes
    ----------
    bars
        The symbol's own.
    others
        Those of the other symbols, in their order.
    """

    bars: Bars
    others: tuple[Bars, ...] = ()

    @property
    def label(self) -> str:
        """What a finding begins with: the symbol where there are several."""
        return f"{self.bars.symbol} " if self.others else ""

    @property
    def given(self) -> Series:
        """What a driver is given."""
        return {b.symbol: b for b in (self.bars, *self.others)} if self.others else self.bars

    def until(self, row: int) -> View:
        """Return the view of somebody to whom the moment at which that row opens is still to come."""
        return self._at(row, lambda bars, first: bars[: max(1, first)])  # an own first bar there is not closed by then

    def since(self, row: int) -> View:
        """Return the view of somebody who began at the moment at which that row opens."""
        return self._at(row, lambda bars, first: bars[min(first, len(bars) - 1) :])

    def changed(self, row: int, change: Callable[[Bars, int], Bars]) -> View:
        """Return the view with every series changed from the moment on at which that row opens."""
        return self._at(row, change)

    def _at(self, row: int, change: Callable[[Bars, int], Bars]) -> View:
        moment = int(self.bars.ts[row])
        return View(change(self.bars, row), tuple(change(b, int(b.ts.searchsorted(moment))) for b in self.others))


def views(bars: Series) -> list[View]:
    """Return the view of each symbol, in their order."""
    series = as_series(bars)
    return [View(own, tuple(b for s, b in series.items() if s != symbol)) for symbol, own in series.items()]

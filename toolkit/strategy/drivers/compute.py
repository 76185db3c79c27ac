"""Indicator values of real bars in one call, outside a strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.authoring.sectioned import SectionedStrategy
from toolkit.strategy.authoring.sections import Entry, Lots, Protection
from toolkit.strategy.drivers.columnar import evaluate

if TYPE_CHECKING:
    from toolkit.market import Bars


def compute(bars: Bars, write: Callable[[Any], Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return named columns: ``compute(bars, lambda b: {"rsi": tk.rsi(b.close, 14), "atr": tk.atr(b, 14)})``.

    Parameters
    ----------
    bars : Bars
        Closed bars, oldest first.
    write : callable
        What a strategy's ``indicators`` section does: takes the symbol of the bars, returns expressions by name.

    Returns
    -------
    dict of str to ndarray
        float64 values, int8 conditions (0 false, 1 unknown, 2 true), one per bar.
    """

    class Computed(SectionedStrategy):
        def indicators(self, bars: Any) -> Mapping[str, Any]:
            return write(bars)

        def entry(self, x: Any) -> Entry:
            return Entry(long=False)

        def protection(self, x: Any) -> Protection:
            return Protection()

        def risk(self) -> Lots:
            return Lots(1)

    frame = evaluate(Computed().to_spec(), bars, frame=True).frame
    if not frame:
        raise StrategyError(
            must_be("what compute is given", "at least one name", "empty", "return expressions by name")
        )
    return frame

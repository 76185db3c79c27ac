"""Lays a strategy's management out in the flat arrays of the managed loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be
from toolkit.simulation.managed import cells
from toolkit.simulation.managed.rules import ENTRY_KINDS

__all__ = ["ManagedPlan", "Managing", "fraction_of", "lay_out"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_LEVELS = (
    ("entry_long_points", cells.LONG_AT, cells.LONG_STRIDE),
    ("entry_short_points", cells.SHORT_AT, cells.SHORT_STRIDE),
    ("trail_points", cells.TRAIL_AT, cells.TRAIL_STRIDE),
    ("trail_after_points", cells.TRAIL_AFTER_AT, cells.TRAIL_AFTER_STRIDE),
    ("break_even_after_points", cells.EVEN_AFTER_AT, cells.EVEN_AFTER_STRIDE),
    ("break_even_plus_points", cells.EVEN_PLUS_AT, cells.EVEN_PLUS_STRIDE),
)
_MOST = 1 << 31


class Managing(Protocol):
    """What the strategy layer resolved (`toolkit.strategy.authoring.management.Management`); a whole column or one value each."""

    @property
    def entry_kind(self) -> str:
        """``market``, ``limit`` or ``stop``."""

    @property
    def expiry_bars(self) -> int:
        """Life of a pending order, in bars."""

    @property
    def trail_after_rr(self) -> float | None:
        """Profit from which the stop trails, as a multiple of the stop distance."""

    @property
    def break_even_after_rr(self) -> float | None:
        """Profit at which the stop goes to the entry, as a multiple of the stop distance."""

    @property
    def partials(self) -> Sequence[tuple[Any, float | None, Decimal]]:
        """Points, multiple and fraction of each partial take-profit."""

    @property
    def max_bars(self) -> int:
        """Bars after the fill at whose open the position is closed; 0 for never."""


@dataclass(frozen=True, slots=True)
class ManagedPlan:
    """The managed loop's own arguments.

    Attributes
    ----------
    ts
        Opens of the bars, ns.
    levels
        Every level and distance in points, one after the other.
    ratios
        Multiples of the stop distance.
    memory
        Parameters and state, see `toolkit.simulation.managed.cells`.
    """

    ts: Int64
    levels: Int32
    ratios: Float64
    memory: Int64

    def begin(self) -> None:
        """Reset the state for a new run."""
        self.memory[cells.FIRST_HELD : cells.WIDTH_G] = 0


def fraction_of(value: Decimal) -> tuple[int, int]:
    """A partial's fraction as a ratio of whole numbers.

    Raises
    ------
    BadInput
        When it has so many decimals that volume times numerator leaves the loop's integers.
    """
    num, den = value.as_integer_ratio()
    if den >= _MOST:
        raise BadInput(must_be("the fraction of a partial", "of at most 9 decimals", value, "write 0.333 for a third"))
    return num, den


def lay_out(managing: Managing, ts: Int64, frame_ns: int, points_per_pip: int) -> ManagedPlan:
    """Put resolved management into the loop's arrays.

    Parameters
    ----------
    ts
        Opens of the bars, ns.
    frame_ns
        Their timeframe.
    points_per_pip
        The stop trails in whole pips of that many points.
    """
    parts = managing.partials
    memory = np.zeros(cells.WIDTH_G + cells.PART_WIDTH * len(parts), np.int64)
    memory[cells.KIND] = ENTRY_KINDS.index(managing.entry_kind)
    memory[cells.EXPIRY_NS] = managing.expiry_bars * frame_ns
    memory[cells.FRAME_NS] = frame_ns
    memory[cells.PER_PIP] = points_per_pip
    memory[cells.LIFE_BARS] = managing.max_bars
    memory[cells.PARTS] = len(parts)
    blocks: list[Int32] = []
    at = 0

    def put(values: Any, at_cell: int, stride_cell: int) -> None:
        nonlocal at
        block = np.atleast_1d(np.asarray(values, np.int32))
        memory[at_cell], memory[stride_cell] = at, len(block) > 1
        blocks.append(block)
        at += len(block)

    for name, at_cell, stride_cell in _LEVELS:
        put(getattr(managing, name), at_cell, stride_cell)
    ratios = [managing.trail_after_rr or 0.0, managing.break_even_after_rr or 0.0]
    for k, (points, ratio, part) in enumerate(parts):
        first = cells.WIDTH_G + k * cells.PART_WIDTH
        put(points, first + cells.PART_AT, first + cells.PART_STRIDE)
        memory[first + cells.PART_NUM], memory[first + cells.PART_DEN] = fraction_of(part)
        ratios.append(ratio or 0.0)
    return ManagedPlan(ts, np.concatenate(blocks), np.array(ratios, np.float64), memory)

"""Bars of several symbols that are played together: checked once, laid on the moments they share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from toolkit.clock import from_ns
from toolkit.errors import BadInput, must_be
from toolkit.market.series.bars import Bars

__all__ = ["as_series", "checked_series", "fingerprint_of", "shared_moments"]


def as_series(bars: Bars | Mapping[str, Bars]) -> dict[str, Bars]:
    """Return bars of one symbol or of several by symbol, in the order in which symbols act."""
    return {bars.symbol: bars} if isinstance(bars, Bars) else dict(bars)


def fingerprint_of(series: Mapping[str, Bars]) -> str:
    """Return what identifies the data: the fingerprint of one symbol's bars, or of those of several in their order."""
    if len(series) == 1:
        return next(iter(series.values())).fingerprint
    words = "|".join(f"{symbol}={bars.fingerprint}" for symbol, bars in series.items())
    return hashlib.sha256(words.encode()).hexdigest()


def shared_moments(series: Iterable[Bars]) -> NDArray[np.int64]:
    """Return every moment at which a bar of any symbol opens."""
    merged = np.sort(np.concatenate([bars.ts for bars in series]), kind="stable")  # quick on runs that are sorted
    out: NDArray[np.int64] = merged[np.append(True, merged[1:] != merged[:-1])]
    return out


def checked_series(series: Mapping[str, Bars]) -> dict[str, Bars]:
    """Return the bars when they can be played together.

    Raises
    ------
    BadInput
        When there are none, one is named by another symbol, timeframes differ, or bars of two symbols overlap without
        opening together: what happens in one could not be put before or after what happens in the other.
    """
    if not series:
        raise BadInput(must_be("bars", "bars of at least one symbol", "an empty mapping", "give {'EURUSD': bars}"))
    for symbol, bars in series.items():
        if not isinstance(bars, Bars):
            raise BadInput(
                must_be(f"bars[{symbol!r}]", "tk.Bars", type(bars).__name__, "load them with tk.load_bars(...)")
            )
        if bars.symbol != symbol:
            raise BadInput(
                must_be(f"bars[{symbol!r}]", f"bars of {symbol}", bars.symbol, "name each by its own symbol")
            )
        if len(bars) < 2:
            raise BadInput(
                must_be(f"bars[{symbol!r}]", "at least 2 rows", len(bars), "a decision fills at the next bar's open")
            )
    frames = {str(bars.timeframe) for bars in series.values()}
    if len(frames) > 1:
        raise BadInput(
            must_be("bars of several symbols", "of one timeframe", ", ".join(sorted(frames)), "resample the finer ones")
        )
    if len(series) > 1:
        _refuse_overlap(series)
    return dict(series)


def _refuse_overlap(series: Mapping[str, Bars]) -> None:
    ts = shared_moments(series.values())
    step = next(iter(series.values())).timeframe
    close = np.flatnonzero(np.diff(ts) < step.ns)
    if len(close):
        first, second = (from_ns(int(ts[close[0] + k])).isoformat() for k in (0, 1))
        raise BadInput(
            must_be(
                "bars of several symbols",
                f"opening together or a whole {step} apart",
                f"opening at {first} and {second}",
                "load them by one clock, tk.load_bars(..., clock=...)",
            )
        )

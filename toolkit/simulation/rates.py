"""Point values over time: what a point is worth in the account currency at the close of each bar."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from toolkit.clock import from_ns
from toolkit.errors import BadInput, ConversionRateMissing, must_be
from toolkit.simulation.account import point_value

if TYPE_CHECKING:
    from toolkit.market import Bars

__all__ = ["closes", "largest_value", "value_columns", "values_at"]

Int64 = npt.NDArray[np.int64]

_NUM_LIMIT = 1 << 31
_OLDEST_NS = 7 * 86_400 * 1_000_000_000  # a weekend and a holiday; an older close is not the rate of a moment


def closes(bars: Bars) -> Int64:
    """Close of each bar in UTC nanoseconds: open plus timeframe, or the next open if that comes sooner."""
    out = bars.ts + bars.timeframe.ns
    out[:-1] = np.minimum(out[:-1], bars.ts[1:])
    return out


def value_columns(bars: Bars, currency: str, conversion: Mapping[str, Bars] | None = None) -> Int64:
    """Point value after each bar as a flat run of pairs (num, den); a single pair where it does not change.

    It holds at the next bar's open and in its range, and marks the bar's own close.

    Parameters
    ----------
    bars
        Bars of the traded symbol.
    currency
        Account currency.
    conversion
        Bars of pairs that convert the quote currency, by symbol; the traded pair itself need not be given.

    Raises
    ------
    ConversionRateMissing
        When no pair joins the two currencies, or a bar closes before the pair's first close or 7 days after its last.
    """
    instrument = bars.instrument
    num, den = point_value(instrument, currency)
    quote = instrument.quote_currency
    if quote == currency:
        return np.array([num, den], np.int64)
    pair = _pair(bars, currency, conversion or {})
    return _values(bars, pair, currency, _rows(bars, pair, quote, currency)).ravel()


def values_at(bars: Bars, moments: Int64, currency: str, conversion: Mapping[str, Bars] | None = None) -> Int64:
    """Point value at moments, pairs (num, den) in rows: by the last close of the pair at or before each of them.

    Before the first bar of the traded symbol, and after its last, a rate may be missing; the nearest one stands there.

    Raises
    ------
    ConversionRateMissing
        As in `value_columns`.
    """
    num, den = point_value(bars.instrument, currency)
    quote = bars.instrument.quote_currency
    if quote == currency:
        return np.tile(np.array([num, den], np.int64), (len(moments), 1))
    pair = _pair(bars, currency, conversion or {})
    known = closes(pair)
    index = np.searchsorted(known, moments, side="right") - 1
    if pair is not bars:
        needed = (moments > bars.ts[0]) & (moments <= bars.ts[-1] + bars.timeframe.ns)
        _refuse_stale(bars, pair, quote, currency, moments[needed], index[needed], known)
    return _values(bars, pair, currency, np.maximum(index, 0))


def _values(bars: Bars, pair: Bars, currency: str, index: Int64) -> Int64:
    num, den = point_value(bars.instrument, currency)
    twice_mid = pair.bid_close.astype(np.int64)[index] + pair.ask_close[index]
    unit = 2 * pair.instrument.scale
    if pair.instrument.base_currency == bars.instrument.quote_currency:
        common = gcd(num, den * unit)
        nums, dens = num // common * twice_mid, np.full(len(index), den * unit // common)
    else:
        common = gcd(num * unit, den)
        nums, dens = np.full(len(index), num * unit // common), den // common * twice_mid
    if int(nums.max()) >= _NUM_LIMIT:
        raise BadInput(
            must_be(
                f"the point value of {bars.symbol} in {currency}",
                "a rational that fits 31 over 61 bits",
                int(nums.max()),
                f"give {pair.symbol} with fewer digits",
            )
        )
    return np.stack([nums, dens], axis=1)


def largest_value(value: Int64) -> tuple[int, int]:
    """Largest point value among pairs (num, den) as a pair that is at least as large as each of them."""
    return int(value[0::2].max()), int(value[1::2].min())


def _pair(bars: Bars, currency: str, conversion: Mapping[str, Bars]) -> Bars:
    quote = bars.instrument.quote_currency
    for candidate in (bars, *conversion.values()):
        facts = candidate.instrument
        if {facts.base_currency, facts.quote_currency} == {quote, currency}:
            return candidate
    have = ", ".join(conversion) or "none"
    raise ConversionRateMissing(
        must_be(
            f"the rate from {quote} to {currency}",
            "given by one pair",
            f"missing (pairs given: {have})",
            f'pass conversion={{"{quote}{currency}": bars}}, or bars of {currency}{quote}',
        )
    )


def _rows(bars: Bars, pair: Bars, quote: str, currency: str) -> Int64:
    """Row of the pair whose close is the last one at or before the next open, where the bar's rate is used first."""
    if pair is bars:
        return np.arange(len(bars))
    moments, known = np.append(bars.ts[1:], bars.ts[-1] + bars.timeframe.ns), closes(pair)
    index = np.searchsorted(known, moments, side="right") - 1
    _refuse_stale(bars, pair, quote, currency, moments, index, known)
    return index


def _refuse_stale(
    bars: Bars, pair: Bars, quote: str, currency: str, moments: Int64, index: Int64, known: Int64
) -> None:
    stale = (index < 0) | (moments - known[np.maximum(index, 0)] > _OLDEST_NS)
    if stale.any():
        i = int(np.argmax(stale))
        raise ConversionRateMissing(
            must_be(
                f"the rate from {quote} to {currency} at {from_ns(int(moments[i])).isoformat()}",
                f"a close of {pair.symbol} at most 7 days old",
                "missing",
                f"give bars of {pair.symbol} that cover {bars.symbol} from {from_ns(int(bars.ts[0])).isoformat()}",
            )
        )

"""Daily reference rates of one currency, such as the ECB's per euro, looked up without looking ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolkit.clock import from_ns, to_ns
from toolkit.errors import BadInput, ConversionRateMissing, MissingPackage, must_be
from toolkit.market.exact import Floats, Ints
from toolkit.market.money.conversion import Rate
from toolkit.market.series.checks import as_times

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.market.series.bars import Bars

_MOST_POINTS = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class RatesTable:
    """Units of each currency for one unit of ``base``, by moment.

    Parameters
    ----------
    base
        Currency the rates are per, e.g. ``EUR``.
    ts : ndarray of int64, shape (n,)
        Moment of each row, UTC epoch nanoseconds, increasing.
    per_base
        Column of float64 by currency; NaN where there is no rate. A rate counts as the shortest decimal that prints
        as it.
    known_after
        How long after ``ts`` a row is known; rows dated by day only need up to a day.
    max_age
        A row older than this is not used: the rate is missing.
    """

    base: str
    ts: Ints
    per_base: Mapping[str, Floats]
    known_after: timedelta = timedelta(0)
    max_age: timedelta = timedelta(days=10)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ts", as_times(self.ts))
        for currency, column in self.per_base.items():
            if np.shape(column) != self.ts.shape:
                raise BadInput(
                    must_be(f"rates of {currency}", f"{len(self.ts)} numbers", np.shape(column), "one a row")
                )
            if bool((np.asarray(column) <= 0).any()) or bool(np.isinf(column).any()):
                raise BadInput(must_be(f"rates of {currency}", "above 0 and finite", "not so", "repair the table"))
        if self.base in self.per_base:
            raise BadInput(must_be("base", "not among the columns", self.base, "drop the column of ones"))

    @property
    def currencies(self) -> tuple[str, ...]:
        """Return every currency the table knows, the base first."""
        return (self.base, *self.per_base)

    def rate(self, frm: str, to: str, at: datetime) -> Rate:
        """Return the exact rate between two currencies from the last row known at that moment.

        Raises
        ------
        ConversionRateMissing
            When a currency is unknown or no row of it is known at that moment and young enough.
        """
        if frm == to:
            return Rate.ONE
        return self._per_base(to, at) * self._per_base(frm, at).inverse

    def pair(self, base: str, quote: str) -> Bars:
        """Return the rate between two currencies as daily bars, for ``conversion=`` of a backtest or a replay.

        A bar closes when its row becomes known (``ts`` plus ``known_after``); bid and ask are both the rate, rounded to
        seven digits, at most 9 decimals.

        Parameters
        ----------
        base, quote
            One unit of ``base`` in units of ``quote``: ``table.pair("GBP", "USD")`` converts EURGBP on a USD account.

        Raises
        ------
        ConversionRateMissing
            When the table does not know a currency, or has no row with both.
        BadInput
            When the two are the same.
        """
        from toolkit.market.instruments import Instrument
        from toolkit.market.series.bars import Bars

        if base == quote:
            raise BadInput(must_be("a pair", "two currencies", f"{base}{quote}", "no conversion is needed"))
        rate = self._column(quote) / self._column(base)
        known = ~np.isnan(rate)
        if not known.any():
            raise ConversionRateMissing(
                must_be(f"rates of {base}{quote}", "in at least one row", "in none", "use a table with both currencies")
            )
        digits = min(9, max(0, len(str(int(_MOST_POINTS / float(rate[known].max())))) - 1))
        points = np.floor(rate[known] * 10**digits + 0.5).astype(np.int64)
        prices = {f"{side}_{part}": points for side in ("bid", "ask") for part in ("open", "high", "low", "close")}
        day = timedelta(days=1)
        facts = Instrument(
            f"{base}{quote}",
            quote,
            Decimal(1).scaleb(-digits),
            Decimal(100_000),
            Decimal("0.01"),
            Decimal(100),
            Decimal("0.01"),
            digits=digits,
            base_currency=base,
            source=f"table of rates per {self.base}",
        )
        closes = self.ts[known] + _ns(self.known_after)
        opens = closes - _ns(day)
        # a day shorter than others begins where the one before ended: a bar is closed when the next one opens
        opens[1:] = np.maximum(opens[1:], closes[:-1])
        return Bars.from_arrays(facts.symbol, "D1", opens, **prices, instrument=facts)

    def _column(self, currency: str) -> Floats:
        if currency == self.base:
            return np.ones(len(self.ts))
        column = self.per_base.get(currency)
        if column is None:
            raise ConversionRateMissing(
                must_be("currency", "one of " + " ".join(self.currencies), currency, "add its column or give quotes")
            )
        return np.asarray(column, dtype=np.float64)

    def _per_base(self, currency: str, at: datetime) -> Rate:
        if currency == self.base:
            return Rate.ONE
        column = self.per_base.get(currency)
        if column is None:
            raise ConversionRateMissing(
                must_be("currency", "one of " + " ".join(self.currencies), currency, "add its column or give quotes")
            )
        newest = to_ns(at) - _ns(self.known_after)
        oldest = newest - _ns(self.max_age)
        i = int(np.searchsorted(self.ts, newest, side="right")) - 1
        while i >= 0 and int(self.ts[i]) >= oldest:
            value = float(column[i])
            if value == value:
                return Rate.of(value)
            i -= 1
        raise ConversionRateMissing(
            must_be(
                f"rate {self.base} to {currency} at {at.isoformat()}",
                f"known and at most {self.max_age.days} days old",
                "missing" if i < 0 else f"last of {from_ns(int(self.ts[i])).date()}",
                "use a table that covers the moment",
            )
        )


def load_rates(
    data: str | Path | pd.DataFrame,
    *,
    base: str = "EUR",
    known_after: timedelta = timedelta(days=1),
    max_age: timedelta = timedelta(days=10),
) -> RatesTable:
    """Read a table of rates: a column ``ts`` (tz-aware) and one column a currency.

    Parameters
    ----------
    data
        Parquet or CSV path, or a DataFrame.
    base
        Currency the rates are per.
    known_after
        The default of one day suits rows dated by day: a rate fixed in the afternoon is not known in the morning.
    max_age
        See `RatesTable`.

    Raises
    ------
    BadInput
        When times are naive or not increasing, or a rate is not positive.
    MissingPackage
        When pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as e:
        raise MissingPackage("load_rates needs pandas and pyarrow: pip install 'seatrial[research]'") from e
    if isinstance(data, pd.DataFrame):
        frame = data
    else:
        path = Path(data)
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, parse_dates=["ts"])
    if "ts" not in frame.columns or not isinstance(frame["ts"].dtype, pd.DatetimeTZDtype):
        raise BadInput(
            must_be("ts", "a column of tz-aware times", "missing or naive", "use frame.ts.dt.tz_localize('UTC')")
        )
    times = pd.DatetimeIndex(frame["ts"]).tz_convert("UTC").as_unit("ns")
    columns = {str(c): frame[c].to_numpy(dtype=np.float64) for c in frame.columns if c != "ts"}
    return RatesTable(base, np.array(times.asi8), columns, known_after, max_age)


def _ns(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1000

"""Two lists of closed trades, side by side: equal in every column, or the first difference by name.

Equality is ``==``: the backtest and the paper platform share their arithmetic, so a cent of difference is a fault, not noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from toolkit.clock import from_ns, to_utc

COLUMNS: tuple[str, ...] = (
    "symbol",
    "side",
    "lots",
    "entry_time",
    "entry_price",
    "exit_time",
    "exit_price",
    "exit_reason",
    "profit",
    "commission",
    "swap",
)

TradeRecord = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two trade lists part.

    Attributes
    ----------
    trade
        Position in the lists, from 0.
    column
        One of `COLUMNS`, or ``missing`` / ``extra`` when the live list ends early or goes on, or ``status`` when the trades
        are equal but the run did not end as it should.
    backtest, live
        What stands on each side, as text.
    entry_time
        Of the trade concerned, ISO 8601.
    """

    trade: int
    column: str
    backtest: str
    live: str
    entry_time: str

    def __str__(self) -> str:
        if self.column == "missing":
            return f"trade {self.trade + 1} (entered {self.entry_time}) is missing live: backtest has {self.backtest}"
        if self.column == "status":
            return f"the run must end {self.backtest}, ended {self.live}"
        if self.column == "extra":
            return f"trade {self.trade + 1} (entered {self.entry_time}) exists only live: {self.live}"
        return (
            f"trade {self.trade + 1} (entered {self.entry_time}) differs in {self.column}: "
            f"backtest {self.backtest}, live {self.live}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as a JSON object."""
        return asdict(self)


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _moment(value: Any) -> datetime:
    if isinstance(value, int):
        return from_ns(value)
    if hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime()
    return to_utc(value)


def normalise(trade: Mapping[str, Any]) -> TradeRecord:
    """Return the columns of one trade in one form: str, Decimal without trailing zeros, aware UTC datetime."""
    record: TradeRecord = {}
    for column in COLUMNS:
        value = trade[column]
        if column.endswith("_time"):
            record[column] = _moment(value)
        elif column in ("symbol", "side", "exit_reason"):
            record[column] = str(getattr(value, "value", value))
        else:
            record[column] = _decimal(value)
    return record


def normalise_all(trades: Any) -> list[TradeRecord]:
    """Return a DataFrame of trades, or an iterable of mappings, as a list of plain records."""
    rows: Iterable[Mapping[str, Any]] = trades.to_dict("records") if hasattr(trades, "to_dict") else trades
    return [normalise(row) for row in rows]


def by_entry(trades: Iterable[TradeRecord]) -> list[TradeRecord]:
    """Return normalised trades of several symbols in one order, whoever wrote them."""
    return sorted(trades, key=lambda t: (t["entry_time"], t["symbol"], t["exit_time"]))


def _words(trade: TradeRecord) -> str:
    return (
        f"{trade['side']} {trade['lots']} {trade['symbol']} {trade['entry_price']} -> {trade['exit_price']} "
        f"({trade['exit_reason']}, {trade['profit']})"
    )


def first_difference(backtest: Sequence[TradeRecord], live: Sequence[TradeRecord]) -> Difference | None:
    """Return the first difference between two lists of normalised trades, or None when they are equal."""
    for index, (left, right) in enumerate(zip(backtest, live, strict=False)):
        for column in COLUMNS:
            if left[column] != right[column]:
                return Difference(index, column, str(left[column]), str(right[column]), left["entry_time"].isoformat())
    shared = min(len(backtest), len(live))
    if len(backtest) > shared:
        trade = backtest[shared]
        return Difference(shared, "missing", _words(trade), "", trade["entry_time"].isoformat())
    if len(live) > shared:
        trade = live[shared]
        return Difference(shared, "extra", "", _words(trade), trade["entry_time"].isoformat())
    return None

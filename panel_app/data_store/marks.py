"""What open positions are worth at the last price that is known here; a picture for people, never used to decide."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from panel_app.data_store.seen import NOTHING_YET, SeenSeries
from toolkit.clock import to_ns
from toolkit.errors import ToolkitError
from toolkit.live.feed import FeedSpec, stored_bars
from toolkit.market import money_digits
from toolkit.store.reading.queries import Reader, ReadSide
from toolkit.store.reading.records import FleetRow, RunDetail, TradeRow
from toolkit.store.reading.seen import SeenRows

if TYPE_CHECKING:
    from toolkit.market import Bars


def is_live(detail: RunDetail) -> bool:
    """Whether a run reads its bars from the platform."""
    return FeedSpec.from_dict(json.loads(detail.feed_json)).kind != "replay"


def bars_of(detail: RunDetail, home: Path) -> tuple[Bars | None, str]:
    """Return the bars that a run replays, or None and why there are none on this machine."""
    feed = FeedSpec.from_dict(json.loads(detail.feed_json))
    if feed.kind != "replay":
        return None, NOTHING_YET
    if feed.others:
        return None, "this run trades several symbols: tk.run(id) in a notebook draws and explains each of them"
    try:
        return stored_bars(home, feed.fingerprint), ""
    except ToolkitError as error:
        return None, str(error)


class Marker:
    """Adds the open profit to rows of the fleet, keeping each run's bars at hand."""

    def __init__(self, read: ReadSide, seen: SeenRows, reader: Reader, home: Path) -> None:
        self._read = read
        self._seen = seen
        self._reader = reader
        self._home = home
        self._bars: dict[UUID, Bars | None] = {}
        self._shared: dict[str, Bars] = {}
        self._quoted: dict[UUID, SeenSeries] = {}  # runs on live quotes: only their newest bar is kept here

    def mark(self, rows: Iterable[FleetRow]) -> list[FleetRow]:
        """Return the rows, those with open positions with their profit at the run's last bar."""
        rows = list(rows)
        if not any(row.open_positions for row in rows):
            return rows
        held: dict[UUID, list[TradeRow]] = {}
        for trade in self._read.trades(self._reader, only_open=True):
            if trade.live_run_id is not None:
                held.setdefault(trade.live_run_id, []).append(trade)
        return [
            replace(row, open_profit=self._profit(row, held.get(row.live_run_id, []))) if row.open_positions else row
            for row in rows
        ]

    def _profit(self, row: FleetRow, trades: list[TradeRow]) -> Decimal | None:
        bars = self._bars_of(row)
        if bars is None or row.cursor is None:
            return None
        total = Decimal(0)
        for trade in trades:
            profit = open_profit(bars, trade, row.cursor, row.currency)
            if profit is None:
                return None
            total += profit
        return total.quantize(Decimal(1).scaleb(-money_digits(row.currency)))

    def _bars_of(self, row: FleetRow) -> Bars | None:
        run_id = row.live_run_id
        if run_id in self._quoted:
            self._quoted[run_id].update(row.cursor)
            return self._quoted[run_id].bars
        if run_id not in self._bars:
            detail = self._read.run_detail(self._reader, run_id)
            if is_live(detail):
                self._quoted[run_id] = SeenSeries(self._seen, self._reader, row, detail, most=1, only_newest=True)
                return self._bars_of(row)
            bars, _ = bars_of(detail, self._home)
            if bars is not None:
                bars = self._shared.setdefault(bars.fingerprint, bars)
            self._bars[run_id] = bars
        return self._bars[run_id]


def open_profit(bars: Bars, trade: TradeRow, at: datetime, currency: str) -> Decimal | None:
    """Return an open trade's profit at the close of the bar that opened at ``at``, unrounded.

    None when the symbol is not that of the bars, or neither of its currencies is the account's (no rate is guessed).
    """
    instrument = bars.instrument
    row = int(bars.ts.searchsorted(to_ns(at), side="right")) - 1
    if trade.symbol != bars.symbol or row < 0:
        return None
    points = bars.bid_close[row] if trade.side == "BUY" else bars.ask_close[row]
    price = instrument.price(int(points))
    sign = 1 if trade.side == "BUY" else -1
    profit = (price - trade.entry_price) * sign * trade.open_lots * instrument.contract_size
    if currency == instrument.quote_currency:
        return profit
    return profit / price if currency == instrument.base_currency else None

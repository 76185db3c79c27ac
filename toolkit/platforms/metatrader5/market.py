"""What one terminal says of bars and of money: closed bars, the terminal's own profit, margin and tick value."""

from __future__ import annotations

import logging
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np

from toolkit.clock import from_ns, to_ns
from toolkit.errors import PlatformUnavailable, ReadFailed
from toolkit.market import Bars, Quote, Side, Timeframe
from toolkit.platforms.metatrader5 import codes, convert
from toolkit.platforms.metatrader5.terminal import Terminal

log = logging.getLogger(__name__)


class TerminalMarket(Terminal):
    """Market data and arithmetic of one terminal."""

    def __init__(self, *arguments: Any, **session: Any) -> None:
        super().__init__(*arguments, **session)
        self._last_closed: dict[tuple[str, str], tuple[float, ...]] = {}
        self.revisions: list[str] = []

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars:
        """Return closed bars opened later than ``after``; a bar is closed once a newer one has opened.

        A bar that changed after it had been returned (a late tick can do that) is noted in ``revisions`` and logged.
        """
        facts, frame = self.instrument(symbol), Timeframe(timeframe)
        name, number = self.server_name(symbol), codes.TIMEFRAMES[frame.value]
        if after is None:
            rates = self._mt5.copy_rates_from_pos(name, number, 0, int(limit) + 1)
        else:
            start, end = self.server_time.wall(after), self.server_time.wall(self.now()) + 2 * 86_400
            rates = self._mt5.copy_rates_range(name, number, start, end)
        if rates is None:
            raise ReadFailed(f"{timeframe} bars of {name} could not be read: {codes.words(self._mt5.last_error())}")
        if len(rates) == 0:
            raise ReadFailed(f"{timeframe} bars of {name} came back empty: the terminal is still loading them")
        closed = rates[:-1]  # the newest is still forming
        if after is not None:
            self._note_revision(symbol, frame, closed)
            closed = closed[self.server_time.utc_columns(closed["time"]) > to_ns(after)]
        closed = closed[:limit]
        if len(closed):
            self._last_closed[symbol, frame.value] = _values(closed[-1])
        return convert.bars(closed, facts, frame, self.server_time)

    def ticks(self, symbol: str, since: datetime, until: datetime) -> tuple[Quote, ...]:
        """Return every change of bid or ask within the span, both ends included, oldest first, as the terminal keeps them.

        A terminal fetches old ticks from its server when it is first asked, and may come back with fewer until it has them.

        Raises
        ------
        ReadFailed
            When the terminal cannot be asked.
        """
        facts, time, name = self.instrument(symbol), self.server_time, self.server_name(symbol)
        found = self._mt5.copy_ticks_range(name, time.wall(since), time.wall(until) + 1, codes.COPY_TICKS_INFO)
        if found is None:
            raise ReadFailed(f"ticks of {name} could not be read: {codes.words(self._mt5.last_error())}")
        known = found[(found["bid"] > 0) & (found["ask"] > 0)]  # right after a symbol was selected one side is missing
        moments = time.clock.first_utc(known["time_msc"].astype(np.int64) * 1_000_000)
        inside = (moments >= to_ns(since)) & (moments <= to_ns(until))
        rows = zip(known["bid"][inside].tolist(), known["ask"][inside].tolist(), moments[inside].tolist(), strict=True)
        return tuple(Quote(convert.price(bid, facts), convert.price(ask, facts), from_ns(ns)) for bid, ask, ns in rows)

    def _note_revision(self, symbol: str, frame: Timeframe, rates: Any) -> None:
        kept = self._last_closed.get((symbol, frame.value))
        if kept is None:
            return
        at = np.flatnonzero(rates["time"] == kept[0])
        if len(at) and _values(rates[at[0]]) != kept:
            told = f"{symbol} {frame} bar of server time {kept[0]} changed after it had closed"
            self.revisions.append(told)
            log.warning("%s", told)
            self._last_closed[symbol, frame.value] = _values(rates[at[0]])

    def profit(self, symbol: str, side: Side, lots: Decimal, open_price: Decimal, close_price: Decimal) -> Decimal:
        """Return the terminal's own profit calculation, in account currency."""
        return self._calculate("order_calc_profit", symbol, side, lots, open_price, close_price)

    def margin(self, symbol: str, side: Side, lots: Decimal, price: Decimal) -> Decimal:
        """Return the terminal's own margin calculation, in account currency."""
        return self._calculate("order_calc_margin", symbol, side, lots, price)

    def _calculate(self, call: str, symbol: str, side: Side, lots: Decimal, *prices: Decimal) -> Decimal:
        self._info(symbol)  # the terminal calculates for symbols in Market Watch only
        kind = codes.ORDER_BUY if side is Side.BUY else codes.ORDER_SELL
        value = getattr(self._mt5, call)(kind, self.server_name(symbol), float(lots), *(float(p) for p in prices))
        if value is None:
            raise PlatformUnavailable(f"{call} of {symbol} failed: {codes.words(self._mt5.last_error())}")
        return convert.money(value, self._digits)

    def point_value(self, symbol: str) -> Decimal | None:
        """Return what one point of one lot is worth by the terminal's tick value, None when it does not state one."""
        info, facts = self._info(symbol), self.instrument(symbol)
        if not info.trade_tick_size or not info.trade_tick_value:
            return None
        ticks = facts.point / Decimal(repr(float(info.trade_tick_size)))
        return Decimal(repr(float(info.trade_tick_value))) * ticks


def _values(row: Any) -> tuple[float, ...]:
    """Return time and prices of a rates row, for comparison."""
    return (int(row["time"]), *(float(row[n]) for n in ("open", "high", "low", "close")))

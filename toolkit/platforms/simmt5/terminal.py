"""``SimMT5``: a strict in-memory double of the MetaTrader5 module over a paper venue."""

from __future__ import annotations

import ctypes
import sys
from datetime import datetime
from decimal import Decimal
from typing import Any

from toolkit.errors import ConversionRateMissing
from toolkit.execution.ports import OpenOrder, Outcome
from toolkit.market import Side
from toolkit.platforms.simmt5 import trading
from toolkit.platforms.simmt5.market_calls import MarketCalls
from toolkit.platforms.simmt5.session import FAILED, LOST, NO_IPC, NOT_FOUND
from toolkit.platforms.simmt5.surface import arguments
from toolkit.platforms.simmt5.surface.constants import CONSTANTS
from toolkit.platforms.simmt5.surface.filters import EVER, around, filtered, within
from toolkit.platforms.simulated.server_desk import ChangeOrder, CloseBy


class SimMT5(MarketCalls):
    """The module's functions, tuples, constants and silences, with a paper venue as its trade server.

    Parameters
    ----------
    platform
        The venue; its checks should be strict (`toolkit.platforms.simmt5.STRICT`). Its fault script is the server's.
    login, server, trade_mode, password
        The account the terminal is logged in to (trade_mode 0 demo, 2 real).
    clock
        The server's wall clock: every time that leaves this module is on it.
    names, suffix
        The server's symbol names by ours.
    hidden
        Symbols (ours) that are not in Market Watch yet.
    silent
        What a lost answer looks like: False gives retcode 10012, True gives None with -10002.
    hang_after, hang_seconds
        The account's ``hang_after``-th command is carried out and its answer then hangs for that long in native code that
        holds the interpreter lock, as the package does when the terminal hangs.

    Notes
    -----
    STOP LIMIT orders (types 6 and 7) are not modelled and refused with retcode 10013; the adapter does not send them.
    """

    # --- book ------------------------------------------------------------------------------------------------------

    def positions_total(self) -> int:
        """Return how many positions are open."""
        return len(self.server.venue.state.positions) if self._open() else 0

    def positions_get(
        self, symbol: str | None = None, *, ticket: int | None = None, group: str | None = None
    ) -> tuple[Any, ...] | None:
        """Return open positions; None is an error, no positions are an empty tuple."""
        if not self._open():
            return None
        try:
            found = [self.server.position(p) for p in self.server.venue.state.positions.values()]
        except ConversionRateMissing:
            self._fail(FAILED)
            return None
        return filtered(found, symbol, ticket, group)

    def orders_total(self) -> int:
        """Return how many orders are working."""
        return len(self.server.venue.state.orders) if self._open() else 0

    def orders_get(
        self, symbol: str | None = None, *, ticket: int | None = None, group: str | None = None
    ) -> tuple[Any, ...] | None:
        """Return working orders."""
        if not self._open():
            return None
        found = [self.server.order(o) for o in self.server.venue.state.orders.values()]
        return filtered(found, symbol, ticket, group)

    def history_orders_total(self, date_from: datetime | float, date_to: datetime | float) -> int | None:
        """Return how many orders ended within two server times."""
        found = self.history_orders_get(date_from, date_to)
        return None if found is None else len(found)

    def history_orders_get(
        self,
        date_from: datetime | float | None = None,
        date_to: datetime | float | None = None,
        *,
        group: str | None = None,
        ticket: int | None = None,
        position: int | None = None,
    ) -> tuple[Any, ...] | None:
        """Return ended orders of a span of server time, or of one order or position."""
        if not self._open():
            return None
        journal = self.server.venue.journal
        if ticket is not None:
            one = journal.ended_order(ticket)
            rows = [] if one is None else [one]
        else:
            rows = journal.ended_orders(*(EVER if position is not None else around(date_from, date_to)))
        found = [self.server.order(o) for o in rows if position is None or o.position_id == position]
        if ticket is not None or position is not None:
            return tuple(found)
        return within(found, "time_done", date_from, date_to, group)

    def history_deals_total(self, date_from: datetime | float, date_to: datetime | float) -> int | None:
        """Return how many deals were made within two server times."""
        found = self.history_deals_get(date_from, date_to)
        return None if found is None else len(found)

    def history_deals_get(
        self,
        date_from: datetime | float | None = None,
        date_to: datetime | float | None = None,
        *,
        group: str | None = None,
        ticket: int | None = None,
        position: int | None = None,
    ) -> tuple[Any, ...] | None:
        """Return deals of a span of server time, or of one order (``ticket`` is the order's) or position."""
        if not self._open():
            return None
        journal = self.server.venue.journal
        if ticket is not None:
            return tuple(self.server.deal(d) for d in journal.deals_of_order(ticket))
        if position is not None:
            return tuple(self.server.deal(d) for d in journal.deals_of(position))
        found = [self.server.deposit(), *(self.server.deal(d) for d in journal.deals(*around(date_from, date_to)))]
        return within(found, "time", date_from, date_to, group)

    # --- trading ---------------------------------------------------------------------------------------------------

    def order_calc_margin(self, action: int, symbol: str, volume: float, price: float) -> float | None:
        """Return the margin in account currency, None when it cannot be calculated."""
        return self._calculate("margin", symbol, volume, price, sign=1 if action == 0 else -1)

    def order_calc_profit(
        self, action: int, symbol: str, volume: float, price_open: float, price_close: float
    ) -> float | None:
        """Return the profit in account currency, None when it cannot be calculated."""
        return self._calculate("profit", symbol, volume, price_open, price_close, sign=1 if action == 0 else -1)

    def _calculate(self, what: str, symbol: str, volume: float, *prices: float, sign: int) -> float | None:
        ours = self._known(symbol)
        if ours is None or ours in self._hidden:
            self._fail(self._error if ours is None else NOT_FOUND)
            return None
        side = Side.BUY if sign > 0 else Side.SELL
        numbers = [Decimal(repr(float(p))) for p in prices]
        try:
            found = getattr(self.platform, what)(ours, side, Decimal(repr(float(volume))), *numbers)
        except ConversionRateMissing:
            self._fail(FAILED)
            return None
        return float(found)

    def order_check(self, request: dict[str, Any]) -> Any:
        """Check a request; retcode 0 is a yes, which promises nothing."""
        if not self._takes(request):
            return None
        account = self.server.account(*self._account)
        try:
            command = trading.to_command(request, self.server)
        except trading.Wrong as wrong:
            return trading.checked(request, wrong.retcode, wrong.comment, account)
        if isinstance(command, OpenOrder):
            refusal = self.server.venue.desk.check(command, self.server.venue.state.clock_ns)
            if refusal is not None:
                return trading.checked(request, trading.check_code(refusal), refusal.message[:60], account)
        return trading.checked(request, 0, "Done", account)

    def order_send(self, request: dict[str, Any]) -> Any:
        """Send a request; None for what the package refuses itself or for an answer that was lost."""
        if not self._takes(request):
            return None
        if not self.trade_allowed or self.tradeapi_disabled:
            return trading.refused(
                request, trading.Wrong(CONSTANTS["TRADE_RETCODE_CLIENT_DISABLES_AT"], "AutoTrading disabled by client")
            )
        if not self.server.venue.line_up:
            return trading.refused(request, trading.Wrong(CONSTANTS["TRADE_RETCODE_CONNECTION"], "No connection"))
        self._requests += 1
        try:
            command = trading.to_command(request, self.server)
        except trading.Wrong as wrong:
            return trading.refused(request, wrong)
        venue = self.server.venue
        reply = venue.change(command) if isinstance(command, ChangeOrder | CloseBy) else venue.answer(command)
        if self._hang_after and self.server.venue.state.sends.get("any") == self._hang_after:
            _hang(self._hang_seconds)
        if reply.code == "NO_CONNECTION":
            return self._fail(NO_IPC)
        if reply.outcome is Outcome.UNKNOWN and self._silent:
            return self._fail(LOST)
        ours = self.server.symbols().get(request.get("symbol", ""))
        quote = self.server.venue.prices.quote(ours, self.server.venue.state.clock_ns) if ours else None
        facts = self.server.facts(ours) if ours else None
        bid, ask = (float(facts.price(quote[0])), float(facts.price(quote[1]))) if quote and facts else (0.0, 0.0)
        return trading.answered(request, reply, facts, bid, ask)._replace(request_id=self._requests)

    def _takes(self, request: object) -> bool:
        if not self._open():
            return False
        message = arguments.refusal(request)
        if message is not None:
            self._error = (-2, message)
            return False
        return True


def _hang(seconds: float) -> None:
    """Sleep in native code without giving the interpreter lock back."""
    if sys.platform == "win32":  # pragma: no cover - Windows only
        ctypes.PyDLL("kernel32").Sleep(int(seconds * 1000))
    else:
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))

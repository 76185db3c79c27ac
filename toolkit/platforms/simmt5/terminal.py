"""``SimMT5``: a strict in-memory double of the MetaTrader5 module over a paper venue."""

from __future__ import annotations

import calendar
import ctypes
import fnmatch
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np

from toolkit.clock import SYSTEM
from toolkit.errors import ConversionRateMissing
from toolkit.execution.ports import OpenOrder, Outcome
from toolkit.market import Side
from toolkit.market.platform_clock import NEW_YORK_PLUS_7, PlatformClock
from toolkit.platforms.simmt5 import arguments, trading
from toolkit.platforms.simmt5.constants import CONSTANTS
from toolkit.platforms.simmt5.server import Server
from toolkit.platforms.simmt5.tuples import make
from toolkit.platforms.simulated import SimulatedPlatform

RATES = np.dtype(
    [
        ("time", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("tick_volume", "<u8"),
        ("spread", "<i4"),
        ("real_volume", "<u8"),
    ]
)
TICKS = np.dtype(
    [
        ("time", "<i8"),
        ("bid", "<f8"),
        ("ask", "<f8"),
        ("last", "<f8"),
        ("volume", "<u8"),
        ("time_msc", "<i8"),
        ("flags", "<u4"),
        ("volume_real", "<f8"),
    ]
)
_OK = (1, "Success")
_NO_IPC = (-10004, "No IPC connection")
_NOT_FOUND = (-4, "Terminal: Not found")
_FAILED = (-1, "Terminal: Call failed")
_DAY = 86_400
_END = 1 << 62
_LOST = (-10002, "IPC recv failed")


class VenueClock:
    """The venue's time as a `toolkit.clock.Clock`, so that an adapter over the double lives in the replay's time."""

    def __init__(self, platform: SimulatedPlatform) -> None:
        self._platform = platform
        self._since = platform.venue.now_ns

    def now(self) -> datetime:
        """Return the venue's clock."""
        return self._platform.now()

    def monotonic(self) -> float:
        """Return the venue's clock as seconds since this object was made: it only ever moves forward."""
        return (self._platform.venue.now_ns - self._since) / 1e9

    def sleep(self, seconds: float) -> None:
        """Wait on this machine's clock."""
        SYSTEM.sleep(seconds)


class SimMT5:
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
    Not modelled, and refused with retcode 10013: changing a pending order (action 7) and closing by an opposite
    position (action 10); the adapter uses neither.
    """

    def __init__(
        self,
        platform: SimulatedPlatform,
        *,
        login: int = 5_000_001,
        server: str = "SimServer-Demo",
        trade_mode: int = 0,
        password: str | None = None,
        clock: PlatformClock | str = NEW_YORK_PLUS_7,
        names: Mapping[str, str] | None = None,
        suffix: str = "",
        hidden: Iterable[str] = (),
        silent: bool = False,
        hang_after: int = 0,
        hang_seconds: float = 0.0,
    ) -> None:
        self.platform = platform
        self.server = Server(platform, clock, names or {}, suffix)
        self.clock = VenueClock(platform)
        self._account = (login, server, trade_mode)
        self._password = password
        self._hidden = set(hidden)
        self._silent = silent
        self._hang_after, self._hang_seconds = hang_after, hang_seconds
        self._ready = False
        self._error: tuple[int, str] = _OK
        self._requests = 0
        self.trade_allowed = True
        self.tradeapi_disabled = False

    def __getattr__(self, name: str) -> int:
        try:
            return CONSTANTS[name]
        except KeyError:
            raise AttributeError(f"module 'MetaTrader5' has no attribute {name!r}") from None

    # --- what a test may do to the terminal ------------------------------------------------------------------------

    def log_in_as(self, login: int, server: str, trade_mode: int = 0) -> None:
        """Let a person switch the terminal to another account, as ``login()`` of any other program does for everybody."""
        self._account = (login, server, trade_mode)

    def cut_line(self) -> None:
        """Take the terminal's connection to its server away; `initialize` brings it back."""
        self.platform.disconnect()

    @property
    def logged_in(self) -> tuple[int, str, int]:
        """Return login, server and trade mode of the account the terminal is on."""
        return self._account

    # --- terminal --------------------------------------------------------------------------------------------------

    def initialize(
        self,
        path: str | None = None,
        *,
        login: int | None = None,
        password: str | None = None,
        server: str | None = None,
        timeout: int = 60_000,
        portable: bool = False,
    ) -> bool:
        """Connect to the terminal; False with ``last_error`` when the login is refused."""
        if login is not None and not self._may_log_in(login, password, server):
            self._error = (-6, "Terminal: Authorization failed")
            return False
        self._ready = True
        self.platform.connect()
        self._error = _OK
        return True

    def login(self, login: int, password: str | None = None, server: str | None = None, timeout: int = 60_000) -> bool:
        """Log the terminal in; switches it for every program on it."""
        if not self._ready:
            return bool(self._fail(_NO_IPC))
        if not self._may_log_in(login, password, server):
            self._error = (-6, "Terminal: Authorization failed")
            return False
        self._error = _OK
        return True

    def _may_log_in(self, login: int, password: str | None, server: str | None) -> bool:
        known = login == self._account[0] and server in (None, self._account[1])
        return known and self._password in (None, password)

    def shutdown(self) -> None:
        """End the connection to the terminal."""
        self._ready = False

    def version(self) -> tuple[int, int, str] | None:
        """Return build information."""
        return (500, 6231, "27 Sep 2025") if self._open() else None

    def last_error(self) -> tuple[int, str]:
        """Return code and text of the last call's error."""
        return self._error

    def terminal_info(self) -> Any:
        """Return ``TerminalInfo``."""
        if not self._open():
            return None
        return make(
            "TerminalInfo",
            connected=self.server.venue.line_up,
            trade_allowed=self.trade_allowed,
            tradeapi_disabled=self.tradeapi_disabled,
            build=6231,
            maxbars=100_000,
            ping_last=1500,
            retransmission=0.0,
            community_balance=0.0,
            company="SimMT5",
            name="SimMT5",
            language="English",
        )

    def account_info(self) -> Any:
        """Return ``AccountInfo`` of whoever is logged in."""
        if not self._open():
            return None
        try:
            return self.server.account(*self._account)
        except ConversionRateMissing:
            return self._fail(_FAILED)

    def _open(self) -> bool:
        self._error = _OK if self._ready else _NO_IPC
        return self._ready

    def _fail(self, error: tuple[int, str]) -> Any:
        self._error = error

    # --- symbols ---------------------------------------------------------------------------------------------------

    def symbols_total(self) -> int:
        """Return how many symbols the server has."""
        return len(self.server.symbols()) if self._open() else 0

    def symbols_get(self, group: str | None = None) -> tuple[Any, ...] | None:
        """Return all symbols, or those a group pattern names."""
        if not self._open():
            return None
        found = [(name, ours) for name, ours in self.server.symbols().items() if _in_group(name, group)]
        return tuple(self.server.symbol(ours, visible=ours not in self._hidden) for _, ours in found)

    def symbol_info(self, symbol: str) -> Any:
        """Return ``SymbolInfo``, None for an unknown name."""
        ours = self._known(symbol)
        return None if ours is None else self.server.symbol(ours, visible=ours not in self._hidden)

    def symbol_select(self, symbol: str, enable: bool = True) -> bool:
        """Put a symbol into Market Watch or take it out."""
        ours = self._known(symbol)
        if ours is None:
            return False
        (self._hidden.discard if enable else self._hidden.add)(ours)
        return True

    def symbol_info_tick(self, symbol: str) -> Any:
        """Return the last ``Tick``; None for an unknown symbol or one outside Market Watch."""
        ours = self._known(symbol)
        if ours is None or ours in self._hidden:
            return None if ours is None else self._fail(_NOT_FOUND)
        quote = self.server.quote(ours)
        if quote is None:
            return make("Tick", bid=0.0, ask=0.0, last=0.0, volume_real=0.0)
        facts = self.server.facts(ours)
        seconds, milliseconds = self.server.wall(quote[2])
        return make(
            "Tick",
            time=seconds,
            time_msc=milliseconds,
            bid=float(facts.price(quote[0])),
            ask=float(facts.price(quote[1])),
            last=0.0,
            volume_real=0.0,
            flags=6,
        )

    def _known(self, name: object) -> str | None:
        if not self._open():
            return None
        if not isinstance(name, str) or len(name) > 29:
            self._fail((-2, 'Invalid "symbol" argument'))
            return None
        ours = self.server.symbols().get(name)
        if ours is None:
            self._fail(_NOT_FOUND)
        return ours

    # --- market data -----------------------------------------------------------------------------------------------

    def copy_rates_from_pos(self, symbol: str, timeframe: int, start_pos: int, count: int) -> Any:
        """Return bars counted back from the forming one, which is position 0, oldest first."""
        rates = self._rates(symbol, timeframe)
        if rates is None:
            return None
        end = len(rates) - start_pos
        return rates[max(0, end - count) : max(0, end)]

    def copy_rates_from(self, symbol: str, timeframe: int, date_from: datetime | float, count: int) -> Any:
        """Return ``count`` bars up to and including the one open at that server time."""
        rates = self._rates(symbol, timeframe)
        if rates is None:
            return None
        upto = rates[rates["time"] <= _wall(date_from)]
        return upto[max(0, len(upto) - count) :]

    def copy_rates_range(
        self, symbol: str, timeframe: int, date_from: datetime | float, date_to: datetime | float
    ) -> Any:
        """Return the bars that opened within two server times."""
        rates = self._rates(symbol, timeframe)
        if rates is None:
            return None
        return rates[(rates["time"] >= _wall(date_from)) & (rates["time"] <= _wall(date_to))]

    def _rates(self, symbol: str, timeframe: int) -> Any:
        """Return all bars up to now; the last one is the forming bar, of which only the open is known yet."""
        ours = self._known(symbol)
        if ours is None:
            return None
        replay = self.server.venue.prices.replays.get(ours)
        if replay is None or CONSTANTS.get(f"TIMEFRAME_{replay.bars.timeframe.value}") != timeframe:
            return self._fail(_FAILED)
        bars, scale = replay.bars, replay.bars.instrument.scale
        n = replay.opened(self.server.venue.state.clock_ns)
        rates = np.zeros(n, dtype=RATES)
        rates["time"] = self.server.time.clock.from_utc(replay.open_ns[:n]) // 1_000_000_000
        for name in ("open", "high", "low", "close"):
            rates[name] = getattr(bars, f"bid_{name}")[:n] / scale
        rates["spread"] = bars.ask_close[:n] - bars.bid_close[:n]
        rates["tick_volume"] = 1 if bars.volume is None else bars.volume[:n].astype(np.uint64)
        if n and replay.close_ns[n - 1] > self.server.venue.state.clock_ns:
            for name in ("high", "low", "close"):
                rates[name][-1] = rates["open"][-1]
            rates["spread"][-1] = bars.ask_open[n - 1] - bars.bid_open[n - 1]
            rates["tick_volume"][-1] = 1
        return rates

    def copy_ticks_from(self, symbol: str, date_from: datetime | float, count: int, flags: int) -> Any:
        """Return ticks from a server time on; the double keeps only the last one."""
        found = self._ticks(symbol)
        return None if found is None else found[found["time"] >= _wall(date_from)][:count]

    def copy_ticks_range(self, symbol: str, date_from: datetime | float, date_to: datetime | float, flags: int) -> Any:
        """Return ticks between two server times; the double keeps only the last one."""
        found = self._ticks(symbol)
        if found is None:
            return None
        return found[(found["time"] >= _wall(date_from)) & (found["time"] <= _wall(date_to))]

    def _ticks(self, symbol: str) -> Any:
        tick = self.symbol_info_tick(symbol)
        if tick is None:
            return None
        row = (tick.time, tick.bid, tick.ask, tick.last, tick.volume, tick.time_msc, tick.flags, tick.volume_real)
        return np.array([row] if tick.time else [], dtype=TICKS)

    def market_book_add(self, symbol: str) -> bool:
        """Subscribe to depth of market, which this server does not have."""
        self._known(symbol)
        return False

    def market_book_get(self, symbol: str) -> tuple[Any, ...] | None:
        """Return depth of market; there is none."""
        return None if self._known(symbol) is None else ()

    def market_book_release(self, symbol: str) -> bool:
        """End a subscription."""
        return self._known(symbol) is not None

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
            self._fail(_FAILED)
            return None
        return _filtered(found, symbol, ticket, group)

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
        return _filtered(found, symbol, ticket, group)

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
            rows = journal.ended_orders(*((0, _END) if position is not None else _around(date_from, date_to)))
        found = [self.server.order(o) for o in rows if position is None or o.position_id == position]
        if ticket is not None or position is not None:
            return tuple(found)
        return _within(found, "time_done", date_from, date_to, group)

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
        found = [self.server.deposit(), *(self.server.deal(d) for d in journal.deals(*_around(date_from, date_to)))]
        return _within(found, "time", date_from, date_to, group)

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
            self._fail(self._error if ours is None else _NOT_FOUND)
            return None
        side = Side.BUY if sign > 0 else Side.SELL
        numbers = [Decimal(repr(float(p))) for p in prices]
        try:
            found = getattr(self.platform, what)(ours, side, Decimal(repr(float(volume))), *numbers)
        except ConversionRateMissing:
            self._fail(_FAILED)
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
        reply = self.server.venue.answer(command)
        if self._hang_after and self.server.venue.state.sends.get("any") == self._hang_after:
            _hang(self._hang_seconds)
        if reply.code == "NO_CONNECTION":
            return self._fail(_NO_IPC)
        if reply.outcome is Outcome.UNKNOWN and self._silent:
            return self._fail(_LOST)
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


def _wall(moment: datetime | float) -> int:
    """Return a time argument as seconds; the package reads a datetime's UTC fields as the server's wall clock."""
    return calendar.timegm(moment.utctimetuple()) if isinstance(moment, datetime) else int(moment)


def _in_group(name: str, group: str | None) -> bool:
    """Tell whether a name fits a group pattern: comma-separated masks, those with ``!`` taken out again."""
    if group is None:
        return True
    masks = [m.strip() for m in group.split(",")]
    wanted = [m for m in masks if not m.startswith("!")]
    unwanted = [m[1:] for m in masks if m.startswith("!")]
    return any(fnmatch.fnmatchcase(name, m) for m in wanted) and not any(fnmatch.fnmatchcase(name, m) for m in unwanted)


def _filtered(rows: list[Any], symbol: str | None, ticket: int | None, group: str | None) -> tuple[Any, ...]:
    return tuple(
        r
        for r in rows
        if (symbol is None or r.symbol == symbol)
        and (ticket is None or r.ticket == ticket)
        and _in_group(r.symbol, group)
    )


def _around(date_from: datetime | float | None, date_to: datetime | float | None) -> tuple[int, int]:
    """Return a span of venue time (ns) that surely holds a span of server time: a wall clock is within a day of UTC."""
    start = 0 if date_from is None else (_wall(date_from) - _DAY) * 1_000_000_000
    end = _END if date_to is None else (_wall(date_to) + _DAY) * 1_000_000_000
    return max(start, 0), min(end, _END)


def _within(
    rows: list[Any], when: str, date_from: datetime | float | None, date_to: datetime | float | None, group: str | None
) -> tuple[Any, ...]:
    start = 0 if date_from is None else _wall(date_from)
    end = _END if date_to is None else _wall(date_to)
    return tuple(r for r in rows if start <= getattr(r, when) <= end and _in_group(r.symbol, group))

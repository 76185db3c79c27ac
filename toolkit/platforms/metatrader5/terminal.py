"""The line to one terminal: starting it, whose account it is on, its symbol names, and what time it is at the server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import (
    BadInput,
    PlatformError,
    PlatformUnavailable,
    QuoteError,
    ReadFailed,
    UnknownSymbol,
    WrongAccount,
    must_be,
)
from toolkit.execution.ports import AccountSnapshot
from toolkit.market import Instrument, Quote
from toolkit.market.platform_clock import PlatformClock, find_clock
from toolkit.platforms.metatrader5 import codes, convert
from toolkit.platforms.metatrader5.clocks import ClockFinding, find_server_clock, measured_offset
from toolkit.platforms.metatrader5.convert import ServerTime
from toolkit.platforms.metatrader5.module import load_module
from toolkit.platforms.server_now import ServerNow

log = logging.getLogger(__name__)

_WEEK_BARS = 8_800  # a year of H1 bars


class Terminal:
    """One account at one MetaTrader 5 terminal; the base of `MetaTrader5Platform`, which has the parameters."""

    def __init__(
        self,
        mt5: Any = None,
        *,
        login: int,
        server: str,
        environment: Literal["demo", "real"] = "demo",
        password: Callable[[], str] | None = None,
        path: str | None = None,
        portable: bool = True,
        timeout_ms: int = 60_000,
        clock: PlatformClock | str | None = None,
        symbols: Mapping[str, str] | None = None,
        suffix: str = "",
        utc: Clock = SYSTEM,
    ) -> None:
        if environment not in ("demo", "real"):
            raise BadInput(must_be("environment", "'demo' or 'real'", repr(environment), "name the account's kind"))
        self._mt5 = mt5 if mt5 is not None else load_module()
        self._login, self._server, self._environment = int(login), server, environment
        self._password = password
        self._start: dict[str, Any] = {"timeout": int(timeout_ms), "portable": bool(portable)}
        self._path = path
        self._time = None if clock is None else ServerTime(find_clock(clock))
        self._theirs = dict(symbols or {})
        self._ours = {theirs: ours for ours, theirs in self._theirs.items()}
        self._suffix = suffix
        self._utc = utc
        self._now = ServerNow(utc)
        self._facts: dict[str, Instrument] = {}
        self._gone: set[str] = set()
        self._digits = 2
        self.clock_finding: ClockFinding | None = None

    # --- session ---------------------------------------------------------------------------------------------------

    def connect(self) -> AccountSnapshot:
        """Start the terminal if need be, check that it is our account, find the server's clock.

        Raises
        ------
        PlatformUnavailable
            When the terminal cannot be reached or is not connected to its server.
        WrongAccount
            When it is logged in to another account, server or environment, or refuses the login.
        """
        arguments: dict[str, Any] = dict(self._start)
        if self._password is not None:
            arguments |= {"login": self._login, "server": self._server, "password": self._password()}
        started = self._mt5.initialize(self._path, **arguments) if self._path else self._mt5.initialize(**arguments)
        del arguments
        if not started:
            error = self._mt5.last_error()
            if isinstance(error, tuple) and error[0] == -6:
                raise WrongAccount(f"login {self._login} at {self._server}: {codes.words(error)}")
            raise PlatformUnavailable(f"MetaTrader 5 did not start: {codes.words(error)}")
        info, terminal = self._identity()
        self._digits = int(info.currency_digits)
        if self._time is None:
            self.clock_finding = self._find_clock()
            self._time = ServerTime(self.clock_finding.clock)
            log.warning("%s", self.clock_finding)
        self._look_at_ticks()
        return convert.account(info, terminal, self.now())

    def _look_at_ticks(self) -> None:
        """Learn from the last quotes in Market Watch how late it is at least."""
        last = max((int(i.time) for i in self._mt5.symbols_get() or () if i.visible), default=0)
        if last:
            self._now.saw(self.server_time.utc(last))

    def close(self) -> None:
        """End the line to the terminal; the terminal itself goes on, and so do its stops. Safe to call twice."""
        self._mt5.shutdown()

    def now(self) -> datetime:
        """Return the time in UTC: this machine's, but never earlier than what the server's ticks have shown."""
        return self._now.now()

    @property
    def module(self) -> Any:
        """Return the module this session speaks to."""
        return self._mt5

    @property
    def machine_clock(self) -> Clock:
        """Return the clock of this machine, as it was given."""
        return self._utc

    @property
    def server_time(self) -> ServerTime:
        """Return the conversion between the server's wall clock and UTC."""
        if self._time is None:
            raise PlatformError("the server's clock must be known: connect first, or state clock=")
        return self._time

    def _find_clock(self) -> ClockFinding:
        name = next((i.name for i in self._mt5.symbols_get() or () if i.visible and i.time), None)
        if name is None:
            return find_server_clock([], self.now(), None)
        tick = self._mt5.symbol_info_tick(name)
        offset = None if tick is None else measured_offset(int(tick.time), self.now())
        rates = self._mt5.copy_rates_from_pos(name, codes.TIMEFRAMES["H1"], 1, _WEEK_BARS)
        return find_server_clock([] if rates is None else rates["time"], self.now(), offset)

    def _identity(self) -> tuple[Any, Any]:
        """Return account and terminal, after checking that they are the ones this session is for."""
        info, terminal = self._mt5.account_info(), self._mt5.terminal_info()
        if info is None or terminal is None:
            raise PlatformUnavailable(f"the terminal did not answer: {codes.words(self._mt5.last_error())}")
        found = (int(info.login), str(info.server), convert.environment(info))
        if found != (self._login, self._server, self._environment):
            raise WrongAccount(
                must_be(
                    "the terminal's account",
                    f"{self._login} at {self._server} ({self._environment})",
                    f"{found[0]} at {found[1]} ({found[2]})",
                    "give each account its own portable terminal, and log this one in again",
                )
            )
        if not terminal.connected:
            raise PlatformUnavailable(f"the terminal of {self._login} is not connected to {self._server}")
        return info, terminal

    # --- symbols ---------------------------------------------------------------------------------------------------

    def instrument(self, symbol: str) -> Instrument:
        """Return the contract facts as the terminal states them; UnknownSymbol when it has no such symbol."""
        facts = self._facts.get(symbol)
        if facts is None:
            facts = self._facts[symbol] = convert.instrument(self._info(symbol), symbol)
        return facts

    def server_name(self, symbol: str) -> str:
        """Return the server's name of one of our symbols."""
        return self._theirs.get(symbol, symbol + self._suffix)

    def _our_name(self, name: str) -> str:
        """Return our name of a symbol of the server; one outside our naming, which a person trades, keeps its own."""
        ours = self._ours.get(name)
        if ours is None:
            ours = name.removesuffix(self._suffix) if self._suffix else name
            if self.server_name(ours) != name:
                taken = self._mt5.symbol_info(self.server_name(name)) is not None
                ours = f"{name}*" if taken else name
                self._theirs[ours] = name
            self._ours[name] = ours
        return ours

    def _info(self, symbol: str) -> Any:
        name = self.server_name(symbol)
        info = self._mt5.symbol_info(name)
        if info is None:
            error = self._mt5.last_error()
            if isinstance(error, tuple) and error[0] in (-1, -10000, -10001, -10002, -10003, -10004, -10005):
                raise PlatformUnavailable(f"symbol {name} could not be read: {codes.words(error)}")
            near = [i.name for i in self._mt5.symbols_get(group=f"*{symbol}*") or ()][:5]
            there = f"it has {', '.join(near)}: " if near else ""
            raise UnknownSymbol(
                must_be(
                    "symbol", f"one of {self._server}", repr(name), f"{there}set the account's suffix or symbol table"
                )
            )
        if not info.visible and not self._mt5.symbol_select(name, True):
            raise PlatformUnavailable(f"symbol {name} could not be put into Market Watch; its list may be full")
        return info

    def quote(self, symbol: str) -> Quote:
        """Return the last tick's bid and ask with its moment in UTC."""
        facts = self.instrument(symbol)
        tick = self._tick(symbol)
        moment = self.server_time.utc(tick.time, tick.time_msc)
        self._now.saw(moment)
        return Quote(convert.price(tick.bid, facts), convert.price(tick.ask, facts), moment)

    def _tick(self, symbol: str) -> Any:
        name = self.server_name(symbol)
        tick = self._mt5.symbol_info_tick(name)
        if tick is None:
            self._info(symbol)  # selects it, or says that there is none
            tick = self._mt5.symbol_info_tick(name)
        if tick is None:
            raise PlatformUnavailable(f"no tick of {name}: {codes.words(self._mt5.last_error())}")
        if tick.bid <= 0 or tick.ask <= 0:
            raise QuoteError(
                must_be(f"quote of {symbol}", "known", "none since the terminal started", "wait for a tick")
            )
        return tick

    def _of(self, record: Any) -> Instrument:
        return self.instrument(self._our_name(record.symbol))

    def _readable(self, records: Iterable[Any]) -> Iterator[Any]:
        """Yield past records but those of symbols the server no longer has: nothing of ours can be open in them."""
        for record in records:
            try:
                self._of(record)
            except UnknownSymbol:
                if record.symbol not in self._gone:
                    self._gone.add(record.symbol)
                    log.warning("history in %s is left out: the server has no such symbol any more", record.symbol)
                continue
            yield record

    def _read(self, call: str, **arguments: Any) -> tuple[Any, ...]:
        found = getattr(self._mt5, call)(**arguments)
        if found is None:
            raise ReadFailed(f"{call} failed: {codes.words(self._mt5.last_error())}")
        return tuple(found)

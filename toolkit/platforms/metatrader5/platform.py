"""MetaTrader 5 behind the ``TradingPlatform`` protocol, over whatever module speaks its interface."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from toolkit.clock import SYSTEM, Clock, to_ns
from toolkit.errors import (
    BadInput,
    PlatformError,
    PlatformUnavailable,
    QuoteError,
    ReadFailed,
    RequestError,
    UnknownSymbol,
    WrongAccount,
    must_be,
)
from toolkit.execution.ports import (
    AccountSnapshot,
    Book,
    CancelOrder,
    ClosePosition,
    History,
    ModifyProtection,
    OpenOrder,
    OrderResult,
    OrderType,
    Outcome,
    PlatformCommand,
    PlatformDeal,
)
from toolkit.market import Bars, Instrument, Quote, Side, Timeframe
from toolkit.market.platform_clock import PlatformClock, find_clock
from toolkit.platforms.metatrader5 import codes, convert, requests
from toolkit.platforms.metatrader5.clocks import ClockFinding, find_server_clock, measured_offset
from toolkit.platforms.metatrader5.convert import ServerTime
from toolkit.platforms.metatrader5.module import load_module

log = logging.getLogger(__name__)

_WEEK_BARS = 8_800  # a year of H1 bars
_REASONS_KEPT = 10_000


class MetaTrader5Platform:
    """One account at one MetaTrader 5 terminal.

    Parameters
    ----------
    mt5
        The module: the vendor's package, a remote one with the same surface, or `SimMT5`. None loads the vendor's.
    login, server, environment
        The account this session is for. Before every send the terminal must still be logged in to it.
    password
        Called when connecting, so that the secret lives nowhere else; None takes the terminal's stored login.
    path, portable, timeout_ms
        The terminal to start: one portable installation per account.
    clock
        The server's wall clock (``"New York + 7"``, ``"Europe/Athens"``); None: detected at connect and stated in
        ``clock_finding``.
    symbols, suffix
        Our symbols by the names of this server: a table first, else the name with the suffix.
    deviation_points
        Slippage allowed where a command states none (instant execution only; market execution ignores it).
    utc
        The clock of this machine; `now` is its time.

    Notes
    -----
    Nothing here waits or resends: `send` makes one attempt and classes the answer. The package has no time-out; run
    the session in its own process (`toolkit.platforms.isolation`) where it matters.
    """

    name = "metatrader5"

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
        deviation_points: int = 20,
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
        self._deviation = deviation_points
        self._utc = utc
        self._facts: dict[str, Instrument] = {}
        self._last_closed: dict[tuple[str, str], tuple[float, ...]] = {}
        self._digits = 2
        self._reasons: dict[str, str] = {}
        self.clock_finding: ClockFinding | None = None
        self.revisions: list[str] = []

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
        return convert.account(info, terminal, self.now())

    def close(self) -> None:
        """End the line to the terminal; the terminal itself goes on, and so do its stops. Safe to call twice."""
        self._mt5.shutdown()

    def now(self) -> datetime:
        """Return the time in UTC; the package does not state the server's."""
        return self._utc.now()

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

    # --- market data -----------------------------------------------------------------------------------------------

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
        if name in self._ours:
            return self._ours[name]
        return name.removesuffix(self._suffix) if self._suffix else name

    def _info(self, symbol: str) -> Any:
        name = self.server_name(symbol)
        info = self._mt5.symbol_info(name)
        if info is None:
            error = self._mt5.last_error()
            if isinstance(error, tuple) and error[0] in (-1, -10000, -10001, -10002, -10003, -10004, -10005):
                raise PlatformUnavailable(f"symbol {name} could not be read: {codes.words(error)}")
            raise UnknownSymbol(
                must_be("symbol", f"one of {self._server}", repr(name), "set the account's symbol table or suffix")
            )
        if not info.visible and not self._mt5.symbol_select(name, True):
            raise PlatformUnavailable(f"symbol {name} could not be put into Market Watch; its list may be full")
        return info

    def quote(self, symbol: str) -> Quote:
        """Return the last tick's bid and ask with its moment in UTC."""
        facts = self.instrument(symbol)
        tick = self._tick(symbol)
        return Quote(
            convert.price(tick.bid, facts),
            convert.price(tick.ask, facts),
            self.server_time.utc(tick.time, tick.time_msc),
        )

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

    # --- book ------------------------------------------------------------------------------------------------------

    def book(self) -> Book:
        """Return account, positions and working orders; a call that fails makes the whole read fail."""
        info, terminal = self._identity()
        positions, orders = self._mt5.positions_get(), self._mt5.orders_get()
        if positions is None or orders is None:
            raise ReadFailed(f"the book could not be read: {codes.words(self._mt5.last_error())}")
        time, moment = self.server_time, self.now()
        return Book(
            convert.account(info, terminal, moment),
            tuple(convert.position(p, self._of(p), time, self._digits) for p in positions),
            tuple(convert.order(o, self._of(o), time) for o in orders),
            moment,
        )

    def _deal(self, record: Any) -> PlatformDeal:
        """Return a deal; why a program closed is not stored by the server, so what this session asked for is remembered."""
        deal = convert.deal(record, self._of(record), self.server_time, self._digits)
        if deal.entry == "in" or deal.reason:
            return deal
        return replace(deal, reason=self._reasons.get(deal.tag_text, "signal"))

    def _of(self, record: Any) -> Instrument:
        return self.instrument(self._our_name(record.symbol))

    def history(self, since: datetime, until: datetime) -> History:
        """Return ended orders and deals of the span.

        The server is asked for a day more on both sides, in its own time, and never up to "now": the clocks differ.
        """
        self._identity()
        time = self.server_time
        span = time.wall(since) - 86_400, time.wall(until) + 2 * 86_400
        orders, deals = self._mt5.history_orders_get(*span), self._mt5.history_deals_get(*span)
        if orders is None or deals is None:
            raise ReadFailed(f"the history could not be read: {codes.words(self._mt5.last_error())}")
        ended = [o for o in orders if since <= time.utc(o.time_done, o.time_done_msc) <= until]
        made = [d for d in deals if d.type in (codes.DEAL_BUY, codes.DEAL_SELL)]  # balance operations are no trades
        found = [self._deal(d) for d in made]
        return History(
            tuple(convert.order(o, self._of(o), time) for o in ended), tuple(d for d in found if since <= d.at <= until)
        )

    # --- orders ----------------------------------------------------------------------------------------------------

    def send(self, command: PlatformCommand) -> OrderResult:
        """Carry out one command, once.

        Account, terminal, symbol and levels are checked first; a refusal there means that nothing was sent. From
        ``order_send`` on, whatever is not a definite answer is UNKNOWN.
        """
        try:
            request, exit_command = self._prepare(command)
        except _Done as done:
            return done.result
        except (RequestError, UnknownSymbol) as e:
            return OrderResult(Outcome.FINAL, code="CHECKED", message=str(e))
        except WrongAccount as e:
            return OrderResult(Outcome.WAIT, code="WRONG_ACCOUNT", message=str(e))
        except (PlatformError, QuoteError) as e:
            return OrderResult(Outcome.NOT_ACCEPTED, code="NOT_SENT", message=str(e))
        except Exception as e:  # noqa: BLE001 - a remote module may raise anything; nothing has been sent yet
            return OrderResult(Outcome.NOT_ACCEPTED, code="NOT_SENT", message=f"{type(e).__name__} before the send")
        try:
            answer = self._mt5.order_send(request)
            error = self._mt5.last_error() if answer is None else None
        except Exception as e:  # noqa: BLE001 - after the send any error leaves the outcome open
            return OrderResult(Outcome.UNKNOWN, code="EXCEPTION", message=f"{type(e).__name__} during the send")
        if answer is None:
            code = error[0] if isinstance(error, tuple) else -1
            name, outcome = codes.classify_none(code)
            return OrderResult(outcome, code=name, message=codes.words(error))
        return self._resolve(command, request, answer, exit_command=exit_command)

    def _prepare(self, command: PlatformCommand) -> tuple[requests.Request, bool]:
        """Check what can be checked and build the request; the account is asserted last, right before the send."""
        if isinstance(command, OpenOrder):
            facts, info = self.instrument(command.symbol), self._info(command.symbol)
            name, quote = self.server_name(command.symbol), self.quote(command.symbol)
            if command.order_type is OrderType.MARKET:
                request = requests.open_market(command, name, info, facts, quote, self._deviation)
            else:
                request = requests.open_pending(command, name, info, facts, quote, self.server_time)
        elif isinstance(command, CancelOrder):
            if not command.order_id.isdigit() or not self._read("orders_get", ticket=int(command.order_id)):
                raise _Done(Outcome.ALREADY, "ORDER_NOT_WORKING", f"order {command.order_id} is not working")
            request = requests.remove(command.order_id, command.tag)
        else:
            request = self._prepare_exit(command)
        self._check(request, exit_command=not isinstance(command, OpenOrder))
        account, terminal = self._identity()
        if not convert.trading_allowed(account, terminal):
            raise _Done(Outcome.WAIT, "TRADING_OFF", "trading is switched off in the terminal or for the account")
        return request, not isinstance(command, OpenOrder)

    def _prepare_exit(self, command: ClosePosition | ModifyProtection) -> requests.Request:
        position = self._position(command.position_id)
        if position is None:
            raise _Done(Outcome.ALREADY, "POSITION_CLOSED", f"position {command.position_id} is not open")
        facts, ours = self._of(position), self._our_name(position.symbol)
        info, quote = self._info(ours), self.quote(ours)
        if isinstance(command, ClosePosition):
            self._remember(command)
            return requests.close(command, position, position.symbol, info, facts, quote, self._deviation)
        if requests.is_set(command, position):
            raise _Done(Outcome.ALREADY, "NO_CHANGES", "the levels are already so", command.position_id)
        return requests.modify(command, position, position.symbol, info, facts, quote)

    def _remember(self, command: ClosePosition) -> None:
        while len(self._reasons) >= _REASONS_KEPT:
            self._reasons.pop(next(iter(self._reasons)))
        self._reasons[command.tag.text] = command.reason

    def _position(self, position_id: str) -> Any:
        """Return the live position of that identifier, read now: its ticket and volume may have changed."""
        return next((p for p in self._read("positions_get") if str(p.identifier) == position_id), None)

    def _read(self, call: str, **arguments: Any) -> tuple[Any, ...]:
        found = getattr(self._mt5, call)(**arguments)
        if found is None:
            raise ReadFailed(f"{call} failed: {codes.words(self._mt5.last_error())}")
        return tuple(found)

    def _check(self, request: requests.Request, *, exit_command: bool) -> None:
        """Let the terminal check the request; its yes promises nothing, its no is final and free."""
        if request["action"] == codes.ACTION_REMOVE:
            return
        checked = self._mt5.order_check(request)
        if checked is None:
            name, outcome = codes.classify_none(self._mt5.last_error()[0])
            told = codes.words(self._mt5.last_error())
            # nothing was sent: an open end here is a failed look, not an unknown order
            raise _Done(Outcome.NOT_ACCEPTED if outcome is Outcome.UNKNOWN else outcome, name, told)
        if checked.retcode not in (0, codes.RETCODE_DONE):
            name, outcome = codes.classify(checked.retcode, exit_command=exit_command)
            raise _Done(Outcome.NOT_ACCEPTED if outcome is Outcome.UNKNOWN else outcome, name, str(checked.comment))

    def _resolve(
        self, command: PlatformCommand, request: requests.Request, answer: Any, *, exit_command: bool
    ) -> OrderResult:
        """Turn a server's answer into a result; fills are taken from deals where they can be read already."""
        name, outcome = codes.classify(int(answer.retcode), exit_command=exit_command)
        position_id = getattr(command, "position_id", None)
        told = str(answer.comment)
        if isinstance(command, OpenOrder) and command.order_type is not OrderType.MARKET:
            if outcome in (Outcome.DONE, Outcome.PARTIAL):
                outcome = Outcome.WORKING  # accepted and waiting
            return OrderResult(outcome, order_id=str(answer.order) if answer.order else None, code=name, message=told)
        if outcome not in (Outcome.DONE, Outcome.PARTIAL) or request["action"] != codes.ACTION_DEAL:
            return OrderResult(
                outcome,
                order_id=str(answer.order) if answer.order else None,
                position_id=position_id,
                code=name,
                message=told,
            )
        return self._filled(command, request, answer, outcome, name, told)

    def _filled(
        self,
        command: PlatformCommand,
        request: requests.Request,
        answer: Any,
        outcome: Outcome,
        name: str,
        told: str,
    ) -> OrderResult:
        facts = self.instrument(self._our_name(str(request["symbol"])))
        deals = self._deals_of(int(answer.order))
        if deals:
            filled = sum((d.lots for d in deals), Decimal(0))
            price = sum((d.price * d.lots for d in deals), Decimal(0)) / filled
            position_id = deals[0].position_id
            ids = tuple(d.deal_id for d in deals)
        else:  # not readable yet: the answer is what we have, the deals are found by the next sweep
            filled, price = convert.lots(answer.volume, facts), convert.price(answer.price, facts)
            position_id = str(getattr(command, "position_id", None) or answer.order)
            ids = (str(answer.deal),) if answer.deal else ()
        asked = convert.lots(float(request["volume"]), facts)
        if outcome is Outcome.DONE and filled < asked:
            outcome = Outcome.PARTIAL
        return OrderResult(
            outcome,
            order_id=str(answer.order),
            position_id=position_id,
            deal_ids=ids,
            filled_lots=filled,
            price=facts.price(facts.to_points(price)),
            protected=self._is_protected(command, position_id),
            code=name,
            message=told,
        )

    def _deals_of(self, order: int) -> list[PlatformDeal]:
        """Return the deals of an order that can be read now; a failed read is an empty answer here, never a proof."""
        try:
            found = self._mt5.history_deals_get(ticket=order)
            return [self._deal(d) for d in found or ()]
        except Exception:  # noqa: BLE001 - the order is done; what it did is read again by the sweep
            log.warning("the deals of order %s could not be read yet", order)
            return []

    def _is_protected(self, command: PlatformCommand, position_id: str) -> bool:
        """Tell whether the levels asked for are on the position; what cannot be read is not confirmed."""
        if not isinstance(command, OpenOrder) or (command.stop_loss is None and command.take_profit is None):
            return True
        try:
            position = self._position(position_id)
        except Exception:  # noqa: BLE001 - not confirmed is the answer
            return False
        if position is None:
            return True  # already closed again, by its own stop or by a person
        levels = ModifyProtection(command.tag, position_id, command.stop_loss, command.take_profit)
        stop_ok = command.stop_loss is None or position.sl != 0
        target_ok = command.take_profit is None or position.tp != 0
        return requests.is_set(levels, position) or (stop_ok and target_ok)

    # --- arithmetic ------------------------------------------------------------------------------------------------

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


class _Done(Exception):  # control flow: the answer is known before anything is sent
    def __init__(self, outcome: Outcome, code: str, message: str, position_id: str | None = None) -> None:
        super().__init__(message)
        self.result = OrderResult(outcome, position_id=position_id, code=code, message=message)


def _values(row: Any) -> tuple[float, ...]:
    """Return time and prices of a rates row, for comparison."""
    return (int(row["time"]), *(float(row[n]) for n in ("open", "high", "low", "close")))

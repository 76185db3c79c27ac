"""MetaTrader 5 behind the ``TradingPlatform`` protocol, over whatever module speaks its interface."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import PlatformError, QuoteError, ReadFailed, RequestError, UnknownSymbol, WrongAccount
from toolkit.execution.ports import (
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
from toolkit.market.platform_clock import PlatformClock
from toolkit.platforms.findings import Finding
from toolkit.platforms.metatrader5 import codes, convert, requests
from toolkit.platforms.metatrader5.market import TerminalMarket

log = logging.getLogger(__name__)

_REASONS_KEPT = 10_000


class MetaTrader5Platform(TerminalMarket):
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
    stops_with_entry
        False for a server that refuses stops on an opening deal (some with market execution do): the entry goes out bare and
        its levels follow at once.
    utc
        The clock of this machine. `now` is its time, but never earlier than what the server's ticks have shown.

    Notes
    -----
    Nothing here waits or resends: `send` makes one attempt and classes the answer; an entry that was filled without its stop
    has it set once more, right after. The package has no time-out; run
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
        stops_with_entry: bool = True,
        utc: Clock = SYSTEM,
    ) -> None:
        super().__init__(
            mt5,
            login=login,
            server=server,
            environment=environment,
            password=password,
            path=path,
            portable=portable,
            timeout_ms=timeout_ms,
            clock=clock,
            symbols=symbols,
            suffix=suffix,
            utc=utc,
        )
        self._deviation = deviation_points
        self._stops_with_entry = stops_with_entry
        self._reasons: dict[str, str] = {}

    def examine(self, symbols: tuple[str, ...] = ()) -> tuple[Finding, ...]:
        """Look at terminal, account, clock and symbols, and never trade; `connect` comes first."""
        from toolkit.platforms.metatrader5.doctor import findings

        return findings(self, symbols)

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

    def history(self, since: datetime, until: datetime) -> History:
        """Return ended orders and deals of the span.

        The server is asked for a day more on both sides, in its own time, and never up to "now": the clocks differ.
        """
        self._identity()
        time = self.server_time
        span = max(0, time.wall(since) - 86_400), time.wall(until) + 2 * 86_400
        orders, deals = self._mt5.history_orders_get(*span), self._mt5.history_deals_get(*span)
        if orders is None or deals is None:
            raise ReadFailed(f"the history could not be read: {codes.words(self._mt5.last_error())}")
        ended = [o for o in self._readable(orders) if since <= time.utc(o.time_done, o.time_done_msc) <= until]
        made = [d for d in deals if d.type in (codes.DEAL_BUY, codes.DEAL_SELL)]  # balance operations are no trades
        found = [self._deal(d) for d in self._readable(made)]
        return History(
            tuple(convert.order(o, self._of(o), time) for o in ended), tuple(d for d in found if since <= d.at <= until)
        )

    def deals_of(self, position_id: str) -> tuple[PlatformDeal, ...]:
        """Return the deals of one position, oldest first; its number is the server's ``identifier``."""
        self._identity()
        return tuple(self._deal(d) for d in self._read("history_deals_get", position=int(position_id)))

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
                if not self._stops_with_entry:
                    request |= {"sl": 0.0, "tp": 0.0}
            else:
                request = requests.open_pending(command, name, info, facts, quote, self.server_time)
            if info.volume_limit:
                held = [*self._read("positions_get", symbol=name), *self._read("orders_get", symbol=name)]
                requests.check_volume_limit(command, held, info, facts)
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
        deals = self._deals_of_order(int(answer.order))
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
            protected=self._is_protected(command, position_id) or self._protect(command, position_id),
            code=name,
            message=told,
        )

    def _deals_of_order(self, order: int) -> list[PlatformDeal]:
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

    def _protect(self, command: PlatformCommand, position_id: str) -> bool:
        """Set the levels of a fill that came without them, once; the account's guard goes on from there."""
        if not isinstance(command, OpenOrder):
            return True
        try:
            position = self._position(position_id)
            levels = ModifyProtection(command.tag, position_id, command.stop_loss, command.take_profit)
            info, quote = self._info(command.symbol), self.quote(command.symbol)
            facts = self.instrument(command.symbol)
            self._mt5.order_send(requests.modify(levels, position, position.symbol, info, facts, quote))
        except Exception:  # noqa: BLE001 - the entry is done; that its stop is missing is the answer
            log.warning("the stop of position %s could not be set right after its fill", position_id)
        return self._is_protected(command, position_id)


class _Done(Exception):  # control flow: the answer is known before anything is sent
    def __init__(self, outcome: Outcome, code: str, message: str, position_id: str | None = None) -> None:
        super().__init__(message)
        self.result = OrderResult(outcome, position_id=position_id, code=code, message=message)

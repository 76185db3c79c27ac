"""One connection to the sandbox: what the server answers, and what it says unasked. No input or output here."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import ToolkitError
from toolkit.execution.ports import (
    CancelOrder,
    ClientTag,
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderType,
    Outcome,
    PlatformCommand,
)
from toolkit.market import Side
from toolkit.platforms.ctrader import codes, convert
from toolkit.platforms.ctrader.messages import HISTORICAL, pb
from toolkit.platforms.simctrader.book import VenueBook
from toolkit.platforms.simulated.desk import Reply
from toolkit.platforms.simulated.records import Deal
from toolkit.platforms.simulated.server_desk import ChangeOrder

if TYPE_CHECKING:
    from google.protobuf.message import Message

Said = list[tuple["Message", str]]

_REFUSALS = {
    "NO_MONEY": "NOT_ENOUGH_MONEY",
    "INVALID_STOPS": "TRADING_BAD_STOPS",
    "INVALID_VOLUME": "TRADING_BAD_VOLUME",
    "INVALID_PRICE": "TRADING_BAD_PRICES",
    "INVALID_EXPIRATION": "TRADING_BAD_EXPIRATION_DATE",
    "UNKNOWN_SYMBOL": "SYMBOL_NOT_FOUND",
    "POSITION_CLOSED": "POSITION_NOT_FOUND",
    "ORDER_NOT_WORKING": "ORDER_NOT_FOUND",
    "FROZEN": "PROTECTION_IS_TOO_CLOSE_TO_MARKET",
    "MARKET_CLOSED": "MARKET_CLOSED",
    "REJECT": "MAX_EXPOSURE_REACHED",
}


class HangUp(Exception):
    """Raised when the server ends the connection instead of answering."""


@dataclass(slots=True)
class Gate:
    """Who may come in: the application and the tokens of its account.

    Attributes
    ----------
    client_id, client_secret
        The application.
    access_token, refresh_token
        The tokens that are good now; a refresh token is good once.
    is_live
        Whether the account is of the live system.
    """

    client_id: str = "sandbox-app"
    client_secret: str = "sandbox-secret"  # noqa: S105 - the sandbox's own, printed for its user
    access_token: str = "sandbox-access-1"  # noqa: S105
    refresh_token: str = "sandbox-refresh-1"  # noqa: S105
    is_live: bool = False
    refreshed: int = 0

    def renew(self, refresh_token: str) -> bool:
        """Replace both tokens, if the refresh token is the good one."""
        if refresh_token != self.refresh_token:
            return False
        self.refreshed += 1
        self.access_token = f"sandbox-access-{secrets.token_hex(8)}"
        self.refresh_token = f"sandbox-refresh-{secrets.token_hex(8)}"
        return True


@dataclass(slots=True)
class Plan:
    """Errors to answer with instead of acting: by kind of request, in order."""

    errors: dict[type[Message], deque[str]] = field(default_factory=dict)

    def add(self, request: type[Message], code: str, times: int = 1) -> None:
        """Answer the next requests of a kind with an error."""
        self.errors.setdefault(request, deque()).extend([code] * times)

    def next(self, request: Message) -> str:
        """Return the error planned for this request, empty for none."""
        planned = self.errors.get(type(request))
        return planned.popleft() if planned else ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests a connection may send in any second; 0 is no limit."""

    per_second: int = 50
    historical_per_second: int = 5


class Dialogue:
    """The server's side of one connection.

    Parameters
    ----------
    book
        The account.
    gate, plan
        Who may come in, and planned errors; shared by all connections.
    limits, clock
        How many requests are taken in a second.
    """

    def __init__(self, book: VenueBook, gate: Gate, plan: Plan, limits: Limits, clock: Clock = SYSTEM) -> None:
        self._book, self._gate, self._plan, self._limits, self._clock = book, gate, plan, limits, clock
        self._app = self._account = False
        self._spots: dict[str, bytes] = {}
        self._times: dict[bool, deque[float]] = {False: deque(), True: deque()}
        self._told = max((d.deal_id for d in book.venue.journal.deals_after(0)), default=0)
        self._handlers: dict[type[Message], Callable[[Any], Iterable[Message]]] = {
            pb.ProtoOAAssetListReq: self._assets,
            pb.ProtoOASymbolsListReq: self._symbols,
            pb.ProtoOASymbolByIdReq: self._symbol_by_id,
            pb.ProtoOASymbolsForConversionReq: self._conversion,
            pb.ProtoOATraderReq: self._trader,
            pb.ProtoOAReconcileReq: self._reconcile,
            pb.ProtoOAGetPositionUnrealizedPnLReq: self._unrealized,
            pb.ProtoOADealListReq: self._deals,
            pb.ProtoOAOrderListReq: self._orders,
            pb.ProtoOAOrderDetailsReq: self._order_details,
            pb.ProtoOADealListByPositionIdReq: self._deals_of,
            pb.ProtoOAExpectedMarginReq: self._margin,
            pb.ProtoOASubscribeSpotsReq: self._subscribe,
            pb.ProtoOAGetTrendbarsReq: self._trendbars,
            pb.ProtoOANewOrderReq: self._new_order,
            pb.ProtoOACancelOrderReq: self._cancel,
            pb.ProtoOAAmendOrderReq: self._amend_order,
            pb.ProtoOAAmendPositionSLTPReq: self._amend,
            pb.ProtoOAClosePositionReq: self._close,
        }

    # --- the door --------------------------------------------------------------------------------------------------

    def receive(self, message: Message | None, mark: str) -> Said:
        """Return what the server says to one message; only the first of several answers carries its mark.

        Raises
        ------
        HangUp
            When it ends the connection instead.
        """
        if isinstance(message, pb.ProtoHeartbeatEvent):
            return []
        if message is None:
            return [(pb.ProtoErrorRes(errorCode="UNSUPPORTED_MESSAGE"), mark)]
        planned = self._plan.next(message) or self._too_often(message)
        if planned:
            return [(self._error(message, planned), mark)]
        try:
            said = list(self._answer(message))
        except _Refused as refused:
            said = [self._error(message, refused.code, refused.words)]
        except (ToolkitError, ValueError) as e:
            said = [self._error(message, "INVALID_REQUEST", str(e))]
        return [(m, mark if i == 0 else "") for i, m in enumerate(said)]

    def _too_often(self, message: Message) -> str:
        now = self._clock.monotonic()
        for historical, limit in ((False, self._limits.per_second), (True, self._limits.historical_per_second)):
            if not limit or (historical and not isinstance(message, HISTORICAL)):
                continue
            times = self._times[historical]
            while times and now - times[0] >= 1.0:
                times.popleft()
            if len(times) >= limit:
                return "REQUEST_FREQUENCY_EXCEEDED"
            times.append(now)
        return ""

    def _error(self, message: Message, code: str, words: str = "") -> Message:
        orders = (
            pb.ProtoOANewOrderReq,
            pb.ProtoOACancelOrderReq,
            pb.ProtoOAAmendOrderReq,
            pb.ProtoOAAmendPositionSLTPReq,
            pb.ProtoOAClosePositionReq,
        )
        if isinstance(message, orders) and code not in codes.TOO_OFTEN | codes.NOT_AUTHORISED:
            return pb.ProtoOAOrderErrorEvent(
                ctidTraderAccountId=self._book.account_id, errorCode=code, description=words
            )
        return pb.ProtoOAErrorRes(errorCode=code, description=words)

    def _answer(self, message: Message) -> Iterable[Message]:
        if isinstance(message, pb.ProtoOAVersionReq):
            return [pb.ProtoOAVersionRes(version="sandbox")]
        if isinstance(message, pb.ProtoOAApplicationAuthReq):
            return [self._let_application_in(message)]
        if not self._app:
            raise _Refused("CH_CLIENT_NOT_AUTHENTICATED")
        if isinstance(message, pb.ProtoOAGetAccountListByAccessTokenReq):
            return [self._accounts(message)]
        if isinstance(message, pb.ProtoOARefreshTokenReq):
            return [self._refresh(message)]
        if isinstance(message, pb.ProtoOAAccountAuthReq):
            return [self._let_account_in(message)]
        handler = self._handlers.get(type(message))
        if handler is None:
            raise _Refused("UNSUPPORTED_MESSAGE")
        if not self._account or getattr(message, "ctidTraderAccountId", 0) != self._book.account_id:
            raise _Refused("ACCOUNT_NOT_AUTHORIZED")
        return handler(message)

    def _let_application_in(self, message: pb.ProtoOAApplicationAuthReq) -> Message:
        if (message.clientId, message.clientSecret) != (self._gate.client_id, self._gate.client_secret):
            raise _Refused("CH_CLIENT_AUTH_FAILURE")
        self._app = True
        return pb.ProtoOAApplicationAuthRes()

    def _check_token(self, token: str) -> None:
        if token != self._gate.access_token:
            raise _Refused("CH_ACCESS_TOKEN_INVALID")

    def _accounts(self, message: pb.ProtoOAGetAccountListByAccessTokenReq) -> Message:
        self._check_token(message.accessToken)
        mine = pb.ProtoOACtidTraderAccount(
            ctidTraderAccountId=self._book.account_id, isLive=self._gate.is_live, traderLogin=self._book.login
        )
        return pb.ProtoOAGetAccountListByAccessTokenRes(
            accessToken=message.accessToken, permissionScope=1, ctidTraderAccount=[mine]
        )

    def _refresh(self, message: pb.ProtoOARefreshTokenReq) -> Message:
        if not self._gate.renew(message.refreshToken):
            raise _Refused("CH_ACCESS_TOKEN_INVALID", "a refresh token works once")
        return pb.ProtoOARefreshTokenRes(
            accessToken=self._gate.access_token,
            tokenType="bearer",
            expiresIn=2_628_000,
            refreshToken=self._gate.refresh_token,
        )

    def _let_account_in(self, message: pb.ProtoOAAccountAuthReq) -> Message:
        self._check_token(message.accessToken)
        if message.ctidTraderAccountId != self._book.account_id:
            raise _Refused("CH_CTID_TRADER_ACCOUNT_NOT_FOUND")
        self._account = True
        return pb.ProtoOAAccountAuthRes(ctidTraderAccountId=self._book.account_id)

    # --- reads -----------------------------------------------------------------------------------------------------

    def _assets(self, _: Message) -> Iterable[Message]:
        digits = self._book.money_digits
        found = [pb.ProtoOAAsset(assetId=i, name=n, digits=digits) for i, n in enumerate(self._book.assets(), 1)]
        yield pb.ProtoOAAssetListRes(ctidTraderAccountId=self._book.account_id, asset=found)

    def _symbols(self, _: Message) -> Iterable[Message]:
        found = [self._book.light_symbol(s) for s in self._book.symbols()]
        yield pb.ProtoOASymbolsListRes(ctidTraderAccountId=self._book.account_id, symbol=found)

    def _symbol_by_id(self, message: pb.ProtoOASymbolByIdReq) -> Iterable[Message]:
        found = [self._book.symbol(self._book.symbol_of(i)) for i in message.symbolId]
        yield pb.ProtoOASymbolByIdRes(ctidTraderAccountId=self._book.account_id, symbol=found)

    def _conversion(self, message: pb.ProtoOASymbolsForConversionReq) -> Iterable[Message]:
        names = self._book.assets()
        chain = self._book.conversion(names[message.firstAssetId - 1], names[message.lastAssetId - 1])
        yield pb.ProtoOASymbolsForConversionRes(
            ctidTraderAccountId=self._book.account_id, symbol=[self._book.light_symbol(s) for s in chain]
        )

    def _trader(self, _: Message) -> Iterable[Message]:
        yield pb.ProtoOATraderRes(ctidTraderAccountId=self._book.account_id, trader=self._book.trader())

    def _reconcile(self, _: Message) -> Iterable[Message]:
        state = self._book.venue.state
        yield pb.ProtoOAReconcileRes(
            ctidTraderAccountId=self._book.account_id,
            position=[self._book.position(p) for p in state.positions.values()],
            order=[self._book.order(o) for o in state.orders.values()],
        )

    def _unrealized(self, _: Message) -> Iterable[Message]:
        yield pb.ProtoOAGetPositionUnrealizedPnLRes(
            ctidTraderAccountId=self._book.account_id,
            positionUnrealizedPnL=self._book.unrealized(),
            moneyDigits=self._book.money_digits,
        )

    @staticmethod
    def _span(message: pb.ProtoOADealListReq | pb.ProtoOAOrderListReq) -> tuple[int, int]:
        if message.toTimestamp < message.fromTimestamp or message.toTimestamp - message.fromTimestamp > codes.WEEK_MS:
            raise _Refused("INCORRECT_BOUNDARIES", "at most a week")
        return message.fromTimestamp * 1_000_000, message.toTimestamp * 1_000_000 + 999_999

    def _deals(self, message: pb.ProtoOADealListReq) -> Iterable[Message]:
        found = self._book.venue.journal.deals(*self._span(message))
        rows = message.maxRows or 1_000
        yield pb.ProtoOADealListRes(
            ctidTraderAccountId=self._book.account_id,
            deal=[self._book.deal(d) for d in found[:rows]],
            hasMore=len(found) > rows,
        )

    def _orders(self, message: pb.ProtoOAOrderListReq) -> Iterable[Message]:
        found = self._book.venue.journal.ended_orders(*self._span(message))
        yield pb.ProtoOAOrderListRes(
            ctidTraderAccountId=self._book.account_id, order=[self._book.order(o) for o in found], hasMore=False
        )

    def _order_details(self, message: pb.ProtoOAOrderDetailsReq) -> Iterable[Message]:
        order = self._book.find_order(message.orderId)
        if order is None:
            raise _Refused("ORDER_NOT_FOUND")
        deals = self._book.venue.journal.deals_of_order(order.order_id)
        yield pb.ProtoOAOrderDetailsRes(
            ctidTraderAccountId=self._book.account_id,
            order=self._book.order(order),
            deal=[self._book.deal(d) for d in deals],
        )

    def _deals_of(self, message: pb.ProtoOADealListByPositionIdReq) -> Iterable[Message]:
        found = self._book.venue.journal.deals_of(message.positionId)
        yield pb.ProtoOADealListByPositionIdRes(
            ctidTraderAccountId=self._book.account_id, deal=[self._book.deal(d) for d in found], hasMore=False
        )

    def _margin(self, message: pb.ProtoOAExpectedMarginReq) -> Iterable[Message]:
        symbol = self._book.symbol_of(message.symbolId)
        yield pb.ProtoOAExpectedMarginRes(
            ctidTraderAccountId=self._book.account_id,
            margin=[self._book.margin(symbol, v) for v in message.volume],
            moneyDigits=self._book.money_digits,
        )

    def _trendbars(self, message: pb.ProtoOAGetTrendbarsReq) -> Iterable[Message]:
        found = self._book.trendbars(
            self._book.symbol_of(message.symbolId),
            message.period,
            message.fromTimestamp,
            message.toTimestamp or 1 << 62,
            message.count,
        )
        yield pb.ProtoOAGetTrendbarsRes(
            ctidTraderAccountId=self._book.account_id,
            period=message.period,
            symbolId=message.symbolId,
            trendbar=found,
        )

    def _subscribe(self, message: pb.ProtoOASubscribeSpotsReq) -> Iterable[Message]:
        names = [self._book.symbol_of(i) for i in message.symbolId]
        if any(n in self._spots for n in names):
            raise _Refused("ALREADY_SUBSCRIBED")
        yield pb.ProtoOASubscribeSpotsRes(ctidTraderAccountId=self._book.account_id)
        for name in names:
            self._spots[name] = b""
        yield from self._fresh_spots()

    def _fresh_spots(self) -> Iterable[Message]:
        for name, last in self._spots.items():
            spot = self._book.spot(name)
            if spot is not None and (seen := spot.SerializeToString()) != last:
                self._spots[name] = seen
                yield spot

    def news(self) -> Said:
        """Return what the server says unasked: quotes that moved, executions nobody on this line asked for."""
        if not self._account:
            return []
        said: Said = [(m, "") for m in self._fresh_spots()]
        for deal in self._book.venue.journal.deals_after(self._told):
            self._told = deal.deal_id
            said.append((self._executed(deal, codes.FILLED), ""))
        return said

    # --- orders ----------------------------------------------------------------------------------------------------

    def _new_order(self, message: pb.ProtoOANewOrderReq) -> Iterable[Message]:
        book = self._book
        symbol = book.symbol_of(message.symbolId)
        side = Side.BUY if message.tradeSide == codes.BUY else Side.SELL
        kinds = {codes.MARKET: OrderType.MARKET, codes.LIMIT: OrderType.LIMIT, codes.STOP: OrderType.STOP}
        kind = kinds.get(message.orderType)
        if kind is None or message.positionId:
            raise _Refused("INVALID_REQUEST", "MARKET, LIMIT or STOP, without a position")
        stop, target = book.level(symbol, message.stopLoss), book.level(symbol, message.takeProfit)
        if kind is OrderType.MARKET:
            if stop is not None or target is not None:
                raise _Refused("INVALID_REQUEST", "a market order takes relative levels only")
            at = book.entry_price(symbol, side.sign)
            if at is None:
                raise _Refused("NO_QUOTES")
            if message.relativeStopLoss:
                stop = at - side.sign * convert.spot(message.relativeStopLoss, book.facts(symbol))
            if message.relativeTakeProfit:
                target = at + side.sign * convert.spot(message.relativeTakeProfit, book.facts(symbol))
        tag = message.clientOrderId or message.comment
        expires = convert.moment(message.expirationTimestamp) if message.expirationTimestamp else None
        reply = self._carry_out(
            OpenOrder(
                ClientTag(tag, 0, message.label),
                symbol,
                side,
                kind,
                book.lots(symbol, message.volume),
                book.level(symbol, message.limitPrice or message.stopPrice),
                stop,
                target,
                expires,
            )
        )
        if reply is None:
            return
        if reply.order_id and message.comment != message.clientOrderId:
            book.client_ids[reply.order_id] = (message.clientOrderId, message.comment)
        order = book.find_order(reply.order_id)
        if order is None:
            raise _Refused("UNKNOWN_ERROR")
        accepted = book.order(order)
        accepted.orderStatus, accepted.executedVolume = codes.ORDER_ACCEPTED, 0
        yield pb.ProtoOAExecutionEvent(
            ctidTraderAccountId=book.account_id, executionType=codes.ACCEPTED, order=accepted
        )
        yield from self._executions(reply)

    def _executions(self, reply: Reply) -> Iterable[Message]:
        """Say what an accepted order did."""
        for deal_id in reply.deal_ids:
            deal = next(d for d in self._book.venue.journal.deals_after(deal_id - 1) if d.deal_id == deal_id)
            self._told = max(self._told, deal_id)
            whole = reply.outcome is Outcome.DONE
            yield self._executed(deal, codes.FILLED if whole else codes.PARTIAL_FILL)
        if reply.outcome is Outcome.PARTIAL:
            order = self._book.find_order(reply.order_id)
            position = self._book.venue.state.positions.get(reply.position_id)
            event = pb.ProtoOAExecutionEvent(ctidTraderAccountId=self._book.account_id, executionType=codes.CANCELLED)
            if order is not None:
                event.order.CopyFrom(self._book.order(order))
            if position is not None:
                event.position.CopyFrom(self._book.position(position))
            yield event

    def _executed(self, deal: Deal, kind: int) -> Message:
        book = self._book
        position = book.venue.state.positions.get(deal.position_id)
        event = pb.ProtoOAExecutionEvent(
            ctidTraderAccountId=book.account_id,
            executionType=kind,
            deal=book.deal(deal),
            position=book.gone(deal) if position is None else book.position(position),
            isServerEvent=deal.reason == "stop_out",
        )
        order = book.find_order(deal.order_id)
        if order is not None:
            event.order.CopyFrom(book.order(order))
        return event

    def _close(self, message: pb.ProtoOAClosePositionReq) -> Iterable[Message]:
        book = self._book
        position = book.venue.state.positions.get(message.positionId)
        if position is None:
            raise _Refused("POSITION_NOT_FOUND")
        held = book.volume(position.symbol, position.steps)
        if message.volume > held:
            raise _Refused("TRADING_BAD_VOLUME", f"at most {held}")
        lots = book.lots(position.symbol, message.volume)
        reply = self._carry_out(ClosePosition(ClientTag("", 0), str(message.positionId), lots))
        if reply is None:
            return
        order = book.find_order(reply.order_id)
        if order is not None:
            accepted = book.order(order)
            accepted.orderStatus, accepted.executedVolume = codes.ORDER_ACCEPTED, 0
            yield pb.ProtoOAExecutionEvent(
                ctidTraderAccountId=book.account_id, executionType=codes.ACCEPTED, order=accepted
            )
        yield from self._executions(reply)

    def _amend_order(self, message: pb.ProtoOAAmendOrderReq) -> Iterable[Message]:
        book = self._book
        order = book.venue.state.orders.get(message.orderId)
        if order is None:
            raise _Refused("ORDER_NOT_FOUND")
        if message.volume and message.volume != book.volume(order.symbol, order.steps):
            raise _Refused(
                "UNABLE_TO_AMEND_ORDER", "the sandbox keeps a waiting order's volume: cancel it, send another"
            )
        price = book.level(order.symbol, message.limitPrice or message.stopPrice)
        if price is None:
            raise _Refused("TRADING_BAD_PRICES", "an amendment states the price, changed or not")
        expires = convert.moment(message.expirationTimestamp) if message.expirationTimestamp else None
        stop, target = book.level(order.symbol, message.stopLoss), book.level(order.symbol, message.takeProfit)
        self._accepted(book.venue.change(ChangeOrder(order.order_id, price, stop, target, expires)), ("NO_CHANGES",))
        yield pb.ProtoOAExecutionEvent(
            ctidTraderAccountId=book.account_id, executionType=codes.REPLACED, order=book.order(order)
        )

    def _amend(self, message: pb.ProtoOAAmendPositionSLTPReq) -> Iterable[Message]:
        book = self._book
        position = book.venue.state.positions.get(message.positionId)
        if position is None:
            raise _Refused("POSITION_NOT_FOUND")
        command = ModifyProtection(
            ClientTag("", 0),
            str(message.positionId),
            book.level(position.symbol, message.stopLoss),
            book.level(position.symbol, message.takeProfit),
        )
        if self._carry_out(command, already=("NO_CHANGES",)) is None:
            return
        yield pb.ProtoOAExecutionEvent(
            ctidTraderAccountId=book.account_id, executionType=codes.REPLACED, position=book.position(position)
        )

    def _cancel(self, message: pb.ProtoOACancelOrderReq) -> Iterable[Message]:
        book = self._book
        reply = self._carry_out(CancelOrder(ClientTag("", 0), str(message.orderId)))
        if reply is None:
            return
        event = pb.ProtoOAExecutionEvent(ctidTraderAccountId=book.account_id, executionType=codes.CANCELLED)
        order = book.find_order(message.orderId)
        if order is not None:
            event.order.CopyFrom(book.order(order))
        yield event

    def _carry_out(self, command: PlatformCommand, already: tuple[str, ...] = ()) -> Reply | None:
        """Let the venue act; None when its answer is lost on the way."""
        return self._accepted(self._book.venue.answer(command), already)

    @staticmethod
    def _accepted(reply: Reply, already: tuple[str, ...] = ()) -> Reply | None:
        if reply.outcome is Outcome.UNKNOWN:
            return None
        if reply.outcome in (Outcome.DONE, Outcome.PARTIAL, Outcome.WORKING) or reply.code in already:
            return reply
        if reply.code == "NO_CONNECTION":
            raise HangUp
        unknown = "NO_QUOTES" if reply.outcome is Outcome.NOT_ACCEPTED else "TRADING_BAD_PRICES"
        raise _Refused(_REFUSALS.get(reply.code, unknown), reply.message)


class _Refused(Exception):
    def __init__(self, code: str, words: str = "") -> None:
        super().__init__(code)
        self.code, self.words = code, words

"""What the sandbox does when it is told to trade, and how it says so: accepted first, then filled, cancelled or replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

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
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.simctrader.book import VenueBook
from toolkit.platforms.simctrader.refusals import REFUSALS, HangUp, Refused
from toolkit.platforms.simulated.book.records import Deal
from toolkit.platforms.simulated.desk import Reply
from toolkit.platforms.simulated.server_desk import ChangeOrder

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: The requests that an order error answers, rather than an error response.
ORDER_REQUESTS = (
    pb.ProtoOANewOrderReq,
    pb.ProtoOACancelOrderReq,
    pb.ProtoOAAmendOrderReq,
    pb.ProtoOAAmendPositionSLTPReq,
    pb.ProtoOAClosePositionReq,
)


class Orders:
    """Carries out the requests that trade.

    Parameters
    ----------
    book
        The account.

    Attributes
    ----------
    told
        The newest deal this connection knows of.
    """

    def __init__(self, book: VenueBook) -> None:
        self._book = book
        self.told = max((d.deal_id for d in book.venue.journal.deals_after(0)), default=0)
        self.handlers: dict[type[Message], Callable[[Any], Iterable[Message]]] = {
            pb.ProtoOANewOrderReq: self._new_order,
            pb.ProtoOACancelOrderReq: self._cancel,
            pb.ProtoOAAmendOrderReq: self._amend_order,
            pb.ProtoOAAmendPositionSLTPReq: self._amend,
            pb.ProtoOAClosePositionReq: self._close,
        }

    def news(self) -> Iterable[Message]:
        """Say which executions came about that nobody on this line asked for."""
        for deal in self._book.venue.journal.deals_after(self.told):
            self.told = deal.deal_id
            yield self._executed(deal, codes.FILLED)

    def _new_order(self, message: pb.ProtoOANewOrderReq) -> Iterable[Message]:
        book = self._book
        symbol = book.symbol_of(message.symbolId)
        side = Side.BUY if message.tradeSide == codes.BUY else Side.SELL
        kinds = {codes.MARKET: OrderType.MARKET, codes.LIMIT: OrderType.LIMIT, codes.STOP: OrderType.STOP}
        kind = kinds.get(message.orderType)
        if kind is None or message.positionId:
            raise Refused("INVALID_REQUEST", "MARKET, LIMIT or STOP, without a position")
        stop, target = book.level(symbol, message.stopLoss), book.level(symbol, message.takeProfit)
        if kind is OrderType.MARKET:
            if stop is not None or target is not None:
                raise Refused("INVALID_REQUEST", "a market order takes relative levels only")
            at = book.entry_price(symbol, side.sign)
            if at is None:
                raise Refused("NO_QUOTES")
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
            raise Refused("UNKNOWN_ERROR")
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
            self.told = max(self.told, deal_id)
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
            raise Refused("POSITION_NOT_FOUND")
        held = book.volume(position.symbol, position.steps)
        if message.volume > held:
            raise Refused("TRADING_BAD_VOLUME", f"at most {held}")
        lots = book.lots(position.symbol, message.volume)
        reply = self._carry_out(
            ClosePosition(self._whose(f"close {message.positionId}"), str(message.positionId), lots)
        )
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
            raise Refused("ORDER_NOT_FOUND")
        if message.volume and message.volume != book.volume(order.symbol, order.steps):
            raise Refused(
                "UNABLE_TO_AMEND_ORDER", "the sandbox keeps a waiting order's volume: cancel it, send another"
            )
        price = book.level(order.symbol, message.limitPrice or message.stopPrice)
        if price is None:
            raise Refused("TRADING_BAD_PRICES", "an amendment states the price, changed or not")
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
            raise Refused("POSITION_NOT_FOUND")
        command = ModifyProtection(
            self._whose(f"levels {message.positionId}"),
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
        reply = self._carry_out(CancelOrder(self._whose(f"cancel {message.orderId}"), str(message.orderId)))
        if reply is None:
            return
        event = pb.ProtoOAExecutionEvent(ctidTraderAccountId=book.account_id, executionType=codes.CANCELLED)
        order = book.find_order(message.orderId)
        if order is not None:
            event.order.CopyFrom(book.order(order))
        yield event

    def _whose(self, about: str) -> ClientTag:
        """Return the tag of an exit where the sandbox's owner has said it (`Sandbox.know`), none otherwise."""
        return self._book.whose.pop(about, ClientTag("", 0))

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
        raise Refused(REFUSALS.get(reply.code, unknown), reply.message)

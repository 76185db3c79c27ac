"""What the sandbox answers when it is asked: account, symbols, book, history, bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from toolkit.platforms.ctrader import codes
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.simctrader.book import VenueBook
from toolkit.platforms.simctrader.refusals import Refused

if TYPE_CHECKING:
    from google.protobuf.message import Message


class Reads:
    """Answers to the requests that change nothing.

    Parameters
    ----------
    book
        The account.
    """

    def __init__(self, book: VenueBook) -> None:
        self._book = book
        self.handlers: dict[type[Message], Callable[[Any], Iterable[Message]]] = {
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
            pb.ProtoOAGetTrendbarsReq: self._trendbars,
        }

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
            raise Refused("INCORRECT_BOUNDARIES", "at most a week")
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
            raise Refused("ORDER_NOT_FOUND")
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

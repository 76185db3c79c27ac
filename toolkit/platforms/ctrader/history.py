"""Deals and orders of the past, complete: by weeks, page after page, every deal with the order that made it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from toolkit.errors import ReadFailed
from toolkit.execution.ports import ClientTag, History, PlatformDeal
from toolkit.platforms.ctrader import codes, convert
from toolkit.platforms.ctrader.asked import Asked, Evidence
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.ctrader.session import Session

_PAGE = 500
_KEPT = 20_000
_MADE = frozenset({codes.DEAL_FILLED, codes.DEAL_PARTIALLY_FILLED})


class Past:
    """What the server remembers of the account.

    Parameters
    ----------
    session
        The account's line.
    asked
        Our closes, whose reasons the server does not keep.
    """

    def __init__(self, session: Session, asked: Asked) -> None:
        self._session, self._asked = session, asked
        self._ended: dict[int, pb.ProtoOAOrder] = {}

    def read(self, since: datetime, until: datetime) -> History:
        """Return the orders that ended and the deals made within the span, both ends included."""
        begin, end = convert.stamp(since), convert.stamp(until)
        # there is nothing before the account: the first read of all goes by weeks from there, not from 1970
        begin = max(begin, self._session.trader.registrationTimestamp)
        orders = {o.orderId: o for o in self._orders(begin, end)}
        for order in orders.values():
            self._keep(order)
        ended = [
            convert.order(o, self._session.symbol_of_id(o.tradeData.symbolId))
            for o in sorted(orders.values(), key=lambda o: o.orderId)
            if o.orderStatus != codes.ORDER_ACCEPTED and begin <= o.utcLastUpdateTimestamp <= end
        ]
        deals = [self._deal(d) for d in self._deals(begin, end)]
        return History(tuple(ended), tuple(d for d in deals if since <= d.at <= until))

    def of_position(self, position_id: str) -> tuple[PlatformDeal, ...]:
        """Return the deals of one position, oldest first."""
        return tuple(self._deal(d) for d in self._deals_of(int(position_id)))

    def _deals_of(self, position_id: int) -> list[pb.ProtoOADeal]:
        s = self._session
        found = s.ask(
            pb.ProtoOADealListByPositionIdReq(ctidTraderAccountId=s.account_id, positionId=position_id),
            pb.ProtoOADealListByPositionIdRes,
        )
        made = [d for d in found.deal if d.dealStatus in _MADE]
        return sorted(made, key=lambda d: (d.executionTimestamp, d.dealId))

    def _deal(self, d: pb.ProtoOADeal) -> PlatformDeal:
        s = self._session
        digits = int(d.moneyDigits) if d.HasField("moneyDigits") else s.money_digits
        order = self._order(d.orderId)
        made = convert.deal(d, order, s.symbol_of_id(d.symbolId), digits)
        if made.entry != "out" or made.reason:
            return made
        if order is not None and not order.closingOrder:
            return replace(made, reason="signal")  # an opposite order of ours on a netted account
        ours = self._asked.of_order(d.orderId) or self._by_evidence(d, order)
        if ours is None:
            return replace(made, reason="manual", tag_text="", magic=0)
        tag, reason = ours
        return replace(made, reason=reason, tag_text=tag.text, magic=0)

    def _by_evidence(self, d: pb.ProtoOADeal, order: pb.ProtoOAOrder | None) -> tuple[ClientTag, str] | None:
        if order is None or order.orderType != codes.MARKET or not self._asked.may_be_ours(d.positionId):
            return None
        held = 0  # by the position, right before the order's first deal
        for other in self._deals_of(d.positionId):
            if other.orderId == d.orderId:
                break
            held += other.filledVolume if other.tradeSide == codes.BUY else -other.filledVolume
        of = self._session.symbol_of_id(d.symbolId)
        return self._asked.of_evidence(
            Evidence(
                order_id=d.orderId,
                position_id=d.positionId,
                placed_at=convert.moment(order.tradeData.openTimestamp),
                would_leave=convert.lots(max(0, abs(held) - order.tradeData.volume), of),
            )
        )

    def _order(self, order_id: int) -> pb.ProtoOAOrder | None:
        known = self._ended.get(order_id)
        if known is not None:
            return known
        s = self._session
        found = s.ask(
            pb.ProtoOAOrderDetailsReq(ctidTraderAccountId=s.account_id, orderId=order_id), pb.ProtoOAOrderDetailsRes
        )
        self._keep(found.order)
        return found.order

    def _keep(self, order: pb.ProtoOAOrder) -> None:
        if order.orderStatus == codes.ORDER_ACCEPTED:
            return  # it can still change
        while len(self._ended) >= _KEPT:
            self._ended.pop(next(iter(self._ended)))
        self._ended[order.orderId] = order

    def _deals(self, begin: int, end: int) -> Iterator[pb.ProtoOADeal]:
        for start, stop in _weeks(begin, end):
            found = [d for d in self._deals_within(start, stop) if d.dealStatus in _MADE]
            yield from sorted(found, key=lambda d: (d.executionTimestamp, d.dealId))

    def _deals_within(self, start: int, stop: int) -> list[pb.ProtoOADeal]:
        s = self._session
        page = s.ask(
            pb.ProtoOADealListReq(
                ctidTraderAccountId=s.account_id, fromTimestamp=start, toTimestamp=stop, maxRows=_PAGE
            ),
            pb.ProtoOADealListRes,
        )
        if not page.hasMore:
            return list(page.deal)
        middle = _middle(start, stop)
        return self._deals_within(start, middle) + self._deals_within(middle + 1, stop)

    def _orders(self, begin: int, end: int) -> Iterator[pb.ProtoOAOrder]:
        for start, stop in _weeks(begin, end):
            yield from self._orders_within(start, stop)

    def _orders_within(self, start: int, stop: int) -> list[pb.ProtoOAOrder]:
        s = self._session
        page = s.ask(
            pb.ProtoOAOrderListReq(ctidTraderAccountId=s.account_id, fromTimestamp=start, toTimestamp=stop),
            pb.ProtoOAOrderListRes,
        )
        if not page.hasMore:
            return list(page.order)
        middle = _middle(start, stop)
        return self._orders_within(start, middle) + self._orders_within(middle + 1, stop)


def _middle(start: int, stop: int) -> int:
    """Return where a span that is too full is cut: nothing is assumed of the order within a page.

    Raises
    ------
    ReadFailed
        When a single millisecond holds more than a page.
    """
    if stop <= start:
        raise ReadFailed(f"the history at {start} ms has more rows than the server sends: it cannot be read completely")
    return (start + stop) // 2


def _weeks(begin: int, end: int) -> Iterator[tuple[int, int]]:
    while begin <= end:
        yield begin, min(end, begin + codes.WEEK_MS)
        begin += codes.WEEK_MS + 1

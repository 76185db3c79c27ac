"""Order requests of the Open API, checked before anything is sent."""

from __future__ import annotations

from decimal import Decimal

from toolkit.errors import RequestError, must_be
from toolkit.execution.ports import ClosePosition, ModifyProtection, OpenOrder, OrderType
from toolkit.market import Quote, Side
from toolkit.platforms.ctrader import codes, convert
from toolkit.platforms.ctrader.messages import pb

CLIENT_ORDER_ID_LIMIT, LABEL_LIMIT = 50, 100


def new_order(command: OpenOrder, of: convert.Symbol, quote: Quote, account_id: int) -> pb.ProtoOANewOrderReq:
    """Return the request of an entry.

    A market order takes its levels as distances from its fill; a pending order takes them as prices.

    Raises
    ------
    RequestError
        When volume, trigger or a level would be refused by the server.
    """
    facts = of.facts
    if not of.enabled:
        raise RequestError(must_be(f"symbol {of.name}", "open for trading", "closed", "trade another symbol"))
    _check_volume(command.lots, of)
    request = pb.ProtoOANewOrderReq(
        ctidTraderAccountId=account_id,
        symbolId=of.symbol_id,
        tradeSide=codes.BUY if command.side is Side.BUY else codes.SELL,
        volume=convert.volume(command.lots, of),
        orderType=codes.MARKET,
        clientOrderId=_text("clientOrderId", command.tag.text, CLIENT_ORDER_ID_LIMIT),
        label=_text("label", convert.label_of(command.tag), LABEL_LIMIT),
        comment=command.tag.text,
    )
    at = quote.price_for(command.side)
    if command.order_type is OrderType.MARKET:
        _check_levels(command.side, quote.price_for(command.side.opposite), command.stop_loss, command.take_profit)
        if command.stop_loss is not None:
            request.relativeStopLoss = convert.relative(abs(at - command.stop_loss))
        if command.take_profit is not None:
            request.relativeTakeProfit = convert.relative(abs(command.take_profit - at))
        return request
    trigger = command.limit_price
    if trigger is None:
        raise RequestError(
            must_be("limit_price", f"given for a {command.order_type} order", "None", "name the price it waits for")
        )
    away = (at - trigger) * command.side.sign
    if (away if command.order_type is OrderType.LIMIT else -away) < facts.point:
        better = "better" if command.order_type is OrderType.LIMIT else "worse"
        raise RequestError(
            must_be("limit_price", f"{better} than the quote {at}", trigger, "move it or send a market order")
        )
    _check_levels(command.side, trigger, command.stop_loss, command.take_profit)
    if command.order_type is OrderType.LIMIT:
        request.orderType, request.limitPrice = codes.LIMIT, float(trigger)
    else:
        request.orderType, request.stopPrice = codes.STOP, float(trigger)
    if command.stop_loss is not None:
        request.stopLoss = float(command.stop_loss)
    if command.take_profit is not None:
        request.takeProfit = float(command.take_profit)
    if command.expires_at is not None:
        request.timeInForce = codes.GOOD_TILL_DATE
        request.expirationTimestamp = convert.stamp(command.expires_at)
    return request


def close(
    command: ClosePosition, position: pb.ProtoOAPosition, of: convert.Symbol, account_id: int
) -> pb.ProtoOAClosePositionReq:
    """Return the request that closes a position or a part of it, never more than remains."""
    held = convert.lots(position.tradeData.volume, of)
    wanted = held if command.lots is None else min(command.lots, held)
    if wanted <= 0 or wanted % of.facts.volume_step:
        raise RequestError(
            must_be("lots to close", f"a multiple of {of.facts.volume_step}", command.lots, "round down to the step")
        )
    return pb.ProtoOAClosePositionReq(
        ctidTraderAccountId=account_id, positionId=position.positionId, volume=convert.volume(wanted, of)
    )


def amend(
    command: ModifyProtection, position: pb.ProtoOAPosition, of: convert.Symbol, quote: Quote, account_id: int
) -> pb.ProtoOAAmendPositionSLTPReq:
    """Return the request that sets a position's levels; a level left out is taken away."""
    side = Side.BUY if position.tradeData.tradeSide == codes.BUY else Side.SELL
    stays = convert.level(position.stopLoss, of.facts) == command.stop_loss
    keeps = convert.level(position.takeProfit, of.facts) == command.take_profit
    _check_levels(
        side,
        quote.price_for(side.opposite),
        None if stays else command.stop_loss,
        None if keeps else command.take_profit,
    )
    request = pb.ProtoOAAmendPositionSLTPReq(ctidTraderAccountId=account_id, positionId=position.positionId)
    if command.stop_loss is not None:
        request.stopLoss = float(command.stop_loss)
    if command.take_profit is not None:
        request.takeProfit = float(command.take_profit)
    return request


def is_set(command: ModifyProtection, position: pb.ProtoOAPosition, of: convert.Symbol) -> bool:
    """Tell whether a position already has exactly these levels."""
    has = convert.level(position.stopLoss, of.facts), convert.level(position.takeProfit, of.facts)
    return has == (command.stop_loss, command.take_profit)


def _check_volume(wanted: Decimal, of: convert.Symbol) -> None:
    facts = of.facts
    if wanted < facts.volume_min or wanted > facts.volume_max or wanted % facts.volume_step:
        raise RequestError(
            must_be(
                "lots",
                f"{facts.volume_min} to {facts.volume_max} in steps of {facts.volume_step}",
                wanted,
                "round down to the step",
            )
        )


def _check_levels(side: Side, reference: Decimal, stop: Decimal | None, target: Decimal | None) -> None:
    """Refuse a level on the wrong side of the price that would trigger it; how near it may lie only the server knows."""
    for what, value, sign in (("stop_loss", stop, side.sign), ("take_profit", target, -side.sign)):
        if value is not None and (reference - value) * sign <= 0:
            where = "below" if sign > 0 else "above"
            raise RequestError(must_be(what, f"{where} {reference}", value, "move it away"))


def _text(what: str, value: str, limit: int) -> str:
    if len(value) > limit:
        raise RequestError(must_be(what, f"at most {limit} characters", len(value), "shorten it"))
    return value

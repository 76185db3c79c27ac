"""``order_check`` and ``order_send`` of the simulated terminal: a request in the package's words becomes a venue command."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

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
from toolkit.market import Instrument, Side
from toolkit.platforms.simmt5.server import Server
from toolkit.platforms.simmt5.surface.arguments import request_tuple
from toolkit.platforms.simmt5.surface.constants import CONSTANTS as C
from toolkit.platforms.simmt5.surface.tuples import make
from toolkit.platforms.simulated.book.records import Order, Position
from toolkit.platforms.simulated.desk import Reply
from toolkit.platforms.simulated.server_desk import ChangeOrder, CloseBy

INVALID = C["TRADE_RETCODE_INVALID"]
DONE = C["TRADE_RETCODE_DONE"]
_CODES = {
    "DONE": DONE,
    "PARTIAL": C["TRADE_RETCODE_DONE_PARTIAL"],
    "PLACED": DONE,  # a pending order is acknowledged as done
    "REJECT": C["TRADE_RETCODE_REJECT"],
    "REQUOTE": C["TRADE_RETCODE_REQUOTE"],
    "MARKET_CLOSED": C["TRADE_RETCODE_MARKET_CLOSED"],
    "INVALID_VOLUME": C["TRADE_RETCODE_INVALID_VOLUME"],
    "INVALID_STOPS": C["TRADE_RETCODE_INVALID_STOPS"],
    "INVALID_PRICE": C["TRADE_RETCODE_INVALID_PRICE"],
    "INVALID_EXPIRATION": C["TRADE_RETCODE_INVALID_EXPIRATION"],
    "NO_MONEY": C["TRADE_RETCODE_NO_MONEY"],
    "NO_QUOTE": C["TRADE_RETCODE_PRICE_OFF"],
    "NO_CONVERSION_RATE": C["TRADE_RETCODE_REJECT"],
    "FROZEN": C["TRADE_RETCODE_FROZEN"],
    "POSITION_CLOSED": C["TRADE_RETCODE_POSITION_CLOSED"],
    "NO_CHANGES": C["TRADE_RETCODE_NO_CHANGES"],
    "ORDER_NOT_WORKING": C["TRADE_RETCODE_INVALID_ORDER"],
    "UNKNOWN_SYMBOL": INVALID,
    "INVALID": INVALID,
    "TIMEOUT": C["TRADE_RETCODE_TIMEOUT"],
}
_PENDING = {
    2: (OrderType.LIMIT, Side.BUY),
    3: (OrderType.LIMIT, Side.SELL),
    4: (OrderType.STOP, Side.BUY),
    5: (OrderType.STOP, Side.SELL),
}


class Wrong(Exception):  # control flow: the server's refusal of a request
    """Carries a retcode and a comment."""

    def __init__(self, retcode: int, comment: str) -> None:
        super().__init__(comment)
        self.retcode, self.comment = retcode, comment


def to_command(request: Mapping[str, Any], server: Server) -> PlatformCommand | ChangeOrder | CloseBy:
    """Return the venue command of a request that passed the package's argument checks.

    Raises
    ------
    Wrong
        With the retcode a server gives for what is not right.
    """
    tag = ClientTag(request.get("comment", ""), request.get("magic", 0))
    action = request.get("action", 0)
    if action == C["TRADE_ACTION_REMOVE"]:
        return CancelOrder(tag, str(request.get("order", 0)))
    if action == C["TRADE_ACTION_MODIFY"]:
        return _change_order(request, server)
    if action == C["TRADE_ACTION_CLOSE_BY"]:
        first = _ticket(request, "position", server)
        return CloseBy(tag, first.position_id, _ticket(request, "position_by", server).position_id)
    symbol = server.symbols().get(request.get("symbol", ""))
    if symbol is None:
        raise Wrong(INVALID, "Unknown symbol")
    facts = server.facts(symbol)
    if action == C["TRADE_ACTION_SLTP"]:
        position = _position(request, server, symbol)
        stop, target = _level(request, "sl", facts), _level(request, "tp", facts)
        return ModifyProtection(tag, str(position.position_id), stop, target)
    if action == C["TRADE_ACTION_DEAL"]:
        return _deal(request, tag, symbol, facts, server)
    if action == C["TRADE_ACTION_PENDING"]:
        return _pending(request, tag, symbol, facts, server)
    raise Wrong(INVALID, "Invalid request")


def _change_order(request: Mapping[str, Any], server: Server) -> ChangeOrder:
    """Read a change of a working order: what is left out is taken away, the price must be there."""
    number = request.get("order", 0)
    order = server.venue.state.orders.get(number)
    if order is None:
        raise Wrong(C["TRADE_RETCODE_INVALID_ORDER"], "Order doesn't exist")
    facts = server.facts(order.symbol)
    return ChangeOrder(
        number,
        _on_grid(request.get("price", 0.0), facts, C["TRADE_RETCODE_INVALID_PRICE"]),
        _level(request, "sl", facts),
        _level(request, "tp", facts),
        _expiry(request, server),
    )


def _expiry(request: Mapping[str, Any], server: Server) -> datetime | None:
    expiration = request.get("expiration", 0)
    timed = request.get("type_time", 0) == C["ORDER_TIME_SPECIFIED"]
    if timed != bool(expiration):
        raise Wrong(C["TRADE_RETCODE_INVALID_EXPIRATION"], "Invalid expiration")
    return server.time.utc(expiration) if expiration else None


def _deal(
    request: Mapping[str, Any], tag: ClientTag, symbol: str, facts: Instrument, server: Server
) -> PlatformCommand:
    kind = request.get("type", -1)
    if kind not in (0, 1):
        raise Wrong(INVALID, "Invalid request")
    side = Side.BUY if kind == 0 else Side.SELL
    _check_filling(request.get("type_filling", 0), server)
    lots = _volume(request)
    if request.get("position"):
        position = _position(request, server, symbol)
        if position.sign == side.sign:
            raise Wrong(INVALID, "Invalid order type for this position")
        if lots > facts.lots(position.steps) or lots <= 0:
            raise Wrong(C["TRADE_RETCODE_INVALID_CLOSE_VOLUME"], "Invalid close volume")
        held = (p for p in server.venue.state.positions.values() if p.symbol == symbol)
        if server.fifo_close and position is not min(held, key=lambda p: p.position_id):
            raise Wrong(C["TRADE_RETCODE_FIFO_CLOSE"], "Positions must be closed in the order they were opened")
        return ClosePosition(tag, str(position.position_id), lots, reason="signal")
    _check_direction(side, symbol, server)
    _check_limits(side, lots, symbol, facts, server)
    if not server.stops_with_entry and (request.get("sl") or request.get("tp")):
        raise Wrong(C["TRADE_RETCODE_INVALID_STOPS"], "Invalid stops")
    return OpenOrder(
        tag,
        symbol,
        side,
        OrderType.MARKET,
        lots,
        stop_loss=_level(request, "sl", facts),
        take_profit=_level(request, "tp", facts),
    )


def _pending(
    request: Mapping[str, Any], tag: ClientTag, symbol: str, facts: Instrument, server: Server
) -> PlatformCommand:
    found = _PENDING.get(request.get("type", -1))
    if found is None:
        raise Wrong(INVALID, "Invalid request")
    if request.get("type_filling", 0) != C["ORDER_FILLING_RETURN"]:
        raise Wrong(C["TRADE_RETCODE_INVALID_FILL"], "Unsupported filling mode")
    _check_direction(found[1], symbol, server)
    _check_limits(found[1], _volume(request), symbol, facts, server)
    if len(server.venue.state.orders) >= server.limit_orders:
        raise Wrong(C["TRADE_RETCODE_LIMIT_ORDERS"], "Orders limit reached")
    return OpenOrder(
        tag,
        symbol,
        found[1],
        found[0],
        _volume(request),
        limit_price=_on_grid(request.get("price", 0.0), facts, C["TRADE_RETCODE_INVALID_PRICE"]),
        stop_loss=_level(request, "sl", facts),
        take_profit=_level(request, "tp", facts),
        expires_at=_expiry(request, server),
    )


def _position(request: Mapping[str, Any], server: Server, symbol: str) -> Position:
    position = _ticket(request, "position", server)
    if position.symbol != symbol:
        raise Wrong(INVALID, "Symbol does not match the position")
    return position


def _ticket(request: Mapping[str, Any], name: str, server: Server) -> Position:
    """Find a position by its ticket of today; the identifier is no ticket."""
    ticket = request.get(name, 0)
    for position in server.venue.state.positions.values():
        if position.ticket == ticket:
            return position
    raise Wrong(C["TRADE_RETCODE_POSITION_CLOSED"], "Position doesn't exist")


def _check_filling(filling: int, server: Server) -> None:
    allowed = {C["ORDER_FILLING_RETURN"]}
    if server.exemode == C["SYMBOL_TRADE_EXECUTION_MARKET"] and server.filling_mode:
        allowed = {
            number
            for bit, number in ((1, C["ORDER_FILLING_FOK"]), (2, C["ORDER_FILLING_IOC"]))
            if server.filling_mode & bit
        }
    if filling not in allowed:
        raise Wrong(C["TRADE_RETCODE_INVALID_FILL"], "Unsupported filling mode")


def _check_limits(side: Side, lots: Decimal, symbol: str, facts: Instrument, server: Server) -> None:
    state = server.venue.state
    records: list[Position | Order] = [*state.positions.values(), *state.orders.values()]
    steps = sum(r.steps for r in records if r.symbol == symbol and r.sign == side.sign)
    if server.volume_limit and facts.lots(steps) + lots > Decimal(repr(server.volume_limit)):
        raise Wrong(C["TRADE_RETCODE_LIMIT_VOLUME"], "Volume limit reached")


def _check_direction(side: Side, symbol: str, server: Server) -> None:
    mode = server.trade_mode.get(symbol, C["SYMBOL_TRADE_MODE_FULL"])
    if mode == C["SYMBOL_TRADE_MODE_DISABLED"]:
        raise Wrong(C["TRADE_RETCODE_TRADE_DISABLED"], "Trade disabled")
    if mode == C["SYMBOL_TRADE_MODE_CLOSEONLY"]:
        raise Wrong(C["TRADE_RETCODE_CLOSE_ONLY"], "Only position closing is allowed")
    if mode == C["SYMBOL_TRADE_MODE_LONGONLY"] and side is Side.SELL:
        raise Wrong(C["TRADE_RETCODE_LONG_ONLY"], "Only long positions allowed")
    if mode == C["SYMBOL_TRADE_MODE_SHORTONLY"] and side is Side.BUY:
        raise Wrong(C["TRADE_RETCODE_SHORT_ONLY"], "Only short positions allowed")


def _decimal(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _volume(request: Mapping[str, Any]) -> Decimal:
    """Return the volume as a server keeps it, with eight decimals: 0.1 + 0.2 is 0.3."""
    return round(_decimal(request.get("volume", 0.0)), 8)


def _level(request: Mapping[str, Any], name: str, facts: Instrument) -> Decimal | None:
    value = request.get(name, 0.0)
    return None if value == 0 else _on_grid(value, facts, C["TRADE_RETCODE_INVALID_STOPS"])


def _on_grid(value: float, facts: Instrument, retcode: int) -> Decimal:
    exact = _decimal(value)
    if exact % facts.point:
        raise Wrong(retcode, "Invalid price")
    return exact


def refused(request: Mapping[str, Any], wrong: Wrong) -> Any:
    """Return the ``OrderSendResult`` of a refusal."""
    return _result(request, wrong.retcode, wrong.comment)


def answered(request: Mapping[str, Any], reply: Reply, facts: Instrument | None, bid: float, ask: float) -> Any:
    """Return the ``OrderSendResult`` of what the venue did."""
    retcode = _CODES.get(reply.code)
    if retcode is None:
        retcode = C["TRADE_RETCODE_ERROR"] if reply.outcome is Outcome.UNKNOWN else C["TRADE_RETCODE_REJECT"]
    volume = float(facts.lots(reply.steps)) if facts else 0.0
    price = float(facts.price(reply.price_points)) if facts else 0.0
    return _result(
        request,
        retcode,
        "Request executed" if retcode == DONE else reply.message[:60],
        order=reply.order_id,
        deal=reply.deal_ids[0] if reply.deal_ids else 0,
        volume=volume,
        price=price,
        bid=bid,
        ask=ask,
    )


def _result(request: Mapping[str, Any], retcode: int, comment: str, **more: Any) -> Any:
    numbers = {"volume": 0.0, "price": 0.0, "bid": 0.0, "ask": 0.0, **more}
    return make("OrderSendResult", retcode=retcode, comment=comment, request=request_tuple(request), **numbers)


def checked(request: Mapping[str, Any], retcode: int, comment: str, account: Any) -> Any:
    """Return an ``OrderCheckResult``; success is retcode 0, not 10009."""
    return make(
        "OrderCheckResult",
        retcode=retcode,
        comment=comment,
        balance=account.balance,
        equity=account.equity,
        profit=account.profit,
        margin=account.margin,
        margin_free=account.margin_free,
        margin_level=account.margin_level,
        request=request_tuple(request),
    )


def check_code(reply: Reply) -> int:
    """Return the retcode a check gives for the venue's refusal."""
    return _CODES.get(reply.code, C["TRADE_RETCODE_REJECT"])

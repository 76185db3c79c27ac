"""Order requests for the package: a real dict of plain float, int and str, checked before anything is sent.

The package refuses a Decimal, a numpy integer or a comment of 30 characters by answering None without a word, so
every value is cast here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from toolkit.errors import RequestError, must_be
from toolkit.execution.ports import ClientTag, ClosePosition, ModifyProtection, OpenOrder, OrderType
from toolkit.market import Instrument, Quote, Side
from toolkit.platforms.metatrader5 import codes
from toolkit.platforms.metatrader5.convert import ServerTime, lots

Request = dict[str, float | int | str]

#: The package refuses a longer comment or symbol, silently.
TEXT_LIMIT = 29
_MAGIC_LIMIT = 1 << 63

_PENDING = {
    (OrderType.LIMIT, Side.BUY): codes.ORDER_BUY_LIMIT,
    (OrderType.LIMIT, Side.SELL): codes.ORDER_SELL_LIMIT,
    (OrderType.STOP, Side.BUY): codes.ORDER_BUY_STOP,
    (OrderType.STOP, Side.SELL): codes.ORDER_SELL_STOP,
}


def filling(info: Any) -> int:
    """Return the filling of a market order by the symbol's mask: all or nothing first, then what is left dies."""
    if info.trade_exemode != codes.EXECUTION_MARKET or not info.filling_mode:
        return codes.FILLING_RETURN
    if info.filling_mode & codes.ALLOWS_FOK:
        return codes.FILLING_FOK
    return codes.FILLING_IOC if info.filling_mode & codes.ALLOWS_IOC else codes.FILLING_RETURN


def open_market(command: OpenOrder, name: str, info: Any, facts: Instrument, quote: Quote, deviation: int) -> Request:
    """Return the request of a market entry."""
    check_volume(command.lots, info, facts)
    check_side(command.side, info)
    check_levels(command.side, quote, command.stop_loss, command.take_profit, info, facts)
    return {
        "action": codes.ACTION_DEAL,
        "symbol": text("symbol", name),
        "volume": float(command.lots),
        "type": codes.ORDER_BUY if command.side is Side.BUY else codes.ORDER_SELL,
        "price": float(quote.price_for(command.side)),
        "sl": float(command.stop_loss or 0),
        "tp": float(command.take_profit or 0),
        "deviation": int(command.max_deviation_points or deviation),
        "type_filling": filling(info),
        "type_time": codes.TIME_GTC,
        **identity(command.tag),
    }


def open_pending(
    command: OpenOrder, name: str, info: Any, facts: Instrument, quote: Quote, time: ServerTime
) -> Request:
    """Return the request of a LIMIT or STOP entry."""
    check_volume(command.lots, info, facts)
    check_side(command.side, info)
    trigger = command.limit_price
    if trigger is None:
        raise RequestError(
            must_be("limit_price", f"given for a {command.order_type} order", "None", "name the price it waits for")
        )
    away = (quote.price_for(command.side) - trigger) * command.side.sign
    away = away if command.order_type is OrderType.LIMIT else -away
    least = facts.point * int(info.trade_stops_level)
    if away <= 0 or away < least:
        better = "better" if command.order_type is OrderType.LIMIT else "worse"
        raise RequestError(
            must_be(
                "limit_price",
                f"{better} than the quote by {max(least, facts.point)} or more",
                trigger,
                "move it or send a market order",
            )
        )
    check_levels(command.side, Quote(trigger, trigger), command.stop_loss, command.take_profit, info, facts)
    return {
        "action": codes.ACTION_PENDING,
        "symbol": text("symbol", name),
        "volume": float(command.lots),
        "type": _PENDING[command.order_type, command.side],
        "price": float(trigger),
        "sl": float(command.stop_loss or 0),
        "tp": float(command.take_profit or 0),
        "type_filling": codes.FILLING_RETURN,
        "type_time": codes.TIME_SPECIFIED if command.expires_at else codes.TIME_GTC,
        "expiration": 0 if command.expires_at is None else time.wall(command.expires_at),
        **identity(command.tag),
    }


def close(
    command: ClosePosition, position: Any, name: str, info: Any, facts: Instrument, quote: Quote, deviation: int
) -> Request:
    """Return the request that closes a position or a part of it, pinned to its ticket, never more than remains."""
    held = facts.lots(int((Decimal(repr(float(position.volume))) / facts.volume_step).to_integral_value()))
    volume = held if command.lots is None else min(command.lots, held)
    if volume <= 0 or volume % facts.volume_step:
        raise RequestError(
            must_be("lots to close", f"a multiple of {facts.volume_step}", command.lots, "round down to the step")
        )
    side = Side.SELL if position.type == codes.ORDER_BUY else Side.BUY
    return {
        "action": codes.ACTION_DEAL,
        "position": int(position.ticket),
        "symbol": text("symbol", name),
        "volume": float(volume),
        "type": codes.ORDER_BUY if side is Side.BUY else codes.ORDER_SELL,
        "price": float(quote.price_for(side)),
        "deviation": int(deviation),
        "type_filling": filling(info),
        "type_time": codes.TIME_GTC,
        **identity(command.tag),
    }


def modify(command: ModifyProtection, position: Any, name: str, info: Any, facts: Instrument, quote: Quote) -> Request:
    """Return the request that sets a position's levels; a level that stays as it is may lie nearer than a new one."""
    side = Side.BUY if position.type == codes.ORDER_BUY else Side.SELL
    stays_sl, stays_tp = _same(command.stop_loss, position.sl), _same(command.take_profit, position.tp)
    check_levels(
        side, quote, None if stays_sl else command.stop_loss, None if stays_tp else command.take_profit, info, facts
    )
    return {
        "action": codes.ACTION_SLTP,
        "position": int(position.ticket),
        "symbol": text("symbol", name),
        "sl": float(command.stop_loss or 0),
        "tp": float(command.take_profit or 0),
        **identity(command.tag),
    }


def remove(order_id: str, tag: ClientTag) -> Request:
    """Return the request that cancels a pending order."""
    return {"action": codes.ACTION_REMOVE, "order": int(order_id), **identity(tag)}


def is_set(command: ModifyProtection, position: Any) -> bool:
    """Tell whether a position already has exactly these levels."""
    return _same(command.stop_loss, position.sl) and _same(command.take_profit, position.tp)


def _same(wanted: Decimal | None, has: float) -> bool:
    return (wanted or Decimal(0)) == Decimal(repr(float(has)))


def identity(tag: ClientTag) -> Request:
    """Return our name for the order: the number stays on order, deal and position, the comment may be changed."""
    if not 0 < tag.magic < _MAGIC_LIMIT:
        raise RequestError(must_be("magic", "1 to 2**63 - 1", tag.magic, "derive it from the idempotency key"))
    return {"magic": int(tag.magic), "comment": text("comment", tag.text)}


def text(what: str, value: str) -> str:
    """Return a text the package takes: ASCII, at most 29 characters."""
    if len(value) > TEXT_LIMIT or not value.isascii():
        raise RequestError(must_be(what, f"ASCII of at most {TEXT_LIMIT} characters", repr(value), "shorten it"))
    return str(value)


def check_volume(wanted: Decimal, info: Any, facts: Instrument) -> None:
    """Refuse a volume the server would refuse; sizes are rounded down by the sizing, not here."""
    if wanted < facts.volume_min or wanted > facts.volume_max or wanted % facts.volume_step:
        raise RequestError(
            must_be(
                "lots",
                f"{facts.volume_min} to {facts.volume_max} in steps of {facts.volume_step}",
                wanted,
                "round down to the step",
            )
        )


def check_volume_limit(command: OpenOrder, held: Iterable[Any], info: Any, facts: Instrument) -> None:
    """Refuse an entry that would take the symbol's positions and orders of one side beyond the server's limit."""
    buys = command.side is Side.BUY
    same = [r for r in held if (r.type % 2 == 0) is buys]  # the package numbers buys even, sells odd
    volumes = [float(getattr(r, "volume_current", 0) or getattr(r, "volume", 0)) for r in same]
    there = sum((lots(volume, facts) for volume in volumes), Decimal(0))
    limit = Decimal(repr(float(info.volume_limit)))
    if there + command.lots > limit:
        said = f"{command.lots} with {there} there already"
        raise RequestError(must_be("lots", f"at most {limit} per symbol and side", said, "trade less"))


def check_side(side: Side, info: Any) -> None:
    """Refuse a direction the symbol is not open for."""
    mode = info.trade_mode
    allowed = mode == codes.TRADE_FULL or (mode, side) in (
        (codes.TRADE_LONG_ONLY, Side.BUY),
        (codes.TRADE_SHORT_ONLY, Side.SELL),
    )
    if not allowed:
        raise RequestError(must_be("symbol", f"open for {side} entries", f"trade mode {mode}", "trade another symbol"))


def check_levels(
    side: Side, quote: Quote, stop: Decimal | None, target: Decimal | None, info: Any, facts: Instrument
) -> None:
    """Refuse a stop or target on the wrong side, or nearer than the stops level, of the price that would trigger it.

    A stops level of 0 may mean "dynamic"; then only the server knows and its answer decides.
    """
    reference = quote.price_for(side.opposite)
    least = max(facts.point * int(info.trade_stops_level), facts.point)
    for what, value, sign in (("stop_loss", stop, side.sign), ("take_profit", target, -side.sign)):
        if value is not None and (reference - value) * sign < least:
            where = "below" if sign > 0 else "above"
            raise RequestError(must_be(what, f"{where} {reference} by {least} or more", value, "move it away"))

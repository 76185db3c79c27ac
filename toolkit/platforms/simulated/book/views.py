"""The venue's integer records as the records of ``execution.ports``: Decimal prices, lots and money, aware UTC."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, cast

from toolkit.clock import from_ns
from toolkit.execution.ports import PlatformDeal, PlatformOrder, PlatformPosition
from toolkit.market import Instrument, Side
from toolkit.platforms.simulated.book.records import Deal, Order, Position
from toolkit.simulation.account import PaperAccount


def side_of(sign: int) -> Side:
    """Return the side of a sign."""
    return Side.BUY if sign > 0 else Side.SELL


def _price(instrument: Instrument, points: int) -> Decimal | None:
    return instrument.price(points) if points else None


def position(p: Position, instrument: Instrument, account: PaperAccount, profit: int) -> PlatformPosition:
    """Show an open position; ``profit`` in minor units."""
    return PlatformPosition(
        position_id=str(p.position_id),
        ticket=str(p.ticket),
        symbol=p.symbol,
        side=side_of(p.sign),
        lots=instrument.lots(p.steps),
        open_price=instrument.price(p.open_points),
        opened_at=from_ns(p.opened_ns),
        stop_loss=_price(instrument, p.stop_points),
        take_profit=_price(instrument, p.target_points),
        swap=account.money(p.swap),
        profit=account.money(profit),
        tag_text=p.tag,
        magic=p.magic,
        label=p.label,
    )


def order(o: Order, instrument: Instrument) -> PlatformOrder:
    """Show an order, working or done."""
    return PlatformOrder(
        order_id=str(o.order_id),
        symbol=o.symbol,
        side=side_of(o.sign),
        order_type=o.order_type,
        lots=instrument.lots(o.steps),
        filled_lots=instrument.lots(o.filled_steps),
        state=o.state,
        placed_at=from_ns(o.placed_ns),
        limit_price=_price(instrument, o.price_points),
        stop_loss=_price(instrument, o.stop_points),
        take_profit=_price(instrument, o.target_points),
        expires_at=from_ns(o.expires_ns) if o.expires_ns else None,
        position_id=str(o.position_id) if o.position_id else None,
        tag_text=o.tag,
        magic=o.magic,
        label=o.label,
    )


def deal(d: Deal, instrument: Instrument, account: PaperAccount) -> PlatformDeal:
    """Show an execution."""
    return PlatformDeal(
        deal_id=str(d.deal_id),
        order_id=str(d.order_id),
        position_id=str(d.position_id),
        symbol=d.symbol,
        side=side_of(d.sign),
        entry=cast(Literal["in", "out", "inout"], "out" if d.entry == "out_by" else d.entry),
        lots=instrument.lots(d.steps),
        price=instrument.price(d.price_points),
        profit=account.money(d.profit),
        commission=account.money(d.commission),
        swap=account.money(d.swap),
        at=from_ns(d.at_ns),
        reason=d.reason,
        tag_text=d.tag,
        magic=d.magic,
        label=d.label,
        stop_loss=_price(instrument, d.stop_points),
        take_profit=_price(instrument, d.target_points),
    )

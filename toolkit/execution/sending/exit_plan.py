"""What an exit has to do, from the position as it is now: exits name a target, so asking twice changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.execution.ledger.records import IntentRecord, TradeRecord
from toolkit.execution.ports import (
    Book,
    CancelOrder,
    ClosePosition,
    ModifyProtection,
    PlatformCommand,
    PlatformPosition,
)
from toolkit.execution.request import AnyRequest, CancelRequest, CloseRequest, ModifyRequest, ReduceRequest
from toolkit.market import Side


@dataclass(frozen=True, slots=True)
class AlreadySo:
    """The target is met; nothing is sent. ``position`` is there when its levels were asked for."""

    message: str
    position: PlatformPosition | None = None


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The position is not what the exit was made for; it is never touched."""

    message: str


ExitPlan = PlatformCommand | AlreadySo | NotOurs


def plan_exit(intent: IntentRecord, request: AnyRequest, book: Book, trade: TradeRecord | None) -> ExitPlan:
    """Compare the target of an exit with the book.

    Parameters
    ----------
    trade
        Our trade of the position, or None when we have none.
    """
    if isinstance(request, CancelRequest):
        order = next((o for o in book.orders if o.order_id == request.order_id), None)
        if order is None:
            return AlreadySo(f"order {request.order_id} does not work any more")
        return CancelOrder(intent.tag, request.order_id)
    if not isinstance(request, CloseRequest | ReduceRequest | ModifyRequest):
        return NotOurs(f"{type(request).__name__} is not an exit")
    position = next((p for p in book.positions if p.position_id == request.position_id), None)
    if position is None:
        return AlreadySo(f"position {request.position_id} is not open any more")
    if trade is None or trade.live_run_id != intent.live_run_id:
        return NotOurs(f"position {request.position_id} does not belong to this run: its owner closes it")
    if position.symbol != request.symbol or position.side is not request.direction:
        return NotOurs(
            f"position {request.position_id} is {position.side.value} {position.symbol} now, the exit was made for "
            f"{request.direction.value} {request.symbol}"
        )
    if isinstance(request, CloseRequest):
        return ClosePosition(intent.tag, position.position_id, None, request.metadata.reason or "signal")
    if isinstance(request, ReduceRequest):
        excess = position.lots - request.remaining_lots
        if excess <= 0:
            return AlreadySo(
                f"position {request.position_id} has {position.lots:f} lots, {request.remaining_lots:f} asked"
            )
        return ClosePosition(intent.tag, position.position_id, excess, request.metadata.reason or "signal")
    stop = request.stop_loss if request.stop_loss is not None else position.stop_loss
    if intent.terms.get("only_tighten") and stop is not None and position.stop_loss is not None:
        stop = max(stop, position.stop_loss) if position.side is Side.BUY else min(stop, position.stop_loss)
    target = request.take_profit if request.take_profit is not None else position.take_profit
    if request.remove_take_profit:
        target = None
    if (stop, target) == (position.stop_loss, position.take_profit):
        return AlreadySo(f"position {request.position_id} has these levels", position)
    return ModifyProtection(intent.tag, position.position_id, stop, target)

"""What a trading server can do beside the toolkit's own commands: change a working order, close one position by another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from toolkit.clock import to_ns
from toolkit.errors import QuoteError
from toolkit.execution.ports import ClientTag, OrderType, Outcome
from toolkit.platforms.simulated.book.records import Order, Position
from toolkit.platforms.simulated.desk import OrderDesk, Refused, Reply
from toolkit.simulation import rules


@dataclass(frozen=True, slots=True)
class ChangeOrder:
    """Give a working order another price, other levels and another expiry; None takes a level or the expiry away."""

    order_id: int
    price: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class CloseBy:
    """Close a position by an opposite one of the same symbol: of the larger one the difference stays."""

    tag: ClientTag
    position_id: int
    by_position_id: int


class ServerDesk(OrderDesk):
    """The order desk with the commands that only a server's own clients send."""

    def change(self, command: ChangeOrder | CloseBy, ns: int) -> Reply:
        """Carry one of them out; a refusal is a reply."""
        try:
            return self._close_by(command) if isinstance(command, CloseBy) else self._change_order(command, ns)
        except Refused as refused:
            return refused.reply
        except QuoteError as error:
            return Reply(Outcome.FINAL, "INVALID_PRICE", str(error))

    def _change_order(self, command: ChangeOrder, ns: int) -> Reply:
        order = self._state.orders.get(command.order_id)
        if order is None:
            return Reply(Outcome.ALREADY, "ORDER_NOT_WORKING", f"order {command.order_id} is not working")
        instrument = self._prices.instrument(order.symbol)
        wanted = (
            instrument.to_points(command.price, on_grid=True),
            self._level(instrument, command.stop_loss),
            self._level(instrument, command.take_profit),
            0 if command.expires_at is None else to_ns(command.expires_at),
        )
        reply = Reply(Outcome.DONE, "DONE", "the order is changed", order.order_id, symbol=order.symbol)
        if wanted == (order.price_points, order.stop_points, order.target_points, order.expires_ns):
            reply.outcome, reply.code, reply.message = Outcome.ALREADY, "NO_CHANGES", "the order is already so"
            return reply
        if wanted[3] and wanted[3] <= ns:
            raise Refused(
                Outcome.FINAL, "INVALID_EXPIRATION", "expires_at must be after the venue's clock: let it live"
            )
        bid, ask = self._quote(order.symbol, ns)
        self._check_freeze(rules.entry_quote(order.sign, bid, ask), order.price_points)
        before = order.price_points, order.stop_points, order.target_points, order.expires_ns
        _set(order, wanted)
        try:
            self._check_trigger(order, bid, ask)
        except Refused:
            _set(order, before)
            raise
        self._ledger.put_order(order)
        return reply

    def _close_by(self, command: CloseBy) -> Reply:
        first, second = (self._held(number) for number in (command.position_id, command.by_position_id))
        if not self._ledger.hedging or first.symbol != second.symbol or first.sign == second.sign:
            raise Refused(
                Outcome.FINAL, "INVALID", "the positions must be opposite ones of a symbol on a hedging account"
            )
        steps, price = min(first.steps, second.steps), second.open_points
        order = Order(
            order_id=self._ledger.next_id(),
            action="close_by",
            symbol=first.symbol,
            sign=-first.sign,
            order_type=OrderType.MARKET,
            steps=steps,
            filled_steps=0,
            state="filled",
            placed_ns=self._state.clock_ns,
            done_ns=self._state.clock_ns,
            tag=command.tag.text,
            sent_tag=command.tag.text,
            magic=command.tag.magic,
        )
        deals = [
            # both at the second one's price: the first has the whole profit, the second none
            self._ledger.leave(position, steps, price, self._state.clock_ns, "manual", order)
            for position in (first, second)
        ]
        for deal in deals:
            deal.entry = "out_by"
        order.filled_steps = steps
        order.position_id = first.position_id
        ids = [d.deal_id for d in deals]
        return Reply(
            Outcome.DONE,
            "DONE",
            "closed by each other",
            order.order_id,
            first.position_id,
            ids,
            first.symbol,
            steps,
            price,
        )

    def _held(self, number: int) -> Position:
        found = self._state.positions.get(number)
        if found is None:
            raise Refused(Outcome.ALREADY, "POSITION_CLOSED", f"position {number} is not open")
        return found


def _set(order: Order, values: tuple[int, int, int, int]) -> None:
    order.price_points, order.stop_points, order.target_points, order.expires_ns = values

"""Booking: what a fill does to positions, orders, deals and the balance. Integers only; nothing is checked here."""

from __future__ import annotations

from toolkit.execution.ports import OrderState, OrderType
from toolkit.platforms.simulated.book.journal import Changes
from toolkit.platforms.simulated.book.records import Deal, Order, Position, VenueState
from toolkit.platforms.simulated.course.prices import VenuePrices
from toolkit.simulation import rules
from toolkit.simulation.holding.swap import SWAP_OFF


class Ledger:
    """The account's books; every change is noted in ``changes`` for the journal."""

    def __init__(self, state: VenueState, prices: VenuePrices, *, hedging: bool) -> None:
        self.state = state
        self.prices = prices
        self.hedging = hedging
        self.changes = Changes()

    def take_changes(self) -> Changes:
        """Hand over what changed since the last call, and start anew."""
        done, self.changes = self.changes, Changes()
        return done

    def next_id(self) -> int:
        """Return a fresh number; orders, deals and positions share one sequence."""
        number = self.state.next_id
        self.state.next_id = number + 1
        return number

    def put_order(self, order: Order) -> None:
        """Keep an order; a working one stays in memory, an ended one is history."""
        if order.state == "working":
            self.state.orders[order.order_id] = order
        else:
            self.state.orders.pop(order.order_id, None)
        self.changes.orders[order.order_id] = order

    def end_order(self, order: Order, state: OrderState, ns: int) -> None:
        """Close an order's life."""
        order.state = state
        order.done_ns = ns
        self.put_order(order)

    def touch(self, position: Position) -> None:
        """Note that a position changed."""
        self.changes.positions[position.position_id] = position

    def held(self, symbol: str) -> list[Position]:
        """Return the open positions of a symbol, oldest first."""
        return [p for p in self.state.positions.values() if p.symbol == symbol]

    def netted(self, symbol: str) -> Position | None:
        """Return the one position of a symbol on a netting account."""
        if self.hedging:
            return None
        return next((p for p in self.state.positions.values() if p.symbol == symbol), None)

    def enter(self, order: Order, steps: int, price: int, ns: int) -> Deal:
        """Book a fill of an entry order: a new position, or (netting) a change of the one there is."""
        held = self.netted(order.symbol)
        commission = self._commission(order.symbol, steps)
        margin = self.prices.margin(order.symbol, steps, price, ns)
        order.filled_steps += steps
        if held is None:
            position = Position(
                position_id=order.order_id,
                ticket=order.order_id,
                symbol=order.symbol,
                sign=order.sign,
                steps=steps,
                cost=price * steps,
                opened_ns=ns,
                stop_points=order.stop_points,
                target_points=order.target_points,
                tag=order.tag,
                magic=order.magic,
                label=order.label,
                margin=margin,
                paid_day=self.prices.day(ns),
            )
            self.state.positions[position.position_id] = position
            self.touch(position)
            return self._deal(order, position.position_id, "in", steps, price, 0, commission, 0, ns, "")
        if held.sign == order.sign:
            held.steps += steps
            held.cost += price * steps
            held.margin += margin
            held.stop_points = order.stop_points or held.stop_points
            held.target_points = order.target_points or held.target_points
            self.touch(held)
            return self._deal(order, held.position_id, "in", steps, price, 0, commission, 0, ns, "")
        if steps <= held.steps:
            profit, swap = self._release(held, price, steps, ns)
            return self._deal(order, held.position_id, "out", steps, price, profit, commission, swap, ns, "")
        # The position turns: its number stays for life, its ticket becomes that of the order that turned it.
        rest = steps - held.steps
        profit, swap = self._release(held, price, held.steps, ns)
        turned = Position(
            position_id=held.position_id,
            ticket=order.order_id,
            symbol=order.symbol,
            sign=order.sign,
            steps=rest,
            cost=price * rest,
            opened_ns=ns,
            stop_points=order.stop_points,
            target_points=order.target_points,
            tag=order.tag,
            magic=order.magic,
            label=order.label,
            margin=self.prices.margin(order.symbol, rest, price, ns),
            paid_day=self.prices.day(ns),
        )
        self.state.positions[turned.position_id] = turned
        self.changes.gone_positions.discard(turned.position_id)
        self.touch(turned)
        return self._deal(order, turned.position_id, "inout", steps, price, profit, commission, swap, ns, "")

    def leave(
        self, position: Position, steps: int, price: int, ns: int, reason: str, order: Order | None = None
    ) -> Deal:
        """Book the close of ``steps`` of a position; without an order the venue makes one (stop, target, stop-out)."""
        if order is None:
            order = Order(
                order_id=self.next_id(),
                action="exit",
                symbol=position.symbol,
                sign=-position.sign,
                order_type=OrderType.MARKET,
                steps=steps,
                filled_steps=0,
                state="filled",
                placed_ns=ns,
                done_ns=ns,
                position_id=position.position_id,
                magic=position.magic,
                label=position.label,
            )
        order.filled_steps += steps
        stop, target = position.stop_points, position.target_points
        profit, swap = self._release(position, price, steps, ns)
        commission = self._commission(position.symbol, steps)
        deal = self._deal(order, position.position_id, "out", steps, price, profit, commission, swap, ns, reason)
        deal.stop_points, deal.target_points = stop, target
        self.put_order(order)
        return deal

    def _release(self, position: Position, price: int, steps: int, ns: int) -> tuple[int, int]:
        """Take ``steps`` out of a position; return profit and swap of that part."""
        # in a netted position the average price need not be a whole point: the part's cost is rounded, the rest keeps
        # the rest
        cost = (2 * position.cost * steps + position.steps) // (2 * position.steps)
        swap = position.swap * steps // position.steps
        num, den = self.prices.point_value(position.symbol, ns)
        profit = rules.money(position.sign * (price * steps - cost), 1, num, den)
        position.cost -= cost
        position.swap -= swap
        position.margin -= position.margin * steps // position.steps
        position.steps -= steps
        if position.steps == 0:
            del self.state.positions[position.position_id]
            self.changes.positions.pop(position.position_id, None)
            self.changes.gone_positions.add(position.position_id)
        else:
            self.touch(position)
        return profit, swap

    def _commission(self, symbol: str, steps: int) -> int:
        costs = self.prices.costs(symbol)
        return rules.commission(steps, costs.commission_num, costs.commission_den)

    def _deal(
        self,
        order: Order,
        position_id: int,
        entry: str,
        steps: int,
        price: int,
        profit: int,
        commission: int,
        swap: int,
        ns: int,
        reason: str,
    ) -> Deal:
        order.position_id = position_id
        deal = Deal(
            deal_id=self.next_id(),
            order_id=order.order_id,
            position_id=position_id,
            symbol=order.symbol,
            sign=order.sign,
            entry=entry,
            steps=steps,
            price_points=price,
            profit=profit,
            commission=commission,
            swap=swap,
            at_ns=ns,
            reason=reason,
            tag=order.tag,
            magic=order.magic,
            label=order.label,
            stop_points=order.stop_points,
            target_points=order.target_points,
        )
        self.state.balance += profit + commission + swap
        self.changes.deals.append(deal)
        return deal

    def equity(self, ns: int) -> int:
        """Return balance plus open profit and swap at the venue's quotes of the moment, in minor units."""
        return self.state.balance + sum(self.open_profit(p, ns) + p.swap for p in self.state.positions.values())

    def open_profit(self, position: Position, ns: int) -> int:
        """Return a position's profit at its closing quote, in minor units."""
        quote = self.prices.quote(position.symbol, ns)
        if quote is None:
            return 0
        return self.profit_at(position, rules.close_quote(position.sign, quote[0], quote[1]), ns)

    def profit_at(self, position: Position, price: int, ns: int) -> int:
        """Return a position's profit at a price, at the rate of a moment, in minor units."""
        num, den = self.prices.point_value(position.symbol, ns)
        return rules.money(position.sign * (price * position.steps - position.cost), 1, num, den)

    def margin_used(self) -> int:
        """Return the margin blocked by the open positions, in minor units."""
        return sum(p.margin for p in self.state.positions.values())

    def pay_swap(self, position: Position, price: int, ns: int) -> None:
        """Book the swap of the platform's midnights since the position was last charged, at its closing quote."""
        terms = self.prices.swap_terms(position.symbol)
        if terms.mode == SWAP_OFF:
            return
        day = self.prices.day(ns)
        if day <= position.paid_day:
            return
        if position.paid_day:  # 0: opened by a toolkit that charged none
            nights = terms.nights(position.paid_day, day - 1)
            value = self.prices.point_value(position.symbol, ns)
            position.swap += terms.money(position.sign, price, position.steps, nights, value)
        position.paid_day = day
        self.touch(position)

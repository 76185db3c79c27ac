"""The order desk: checks a command as a server would and carries it out at the quote of the moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from toolkit.clock import to_ns
from toolkit.errors import ConversionRateMissing, QuoteError, UnknownSymbol
from toolkit.execution.ports import (
    CancelOrder,
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderType,
    Outcome,
    PlatformCommand,
)
from toolkit.market import Instrument
from toolkit.platforms.simulated.book.ledger import Ledger
from toolkit.platforms.simulated.book.records import Order, Position
from toolkit.platforms.simulated.faults import Fault, FaultKind, FaultScript
from toolkit.simulation import rules


@dataclass(frozen=True, slots=True)
class VenueRules:
    """What the venue checks beside volume and price.

    Attributes
    ----------
    stops_level_points
        Least distance of stops, targets and pending prices from the quote that would trigger them.
    freeze_level_points
        Closer than this to its trigger, a stop, target or pending order can no longer be changed.
    fill_or_kill
        Filling mode: market orders are filled whole or not at all; else what can be filled is, and the rest is dead.
    """

    stops_level_points: int = 0
    freeze_level_points: int = 0
    fill_or_kill: bool = False


@dataclass(slots=True)
class Reply:
    """The desk's answer, in the venue's integers."""

    outcome: Outcome
    code: str = ""
    message: str = ""
    order_id: int = 0
    position_id: int = 0
    deal_ids: list[int] = field(default_factory=list)
    symbol: str = ""
    steps: int = 0
    price_points: int = 0
    protected: bool = True


class Refused(Exception):
    """Carries a refusal out of a check."""

    def __init__(self, outcome: Outcome, code: str, message: str) -> None:
        super().__init__(message)
        self.reply = Reply(outcome, code, message)


def _final(code: str, message: str) -> Refused:
    return Refused(Outcome.FINAL, code, message)


class OrderDesk:
    """Carries out commands on a ledger."""

    def __init__(self, ledger: Ledger, checks: VenueRules, script: FaultScript) -> None:
        self._ledger = ledger
        self._prices = ledger.prices
        self._state = ledger.state
        self._checks = checks
        self._script = script

    def execute(self, command: PlatformCommand, ns: int, fault: Fault | None = None) -> Reply:
        """Carry out a command at the venue's quote of the moment ``ns``; a refusal is a reply."""
        try:
            if isinstance(command, OpenOrder):
                return self._open(command, ns, fault)
            if isinstance(command, ClosePosition):
                return self._close(command, ns, fault)
            if isinstance(command, ModifyProtection):
                return self._modify(command, ns)
            return self._cancel(command, ns)
        except Refused as refused:
            return refused.reply
        except UnknownSymbol as e:
            return Reply(Outcome.FINAL, "UNKNOWN_SYMBOL", str(e))
        except QuoteError as e:
            return Reply(Outcome.FINAL, "INVALID_PRICE", str(e))
        except ConversionRateMissing as e:
            return Reply(Outcome.NOT_ACCEPTED, "NO_CONVERSION_RATE", str(e))

    # --- entries ---------------------------------------------------------------------------------------------------

    def check(self, command: OpenOrder, ns: int) -> Reply | None:
        """Return the refusal an entry would meet now, None when it would be accepted; nothing is booked."""
        try:
            order = self._draft(command, ns, None)
            if order.order_type is OrderType.MARKET:
                self._check_margin(order, order.steps, self._entry_price(order, ns), ns)
        except Refused as refused:
            return refused.reply
        except UnknownSymbol as e:
            return Reply(Outcome.FINAL, "UNKNOWN_SYMBOL", str(e))
        except QuoteError as e:
            return Reply(Outcome.FINAL, "INVALID_PRICE", str(e))
        except ConversionRateMissing as e:
            return Reply(Outcome.NOT_ACCEPTED, "NO_CONVERSION_RATE", str(e))
        return None

    def _draft(self, command: OpenOrder, ns: int, fault: Fault | None) -> Order:
        """Return the order of a command, with all checks passed but that of the margin."""
        instrument = self._prices.instrument(command.symbol)
        self._prices.point_value(command.symbol, ns)  # a profit that could not be booked is not begun
        cut = fault is not None and fault.kind is FaultKind.CUT_COMMENT
        order = Order(
            order_id=0,
            action="open",
            symbol=command.symbol,
            sign=command.side.sign,
            order_type=command.order_type,
            steps=self._steps(instrument, command.lots, "lots"),
            filled_steps=0,
            state="working",
            placed_ns=ns,
            price_points=0 if command.limit_price is None else instrument.to_points(command.limit_price, on_grid=True),
            stop_points=self._level(instrument, command.stop_loss),
            target_points=self._level(instrument, command.take_profit),
            expires_ns=0 if command.expires_at is None else to_ns(command.expires_at),
            tag=command.tag.text[: fault.length] if cut and fault else command.tag.text,
            sent_tag=command.tag.text,
            magic=command.tag.magic,
            label=command.tag.label,
        )
        if order.expires_ns and order.expires_ns <= ns:
            raise _final(
                "INVALID_EXPIRATION",
                f"expires_at must be after the venue's clock, was {command.expires_at}: let it live",
            )
        bid, ask = self._quote(command.symbol, ns)
        if order.order_type is OrderType.MARKET:
            quote = rules.close_quote(order.sign, bid, ask)
            self._check_levels(order.sign, quote, order.stop_points, order.target_points)
        else:
            self._check_trigger(order, bid, ask)
        return order

    def _entry_price(self, order: Order, ns: int) -> int:
        bid, ask = self._quote(order.symbol, ns)
        side = -order.sign if self._script.wrong_side else order.sign
        return self._slip(order.symbol, order.sign, rules.entry_quote(side, bid, ask))

    def _open(self, command: OpenOrder, ns: int, fault: Fault | None) -> Reply:
        order = self._draft(command, ns, fault)
        if order.order_type is not OrderType.MARKET:
            order.order_id = self._ledger.next_id()
            self._ledger.put_order(order)
            return Reply(Outcome.WORKING, "PLACED", "the order is working", order.order_id, symbol=order.symbol)
        price, filled = self._entry_price(order, ns), self._filled(order.steps, fault)
        self._check_margin(order, filled, price, ns)
        bare = (
            fault is not None and fault.kind is FaultKind.NO_PROTECTION and (order.stop_points or order.target_points)
        )
        if bare:
            order.stop_points = order.target_points = 0
        order.order_id = self._ledger.next_id()
        deal = self._ledger.enter(order, filled, price, ns)
        self._ledger.end_order(order, "filled" if filled == order.steps else "partial", ns)
        return self._done(order, [deal.deal_id], filled, price, protected=not bare)

    def _check_trigger(self, order: Order, bid: int, ask: int) -> None:
        trigger, quote = order.price_points, rules.entry_quote(order.sign, bid, ask)
        if trigger <= 0:
            raise _final(
                "INVALID_PRICE", f"limit_price must be given for a {order.order_type} order, was none: name the price"
            )
        # a LIMIT waits at a better price than the quote, a STOP at a worse one
        gap = (quote - trigger) * order.sign * (1 if order.order_type is OrderType.LIMIT else -1)
        least = max(self._checks.stops_level_points, 1)
        if gap < least:
            side = "below" if (order.order_type is OrderType.LIMIT) == (order.sign > 0) else "above"
            raise _final(
                "INVALID_PRICE",
                f"limit_price must be {side} {quote} points by at least {least}, was {trigger}: move it or use MARKET",
            )
        self._check_levels(order.sign, trigger, order.stop_points, order.target_points)

    def fill_pending(self, order: Order, price: int, ns: int) -> Position | None:
        """Fill a working order that the market reached; without the margin it is rejected instead."""
        try:
            self._check_margin(order, order.steps, price, ns)
        except Refused:
            self._ledger.end_order(order, "rejected", ns)
            return None
        deal = self._ledger.enter(order, order.steps, price, ns)
        self._ledger.end_order(order, "filled", ns)
        return self._state.positions.get(deal.position_id)

    # --- exits and changes -----------------------------------------------------------------------------------------

    def _close(self, command: ClosePosition, ns: int, fault: Fault | None) -> Reply:
        position = self._position(command.position_id)
        if position is None:
            return Reply(Outcome.ALREADY, "POSITION_CLOSED", f"position {command.position_id} is not open")
        instrument = self._prices.instrument(position.symbol)
        asked = position.steps if command.lots is None else self._part(instrument, command.lots, position.steps)
        bid, ask = self._quote(position.symbol, ns)
        sign = -position.sign
        quote_sign = -position.sign if self._script.wrong_side else position.sign
        price = self._slip(position.symbol, sign, rules.close_quote(quote_sign, bid, ask))
        filled = self._filled(asked, fault)
        order = Order(
            order_id=self._ledger.next_id(),
            action="close",
            symbol=position.symbol,
            sign=sign,
            order_type=OrderType.MARKET,
            steps=asked,
            filled_steps=0,
            state="filled" if filled == asked else "partial",
            placed_ns=ns,
            done_ns=ns,
            tag=command.tag.text,
            sent_tag=command.tag.text,
            magic=command.tag.magic,
            label=command.tag.label,
        )
        deal = self._ledger.leave(position, filled, price, ns, command.reason, order)
        return self._done(order, [deal.deal_id], filled, price)

    def close_by_hand(self, position: Position, ns: int) -> int:
        """Close a position as a person at the terminal would; return the deal's number."""
        bid, ask = self._quote(position.symbol, ns)
        price = rules.close_quote(position.sign, bid, ask)
        return self._ledger.leave(position, position.steps, price, ns, "manual").deal_id

    def _modify(self, command: ModifyProtection, ns: int) -> Reply:
        position = self._position(command.position_id)
        if position is None:
            return Reply(Outcome.ALREADY, "POSITION_CLOSED", f"position {command.position_id} is not open")
        instrument = self._prices.instrument(position.symbol)
        stop, target = self._level(instrument, command.stop_loss), self._level(instrument, command.take_profit)
        reply = Reply(Outcome.DONE, "DONE", "levels set", position_id=position.position_id, symbol=position.symbol)
        if (stop, target) == (position.stop_points, position.target_points):
            reply.outcome, reply.code, reply.message = Outcome.ALREADY, "NO_CHANGES", "the levels are already so"
            return reply
        bid, ask = self._quote(position.symbol, ns)
        mark = rules.close_quote(position.sign, bid, ask)
        self._check_freeze(mark, position.stop_points, position.target_points)
        # an unchanged level may by now lie closer than a new one may be placed
        self._check_levels(
            position.sign,
            mark,
            stop if stop != position.stop_points else 0,
            target if target != position.target_points else 0,
        )
        position.stop_points, position.target_points = stop, target
        self._ledger.touch(position)
        return reply

    def _cancel(self, command: CancelOrder, ns: int) -> Reply:
        order = self._state.orders.get(int(command.order_id)) if command.order_id.isdigit() else None
        if order is None:
            return Reply(Outcome.ALREADY, "ORDER_NOT_WORKING", f"order {command.order_id} is not working")
        bid, ask = self._quote(order.symbol, ns)
        self._check_freeze(rules.entry_quote(order.sign, bid, ask), order.price_points, 0)
        self._ledger.end_order(order, "cancelled", ns)
        return Reply(Outcome.DONE, "DONE", "the order is cancelled", order.order_id, symbol=order.symbol)

    # --- checks ----------------------------------------------------------------------------------------------------

    def _quote(self, symbol: str, ns: int) -> tuple[int, int]:
        quote = self._prices.quote(symbol, ns)
        if quote is None:
            raise Refused(
                Outcome.NOT_ACCEPTED, "NO_QUOTE", f"{symbol} must have a price, had none yet: wait for a quote"
            )
        return quote[0], quote[1]

    def _position(self, position_id: str) -> Position | None:
        """Find a position by its number for life, or by its ticket of today."""
        if not position_id.isdigit():
            return None
        number = int(position_id)
        found = self._state.positions.get(number)
        return found or next((p for p in self._state.positions.values() if p.ticket == number), None)

    @staticmethod
    def _level(instrument: Instrument, price: Decimal | None) -> int:
        return 0 if price is None else instrument.to_points(price, on_grid=True)

    @staticmethod
    def _steps(instrument: Instrument, lots: Decimal, what: str) -> int:
        steps = instrument.steps_floor(lots)
        if instrument.lots(steps) != lots or not instrument.min_steps <= steps <= instrument.max_steps:
            raise _final(
                "INVALID_VOLUME",
                f"{what} must be {instrument.volume_min} to {instrument.volume_max} by {instrument.volume_step}, "
                f"was {lots}: round down to the step",
            )
        return steps

    @staticmethod
    def _part(instrument: Instrument, lots: Decimal, held: int) -> int:
        steps = instrument.steps_floor(lots)
        if instrument.lots(steps) != lots or steps < 1:
            raise _final(
                "INVALID_VOLUME",
                f"lots to close must be a multiple of {instrument.volume_step}, was {lots}: round to the step",
            )
        return min(steps, held)  # never more than there is: a pinned close cannot turn a position

    def _filled(self, steps: int, fault: Fault | None) -> int:
        filled = self._share(steps, fault)
        if filled < steps and self._checks.fill_or_kill:
            raise _final("NOT_FILLED", f"{steps} steps must be filled whole here, {filled} were there: ask for less")
        return filled

    @staticmethod
    def _share(steps: int, fault: Fault | None) -> int:
        if fault is None or fault.kind is not FaultKind.PARTIAL:
            return steps
        return max(1, int(steps * fault.share))

    def _slip(self, symbol: str, sign: int, price: int) -> int:
        points = self._prices.costs(symbol).slippage_points + self._script.extra_slippage_points
        return rules.slipped(sign, price, points)

    def _check_levels(self, sign: int, reference: int, stop: int, target: int) -> None:
        """Refuse a stop or target that is not beyond the price a position would be closed at, as trading servers do."""
        least = self._checks.stops_level_points
        for name, level, room in (
            ("stop_loss", stop, sign * (reference - stop)),
            ("take_profit", target, sign * (target - reference)),
        ):
            if level and (room <= 0 or room < least):
                side = "below" if (name == "stop_loss") == (sign > 0) else "above"
                raise _final(
                    "INVALID_STOPS",
                    f"{name} must be {side} {reference} points by at least {max(least, 1)}, was {level}: move it away",
                )
            if level < 0:
                raise _final("INVALID_STOPS", f"{name} must be above 0, was {level} points: use a nearer stop")

    def _check_freeze(self, quote: int, *levels: int) -> None:
        freeze = self._checks.freeze_level_points
        for level in levels:
            if freeze and level and abs(quote - level) <= freeze:
                raise Refused(
                    Outcome.NOT_ACCEPTED,
                    "FROZEN",
                    f"level {level} must be more than {freeze} points from {quote}: wait for the market",
                )

    def _check_margin(self, order: Order, steps: int, price: int, ns: int) -> None:
        held = self._ledger.netted(order.symbol)
        adding = steps if held is None or held.sign == order.sign else max(0, steps - 2 * held.steps)
        if adding == 0:
            return
        need = self._prices.margin(order.symbol, adding, price, ns)
        free = self._ledger.equity(ns) - self._ledger.margin_used()
        if need > free:
            money = self._prices.account.money
            raise _final(
                "NO_MONEY",
                f"margin must be at most the free {money(free)}, was {money(need)}: trade less",
            )

    def _done(self, order: Order, deals: list[int], steps: int, price: int, *, protected: bool = True) -> Reply:
        outcome = Outcome.DONE if steps == order.steps else Outcome.PARTIAL
        return Reply(
            outcome,
            outcome.value,
            "executed" if outcome is Outcome.DONE else "executed in part, the rest is dead",
            order.order_id,
            order.position_id,
            deals,
            order.symbol,
            steps,
            price,
            protected,
        )

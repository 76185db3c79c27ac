"""The venue's clock: what falls due, in which order, and the jump over all the time in which nothing does.

Order at one moment: the range of the bars that end there, expiries, the open of the bars that begin there, late
commands. Within a range or an open: swap (opens only), stops and targets, the stop-out, pending orders; symbols in the
order they were loaded. The next due event is searched once, over whole columns, and kept until a position, an order or a series
changes; moving the clock to before it is a comparison.
"""

from __future__ import annotations

from toolkit.execution.ports import OrderType
from toolkit.platforms.simulated.book.ledger import Ledger
from toolkit.platforms.simulated.book.records import Order, Position
from toolkit.platforms.simulated.course.replay import Replay
from toolkit.platforms.simulated.desk import OrderDesk
from toolkit.platforms.simulated.faults import decode_command
from toolkit.platforms.simulated.holding import Span, next_night, pay_swaps, stop_out, watch_level
from toolkit.simulation import rules
from toolkit.simulation.managed import rules as managed

RANGE, EXPIRY, OPEN, LATE = range(4)
_NEVER = 1 << 62

Event = tuple[int, int]  # moment in ns, phase


class Timeline:
    """Moves an account through time."""

    def __init__(self, ledger: Ledger, desk: OrderDesk) -> None:
        self._ledger = ledger
        self._desk = desk
        self._state = ledger.state
        self._prices = ledger.prices
        self._next: Event | None = None
        self._ranges_to = self._opens_to = ledger.state.clock_ns

    def forget(self) -> None:
        """Drop the kept event; called whenever a position, an order or a series changes."""
        self._next = None

    @property
    def next_event(self) -> Event:
        """Return moment and phase of the next thing that falls due, far in the future when nothing does."""
        if self._next is None:
            self._next = self._search()
        return self._next

    def advance(self, to_ns: int) -> int:
        """Move the clock; return how many deals were made on the way. The caller commits."""
        before = len(self._ledger.changes.deals)
        while self.next_event[0] <= to_ns:
            moment, phase = self.next_event
            self._state.clock_ns = max(self._state.clock_ns, moment)
            self._apply(moment, phase)
            self._ranges_to = moment
            self._opens_to = moment if phase >= OPEN else moment - 1
            self.forget()
        self._state.clock_ns = self._ranges_to = self._opens_to = to_ns
        return len(self._ledger.changes.deals) - before

    # --- search ----------------------------------------------------------------------------------------------------

    def _search(self) -> Event:
        found: Event = (_NEVER, RANGE)
        for order in self._state.orders.values():
            if order.expires_ns:
                found = min(found, (max(order.expires_ns, self._state.clock_ns), EXPIRY))
        for late in self._state.late:
            found = min(found, (max(late.due_ns, self._state.clock_ns), LATE))
        symbols = {p.symbol for p in self._state.positions.values()} | {o.symbol for o in self._state.orders.values()}
        for symbol in symbols:
            replay = self._prices.replays.get(symbol)
            if replay is not None:
                found = min(found, self._next_touch(symbol, replay))
                night = next_night(self._ledger, symbol, replay)
                if night is not None:
                    found = min(found, (max(night, self._opens_to + 1), OPEN))
        return found

    def _next_touch(self, symbol: str, replay: Replay) -> Event:
        """Find the next bar that touches any level of the symbol, and whether its open already does."""
        bars = replay.bars
        low: dict[str, int] = {}  # column -> highest level that is reached from above
        high: dict[str, int] = {}  # column -> lowest level that is reached from below

        def falls_to(side: str, level: int) -> None:
            if level:
                low[side] = max(low.get(side, level), level)

        def rises_to(side: str, level: int) -> None:
            if level:
                high[side] = min(high.get(side, level), level)

        for p in self._state.positions.values():
            if p.symbol == symbol:
                watched = watch_level(self._ledger, p)
                if p.sign > 0:
                    falls_to("bid", watched)
                    falls_to("bid", p.stop_points)
                    rises_to("bid", p.target_points)
                else:
                    rises_to("ask", watched)
                    rises_to("ask", p.stop_points)
                    falls_to("ask", p.target_points)
        for o in self._state.orders.values():
            if o.symbol == symbol:
                side = "ask" if o.sign > 0 else "bid"
                if (o.order_type is OrderType.LIMIT) == (o.sign > 0):
                    falls_to(side, o.price_points)
                else:
                    rises_to(side, o.price_points)
        lows, highs = {"bid": bars.bid_low, "ask": bars.ask_low}, {"bid": bars.bid_high, "ask": bars.ask_high}
        start = replay.closed(self._ranges_to)
        i = replay.first_touch(
            start, [(lows[s], level) for s, level in low.items()], [(highs[s], level) for s, level in high.items()]
        )
        if i is None:
            return (_NEVER, RANGE)
        opens = {"bid": int(bars.bid_open[i]), "ask": int(bars.ask_open[i])}
        opens_there = any(opens[s] <= level for s, level in low.items()) or any(
            opens[s] >= level for s, level in high.items()
        )
        if opens_there and int(replay.open_ns[i]) > self._opens_to:
            return (int(replay.open_ns[i]), OPEN)
        return (int(replay.close_ns[i]), RANGE)

    # --- what falls due --------------------------------------------------------------------------------------------

    def _apply(self, moment: int, phase: int) -> None:
        if phase == EXPIRY:
            for order in [o for o in self._state.orders.values() if o.expires_ns and o.expires_ns <= moment]:
                self._ledger.end_order(order, "expired", moment)
        elif phase == LATE:
            self._carry_out_late(moment)
        elif phase == RANGE:
            self._ranges(moment)
        else:
            self._opens(moment)

    def _carry_out_late(self, moment: int) -> None:
        due = [c for c in self._state.late if c.due_ns <= moment]
        for late in due:
            self._state.late.remove(late)
            self._ledger.changes.gone_late.append(late.sequence)
            self._desk.execute(decode_command(late.command), moment)

    def tick(self, symbol: str, bid: int, ask: int, ns: int) -> None:
        """Act on one pushed quote as on a bar's open."""
        self._at_quotes({symbol: (bid, ask)}, ns)

    def _opens(self, moment: int) -> None:
        """Act on the opens of the bars that begin at the moment."""
        quotes: dict[str, tuple[int, int]] = {}
        for symbol, replay in self._prices.replays.items():
            i = replay.opened(moment) - 1
            if i >= 0 and int(replay.open_ns[i]) == moment:
                quotes[symbol] = int(replay.bars.bid_open[i]), int(replay.bars.ask_open[i])
        self._at_quotes(quotes, moment)

    def _at_quotes(self, quotes: dict[str, tuple[int, int]], ns: int) -> None:
        """Act on new quotes of one moment: swap, gapped exits at the quote, the stop-out, then pending orders."""
        for symbol, (bid, ask) in quotes.items():
            pay_swaps(self._ledger, symbol, bid, ask, ns)
        for symbol, (bid, ask) in quotes.items():
            for position in self._ledger.held(symbol):
                reason, price = rules.open_exit(position.sign, position.stop_points, position.target_points, bid, ask)
                if reason:
                    self._ledger.leave(position, position.steps, price, ns, rules.EXIT_REASONS[reason])
        spans: dict[int, Span] = {}
        for symbol, (bid, ask) in quotes.items():
            for position in self._ledger.held(symbol):
                mark = rules.close_quote(position.sign, bid, ask)
                spans[position.position_id] = (mark, mark)
        stop_out(self._ledger, spans, ns)
        for symbol, (bid, ask) in quotes.items():
            for order in self._waiting(symbol):
                quote = rules.entry_quote(order.sign, bid, ask)
                if _reached(order, quote, quote):
                    self._desk.fill_pending(order, quote, ns)

    def _ranges(self, moment: int) -> None:
        """Act on the ranges of the bars that end at the moment.

        Their deals carry the bar's open time, and their money the rate of that time.
        """
        ended: list[tuple[str, Replay, int]] = []
        for symbol, replay in self._prices.replays.items():
            i = replay.closed(moment) - 1
            if i >= 0 and int(replay.close_ns[i]) == moment:
                ended.append((symbol, replay, i))
        spans: dict[int, Span] = {}
        for symbol, replay, i in ended:
            bars, ns = replay.bars, int(replay.open_ns[i])
            bid = int(bars.bid_open[i]), int(bars.bid_high[i]), int(bars.bid_low[i])
            ask = int(bars.ask_open[i]), int(bars.ask_high[i]), int(bars.ask_low[i])
            for p in self._ledger.held(symbol):
                reason, price = rules.range_exit(p.sign, p.stop_points, p.target_points, *bid, *ask)
                if reason:
                    self._ledger.leave(p, p.steps, price, ns, rules.EXIT_REASONS[reason])
                else:
                    spans[p.position_id] = (bid[0], bid[2]) if p.sign > 0 else (ask[0], ask[1])
        if spans:
            stop_out(self._ledger, spans, max(int(replay.open_ns[i]) for _, replay, i in ended))
        for symbol, replay, i in ended:
            self._fill_in_range(symbol, replay, i)

    def _fill_in_range(self, symbol: str, replay: Replay, i: int) -> None:
        bars, ns = replay.bars, int(replay.open_ns[i])
        for order in self._waiting(symbol):
            buys = order.sign > 0
            low, high = (bars.ask_low[i], bars.ask_high[i]) if buys else (bars.bid_low[i], bars.bid_high[i])
            if _reached(order, int(low), int(high)):
                filled = self._desk.fill_pending(order, order.price_points, ns)
                if filled is not None:
                    self._stop_in_fill_bar(order, filled, replay, i)

    def _stop_in_fill_bar(self, order: Order, position: Position, replay: Replay, i: int) -> None:
        """Watch the stop of a pending order in the bar that filled it; its target only from the next bar on."""
        bars, stop, sign = replay.bars, position.stop_points, position.sign
        if position.position_id not in self._state.positions:
            return
        if sign > 0:
            opened, worst, ended = int(bars.bid_open[i]), int(bars.bid_low[i]), int(bars.bid_close[i])
        else:
            opened, worst, ended = int(bars.ask_open[i]), int(bars.ask_high[i]), int(bars.ask_close[i])
        if managed.stop_in_fill_bar(_kind(order), sign, stop, opened, worst, ended):
            ns = int(replay.open_ns[i])
            self._ledger.leave(position, position.steps, stop, ns, rules.EXIT_REASONS[rules.STOP_LOSS])

    def _waiting(self, symbol: str) -> list[Order]:
        return [o for o in self._state.orders.values() if o.symbol == symbol]


def _reached(order: Order, low: int, high: int) -> bool:
    """Tell whether a price between ``low`` and ``high`` triggers the pending order."""
    return managed.pending_reached(_kind(order), order.sign, order.price_points, low, high)


def _kind(order: Order) -> int:
    return managed.AT_LIMIT if order.order_type is OrderType.LIMIT else managed.AT_STOP

"""What the venue does to open positions by itself: swap at a day's first open, and the stop-out for lack of margin.

The rules are those of `toolkit.simulation.holding`; here they meet an account that may hold many positions.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.market.instruments import INT32_MAX
from toolkit.platforms.simulated.book.ledger import Ledger
from toolkit.platforms.simulated.book.records import Position
from toolkit.platforms.simulated.course.replay import Replay
from toolkit.simulation import rules
from toolkit.simulation.holding.margin import equity_floor, loss_points_over
from toolkit.simulation.holding.swap import SWAP_OFF

#: For each position: the first and the worst price of its closing quote in the span looked at.
Span = tuple[int, int]


def pay_swaps(ledger: Ledger, symbol: str, bid: int, ask: int, ns: int) -> None:
    """Book the swap due on a symbol's positions at its first quote of a platform day."""
    for position in ledger.held(symbol):
        ledger.pay_swap(position, rules.close_quote(position.sign, bid, ask), ns)


def next_night(ledger: Ledger, symbol: str, replay: Replay) -> int | None:
    """Return the open at which one of a symbol's positions is charged next, None when there is none."""
    prices = ledger.prices
    if prices.swap_terms(symbol).mode == SWAP_OFF:
        return None
    days = [p.paid_day for p in ledger.held(symbol)]
    if not days:
        return None
    first = int(replay.open_ns.searchsorted(prices.day_start(min(days) + 1), "left"))
    return int(replay.open_ns[first]) if first < len(replay.open_ns) else None


def stop_out(ledger: Ledger, spans: Mapping[int, Span], ns: int) -> None:
    """Close positions, the worst first, while equity at their worst prices is below the stop-out level.

    Parameters
    ----------
    spans
        By position number; a position without one is marked at its quote of the moment ``ns``.
    ns
        Moment of the deals and of the conversion rates.
    """
    percent = ledger.prices.account.stop_out_percent
    while True:
        used = ledger.margin_used()
        if used == 0:
            return
        floor = equity_floor(used, percent)
        profits: list[tuple[int, int, Position]] = []
        for position in ledger.state.positions.values():
            span = spans.get(position.position_id)
            profit = ledger.open_profit(position, ns) if span is None else ledger.profit_at(position, span[1], ns)
            profits.append((profit, position.position_id, position))
        equity = ledger.state.balance + sum(profit + p.swap for profit, _, p in profits)
        if equity >= floor:
            return
        profit, number, worst = min(profits, key=lambda row: row[:2])
        if number not in spans:
            quote = ledger.prices.quote(worst.symbol, ns)
            if quote is None:
                return
            price = rules.close_quote(worst.sign, quote[0], quote[1])
        else:
            price = _price(ledger, worst, spans[number], equity - profit - floor, ns)
        ledger.leave(worst, worst.steps, price, ns, rules.EXIT_REASONS[rules.STOP_OUT])


def _price(ledger: Ledger, position: Position, span: Span, budget: int, ns: int) -> int:
    """Return the first price of the span at which the position loses more than ``budget``."""
    opened, worst = span
    units = loss_points_over(budget, 1, *ledger.prices.point_value(position.symbol, ns))
    if position.sign > 0:
        return max(worst, min((position.cost - units) // position.steps, opened))
    return min(worst, max(-((-position.cost - units) // position.steps), opened))


def watch_level(ledger: Ledger, position: Position) -> int:
    """Return a price that the position's closing quote reaches before any stop-out it may cause, 0 for none.

    The account's room is divided among its positions: unless one of them loses more than its part, all of them together
    do not lose it all.
    """
    used = ledger.margin_used()
    if used == 0:
        return 0
    positions = ledger.state.positions.values()
    room = ledger.state.balance + sum(p.swap for p in positions)
    room -= equity_floor(used, ledger.prices.account.stop_out_percent)
    most = ledger.prices.most(position.symbol)
    if most is None:  # rates come from outside: look at every bar
        return INT32_MAX if position.sign > 0 else 1
    loss = loss_points_over(room // len(positions), position.steps, *most) - 1
    level = position.open_points - position.sign * loss
    return min(level, INT32_MAX) if level > 0 else (0 if position.sign > 0 else 1)

"""The simulation of several symbols on one equity, moment by moment: plain functions, compiled where numba is installed.

At each moment at least one symbol opens a bar. Symbols act in the declared order; one without a bar is marked at its last
close. Every decision is that of `toolkit.simulation.rules`, `toolkit.risk.guard_rules` and `toolkit.simulation.holding`, with
account-wide equity and margin.
"""

from __future__ import annotations

from typing import Any

from toolkit.risk.guard_rules import ends_with_the_day
from toolkit.simulation.events import count_net, entry_steps
from toolkit.simulation.holding.margin import equity_floor, margin_needed, stop_out_price
from toolkit.simulation.holding.swap import swap_money
from toolkit.simulation.marking import moments
from toolkit.simulation.portfolio.cells import (
    P_COMMISSION_DEN,
    P_COMMISSION_NUM,
    P_COST,
    P_ENTRY_AT,
    P_ENTRY_PRICE,
    P_FIXED_STEPS,
    P_LAST_EXIT,
    P_MARGIN,
    P_MARGIN_DEN,
    P_MARGIN_MODE,
    P_MARGIN_NUM,
    P_MAX_LOTS_STEPS,
    P_MAX_SPREAD,
    P_MAX_STEPS,
    P_MIN_STEPS,
    P_POS,
    P_RISK_PPM,
    P_SL,
    P_SLIPPAGE,
    P_STEPS,
    P_SWAP,
    P_SWAP_DEN,
    P_SWAP_LONG,
    P_SWAP_MODE,
    P_SWAP_SHORT,
    P_TP,
    SKIP_FIELDS,
    TRADE_FIELDS,
    X_ASK_CLOSE,
    X_ASK_HIGH,
    X_ASK_LOW,
    X_ASK_OPEN,
    X_BAR,
    X_BID_CLOSE,
    X_BID_HIGH,
    X_BID_LOW,
    X_BID_OPEN,
    X_DECISION,
    X_HERE,
    X_NIGHTS,
    X_STOP,
    X_TARGET,
)
from toolkit.simulation.rules import (
    INSUFFICIENT_MARGIN,
    NO_EXIT,
    REVERSE,
    STOP_OUT,
    close_quote,
    commission,
    entry_quote,
    entry_side,
    exit_reason,
    money,
    open_exit,
    protection_levels,
    range_exit,
    slipped,
    target_points_from_rr,
)
from toolkit.simulation.state import (
    BALANCE,
    BARS,
    BARS_IN,
    BASE,
    COMMISSION,
    DAILY_AT,
    DAY,
    DONE,
    EQUITY_AT,
    EXPOSURE_CENTI,
    FIXED_STEPS,
    GROW,
    HAS_TARGET,
    LOSSES,
    MAX_LOTS_STEPS,
    MAX_SPREAD_POINTS,
    MAX_STEPS,
    MIN_STEPS,
    NEVER,
    NEXT,
    PEAK_BASE,
    POS,
    REVERSES,
    RISK_PPM,
    SKIP_CAPACITY,
    SKIPS,
    SKIPS_AT,
    STOP_OUT_PERCENT,
    SWAP,
    TRADE_CAPACITY,
    TRADES,
    TRADES_AT,
    TRIPPED,
)
from toolkit.simulation.stretches import note_equity


def open_profit(p: Any, s: int, mark: int, vn: int, vd: int) -> int:
    """Open profit of a symbol's position at a price; 0 when it is flat."""
    if p[s, P_POS] == 0:
        return 0
    return money(p[s, P_POS] * (mark - p[s, P_ENTRY_PRICE]), p[s, P_STEPS], vn, vd)


def equity_at(x: Any, value: Any, w: Any, p: Any, t: int, rate: int, bid: int, ask: int) -> int:
    """Equity with every position at its closing quote: columns ``bid`` and ``ask`` of moment ``t``."""
    total = w[BALANCE]
    for s in range(p.shape[0]):
        if p[s, P_POS] != 0:
            mark = x[s, bid, t] if p[s, P_POS] > 0 else x[s, ask, t]
            total += open_profit(p, s, mark, value[s, rate, 0], value[s, rate, 1])
    return total  # type: ignore[no-any-return]


def margin_in_use(p: Any) -> int:
    """Margin of all open positions."""
    total = 0
    for s in range(p.shape[0]):
        if p[s, P_POS] != 0:
            total += p[s, P_MARGIN]
    return total


def open_notional(x: Any, value: Any, p: Any, t: int, rate: int) -> int:
    """Value of all positions, each at the quote that would close it."""
    total = 0
    for s in range(p.shape[0]):
        if p[s, P_POS] != 0:
            mark = close_quote(p[s, P_POS], x[s, X_BID_OPEN, t], x[s, X_ASK_OPEN, t])
            total += money(mark, p[s, P_STEPS], value[s, rate, 0], value[s, rate, 1])
    return total


def leave(x: Any, w: Any, p: Any, s: int, t: int, reason: int, price: int, vn: int, vd: int) -> None:
    """Close a symbol's position: book it, write the trade."""
    steps = p[s, P_STEPS]
    profit = money(p[s, P_POS] * (price - p[s, P_ENTRY_PRICE]), steps, vn, vd)
    cost = commission(steps, p[s, P_COMMISSION_NUM], p[s, P_COMMISSION_DEN])
    w[BALANCE] += profit + cost
    cost += p[s, P_COST]
    swap = p[s, P_SWAP]
    w[COMMISSION] += cost
    w[SWAP] += swap
    net = profit + cost + swap
    count_net(w, net)
    w[LOSSES] = w[LOSSES] + 1 if net < 0 else 0
    at = w[TRADES_AT] + w[TRADES] * TRADE_FIELDS
    w[at] = s
    w[at + 1] = p[s, P_POS]
    w[at + 2] = steps
    w[at + 3] = p[s, P_ENTRY_AT]
    w[at + 4] = p[s, P_ENTRY_PRICE]
    w[at + 5] = t
    w[at + 6] = price
    w[at + 7] = reason
    w[at + 8] = profit
    w[at + 9] = cost
    w[at + 10] = swap
    w[TRADES] += 1
    p[s, P_LAST_EXIT] = x[s, X_BAR, t]
    p[s, P_POS] = 0
    w[POS] -= 1


def stop_out(x: Any, value: Any, w: Any, p: Any, t: int, rate: int, in_range: bool) -> None:
    """Close positions, the worst first, while equity is below the stop-out level.

    In a range every position is marked at the worst price of its bar, at an open at the opening quote.
    """
    bid = X_BID_LOW if in_range else X_BID_OPEN
    ask = X_ASK_HIGH if in_range else X_ASK_OPEN
    while True:
        used = margin_in_use(p)
        if used == 0:
            return
        floor = equity_floor(used, w[STOP_OUT_PERCENT])
        equity = equity_at(x, value, w, p, t, rate, bid, ask)
        if equity >= floor:
            return
        worst = -1
        lowest = 0
        for s in range(p.shape[0]):
            if p[s, P_POS] != 0:
                mark = x[s, bid, t] if p[s, P_POS] > 0 else x[s, ask, t]
                profit = open_profit(p, s, mark, value[s, rate, 0], value[s, rate, 1])
                if worst < 0 or profit < lowest:
                    worst = s
                    lowest = profit
        side = p[worst, P_POS]
        opened = x[worst, X_BID_OPEN, t] if side > 0 else x[worst, X_ASK_OPEN, t]
        extreme = x[worst, bid, t] if side > 0 else x[worst, ask, t]
        vn = value[worst, rate, 0]
        vd = value[worst, rate, 1]
        room = equity - lowest - floor
        price = stop_out_price(side, p[worst, P_ENTRY_PRICE], opened, extreme, room, p[worst, P_STEPS], vn, vd)
        leave(x, w, p, worst, t, STOP_OUT, price, vn, vd)


def enter(x: Any, value: Any, w: Any, p: Any, s: int, t: int, rate: int, rr: float) -> None:
    """Carry out a symbol's entry decision at the open, or note why it was not made."""
    code = x[s, X_DECISION, t]
    side = entry_side(code)
    if side == 0:
        return
    bid = x[s, X_BID_OPEN, t]
    ask = x[s, X_ASK_OPEN, t]
    vn = value[s, rate, 0]
    vd = value[s, rate, 1]
    quote = entry_quote(side, bid, ask)
    price = slipped(side, quote, p[s, P_SLIPPAGE])
    stop = x[s, X_STOP, t]
    target = 0
    if w[HAS_TARGET]:
        target = target_points_from_rr(rr, stop) if rr > 0.0 else x[s, X_TARGET, t]
    equity = equity_at(x, value, w, p, t, rate, X_BID_OPEN, X_ASK_OPEN)
    notional = open_notional(x, value, p, t, rate) if w[EXPOSURE_CENTI] != 0 else 0
    w[FIXED_STEPS] = p[s, P_FIXED_STEPS]
    w[RISK_PPM] = p[s, P_RISK_PPM]
    w[MIN_STEPS] = p[s, P_MIN_STEPS]
    w[MAX_STEPS] = p[s, P_MAX_STEPS]
    w[MAX_SPREAD_POINTS] = p[s, P_MAX_SPREAD]
    w[MAX_LOTS_STEPS] = p[s, P_MAX_LOTS_STEPS]
    since_exit = x[s, X_BAR, t] - p[s, P_LAST_EXIT]
    steps, reason = entry_steps(
        w, equity, w[POS], notional, since_exit, code, side, quote, ask - bid, stop, target, vn, vd
    )
    need = 0
    if reason == 0 and p[s, P_MARGIN_MODE] != 0:
        need = margin_needed(p[s, P_MARGIN_MODE], price, steps, vn, vd, p[s, P_MARGIN_NUM], p[s, P_MARGIN_DEN])
        if need > equity - margin_in_use(p):
            reason = INSUFFICIENT_MARGIN
    if reason != 0:
        at = w[SKIPS_AT] + w[SKIPS] * SKIP_FIELDS
        w[at] = s
        w[at + 1] = t
        w[at + 2] = side
        w[at + 3] = reason
        w[SKIPS] += 1
        return
    sl, tp = protection_levels(side, quote, stop, target)
    w[POS] += 1
    p[s, P_POS] = side
    p[s, P_STEPS] = steps
    p[s, P_ENTRY_AT] = t
    p[s, P_ENTRY_PRICE] = price
    p[s, P_SL] = sl if stop > 0 else 0
    p[s, P_TP] = tp
    p[s, P_SWAP] = 0
    p[s, P_MARGIN] = need
    p[s, P_COST] = commission(steps, p[s, P_COMMISSION_NUM], p[s, P_COMMISSION_DEN])
    w[BALANCE] += p[s, P_COST]


def at_open(x: Any, value: Any, w: Any, p: Any, t: int, rate: int, rr: float, new_day: bool) -> None:
    """Everything that happens at the opens of one moment, in order."""
    count = p.shape[0]
    for s in range(count):
        if p[s, P_POS] != 0 and p[s, P_SWAP_MODE] != 0 and x[s, X_NIGHTS, t] > 0:
            side = p[s, P_POS]
            each = p[s, P_SWAP_LONG] if side > 0 else p[s, P_SWAP_SHORT]
            mark = close_quote(side, x[s, X_BID_OPEN, t], x[s, X_ASK_OPEN, t])
            swap = swap_money(
                p[s, P_SWAP_MODE], each, p[s, P_SWAP_DEN], mark, p[s, P_STEPS], x[s, X_NIGHTS, t],
                value[s, rate, 0], value[s, rate, 1],
            )  # fmt: skip
            w[BALANCE] += swap
            p[s, P_SWAP] += swap
    if new_day:
        w[BASE] = equity_at(x, value, w, p, t, rate, X_BID_OPEN, X_ASK_OPEN)
        if w[BASE] > w[PEAK_BASE]:
            w[PEAK_BASE] = w[BASE]
        w[LOSSES] = 0
        if ends_with_the_day(w[TRIPPED]):
            w[TRIPPED] = 0
    for s in range(count):
        if p[s, P_POS] != 0 and x[s, X_HERE, t] != 0:
            reason, price = open_exit(p[s, P_POS], p[s, P_SL], p[s, P_TP], x[s, X_BID_OPEN, t], x[s, X_ASK_OPEN, t])
            if reason != NO_EXIT:
                leave(x, w, p, s, t, reason, price, value[s, rate, 0], value[s, rate, 1])
    stop_out(x, value, w, p, t, rate, False)
    for s in range(count):
        if p[s, P_POS] != 0 and x[s, X_HERE, t] != 0:
            side = p[s, P_POS]
            reason = exit_reason(side, x[s, X_DECISION, t])
            if reason == REVERSE and not w[REVERSES]:
                reason = NO_EXIT
            if reason != NO_EXIT:
                price = close_quote(side, x[s, X_BID_OPEN, t], x[s, X_ASK_OPEN, t])
                price = slipped(-side, price, p[s, P_SLIPPAGE])
                leave(x, w, p, s, t, reason, price, value[s, rate, 0], value[s, rate, 1])
    for s in range(count):
        if p[s, P_POS] == 0 and x[s, X_HERE, t] != 0:
            enter(x, value, w, p, s, t, rate, rr)


def in_range(x: Any, value: Any, w: Any, p: Any, t: int, rate: int) -> None:
    """Stops, targets and the stop-out inside the bars of one moment."""
    for s in range(p.shape[0]):
        if p[s, P_POS] != 0 and x[s, X_HERE, t] != 0:
            reason, price = range_exit(
                p[s, P_POS], p[s, P_SL], p[s, P_TP],
                x[s, X_BID_OPEN, t], x[s, X_BID_HIGH, t], x[s, X_BID_LOW, t],
                x[s, X_ASK_OPEN, t], x[s, X_ASK_HIGH, t], x[s, X_ASK_LOW, t],
            )  # fmt: skip
            if reason != NO_EXIT:
                leave(x, w, p, s, t, reason, price, value[s, rate, 0], value[s, rate, 1])
    stop_out(x, value, w, p, t, rate, True)


def simulate_many(x: Any, value: Any, new_day: Any, busy: Any, rr: float, w: Any, p: Any, f: Any) -> int:
    """Run from the state in ``w`` and ``p`` to the end: DONE, or GROW when the records are full (call again).

    Parameters
    ----------
    x
        Columns of `toolkit.simulation.portfolio.cells`: symbol, column, moment.
    value
        Point value of each symbol at each moment and after the last: symbol, moment, (num, den).
    new_day
        1 where a moment is the first of its platform day, the very first excepted.
    busy
        1 where a symbol enters.
    rr
        Target as a multiple of the stop, 0.0 when it is not.
    w, p, f
        Shared state and outputs, the symbols' own, and the figures written at the end.
    """
    count = p.shape[0]
    n = w[BARS]
    for t in range(w[NEXT], n):
        if w[TRADES] + 2 * count > w[TRADE_CAPACITY] or w[SKIPS] + count > w[SKIP_CAPACITY]:
            w[NEXT] = t
            return GROW
        if new_day[t] != 0:
            w[w[DAILY_AT] + w[DAY]] = w[w[EQUITY_AT] + t - 1] if t > 0 else w[BALANCE]
            w[DAY] += 1
        equity = w[BALANCE]
        if w[POS] != 0 or busy[t] != 0 or new_day[t] != 0:
            rate = t if t > 0 else 1  # the first moment knows no rate and makes no trade
            at_open(x, value, w, p, t, rate, rr, new_day[t] != 0)
            if w[POS] != 0:
                in_range(x, value, w, p, t, rate)
            equity = equity_at(x, value, w, p, t, t + 1, X_BID_CLOSE, X_ASK_CLOSE)
            if w[POS] != 0:
                w[BARS_IN] += 1
        w[w[EQUITY_AT] + t] = equity
        note_equity(w, equity)
    w[w[DAILY_AT] + w[DAY]] = w[w[EQUITY_AT] + n - 1]
    moments(w, f)
    w[NEXT] = n
    return DONE


def forget_positions(p: Any) -> None:
    """Make every symbol flat, as before the first bar."""
    for s in range(p.shape[0]):
        p[s, P_POS] = 0
        p[s, P_LAST_EXIT] = NEVER

"""What happens to a position at one moment: the rules applied to the loop's state. Plain functions, compiled with the loop."""

from __future__ import annotations

from typing import Any

from toolkit.risk.guard_rules import entry_denied, holds_on, volume_denied
from toolkit.simulation.holding.hold import hold, margin_refusal, release
from toolkit.simulation.rules import (
    NO_EXIT,
    OUTSIDE_HOURS,
    REVERSE,
    close_quote,
    commission,
    entry_quote,
    entry_refusal,
    entry_side,
    exit_reason,
    lots_for_risk,
    money,
    protection_levels,
    slipped,
    target_points_from_rr,
)
from toolkit.simulation.state import (
    BALANCE,
    BASE,
    COMMISSION,
    COMMISSION_DEN,
    COMMISSION_NUM,
    COOLDOWN_BARS,
    DAILY_LOSS_PPM,
    DRAWDOWN_PPM,
    ENTRY_BAR,
    ENTRY_COST,
    ENTRY_PRICE,
    EXPOSURE_CENTI,
    FIXED_STEPS,
    FULL,
    GROSS_LOSS,
    GROSS_WIN,
    HAS_TARGET,
    LAST_EXIT,
    LOSSES,
    MAX_LOSSES,
    MAX_LOTS_STEPS,
    MAX_OPEN_LIMIT,
    MAX_OPEN_RUN_LIMIT,
    MAX_SPREAD_POINTS,
    MAX_STEPS,
    MIN_STEPS,
    PEAK_BASE,
    POS,
    RESULT,
    REVERSES,
    RISK_PPM,
    SKIP_WIDTH,
    SKIPS,
    SKIPS_AT,
    SL,
    SLIPPAGE,
    STEPS,
    STOP_REQUIRED,
    STOP_STRIDE,
    SWAP,
    TARGET_STRIDE,
    TP,
    TRADE_WIDTH,
    TRADES,
    TRADES_AT,
    TRIPPED,
    WINS,
)


def distances(w: Any, stop_points: Any, target_points: Any, rr: float, decided: int) -> tuple[int, int]:
    """Stop and target distance decided at a bar, in points; 0 where there is none."""
    stop = stop_points[decided * w[STOP_STRIDE]]
    if not w[HAS_TARGET]:
        return stop, 0
    if rr > 0.0:
        return stop, target_points_from_rr(rr, stop)
    return stop, target_points[decided * w[TARGET_STRIDE]]


def carry_out(
    w: Any,
    code: int,
    stop: int,
    target: int,
    bar: int,
    bid: int,
    ask: int,
    vn: int,
    vd: int,
) -> None:
    """Carry out a decision at this quote: the strategy's exit first, then its entry."""
    if w[POS] != 0:
        reason = exit_reason(w[POS], code)
        if reason == REVERSE and not w[REVERSES]:
            reason = NO_EXIT
        if reason != NO_EXIT:
            price = slipped(-w[POS], close_quote(w[POS], bid, ask), w[SLIPPAGE])
            book_exit(w, bar, reason, price, vn, vd)
    if w[POS] == 0:
        try_entry(w, code, stop, target, bar, bid, ask, vn, vd)


def try_entry(w: Any, code: int, stop: int, target: int, bar: int, bid: int, ask: int, vn: int, vd: int) -> None:
    """Carry out an entry decision in bar ``bar`` at that quote, or note why it was skipped."""
    side = entry_side(code)
    if side == 0:
        return
    quote = entry_quote(side, bid, ask)
    price = slipped(side, quote, w[SLIPPAGE])
    steps, reason = entry_steps(
        w, w[BALANCE], 0, 0, bar - w[LAST_EXIT], code, side, quote, ask - bid, stop, target, vn, vd
    )
    if reason == 0:
        reason = margin_refusal(w, price, steps, vn, vd)
    if reason != 0:
        note_skip(w, bar, side, reason)
        return
    sl, tp = protection_levels(side, quote, stop, target)
    open_position(w, side, steps, price, sl if stop > 0 else 0, tp, bar, vn, vd)


def entry_steps(
    w: Any,
    equity: int,
    held: int,
    notional: int,
    since_exit: int,
    code: int,
    side: int,
    price: int,
    spread: int,
    stop: int,
    target: int,
    vn: int,
    vd: int,
) -> tuple[int, int]:
    """Volume of an entry priced at ``price``, and 0, or 0 and why it is not made: price, guards, size, volume guards.

    ``equity``, ``held`` positions and their ``notional`` are those of all symbols; ``since_exit`` are bars.
    """
    reason = 0
    if w[STOP_REQUIRED] or stop > 0:
        reason = entry_refusal(side, price, spread, stop, w[HAS_TARGET] != 0, target)
    elif w[HAS_TARGET]:
        reason = entry_refusal(side, price, 0, 1, True, target)
    if reason == 0:
        reason = entry_denied(
            code & OUTSIDE_HOURS != 0,
            w[TRIPPED],
            w[BASE],
            equity,
            w[DAILY_LOSS_PPM],
            w[PEAK_BASE],
            w[DRAWDOWN_PPM],
            w[LOSSES],
            w[MAX_LOSSES],
            0,
            w[MAX_OPEN_LIMIT],
            held,
            w[MAX_OPEN_RUN_LIMIT],
            since_exit,
            w[COOLDOWN_BARS],
            spread,
            w[MAX_SPREAD_POINTS],
        )
        if holds_on(reason):
            w[TRIPPED] = reason
    steps = w[FIXED_STEPS]
    if reason == 0 and steps == 0:
        steps, _, reason = lots_for_risk(equity, w[RISK_PPM], stop, vn, vd, w[MIN_STEPS], w[MAX_STEPS])
    if reason == 0 and (w[MAX_LOTS_STEPS] != 0 or w[EXPOSURE_CENTI] != 0):
        reason = volume_denied(
            steps, w[MAX_LOTS_STEPS], notional + money(price, steps, vn, vd), equity, w[EXPOSURE_CENTI]
        )
    if reason != 0:
        return 0, reason
    return steps, 0


def count_net(w: Any, net: int) -> None:
    """Count what a closed part earned."""
    if net > 0:
        w[WINS] += 1
        w[GROSS_WIN] += net
    else:
        w[GROSS_LOSS] -= net


def note_skip(w: Any, bar: int, side: int, reason: int) -> None:
    """Count an entry that was not made, and keep why."""
    if w[FULL]:
        at = w[SKIPS_AT] + w[SKIPS] * SKIP_WIDTH
        w[at] = bar
        w[at + 1] = side
        w[at + 2] = reason
    w[SKIPS] += 1


def open_position(w: Any, side: int, steps: int, price: int, sl: int, tp: int, bar: int, vn: int, vd: int) -> None:
    """Hold a position from this bar on, with its margin, and book the commission of its entry."""
    w[POS] = side
    w[STEPS] = steps
    w[ENTRY_BAR] = bar
    w[ENTRY_PRICE] = price
    w[SL] = sl
    w[TP] = tp
    w[RESULT] = 0
    w[ENTRY_COST] = commission(steps, w[COMMISSION_NUM], w[COMMISSION_DEN])
    w[BALANCE] += w[ENTRY_COST]
    hold(w, vn, vd)


def book_exit(w: Any, bar: int, reason: int, price: int, vn: int, vd: int) -> None:
    """Close the position at ``price``: book profit and commission, write the trade."""
    write_exit(w, bar, reason, price, w[STEPS], w[ENTRY_COST], vn, vd)
    w[LAST_EXIT] = bar
    w[LOSSES] = w[LOSSES] + 1 if w[RESULT] < 0 else 0
    w[POS] = 0


def write_exit(w: Any, bar: int, reason: int, price: int, steps: int, entry_cost: int, vn: int, vd: int) -> None:
    """Book the close of ``steps`` of the position and write them as a trade, with their part of the entry's commission."""
    profit = money(w[POS] * (price - w[ENTRY_PRICE]), steps, vn, vd)
    cost = commission(steps, w[COMMISSION_NUM], w[COMMISSION_DEN])
    w[BALANCE] += profit + cost
    cost += entry_cost
    w[COMMISSION] += cost
    swap = release(w, steps)
    w[SWAP] += swap
    net = profit + cost + swap
    count_net(w, net)
    w[RESULT] += net
    if w[FULL]:
        at = w[TRADES_AT] + w[TRADES] * TRADE_WIDTH
        w[at] = w[POS]
        w[at + 1] = steps
        w[at + 2] = w[ENTRY_BAR]
        w[at + 3] = w[ENTRY_PRICE]
        w[at + 4] = bar
        w[at + 5] = price
        w[at + 6] = reason
        w[at + 7] = profit
        w[at + 8] = cost
        w[at + 9] = swap
    w[TRADES] += 1

"""What happens to a position at one moment: the rules applied to the loop's state. Plain functions, compiled with the loop."""

from __future__ import annotations

from typing import Any

from toolkit.risk.guardrails import entry_denied
from toolkit.simulation.rules import (
    NO_EXIT,
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
    ENTRY_BAR,
    ENTRY_COST,
    ENTRY_PRICE,
    FIXED_STEPS,
    FULL,
    GROSS_LOSS,
    GROSS_WIN,
    HAS_TARGET,
    LAST_EXIT,
    MAX_OPEN_LIMIT,
    MAX_SPREAD_POINTS,
    MAX_STEPS,
    MIN_STEPS,
    POS,
    REVERSES,
    RISK_PPM,
    SKIP_WIDTH,
    SKIPS,
    SL,
    SLIPPAGE,
    STEPS,
    STOP_REQUIRED,
    STOP_STRIDE,
    TARGET_STRIDE,
    TP,
    TRADE_WIDTH,
    TRADES,
    WINS,
)


def distances(p: Any, stop_points: Any, target_points: Any, rr: float, decided: int) -> tuple[int, int]:
    """Stop and target distance decided at a bar, in points; 0 where there is none."""
    stop = stop_points[decided * p[STOP_STRIDE]]
    if not p[HAS_TARGET]:
        return stop, 0
    if rr > 0.0:
        return stop, target_points_from_rr(rr, stop)
    return stop, target_points[decided * p[TARGET_STRIDE]]


def carry_out(
    s: Any,
    p: Any,
    code: int,
    stop: int,
    target: int,
    bar: int,
    bid: int,
    ask: int,
    vn: int,
    vd: int,
    trades: Any,
    skips: Any,
) -> None:
    """Carry out a decision at this quote: the strategy's exit first, then its entry."""
    if s[POS] != 0:
        reason = exit_reason(s[POS], code)
        if reason == REVERSE and not p[REVERSES]:
            reason = NO_EXIT
        if reason != NO_EXIT:
            price = slipped(-s[POS], close_quote(s[POS], bid, ask), p[SLIPPAGE])
            book_exit(s, p, bar, reason, price, vn, vd, trades)
    if s[POS] == 0:
        try_entry(s, p, code, stop, target, bar, bid, ask, vn, vd, skips)


def try_entry(
    s: Any, p: Any, code: int, stop: int, target: int, bar: int, bid: int, ask: int, vn: int, vd: int, skips: Any
) -> None:
    """Carry out an entry decision in bar ``bar`` at that quote, or note why it was skipped."""
    side = entry_side(code)
    if side == 0:
        return
    quote = entry_quote(side, bid, ask)
    reason = 0
    if p[STOP_REQUIRED] or stop > 0:
        reason = entry_refusal(side, quote, stop, p[HAS_TARGET] != 0, target)
    elif p[HAS_TARGET]:
        reason = entry_refusal(side, quote, 1, True, target)
    if reason == 0:
        reason = entry_denied(
            s[BASE],
            s[BALANCE],
            p[DAILY_LOSS_PPM],
            0,
            p[MAX_OPEN_LIMIT],
            bar - s[LAST_EXIT],
            p[COOLDOWN_BARS],
            ask - bid,
            p[MAX_SPREAD_POINTS],
        )
    steps = p[FIXED_STEPS]
    if reason == 0 and steps == 0:
        steps, _, reason = lots_for_risk(s[BALANCE], p[RISK_PPM], stop, vn, vd, p[MIN_STEPS], p[MAX_STEPS])
    if reason != 0:
        if p[FULL]:
            at = s[SKIPS] * SKIP_WIDTH
            skips[at] = bar
            skips[at + 1] = side
            skips[at + 2] = reason
        s[SKIPS] += 1
        return
    sl, tp = protection_levels(side, quote, stop, target)
    s[POS] = side
    s[STEPS] = steps
    s[ENTRY_BAR] = bar
    s[ENTRY_PRICE] = slipped(side, quote, p[SLIPPAGE])
    s[SL] = sl if stop > 0 else 0
    s[TP] = tp
    s[ENTRY_COST] = commission(steps, p[COMMISSION_NUM], p[COMMISSION_DEN])
    s[BALANCE] += s[ENTRY_COST]


def book_exit(s: Any, p: Any, bar: int, reason: int, price: int, vn: int, vd: int, trades: Any) -> None:
    """Close the position at ``price``: book profit and commission, write the trade."""
    steps = s[STEPS]
    profit = money(s[POS] * (price - s[ENTRY_PRICE]), steps, vn, vd)
    cost = commission(steps, p[COMMISSION_NUM], p[COMMISSION_DEN])
    s[BALANCE] += profit + cost
    cost += s[ENTRY_COST]
    s[COMMISSION] += cost
    net = profit + cost
    if net > 0:
        s[WINS] += 1
        s[GROSS_WIN] += net
    else:
        s[GROSS_LOSS] -= net
    if p[FULL]:
        at = s[TRADES] * TRADE_WIDTH
        trades[at] = s[POS]
        trades[at + 1] = steps
        trades[at + 2] = s[ENTRY_BAR]
        trades[at + 3] = s[ENTRY_PRICE]
        trades[at + 4] = bar
        trades[at + 5] = price
        trades[at + 6] = reason
        trades[at + 7] = profit
        trades[at + 8] = cost
        trades[at + 9] = 0
    s[TRADES] += 1
    s[LAST_EXIT] = bar
    s[POS] = 0

"""Margin and swap of the loop's one position: set when it opens, looked at where the loop stops. Compiled with the loop.

``w`` is the working memory of `toolkit.simulation.state`. Nothing here costs a bar anything while the account is flat:
the loop scans for `STOP_OUT_AT` as for a stop, and stops once for each platform day while swap is charged.
"""

from __future__ import annotations

from typing import Any

from toolkit.simulation.holding.margin import equity_floor, loss_points_over, margin_needed, stop_out_price
from toolkit.simulation.holding.swap import swap_money
from toolkit.simulation.rules import INSUFFICIENT_MARGIN, NO_EXIT, STOP_OUT, close_quote, equity
from toolkit.simulation.state import (
    BALANCE,
    BARS,
    DAY,
    DAY_LAST_AT,
    DAYS,
    ENTRY_PRICE,
    FLOOR,
    MARGIN,
    MARGIN_DEN,
    MARGIN_MODE,
    MARGIN_NUM,
    MOST_DEN,
    MOST_NUM,
    NIGHT_BAR,
    NIGHT_DAY,
    NO_LEVEL_ABOVE,
    POS,
    STEPS,
    STOP_OUT_AT,
    STOP_OUT_PERCENT,
    SWAP_DEN,
    SWAP_LONG,
    SWAP_MODE,
    SWAP_SHORT,
    TRADE_SWAP,
)


def margin_refusal(w: Any, price: int, steps: int, vn: int, vd: int) -> int:
    """INSUFFICIENT_MARGIN when an entry at ``price`` needs more margin than the flat account has equity, else OK."""
    if w[MARGIN_MODE] == 0:
        return 0
    need = margin_needed(w[MARGIN_MODE], price, steps, vn, vd, w[MARGIN_NUM], w[MARGIN_DEN])
    return INSUFFICIENT_MARGIN if need > w[BALANCE] else 0


def hold(w: Any, vn: int, vd: int) -> None:
    """Set what the position just opened needs: its margin's floor and the first night it is charged for."""
    w[TRADE_SWAP] = 0
    w[MARGIN] = 0
    w[STOP_OUT_AT] = 0
    if w[MARGIN_MODE] != 0:
        w[MARGIN] = margin_needed(w[MARGIN_MODE], w[ENTRY_PRICE], w[STEPS], vn, vd, w[MARGIN_NUM], w[MARGIN_DEN])
        arm(w)
    if w[SWAP_MODE] != 0:
        w[NIGHT_DAY] = w[DAY]
        next_night(w)


def release(w: Any, steps: int) -> int:
    """Take ``steps`` out of the position: its part of the margin is free, its part of the swap is returned."""
    swap: int = w[TRADE_SWAP] * steps // w[STEPS]
    w[TRADE_SWAP] -= swap
    w[MARGIN] -= w[MARGIN] * steps // w[STEPS]
    return swap


def arm(w: Any) -> None:
    """Set the price at or beyond which the position may be stopped out, by the largest value a point has in the run."""
    w[FLOOR] = equity_floor(w[MARGIN], w[STOP_OUT_PERCENT])
    if w[BALANCE] < w[FLOOR]:
        # Open profit alone carries the account. How much is needed is least where a point is worth most, so the largest
        # value is no safe bound here: every bar is looked at by the exact test.
        w[STOP_OUT_AT] = NO_LEVEL_ABOVE - 1 if w[POS] > 0 else 1
        return
    price = w[ENTRY_PRICE] - w[POS] * loss_points_over(w[BALANCE] - w[FLOOR], w[STEPS], w[MOST_NUM], w[MOST_DEN])
    if w[POS] > 0:
        w[STOP_OUT_AT] = price if price > 0 else 0
    else:
        w[STOP_OUT_AT] = price if price < NO_LEVEL_ABOVE else 0


def next_night(w: Any) -> None:
    """Go on to the first bar of the next platform day."""
    w[NIGHT_BAR] = w[w[DAY_LAST_AT] + w[NIGHT_DAY]] + 1
    w[NIGHT_DAY] += 1


def pay_night(w: Any, bid: int, ask: int, vn: int, vd: int) -> None:
    """Book the swap that is due at the first open of a platform day, at that open's quote."""
    nights = w[w[DAY_LAST_AT] + w[DAYS] + w[NIGHT_DAY]]
    if nights > 0:
        side = w[POS]
        rate = w[SWAP_LONG] if side > 0 else w[SWAP_SHORT]
        swap = swap_money(w[SWAP_MODE], rate, w[SWAP_DEN], close_quote(side, bid, ask), w[STEPS], nights, vn, vd)
        w[BALANCE] += swap
        w[TRADE_SWAP] += swap
        if w[MARGIN_MODE] != 0:
            arm(w)
    next_night(w)


def night_limit(w: Any) -> int:
    """Bar at which a scan has to stop for the next night: the end where no swap is charged."""
    return w[NIGHT_BAR] if w[SWAP_MODE] != 0 else w[BARS]  # type: ignore[no-any-return]


def stop_out_at_open(w: Any, bid: int, ask: int, vn: int, vd: int) -> tuple[int, int]:
    """Stop-out at a bar's open quote: ``(reason, price)``."""
    mark = close_quote(w[POS], bid, ask)
    if equity(w[BALANCE], w[POS], w[ENTRY_PRICE], mark, w[STEPS], vn, vd) < w[FLOOR]:
        return STOP_OUT, mark
    return NO_EXIT, 0


def stop_out_in_range(w: Any, bid: int, bid_low: int, ask: int, ask_high: int, vn: int, vd: int) -> tuple[int, int]:
    """Stop-out inside a bar's range: ``(reason, price)``; asked after stop and target."""
    side = w[POS]
    worst = bid_low if side > 0 else ask_high
    if equity(w[BALANCE], side, w[ENTRY_PRICE], worst, w[STEPS], vn, vd) >= w[FLOOR]:
        return NO_EXIT, 0
    opened = bid if side > 0 else ask
    budget = w[BALANCE] - w[FLOOR]
    return STOP_OUT, stop_out_price(side, w[ENTRY_PRICE], opened, worst, budget, w[STEPS], vn, vd)

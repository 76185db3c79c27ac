"""Margin and stop-out as scalar functions on integers, shared by the compiled loops and by the paper platform.

Money is minor units of the account currency, prices are points, volumes volume steps, ``vn/vd`` is the point value, all as
in `toolkit.simulation.rules`. A position's margin is fixed by its entry; it does not follow the price.
"""

from __future__ import annotations

from toolkit.simulation.rules import money, mul_div_floor

MARGIN_OFF = 0
MARGIN_OF_NOTIONAL = 1  # a part of the value at the entry price, converted like profit
MARGIN_PER_STEP = 2  # an amount for each step: the base currency is the account's


def margin_needed(mode: int, price: int, steps: int, vn: int, vd: int, num: int, den: int) -> int:
    """Margin of a position entered at ``price``, rounded half up; 0 where the account has no limit.

    ``num/den`` is the part of the notional that is blocked, or the account money a step blocks.
    """
    if mode == MARGIN_OFF:
        return 0
    if mode == MARGIN_PER_STEP:
        return mul_div_floor(steps, 2 * num, den, 2 * den)
    return mul_div_floor(money(price, steps, vn, vd), 2 * num, den, 2 * den)


def equity_floor(margin: int, stop_out_percent: int) -> int:
    """Lowest equity at which the margin level (equity over margin) is not below the stop-out level."""
    return (margin * stop_out_percent + 99) // 100


def loss_points_over(budget: int, steps: int, vn: int, vd: int) -> int:
    """Fewest points of loss, counted from the entry price, at which the booked loss is more than ``budget``.

    Negative where the position must lie that far in profit for its loss not to exceed a negative budget.
    """
    if budget >= 0:
        return mul_div_floor(2 * budget + 1, vd, 2 * steps * vn - 1, 2 * steps * vn)
    return 1 - mul_div_floor(-2 * budget - 1, vd, 2 * steps * vn - 1, 2 * steps * vn)


def stop_out_price(side: int, entry: int, opened: int, worst: int, budget: int, steps: int, vn: int, vd: int) -> int:
    """Price at which a position is stopped out in a bar whose worst price is too bad for the account.

    It is the first price on the way from ``opened`` to ``worst`` (of the closing quote) at which the loss is more than
    ``budget``.
    """
    price = entry - side * loss_points_over(budget, steps, vn, vd)
    if side > 0:
        return max(worst, min(price, opened))
    return min(worst, max(price, opened))

"""Swap of one position as a scalar function on integers, shared by the compiled loops and by the paper platform."""

from __future__ import annotations

from toolkit.simulation.rules import mul_div_floor

SWAP_OFF = 0
SWAP_POINTS = 1  # points a night
SWAP_OF_PRICE = 2  # a part of the price a night: interest, or money in the base currency
SWAP_MONEY = 3  # account money a night for each step


def swap_money(mode: int, rate: int, den: int, price: int, steps: int, nights: int, vn: int, vd: int) -> int:
    """Swap of ``nights`` in minor units, rounded half away from zero; negative when the position pays.

    Parameters
    ----------
    mode, rate, den
        ``rate/den`` is the side's rate of one night: points, the part of ``price``, or minor units a step.
    price
        Quote that would close the position, in points.
    vn, vd
        Point value, see `toolkit.simulation.rules`.
    """
    size = rate if rate >= 0 else -rate
    size *= nights
    if mode == SWAP_OF_PRICE:
        size *= price
    if mode == SWAP_MONEY:
        vn = 1
        vd = 1
    amount = (mul_div_floor(size, 2 * steps * vn, 0, vd) + den) // (2 * den)
    return amount if rate >= 0 else -amount


def nights_charged(first_day: int, last_day: int, triple_weekday: int) -> int:
    """Nights charged for the midnights that end the days from ``first_day`` to ``last_day``, both included.

    Days are counted from 1970-01-01, a Thursday. The end of a Saturday or Sunday is not charged, that of
    ``triple_weekday`` (0 is Monday) three times.
    """
    days = last_day - first_day + 1
    if days <= 0:
        return 0
    weeks = days // 7
    weekly = 5 + (2 if triple_weekday < 5 else 3)
    nights = weeks * weekly
    day = first_day + weeks * 7
    while day <= last_day:
        weekday = (day + 3) % 7
        if weekday == triple_weekday:
            nights += 3
        elif weekday < 5:
            nights += 1
        day += 1
    return nights

"""The fill rules as scalar functions on integers, shared by the compiled loop and by ``SimulatedPlatform``.

Prices and distances are points, volumes are volume steps, money is minor units of the account currency; ``side`` is
+1 for a buy and -1 for a sell; a level of 0 means there is none. Everything is plain Python that numba compiles
unchanged: no object, no exception, no container, and no intermediate beyond 63 bits, so both give the same integers.

The *point value* of an instrument is the rational ``num/den``: account minor units gained by one step over one point,
with 0 < num < 2**31 and 0 < den < 2**61 (`toolkit.simulation.account.point_value` makes it and checks that).
"""

from __future__ import annotations

import math

from toolkit.risk.rounding import MAX_POINTS
from toolkit.risk.rounding import points_from_distance as points_from_distance
from toolkit.risk.rounding import stop_points_from_distance as stop_points_from_distance
from toolkit.risk.rounding import whole_pips_up as whole_pips_up

BUY = 1
SELL = -1

# the decision of a closed bar, one bit each (the strategy layer has already cleared contradictions)
ENTER_LONG = 1
ENTER_SHORT = 2
EXIT_LONG = 4
EXIT_SHORT = 8
OUTSIDE_HOURS = 128  # carried out outside the guards' trading hours: exits only

# exit reasons, as stored in trade records
NO_EXIT = 0
STOP_LOSS = 1
TAKE_PROFIT = 2
SIGNAL = 3
REVERSE = 4
STOP_OUT = 5
MANUAL = 6
FLATTEN = 7
TIME_EXIT = 8
PARTIAL = 9
EXIT_REASONS = (
    "",
    "stop_loss",
    "take_profit",
    "signal",
    "reverse",
    "stop_out",
    "manual",
    "flatten",
    "time_exit",
    "partial",
)

# why an entry was not made; guard denials continue the list at 16 (toolkit.risk.guard_rules)
OK = 0
NO_STOP = 1
TARGET_NOT_BEYOND = 2
STOP_BEYOND_ZERO = 3
NO_EQUITY = 4
BELOW_MINIMUM = 5
INSUFFICIENT_MARGIN = 6
STOP_INSIDE_SPREAD = 7
SKIP_REASONS = (
    "",
    "no_stop",
    "target_not_beyond_quote",
    "stop_beyond_zero",
    "no_equity",
    "below_minimum_lots",
    "insufficient_margin",
    "stop_inside_spread",
)

_LIMIT = 1 << 62
_SAFE = 4.0e18
_PPM = 1_000_000


def entry_side(code: int) -> int:
    """Side a decision enters: +1, -1, or 0 for none."""
    if code & ENTER_LONG:
        return BUY
    if code & ENTER_SHORT:
        return SELL
    return 0


def exit_reason(side: int, code: int) -> int:
    """Why a decision closes a position: SIGNAL for the side's exit, else REVERSE for the opposite entry, else NO_EXIT.

    Both at once (the usual averages-crossing strategy) is SIGNAL: the exit comes before the entry at the same open.
    """
    if side > 0:
        if code & EXIT_LONG:
            return SIGNAL
        return REVERSE if code & ENTER_SHORT else NO_EXIT
    if code & EXIT_SHORT:
        return SIGNAL
    return REVERSE if code & ENTER_LONG else NO_EXIT


def mul_div_floor(a: int, b: int, c: int, d: int) -> int:
    """Compute ``(a * b + c) // d`` exactly, without any intermediate beyond 63 bits.

    ``a``, ``b``, ``c`` are in [0, 2**62), ``d`` in [1, 2**62). A quotient that does not fit is returned as 2**62.
    """
    if float(a) * float(b) + float(c) < _SAFE:  # far enough below 2**62 for any rounding of the floats
        return (a * b + c) // d
    return mul_div_long(a, b, c, d)


def mul_div_long(a: int, b: int, c: int, d: int) -> int:
    """`mul_div_floor` where the product may pass 62 bits: binary multiplication carrying quotient and remainder."""
    bq = b // d
    br = b % d
    q = 0
    r = 0
    bit = 61
    while bit >= 0:
        if q >= _LIMIT >> 1:
            return _LIMIT
        q = q + q
        r = r + r
        if r >= d:
            r -= d
            q += 1
        if (a >> bit) & 1:
            q += bq
            r += br
            if r >= d:
                r -= d
                q += 1
        bit -= 1
    cq = c // d
    r += c % d
    q += cq
    if r >= d:
        q += 1
    return q if q < _LIMIT else _LIMIT


def money(points: int, steps: int, num: int, den: int) -> int:
    """Value of ``points`` over ``steps`` in account minor units, rounded half away from zero.

    ``num/den`` is the point value; ``|points| * steps`` must stay below 2**62.
    """
    if den == 1:
        return points * steps * num
    if points < 0:
        return -mul_div_floor(-points * steps, 2 * num, den, 2 * den)
    return mul_div_floor(points * steps, 2 * num, den, 2 * den)


def commission(steps: int, num: int, den: int) -> int:
    """Commission of one side of a deal, as a negative number or 0, rounded half away from zero.

    ``num/den`` is the commission of one step in account minor units.
    """
    if num == 0:
        return 0
    return -money(1, steps, num, den)


def entry_quote(side: int, bid: int, ask: int) -> int:
    """Quote an entry is priced at: a buy pays the ask, a sell gets the bid."""
    return ask if side > 0 else bid


def close_quote(side: int, bid: int, ask: int) -> int:
    """Quote an open position is closed and marked at: a long at the bid, a short at the ask."""
    return bid if side > 0 else ask


def slipped(side: int, price: int, slippage_points: int) -> int:
    """Price of a market fill after slippage; ``side`` is that of the deal (a buy pays more, a sell gets less)."""
    return price + side * slippage_points


def target_points_from_rr(rr: float, stop_points: int) -> int:
    """Distance of a reward-to-risk target: the nearest point of ``rr * stop_points``, 0 when there is none."""
    if not rr > 0.0:
        return 0
    x = rr * stop_points + 0.5
    if not x < MAX_POINTS:
        return 0
    return math.floor(x)


def protection_levels(side: int, quote: int, stop_points: int, target_points: int) -> tuple[int, int]:
    """Absolute stop and target of an entry, from the quote it is priced at (before slippage).

    Returns
    -------
    tuple of int
        ``(stop, target)`` in points; target 0 when ``target_points`` is 0. Ask `entry_refusal` first: a level at
        or below a price of zero cannot be placed.
    """
    sl = quote - side * stop_points
    tp = quote + side * target_points if target_points != 0 else 0
    return sl, tp


def entry_refusal(side: int, quote: int, spread: int, stop_points: int, has_target: bool, target_points: int) -> int:
    """Why an entry with these distances cannot be made: OK, or a code of `SKIP_REASONS`.

    ``spread`` is that of the quote. A stop no farther away than it is already passed by the quote that would close the
    position; trading servers refuse such an order, so it is refused here as well.
    """
    if stop_points <= 0:
        return NO_STOP
    if stop_points <= spread:
        return STOP_INSIDE_SPREAD
    if side > 0 and stop_points >= quote:
        return STOP_BEYOND_ZERO
    if has_target and (target_points <= 0 or (side < 0 and target_points >= quote)):
        return TARGET_NOT_BEYOND
    return OK


def open_exit(side: int, sl: int, tp: int, bid: int, ask: int) -> tuple[int, int]:
    """Exit of a position that gapped over its stop or target: ``(reason, price)``, filled at the open quote."""
    if side > 0:
        if sl != 0 and bid <= sl:
            return STOP_LOSS, bid
        if tp != 0 and bid >= tp:
            return TAKE_PROFIT, bid
    else:
        if sl != 0 and ask >= sl:
            return STOP_LOSS, ask
        if tp != 0 and ask <= tp:
            return TAKE_PROFIT, ask
    return NO_EXIT, 0


def range_exit(
    side: int,
    sl: int,
    tp: int,
    bid_open: int,
    bid_high: int,
    bid_low: int,
    ask_open: int,
    ask_high: int,
    ask_low: int,
) -> tuple[int, int]:
    """Exit inside the range of a bar: ``(reason, price)``, the stop before the target, at exactly the level.

    A long is watched on the bid, a short on the ask. A level that the open quote has already passed closes at that quote:
    a stop never at a better one, and the target of an order that filled beyond it never at one that was not to be had.
    """
    if side > 0:
        if sl != 0 and bid_low <= sl:
            return STOP_LOSS, (sl if bid_open > sl else bid_open)
        if tp != 0 and bid_high >= tp:
            return TAKE_PROFIT, (tp if bid_open < tp else bid_open)
    else:
        if sl != 0 and ask_high >= sl:
            return STOP_LOSS, (sl if ask_open < sl else ask_open)
        if tp != 0 and ask_low <= tp:
            return TAKE_PROFIT, (tp if ask_open > tp else ask_open)
    return NO_EXIT, 0


def equity(balance: int, side: int, entry: int, mark: int, steps: int, num: int, den: int) -> int:
    """Balance plus the open profit of one position marked at ``mark`` (its closing quote), in minor units."""
    return balance + money(side * (mark - entry), steps, num, den)


def lots_for_risk(
    equity_minor: int,
    risk_ppm: int,
    stop_points: int,
    num: int,
    den: int,
    min_steps: int,
    max_steps: int,
) -> tuple[int, bool, int]:
    """Largest volume whose loss at the stop does not exceed the risk, by an exact comparison.

    The volume ``s`` satisfies ``s * stop_points * num / den <= equity_minor * risk_ppm / 10**6``; neither side is
    rounded.

    Parameters
    ----------
    equity_minor
        The run's equity, minor units, below 2**62.
    risk_ppm
        Risk in millionths of equity: 1 % is 10,000; at most 1,000,000.
    stop_points
        Stop distance in points (already whole pips).
    num, den
        Point value, see the module's text.
    min_steps, max_steps
        Smallest and largest volume of the instrument in steps.

    Returns
    -------
    tuple
        ``(steps, capped, reason)``; steps 0 with a reason (NO_STOP, NO_EQUITY, BELOW_MINIMUM) when there is no trade.
    """
    if stop_points <= 0:
        return 0, False, NO_STOP
    if equity_minor <= 0 or risk_ppm <= 0:
        return 0, False, NO_EQUITY
    # risk = whole + part/10**6 minor units; floors may be nested because the left-hand side is whole
    millions = equity_minor // _PPM
    rest = (equity_minor % _PPM) * risk_ppm
    whole = millions * risk_ppm + rest // _PPM
    part = mul_div_floor(rest % _PPM, den, 0, _PPM)
    steps = mul_div_floor(whole, den, part, stop_points * num)
    if steps < min_steps:
        return 0, False, BELOW_MINIMUM
    if steps > max_steps:
        return max_steps, True, OK
    return steps, False, OK

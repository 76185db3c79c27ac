"""Guardrails as scalar functions on integers, called plainly by the live path and compiled into the backtest loop.

Money is minor units of the account currency, volume is whole steps; a limit of 0 switches a guard off. Everything is plain
Python that numba compiles unchanged, with no intermediate beyond 63 bits. Guards are asked at the moment an entry would be
made: the open of a bar, after the exits of the same open.
"""

from __future__ import annotations

_PPM = 1_000_000
_CENTI = 100

# why a guard denied an entry; the codes continue those of toolkit.simulation.rules.SKIP_REASONS
DAILY_LOSS = 16
MAX_OPEN = 17
COOLDOWN = 18
MAX_SPREAD = 19
DRAWDOWN = 20
LOSING_STREAK = 21
MAX_OPEN_RUN = 22
MAX_LOTS = 23
MAX_EXPOSURE = 24
TRADING_HOURS = 25


def share_lost(base: int, equity: int, limit_ppm: int) -> bool:
    """Whether equity lies ``limit_ppm`` millionths of a base or more below it; exact, never rounded."""
    if limit_ppm <= 0:
        return False
    loss = base - equity
    if base <= 0 or loss >= base:
        return True
    if loss <= 0:
        return False
    # loss * 10**6 >= base * ppm, split so that no product passes 63 bits for any base below 2**62
    whole = (base // _PPM) * limit_ppm
    rest = (base % _PPM) * limit_ppm
    need = whole + (rest + _PPM - 1) // _PPM
    return loss >= need


def daily_loss_reached(day_base: int, equity: int, limit_ppm: int) -> bool:
    """Whether equity has lost ``limit_ppm`` millionths of the day's base or more."""
    return share_lost(day_base, equity, limit_ppm)


def drawdown_reached(peak: int, equity: int, limit_ppm: int) -> bool:
    """Whether equity lies ``limit_ppm`` millionths or more below the highest equity at the start of any day so far."""
    return share_lost(peak, equity, limit_ppm)


def losing_streak_reached(losses_in_a_row: int, limit: int) -> bool:
    """Whether as many trades in a row as allowed were closed at a loss on the present day."""
    return limit > 0 and losses_in_a_row >= limit


def cooldown_active(bars_since_exit: int, cooldown_bars: int) -> bool:
    """Whether the bar lies within ``cooldown_bars`` bars after the bar of the last exit (that bar itself included).

    ``bars_since_exit`` is the index of the entry's bar minus that of the exit's bar; negative when there was no exit
    yet.
    """
    return cooldown_bars > 0 and 0 <= bars_since_exit <= cooldown_bars


def max_open_reached(open_positions: int, limit: int) -> bool:
    """Whether as many positions as allowed are open already."""
    return limit > 0 and open_positions >= limit


def spread_too_wide(spread_points: int, limit_points: int) -> bool:
    """Whether the spread at the entry's quote is above the limit."""
    return limit_points > 0 and spread_points > limit_points


def lots_exceeded(steps: int, limit_steps: int) -> bool:
    """Whether a volume, what is open already included, is above the limit; a limit below one step is -1."""
    return limit_steps != 0 and steps > limit_steps


def exposure_exceeded(notional: int, equity: int, limit_centi: int) -> bool:
    """Whether a notional value, what is open already included, is above ``limit_centi`` hundredths of equity."""
    if limit_centi <= 0:
        return False
    if equity <= 0:
        return True
    return notional > (equity // _CENTI) * limit_centi + (equity % _CENTI) * limit_centi // _CENTI


def entry_denied(
    outside_hours: bool,
    tripped: int,
    day_base: int,
    equity: int,
    daily_loss_ppm: int,
    peak: int,
    drawdown_ppm: int,
    losses_in_a_row: int,
    max_losses: int,
    open_in_symbol: int,
    max_open_per_symbol: int,
    open_in_run: int,
    max_open: int,
    bars_since_exit: int,
    cooldown_bars: int,
    spread_points: int,
    max_spread_points: int,
) -> int:
    """First guard that denies the entry, as a code (0: none), always asked in the same order.

    ``tripped`` is the code of a guard that tripped before and has not ended yet, see `holds_on`.
    """
    if outside_hours:
        return TRADING_HOURS
    if tripped != 0:
        return tripped
    if daily_loss_reached(day_base, equity, daily_loss_ppm):
        return DAILY_LOSS
    if drawdown_reached(peak, equity, drawdown_ppm):
        return DRAWDOWN
    if losing_streak_reached(losses_in_a_row, max_losses):
        return LOSING_STREAK
    if max_open_reached(open_in_symbol, max_open_per_symbol):
        return MAX_OPEN
    if max_open_reached(open_in_run, max_open):
        return MAX_OPEN_RUN
    if cooldown_active(bars_since_exit, cooldown_bars):
        return COOLDOWN
    if spread_too_wide(spread_points, max_spread_points):
        return MAX_SPREAD
    return 0


def volume_denied(steps: int, limit_steps: int, notional: int, equity: int, limit_centi: int) -> int:
    """First guard on the size that denies the entry, as a code (0: none); both count what is open already."""
    if lots_exceeded(steps, limit_steps):
        return MAX_LOTS
    if exposure_exceeded(notional, equity, limit_centi):
        return MAX_EXPOSURE
    return 0


def ends_with_the_day(code: int) -> bool:
    """Whether a guard that has tripped goes on denying entries to the end of the platform's day."""
    return code in (DAILY_LOSS, LOSING_STREAK)


def holds_on(code: int) -> bool:
    """Whether a guard that has tripped goes on denying entries although its reason may have passed.

    The daily loss and the losing streak hold to the end of the platform's day, the drawdown until somebody resets it.
    """
    return ends_with_the_day(code) or code == DRAWDOWN

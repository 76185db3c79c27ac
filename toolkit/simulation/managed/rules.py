"""What a managed entry asks of each bar, as scalar functions on integers shared by the compiled loop, the paper venue and
the live path.

Prices and distances are points, volumes volume steps; ``side`` is +1 for a buy and -1 for a sell, 0 is no level, and a
ratio of 0.0 is none. Plain Python that numba compiles unchanged, as in `toolkit.simulation.rules`.
"""

from __future__ import annotations

from toolkit.simulation.rules import (
    ENTER_LONG,
    ENTER_SHORT,
    EXIT_LONG,
    EXIT_SHORT,
    OK,
    close_quote,
    entry_quote,
    target_points_from_rr,
)

AT_MARKET = 0
AT_LIMIT = 1
AT_STOP = 2
ENTRY_KINDS = ("market", "limit", "stop")

# why a pending order did not become a position; the codes continue those of toolkit.simulation.rules.SKIP_REASONS
TRIGGER_PASSED = 32
PENDING_EXPIRED = 33
PENDING_CANCELLED = 34
PENDING_REASONS = {
    TRIGGER_PASSED: "trigger_on_wrong_side",
    PENDING_EXPIRED: "pending_expired",
    PENDING_CANCELLED: "pending_cancelled",
}


def trigger_refusal(kind: int, side: int, level: int, bid: int, ask: int) -> int:
    """Why a pending order cannot be placed at this quote: TRIGGER_PASSED, or OK.

    A limit waits for a better price than the quote, a stop for a worse one; a level that the quote has reached is no
    order any more.
    """
    room = (entry_quote(side, bid, ask) - level) * side
    if kind == AT_STOP:
        room = -room
    return OK if level > 0 and room > 0 else TRIGGER_PASSED


def cancels_pending(side: int, code: int) -> bool:
    """Whether a decision takes back a pending order of that side: the side's exit does, and so does every new entry."""
    if code & (ENTER_LONG | ENTER_SHORT):
        return True
    return code & (EXIT_LONG if side > 0 else EXIT_SHORT) != 0


def pending_reached(kind: int, side: int, level: int, low: int, high: int) -> bool:
    """Whether a price between ``low`` and ``high`` (ask for a buy, bid for a sell) fills the order."""
    if (kind == AT_LIMIT) == (side > 0):
        return low <= level
    return high >= level


def stop_in_fill_bar(kind: int, side: int, stop: int, opened: int, worst: int, ended: int) -> bool:
    """Whether the stop of an order filled inside a bar counts as reached in that same bar.

    Within one bar the path is unknown. A stop that the price may have reached after the fill counts as reached; where the
    bar began beyond the stop (only a stop entry can), it counts if the bar also ended there. ``opened``, ``worst`` and
    ``ended`` are the bar's open, low and close on the bid for a long, its open, high and close on the ask for a short.
    """
    if stop == 0:
        return False
    from_beyond = kind == AT_STOP and side * (opened - stop) <= 0
    return side * ((ended if from_beyond else worst) - stop) <= 0


def best_of(side: int, best: int, bid_high: int, ask_low: int) -> int:
    """Best price of a position so far, on the quote that would close it."""
    if side > 0:
        return bid_high if bid_high > best else best
    return ask_low if ask_low < best else best


def gain_reached(side: int, entry: int, best: int, points: int, ratio: float, stop_points: int) -> bool:
    """Whether the best price is the asked profit away from the entry price; False where no profit is asked."""
    if ratio > 0.0:
        points = target_points_from_rr(ratio, stop_points)
    return points > 0 and side * (best - entry) >= points


def moved_stop(
    side: int,
    entry: int,
    stop: int,
    best: int,
    stop_points: int,
    per_pip: int,
    trail: int,
    trail_after: int,
    trail_ratio: float,
    even_after: int,
    even_ratio: float,
    even_plus: int,
) -> int:
    """Where the stop belongs after a closed bar; never looser than ``stop``, which is returned when nothing moves it.

    Break-even goes to the entry price plus ``even_plus``. The trail keeps ``trail`` points from the best price and moves
    the stop in whole pips of ``per_pip`` points.
    """
    if gain_reached(side, entry, best, even_after, even_ratio, stop_points):
        level = entry + side * even_plus
        if side * (level - stop) > 0:
            stop = level
    if trail > 0:
        active = trail_after <= 0 and not trail_ratio > 0.0
        if active or gain_reached(side, entry, best, trail_after, trail_ratio, stop_points):
            ahead = side * (best - stop) - trail
            if ahead >= per_pip:
                stop += side * (ahead // per_pip * per_pip)
    return stop


def stop_passed(side: int, stop: int, bid: int, ask: int) -> bool:
    """Whether the quote that closes a position is already at its new stop, or beyond."""
    return side * (close_quote(side, bid, ask) - stop) <= 0


def part_steps(steps: int, num: int, den: int, left: int, min_steps: int) -> int:
    """Steps that a partial take-profit closes: ``num/den`` of the entry's volume, rounded down.

    0 where that is less than the smallest volume, so the partial is left out; everything that is left where the rest would
    be less than it.
    """
    part = steps * num // den
    if part < min_steps:
        return 0
    return left if left - part < min_steps else part


def share(amount: int, steps: int, of: int) -> int:
    """Part of a position's money (commission of its entry, swap) that goes with ``steps`` of its ``of`` steps."""
    return amount * steps // of

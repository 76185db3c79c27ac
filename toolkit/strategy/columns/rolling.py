"""Mean and deviation of one window over a column in one pass, equal to the bit to `sma` and `std` stepped bar by bar.

Written for a compiler, in the manner of `toolkit.strategy.drivers.packing`; only used compiled. Bars at which something
happens (the window fills, a value is missing, a UTC day begins) take the step functions themselves. Between them the
sums are carried over plain arrays, in pieces that stay in the fastest cache, and what follows from the sums is left to
loops without memory, which become vector instructions.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from toolkit.strategy.indicators.windows import sma_step, std_step

PIECE = 1024


def lanes_window(
    x: Any,
    day: Any,
    n: int,
    one: float,
    k: float,
    mean_state: Any,
    mean_ring: Any,
    mean: Any,
    state: Any,
    ring: Any,
    deviation: Any,
    upper: Any,
    lower: Any,
) -> None:
    """Fill ``mean`` and, where they are not empty, ``deviation`` and ``mean`` plus and minus ``k`` deviations."""
    size = mean.shape[0]
    c, s, held, pos, last = mean_state[0], mean_state[1], mean_state[2], mean_state[3], mean_state[4]
    q, flat, before = state[2], state[6], state[7]
    wants_deviation = deviation.shape[0] > 0
    wants_band = upper.shape[0] > 0
    sums = np.empty(PIECE)
    squares = np.empty(PIECE)
    equal = np.empty(PIECE)
    since = 0
    i = 0
    while i < size:
        m, _, _, _, _, _ = sma_step(x[i], day[i], n, c, s, held, pos, last, mean_ring)
        v, c, s, q, held, pos, last, flat, before = std_step(
            x[i], day[i], n, one, c, s, q, held, pos, last, flat, before, ring
        )
        mean[i] = m
        if wants_deviation:
            deviation[i] = v
        if wants_band:
            upper[i] = m + k * v
            lower[i] = m - k * v
        since = since + 1 if x[i] == x[i] else 0
        i += 1
        if since < n:
            continue
        first = i
        running = True
        while running and i < size:
            count = 0
            stop = min(size, i + PIECE)
            old = x[i - n : stop - n]
            new = x[i:stop]
            days = day[i:stop]
            while count < len(new):
                value = new[count]
                if days[count] != last or value != value:
                    running = False
                    break
                d = value - c
                o = old[count] - c
                s = s + (d - o)
                q = q + (d * d - o * o)
                flat = flat + 1.0 if value == before else 1.0
                before = value
                sums[count] = s
                squares[count] = q
                equal[count] = flat
                count += 1
            middle = mean[i : i + count]
            for t in range(count):
                middle[t] = c + sums[t] / n
            for t in range(count):
                m = sums[t] * one
                v = squares[t] * one - m * m
                squares[t] = sqrt(v) if v > 0.0 and equal[t] < n else 0.0
            if wants_deviation:
                part = deviation[i : i + count]
                for t in range(count):
                    part[t] = squares[t]
            if wants_band:
                part = upper[i : i + count]
                for t in range(count):
                    part[t] = middle[t] + k * squares[t]
                part = lower[i : i + count]
                for t in range(count):
                    part[t] = middle[t] - k * squares[t]
            i += count
        moved = i - first
        since += moved
        for j in range(max(first, i - n), i):
            at = (int(pos) + (j - first)) % n
            mean_ring[at] = x[j]
            ring[at] = x[j]
        pos = float((int(pos) + moved) % n)
    mean_state[0], mean_state[1], mean_state[2], mean_state[3], mean_state[4] = c, s, held, pos, last
    state[0], state[1], state[2], state[3], state[4] = c, s, q, held, pos
    state[5], state[6], state[7] = last, flat, before

"""Trend followers: SuperTrend, parabolic stop and reverse, directional movement."""

from __future__ import annotations

from math import nan

from toolkit.errors import StrategyError, must_be
from toolkit.strategy.authoring.expressions import Expr, make, numeric, scalar
from toolkit.strategy.authoring.symbols import Outputs, as_bars
from toolkit.strategy.indicators.averages import wilder
from toolkit.strategy.indicators.elementwise import where
from toolkit.strategy.indicators.volatility import atr, true_range
from toolkit.strategy.registry import helper, step


@helper
def supertrend_bands(
    mid: float, width: float, close: float, upper: float, lower: float, side: float, prev: float
) -> tuple[float, float, float]:
    high = mid + width
    low = mid - width
    if side == 0.0:
        return high, low, (1.0 if close >= mid else -1.0)
    if high < upper or prev > upper:
        upper = high
    if low > lower or prev < lower:
        lower = low
    if side > 0.0:  # noqa: SIM108
        side = -1.0 if close < lower else 1.0
    else:
        side = 1.0 if close > upper else -1.0
    return upper, lower, side


@step("supertrend", "fff", state=(nan, nan, 0.0, nan), warm=lambda: 500)
def supertrend_step(
    mid: float, width: float, close: float, upper: float, lower: float, side: float, prev: float
) -> tuple[float, float, float, float, float]:
    if mid != mid or width != width or close != close:
        return nan, nan, nan, 0.0, nan
    upper, lower, side = supertrend_bands(mid, width, close, upper, lower, side, prev)
    return (lower if side > 0.0 else upper), upper, lower, side, close


@step("supertrend_side", "fff", state=(nan, nan, 0.0, nan), warm=lambda: 500)
def supertrend_side_step(
    mid: float, width: float, close: float, upper: float, lower: float, side: float, prev: float
) -> tuple[float, float, float, float, float]:
    if mid != mid or width != width or close != close:
        return nan, nan, nan, 0.0, nan
    upper, lower, side = supertrend_bands(mid, width, close, upper, lower, side, prev)
    return side, upper, lower, side, close


def supertrend(bars: object, n: object = 10, k: object = 3.0, *, seed: str = "first") -> Outputs:
    """Return ``line`` (the trailing band) and ``side`` (1 up, -1 down) of SuperTrend on hl2 with k times atr(n).

    The first side is up when the close lies at or above hl2. A band only moves towards the price until it is crossed.
    """
    source = as_bars(bars, "supertrend")
    width = numeric("mul", scalar(k, "supertrend"), atr(source, n, seed=seed))
    inputs = (source.hl2, width, source.close)
    return Outputs(line=make("supertrend", inputs), side=make("supertrend_side", inputs))


def bind_sar(start: float, most: float) -> tuple[float, float]:
    """Check the acceleration."""
    if not 0.0 < start <= most:
        raise StrategyError(
            must_be("acceleration of parabolic_sar", f"above 0 and at most {most}", start, "usual is 0.02")
        )
    return float(start), float(most)


@step(
    "parabolic_sar",
    "ff",
    settings=2,
    bound="ff",
    bind=bind_sar,
    state=(0.0, nan, nan, 0.0, nan, nan),
    warm=lambda start, most: 500,
)
def parabolic_sar_step(
    high: float,
    low: float,
    start: float,
    most: float,
    side: float,
    sar: float,
    ep: float,
    af: float,
    ph: float,
    pl: float,
) -> tuple[float, float, float, float, float, float, float]:
    if high != high or low != low:
        return nan, 0.0, nan, nan, 0.0, nan, nan
    if ph != ph:
        return nan, 0.0, nan, nan, 0.0, high, low
    if side == 0.0:
        down = pl - low
        side = -1.0 if down > 0.0 and down > high - ph else 1.0
        ep = high if side > 0.0 else low
        sar = pl if side > 0.0 else ph
        af = start
        ph = high
        pl = low
    turned = False
    if side > 0.0 and low <= sar:
        side = -1.0
        turned = True
        sar = ep
        ep = low
    elif side < 0.0 and high >= sar:
        side = 1.0
        turned = True
        sar = ep
        ep = high
    if turned:
        af = start
        if side < 0.0:
            sar = ph if sar < ph else sar
            sar = high if sar < high else sar
        else:
            sar = pl if sar > pl else sar
            sar = low if sar > low else sar
    shown = sar
    if not turned:
        if side > 0.0 and high > ep:
            ep = high
            af = af + start
        elif side < 0.0 and low < ep:
            ep = low
            af = af + start
        if af > most:
            af = most
    sar = sar + af * (ep - sar)
    if side > 0.0:
        sar = pl if sar > pl else sar
        sar = low if sar > low else sar
    else:
        sar = ph if sar < ph else sar
        sar = high if sar < high else sar
    return shown, side, sar, ep, af, high, low


def parabolic_sar(bars: object, start: object = 0.02, most: object = 0.2) -> Outputs:
    """Return ``line`` (Wilder's parabolic stop and reverse, as TA-Lib computes it) and ``side`` (1 below, -1 above)."""
    source = as_bars(bars, "parabolic_sar")
    settings = (scalar(start, "parabolic_sar"), scalar(most, "parabolic_sar"))
    line = make("parabolic_sar", (source.high, source.low), settings)
    return Outputs(line=line, side=where(line <= source.low, 1.0, -1.0))


@step("plus_dm", "ff", state=(nan, nan), warm=lambda: 1)
def plus_dm_step(high: float, low: float, ph: float, pl: float) -> tuple[float, float, float]:
    if ph != ph:
        return nan, high, low
    up = high - ph
    down = pl - low
    return (up if up > 0.0 and up > down else 0.0), high, low


@step("minus_dm", "ff", state=(nan, nan), warm=lambda: 1)
def minus_dm_step(high: float, low: float, ph: float, pl: float) -> tuple[float, float, float]:
    if ph != ph:
        return nan, high, low
    up = high - ph
    down = pl - low
    return (down if down > 0.0 and down > up else 0.0), high, low


def dmi(bars: object, n: object = 14, *, seed: str = "first") -> Outputs:
    """Return Wilder's directional movement: ``plus`` and ``minus`` (the DIs, 0 to 100) and ``adx``.

    Every smoothing is a Wilder average. TA-Lib starts from sums of n - 1 values, so the first few hundred bars differ.
    """
    source = as_bars(bars, "dmi")
    moved = wilder(true_range(source), n, seed=seed)
    plus = 100.0 * wilder(make("plus_dm", (source.high, source.low)), n, seed=seed) / moved
    minus = 100.0 * wilder(make("minus_dm", (source.high, source.low)), n, seed=seed) / moved
    dx = 100.0 * abs(plus - minus) / (plus + minus)
    return Outputs(plus=plus, minus=minus, adx=wilder(dx, n, seed=seed))


def adx(bars: object, n: object = 14, *, seed: str = "first") -> Expr:
    """Return the average directional index, see `dmi`."""
    return dmi(bars, n, seed=seed).adx

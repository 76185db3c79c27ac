"""A curve as small as a word, as SVG: the eye sees rise and fall, the figure beside it says how much."""

from __future__ import annotations

from collections.abc import Sequence

from panel_app.look import theme

WIDTH, HEIGHT = 84, 20


def sparkline(values: Sequence[float]) -> str:
    """Return the curve as SVG made of numbers only; an empty string for fewer than two values."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = (WIDTH - 4) / (len(values) - 1)
    points = " ".join(
        f"{2 + place * step:.1f},{HEIGHT - 2 - (value - low) / span * (HEIGHT - 4):.1f}"
        for place, value in enumerate(values)
    )
    colour = theme.money_colour(values[-1] - values[0])
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="realised profit" '
        f'style="vertical-align:middle"><polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/></svg>'
    )

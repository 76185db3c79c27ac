"""Text for people: money with its sign, ages, durations; and the escaping of every string that came from outside."""

from __future__ import annotations

import html
from datetime import datetime
from decimal import Decimal

from toolkit.clock import to_utc

DASH = "\N{EN DASH}"


def escape(text: object) -> str:
    """Return text that is safe inside HTML; None becomes an empty string."""
    return "" if text is None else html.escape(str(text), quote=True)


def money(amount: Decimal | None, currency: str = "", *, signed: bool = False) -> str:
    """Return an amount with thousands separators and its currency, as stored, never through a float."""
    if amount is None:
        return DASH
    sign = "+" if signed and amount > 0 else ""
    text = f"{sign}{amount:,f}".replace("-", "\N{MINUS SIGN}")
    return f"{text} {currency}".rstrip()


def figure(value: float, digits: int = 2, unit: str = "", *, signed: bool = False) -> str:
    """Return a number that is not money on record: a percentage, an estimate; with a real minus sign."""
    text = f"{value:{'+' if signed and round(value, digits) else ''},.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"{text} {unit}".rstrip()


def age(seconds: float | None) -> str:
    """Return an age in the largest sensible unit: ``4 s``, ``12 min``, ``3 h``, ``2 d``."""
    if seconds is None:
        return "never"
    if seconds < 0:
        seconds = 0.0
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def latency(milliseconds: float | None) -> str:
    """Return a latency with its unit: ``850 µs``, ``12 ms``, ``3.4 s``."""
    if milliseconds is None:
        return DASH
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 120_000:
        return f"{milliseconds / 1000:.1f} s"
    return age(milliseconds / 1000)


def moment(when: datetime | None, *, seconds: bool = False) -> str:
    """Return a moment in UTC, to the minute or the second."""
    if when is None:
        return DASH
    return to_utc(when).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def sentence(words: str) -> str:
    """Return a stored code such as ``stop_loss`` as words."""
    return words.replace("_", " ").lower() if words else DASH

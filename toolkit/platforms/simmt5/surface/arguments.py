"""The package's own checks of a request, before anything reaches the terminal: it answers None and says -2, nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.platforms.simmt5.surface.tuples import TUPLES, make

_FLOATS = frozenset({"volume", "price", "stoplimit", "sl", "tp"})
_TEXTS = frozenset({"symbol", "comment"})
_KNOWN = frozenset(TUPLES["TradeRequest"]._fields)
_TEXT_LIMIT = 29
_UINT64 = 1 << 64


def refusal(request: object) -> str | None:
    """Return the package's message about a request it does not take, None when it takes it.

    A price or volume must be a ``float`` (``numpy.float64`` is one, ``int`` and ``Decimal`` are not), every other
    number a Python ``int`` (``numpy.int64`` is not one), a text at most 29 characters, the whole a real ``dict``.
    """
    if type(request) is not dict:
        return "Unnamed arguments not allowed" if request is None else 'Invalid "request" argument'
    for name, value in request.items():
        if name not in _KNOWN or not _fits(name, value):
            return f'Invalid "{name}" argument'
    return None


def _fits(name: str, value: object) -> bool:
    if name in _FLOATS:
        return isinstance(value, float)
    if name in _TEXTS:
        return isinstance(value, str) and len(value) <= _TEXT_LIMIT
    return isinstance(value, int) and 0 <= value < _UINT64


def request_tuple(request: Mapping[str, Any]) -> Any:
    """Return the request as the package echoes it."""
    numbers = dict.fromkeys(_FLOATS, 0.0)
    return make("TradeRequest", **{**numbers, **request})

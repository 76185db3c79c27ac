"""The bar lengths the toolkit knows."""

from __future__ import annotations

from enum import StrEnum

from toolkit.errors import BadInput, must_be

_SECONDS = {"M1": 60, "M5": 300, "M15": 900, "M30": 1800, "H1": 3600, "H4": 14400, "D1": 86400, "W1": 604800}


class Timeframe(StrEnum):
    """A bar length, by the name MetaTrader gives it: ``Timeframe("H1")``."""

    M1 = "M1"
    M5 = "M5"
    M15 = "M15"
    M30 = "M30"
    H1 = "H1"
    H4 = "H4"
    D1 = "D1"
    W1 = "W1"

    @classmethod
    def _missing_(cls, value: object) -> Timeframe:
        if isinstance(value, str) and value.strip().upper() in _SECONDS:
            return cls(value.strip().upper())
        raise BadInput(must_be("timeframe", "one of " + " ".join(_SECONDS), repr(value), "pick one of these names"))

    @property
    def seconds(self) -> int:
        """Return the nominal length in seconds."""
        return _SECONDS[self.value]

    @property
    def ns(self) -> int:
        """Return the nominal length in nanoseconds."""
        return _SECONDS[self.value] * 1_000_000_000

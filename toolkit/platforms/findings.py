"""What a check of a platform found, one line each, with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    level
        ``fail``: cannot trade like this; ``warn``: can, but know it; ``ok``.
    said
        What was found.
    remedy
        What to do, where there is something to do.
    """

    name: str
    level: Level
    said: str
    remedy: str = ""


@runtime_checkable
class Examined(Protocol):
    """A session that can be looked over without trading; it must be connected."""

    def examine(self, symbols: tuple[str, ...]) -> tuple[Finding, ...]:
        """Look at terminal, account, clock and these symbols."""

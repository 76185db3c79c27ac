"""Every error the toolkit raises on purpose, as one tree, so that a caller can branch on class and on ``retryable``.

ToolkitError
├── BadInput (also ValueError)            refused at the door, nothing was written
│   ├── BarsError, UnknownSymbol, QuoteError, SizingError
│   ├── StrategyError ── LookAheadError, SpecError
│   └── RequestError
├── ConversionRateMissing                 no rate between two currencies at that moment
├── MissingPackage (also ImportError)     an optional extra is not installed
├── Forbidden                             a principal may not do this
├── PromotionRefused, RunError, StageRefused
├── StoreError ── NotFound, IdempotencyConflict, IllegalTransition, LostRace, LeaseLost
├── PlatformError ── PlatformUnavailable (retryable), WrongAccount, ReadFailed (retryable)
└── GatewayError (retryable)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class ToolkitError(Exception):
    """Root of the tree. ``retryable`` says whether the same call may succeed later, unchanged."""

    retryable: ClassVar[bool] = False


class BadInput(ToolkitError, ValueError):
    """Raised when a value is refused at the door; the message says what it must be, what it was and the remedy."""


class BarsError(BadInput):
    """Raised when price bars are not a clean, sorted, UTC series."""


class UnknownSymbol(BadInput):
    """Raised when no instrument facts are known for a symbol."""


class QuoteError(BadInput):
    """Raised when a quote is crossed, not positive or not finite."""


class SizingError(BadInput):
    """Raised when a position cannot be sized from the numbers given."""


class StrategyError(BadInput):
    """Raised where a strategy is written in a way that cannot be traced, with the remedy."""


class LookAheadError(StrategyError):
    """Raised when an expression would read a bar that has not closed yet."""


class SpecError(StrategyError):
    """Raised when a stored strategy spec cannot be read or run by this version of the toolkit."""


class RequestError(BadInput):
    """Raised when an execution request is incomplete or contradicts itself."""


class ConversionRateMissing(ToolkitError):
    """Raised when money must be converted and no rate is known at that moment; a rate is never assumed."""


class MissingPackage(ToolkitError, ImportError):
    """Raised when an optional package is needed; the message names the extra to install."""


class Forbidden(ToolkitError):
    """Raised when a principal asks for something it may not see or do."""


class PromotionRefused(ToolkitError):
    """Raised when a strategy may not become a BotVersion; the message says which check failed."""


class RunError(ToolkitError):
    """Raised when a LiveRun cannot be created, started or advanced."""


class StageRefused(ToolkitError):
    """Raised when a LiveRun may not move to the next stage yet."""


class StoreError(ToolkitError):
    """Raised by the database layer."""


class NotFound(StoreError):
    """Raised when a row does not exist or is not visible to the principal."""


class IdempotencyConflict(StoreError):
    """Raised when an idempotency key comes back with another payload."""


class IllegalTransition(StoreError):
    """Raised when an intent is asked to move between two states that the table does not join."""


class LostRace(StoreError):
    """Raised when a compare-and-set found another version of the row."""


class LeaseLost(StoreError):
    """Raised when a worker no longer holds the lease of the account it acts for."""


class PlatformError(ToolkitError):
    """Raised by a platform adapter for anything that is not an order outcome."""


class PlatformUnavailable(PlatformError):
    """Raised when the platform cannot be reached now."""

    retryable: ClassVar[bool] = True


class ReadFailed(PlatformError):
    """Raised when a read did not complete; an incomplete read is never evidence that nothing is there."""

    retryable: ClassVar[bool] = True


class WrongAccount(PlatformError):
    """Raised when the platform session is logged in to another account, server or environment than the row says."""


class GatewayError(ToolkitError):
    """Raised when an intent could not be handed to the message broker."""

    retryable: ClassVar[bool] = True


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` when a known word is close, else an empty string."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def must_be(what: str, requirement: str, was: object, remedy: str) -> str:
    """Build the one form of refusal used everywhere: ``X must be R, was W: remedy``."""
    return f"{what} must be {requirement}, was {was}: {remedy}"

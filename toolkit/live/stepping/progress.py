"""What one call of ``advance`` did."""

from __future__ import annotations

from dataclasses import dataclass

ENDED = frozenset({"STOPPED", "ERROR"})


@dataclass(frozen=True, slots=True)
class Progress:
    """The outcome of one step.

    Attributes
    ----------
    status
        The run's status afterwards, as far as this call knows.
    bars
        Bars committed by this call.
    waiting
        Empty when the run can go on at once, else what it waits for: ``barrier`` (other runs of the account), ``delivery``
        (an intent under way), ``feed`` (the next bar), ``race`` (another host was faster), ``paused``, ``account``.
    orders
        Intents written by this call.
    """

    status: str
    bars: int = 0
    waiting: str = ""
    orders: int = 0

    @property
    def ended(self) -> bool:
        """Whether the run needs no host any more."""
        return self.status in ENDED

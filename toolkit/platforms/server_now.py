"""How late it is at a server, from this machine's clock and the server's ticks."""

from __future__ import annotations

from datetime import datetime, timedelta

from toolkit.clock import Clock


class ServerNow:
    """How late it is at the server: this machine's clock, but never earlier than its newest tick and the time since.

    A machine whose clock was turned back would otherwise send what has expired and wait for what is long over. One that
    runs ahead errs on the safe side: quotes look old, and no entry is made.

    Parameters
    ----------
    utc
        The clock of this machine; its monotonic seconds cannot be turned.
    """

    def __init__(self, utc: Clock) -> None:
        self._utc = utc
        self._tick: datetime | None = None
        self._seen_at = 0.0

    def saw(self, tick: datetime) -> None:
        """Take note of a tick's moment; one more than a day ahead of this machine is not believed."""
        known = self._by_ticks()
        # kept even while this machine is ahead: its clock may be turned back before the next tick
        if (known is None or tick > known) and tick - self._utc.now() < timedelta(days=1):
            self._tick, self._seen_at = tick, self._utc.monotonic()

    def now(self) -> datetime:
        """Return the moment, in UTC."""
        here, known = self._utc.now(), self._by_ticks()
        return here if known is None else max(here, known)

    def _by_ticks(self) -> datetime | None:
        if self._tick is None:
            return None
        return self._tick + timedelta(seconds=self._utc.monotonic() - self._seen_at)

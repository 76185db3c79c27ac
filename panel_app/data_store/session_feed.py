"""Carries news from the data store to one session, never faster than its browser can take them.

After each push the browser echoes a number back. Until it has, the next push waits, and whatever changes meanwhile is merged
into it. A browser that stopped answering gets one push every `SILENT_SECONDS`; one that never said it is ready gets none,
because the feed only starts when the page is loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

import panel as pn

from panel_app.data_store.store import Subscription
from toolkit import clock

SILENT_SECONDS: Final = 10.0


class SessionFeed:
    """One session's side of a subscription.

    Parameters
    ----------
    subscribe
        Called once the page is loaded, with the function that the store's thread calls on news.
    apply
        Brings the views up to date; runs on the session's own event loop.
    """

    def __init__(self, subscribe: Callable[[Callable[[], None]], Subscription], apply: Callable[[], None]) -> None:
        self._subscribe = subscribe
        self._apply = apply
        self._subscription: Subscription | None = None
        self._lock = Lock()
        self._scheduled = False
        self._sent = 0
        self._seen = 0
        self._sent_at = 0.0
        self._due = False
        self._document = pn.state.curdoc
        self._loop = running_loop()
        self._tick = pn.widgets.IntInput(value=0, visible=False, tags=["seatrial-tick"])
        self._echo = pn.widgets.IntInput(value=0, visible=False, tags=["seatrial-echo"])
        self._tick.jscallback(args={"echo": self._echo}, value="echo.value = cb_obj.value")
        self._echo.param.watch(self._acknowledged, "value")
        #: Put this somewhere on the page; it is invisible.
        self.heartbeat = pn.Row(self._tick, self._echo, visible=True, height=0, margin=0, sizing_mode="fixed", width=0)

    def start(self) -> None:
        """Begin when the page is loaded (on a server) or at once (in a notebook)."""
        if self._document is not None and self._document.session_context is not None:
            pn.state.onload(self._begin)
            pn.state.on_session_destroyed(lambda _context: self.close())
        elif self._loop is not None:
            self._begin()

    def close(self) -> None:
        """End the subscription."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def _begin(self) -> None:
        if self._subscription is None:
            self._subscription = self._subscribe(self.wake)
            self._drain()

    def wake(self) -> None:
        """Note that something is new; called from the store's thread, returns at once."""
        with self._lock:
            if self._scheduled:
                return
            self._scheduled = True
        if self._document is not None and self._document.session_context is not None:
            self._document.add_next_tick_callback(self._drain)
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._scheduled = False
        waiting = self._sent != self._seen
        if waiting and clock.SYSTEM.monotonic() - self._sent_at < SILENT_SECONDS:
            self._due = True
            return
        self._due = False
        self._sent += 1
        self._sent_at = clock.SYSTEM.monotonic()
        self._apply()
        self._tick.value = self._sent  # after everything else, so its echo says that all of it has arrived

    def _acknowledged(self, event: Any) -> None:
        self._seen = int(event.new or 0)
        if self._due and self._seen == self._sent:
            self._drain()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of this thread, None when it has none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

"""The sandbox without a socket: the same messages in the same frames, answered in the caller's own thread.

What a server says after a request is there at once, so a request without an answer is one whose time is up. A simulation that
must repeat itself exactly runs on this line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from toolkit.errors import PlatformError
from toolkit.platforms.ctrader.line.client import LineLost, not_an_error
from toolkit.platforms.ctrader.line.frames import decode, encode
from toolkit.platforms.simctrader.dialogue import Dialogue
from toolkit.platforms.simctrader.refusals import HangUp

if TYPE_CHECKING:
    from google.protobuf.message import Message

M = TypeVar("M", bound="Message")


class DirectTalk:
    """What came back on one request."""

    def __init__(self, said: deque[Message]) -> None:
        self._said = said

    def next(self, seconds: float) -> Message:
        """Return the next message about the request.

        Raises
        ------
        ApiError
            When it is an error.
        LineLost
            When there is none.
        """
        if not self._said:
            raise LineLost("no answer in time", written=True)
        return not_an_error(self._said.popleft())

    def end(self) -> None:
        """Stop listening."""


class DirectLine:
    """A line to a server in this process.

    Parameters
    ----------
    connect
        Makes the server's side of a new connection; raises PlatformUnavailable when there is none to be had.
    on_event
        Called with every message nobody asked for.
    """

    reply_seconds = 1.0

    def __init__(self, connect: Callable[[], Dialogue], on_event: Callable[[Message], None]) -> None:
        self._connect, self._on_event = connect, on_event
        self._dialogue: Dialogue | None = None
        self._number = 0

    @property
    def up(self) -> bool:
        """Tell whether the line is open."""
        return self._dialogue is not None

    def open(self) -> None:
        """Connect."""
        self._dialogue = self._connect()

    def close(self) -> None:
        """End the line."""
        self._dialogue = None

    def ask(self, request: Message, answer: type[M]) -> M:
        """Send a read and return its answer."""
        found = self.begin(request).next(self.reply_seconds)
        if not isinstance(found, answer):
            raise PlatformError(f"the answer must be a {answer.__name__}, was a {type(found).__name__}")
        return found

    def take_news(self) -> None:
        """Hear what the server said unasked since the last time; a socket would have brought it by itself."""
        if self._dialogue is not None:
            for event, _ in self._dialogue.news():
                self._on_event(event)

    def begin(self, request: Message) -> DirectTalk:
        """Hand a request over and take all that is said about it.

        Raises
        ------
        LineLost
            When the line is down, or the server ended it instead of answering.
        """
        if self._dialogue is None:
            raise LineLost("the line is down", written=False)
        self._number += 1
        mark = f"s{self._number}"
        self.take_news()
        message, seen = decode(encode(request, mark)[4:])
        try:
            said = self._dialogue.receive(message, seen)
        except HangUp:
            self._dialogue = None
            said = []
        mine: deque[Message] = deque()
        ours = False
        for event, its in said:
            heard, _ = decode(encode(event, its)[4:])
            if heard is None:
                continue
            # what follows our own answer in the same breath is about our order
            ours = ours or its == mark
            if ours:
                mine.append(heard)
            if not ours or its != mark:
                self._on_event(heard)
        return DirectTalk(mine)

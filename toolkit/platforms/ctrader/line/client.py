"""The line to a cTrader server: TLS, heartbeat, correlation of answers, rate limits; nothing is ever queued for later.

A request is written at once or not at all. When the line is lost, whoever waits is told whether their message had been
written; no message survives to be sent on the next line.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import queue
import ssl
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import PlatformError, PlatformUnavailable
from toolkit.platforms.ctrader import codes
from toolkit.platforms.ctrader.line.frames import decode, encode, read_body
from toolkit.platforms.ctrader.messages import HISTORICAL, pb

if TYPE_CHECKING:
    from google.protobuf.message import Message

log = logging.getLogger(__name__)

T = TypeVar("T")
M = TypeVar("M", bound="Message")

HEARTBEAT_SECONDS = 8.0  # the server ends a connection that is silent for 30 s, and asks for one every 10 s
CONNECT_SECONDS = 10.0
_EVENTS = (pb.ProtoOAExecutionEvent, pb.ProtoOAOrderErrorEvent)


class ApiError(PlatformError):
    """Raised when the server answers a request with an error.

    Attributes
    ----------
    code
        The server's error code.
    retry_after
        Seconds the server asks to wait, 0.0 when it does not say.
    """

    def __init__(self, code: str, description: str, retry_after: float = 0.0) -> None:
        super().__init__(f"the server refused: {code} {description}".rstrip())
        self.code = code
        self.retry_after = retry_after


class LineLost(PlatformUnavailable):
    """Raised when the connection ended before an answer; ``written`` says whether the message had left.

    A time-out counts as written: the server may still carry the message out.
    """

    def __init__(self, why: str, *, written: bool) -> None:
        super().__init__(why)
        self.written = written


class Talk(Protocol):
    """What comes back on one request."""

    def next(self, seconds: float) -> Message:
        """Return the next message; ApiError when it is an error, LineLost when none came."""

    def end(self) -> None:
        """Stop listening for more."""


class Line(Protocol):
    """A connection to a server: over a socket (`OpenApiClient`), or in memory for simulations."""

    reply_seconds: float

    @property
    def up(self) -> bool:
        """Tell whether the line is open."""

    def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """End the line; safe to call twice."""

    def ask(self, request: Message, answer: type[M]) -> M:
        """Send a read and return its answer."""

    def begin(self, request: Message) -> Talk:
        """Write a request and return the conversation about it; LineLost says whether it had left."""


class Pace:
    """At most so many requests in any second, as the server counts them.

    Parameters
    ----------
    per_second
        The limit.
    clock
        Its monotonic time is used.
    """

    def __init__(self, per_second: int, clock: Clock = SYSTEM) -> None:
        self._limit, self._clock = per_second, clock
        self._times: deque[float] = deque()

    def wait_needed(self) -> float:
        """Return how long the next request must wait, 0.0 when it may go now; then it is counted."""
        now = self._clock.monotonic()
        while self._times and now - self._times[0] >= 1.0:
            self._times.popleft()
        if len(self._times) < self._limit:
            self._times.append(now)
            return 0.0
        return 1.0 - (now - self._times[0])


class OpenApiClient:
    """One connection to a cTrader server, used from ordinary threads; its input and output run in a thread of their own.

    Parameters
    ----------
    host, port
        The server, for example ``demo.ctraderapi.com`` and 5035.
    tls
        How the server is checked; None: by the system's certificates.
    on_event
        Called in the connection's thread with every message nobody asked for; it must not block.
    reply_seconds
        How long an answer may take before the request is given up.
    requests_per_second, historical_per_second
        The server's limits of one connection.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        on_event: Callable[[Message], None],
        reply_seconds: float = 15.0,
        requests_per_second: int = 45,
        historical_per_second: int = 5,
    ) -> None:
        self._address = (host, port)
        self._tls = tls if tls is not None else ssl.create_default_context()
        self._on_event = on_event
        self.reply_seconds = reply_seconds
        self._pace, self._historical = Pace(requests_per_second), Pace(historical_per_second)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0
        self._waiting: dict[str, queue.SimpleQueue[Message | LineLost]] = {}
        self._orders: dict[int, queue.SimpleQueue[Message | LineLost]] = {}
        self._guard = threading.Lock()
        self._lost = "not connected yet"

    # --- the line --------------------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Tell whether the line is open."""
        return self._writer is not None

    def open(self) -> None:
        """Connect.

        Raises
        ------
        PlatformUnavailable
            When the server cannot be reached, or its certificate is not trusted.
        """
        if self._thread is None:
            ready = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(ready,), name="ctrader-line", daemon=True)
            self._thread.start()
            ready.wait(10.0)
        try:
            self._in_loop(self._connect(), max(CONNECT_SECONDS, self.reply_seconds))
        except ssl.SSLCertVerificationError as e:
            raise PlatformUnavailable(
                f"the certificate of {self._address[0]} must be trusted, was not ({e.verify_message}): check the host"
            ) from e
        except (OSError, TimeoutError, concurrent.futures.TimeoutError) as e:
            host, port = self._address
            raise PlatformUnavailable(
                f"{host}:{port} could not be reached ({type(e).__name__}): check the network"
            ) from e

    def close(self) -> None:
        """End the line and its thread; safe to call twice."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        with suppress(concurrent.futures.TimeoutError):
            self._in_loop(self._drop("closed"), 5.0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5.0)
        self._loop = self._thread = None

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        ready.set()
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _in_loop(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        if self._loop is None:
            work.close()
            raise PlatformUnavailable("the line must be open, was closed: connect again")
        under_way = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return under_way.result(seconds)
        except concurrent.futures.TimeoutError:
            under_way.cancel()  # given up here, it must not come about later
            raise

    async def _connect(self) -> None:
        await self._drop("connecting again")
        reader, writer = await asyncio.open_connection(*self._address, ssl=self._tls)
        self._writer = writer
        self._tasks = [asyncio.create_task(self._listen(reader)), asyncio.create_task(self._beat(writer))]

    async def _drop(self, why: str) -> None:
        """End the line and tell everybody who waits on it."""
        writer, self._writer = self._writer, None
        self._lost = why
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._tasks = []
        with self._guard:
            waiting = [*self._waiting.values(), *self._orders.values()]
            self._waiting, self._orders = {}, {}
        for box in waiting:
            box.put(LineLost(f"the line was lost: {why}", written=True))
        if writer is not None:
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message, mark = decode(await read_body(reader))
                if message is not None:
                    self._deliver(message, mark)
        except asyncio.IncompleteReadError:
            await self._drop("the server ended it")
        except (OSError, PlatformError) as e:
            await self._drop(f"{type(e).__name__}: {e}")

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await asyncio.sleep(HEARTBEAT_SECONDS)
                writer.write(encode(pb.ProtoHeartbeatEvent()))
                await writer.drain()
        except OSError as e:
            await self._drop(f"{type(e).__name__} at a heartbeat")

    def _deliver(self, message: Message, mark: str) -> None:
        box = None
        order = _order_of(message)
        with self._guard:
            if mark:
                box = self._waiting.get(mark)
                if box is not None and order and isinstance(message, _EVENTS):
                    self._orders[order] = box  # later events of this order come without our mark
            if box is None and order:
                box = self._orders.get(order)
        if box is not None:
            box.put(message)
        if box is None or isinstance(message, _EVENTS):
            try:
                self._on_event(message)
            except Exception:  # a listener that fails must not end the line
                log.exception("a listener failed on a %s", type(message).__name__)

    # --- requests --------------------------------------------------------------------------------------------------

    def ask(self, request: Message, answer: type[M]) -> M:
        """Send a read and return its answer.

        Raises
        ------
        ApiError
            When the server refuses.
        PlatformUnavailable
            When no answer came.
        """
        conversation = self.begin(request)
        try:
            message = conversation.next(self.reply_seconds)
        finally:
            conversation.end()
        if not isinstance(message, answer):
            raise PlatformError(
                f"the answer to {type(request).__name__} must be a {answer.__name__}, was a {type(message).__name__}"
            )
        return message

    def begin(self, request: Message) -> Conversation:
        """Write a request and return the conversation about it.

        Raises
        ------
        LineLost
            With ``written`` false: nothing has left.
        """
        self._keep_pace(request)
        with self._guard:
            self._number += 1
            mark = f"s{self._number}"
            box: queue.SimpleQueue[Message | LineLost] = queue.SimpleQueue()
            self._waiting[mark] = box
        try:
            self._in_loop(self._write(encode(request, mark)), self.reply_seconds)
        except concurrent.futures.TimeoutError as e:
            self._forget(mark, box)
            raise LineLost("the message could not be written in time", written=True) from e
        except LineLost:
            self._forget(mark, box)
            raise
        except PlatformUnavailable as e:
            self._forget(mark, box)
            raise LineLost(str(e), written=False) from e
        return Conversation(self, mark, box)

    def _keep_pace(self, request: Message) -> None:
        paces = [self._pace, self._historical] if isinstance(request, HISTORICAL) else [self._pace]
        for pace in paces:
            while (wait := pace.wait_needed()) > 0.0:
                SYSTEM.sleep(wait)

    async def _write(self, frame: bytes) -> None:
        writer = self._writer
        if writer is None:
            raise LineLost(f"the line is down: {self._lost}", written=False)
        writer.write(frame)  # from here on the server may have it
        try:
            await writer.drain()
        except OSError as e:
            await self._drop(type(e).__name__)
            raise LineLost(f"the line was lost at a write ({type(e).__name__})", written=True) from e

    def _forget(self, mark: str, box: queue.SimpleQueue[Message | LineLost]) -> None:
        with self._guard:
            self._waiting.pop(mark, None)
            for order in [k for k, v in self._orders.items() if v is box]:
                del self._orders[order]


class Conversation:
    """What comes back on one request."""

    def __init__(self, client: OpenApiClient, mark: str, box: queue.SimpleQueue[Message | LineLost]) -> None:
        self._client, self._mark, self._box = client, mark, box

    def next(self, seconds: float) -> Message:
        """Return the next message about the request.

        Raises
        ------
        ApiError
            When it is an error response or an order error.
        LineLost
            When none came in time, or the line ended.
        """
        try:
            found = self._box.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise LineLost(f"no answer within {seconds:g} s", written=True) from None
        if isinstance(found, LineLost):
            raise found
        return not_an_error(found)

    def end(self) -> None:
        """Stop listening for more."""
        self._client._forget(self._mark, self._box)


def _order_of(message: Message) -> int:
    if isinstance(message, pb.ProtoOAExecutionEvent) and message.HasField("order"):
        return int(message.order.orderId)
    if isinstance(message, pb.ProtoOAOrderErrorEvent):
        return int(message.orderId)
    return 0


def not_an_error(message: Message) -> Message:
    """Return a message that is no error; raise ApiError for one that is."""
    if isinstance(message, pb.ProtoErrorRes | pb.ProtoOAOrderErrorEvent):
        raise ApiError(message.errorCode, message.description)
    if isinstance(message, pb.ProtoOAErrorRes):
        raise ApiError(message.errorCode, message.description, float(message.retryAfter))
    return message


def retryable_read(error: ApiError) -> bool:
    """Tell whether a read that was refused may be asked again after a pause."""
    return error.code in codes.TOO_OFTEN

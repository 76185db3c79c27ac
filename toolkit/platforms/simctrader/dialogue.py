"""One connection to the sandbox: what the server answers, and what it says unasked. No input or output here."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import ToolkitError
from toolkit.platforms.ctrader import codes
from toolkit.platforms.ctrader.messages import HISTORICAL, pb
from toolkit.platforms.simctrader.book import VenueBook
from toolkit.platforms.simctrader.orders import ORDER_REQUESTS, Orders
from toolkit.platforms.simctrader.reads import Reads
from toolkit.platforms.simctrader.refusals import Refused

if TYPE_CHECKING:
    from google.protobuf.message import Message

Said = list[tuple["Message", str]]


@dataclass(slots=True)
class Gate:
    """Who may come in: the application and the tokens of its account.

    Attributes
    ----------
    client_id, client_secret
        The application.
    access_token, refresh_token
        The tokens that are good now; a refresh token is good once.
    is_live
        Whether the account is of the live system.
    """

    client_id: str = "sandbox-app"
    client_secret: str = "sandbox-secret"  # noqa: S105 - the sandbox's own, printed for its user
    access_token: str = "sandbox-access-1"  # noqa: S105
    refresh_token: str = "sandbox-refresh-1"  # noqa: S105
    is_live: bool = False
    refreshed: int = 0

    def renew(self, refresh_token: str) -> bool:
        """Replace both tokens, if the refresh token is the good one."""
        if refresh_token != self.refresh_token:
            return False
        self.refreshed += 1
        self.access_token = f"sandbox-access-{secrets.token_hex(8)}"
        self.refresh_token = f"sandbox-refresh-{secrets.token_hex(8)}"
        return True


@dataclass(slots=True)
class Plan:
    """Errors to answer with instead of acting: by kind of request, in order."""

    errors: dict[type[Message], deque[str]] = field(default_factory=dict)

    def add(self, request: type[Message], code: str, times: int = 1) -> None:
        """Answer the next requests of a kind with an error."""
        self.errors.setdefault(request, deque()).extend([code] * times)

    def next(self, request: Message) -> str:
        """Return the error planned for this request, empty for none."""
        planned = self.errors.get(type(request))
        return planned.popleft() if planned else ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests a connection may send in any second; 0 is no limit."""

    per_second: int = 50
    historical_per_second: int = 5


class Dialogue:
    """The server's side of one connection.

    Parameters
    ----------
    book
        The account.
    gate, plan
        Who may come in, and planned errors; shared by all connections.
    limits, clock
        How many requests are taken in a second.
    """

    def __init__(self, book: VenueBook, gate: Gate, plan: Plan, limits: Limits, clock: Clock = SYSTEM) -> None:
        self._book, self._gate, self._plan, self._limits, self._clock = book, gate, plan, limits, clock
        self._app = self._account = False
        self._spots: dict[str, bytes] = {}
        self._times: dict[bool, deque[float]] = {False: deque(), True: deque()}
        self._orders = Orders(book)
        self._handlers: dict[type[Message], Callable[[Any], Iterable[Message]]] = {
            **Reads(book).handlers,
            **self._orders.handlers,
            pb.ProtoOASubscribeSpotsReq: self._subscribe,
        }

    # --- the door --------------------------------------------------------------------------------------------------

    def receive(self, message: Message | None, mark: str) -> Said:
        """Return what the server says to one message; only the first of several answers carries its mark.

        Raises
        ------
        HangUp
            When it ends the connection instead.
        """
        if isinstance(message, pb.ProtoHeartbeatEvent):
            return []
        if message is None:
            return [(pb.ProtoErrorRes(errorCode="UNSUPPORTED_MESSAGE"), mark)]
        planned = self._plan.next(message) or self._too_often(message)
        if planned:
            return [(self._error(message, planned), mark)]
        try:
            said = list(self._answer(message))
        except Refused as refused:
            said = [self._error(message, refused.code, refused.words)]
        except (ToolkitError, ValueError) as e:
            said = [self._error(message, "INVALID_REQUEST", str(e))]
        return [(m, mark if i == 0 else "") for i, m in enumerate(said)]

    def _too_often(self, message: Message) -> str:
        now = self._clock.monotonic()
        for historical, limit in ((False, self._limits.per_second), (True, self._limits.historical_per_second)):
            if not limit or (historical and not isinstance(message, HISTORICAL)):
                continue
            times = self._times[historical]
            while times and now - times[0] >= 1.0:
                times.popleft()
            if len(times) >= limit:
                return "REQUEST_FREQUENCY_EXCEEDED"
            times.append(now)
        return ""

    def _error(self, message: Message, code: str, words: str = "") -> Message:
        if isinstance(message, ORDER_REQUESTS) and code not in codes.TOO_OFTEN | codes.NOT_AUTHORISED:
            return pb.ProtoOAOrderErrorEvent(
                ctidTraderAccountId=self._book.account_id, errorCode=code, description=words
            )
        return pb.ProtoOAErrorRes(errorCode=code, description=words)

    def _answer(self, message: Message) -> Iterable[Message]:
        if isinstance(message, pb.ProtoOAVersionReq):
            return [pb.ProtoOAVersionRes(version="sandbox")]
        if isinstance(message, pb.ProtoOAApplicationAuthReq):
            return [self._let_application_in(message)]
        if not self._app:
            raise Refused("CH_CLIENT_NOT_AUTHENTICATED")
        if isinstance(message, pb.ProtoOAGetAccountListByAccessTokenReq):
            return [self._accounts(message)]
        if isinstance(message, pb.ProtoOARefreshTokenReq):
            return [self._refresh(message)]
        if isinstance(message, pb.ProtoOAAccountAuthReq):
            return [self._let_account_in(message)]
        handler = self._handlers.get(type(message))
        if handler is None:
            raise Refused("UNSUPPORTED_MESSAGE")
        if not self._account or getattr(message, "ctidTraderAccountId", 0) != self._book.account_id:
            raise Refused("ACCOUNT_NOT_AUTHORIZED")
        return handler(message)

    def _let_application_in(self, message: pb.ProtoOAApplicationAuthReq) -> Message:
        if (message.clientId, message.clientSecret) != (self._gate.client_id, self._gate.client_secret):
            raise Refused("CH_CLIENT_AUTH_FAILURE")
        self._app = True
        return pb.ProtoOAApplicationAuthRes()

    def _check_token(self, token: str) -> None:
        if token != self._gate.access_token:
            raise Refused("CH_ACCESS_TOKEN_INVALID")

    def _accounts(self, message: pb.ProtoOAGetAccountListByAccessTokenReq) -> Message:
        self._check_token(message.accessToken)
        mine = pb.ProtoOACtidTraderAccount(
            ctidTraderAccountId=self._book.account_id, isLive=self._gate.is_live, traderLogin=self._book.login
        )
        return pb.ProtoOAGetAccountListByAccessTokenRes(
            accessToken=message.accessToken, permissionScope=1, ctidTraderAccount=[mine]
        )

    def _refresh(self, message: pb.ProtoOARefreshTokenReq) -> Message:
        if not self._gate.renew(message.refreshToken):
            raise Refused("CH_ACCESS_TOKEN_INVALID", "a refresh token works once")
        return pb.ProtoOARefreshTokenRes(
            accessToken=self._gate.access_token,
            tokenType="bearer",
            expiresIn=2_628_000,
            refreshToken=self._gate.refresh_token,
        )

    def _let_account_in(self, message: pb.ProtoOAAccountAuthReq) -> Message:
        self._check_token(message.accessToken)
        if message.ctidTraderAccountId != self._book.account_id:
            raise Refused("CH_CTID_TRADER_ACCOUNT_NOT_FOUND")
        self._account = True
        return pb.ProtoOAAccountAuthRes(ctidTraderAccountId=self._book.account_id)

    # --- what is said unasked --------------------------------------------------------------------------------------

    def _subscribe(self, message: pb.ProtoOASubscribeSpotsReq) -> Iterable[Message]:
        names = [self._book.symbol_of(i) for i in message.symbolId]
        if any(n in self._spots for n in names):
            raise Refused("ALREADY_SUBSCRIBED")
        yield pb.ProtoOASubscribeSpotsRes(ctidTraderAccountId=self._book.account_id)
        for name in names:
            self._spots[name] = b""
        yield from self._fresh_spots()

    def _fresh_spots(self) -> Iterable[Message]:
        for name, last in self._spots.items():
            spot = self._book.spot(name)
            if spot is not None and (seen := spot.SerializeToString()) != last:
                self._spots[name] = seen
                yield spot

    def news(self) -> Said:
        """Return what the server says unasked: quotes that moved, executions nobody on this line asked for."""
        if not self._account:
            return []
        said: Said = [(m, "") for m in self._fresh_spots()]
        said += [(m, "") for m in self._orders.news()]
        return said

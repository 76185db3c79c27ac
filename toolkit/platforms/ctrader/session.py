"""One account's session: log in, keep the tokens fresh, know the symbols, remember the last spot of each."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import (
    PlatformError,
    PlatformUnavailable,
    QuoteError,
    ReadFailed,
    UnknownSymbol,
    WrongAccount,
    must_be,
)
from toolkit.market import Quote
from toolkit.platforms.ctrader import codes, convert
from toolkit.platforms.ctrader.access.tokens import Credentials, CredentialStore
from toolkit.platforms.ctrader.line.client import ApiError, Line, OpenApiClient, retryable_read
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.server_now import ServerNow

if TYPE_CHECKING:
    from google.protobuf.message import Message

log = logging.getLogger(__name__)
M = TypeVar("M", bound="Message")

HOSTS = {"demo": "demo.ctraderapi.com", "real": "live.ctraderapi.com"}
PORT = 5035
_READ_TRIES = 4


class Session:
    """The authorised line of one account.

    Parameters
    ----------
    credentials
        Where application and tokens are kept.
    login, environment
        The account: its trader login, and whether it is demo or real.
    host, port, tls
        The server; None: the vendor's for the environment.
    symbols, suffix
        Our symbols by the names of this server: a table first, else the name with the suffix.
    reply_seconds
        How long an answer may take.
    reconnect_seconds
        Pause before the first attempt to come back after a loss; it doubles with each failure, to 30 s.
    requests_per_second, historical_per_second
        How often the server may be asked in any second.
    utc
        The clock of this machine.
    make_line
        Makes the line instead, given who is told of events.
    """

    def __init__(
        self,
        credentials: CredentialStore,
        *,
        login: int,
        environment: Literal["demo", "real"],
        host: str | None,
        port: int,
        tls: ssl.SSLContext | None,
        symbols: Mapping[str, str],
        suffix: str,
        reply_seconds: float,
        reconnect_seconds: float,
        requests_per_second: int,
        historical_per_second: int,
        utc: Clock,
        make_line: Callable[[Callable[[Message], None]], Line] | None,
        on_event: Callable[[Message], None],
    ) -> None:
        self._store = credentials
        self._login, self._environment = login, environment
        self._utc = utc
        self._listener = on_event
        self._theirs, self._suffix = dict(symbols), suffix
        self.client: Line = (
            OpenApiClient(
                host or HOSTS[environment],
                port,
                tls=tls,
                on_event=self._event,
                reply_seconds=reply_seconds,
                requests_per_second=requests_per_second,
                historical_per_second=historical_per_second,
            )
            if make_line is None
            else make_line(self._event)
        )
        self.server_now = ServerNow(utc)
        self.host = host or HOSTS[environment]
        self._pause = self._first_pause = reconnect_seconds
        self._not_before: float | None = None
        self._connected_before = False
        self._authorised = False
        self._guard = threading.RLock()
        self.account_id = 0
        self.token_ends = ""
        self.trader = pb.ProtoOATrader()
        self._assets: dict[int, str] = {}
        self._lights: dict[str, pb.ProtoOALightSymbol] = {}
        self._symbols: dict[str, convert.Symbol] = {}
        self._by_id: dict[int, convert.Symbol] = {}
        self._spots: dict[int, tuple[int, int, int]] = {}
        self._fresh = threading.Condition()
        self._subscribed: set[int] = set()

    # --- logging in ------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the line, authorise application and account, read what the account trades.

        Raises
        ------
        WrongAccount
            When the tokens do not reach the account, or it is of another environment.
        PlatformUnavailable
            When the server cannot be reached.
        """
        with self._guard:
            if not self.client.up:
                self._authorised = False
                self.client.open()
                with self._fresh:
                    self._spots.clear()  # a price from before the loss is no price
            if not self._authorised:
                try:
                    self._log_in()
                except ApiError as e:
                    raise _not_let_in(e, f"account {self._login}") from e
            self._not_before, self._pause, self._connected_before = None, self._first_pause, True

    def _log_in(self) -> None:
        kept = self._store.load()
        self.token_ends = kept.expires_at
        try:
            self.client.ask(
                pb.ProtoOAApplicationAuthReq(clientId=kept.client_id, clientSecret=kept.client_secret),
                pb.ProtoOAApplicationAuthRes,
            )
        except ApiError as e:
            if e.code != "CH_CLIENT_ALREADY_AUTHENTICATED":
                raise _not_let_in(e, "the application (check client_id and client_secret)") from e
        if kept.expires_at and datetime.fromisoformat(kept.expires_at) <= self._utc.now() + timedelta(minutes=5):
            kept = self._renew(kept)
        try:
            self._authorise(kept)
        except ApiError as e:
            if e.code not in codes.TOKEN_ENDED:
                raise
            self._authorise(self._renew(kept))
        self._read_account()
        self._authorised = True  # only now: a session that knows no symbols is not ready

    def _authorise(self, kept: Credentials) -> None:
        found = self.client.ask(
            pb.ProtoOAGetAccountListByAccessTokenReq(accessToken=kept.access_token),
            pb.ProtoOAGetAccountListByAccessTokenRes,
        )
        mine = next((a for a in found.ctidTraderAccount if a.traderLogin == self._login), None)
        if mine is None:
            raise WrongAccount(
                must_be("the account", f"{self._login}", "not among those of the token", "grant it to the application")
            )
        their = "real" if mine.isLive else "demo"
        if their != self._environment:
            raise WrongAccount(
                must_be(f"the environment of {self._login}", self._environment, their, "correct the account's row")
            )
        self.account_id = int(mine.ctidTraderAccountId)
        try:
            self.client.ask(
                pb.ProtoOAAccountAuthReq(ctidTraderAccountId=self.account_id, accessToken=kept.access_token),
                pb.ProtoOAAccountAuthRes,
            )
        except ApiError as e:
            if e.code != "ALREADY_LOGGED_IN":
                raise

    def _renew(self, known: Credentials) -> Credentials:
        """Return fresh tokens: those another process has stored meanwhile, or new ones, kept before they are used."""
        lock = self._store.lock()
        if lock is not None:
            lock.acquire()
        try:
            kept = self._store.load()
            if kept.access_token != known.access_token:
                return kept
            if not kept.refresh_token:
                raise WrongAccount("the access token has ended and there is no refresh token: grant access again")
            try:
                new = self.client.ask(
                    pb.ProtoOARefreshTokenReq(refreshToken=kept.refresh_token), pb.ProtoOARefreshTokenRes
                )
            except ApiError as e:
                raise _not_let_in(e, "the refresh token (grant access again)") from e
            ends = (self._utc.now() + timedelta(seconds=int(new.expiresIn))).isoformat()
            kept = replace(kept, access_token=new.accessToken, refresh_token=new.refreshToken, expires_at=ends)
            self._store.save(kept)
            self.token_ends = kept.expires_at
            return kept
        finally:
            if lock is not None:
                lock.release()

    def _read_account(self) -> None:
        """Read trader, assets and symbols, and listen again to the spots that were listened to before the loss."""
        self.trader = self.client.ask(
            pb.ProtoOATraderReq(ctidTraderAccountId=self.account_id), pb.ProtoOATraderRes
        ).trader
        self._symbols, self._by_id = {}, {}
        self._read_symbols()
        again, self._subscribed = sorted(self._subscribed) or self._time_symbol(), set()
        if again:
            self._subscribe(again)

    def _time_symbol(self) -> list[int]:
        """Return a symbol to listen to from the start: only spots tell the server's time, and a wrong machine clock must show."""
        enabled = [s for s in self._lights.values() if s.enabled]
        enabled.sort(key=lambda s: (not s.symbolName.startswith("EURUSD"), s.symbolId))
        return [enabled[0].symbolId] if enabled else []

    def _read_symbols(self) -> None:
        assets = self.client.ask(pb.ProtoOAAssetListReq(ctidTraderAccountId=self.account_id), pb.ProtoOAAssetListRes)
        self._assets = {a.assetId: a.name for a in assets.asset}
        found = self.client.ask(pb.ProtoOASymbolsListReq(ctidTraderAccountId=self.account_id), pb.ProtoOASymbolsListRes)
        self._lights = {s.symbolName: s for s in found.symbol}

    def close(self) -> None:
        """End the line; safe to call twice."""
        self._connected_before = self._authorised = False
        self.client.close()

    # --- asking ----------------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Make sure the line is open and authorised, coming back after a loss when its pause is over.

        Raises
        ------
        PlatformUnavailable
            While it is not.
        """
        with self._guard:
            if self.client.up and self._authorised:
                return
            if not self._connected_before:
                raise PlatformUnavailable("the session must be connected, was not: call connect()")
            now = SYSTEM.monotonic()
            if self._not_before is None:
                self._not_before = now + self._pause
            if now < self._not_before:
                raise PlatformUnavailable(
                    f"the line to {self.host} was lost: it is opened again in {self._not_before - now:.1f} s"
                )
            try:
                self.connect()
            except PlatformError:
                self._pause = min(30.0, 2 * self._pause)
                self._not_before = SYSTEM.monotonic() + self._pause
                raise

    def ask(self, request: Message, answer: type[M]) -> M:
        """Ask for something that may be asked twice: waits where the server says so, logs in again where it must.

        Raises
        ------
        ReadFailed
            When the server refuses.
        PlatformUnavailable
            When there is no line, or no answer in time.
        """
        for n in range(_READ_TRIES):
            self.ready()
            try:
                return self.client.ask(request, answer)
            except ApiError as e:
                if e.code in codes.NOT_AUTHORISED and n == 0:
                    self._authorised = False
                    self.connect()
                elif retryable_read(e) and n + 1 < _READ_TRIES:
                    SYSTEM.sleep(e.retry_after or 0.25 * 2**n)
                else:
                    raise ReadFailed(f"{type(request).__name__} was refused: {e}") from e
        raise ReadFailed(f"{type(request).__name__} was refused {_READ_TRIES} times: the server wants fewer requests")

    # --- symbols ---------------------------------------------------------------------------------------------------

    def symbol(self, ours: str) -> convert.Symbol:
        """Return a symbol by our name.

        Raises
        ------
        UnknownSymbol
            When the server has no such symbol.
        """
        known = self._symbols.get(ours)
        if known is not None:
            return known
        self.ready()
        name = self._theirs.get(ours, ours + self._suffix)
        if name not in self._lights:
            self._read_symbols()  # it may be new at the server
        light = self._lights.get(name)
        if light is None:
            raise UnknownSymbol(
                must_be("symbol", f"one of {self.host}", repr(name), "set the account's symbol table or suffix")
            )
        return self._load(light, ours)

    def symbol_of_id(self, number: int) -> convert.Symbol:
        """Return a symbol by the server's number."""
        known = self._by_id.get(number)
        if known is not None:
            return known
        self.ready()
        if not any(s.symbolId == number for s in self._lights.values()):
            self._read_symbols()
        light = next((s for s in self._lights.values() if s.symbolId == number), None)
        if light is None:
            raise ReadFailed(f"the server names symbol {number}, which is not in its list: connect again")
        ours = next((k for k, v in self._theirs.items() if v == light.symbolName), None)
        return self._load(light, ours or light.symbolName.removesuffix(self._suffix))

    def _load(self, light: pb.ProtoOALightSymbol, ours: str) -> convert.Symbol:
        found = self.ask(
            pb.ProtoOASymbolByIdReq(ctidTraderAccountId=self.account_id, symbolId=[light.symbolId]),
            pb.ProtoOASymbolByIdRes,
        )
        if not found.symbol:
            raise UnknownSymbol(must_be("symbol", "tradable on this account", repr(ours), "ask the broker"))
        made = convert.symbol(light, found.symbol[0], self._assets, ours)
        self._symbols[ours] = self._by_id[made.symbol_id] = made
        return made

    def asset_id(self, currency: str) -> int:
        """Return the server's number of a currency."""
        for number, name in self._assets.items():
            if name == currency:
                return number
        raise UnknownSymbol(must_be("currency", f"one of {self.host}", repr(currency), "check the account's currency"))

    @property
    def currency(self) -> str:
        """Return the account's currency."""
        return self._assets[self.trader.depositAssetId]

    # --- spots -----------------------------------------------------------------------------------------------------

    def quote(self, of: convert.Symbol) -> Quote:
        """Return the last spot of a symbol, listening to it from now on.

        Raises
        ------
        QuoteError
            When the server sends none in time.
        """
        self.ready()
        if of.symbol_id not in self._subscribed:
            self._subscribe([of.symbol_id])
        with self._fresh:
            there = self._fresh.wait_for(lambda: self._complete(of.symbol_id), self.client.reply_seconds)
            if not there:
                raise QuoteError(must_be(f"quote of {of.name}", "known", "none yet", "wait for a tick"))
            bid, ask, at = self._spots[of.symbol_id]
        return Quote(convert.spot(bid, of.facts), convert.spot(ask, of.facts), convert.moment(at))

    def _complete(self, number: int) -> bool:
        spot = self._spots.get(number)
        return spot is not None and spot[0] > 0 and spot[1] > 0

    def _subscribe(self, numbers: list[int]) -> None:
        try:
            self.client.ask(
                pb.ProtoOASubscribeSpotsReq(
                    ctidTraderAccountId=self.account_id, symbolId=numbers, subscribeToSpotTimestamp=True
                ),
                pb.ProtoOASubscribeSpotsRes,
            )
        except ApiError as e:
            if e.code != "ALREADY_SUBSCRIBED":
                raise ReadFailed(f"spots are not sent: {e}") from e
        self._subscribed.update(numbers)

    def _event(self, message: Message) -> None:
        """Take what nobody asked for; runs in the line's thread."""
        if isinstance(message, pb.ProtoOASpotEvent):
            with self._fresh:
                bid, ask, _ = self._spots.get(message.symbolId, (0, 0, 0))
                if message.timestamp:
                    self.server_now.saw(convert.moment(message.timestamp))
                # an event carries only the side that moved
                # without a stamp of the server's the price is as old as its arrival, not as its reading
                at = message.timestamp or convert.stamp(self._utc.now())
                self._spots[message.symbolId] = (message.bid or bid, message.ask or ask, at)
                self._fresh.notify_all()
        elif isinstance(message, pb.ProtoOAAccountsTokenInvalidatedEvent | pb.ProtoOAAccountDisconnectEvent):
            log.warning("the server ended the account's authorisation: %s", type(message).__name__)
            self._authorised = False
        elif isinstance(message, pb.ProtoOAClientDisconnectEvent):
            log.warning("the server ends the connection: %s", message.reason)
        self._listener(message)

    @property
    def money_digits(self) -> int:
        """Return the decimals of amounts, where a message does not say its own."""
        return int(self.trader.moneyDigits) if self.trader.HasField("moneyDigits") else 2

    def rate_pairs(self, frm: str, to: str) -> list[pb.ProtoOALightSymbol]:
        """Return the chain of symbols by which the server converts one currency into another."""
        found = self.ask(
            pb.ProtoOASymbolsForConversionReq(
                ctidTraderAccountId=self.account_id, firstAssetId=self.asset_id(frm), lastAssetId=self.asset_id(to)
            ),
            pb.ProtoOASymbolsForConversionRes,
        )
        return list(found.symbol)

    def asset_name(self, number: int) -> str:
        """Return the name of an asset."""
        return self._assets[number]


def _not_let_in(error: ApiError, what: str) -> PlatformError:
    """Return what a refusal at the login means: wrong credentials for good, or a server that is not ready now."""
    if error.code in codes.CREDENTIALS:
        return WrongAccount(f"{what} was refused: {error.code}")
    return PlatformUnavailable(f"{what} could not be logged in now: {error.code}")

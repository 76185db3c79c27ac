"""cTrader behind the ``TradingPlatform`` protocol, over its Open API."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import BadInput, ConversionRateMissing, must_be
from toolkit.execution.ports import (
    AccountSnapshot,
    Book,
    History,
    OrderResult,
    PlatformCommand,
    PlatformDeal,
    SentClose,
)
from toolkit.market import Bars, Instrument, Quote, Rate, Side, Timeframe
from toolkit.market.money import contract
from toolkit.platforms.ctrader import codes, convert
from toolkit.platforms.ctrader.access.tokens import CredentialStore
from toolkit.platforms.ctrader.desk import Desk
from toolkit.platforms.ctrader.history import Past
from toolkit.platforms.ctrader.line.client import Line
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.ctrader.session import PORT, Session
from toolkit.platforms.file_lock import FileLock
from toolkit.platforms.findings import Finding

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: How much time one request of bars may span, in milliseconds, by bar length (the server's limits).
_SPANS = {60: 302_400_000, 300: 302_400_000, 900: 21_168_000_000, 1800: 21_168_000_000, 3600: 21_168_000_000,
          14_400: 31_622_400_000, 86_400: 31_622_400_000, 604_800: 158_112_000_000}  # fmt: skip
_BACK = 8  # windows looked back at most for the first bars of a quiet symbol: four weeks of minutes


class CTraderPlatform:
    """One account at a cTrader server.

    Parameters
    ----------
    credentials
        Where the application's name and the account's tokens are kept (`toolkit.platforms.ctrader.access.tokens`).
    login, environment
        The account: its trader login, and whether it is demo or real. They are two systems; the token's word on which of
        them the account belongs to is checked at connect.
    host, port, tls
        Another server than the vendor's: the sandbox, for instance.
    symbols, suffix
        Our symbols by the names of this server: a table first, else the name with the suffix.
    reply_seconds
        How long an answer may take; an order without an answer by then is UNKNOWN.
    reconnect_seconds
        Pause before the first attempt to come back after a loss.
    requests_per_second, historical_per_second
        How often the server may be asked in any second; the vendor allows 50 and 5.
    utc
        The clock of this machine; `now` is its time. The server's stamps are UTC.
    lock
        Held from `connect` to `close`, so that one process of this machine has the account's session.
    make_line
        Makes the line to the server instead of a socket, for simulations.

    Notes
    -----
    `send` makes one attempt. A message that could not be written is dropped with the line: nothing is sent by a later one.
    """

    name = "ctrader"

    def __init__(
        self,
        credentials: CredentialStore,
        *,
        login: int,
        environment: Literal["demo", "real"] = "demo",
        host: str | None = None,
        port: int = PORT,
        tls: ssl.SSLContext | None = None,
        symbols: Mapping[str, str] | None = None,
        suffix: str = "",
        reply_seconds: float = 15.0,
        reconnect_seconds: float = 1.0,
        requests_per_second: int = 45,
        historical_per_second: int = 5,
        utc: Clock = SYSTEM,
        lock: FileLock | None = None,
        make_line: Callable[[Callable[[Message], None]], Line] | None = None,
    ) -> None:
        if environment not in ("demo", "real"):
            raise BadInput(must_be("environment", "'demo' or 'real'", repr(environment), "name the account's kind"))
        self._login, self._environment = int(login), environment
        self._utc = utc
        self._lock = lock
        self.session = Session(
            credentials,
            login=self._login,
            environment=environment,
            host=host,
            port=port,
            tls=tls,
            symbols=symbols or {},
            suffix=suffix,
            reply_seconds=reply_seconds,
            reconnect_seconds=reconnect_seconds,
            requests_per_second=requests_per_second,
            historical_per_second=historical_per_second,
            utc=utc,
            make_line=make_line,
            on_event=self._event,
        )
        self._desk = Desk(self.session, self._find_position, self._find_order)
        self._past = Past(self.session, self._desk.asked)

    def _event(self, message: Message) -> None:
        """Take an event nobody asked for. The book is read, never kept, so there is nothing to update."""

    # --- session ---------------------------------------------------------------------------------------------------

    def connect(self) -> AccountSnapshot:
        """Open the session and return the account.

        Raises
        ------
        WrongAccount
            When application, token, login or environment do not fit.
        PlatformUnavailable
            When the server cannot be reached.
        """
        if self._lock is not None:
            self._lock.acquire()
        try:
            self.session.connect()
            return self.book().account
        except BaseException:
            if self._lock is not None and not self.session.client.up:
                self._lock.release()
            raise

    def close(self) -> None:
        """End the session; stops and pending orders go on at the server. Safe to call twice."""
        self.session.close()
        if self._lock is not None:
            self._lock.release()

    def examine(self, symbols: tuple[str, ...]) -> tuple[Finding, ...]:
        """Look the connected session over; nothing is traded."""
        from toolkit.platforms.ctrader.doctor import findings

        return findings(self, symbols)

    def now(self) -> datetime:
        """Return the time in UTC: this machine's, and never behind the server's last tick."""
        return self.session.server_now.now()

    # --- market data -----------------------------------------------------------------------------------------------

    def instrument(self, symbol: str) -> Instrument:
        """Return the contract facts as the server states them; UnknownSymbol when it has no such symbol."""
        return self.session.symbol(symbol).facts

    def quote(self, symbol: str) -> Quote:
        """Return the last spot with its moment."""
        return self.session.quote(self.session.symbol(symbol))

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars:
        """Return closed bars opened later than ``after``; a bar is closed once a newer one has opened.

        The server's bars are of the bid side. Their ask is taken as the spread of the last spot above it.
        """
        of, frame = self.session.symbol(symbol), Timeframe(timeframe)
        quote = self.quote(symbol)
        spread = of.facts.to_points(quote.ask) - of.facts.to_points(quote.bid)
        rows = self._latest(of, frame, limit + 1) if after is None else self._later(of, frame, after, limit + 1)
        closed = rows[:-1]  # the newest is still forming
        return convert.bars(closed[:limit] if after is not None else closed[-limit:], of, frame, spread)

    def _trendbars(self, of: convert.Symbol, frame: Timeframe, begin: int, end: int) -> list[pb.ProtoOATrendbar]:
        found = self.session.ask(
            pb.ProtoOAGetTrendbarsReq(
                ctidTraderAccountId=self.session.account_id,
                symbolId=of.symbol_id,
                period=codes.PERIODS[frame.value],
                fromTimestamp=begin,
                toTimestamp=end,
            ),
            pb.ProtoOAGetTrendbarsRes,
        )
        return sorted(found.trendbar, key=lambda r: r.utcTimestampInMinutes)

    def _later(self, of: convert.Symbol, frame: Timeframe, after: datetime, want: int) -> list[pb.ProtoOATrendbar]:
        begin, now = convert.stamp(after) + 1, convert.stamp(self.now()) + 1
        rows: dict[int, pb.ProtoOATrendbar] = {}
        while begin <= now and len(rows) < want:
            end = min(now, begin + _SPANS[frame.seconds])
            for row in self._trendbars(of, frame, begin, end):
                if row.utcTimestampInMinutes * 60_000 >= begin:
                    rows[row.utcTimestampInMinutes] = row
            begin = end + 1
        return [rows[k] for k in sorted(rows)][:want]

    def _latest(self, of: convert.Symbol, frame: Timeframe, want: int) -> list[pb.ProtoOATrendbar]:
        end = convert.stamp(self.now()) + 1
        rows: dict[int, pb.ProtoOATrendbar] = {}
        for _ in range(_BACK):
            begin = end - _SPANS[frame.seconds]
            rows |= {r.utcTimestampInMinutes: r for r in self._trendbars(of, frame, begin, end)}
            if len(rows) >= want:
                break
            end = begin - 1
        return [rows[k] for k in sorted(rows)][-want:]

    # --- book ------------------------------------------------------------------------------------------------------

    def _reconcile(self) -> pb.ProtoOAReconcileRes:
        return self.session.ask(
            pb.ProtoOAReconcileReq(ctidTraderAccountId=self.session.account_id), pb.ProtoOAReconcileRes
        )

    def _find_position(self, position_id: str) -> pb.ProtoOAPosition | None:
        return next((p for p in self._reconcile().position if str(p.positionId) == position_id), None)

    def _find_order(self, order_id: str) -> pb.ProtoOAOrder | None:
        return next((o for o in self._working(self._reconcile()) if str(o.orderId) == order_id), None)

    @staticmethod
    def _working(found: pb.ProtoOAReconcileRes) -> list[pb.ProtoOAOrder]:
        """Return the entries that wait; the orders that carry a position's stop and target are not ours to count."""
        return [o for o in found.order if not o.closingOrder and o.orderType in (codes.LIMIT, codes.STOP)]

    def book(self) -> Book:
        """Return account, positions and working orders; a request that fails makes the whole read fail."""
        s = self.session
        found = self._reconcile()
        s.trader = s.ask(pb.ProtoOATraderReq(ctidTraderAccountId=s.account_id), pb.ProtoOATraderRes).trader
        profits = self._open_profits() if found.position else {}
        digits, moment = s.money_digits, self.now()
        balance = convert.money(s.trader.balance, digits)
        margin = sum(
            (convert.money(int(p.usedMargin), int(p.moneyDigits) or digits) for p in found.position), Decimal(0)
        )
        account = AccountSnapshot(
            login=str(s.trader.traderLogin),
            server=s.host,
            environment=self._environment,
            currency=s.currency,
            balance=balance,
            equity=balance + sum((net for _, net in profits.values()), Decimal(0)),
            margin=margin,
            hedging=s.trader.accountType != codes.NETTED,
            connected=True,
            trading_allowed=s.trader.accessRights == codes.FULL_ACCESS,
            as_of=moment,
        )
        positions = tuple(
            convert.position(
                p,
                s.symbol_of_id(p.tradeData.symbolId),
                profits.get(p.positionId, (Decimal(0), Decimal(0)))[0],
                int(p.moneyDigits) if p.HasField("moneyDigits") else digits,
            )
            for p in found.position
        )
        orders = tuple(convert.order(o, s.symbol_of_id(o.tradeData.symbolId)) for o in self._working(found))
        return Book(account, positions, orders, moment)

    def _open_profits(self) -> dict[int, tuple[Decimal, Decimal]]:
        s = self.session
        found = s.ask(
            pb.ProtoOAGetPositionUnrealizedPnLReq(ctidTraderAccountId=s.account_id),
            pb.ProtoOAGetPositionUnrealizedPnLRes,
        )
        digits = int(found.moneyDigits)
        return {
            p.positionId: (
                convert.money(p.grossUnrealizedPnL, digits),
                convert.money(p.netUnrealizedPnL, digits),
            )
            for p in found.positionUnrealizedPnL
        }

    def history(self, since: datetime, until: datetime) -> History:
        """Return ended orders and deals of the span, complete."""
        return self._past.read(since, until)

    def deals_of(self, position_id: str) -> tuple[PlatformDeal, ...]:
        """Return the deals of one position, oldest first."""
        return self._past.of_position(position_id)

    def expect_closes(self, closes: Sequence[SentClose]) -> None:
        """Recognise the deals of closes that another session sent: no message of the server says whose a close was."""
        self._desk.asked.expect(closes)

    # --- orders ----------------------------------------------------------------------------------------------------

    def send(self, command: PlatformCommand) -> OrderResult:
        """Carry out one command, once; every ambiguous answer is UNKNOWN."""
        return self._desk.send(command)

    # --- arithmetic ------------------------------------------------------------------------------------------------

    def conversion_rate(self, frm: str, to: str) -> Rate:
        """Return the mid rate of the moment between two currencies, by the server's own chain of symbols.

        Raises
        ------
        ConversionRateMissing
            When the server has no chain, or one of its symbols has no price.
        """
        rate, at = Rate.ONE, frm
        if frm == to:
            return rate
        for light in self.session.rate_pairs(frm, to):
            base, other = self.session.asset_name(light.baseAssetId), self.session.asset_name(light.quoteAssetId)
            of = self.session.symbol_of_id(light.symbolId)
            quote = self.session.quote(of)
            num, den = (quote.bid + quote.ask).as_integer_ratio()
            direct = Rate(num, 2 * den)
            rate = rate * (direct if base == at else direct.inverse)
            at = other if base == at else base
        if at != to:
            raise ConversionRateMissing(
                must_be(f"rate {frm} to {to}", "known to the server", "missing", "ask the broker")
            )
        return rate

    def profit(self, symbol: str, side: Side, lots: Decimal, open_price: Decimal, close_price: Decimal) -> Decimal:
        """Return the profit of a round trip in account currency; the server calculates none, so by its facts and rates."""
        facts, currency = self.instrument(symbol), self.session.currency
        rate = self.conversion_rate(facts.quote_currency, currency)
        return contract.round_money(contract.profit(facts, side, lots, open_price, close_price, rate), currency)

    def margin(self, symbol: str, side: Side, lots: Decimal, price: Decimal) -> Decimal:
        """Return the margin the server would block for a trade at the current price, in account currency."""
        s, of = self.session, self.session.symbol(symbol)
        found = s.ask(
            pb.ProtoOAExpectedMarginReq(
                ctidTraderAccountId=s.account_id, symbolId=of.symbol_id, volume=[convert.volume(lots, of)]
            ),
            pb.ProtoOAExpectedMarginRes,
        )
        digits = int(found.moneyDigits) if found.HasField("moneyDigits") else s.money_digits
        one = found.margin[0]
        return convert.money(one.buyMargin if side is Side.BUY else one.sellMargin, digits)

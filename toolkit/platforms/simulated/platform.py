"""The paper platform: a venue with its own clock and its own durable book, behind the ``TradingPlatform`` protocol."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

from toolkit.clock import from_ns, to_ns
from toolkit.errors import (
    BadInput,
    ConversionRateMissing,
    PlatformError,
    PlatformUnavailable,
    QuoteError,
    ReadFailed,
    must_be,
)
from toolkit.execution.ports import (
    AccountSnapshot,
    Book,
    History,
    OrderResult,
    Outcome,
    PlatformCommand,
    PlatformDeal,
)
from toolkit.market import Bars, Instrument, Quote, Rate, Side, Timeframe
from toolkit.platforms.simulated.book import views
from toolkit.platforms.simulated.book.records import Deal
from toolkit.platforms.simulated.desk import Reply, VenueRules
from toolkit.platforms.simulated.faults import FaultScript
from toolkit.platforms.simulated.venue import Venue
from toolkit.simulation import rules
from toolkit.simulation.account import PaperAccount

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SimulatedPlatform:
    """A paper venue for one account; its journal file is the account.

    Parameters
    ----------
    path
        The journal (SQLite); opened again it is the same account with the same book.
    account
        Terms of the account; needed once, to make the journal. Opening with other terms is refused.
    instruments
        Contract facts of the symbols it trades; a loaded replay brings its own. The journal keeps them.
    login, server, environment
        How the account shows itself.
    checks
        Stops and freeze levels of the venue.
    faults
        What it is told to do wrong; for tests and for the demo's planted faults.

    Raises
    ------
    PlatformError
        When another process has the journal open, or it belongs to an account of other terms.

    Notes
    -----
    A venue is driven by replays (`load_replay`, `advance_clock_to`) or by pushed quotes (`push_quote`). Both commit
    only what changes the book, so after a kill the clock may stand a little earlier: moving it forward again does the
    same again. Like a real venue it does not recognise a repeated tag; it counts them (`duplicate_orders`).
    """

    name = "simulated"

    def __init__(
        self,
        path: str | Path,
        account: PaperAccount | None = None,
        instruments: Mapping[str, Instrument] | Iterable[Instrument] = (),
        *,
        login: str | None = None,
        server: str = "paper",
        environment: Literal["paper", "demo", "real"] = "paper",
        checks: VenueRules | None = None,
        faults: FaultScript | None = None,
    ) -> None:
        self.path = Path(path)
        self.login = login or self.path.stem
        self.server = server
        self.environment = environment
        self._guard = threading.RLock()
        self._closed = False
        self._venue = Venue(self.path, account, checks or VenueRules(), faults or FaultScript())
        self.account = self._venue.account
        found = instruments.values() if isinstance(instruments, Mapping) else instruments
        try:
            for instrument in found:
                self._venue.add_instrument(instrument.symbol, instrument)
        except BaseException:
            self._venue.journal.close()
            raise

    @property
    def venue(self) -> Venue:
        """Return the venue behind the protocol, in its integers; for doubles built on it and for tests."""
        return self._venue

    @property
    def guard(self) -> threading.RLock:
        """Return the lock that every call here holds; who reads the venue from another thread takes it."""
        return self._guard

    # --- session ---------------------------------------------------------------------------------------------------

    def connect(self) -> AccountSnapshot:
        """Return the account; the venue is in this process, so there is no line to open."""
        self._venue.line_up = True
        return self._account()

    def disconnect(self) -> None:
        """Cut the line: reads fail and commands are not accepted until `connect`."""
        self._venue.line_up = False

    def close(self) -> None:
        """Keep the clock and give the journal back; safe to call twice."""
        with self._guard:
            if not self._closed:
                self._closed = True
                self._venue.close()

    def __enter__(self) -> SimulatedPlatform:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def now(self) -> datetime:
        """Return the venue's clock; before it was ever set, the first moment of its data."""
        return from_ns(self._venue.now_ns)

    # --- time ------------------------------------------------------------------------------------------------------

    def load_replay(self, symbol: str, bars: Bars) -> None:
        """Price a symbol by recorded bars. Symbols act in the order they were loaded.

        Parameters
        ----------
        symbol
            Name at the venue; that of the bars.
        bars
            The series; it may reach before and beyond the venue's clock.
        """
        if symbol != bars.symbol:
            raise BadInput(must_be("symbol of the replay", bars.symbol, symbol, "name the bars' own symbol"))
        with self._guard:
            self._venue.load(symbol, bars)

    def advance_clock_to(self, moment: datetime) -> int:
        """Move the clock forward and carry out what falls due; return the number of new deals.

        After ``advance_clock_to(bar open)`` the quote is that bar's open, its gapped stops are done, and a market
        order fills there. A moment that is not later than the clock changes nothing and returns 0.
        """
        # the short form is to_ns without its calls: a replay comes here for every bar
        ns = (moment - _EPOCH) // _MICROSECOND * 1000 if moment.tzinfo is UTC else to_ns(moment)
        with self._guard:
            return self._venue.advance(ns)

    def first_touch(self, until: datetime) -> datetime | None:
        """Return the moment up to which the clock must move for something to fall due, None when nothing does by then.

        A stop inside a bar's range falls due at the bar's end.
        """
        with self._guard:
            due = self._venue.timeline.next_event[0]
            return from_ns(due) if due <= to_ns(until) else None

    def push_quote(self, symbol: str, bid: Decimal, ask: Decimal, ts: datetime) -> int:
        """Take a quote from a feed (live paper) and move the clock there; return the number of new deals.

        A quote older than the symbol's last one is ignored. A stop is filled at the quote that passed it, as at a
        gap.
        """
        quote = Quote(bid, ask, ts)  # refuses crossed and naive ones
        with self._guard:
            instrument = self.instrument(symbol)
            return self._venue.push(symbol, instrument.to_points(quote.bid), instrument.to_points(quote.ask), to_ns(ts))

    # --- market data -----------------------------------------------------------------------------------------------

    def instrument(self, symbol: str) -> Instrument:
        """Return the contract facts of a symbol; UnknownSymbol when the venue does not trade it."""
        return self._venue.prices.instrument(symbol)

    def quote(self, symbol: str) -> Quote:
        """Return bid and ask at the venue's clock; QuoteError before the symbol's first price."""
        with self._guard:
            self._check_line()
            instrument = self.instrument(symbol)
            found = self._venue.prices.quote(symbol, self._venue.state.clock_ns)
        if found is None:
            raise QuoteError(must_be(f"quote of {symbol}", "known", f"none at {self.now()}", "move the clock on"))
        return Quote(instrument.price(found[0]), instrument.price(found[1]), from_ns(found[2]))

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars:
        """Return closed bars that opened later than ``after``; a bar is closed once the next one has opened."""
        with self._guard:
            self._check_line()
            self.instrument(symbol)
            replay = self._venue.prices.replays.get(symbol)
            if replay is None:
                raise PlatformError(must_be(f"bars of {symbol}", "loaded", "pushed quotes", "take bars from the feed"))
            held = replay.bars.timeframe
            if Timeframe(timeframe) is not held:
                raise BadInput(must_be(f"timeframe of {symbol}", str(held), timeframe, "ask for the replay's own bars"))
            start = 0 if after is None else replay.opened(to_ns(after))
            end = max(start, min(replay.opened(self._venue.state.clock_ns) - 1, start + limit))
            return replay.bars[start:end]

    # --- book ------------------------------------------------------------------------------------------------------

    def book(self) -> Book:
        """Return account, positions and working orders at the venue's clock.

        Raises
        ------
        ReadFailed
            When a position's symbol has no price, as after opening the journal without its replay.
        """
        with self._guard:
            account = self._account()
            ledger, ns = self._venue.ledger, self._venue.state.clock_ns
            positions = tuple(
                views.position(p, self.instrument(p.symbol), self.account, ledger.open_profit(p, ns))
                for p in self._venue.state.positions.values()
            )
            orders = tuple(views.order(o, self.instrument(o.symbol)) for o in self._venue.state.orders.values())
            return Book(account, positions, orders, account.as_of)

    def _account(self) -> AccountSnapshot:
        with self._guard:
            self._check_line()
            ledger, ns, money = self._venue.ledger, self._venue.state.clock_ns, self.account.money
            for position in self._venue.state.positions.values():
                if self._venue.prices.quote(position.symbol, ns) is None:
                    what = f"price of {position.symbol}, in which a position is open,"
                    raise ReadFailed(must_be(what, "known", "missing", "load its replay or push a quote"))
            return AccountSnapshot(
                login=self.login,
                server=self.server,
                environment=self.environment,
                currency=self.account.currency,
                balance=money(self._venue.state.balance),
                equity=money(ledger.equity(ns)),
                margin=money(ledger.margin_used()),
                hedging=ledger.hedging,
                connected=self._venue.line_up,
                trading_allowed=True,
                as_of=self.now(),
            )

    def history(self, since: datetime, until: datetime) -> History:
        """Return ended orders and deals of the span, both ends included.

        A stop inside a bar's range is dated at the bar's open, as in a backtest: ask again from the last bar's open on,
        or use `deals_after`.
        """
        with self._guard:
            self._check_line()
            span = to_ns(since), to_ns(until)
            orders = tuple(views.order(o, self.instrument(o.symbol)) for o in self._venue.journal.ended_orders(*span))
            return History(orders, self._deals(self._venue.journal.deals(*span)))

    def deals_after(self, deal_id: str | None) -> tuple[PlatformDeal, ...]:
        """Return the deals booked after that one (all of them for None), in the order they were booked."""
        with self._guard:
            self._check_line()
            return self._deals(self._venue.journal.deals_after(0 if deal_id is None else int(deal_id)))

    def deals_of(self, position_id: str) -> tuple[PlatformDeal, ...]:
        """Return the deals of one position, oldest first."""
        with self._guard:
            self._check_line()
            return self._deals(self._venue.journal.deals_of(int(position_id)))

    def _deals(self, deals: Iterable[Deal]) -> tuple[PlatformDeal, ...]:
        return tuple(views.deal(d, self.instrument(d.symbol), self.account) for d in deals)

    def duplicate_orders(self) -> int:
        """Return how many accepted orders carry a tag that an earlier order of the same action carried."""
        with self._guard:
            return self._venue.journal.duplicate_orders()

    def has_received(self, tag_text: str) -> bool:
        """Tell whether a command with this tag was ever carried out here or still will be.

        The venue answers only after its journal is durable, so once the process that sent a command is dead, a tag that
        the journal does not know has never arrived and never will.
        """
        with self._guard:
            self._check_line()
            return self._venue.journal.has_received(tag_text)

    def order_count(self) -> int:
        """Return how many orders were ever accepted, the venue's own exits included."""
        with self._guard:
            return self._venue.journal.count("orders")

    # --- orders ----------------------------------------------------------------------------------------------------

    def send(self, command: PlatformCommand) -> OrderResult:
        """Carry out one command, durably, before answering; `FaultScript` says what may go wrong."""
        with self._guard:
            if not self._venue.line_up or self._closed:
                return OrderResult(Outcome.NOT_ACCEPTED, code="NO_CONNECTION", message="the venue is not connected")
            try:
                return self._result(self._venue.answer(command))
            except PlatformUnavailable as e:  # a write that failed may still be on the disk
                return OrderResult(Outcome.UNKNOWN, code="JOURNAL", message=str(e))

    def _result(self, reply: Reply) -> OrderResult:
        instrument = self._venue.prices.instruments.get(reply.symbol)
        return OrderResult(
            outcome=reply.outcome,
            order_id=str(reply.order_id) if reply.order_id else None,
            position_id=str(reply.position_id) if reply.position_id else None,
            deal_ids=tuple(str(i) for i in reply.deal_ids),
            filled_lots=instrument.lots(reply.steps) if instrument else Decimal(0),
            price=instrument.price(reply.price_points) if instrument and reply.price_points else None,
            protected=reply.protected,
            code=reply.code,
            message=reply.message,
        )

    def profit(self, symbol: str, side: Side, lots: Decimal, open_price: Decimal, close_price: Decimal) -> Decimal:
        """Return the profit of a round trip in account currency, at today's conversion rate."""
        with self._guard:
            instrument = self.instrument(symbol)
            move = instrument.to_points(close_price) - instrument.to_points(open_price)
            num, den = self._venue.prices.point_value(symbol, self._venue.state.clock_ns)
            return self.account.money(rules.money(side.sign * move, instrument.steps_floor(lots), num, den))

    def conversion_rate(self, frm: str, to: str) -> Rate:
        """Return the rate of the venue's moment into the account's currency, the one its own bookings use.

        Raises
        ------
        ConversionRateMissing
            When no price of a joining pair is known, or ``to`` is not the account's currency.
        """
        if to != self.account.currency:
            what = f"currency converted to at {self.path.name}"
            raise ConversionRateMissing(must_be(what, self.account.currency, to, "ask for the account's currency"))
        with self._guard:
            return self._venue.prices.rate(frm, self._venue.state.clock_ns)

    def margin(self, symbol: str, side: Side, lots: Decimal, price: Decimal) -> Decimal:
        """Return the margin of a position in account currency."""
        with self._guard:
            instrument = self.instrument(symbol)
            steps, points = instrument.steps_floor(lots), instrument.to_points(price)
            return self.account.money(self._venue.prices.margin(symbol, steps, points, self._venue.state.clock_ns))

    # --- what a person, or the venue, may do -----------------------------------------------------------------------

    def manual_close(self, position_id: str) -> str:
        """Close a position as a person at the terminal would; return the deal's id."""
        with self._guard:
            return str(self._venue.close_by_hand(position_id))

    def change_ticket(self, position_id: str) -> str:
        """Give a position another ticket, as a swap re-opening does; return the new ticket."""
        with self._guard:
            return str(self._venue.change_ticket(position_id))

    def _check_line(self) -> None:
        if self._closed:
            raise PlatformError(f"the venue {self.path.name} is closed: open it again")
        if not self._venue.line_up:
            raise PlatformUnavailable(f"the venue {self.path.name} is not connected: call connect()")

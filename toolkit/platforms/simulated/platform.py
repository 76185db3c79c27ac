"""The paper platform: a venue with its own clock and its own durable book, behind the ``TradingPlatform`` protocol."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

from toolkit.clock import from_ns, to_ns
from toolkit.errors import BadInput, ConversionRateMissing, PlatformError, PlatformUnavailable, QuoteError, must_be
from toolkit.execution.ports import (
    AccountSnapshot,
    Book,
    History,
    OrderResult,
    Outcome,
    PlatformCommand,
    PlatformDeal,
)
from toolkit.market import Bars, Instrument, Quote, Side, Timeframe
from toolkit.platforms.simulated import views
from toolkit.platforms.simulated.desk import OrderDesk, Reply, VenueRules
from toolkit.platforms.simulated.faults import FaultKind, FaultScript, command_kind, encode_command
from toolkit.platforms.simulated.journal import Journal
from toolkit.platforms.simulated.ledger import Ledger
from toolkit.platforms.simulated.prices import VenuePrices
from toolkit.platforms.simulated.records import Deal, LateCommand, VenueState
from toolkit.platforms.simulated.timeline import Timeline
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
        Contract facts of the symbols it trades; a loaded replay brings its own.
    login, server
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
    A venue is driven by replays (`load_replay`, `advance_clock_to`) or by pushed quotes (`push_quote`). Both commit only what
    changes the book, so after a kill the clock may stand a little earlier: moving it forward again does the same again.
    Like a real venue it does not recognise a repeated tag; it counts them (`duplicate_orders`).
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
        self._checks = checks or VenueRules()
        self._faults = faults or FaultScript()
        self._guard = threading.RLock()
        self._instruments = _by_symbol(instruments)
        self._bars: dict[str, Bars] = {}
        self._connected = True
        self._closed = False
        self._journal = Journal(self.path)
        try:
            self.account = self._agree_on(account)
            self._restore()
        except BaseException:
            self._journal.close()
            raise

    def _agree_on(self, account: PaperAccount | None) -> PaperAccount:
        stored = self._journal.meta("account")
        if stored is None:
            if account is None:
                raise PlatformError(
                    f"account must be given to make a new venue, was None: {self.path.name} does not exist yet"
                )
            with self._journal.transaction():
                self._journal.put_meta("account", account.facts())
                self._journal.put_meta("state", {"balance": account.balance_minor})
            return account
        kept = PaperAccount.from_facts(stored)
        if account is not None and account != kept:
            mine = account.facts()
            changed = ", ".join(f"{k} {stored[k]} -> {mine[k]}" for k in stored if stored[k] != mine[k])
            raise PlatformError(
                must_be(
                    f"account of {self.path.name}",
                    "what it was opened with",
                    f"changed ({changed})",
                    "open a new account",
                )
            )
        return kept

    def _restore(self) -> None:
        """Take the book from the journal, as after a start."""
        self._state: VenueState = self._journal.load()
        self._prices = VenuePrices(self.account, self._instruments, self._state)
        for symbol, bars in self._bars.items():
            self._prices.load(symbol, bars)
        self._ledger = Ledger(self._state, self._prices, hedging=self.account.mode == "hedging")
        self._desk = OrderDesk(self._ledger, self._checks, self._faults)
        self._timeline = Timeline(self._ledger, self._desk)

    def _commit(self) -> None:
        try:
            self._journal.write(self._state, self._ledger.take_changes())
        except sqlite3.Error:
            self._restore()  # what the journal does not have did not happen
            raise

    # --- session -----------------------------------------------------------------------------------------------------

    def connect(self) -> AccountSnapshot:
        """Return the account; the venue is in this process, so there is no line to open."""
        self._connected = True
        return self._account()

    def close(self) -> None:
        """Keep the clock and give the journal back; safe to call twice."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            try:
                self._commit()
            finally:
                self._journal.close()

    def __enter__(self) -> SimulatedPlatform:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def disconnect(self) -> None:
        """Cut the line: reads fail and commands are not accepted until `connect`."""
        self._connected = False

    def now(self) -> datetime:
        """Return the venue's clock; before it was ever set, the first moment of its data."""
        return from_ns(self._now_ns())

    def _now_ns(self) -> int:
        if self._state.clock_ns == 0 and self._prices.replays:
            return min(r.first_ns for r in self._prices.replays.values())
        return self._state.clock_ns

    # --- time --------------------------------------------------------------------------------------------------------

    def load_replay(self, symbol: str, bars: Bars) -> None:
        """Price a symbol by recorded bars. Symbols act in the order they were loaded.

        Parameters
        ----------
        symbol
            Name at the venue; that of the bars.
        bars
            The series; it may reach before and beyond the venue's clock.
        """
        with self._guard:
            if symbol != bars.symbol:
                raise BadInput(must_be("symbol of the replay", bars.symbol, symbol, "name the bars' own symbol"))
            self._prices.load(symbol, bars)
            self._instruments[symbol] = bars.instrument
            self._bars[symbol] = bars
            self._timeline.forget()

    def advance_clock_to(self, moment: datetime) -> int:
        """Move the clock forward and carry out what falls due; return the number of new deals.

        After ``advance_clock_to(bar open)`` the quote is that bar's open, its gapped stops are done, and a market order fills
        there. A moment that is not later than the clock changes nothing and returns 0.
        """
        # same as to_ns, without its call: this is the innermost line of a replay
        if moment.tzinfo is not UTC:
            target = to_ns(moment)
        else:
            target = (moment - _EPOCH) // _MICROSECOND * 1000
        with self._guard:
            if target <= self._state.clock_ns:
                return 0
            if target < self._timeline.next_event[0]:
                self._timeline.advance(target)
                return 0
            try:
                made = self._timeline.advance(target)
            except ConversionRateMissing:
                self._restore()
                raise
            self._commit_read()
            return made

    def _commit_read(self) -> None:
        try:
            self._commit()
        except sqlite3.Error as e:
            raise PlatformUnavailable(
                f"the venue journal {self.path.name} could not be written ({e}): free the disk, try again"
            ) from e

    def first_touch(self, until: datetime) -> datetime | None:
        """Return the moment up to which the clock must move for something to fall due, None when nothing does by ``until``.

        A stop inside a bar's range falls due at the bar's end.
        """
        with self._guard:
            due = self._timeline.next_event[0]
            return from_ns(due) if due <= to_ns(until) else None

    def push_quote(self, symbol: str, bid: Decimal, ask: Decimal, ts: datetime) -> int:
        """Take a quote from a feed (live paper): move the clock, act on stops, targets and pending orders; return new deals.

        A quote older than the symbol's last one is ignored. A stop is filled at the quote that passed it.
        """
        quote = Quote(bid, ask, ts)  # refuses crossed and naive ones
        with self._guard:
            if symbol in self._prices.replays:
                raise PlatformError(
                    must_be("pushed symbol", "one without a replay", symbol, "drive it by one of the two")
                )
            instrument = self._prices.instrument(symbol)
            ns = to_ns(ts)
            last = self._state.quotes.get(symbol)
            if last is not None and ns < last[2]:
                return 0
            before = self._state.clock_ns
            made = self._timeline.advance(max(ns, before))
            bid_points, ask_points = instrument.to_points(quote.bid), instrument.to_points(quote.ask)
            self._state.quotes[symbol] = (bid_points, ask_points, ns)
            deals, orders = len(self._ledger.changes.deals), len(self._ledger.changes.orders)
            try:
                self._timeline.tick(symbol, bid_points, ask_points, self._state.clock_ns)
            except ConversionRateMissing:
                self._restore()
                raise
            made += len(self._ledger.changes.deals) - deals
            if made or len(self._ledger.changes.orders) > orders or self._ledger.changes.orders:
                self._timeline.forget()
                self._commit_read()
            return made

    # --- market data -------------------------------------------------------------------------------------------------

    def instrument(self, symbol: str) -> Instrument:
        """Return the contract facts of a symbol; UnknownSymbol when the venue does not trade it."""
        return self._prices.instrument(symbol)

    def quote(self, symbol: str) -> Quote:
        """Return bid and ask at the venue's clock; QuoteError before the symbol's first price."""
        with self._guard:
            self._check_line()
            instrument = self._prices.instrument(symbol)
            found = self._prices.quote(symbol, self._state.clock_ns)
        if found is None:
            raise QuoteError(
                must_be(f"quote of {symbol}", "known", f"none at {self.now().isoformat()}", "move the clock on")
            )
        return Quote(instrument.price(found[0]), instrument.price(found[1]), from_ns(found[2]))

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars:
        """Return closed bars that opened later than ``after``; a bar is closed once the next one has opened."""
        with self._guard:
            self._check_line()
            self._prices.instrument(symbol)
            replay = self._prices.replays.get(symbol)
            if replay is None:
                raise PlatformError(
                    must_be(f"bars of {symbol}", "loaded", "pushed as quotes only", "take bars from the feed")
                )
            if Timeframe(timeframe) is not replay.bars.timeframe:
                raise BadInput(
                    must_be(
                        f"timeframe of {symbol}", str(replay.bars.timeframe), timeframe, "ask for the replay's own bars"
                    )
                )
            start = 0 if after is None else replay.opened(to_ns(after))
            end = max(start, min(replay.opened(self._state.clock_ns) - 1, start + limit))
            return replay.bars[start:end]

    # --- book --------------------------------------------------------------------------------------------------------

    def book(self) -> Book:
        """Return account, positions and working orders at the venue's clock."""
        with self._guard:
            account = self._account()
            ns = self._state.clock_ns
            positions = tuple(
                views.position(p, self.instrument(p.symbol), self.account, self._ledger.open_profit(p, ns))
                for p in self._state.positions.values()
            )
            orders = tuple(views.order(o, self.instrument(o.symbol)) for o in self._state.orders.values())
            return Book(account, positions, orders, account.as_of)

    def _account(self) -> AccountSnapshot:
        self._check_line()
        with self._guard:
            ns, money = self._state.clock_ns, self.account.money
            return AccountSnapshot(
                login=self.login,
                server=self.server,
                environment=self.environment,
                currency=self.account.currency,
                balance=money(self._state.balance),
                equity=money(self._ledger.equity(ns)),
                margin=money(self._ledger.margin_used(ns)),
                hedging=self._ledger.hedging,
                connected=self._connected,
                trading_allowed=True,
                as_of=self.now(),
            )

    def history(self, since: datetime, until: datetime) -> History:
        """Return ended orders and deals of the span, both ends included.

        A stop inside a bar's range is dated at the bar's open (as in a backtest): ask again from the last bar's open on.
        """
        with self._guard:
            self._check_line()
            span = to_ns(since), to_ns(until)
            orders = tuple(views.order(o, self.instrument(o.symbol)) for o in self._journal.ended_orders(*span))
            return History(orders, tuple(self._deal(d) for d in self._journal.deals(*span)))

    def deals_after(self, deal_id: str | None) -> tuple[PlatformDeal, ...]:
        """Return the deals booked after that one (all of them for None), in the order they were booked."""
        with self._guard:
            self._check_line()
            return tuple(self._deal(d) for d in self._journal.deals_after(0 if deal_id is None else int(deal_id)))

    def deals_of(self, position_id: str) -> tuple[PlatformDeal, ...]:
        """Return the deals of one position."""
        with self._guard:
            self._check_line()
            return tuple(self._deal(d) for d in self._journal.deals_of(int(position_id)))

    def _deal(self, deal: Deal) -> PlatformDeal:
        return views.deal(deal, self.instrument(deal.symbol), self.account)

    def duplicate_orders(self) -> int:
        """Return how many accepted orders carry a tag that an earlier order of the same action carried."""
        with self._guard:
            return self._journal.duplicate_orders()

    def order_count(self) -> int:
        """Return how many orders were ever accepted, the venue's own exits included."""
        with self._guard:
            return self._journal.count("orders")

    # --- orders ------------------------------------------------------------------------------------------------------

    def send(self, command: PlatformCommand) -> OrderResult:
        """Carry out one command, durably, before answering; see `toolkit.platforms.simulated.faults` for what may go wrong."""
        with self._guard:
            if not self._connected or self._closed:
                return OrderResult(Outcome.NOT_ACCEPTED, code="NO_CONNECTION", message="the venue is not connected")
            try:
                reply = self._answer(command)
            except sqlite3.Error as e:
                return OrderResult(Outcome.UNKNOWN, code="JOURNAL", message=f"the journal could not be written: {e}")
            return self._result(reply)

    def _answer(self, command: PlatformCommand) -> Reply:
        kind = command_kind(command)
        sends = self._state.sends
        sends["any"] = sends.get("any", 0) + 1
        sends[kind] = sends.get(kind, 0) + 1
        fault = self._faults.pick(kind, sends)
        what = None if fault is None else fault.kind
        if what is FaultKind.REJECT:
            reply = Reply(Outcome.FINAL, "REJECT", "the venue refused")
        elif what is FaultKind.REQUOTE:
            reply = Reply(Outcome.NOT_ACCEPTED, "REQUOTE", "the price has moved")
        elif what is FaultKind.MARKET_CLOSED:
            reply = Reply(Outcome.WAIT, "MARKET_CLOSED", "the market is closed")
        elif what is FaultKind.DISCONNECT:
            self._connected = False
            reply = Reply(Outcome.NOT_ACCEPTED, "NO_CONNECTION", "the line is down")
        elif what is FaultKind.COMMAND_LOST:
            reply = Reply(Outcome.UNKNOWN, "TIMEOUT", "no answer")
        elif what is FaultKind.LATE_ACCEPTANCE and fault is not None:
            late = LateCommand(sends["any"], self._now_ns() + round(fault.seconds * 1e9), encode_command(command))
            self._state.late.append(late)
            self._ledger.changes.late.append(late)
            reply = Reply(Outcome.UNKNOWN, "TIMEOUT", "no answer")
        else:
            if what is FaultKind.LATENCY and fault is not None:
                self._timeline.advance(self._now_ns() + round(fault.seconds * 1e9))
            if what is FaultKind.MANUAL_CLOSE:
                with suppress(PlatformError):
                    self._manual_close(str(getattr(command, "position_id", "")))
            reply = self._desk.execute(command, self._state.clock_ns, fault)
            if what is FaultKind.CHANGE_TICKET and reply.position_id in self._state.positions:
                self._change_ticket(reply.position_id)
            if what is FaultKind.ANSWER_LOST:
                reply = Reply(Outcome.UNKNOWN, "TIMEOUT", "no answer")
        self._timeline.forget()
        self._commit()
        return reply

    def _result(self, reply: Reply) -> OrderResult:
        instrument = self._prices.instruments.get(reply.symbol)
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
            num, den = self._prices.point_value(symbol, self._state.clock_ns)
            return self.account.money(rules.money(side.sign * move, instrument.steps_floor(lots), num, den))

    def margin(self, symbol: str, side: Side, lots: Decimal, price: Decimal) -> Decimal:
        """Return the margin of a position in account currency."""
        with self._guard:
            instrument = self.instrument(symbol)
            steps, points = instrument.steps_floor(lots), instrument.to_points(price)
            return self.account.money(self._prices.margin(symbol, steps, points, self._state.clock_ns))

    # --- what a person, or the venue, may do -------------------------------------------------------------------------

    def manual_close(self, position_id: str) -> str:
        """Close a position as a person at the terminal would; return the deal's id."""
        with self._guard:
            deal = self._manual_close(position_id)
            self._timeline.forget()
            self._commit_read()
            return str(deal)

    def _manual_close(self, position_id: str) -> int:
        position = self._state.positions.get(int(position_id)) if position_id.isdigit() else None
        if position is None:
            raise PlatformError(must_be("position_id", "an open position", repr(position_id), "read the book"))
        return self._desk.close_by_hand(position, self._state.clock_ns)

    def change_ticket(self, position_id: str) -> str:
        """Give a position another ticket, as a swap re-opening does; return the new ticket."""
        with self._guard:
            if not position_id.isdigit() or int(position_id) not in self._state.positions:
                raise PlatformError(must_be("position_id", "an open position", repr(position_id), "read the book"))
            ticket = self._change_ticket(int(position_id))
            self._commit_read()
            return str(ticket)

    def _change_ticket(self, position_id: int) -> int:
        position = self._state.positions[position_id]
        position.ticket = self._ledger.next_id()
        self._ledger.touch(position)
        return position.ticket

    def _check_line(self) -> None:
        if self._closed:
            raise PlatformError(f"the venue {self.path.name} is closed: open it again")
        if not self._connected:
            raise PlatformUnavailable(f"the venue {self.path.name} is not connected: call connect()")


def _by_symbol(instruments: Mapping[str, Instrument] | Iterable[Instrument]) -> dict[str, Instrument]:
    found = instruments.values() if isinstance(instruments, Mapping) else instruments
    return {i.symbol: i for i in found}

"""The venue itself: the journal, the book it holds, the clock, and commands with their faults. Integers only."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from toolkit.errors import ConversionRateMissing, PlatformError, PlatformUnavailable, must_be
from toolkit.execution.ports import Outcome, PlatformCommand
from toolkit.market import Bars, Instrument
from toolkit.platforms.simulated.book.journal import Journal
from toolkit.platforms.simulated.book.ledger import Ledger
from toolkit.platforms.simulated.book.records import LateCommand, Position, VenueState
from toolkit.platforms.simulated.course.prices import VenuePrices
from toolkit.platforms.simulated.course.timeline import Timeline
from toolkit.platforms.simulated.desk import Reply, VenueRules
from toolkit.platforms.simulated.faults import Fault, FaultKind, FaultScript, command_kind, encode_command
from toolkit.platforms.simulated.server_desk import ChangeOrder, CloseBy, ServerDesk
from toolkit.simulation.account import PaperAccount

#: Facts that may change between two openings without making the old deals unreadable.
_MAY_CHANGE = frozenset({"default_spread_pips"})


class Venue:
    """One account at the paper venue.

    Every method that changes the book commits before it returns; after a failed write the book is what the journal
    says.
    """

    def __init__(self, path: Path, account: PaperAccount | None, checks: VenueRules, faults: FaultScript) -> None:
        self.path = path
        self._checks = checks
        self._faults = faults
        self._bars: dict[str, Bars] = {}
        self.line_up = True
        self.journal = Journal(path)
        try:
            self.account = self._agree_on(account)
            stored: Mapping[str, dict[str, object]] = self.journal.meta("instruments") or {}
            self._instruments = {symbol: Instrument.from_facts(facts) for symbol, facts in stored.items()}
            self._restore()
        except BaseException:
            self.journal.close()
            raise

    def _agree_on(self, account: PaperAccount | None) -> PaperAccount:
        stored = self.journal.meta("account")
        if stored is None:
            if account is None:
                raise PlatformError(
                    must_be("account", "given to make a new venue", "None", f"{self.path.name} does not exist yet")
                )
            with self.journal.transaction():
                self.journal.put_meta("account", account.facts())
                self.journal.put_meta("state", {"balance": account.balance_minor})
            return account
        kept = PaperAccount.from_facts(stored)
        if account is not None and account != kept:
            mine = account.facts()
            changed = ", ".join(f"{k} {stored[k]} -> {mine[k]}" for k in stored if stored[k] != mine[k])
            what = f"account of {self.path.name}"
            raise PlatformError(
                must_be(what, "what it was opened with", f"changed ({changed})", "open another paper account")
            )
        return kept

    def _restore(self) -> None:
        """Take the book from the journal, as after a start."""
        self.state: VenueState = self.journal.load()
        self.prices = VenuePrices(self.account, self._instruments, self.state)
        for symbol, bars in self._bars.items():
            self.prices.load(symbol, bars)
        self.ledger = Ledger(self.state, self.prices, hedging=self.account.mode == "hedging")
        self.desk = ServerDesk(self.ledger, self._checks, self._faults)
        self.timeline = Timeline(self.ledger, self.desk)

    def _back_to_journal(self) -> None:
        """Forget what was not committed, but not the last quotes, which are facts of the outside."""
        quotes = self.state.quotes
        self._restore()
        self.state.quotes.update(quotes)

    def commit(self) -> None:
        """Write what changed since the last commit."""
        try:
            self.journal.write(self.state, self.ledger.take_changes())
        except sqlite3.Error as e:
            self._back_to_journal()
            raise PlatformUnavailable(
                f"the venue journal {self.path.name} could not be written ({e}): free the disk, then try again"
            ) from e

    def close(self) -> None:
        """Keep the clock and give the journal back."""
        try:
            self.commit()
        finally:
            self.journal.close()

    # --- symbols ---------------------------------------------------------------------------------------------------

    def add_instrument(self, symbol: str, instrument: Instrument) -> None:
        """Trade a symbol by these contract facts, for good: its old deals must stay readable.

        Raises
        ------
        PlatformError
            When the venue knows the symbol by other facts.
        """
        known = self._instruments.get(symbol)
        if known == instrument:
            return
        if known is not None:
            before, after = known.facts(), instrument.facts()
            changed = [k for k in before if before[k] != after[k] and k not in _MAY_CHANGE]
            if changed:
                named = ", ".join(f"{k} {before[k]} -> {after[k]}" for k in changed)
                raise PlatformError(
                    must_be(
                        f"facts of {symbol}",
                        "those the venue knows",
                        f"changed ({named})",
                        "open another paper account",
                    )
                )
        self._instruments[symbol] = self.prices.instruments[symbol] = instrument
        with self.journal.transaction():
            self.journal.put_meta("instruments", {s: i.facts() for s, i in self._instruments.items()})

    def load(self, symbol: str, bars: Bars) -> None:
        """Price a symbol by recorded bars from now on."""
        self.add_instrument(symbol, bars.instrument)
        self.prices.load(symbol, bars)
        self._bars[symbol] = bars
        self.timeline.forget()

    # --- time ------------------------------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """Return the venue's clock; before it was ever set, the first moment of its data."""
        if self.state.clock_ns == 0 and self.prices.replays:
            return min(r.first_ns for r in self.prices.replays.values())
        return self.state.clock_ns

    def advance(self, to_ns: int) -> int:
        """Move the clock forward, carry out what falls due, return the number of new deals."""
        if to_ns <= self.state.clock_ns:
            return 0
        if to_ns < self.timeline.next_event[0]:
            self.timeline.advance(to_ns)
            return 0
        try:
            made = self.timeline.advance(to_ns)
        except ConversionRateMissing:
            self._back_to_journal()
            raise
        self.commit()
        return made

    def push(self, symbol: str, bid: int, ask: int, ns: int) -> int:
        """Take a quote from outside; return the number of new deals."""
        if symbol in self.prices.replays:
            raise PlatformError(must_be("pushed symbol", "one without a replay", symbol, "drive it by one of the two"))
        last = self.state.quotes.get(symbol)
        if last is not None and ns < last[2]:
            return 0
        made = self.advance(ns)
        if last is None:
            self.prices.forget_bounds()
        self.state.quotes[symbol] = (bid, ask, ns)
        before = len(self.ledger.changes.deals)
        try:
            self.timeline.tick(symbol, bid, ask, self.state.clock_ns)
        except ConversionRateMissing:
            self._back_to_journal()
            raise
        made += len(self.ledger.changes.deals) - before
        if self.ledger.changes:
            self.timeline.forget()
            self.commit()
        return made

    # --- commands --------------------------------------------------------------------------------------------------

    def answer(self, command: PlatformCommand) -> Reply:
        """Count a command, let the fault script have its say, carry it out, commit, answer."""
        kind = command_kind(command)
        sends = self.state.sends
        for name in ("any", kind):
            sends[name] = sends.get(name, 0) + 1
        reply = self._meet(command, self._faults.pick(kind, sends))
        self.timeline.forget()
        self.commit()
        return reply

    def change(self, command: ChangeOrder | CloseBy) -> Reply:
        """Carry out what only a server's own clients ask for; no fault is scripted for it."""
        reply = self.desk.change(command, self.state.clock_ns)
        self.timeline.forget()
        self.commit()
        return reply

    def _meet(self, command: PlatformCommand, fault: Fault | None) -> Reply:
        if fault is None:
            return self.desk.execute(command, self.state.clock_ns)
        what = fault.kind
        refused = _REFUSALS.get(what)
        if refused is not None:
            self.line_up = what is not FaultKind.DISCONNECT
            return Reply(*refused)
        if what is FaultKind.LATE_ACCEPTANCE:
            due = self.now_ns + round(fault.seconds * 1e9)
            late = LateCommand(self.state.sends["any"], due, encode_command(command))
            self.state.late.append(late)
            self.ledger.changes.late.append(late)
            return Reply(*_NO_ANSWER)
        if what is FaultKind.LATENCY:
            self.timeline.advance(self.now_ns + round(fault.seconds * 1e9))
        if what is FaultKind.MANUAL_CLOSE:
            with suppress(PlatformError):  # nothing left to close: then the command meets that itself
                self._close_by_hand(getattr(command, "position_id", ""))
        reply = self.desk.execute(command, self.state.clock_ns, fault)
        if what is FaultKind.CHANGE_TICKET and reply.position_id in self.state.positions:
            self._change_ticket(self.state.positions[reply.position_id])
        return Reply(*_NO_ANSWER) if what is FaultKind.ANSWER_LOST else reply

    def close_by_hand(self, position_id: str) -> int:
        """Close a position as a person at the terminal would; return the deal's number."""
        deal = self._close_by_hand(position_id)
        self.timeline.forget()
        self.commit()
        return deal

    def change_ticket(self, position_id: str) -> int:
        """Let a position go on under another ticket, as a swap re-opening does."""
        ticket = self._change_ticket(self._position(position_id))
        self.commit()
        return ticket

    def _close_by_hand(self, position_id: str) -> int:
        return self.desk.close_by_hand(self._position(position_id), self.state.clock_ns)

    def _change_ticket(self, position: Position) -> int:
        position.ticket = self.ledger.next_id()
        self.ledger.touch(position)
        return position.ticket

    def _position(self, position_id: str) -> Position:
        found = self.state.positions.get(int(position_id)) if position_id.isdigit() else None
        if found is None:
            raise PlatformError(must_be("position_id", "that of an open position", repr(position_id), "read the book"))
        return found


_NO_ANSWER = (Outcome.UNKNOWN, "TIMEOUT", "no answer")
_REFUSALS = {
    FaultKind.REJECT: (Outcome.FINAL, "REJECT", "the venue refused"),
    FaultKind.REQUOTE: (Outcome.NOT_ACCEPTED, "REQUOTE", "the price has moved"),
    FaultKind.MARKET_CLOSED: (Outcome.WAIT, "MARKET_CLOSED", "the market is closed"),
    FaultKind.DISCONNECT: (Outcome.NOT_ACCEPTED, "NO_CONNECTION", "the line is down"),
    FaultKind.COMMAND_LOST: _NO_ANSWER,
}

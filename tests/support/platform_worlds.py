"""Every platform with the market around it, hedging and netting, and the words its tests are written in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from toolkit.execution.ports import (
    ClientTag,
    OpenOrder,
    OrderResult,
    OrderType,
    Outcome,
    PlatformDeal,
    PlatformPosition,
    TradingPlatform,
)
from toolkit.market import Instrument, Side, find_instrument
from toolkit.platforms.simctrader import SimCTraderPlatform
from toolkit.platforms.simmt5 import STRICT, SimMT5Platform
from toolkit.platforms.simulated import FaultScript, SimulatedPlatform
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 3, 5, 9, tzinfo=UTC)

D = Decimal


def facts() -> Instrument:
    """Return EURUSD's contract facts."""
    return find_instrument("EURUSD")


class Harness(Protocol):
    """A platform under test and the market around it."""

    platform: TradingPlatform
    hedging: bool

    def move(self, bid: str, ask: str) -> None:
        """Let a minute pass and the quote become this."""

    def restart(self, faults: FaultScript | None = None) -> None:
        """End the process's session and begin a new one on the same account."""

    def cut(self) -> None:
        """Take the connection away."""

    def by_hand(self, position_id: str) -> None:
        """Close a position as a person at the terminal."""


class Simulated:
    """The paper venue, driven by pushed quotes."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.hedging = mode == "hedging"
        self.account = PaperAccount("USD", 10_000, mode=mode)  # type: ignore[arg-type]
        self.path = folder / "venue.sqlite"
        self.moment = START
        self.last = ("1.10000", "1.10010")
        self._open(None)
        self.move(*self.last)

    def _open(self, faults: FaultScript | None) -> None:
        self.venue = SimulatedPlatform(self.path, self.account, [facts()], faults=faults)
        self.platform: TradingPlatform = self.venue
        self.platform.connect()

    def move(self, bid: str, ask: str) -> None:
        self.last = (bid, ask)
        self.moment += timedelta(minutes=1)
        self.venue.push_quote("EURUSD", D(bid), D(ask), self.moment)

    def restart(self, faults: FaultScript | None = None) -> None:
        self.venue.close()
        self._open(faults)

    def cut(self) -> None:
        self.venue.disconnect()

    def by_hand(self, position_id: str) -> None:
        self.venue.manual_close(position_id)


class OverMetaTrader(Simulated):
    """The MetaTrader 5 adapter over the module's double, whose trade server is a paper venue."""

    def _open(self, faults: FaultScript | None) -> None:
        self.venue = SimulatedPlatform(self.path, self.account, [facts()], checks=STRICT, faults=faults)
        self.adapter = SimMT5Platform(self.venue, suffix=".r")
        self.platform = self.adapter
        self.platform.connect()

    def restart(self, faults: FaultScript | None = None) -> None:
        self.adapter.close()
        self._open(faults)

    def cut(self) -> None:
        self.adapter.terminal.cut_line()


class OverCTrader(Simulated):
    """The cTrader adapter over a real TLS socket to the sandbox, whose book is a paper venue."""

    def _open(self, faults: FaultScript | None) -> None:
        self.venue = SimulatedPlatform(self.path, self.account, [facts()], checks=STRICT, faults=faults)
        self.adapter = SimCTraderPlatform(self.venue, self.path.parent, reply_seconds=1.0)
        self.platform = self.adapter
        self.platform.connect()

    def move(self, bid: str, ask: str) -> None:
        super().move(bid, ask)
        if hasattr(self, "adapter"):
            self.adapter.published()

    def restart(self, faults: FaultScript | None = None) -> None:
        self.adapter.close()
        self._open(faults)

    def cut(self) -> None:
        self.adapter.sandbox.cut()


MAKERS: dict[str, Callable[[Path, str], Harness]] = {
    "simulated": Simulated,
    "mt5": OverMetaTrader,
    "ctrader": OverCTrader,
}

_tags = iter(range(1, 10**9))


def tag() -> ClientTag:
    """Return a tag never used before, as long as real ones are."""
    n = next(_tags)
    return ClientTag(f"q1{n:026d}", (0x5EA << 51) | n, "run-1")


def opens(
    at: Harness,
    side: Side = Side.BUY,
    lots: str = "0.10",
    stop: str | None = None,
    target: str | None = None,
    mark: ClientTag | None = None,
) -> OrderResult:
    """Open at market and expect it done."""
    result = at.platform.send(
        OpenOrder(
            mark or tag(),
            "EURUSD",
            side,
            OrderType.MARKET,
            D(lots),
            stop_loss=None if stop is None else D(stop),
            take_profit=None if target is None else D(target),
        )
    )
    assert result.outcome is Outcome.DONE, result
    return result


def only(at: Harness) -> PlatformPosition:
    """Return the one open position."""
    (position,) = at.platform.book().positions
    return position


def deals(at: Harness) -> tuple[PlatformDeal, ...]:
    """Return all deals there are."""
    return at.platform.history(START - timedelta(days=1), at.platform.now() + timedelta(days=1)).deals

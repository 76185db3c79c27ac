"""A sandbox with EURUSD at 1.10000 / 1.10010, and the adapter on it, over a real TLS socket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from toolkit.execution.ports import ClientTag, OpenOrder, OrderType
from toolkit.market import Side, find_instrument
from toolkit.platforms.ctrader import CTraderPlatform
from toolkit.platforms.simctrader.platform import MemoryCredentials, VenueClock
from toolkit.platforms.simctrader.server import Sandbox
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 3, 5, 9, tzinfo=UTC)


class Desk:
    """Venue, server and as many sessions as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.venue = SimulatedPlatform(
            folder / "venue.sqlite", PaperAccount("USD", 10_000), [find_instrument("EURUSD"), find_instrument("USDJPY")]
        )
        self.venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), START)
        self.venue.push_quote("USDJPY", Decimal("150.000"), Decimal("150.020"), START)
        self.server = Sandbox(self.venue, folder)
        self.server.start()
        self.credentials = MemoryCredentials(self.server.gate)
        self._sessions: list[CTraderPlatform] = []
        self._moment = START

    def session(self, **words: object) -> CTraderPlatform:
        """Return an adapter, not connected."""
        arguments: dict[str, object] = {
            "login": self.server.login,
            "host": "127.0.0.1",
            "port": self.server.port,
            "tls": self.server.client_tls(),
            "reply_seconds": 1.0,
            "reconnect_seconds": 0.2,
            "utc": VenueClock(self.venue),
        } | words
        made = CTraderPlatform(self.credentials, **arguments)  # type: ignore[arg-type]
        self._sessions.append(made)
        return made

    def move(self, bid: str, ask: str) -> None:
        """Let a minute pass and EURUSD become this."""
        self._moment += timedelta(minutes=1)
        self.venue.push_quote("EURUSD", Decimal(bid), Decimal(ask), self._moment)
        self.server.publish()

    def close(self) -> None:
        """End everything."""
        for session in self._sessions:
            session.close()
        self.server.stop()
        self.venue.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Return a running sandbox."""
    made = Desk(tmp_path)
    yield made
    made.close()


_numbers = iter(range(1, 1 << 40))


def buy(lots: str = "0.10", **words: object) -> OpenOrder:
    """Return a market order with a tag of its own."""
    n = next(_numbers)
    tag = ClientTag(f"q1{n:026d}", (7 << 51) | n, "run-1")
    return OpenOrder(tag, "EURUSD", Side.BUY, OrderType.MARKET, Decimal(lots), **words)  # type: ignore[arg-type]

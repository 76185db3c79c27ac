"""A terminal on a demo account at 1.10000 / 1.10010, and the adapter on it, for the tests of the traps."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from toolkit.execution.ports import ClientTag, OpenOrder, OrderType
from toolkit.market import Side, find_instrument
from toolkit.platforms.metatrader5 import MetaTrader5Platform
from toolkit.platforms.simmt5 import STRICT, SimMT5
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 3, 5, 9, tzinfo=UTC)

TAG = ClientTag("q1" + "A" * 26, (0x5EA << 51) | 12345)

D = Decimal


def venue(path: Path, mode: str = "hedging", **more: Any) -> SimulatedPlatform:
    """Open a venue at 1.10000 / 1.10010."""
    account = PaperAccount("USD", 10_000, mode=mode)  # type: ignore[arg-type]
    found = SimulatedPlatform(path / "v.sqlite", account, [find_instrument("EURUSD")], checks=STRICT, **more)
    found.push_quote("EURUSD", D("1.10000"), D("1.10010"), START)
    return found


def adapter(sim: SimMT5, **more: Any) -> MetaTrader5Platform:
    """Return a connected adapter on a terminal."""
    login, server, _ = sim.logged_in
    found = MetaTrader5Platform(sim, login=login, server=server, clock="New York + 7", utc=sim.clock, **more)
    found.connect()
    return found


def deal_request(**more: Any) -> dict[str, Any]:
    """Return a market buy as the package takes it."""
    return {
        "action": 1,
        "symbol": "EURUSD",
        "volume": 0.1,
        "type": 0,
        "price": 1.1001,
        "type_filling": 0,
        "magic": 5,
        "comment": "q1x",
        **more,
    }


BUY = OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.MARKET, D("0.10"))

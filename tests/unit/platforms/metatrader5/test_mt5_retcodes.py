"""What every answer of a MetaTrader server is taken for: the whole table, asked of the adapter and not of its constants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from toolkit.execution.ports import (
    CancelOrder,
    ClientTag,
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderType,
    Outcome,
)
from toolkit.market import Side, find_instrument
from toolkit.platforms.metatrader5 import MetaTrader5Platform, codes
from toolkit.platforms.simmt5 import STRICT, SimMT5
from toolkit.platforms.simmt5.surface.constants import CONSTANTS
from toolkit.platforms.simmt5.surface.tuples import make
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 3, 5, 9, tzinfo=UTC)
TAG = ClientTag("q1" + "A" * 26, 12345)
D = Decimal
DONE, PARTIAL, WORKING, UNKNOWN = Outcome.DONE, Outcome.PARTIAL, Outcome.WORKING, Outcome.UNKNOWN
RETRY, WAIT, FINAL, ALREADY = Outcome.NOT_ACCEPTED, Outcome.WAIT, Outcome.FINAL, Outcome.ALREADY

#: What an entry, and what an exit, makes of each answer of the trade server.
POLICY: dict[int, tuple[Outcome, Outcome]] = {
    10004: (RETRY, RETRY), 10006: (FINAL, FINAL), 10007: (UNKNOWN, UNKNOWN), 10008: (WORKING, WORKING),
    10009: (DONE, DONE), 10010: (PARTIAL, PARTIAL), 10011: (UNKNOWN, UNKNOWN), 10012: (UNKNOWN, UNKNOWN),
    10013: (FINAL, FINAL), 10014: (FINAL, FINAL), 10015: (FINAL, FINAL), 10016: (FINAL, FINAL), 10017: (WAIT, WAIT),
    10018: (WAIT, WAIT), 10019: (FINAL, FINAL), 10020: (RETRY, RETRY), 10021: (RETRY, RETRY), 10022: (FINAL, FINAL),
    10023: (FINAL, RETRY), 10024: (RETRY, RETRY), 10025: (FINAL, ALREADY), 10026: (WAIT, WAIT), 10027: (WAIT, WAIT),
    10028: (RETRY, RETRY), 10029: (RETRY, RETRY), 10030: (FINAL, FINAL), 10031: (UNKNOWN, UNKNOWN),
    10032: (FINAL, FINAL), 10033: (FINAL, FINAL), 10034: (FINAL, FINAL), 10035: (FINAL, FINAL), 10036: (FINAL, ALREADY),
    10038: (FINAL, FINAL), 10039: (FINAL, RETRY), 10040: (FINAL, FINAL), 10041: (FINAL, FINAL), 10042: (FINAL, FINAL),
    10043: (FINAL, FINAL), 10044: (FINAL, FINAL), 10045: (FINAL, FINAL), 10046: (FINAL, FINAL),
}  # fmt: skip

#: What silence means, by ``last_error()``.
SILENCE: dict[int, Outcome] = {
    1: UNKNOWN, -1: UNKNOWN, -2: FINAL, -3: UNKNOWN, -4: UNKNOWN, -5: UNKNOWN, -6: UNKNOWN, -7: UNKNOWN, -8: WAIT,
    -10000: UNKNOWN, -10001: UNKNOWN, -10002: UNKNOWN, -10003: UNKNOWN, -10004: RETRY, -10005: UNKNOWN, -77: UNKNOWN,
}  # fmt: skip


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[SimMT5, MetaTrader5Platform]]:
    """A terminal and the adapter on it, with nothing open."""
    venue = SimulatedPlatform(
        tmp_path / "v.sqlite", PaperAccount("USD", 10_000), [find_instrument("EURUSD")], checks=STRICT
    )
    venue.push_quote("EURUSD", D("1.10000"), D("1.10010"), START)
    sim = SimMT5(venue)
    login, server, _ = sim.logged_in
    at = MetaTrader5Platform(sim, login=login, server=server, clock="New York + 7", utc=sim.clock)
    at.connect()
    yield sim, at
    venue.close()


def entry() -> OpenOrder:
    """Return a market entry."""
    return OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.MARKET, D("0.10"))


def answering(sim: SimMT5, retcode: int) -> list[dict[str, Any]]:
    """Let the server answer everything with one code; return the requests it gets."""
    got: list[dict[str, Any]] = []

    def send(request: dict[str, Any]) -> Any:
        got.append(request)
        return make("OrderSendResult", retcode=retcode, volume=0.1, price=1.1001, bid=1.1, ask=1.1001, order=7, deal=8)

    sim.order_send = send  # type: ignore[method-assign]
    return got


def test_mt5_policy_covers_every_code_of_the_package() -> None:
    """No answer is left to chance: the package's codes, and the one that is in the vendor's documents only."""
    package = {number for name, number in CONSTANTS.items() if name.startswith("TRADE_RETCODE_")}
    assert set(POLICY) == package | {10046} == set(codes.RETCODES)
    assert set(SILENCE) >= {number for name, number in CONSTANTS.items() if name.startswith("RES_")}


@pytest.mark.parametrize("retcode", POLICY)
def test_mt5_answer_to_an_entry_has_its_class(pair: tuple[SimMT5, MetaTrader5Platform], retcode: int) -> None:
    """An entry is sent once and never ALREADY; its answer is classed with its name."""
    sim, at = pair
    requests = answering(sim, retcode)
    result = at.send(entry())
    assert result.outcome is POLICY[retcode][0]
    assert result.code == codes.RETCODES[retcode][0] and len(requests) == 1


@pytest.mark.parametrize("retcode", POLICY)
@pytest.mark.parametrize("kind", ["close", "modify", "cancel"])
def test_mt5_answer_to_an_exit_has_its_class(pair: tuple[SimMT5, MetaTrader5Platform], kind: str, retcode: int) -> None:
    """Closing, changing and cancelling are sent once and read the same answers their own way."""
    sim, at = pair
    opened = str(at.send(entry()).position_id)
    placed = str(at.send(OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09"))).order_id)
    command: Any = {
        "close": ClosePosition(TAG, opened),
        "modify": ModifyProtection(TAG, opened, D("1.09"), None),
        "cancel": CancelOrder(TAG, placed),
    }[kind]
    requests = answering(sim, retcode)
    result = at.send(command)
    assert result.outcome is POLICY[retcode][1] and len(requests) == 1


@pytest.mark.parametrize("error", SILENCE)
def test_mt5_silence_has_its_class(pair: tuple[SimMT5, MetaTrader5Platform], error: int) -> None:
    """None instead of an answer: only what provably never left is anything but UNKNOWN."""
    sim, at = pair
    sim.order_send = lambda request: sim._fail((error, "as scripted"))  # type: ignore[method-assign]
    assert at.send(entry()).outcome is SILENCE[error]


def test_mt5_answer_nobody_knows_is_unknown(pair: tuple[SimMT5, MetaTrader5Platform]) -> None:
    """A code that a later server may have can mean anything."""
    sim, at = pair
    answering(sim, 19_999)
    assert at.send(entry()).outcome is UNKNOWN


def test_mt5_done_on_a_pending_order_is_working(pair: tuple[SimMT5, MetaTrader5Platform]) -> None:
    """A server says DONE when it has taken a pending order; nothing has been filled yet."""
    sim, at = pair
    answering(sim, 10009)
    result = at.send(OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09")))
    assert (result.outcome, result.filled_lots) == (WORKING, D(0))

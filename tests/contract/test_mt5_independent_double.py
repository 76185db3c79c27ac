"""The double against another one, written by other people: the same requests, the same answers and the same money.

``strategytester5`` (MIT) imitates the module too. It is faithful in a part only: volume limits and steps, stops where bid and
ask are one, pending prices, EURUSD profit and margin, hedging. There the two must agree. Its requirements do not fit beside
ours, so it is not installed with the toolkit::

    pip install --no-deps --target /somewhere strategytester5==2.2.7
    SEATRIAL_STRATEGYTESTER5=/somewhere pytest tests/contract/test_mt5_independent_double.py
"""

from __future__ import annotations

import logging
import os
import random
import sys
import types
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from toolkit.market import find_instrument
from toolkit.platforms.simmt5 import STRICT, SimMT5
from toolkit.platforms.simmt5.surface.constants import CONSTANTS
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 3, 5, 9, tzinfo=UTC)
FOLDER = os.environ.get("SEATRIAL_STRATEGYTESTER5", "")
D = Decimal
pytestmark = pytest.mark.skipif(
    not FOLDER or not Path(FOLDER, "strategytester5").is_dir(),
    reason="SEATRIAL_STRATEGYTESTER5 names no folder with it: pip install --no-deps --target DIR strategytester5==2.2.7",
)


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Any]]:
    """Import the other double: with a stand-in for the vendor's module, and for what only its data files need."""
    before = set(sys.modules)
    vendor = types.ModuleType("MetaTrader5")
    vendor.__dict__.update(CONSTANTS)
    channels = types.ModuleType("choreographer.channels")
    channels.JSONError = ValueError  # type: ignore[attr-defined]
    polars = types.ModuleType("polars")
    for name in ("DataFrame", "LazyFrame", "Expr"):
        setattr(polars, name, type(name, (), {}))
    stands_in = {
        "MetaTrader5": vendor, "polars": polars, "choreographer": types.ModuleType("choreographer"),
        "choreographer.channels": channels,
    }  # fmt: skip
    for name, module in stands_in.items():
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(FOLDER)
    from strategytester5.MetaTrader5.api import VirtualMetaTrader5  # type: ignore[import-not-found]

    yield VirtualMetaTrader5
    for name in set(sys.modules) - before:
        if name.startswith("strategytester5"):
            del sys.modules[name]


class Pair:
    """Both doubles on one market: bid and ask are one price, so that both measure stops from the same place."""

    def __init__(self, folder: Path, kind: type[Any]) -> None:
        account = PaperAccount("USD", 1_000_000, leverage=100)
        self.venue = SimulatedPlatform(folder / "v.sqlite", account, [find_instrument("EURUSD")], checks=STRICT)
        self.ours = SimMT5(self.venue)
        self.moment, self.points = START, 110_000
        self.ours.initialize()
        self.tick(0)
        quiet = logging.getLogger("strategytester5-quiet")
        quiet.disabled = True
        self.theirs = kind(self.ours)
        self.theirs.assign_logger(quiet)
        self.theirs._calc_commission = lambda: 0.0  # fixed in its source; our account has none
        self.tick(0)

    @property
    def price(self) -> float:
        return round(self.points / 100_000, 5)

    def tick(self, move: int) -> None:
        """Let the market move; stops are not watched by the other double outside its own tester, so there are far ones only."""
        self.points += move
        self.moment += timedelta(seconds=1)
        exact = D(self.points) / 100_000
        self.venue.push_quote("EURUSD", exact, exact, self.moment)
        if hasattr(self, "theirs"):
            self.theirs.tick_update("EURUSD", self.ours.symbol_info_tick("EURUSD"))

    def send(self, request: dict[str, Any], **theirs: Any) -> tuple[Any, Any]:
        """Send to both; ``theirs`` are the ticket numbers the other one knows."""
        return self.ours.order_send(dict(request)), self.theirs.order_send({**request, **theirs})


@pytest.fixture
def pair(tmp_path: Path, virtual: type[Any]) -> Iterator[Pair]:
    """Both doubles at 1.10000."""
    found = Pair(tmp_path, virtual)
    yield found
    found.venue.close()


def market(pair: Pair, side: int, volume: float, **levels: float) -> dict[str, Any]:
    """Return a market order at the price."""
    return {
        "action": 1, "symbol": "EURUSD", "volume": volume, "type": side, "price": pair.price, "type_filling": 0,
        "magic": 7, "comment": "pair", **levels,
    }  # fmt: skip


def test_mt5_profit_and_margin_of_eurusd_are_the_other_doubles(pair: Pair) -> None:
    """Two thousand random round trips and sizes: the same cents."""
    rng = random.Random(5)
    for _ in range(2_000):
        side, volume = rng.randrange(2), rng.randrange(1, 5_000) / 100
        opened, closed = rng.randrange(90_000, 130_000) / 100_000, rng.randrange(90_000, 130_000) / 100_000
        ours = pair.ours.order_calc_profit(side, "EURUSD", volume, opened, closed)
        assert ours == pair.theirs.order_calc_profit(side, "EURUSD", volume, opened, closed)
        # the margin of half a cent may be rounded to either side, since theirs is computed in floats
        ours = pair.ours.order_calc_margin(side, "EURUSD", volume, opened)
        assert ours == pytest.approx(pair.theirs.order_calc_margin(side, "EURUSD", volume, opened), abs=0.0101)


def test_mt5_volumes_are_taken_and_refused_alike(pair: Pair) -> None:
    """Below the minimum, above the maximum and between two steps is 10014 at both; all else is done at both."""
    rng = random.Random(6)
    seen: Counter[int] = Counter()
    for _ in range(400):
        volume = rng.choice([rng.randrange(1, 300) / 100, rng.randrange(1, 3_000) / 1_000, 0.001, 0.0, 500.01, 900.0])
        ours, theirs = pair.send(market(pair, rng.randrange(2), float(volume)))
        assert ours.retcode == theirs.retcode, volume
        seen[ours.retcode] += 1
        if ours.retcode == 10009:
            pair.send({**market(pair, 0, 0.0), "position": ours.order, "volume": volume,
                       "type": 1 - ours.request.type}, position=pair.theirs.POSITIONS[-1].ticket)  # fmt: skip
    assert seen[10009] > 50 and seen[10014] > 100


@pytest.mark.parametrize("stops_level", [0, 40])
def test_mt5_stops_of_entries_are_taken_and_refused_alike(tmp_path: Path, virtual: type[Any], stops_level: int) -> None:
    """A stop or target on the wrong side, or nearer than the stops level, is 10016 at both."""
    from dataclasses import replace

    account = PaperAccount("USD", 1_000_000, leverage=100)
    checks = replace(STRICT, stops_level_points=stops_level)
    with SimulatedPlatform(tmp_path / "s.sqlite", account, [find_instrument("EURUSD")], checks=checks) as venue:
        venue.push_quote("EURUSD", D("1.1"), D("1.1"), START)
        ours = SimMT5(venue)
        ours.initialize()
        ours.server.stops_level = stops_level
        theirs = virtual(ours)
        theirs.assign_logger(logging.getLogger("strategytester5-quiet"))
        theirs.tick_update("EURUSD", ours.symbol_info_tick("EURUSD"))
        rng = random.Random(7)
        seen: Counter[int] = Counter()
        for _ in range(400):
            levels = {
                name: round((110_000 + rng.choice([-1, 1]) * rng.choice([1, 39, 41, 200, 900])) / 100_000, 5)
                for name in rng.sample(["sl", "tp"], rng.randrange(3))
            }
            request = {
                "action": 1,
                "symbol": "EURUSD",
                "volume": 0.01,
                "type": rng.randrange(2),
                "price": 1.1,
                **levels,
            }
            codes = ours.order_send(dict(request)).retcode, theirs.order_send(dict(request)).retcode
            assert codes[0] == codes[1], request
            seen[codes[0]] += 1
        assert seen[10009] > 60 and seen[10016] > 60


def test_mt5_pending_orders_are_placed_changed_and_removed_alike(pair: Pair) -> None:
    """Prices on the wrong side of the market are 10015, wrong stops 10016, orders that are not there 10035 at both."""
    rng = random.Random(8)
    seen: Counter[tuple[str, int]] = Counter()
    live: list[tuple[int, int, int]] = []
    for _ in range(600):
        points = 110_000 + rng.choice([-1, 1]) * rng.randrange(50, 900)
        levels = {
            name: round((points + rng.choice([-1, 1]) * rng.randrange(20, 300)) / 100_000, 5)
            for name in rng.sample(["sl", "tp"], rng.randrange(3))
        }
        request = {"symbol": "EURUSD", "price": round(points / 100_000, 5), **levels}
        act = rng.choice(["place", "place", "change", "remove", "ghost"])
        if act == "place" or not live:
            act, kind = "place", rng.randrange(2, 6)
            placed = {**request, "action": 5, "volume": 0.01, "type": kind, "type_filling": 2, "magic": 3}
            ours, theirs = pair.send(placed)
            if ours.retcode == 10009:
                live.append((ours.order, pair.theirs.ORDERS[-1].ticket, kind))
        elif act == "change":
            mine, other, _kind = rng.choice(live)
            held = next(o for o in pair.ours.orders_get() or () if o.ticket == mine)
            if (request["price"], levels.get("sl", 0.0), levels.get("tp", 0.0)) == (held.price_open, held.sl, held.tp):
                continue
            if any(getattr(held, name) and name not in levels for name in ("sl", "tp")):
                continue  # the other double keeps a level that a server takes away
            ours, theirs = pair.send({**request, "action": 7, "order": mine}, order=other)
        elif act == "remove":
            mine, other, _kind = live.pop(rng.randrange(len(live)))
            ours, theirs = pair.send({"action": 8, "order": mine, "symbol": "EURUSD"}, order=other)
        else:
            ours, theirs = pair.send({**request, "action": rng.choice([7, 8]), "order": 999_999})
        assert ours.retcode == theirs.retcode, (act, request)
        seen[act, ours.retcode] += 1
        shown = [(o.price_open, o.sl, o.tp) for o in pair.ours.orders_get() or ()]
        assert sorted(shown) == sorted((o.price_open, o.sl, o.tp) for o in pair.theirs.ORDERS)
    for what in (("place", 10009), ("place", 10015), ("place", 10016), ("change", 10009), ("change", 10015),
                 ("change", 10016), ("remove", 10009), ("ghost", 10035)):  # fmt: skip
        assert seen[what] > 3, what


def test_mt5_a_trading_day_ends_with_the_same_balance(pair: Pair) -> None:
    """Opening, changing, reducing and closing at random: the same answers, positions and balance after every step.

    Sizes are quarters of a lot: the other double subtracts floats, and 0.3 - 0.1 is not 0.2 there.
    """
    rng = random.Random(9)
    tickets: list[tuple[int, int]] = []
    done: Counter[str] = Counter()
    for _ in range(1_500):
        pair.tick(rng.randrange(-30, 31))
        act = rng.choice(["open", "open", "close", "reduce", "modify", "again"])
        if act == "open" or not tickets:
            act = "open"
            side = rng.randrange(2)
            away = rng.randrange(3_000, 9_000) * (1 if side == 0 else -1)
            levels = {"sl": round((pair.points - away) / 100_000, 5), "tp": round((pair.points + away) / 100_000, 5)}
            ours, theirs = pair.send(market(pair, side, rng.randrange(1, 9) / 4, **levels))
            assert ours.retcode == theirs.retcode == 10009
            tickets.append((ours.order, pair.theirs.POSITIONS[-1].ticket))
        else:
            mine, other = rng.choice(tickets)
            held = next(p for p in pair.ours.positions_get() or () if p.ticket == mine)
            if act == "modify":
                sign = 1 if held.type == 0 else -1
                away = rng.randrange(3_000, 9_000) * sign
                levels = {
                    "sl": round((pair.points - away) / 100_000, 5),
                    "tp": round((pair.points + away) / 100_000, 5),
                }
                ours, theirs = pair.send({"action": 6, "symbol": "EURUSD", "position": mine, **levels}, position=other)
            else:
                steps = round(held.volume * 4)
                part = {"close": steps, "reduce": rng.randrange(1, steps + 1), "again": steps + 1}[act]
                request = market(pair, 1 - held.type, part / 4)
                ours, theirs = pair.send({**request, "position": mine}, position=other)
                if part == steps:
                    tickets.remove((mine, other))
                if act == "again":  # more than is held: each refuses in its own words
                    assert (ours.retcode, theirs.retcode) == (10038, 10014)
                    done[act] += 1
                    continue
            assert ours.retcode == theirs.retcode == 10009, act
        done[act] += 1
        assert round(pair.theirs.account_info().balance, 2) == pair.ours.account_info().balance
        shown = [(p.type, p.volume, p.price_open, p.sl, p.tp) for p in pair.ours.positions_get() or ()]
        others = [(p.type, round(p.volume, 2), p.price_open, p.sl, p.tp) for p in pair.theirs.POSITIONS]
        assert sorted(shown) == sorted(others)
    assert min(done[a] for a in ("open", "close", "reduce", "modify", "again")) > 50

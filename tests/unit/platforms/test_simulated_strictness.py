"""The paper venue is as strict as a trading server: distances, frozen levels, filling modes, volumes, seeded mischief."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from execution_desk import EURUSD, START

from toolkit.execution.ports import ClientTag, ClosePosition, ModifyProtection, OpenOrder, OrderType, Outcome
from toolkit.market import Side
from toolkit.platforms.simulated.desk import VenueRules
from toolkit.platforms.simulated.faults import Fault, FaultKind, FaultScript
from toolkit.platforms.simulated.platform import SimulatedPlatform
from toolkit.simulation.account import PaperAccount


@pytest.fixture
def venue_with(tmp_path):
    """Open a venue with a quote of 1.10000 / 1.10010."""
    made = []

    def make(name="v", **options):
        venue = SimulatedPlatform(
            tmp_path / f"{name}.db", PaperAccount(currency="USD", balance=100_000), {"EURUSD": EURUSD}, **options
        )
        venue.connect()
        venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), START)
        made.append(venue)
        return venue

    yield make
    for venue in made:
        venue.close()


def order(tag, **changes):
    """A BUY of one lot with a stop 200 and a target 400 points away."""
    fields = {
        "tag": ClientTag(tag, 0), "symbol": "EURUSD", "side": Side.BUY, "order_type": OrderType.MARKET,
        "lots": Decimal(1), "stop_loss": Decimal("1.09810"), "take_profit": Decimal("1.10410"),
    } | changes  # fmt: skip
    return OpenOrder(**fields)


def test_levels_and_triggers_keep_the_stops_level(venue_with):
    """A stop, target or trigger nearer than the level is refused; exactly at it is not."""
    venue = venue_with(checks=VenueRules(stops_level_points=50))
    for near in ({"stop_loss": Decimal("1.09951")}, {"take_profit": Decimal("1.10049")}):
        assert venue.send(order("near", **near)).outcome is Outcome.FINAL
    assert venue.send(order("ok", stop_loss=Decimal("1.09950"), take_profit=Decimal("1.10060"))).outcome is Outcome.DONE
    limit = {"order_type": OrderType.LIMIT, "take_profit": None}
    assert venue.send(order("l1", limit_price=Decimal("1.09961"), **limit)).outcome is Outcome.FINAL
    assert venue.send(order("l2", limit_price=Decimal("1.09960"), **limit)).outcome is Outcome.WORKING


def test_a_frozen_level_cannot_be_moved(venue_with):
    """Within the freeze level of its trigger a stop stays as it is; further away it moves."""
    venue = venue_with(checks=VenueRules(freeze_level_points=100))
    position = venue.send(order("a")).position_id
    moved = ModifyProtection(ClientTag("m", 0), position, Decimal("1.09500"), Decimal("1.10410"))
    venue.push_quote("EURUSD", Decimal("1.09900"), Decimal("1.09910"), START + timedelta(seconds=1))
    frozen = venue.send(moved)
    assert frozen.outcome is not Outcome.DONE and "FROZEN" in frozen.code
    venue.push_quote("EURUSD", Decimal("1.09911"), Decimal("1.09921"), START + timedelta(seconds=2))
    assert venue.send(moved).outcome is Outcome.DONE


def test_filling_modes(venue_with):
    """Where only part can be filled: that part and the rest dead, or nothing at all when all-or-nothing is the mode."""
    part = FaultScript((Fault(FaultKind.PARTIAL, on="any", times=9),))
    venue = venue_with("ioc", faults=part)
    answer = venue.send(order("a"))
    assert (answer.outcome, answer.filled_lots) == (Outcome.PARTIAL, Decimal("0.5"))
    whole = venue_with("fok", faults=part, checks=VenueRules(fill_or_kill=True))
    assert whole.send(order("a")).outcome is Outcome.FINAL
    assert whole.book().positions == () and whole.history(START, START + timedelta(days=1)).deals == ()


@pytest.mark.parametrize("lots", ["0.001", "100.01", "0.015", "0"])
def test_volumes_off_the_rules_are_refused(venue_with, lots):
    """Below the least, above the largest, between two steps, nothing."""
    venue = venue_with()
    assert venue.send(order("v", lots=Decimal(lots))).outcome is Outcome.FINAL
    position = venue.send(order("p", lots=Decimal("0.10"))).position_id
    if lots != "100.01":
        assert venue.send(ClosePosition(ClientTag("c", 0), position, Decimal(lots))).outcome is Outcome.FINAL


def test_a_seed_tells_the_same_mischief_again(venue_with):
    """Every kind of fault comes, drawn from the seed and the number of the command alone."""
    rates = dict.fromkeys(FaultKind, 0.05)

    def outcomes(name, seed):
        venue = venue_with(name, faults=FaultScript(seed=seed, rates=rates))
        seen = []
        for n in range(150):
            venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), START + timedelta(seconds=n))
            venue.connect()
            answer = venue.send(order(f"t{n}", lots=Decimal("0.01")))
            seen.append((answer.outcome, answer.code))
        return seen

    first = outcomes("a", 7)
    assert outcomes("b", 7) == first
    assert outcomes("c", 8) != first
    assert {o for o, _ in first} >= {
        Outcome.DONE, Outcome.UNKNOWN, Outcome.FINAL, Outcome.NOT_ACCEPTED, Outcome.WAIT
    }  # fmt: skip
    assert Counter(o for o, _ in first)[Outcome.DONE] > 50

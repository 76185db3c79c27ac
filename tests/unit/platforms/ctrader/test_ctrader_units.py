"""Units of the Open API, exact over every symbol of the packaged table and the platform specs, and the error policy."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.platforms.ctrader.conftest import START, Desk, buy
from toolkit.execution.ports import ClientTag, Outcome
from toolkit.market import Side, find_instrument
from toolkit.market.instruments import known_symbols
from toolkit.platforms.ctrader import codes, convert
from toolkit.platforms.ctrader.line.frames import decode, encode
from toolkit.platforms.ctrader.messages import BY_NUMBER, pb
from toolkit.platforms.simctrader import SimCTraderPlatform
from toolkit.platforms.simctrader.book import VenueBook
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

SYMBOLS = known_symbols()


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A venue that trades every symbol of the packaged table."""
    venue = SimulatedPlatform(
        tmp_path_factory.mktemp("venue") / "venue.sqlite", PaperAccount("USD", 1), [find_instrument(s) for s in SYMBOLS]
    )
    yield VenueBook(venue, 1, 1)
    venue.close()


def seen(book: VenueBook, name: str) -> convert.Symbol:
    """Return a symbol as the adapter makes it from the server's messages."""
    assets = dict(enumerate(book.assets(), 1))
    return convert.symbol(book.light_symbol(name), book.symbol(name), assets, name)


@pytest.mark.parametrize("name", SYMBOLS)
def test_ctrader_contract_facts_survive_the_messages(book: VenueBook, name: str) -> None:
    """Pips, digits, lot size, volumes, currencies and swap come through without a difference."""
    assert seen(book, name).facts.facts() == find_instrument(name).facts()


@given(name=st.sampled_from(SYMBOLS), steps=st.integers(1, 10_000))
def test_ctrader_volume_is_exact_both_ways(book: VenueBook, name: str, steps: int) -> None:
    """Lots to the server's units and back is the identity on whole steps."""
    of = seen(book, name)
    lots = of.facts.lots(steps)
    assert convert.lots(convert.volume(lots, of), of) == lots


@given(name=st.sampled_from(SYMBOLS), points=st.integers(1, 2_000_000))
def test_ctrader_spot_prices_are_exact(book: VenueBook, name: str, points: int) -> None:
    """A price on the symbol's grid is the same price after the server's hundred-thousandths."""
    facts = seen(book, name).facts
    if facts.digits > 5:
        points *= 10 ** (facts.digits - 5)  # the server knows no finer spots
    price = facts.price(points)
    assert convert.spot(convert.relative(price), facts) == price


@given(name=st.sampled_from(SYMBOLS), points=st.integers(1, 2_000_000))
def test_ctrader_float_prices_land_on_their_point(book: VenueBook, name: str, points: int) -> None:
    """The server's floats are read as the point they mean."""
    facts = seen(book, name).facts
    assert convert.price(float(facts.price(points)), facts) == facts.price(points)


@given(
    run=st.text(st.characters(codec="ascii", exclude_characters="#"), max_size=40), magic=st.integers(1, (1 << 63) - 1)
)
def test_ctrader_label_carries_run_and_number(run: str, magic: int) -> None:
    """What the label joins comes apart again."""
    assert convert.run_and_magic(convert.label_of(ClientTag("q1", magic, run))) == (run, magic)


@pytest.mark.parametrize("label", ["", "my own label", "run#", "#x", "a#-5"])
def test_ctrader_foreign_label_has_no_number(label: str) -> None:
    """A label that a person or another program wrote is not taken for ours."""
    assert convert.run_and_magic(label) == (label, 0)


@given(number=st.sampled_from(sorted(BY_NUMBER)), mark=st.text(max_size=20))
def test_ctrader_frame_gives_its_message_back(number: int, mark: str) -> None:
    """Each kind of message survives its frame, with its mark."""
    message = BY_NUMBER[number]()
    for field in message.DESCRIPTOR.fields:
        if field.is_required and field.message_type is None:
            setattr(message, field.name, "x" if field.cpp_type == field.CPPTYPE_STRING else 1)
    if not message.IsInitialized():
        return  # holds another required message; covered by the contract suite
    body = encode(message, mark)[4:]
    assert decode(body) == (message, mark)


@pytest.mark.parametrize(
    ("code", "entry", "exit_"),
    [
        ("TIMEOUT_ERROR", Outcome.UNKNOWN, Outcome.UNKNOWN),
        ("CANT_ROUTE_REQUEST", Outcome.UNKNOWN, Outcome.UNKNOWN),
        ("CH_SERVER_NOT_REACHABLE", Outcome.UNKNOWN, Outcome.UNKNOWN),
        ("PENDING_EXECUTION", Outcome.UNKNOWN, Outcome.UNKNOWN),
        ("POSITION_LOCKED", Outcome.UNKNOWN, Outcome.UNKNOWN),
        ("NOT_ENOUGH_MONEY", Outcome.FINAL, Outcome.FINAL),
        ("TRADING_BAD_VOLUME", Outcome.FINAL, Outcome.FINAL),
        ("TRADING_BAD_STOPS", Outcome.FINAL, Outcome.FINAL),
        ("TRADING_BAD_PRICES", Outcome.FINAL, Outcome.FINAL),
        ("MAX_EXPOSURE_REACHED", Outcome.FINAL, Outcome.FINAL),
        ("SYMBOL_NOT_FOUND", Outcome.FINAL, Outcome.FINAL),
        ("A_CODE_NOBODY_KNOWS", Outcome.FINAL, Outcome.FINAL),
        ("TRADING_DISABLED", Outcome.WAIT, Outcome.WAIT),
        ("MARKET_CLOSED", Outcome.WAIT, Outcome.WAIT),
        ("POSITION_NOT_FOUND", Outcome.FINAL, Outcome.ALREADY),
        ("ORDER_NOT_FOUND", Outcome.FINAL, Outcome.ALREADY),
        ("REQUEST_FREQUENCY_EXCEEDED", Outcome.NOT_ACCEPTED, Outcome.NOT_ACCEPTED),
        ("CH_ACCESS_TOKEN_INVALID", Outcome.NOT_ACCEPTED, Outcome.NOT_ACCEPTED),
    ],
)
def test_ctrader_error_policy(code: str, entry: Outcome, exit_: Outcome) -> None:
    """Each error code has its class, for entries and for exits."""
    assert codes.classify(code, exit_command=False) is entry
    assert codes.classify(code, exit_command=True) is exit_


def test_ctrader_relative_stop_is_moved_to_the_price_asked_for_after_slippage(tmp_path: Path) -> None:
    """A market order's stop counts from its fill; slipped by 3 points it is put back where it was asked."""
    slipping = PaperAccount("USD", 10_000, slippage_points=3)
    venue = SimulatedPlatform(tmp_path / "venue.sqlite", slipping, [find_instrument("EURUSD")])
    venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), START)
    platform = SimCTraderPlatform(venue, tmp_path)
    try:
        platform.connect()
        result = platform.send(buy(stop_loss=Decimal("1.09500"), take_profit=Decimal("1.11000")))
        (position,) = platform.book().positions
        assert (result.price, result.protected) == (Decimal("1.10013"), True)
        assert (position.stop_loss, position.take_profit) == (Decimal("1.09500"), Decimal("1.11000"))
    finally:
        platform.close()


def test_ctrader_profit_of_a_yen_pair_converts_by_the_servers_chain(desk: Desk) -> None:
    """One lot of USDJPY over 0.100 is 10,000 yen at the mid of the moment."""
    platform = desk.session()
    platform.connect()
    made = platform.profit("USDJPY", Side.BUY, Decimal(1), Decimal("150.000"), Decimal("150.100"))
    assert made == Decimal("66.66")  # 10,000 / 150.010


def test_ctrader_numbers_are_those_of_the_vendors_package() -> None:
    """Every field we speak has the vendor's number and wire type, every message its payload type."""
    wheel = os.environ.get("SEATRIAL_CTRADER_WHEEL", "")
    if not wheel:
        pytest.skip("SEATRIAL_CTRADER_WHEEL names no wheel of ctrader-open-api: .ci/run downloads one")
    theirs = _vendor_messages(Path(wheel))
    for number, kind in BY_NUMBER.items():
        name = kind.DESCRIPTOR.name
        assert name in theirs, name
        other = theirs[name]
        if number >= 100:
            assert other.fields_by_name["payloadType"].default_value == number, name
        _same_fields(kind.DESCRIPTOR, other)


#: Fields of the vendor's current servers that its last package did not have yet.
_NEWER = {("ProtoOAErrorRes", "retryAfter"), ("ProtoOAGetTrendbarsRes", "hasMore")}


def _same_fields(ours: Any, theirs: Any) -> None:
    for field in ours.fields:
        if (ours.name, field.name) in _NEWER:
            assert field.number not in {f.number for f in theirs.fields}
            continue
        other = theirs.fields_by_name[field.name]
        assert (field.number, field.is_repeated) == (other.number, other.is_repeated), (ours.name, field.name)
        # an enum, a bool and every whole number are one wire type; doubles, strings and messages are others
        assert _wire(field) == _wire(other), (ours.name, field.name)
        if field.message_type is not None:
            _same_fields(field.message_type, other.message_type)


def _wire(field: Any) -> str:
    if field.message_type is not None:
        return "message"
    return {field.CPPTYPE_DOUBLE: "double", field.CPPTYPE_STRING: "string"}.get(field.cpp_type, "varint")


def _vendor_messages(wheel: Path) -> dict[str, Any]:
    """Load the vendor's descriptors from its wheel, without its package, which needs a framework of its own."""
    found: dict[str, Any] = {}
    package = types.ModuleType("ctrader_open_api.messages")
    package.__path__ = []
    kept = {k: sys.modules.get(k) for k in ("ctrader_open_api", "ctrader_open_api.messages")}
    sys.modules["ctrader_open_api"] = types.ModuleType("ctrader_open_api")
    sys.modules["ctrader_open_api.messages"] = package
    try:
        with zipfile.ZipFile(wheel) as archive:
            for part in (
                "OpenApiCommonModelMessages",
                "OpenApiCommonMessages",
                "OpenApiModelMessages",
                "OpenApiMessages",
            ):
                name = f"ctrader_open_api.messages.{part}_pb2"
                spec = importlib.util.spec_from_loader(name, loader=None)
                assert spec is not None
                module = importlib.util.module_from_spec(spec)
                sys.modules[name] = sys.modules[f"{part}_pb2"] = module
                setattr(package, f"{part}_pb2", module)
                exec(compile(archive.read(f"ctrader_open_api/messages/{part}_pb2.py"), name, "exec"), module.__dict__)
                found |= dict(module.DESCRIPTOR.message_types_by_name)
    finally:
        for key, value in kept.items():
            if value is None:
                sys.modules.pop(key, None)
    return found


def test_ctrader_every_message_kind_has_one_number() -> None:
    """No class is listed twice."""
    assert len(set(BY_NUMBER.values())) == len(BY_NUMBER)
    assert pb.ProtoOANewOrderReq in BY_NUMBER.values()

"""The requests: field set, canonical JSON, strictness."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from toolkit.errors import RequestError
from toolkit.execution.ports import OrderType
from toolkit.execution.request import (
    CancelRequest,
    CloseRequest,
    ModifyRequest,
    Projections,
    ReduceRequest,
    RequestMetadata,
    TradeRequest,
    request_from_json,
)
from toolkit.market import Side

GOLDEN = Path(__file__).parent / "golden"
ACCOUNT = UUID("0b0e4a52-5b0b-4b57-9a35-8a7f5b8e2c01")
METADATA = RequestMetadata(
    live_run_id=UUID("9f1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8"),
    bot_version_id=UUID("1a2b3c4d-5e6f-4071-8293-a4b5c6d7e8f9"),
    signal_id="20170103T100000Z",
    reason='entry "long"',
)
KEY = "ab" * 32


def trade(**changes):
    fields = {
        "account_id": ACCOUNT,
        "symbol": "EURUSD",
        "direction": Side.BUY,
        "order_type": OrderType.MARKET,
        "limit_price": None,
        "stop_loss_distance_pips": 25,
        "take_profit_price": Decimal("1.12228"),
        "risk_percent": Decimal("1.0"),
        "metadata": METADATA,
        "projections": Projections(
            projected_profit=Decimal("200"), projected_loss=Decimal("-100"), rr_ratio=Decimal("2.00")
        ),
        "idempotency_key": KEY,
    }
    return TradeRequest(**(fields | changes))


PLACE = {"account_id": ACCOUNT, "symbol": "EURUSD", "direction": Side.SELL}
EXAMPLES = {
    "OPEN_TRADE": trade(),
    "OPEN_TRADE-limit-without-target": trade(
        order_type=OrderType.LIMIT, limit_price=Decimal("1.11000"), take_profit_price=None, idempotency_key=None
    ),
    "CLOSE_POSITION": CloseRequest(**PLACE, position_id="4711", metadata=METADATA, idempotency_key=KEY),
    "REDUCE_POSITION": ReduceRequest(
        **PLACE, position_id="4711", remaining_lots=Decimal("0.20"), metadata=METADATA, idempotency_key=KEY
    ),
    "MODIFY_SLTP": ModifyRequest(
        **PLACE, position_id="4711", stop_loss=Decimal("1.13000"), metadata=RequestMetadata(), idempotency_key=KEY
    ),
    "CANCEL_ORDER": CancelRequest(**PLACE, order_id="99", metadata=METADATA, idempotency_key=KEY),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_canonical_json_is_the_golden_text(name):
    """Field set, order, types and number forms of each kind of request are pinned by a file."""
    assert EXAMPLES[name].to_json() + "\n" == (GOLDEN / f"{name}.json").read_text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_canonical_json_reads_back_equal(name):
    """What was written is what is read."""
    request = EXAMPLES[name]
    assert request_from_json(name.split("-")[0], request.to_json()) == request


def test_the_dto_has_exactly_the_contracts_fields():
    """No field more, none less, in the declared order."""
    assert list(TradeRequest.model_fields) == [
        "account_id", "symbol", "direction", "order_type", "limit_price", "stop_loss_distance_pips", "take_profit_price",
        "risk_percent", "metadata", "projections", "idempotency_key",
    ]  # fmt: skip
    assert list(RequestMetadata.model_fields) == ["live_run_id", "bot_version_id", "signal_id", "reason"]
    assert list(Projections.model_fields) == ["projected_profit", "projected_loss", "rr_ratio"]


@given(st.decimals(min_value="0.00001", max_value="1000000", allow_nan=False, allow_infinity=False, places=5))
def test_numbers_are_plain_json_numbers_and_exact(price):
    """No exponent, no trailing zero, and the value read back is the value written."""
    text = trade(take_profit_price=price).to_json()
    written = text.split('"take_profit_price":')[1].split(",")[0]
    assert Decimal(written) == price
    assert "E" not in written.upper()
    assert not ("." in written and written.endswith("0"))
    assert json.loads(text)["take_profit_price"] == float(price)


@pytest.mark.parametrize(
    "change",
    [
        {"account_id": str(ACCOUNT)},
        {"stop_loss_distance_pips": 25.0},
        {"stop_loss_distance_pips": 0},
        {"risk_percent": 1.0},
        {"risk_percent": Decimal(0)},
        {"risk_percent": Decimal(101)},
        {"take_profit_price": Decimal(-1)},
        {"take_profit_price": Decimal("NaN")},
        {"direction": "LONG"},
        {"symbol": "EUR USD'; --"},
        {"idempotency_key": "short"},
        {"unknown_field": 1},
    ],
)
def test_a_value_of_another_type_or_range_is_refused(change):
    """The DTO is strict: nothing is coerced, nothing unknown is dropped."""
    with pytest.raises(ValidationError):
        trade(**change)


def test_a_request_is_frozen():
    """A request never changes once built."""
    with pytest.raises(ValidationError):
        trade().symbol = "GBPUSD"


def test_a_market_order_has_no_trigger():
    """limit_price on MARKET is refused, and its absence on LIMIT."""
    with pytest.raises(ValidationError, match="must be null"):
        trade(limit_price=Decimal("1.1"))
    with pytest.raises(ValidationError, match="must be given"):
        trade(order_type=OrderType.LIMIT)


def test_a_modify_must_ask_for_something():
    """An empty modification, and one that sets and removes a target, are refused."""
    with pytest.raises(ValidationError, match="level must be given"):
        ModifyRequest(**PLACE, position_id="1", metadata=METADATA)
    with pytest.raises(ValidationError, match="must be null"):
        ModifyRequest(**PLACE, position_id="1", take_profit=Decimal(1), remove_take_profit=True, metadata=METADATA)


def test_an_unknown_action_is_refused():
    """The message lists the known actions."""
    with pytest.raises(RequestError, match="OPEN_TRADE"):
        request_from_json("HEDGE", "{}")


def test_a_damaged_payload_is_refused():
    """A stored payload that lost a field is an error, not a default."""
    with pytest.raises(RequestError, match="cannot be read"):
        request_from_json("OPEN_TRADE", '{"symbol":"EURUSD"}')

"""From a signal to a request: prices by side, whole pips, stop policies, the reference cases."""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import RequestError
from toolkit.execution.builder import EntrySkipped, StopPolicy, build_trade_request
from toolkit.execution.ports import OrderType
from toolkit.market import Instrument, Quote, Rate, Side

ACCOUNT = uuid4()
EURUSD = Instrument("EURUSD", "USD", "0.0001", "100000", "0.01", "100", "0.01", base_currency="EUR")
QUOTE = Quote("1.11712", "1.11728")
CASES_FILE = Path(__file__).parents[4] / "shared" / "data" / "ref_position_cases_a.json"
CASES = json.loads(CASES_FILE.read_text())["cases"] if CASES_FILE.exists() else []


def build(**changes):
    fields = {
        "account_id": ACCOUNT,
        "instrument": EURUSD,
        "quote": QUOTE,
        "side": Side.BUY,
        "equity": Decimal(10_000),
        "quote_to_account": Rate.ONE,
        "stop_loss": Decimal("1.11478"),
        "take_profit": Decimal("1.12228"),
        "risk_percent": Decimal(1),
    }
    return build_trade_request(**(fields | changes))


def instrument_of(case):
    return Instrument(
        case["symbol"], case["quote_currency"], case["pip_size"], case["contract_size"], case["volume_min"],
        case["volume_max"], case["volume_step"],
    )  # fmt: skip


@pytest.mark.skipif(not CASES, reason="reference data is not beside the project")
@pytest.mark.parametrize("case", CASES, ids=[c["id"] for c in CASES])
def test_reference_case(case):
    """Each published case, from its absolute stop: entry by side, whole pips, size and projections, exactly."""
    expect = case["expect"]
    instrument = instrument_of(case)
    side = Side(case["side"])
    rate = Rate.of(Decimal(case["quote_to_account"]))
    arguments = {
        "instrument": instrument,
        "quote": Quote(case["bid"], case["ask"]),
        "side": side,
        "equity": Decimal(case["equity"]),
        "quote_to_account": rate,
        "stop_loss": Decimal(case["stop_loss"]),
        "take_profit": Decimal(case["take_profit"]),
        "risk_percent": Decimal(case["risk_percent"]),
    }
    if not expect["accepted"]:
        with pytest.raises(EntrySkipped) as refused:
            build(**arguments)
        assert refused.value.code == "below_minimum_lots"
        return
    built = build(**arguments)
    request = built.request
    asked = Decimal(expect["sl_distance_pips"])
    pips = asked.to_integral_value(ROUND_CEILING)
    entry = Decimal(expect["entry"])
    assert built.size.entry == entry
    assert request.stop_loss_distance_pips == pips
    assert Decimal(built.terms["placed_stop"]) == entry - side.sign * pips * instrument.pip_size
    assert Decimal(built.terms["asked_stop"]) == Decimal(case["stop_loss"])
    assert request.take_profit_price == Decimal(case["take_profit"])
    # lots by first principles from the whole-pip stop; equal to the published ones wherever the stop was whole already
    pip_value = instrument.pip_size * instrument.contract_size * Decimal(case["quote_to_account"])
    risk_money = Decimal(case["equity"]) * Decimal(case["risk_percent"]) / 100
    step = instrument.volume_step
    lots = min(risk_money / (pips * pip_value) // step * step, instrument.volume_max)
    assert built.size.lots == lots
    cents = Decimal("0.0001")
    loss = (lots * pips * pip_value).quantize(cents, ROUND_HALF_UP)
    assert -request.projections.projected_loss.quantize(cents, ROUND_HALF_UP) == loss
    if pips == asked:
        assert lots == Decimal(expect["lots"])
        assert built.size.capped is expect["capped"]
        assert abs(request.projections.projected_profit - Decimal(expect["projected_profit"])) <= cents
        assert abs(request.projections.projected_loss - Decimal(expect["projected_loss"])) <= cents
        assert request.projections.rr_ratio == Decimal(expect["rr_ratio"])


def test_a_buy_is_priced_at_the_ask_and_a_sell_at_the_bid():
    """The same absolute distance on either side gives the same pips only from the right quote."""
    buy = build(stop_loss=Decimal("1.11478"))
    sell = build(side=Side.SELL, stop_loss=Decimal("1.11962"), take_profit=Decimal("1.11212"))
    assert buy.request.stop_loss_distance_pips == 25  # from the ask
    assert sell.request.stop_loss_distance_pips == 25  # from the bid


@given(st.integers(min_value=1, max_value=5_000))
def test_a_fractional_stop_moves_away_never_nearer(points):
    """The distance is rounded up to whole pips, so the stop costs at least what was asked and less than one pip more."""
    stop = QUOTE.ask - points * EURUSD.point
    built = build(stop_loss=stop, take_profit=None)
    placed = Decimal(built.terms["placed_stop"])
    assert stop - EURUSD.pip_size < placed <= stop
    assert built.request.stop_loss_distance_pips * 10 >= points


def test_without_a_stop_the_default_rejects():
    """No stop, no order."""
    with pytest.raises(EntrySkipped, match="stop_loss must be given") as refused:
        build(stop_loss=None)
    assert refused.value.code == "no_stop"


def test_a_fixed_pip_policy_fills_a_missing_stop_and_is_recorded():
    """The policy places the stop and says that it did."""
    built = build(stop_loss=None, stop_policy=StopPolicy("pips", Decimal(30)))
    assert (built.request.stop_loss_distance_pips, built.sl_policy) == (30, "pips:30")
    assert built.terms["stop_from_policy"] is True


def test_an_atr_policy_uses_the_range_given():
    """Two average ranges of 12.3 pips are 24.6, placed at 25."""
    built = build(stop_loss=None, stop_policy=StopPolicy("atr", Decimal(2)), atr=Decimal("0.00123"))
    assert (built.request.stop_loss_distance_pips, built.sl_policy) == (25, "atr:2")


def test_an_atr_policy_without_a_range_skips():
    """An unknown range is no stop."""
    with pytest.raises(EntrySkipped, match="ATR must be known"):
        build(stop_loss=None, stop_policy=StopPolicy("atr", Decimal(2)), atr=Decimal("NaN"))


def test_a_policy_does_not_touch_a_declared_stop():
    """A declared stop wins over the policy."""
    built = build(stop_policy=StopPolicy("pips", Decimal(30)))
    assert (built.request.stop_loss_distance_pips, built.terms["stop_from_policy"]) == (25, False)


@pytest.mark.parametrize("stop", ["1.11728", "1.12000"])
def test_a_stop_on_the_wrong_side_is_an_error(stop):
    """A stop at or above the ask of a BUY is a mistake in the signal, not a reason to skip."""
    with pytest.raises(RequestError, match="stop_loss must be below") as refused:
        build(stop_loss=Decimal(stop))
    assert not isinstance(refused.value, EntrySkipped)


@pytest.mark.parametrize(("side", "stop", "target"), [("BUY", "1.11478", "1.11728"), ("SELL", "1.11962", "1.11712")])
def test_a_target_not_beyond_the_quote_skips(side, stop, target):
    """A target at the entry price itself is not beyond it."""
    with pytest.raises(EntrySkipped) as refused:
        build(side=Side(side), stop_loss=Decimal(stop), take_profit=Decimal(target))
    assert refused.value.code == "target_not_beyond_quote"


def test_fixed_lots_state_the_implied_risk():
    """0.5 lots over 25 pips risk 125 of 10,000: 1.25 %."""
    built = build(risk_percent=None, lots=Decimal("0.5"))
    assert built.lots == Decimal("0.5")
    assert built.request.risk_percent == Decimal("1.25")
    assert built.request.projections.projected_loss == Decimal(-125)
    assert built.request.projections.projected_profit == Decimal(250)


@pytest.mark.parametrize("sizes", [{"risk_percent": None, "lots": None}, {"lots": Decimal(1)}])
def test_exactly_one_way_of_sizing(sizes):
    """Neither and both are refused."""
    with pytest.raises(RequestError, match="exactly one"):
        build(**sizes)


@pytest.mark.parametrize(
    ("side", "kind", "price", "stop"),
    [
        ("BUY", "LIMIT", "1.11000", "1.10750"),
        ("BUY", "STOP", "1.12000", "1.11750"),
        ("SELL", "LIMIT", "1.12000", "1.12250"),
        ("SELL", "STOP", "1.11000", "1.11250"),
    ],
)
def test_a_pending_order_is_priced_at_its_trigger(side, kind, price, stop):
    """Distance and size count from the trigger, on the side of the market where it waits."""
    built = build(
        side=Side(side),
        order_type=OrderType(kind),
        limit_price=Decimal(price),
        stop_loss=Decimal(stop),
        take_profit=None,
    )
    assert built.request.stop_loss_distance_pips == 25
    assert built.size.entry == Decimal(price)


@pytest.mark.parametrize(
    ("side", "kind", "price"),
    [
        ("BUY", "LIMIT", "1.12000"),
        ("BUY", "STOP", "1.11000"),
        ("SELL", "LIMIT", "1.11000"),
        ("SELL", "STOP", "1.12000"),
    ],
)
def test_a_trigger_on_the_wrong_side_skips(side, kind, price):
    """A limit that would fill at once, or a stop the market has passed, is no pending order."""
    stop = "1.10000" if side == "BUY" else "1.13000"
    with pytest.raises(EntrySkipped) as refused:
        build(
            side=Side(side), order_type=OrderType(kind), limit_price=Decimal(price), stop_loss=Decimal(stop),
            take_profit=None,
        )  # fmt: skip
    assert refused.value.code == "trigger_on_wrong_side"


def test_an_off_grid_trigger_is_refused():
    """A trigger between two points cannot be placed."""
    with pytest.raises(RequestError, match="multiple of"):
        build(order_type=OrderType.LIMIT, limit_price=Decimal("1.110005"), stop_loss=Decimal("1.10750"))


def test_no_equity_skips_a_fixed_size():
    """Without equity there is no implied risk to state."""
    with pytest.raises(EntrySkipped) as refused:
        build(risk_percent=None, lots=Decimal("0.5"), equity=Decimal(0))
    assert refused.value.code == "no_equity"


def test_an_unsizable_request_can_be_kept_for_the_send():
    """After an exit of the same bar the size that counts is the one computed when the order is sent."""
    built = build(equity=Decimal(1), refuse_unsizable=False)
    assert not built.size.accepted
    assert built.request.projections.projected_loss == 0

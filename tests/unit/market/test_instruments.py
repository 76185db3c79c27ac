"""Contract facts: refusals, arithmetic on the grid, and the packaged table against its sources."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import BadInput, QuoteError, UnknownSymbol
from toolkit.market import Instrument, Quote, Side, find_instrument, known_symbols, money_digits

GOOD = {
    "symbol": "EURUSD", "quote_currency": "USD", "pip_size": "0.0001", "contract_size": 100_000, "volume_min": 0.01,
    "volume_max": 100, "volume_step": "0.01",
}  # fmt: skip


def test_numbers_may_be_text_decimal_int_or_float():
    """However a fact is written, the instrument is the same."""
    other = Instrument("EURUSD", "USD", 0.0001, Decimal("100000"), "0.010", "100.0", Decimal("0.01"), digits=5)
    assert other == Instrument(**GOOD)
    assert hash(other) == hash(Instrument(**GOOD))


def test_digits_default_to_one_more_than_the_pip():
    """A pip of 0.0001 trades in points of 0.00001, unless digits says otherwise."""
    made = Instrument(**GOOD)
    assert (made.digits, made.point, made.scale, made.points_per_pip) == (5, Decimal("0.00001"), 100_000, 10)
    assert Instrument(**{**GOOD, "pip_size": "0.01"}).digits == 3
    assert Instrument(**GOOD, digits=None).digits == 5
    assert Instrument(**{**GOOD, "pip_size": "1"}, digits=0).points_per_pip == 1


def test_steps_and_lots():
    """Volumes are whole steps; the floor is exact where floats are not."""
    made = Instrument(**GOOD)
    assert (made.min_steps, made.max_steps) == (1, 10_000)
    assert made.steps_floor("0.29") == 29
    assert made.steps_floor(0.29) == 29
    assert int(0.29 / 0.01) == 28
    assert made.steps_floor("0.2999999999999999999999999999999999") == 29
    assert made.lots(29) == Decimal("0.29")
    odd = Instrument(**{**GOOD, "volume_min": "0.25", "volume_step": "0.1", "volume_max": "0.95"})
    assert (odd.min_steps, odd.max_steps) == (3, 9)


@pytest.mark.parametrize(
    ("price", "points"),
    [
        ("1.11728", 111728),
        ("1.117285", 111729),
        ("1.117284999", 111728),
        (1.11728, 111728),
        (1, 100000),
        ("0.000004", 0),
    ],
)
def test_to_points_is_the_nearest_point_halves_up(price, points):
    """Prices become the nearest point."""
    assert Instrument(**GOOD).to_points(price) == points


def test_to_points_can_insist_on_the_grid():
    """A price between two points is refused when asked to."""
    assert Instrument(**GOOD).to_points("1.11728", on_grid=True) == 111728
    with pytest.raises(
        QuoteError, match=r"price of EURUSD must be a multiple of the point 0.00001, was 1.117285: round it"
    ):
        Instrument(**GOOD).to_points("1.117285", on_grid=True)


def test_to_points_refuses_what_does_not_fit():
    """A price beyond 32 bits of points is refused."""
    with pytest.raises(
        QuoteError, match=r"price of EURUSD must be below 21474.83647, was 21474.83648: use an instrument"
    ):
        Instrument(**GOOD).to_points("21474.83648")


@given(st.integers(-(2**31) + 1, 2**31 - 1), st.sampled_from([0, 1, 2, 3, 5, 8]))
def test_points_and_prices_round_trip(points, digits):
    """price and to_points are inverse on the grid."""
    made = Instrument(**{**GOOD, "pip_size": "1"}, digits=digits)
    assert made.to_points(made.price(points), on_grid=True) == points


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbol": " EURUSD"}, "symbol must be a name without spaces around it, was ' EURUSD'"),
        (
            {"quote_currency": "usd"},
            "quote_currency of EURUSD must be an upper-case code such as USD, was 'usd'",
        ),
        ({"base_currency": "E"}, "base_currency of EURUSD must be an upper-case code"),
        ({"pip_size": 0}, "pip_size of EURUSD must be above 0, was 0: take it from the platform"),
        ({"contract_size": -1}, "contract_size of EURUSD must be above 0, was -1"),
        ({"volume_step": "nan"}, "volume_step of EURUSD must be finite, was nan"),
        ({"volume_min": "much"}, "volume_min of EURUSD must be a number, was 'much'"),
        ({"volume_max": None}, "volume_max of EURUSD must be a number, was None"),
        (
            {"volume_max": "0.001"},
            "volume_max of EURUSD must be at least volume_min 0.01, was 0.001: swap the two",
        ),
        ({"digits": 3}, "pip_size of EURUSD must be a multiple of the point 0.001, was 0.0001: correct digits"),
        ({"digits": 12}, "digits of EURUSD must be a whole number from 0 to 9, was 12"),
        ({"digits": "5"}, "digits of EURUSD must be a whole number"),
        ({"default_spread_pips": -1}, "default_spread_pips of EURUSD must be 0 or more, was -1"),
        ({"margin_mode": "x"}, "margin_mode of EURUSD must be one of forex .*, was 'x'"),
        ({"swap_mode": "x"}, "swap_mode of EURUSD must be one of none .*, was 'x'"),
        (
            {"swap_triple_weekday": 7},
            r"swap_triple_weekday of EURUSD must be 0 \(Monday\) to 6, was 7: Wednesday is 2",
        ),
    ],
)
def test_contradictory_facts_are_refused(changes, message):
    """Each refusal names the fact, what it must be, what it was and a remedy."""
    with pytest.raises(BadInput, match=message):
        Instrument(**{**GOOD, **changes})


def test_facts_round_trip_and_are_canonical():
    """facts() is JSON-able, spells equal values equally and rebuilds the instrument."""
    for symbol in known_symbols():
        made = find_instrument(symbol)
        facts = json.loads(json.dumps(made.facts()))
        assert Instrument.from_facts(facts) == made
    a, b = Instrument(**GOOD), Instrument(**{**GOOD, "pip_size": "0.00010", "contract_size": "1E+5"})
    assert a.facts() == b.facts()
    assert a.facts()["contract_size"] == "100000"


def test_unknown_and_missing_facts_are_refused():
    """A stored fact that this version does not know is an error, not a silent loss."""
    with pytest.raises(BadInput, match=r"instrument facts must be known names, was colour: use .*pip_size"):
        Instrument.from_facts({**GOOD, "colour": 1})
    with pytest.raises(BadInput, match=r"instrument facts must be complete, was without pip_size, volume_step: add"):
        Instrument.from_facts({k: v for k, v in GOOD.items() if k not in ("pip_size", "volume_step")})


def test_an_unknown_symbol_names_close_matches_and_the_way_out():
    """The refusal suggests names and says how to give the facts oneself."""
    with pytest.raises(UnknownSymbol, match=r"was 'EURUSDx': did you mean EURUSD .* with instrument=Instrument\("):
        find_instrument("EURUSDx")
    with pytest.raises(UnknownSymbol, match=r"was 'QQQQQQQQ': otherwise give its contract facts"):
        find_instrument("QQQQQQQQ")


def test_the_packaged_table_is_sourced_and_usable():
    """Every row says where it comes from and its default spread is a whole number of points."""
    assert {
        "EURUSD",
        "USDJPY",
        "GBPUSD",
        "XAUUSD",
        "XAGUSD",
        "US30",
        "DE40",
        "JP225",
        "US500",
        "BTCUSD",
        "ETHUSD",
    } <= set(known_symbols())
    for symbol in known_symbols():
        made = find_instrument(symbol)
        assert made.symbol == symbol
        assert len(made.source) > 40, symbol
        if made.default_spread_pips is not None:
            assert made.default_spread_pips * made.points_per_pip % 1 == 0, symbol
    assert find_instrument("XAUUSD").pip_size == Decimal("0.1")
    assert find_instrument("USDJPY").pip_size == Decimal("0.01")
    assert find_instrument("DE40").quote_currency == "EUR"


def test_fx_rows_agree_with_lean(real):
    """Price step and quote currency of every FX row equal LEAN's symbol properties."""
    rows = json.loads(real("lean_symbol_properties_oanda_fxcm.json").read_text())["rows"]
    lean = {(r[1], r[4], Decimal(r[6])) for r in rows if r[2] == "forex"}
    forex = [find_instrument(s) for s in known_symbols() if find_instrument(s).asset_class == "forex"]
    assert len(forex) >= 35
    for made in forex:
        assert (made.symbol, made.quote_currency, made.point) in lean


def test_captured_rows_agree_with_metatrader(real):
    """Contract size and volume limits equal those captured from a MetaTrader 5 terminal."""
    captured = json.loads(real("mt5_symbol_specs.json").read_text())["symbols"]
    checked = 0
    for row in captured:
        if row["file"] == "forex":
            made = find_instrument(row["name"])
            assert made.base_currency == row["currency_margin"]
            assert made.quote_currency == row["currency_profit"]
            for fact, key in (
                ("contract_size", "trade_contract_size"), ("volume_min", "volume_min"), ("volume_max", "volume_max"),
                ("volume_step", "volume_step"),
            ):  # fmt: skip
                assert getattr(made, fact) == Decimal(str(row[key])), (made.symbol, fact)
            checked += 1
    assert checked == 7


def test_quotes_refuse_what_cannot_be_traded():
    """A quote has positive finite prices, an ask at or above its bid and an aware time."""
    from datetime import UTC, datetime

    quote = Quote("1.1", 1.2, datetime(2025, 1, 1, tzinfo=UTC))
    assert (quote.mid, quote.spread) == (Decimal("1.15"), Decimal("0.1"))
    assert (quote.price_for(Side.BUY), quote.price_for(Side.SELL)) == (Decimal("1.2"), Decimal("1.1"))
    assert Quote(1, 1).spread == 0
    for bid, ask, message in (
        (1.2, 1.1, "ask must be at or above the bid 1.2, was 1.1: swap"),
        (0, 1, "bid must be above 0, was 0: drop"),
        (-1, 1, "bid must be above 0, was -1"),
        ("nan", 1, "bid must be finite"),
        (1, float("inf"), "ask must be finite"),
        (None, 1, "bid must be a number, was None"),
    ):
        with pytest.raises(QuoteError, match=message):
            Quote(bid, ask)
    with pytest.raises(QuoteError, match=r"time must be tz-aware, was naive"):
        Quote(1, 2, datetime(2025, 1, 1))  # noqa: DTZ001


def test_sides_have_signs_and_opposites():
    """BUY is +1, SELL is -1, and they are text."""
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
    assert Side.BUY.opposite is Side.SELL
    assert Side.SELL.opposite is Side.BUY
    assert Side("BUY") == "BUY"


def test_money_digits_by_currency():
    """Money is booked in the currency's minor unit."""
    assert [money_digits(c) for c in ("USD", "EUR", "JPY", "KWD", "HUF", "BTC")] == [2, 2, 0, 3, 2, 8]
    with pytest.raises(BadInput, match=r"currency must be a code of 3 to 5 letters such as USD, was '\$'"):
        money_digits("$")

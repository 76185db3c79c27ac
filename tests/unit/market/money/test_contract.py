"""Profit, pip value and margin reproduce published examples and other projects' asserted cases."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import BadInput
from toolkit.market import Instrument, Quote, Rate, Side, find_instrument
from toolkit.market.money.contract import margin, pip_value, profit, round_money
from toolkit.risk import calculate_position_size

BUY, SELL = Side.BUY, Side.SELL
D = Decimal


def units(quote: str, pip: str = "0.0001", contract: int = 1, base: str | None = None, **more) -> Instrument:
    """An instrument traded in single units, as many published examples count."""
    return Instrument("X", quote, pip, contract, 1, 10**9, 1, base_currency=base, **more)


FX = {"contract": 1, "base": "EUR"}

PROFITS = [
    ("W01 GBPCHF 1,000 units", units("CHF"), BUY, 1000, "2.1443", "2.1452", "1.1025", "0.99225"),
    ("W04 GBPUSD 100,000", units("USD"), BUY, 100_000, "1.4918", "1.4925", 1, "70"),
    ("W05 USDCAD 100,000 in CAD", units("CAD"), BUY, 100_000, "1.2420", "1.2449", 1, "290"),
    ("W07 gold 100 oz", units("USD", "0.1"), BUY, 100, "1206.20", "1224.50", 1, "1830"),
    ("W08 gold 100 oz", units("USD", "0.1"), BUY, 100, "1206.20", "1187.90", 1, "-1830"),
    ("W09 US30 5 contracts", find_instrument("US30"), BUY, 5, 25980, 26382, 1, "2010"),
    ("W10 US30 5 contracts", find_instrument("US30"), BUY, 5, 25980, 25578, 1, "-2010"),
    ("W11 EURGBP 50,000", units("GBP"), BUY, 50_000, "0.84960", "0.85530", 1, "285"),
    ("W12 EURGBP 50,000", units("GBP"), BUY, 50_000, "0.84960", "0.84390", 1, "-285"),
    ("W14 CADCHF 1 lot in CHF", find_instrument("CADCHF"), SELL, 1, "0.75782", "0.75798", 1, "-16"),
    ("W15 EURUSD 500,000", units("USD"), BUY, 500_000, "1.3296", "1.3346", 1, "2500"),
    ("W16 S&P 100 a point", units("USD", "1", 100), SELL, 1, "1550.5", "1555.0", 1, "-450"),
    ("W17 S&P 100 a point", units("USD", "1", 100), BUY, 1, "1551.0", "1554.5", 1, "350"),
    ("W18 S&P 0.1 lot of 50", Instrument("S", "USD", 1, 50, "0.1", 9, "0.1"), BUY, "0.1", 1794, 1795, 1, "5"),
    ("W19 US30 contract 10", units("USD", "1", 10), BUY, 1, "40000.00", "40000.01", 1, "0.1"),
    ("W20 Nikkei 200 indexes, tick 5", units("JPY", "1", 200), BUY, 1, 20000, 20005, 1, "1000"),
    ("W21 FTSE 5 indexes, tick 0.5", units("GBP", "1", 5), BUY, 1, 6300, "6300.5", 1, "2.50"),
    ("W21 FTSE 5 long", units("GBP", "1", 5), BUY, 1, 6300, 6400, 1, "500"),
    ("W21 FTSE 5 short", units("GBP", "1", 5), SELL, 1, 6300, 6400, 1, "-500"),
    ("W24 EURJPY 1 lot", find_instrument("EURJPY"), BUY, 1, 155, 156, 1, "100000"),
    ("W24 XAUUSD 1 lot", find_instrument("XAUUSD"), BUY, 1, 2500, 2510, 1, "1000"),
    ("nautilus GBPUSD 100,000", units("USD"), BUY, 100_000, "1.00000", "1.30315", 1, "30315"),
    ("nautilus AUDUSD 100,000", units("USD"), BUY, 100_000, "1.00000", "0.80501", 1, "-19499"),
    ("LEAN EURUSD 1,000", units("USD"), BUY, 1000, "1.07", "1.09", 1, "20"),
]


@pytest.mark.parametrize("case", PROFITS, ids=lambda c: c[0])
def test_published_profits(case):
    """The published figure comes out exactly."""
    _, instrument, side, lots, opened, closed, rate, want = case
    assert profit(instrument, side, lots, opened, closed, rate) == D(want)


def test_w14_converts_to_the_account_currency():
    """W14: -16 CHF at USDCHF 1.01883 is -15.70 USD."""
    loss = profit(find_instrument("CADCHF"), SELL, 1, "0.75782", "0.75798", Rate.of("1.01883").inverse)
    assert round_money(loss, "USD") == D("-15.70")


def test_w05_converts_at_the_closing_bid():
    """W05: 290 CAD at 1.2449 is 232.95 USD."""
    assert round_money(profit(units("CAD"), BUY, 100_000, "1.2420", "1.2449", Rate.of("1.2449").inverse), "USD") == D(
        "232.95"
    )


@pytest.mark.parametrize(
    ("instrument", "lots", "rate", "want"),
    [
        (find_instrument("EURUSD"), "0.1", 1, "1"),
        (find_instrument("EURGBP"), "0.1", "1.66", "1.66"),
        (find_instrument("EURUSD"), 1, 1, "10"),
        (find_instrument("USDJPY"), 1, 1, "1000"),
    ],
    ids=["W02", "W03", "W23 EURUSD", "W23 USDJPY"],
)
def test_published_pip_values(instrument, lots, rate, want):
    """Pip values a lot times lots equal the published ones."""
    assert pip_value(instrument, rate) * D(lots) == D(want)


def test_w06_position_size():
    """W06: USD 5,000, 1 %, 200 pips of EUR/USD is 2,500 units at USD 0.25 a pip."""
    unit = units("USD")
    found = calculate_position_size(
        side=BUY,
        quote=Quote("1.3", "1.3"),
        stop_loss="1.28",
        equity=5000,
        risk_percent=1,
        instrument=unit,
        quote_to_account=1,
    )
    assert found.stop_distance_pips == 200
    assert found.lots == 2500
    assert found.lots * found.pip_value_per_lot == D("0.25")


@pytest.mark.parametrize(("lots", "loss"), [("0.05", "27.65"), ("0.06", "33.18")])
def test_w22_losses_at_the_stop_price_rate(lots, loss):
    """W22: 60 pips of EUR/USD in EUR at the rate of the stop; 0.054 lot raw, so 0.05 is taken and 0.06 would be too much."""
    rate = Rate.of("1.0850").inverse
    eurusd = find_instrument("EURUSD")
    assert round_money(-profit(eurusd, BUY, lots, "1.0910", "1.0850", rate), "EUR") == D(loss)
    found = calculate_position_size(
        side=BUY, quote=Quote("1.0909", "1.0910"), stop_loss="1.0850", equity=2000, risk_percent="1.5", instrument=eurusd,
        quote_to_account=rate,
    )  # fmt: skip
    assert found.lots == D("0.05")
    assert round(found.lots_raw, 3) == D("0.054")


@pytest.mark.parametrize(
    ("instrument", "lots", "price", "leverage", "rate", "mode", "want"),
    [
        (units("GBP"), 50_000, "0.84955", 500, 1, "cfd_leverage", "84.955"),
        (units("USD"), 500_000, "1.3296", 100, 1, "cfd_leverage", "6648"),
        (Instrument("S", "USD", 1, 50, "0.1", 9, "0.1"), "0.1", 1794, 200, 1, "cfd_leverage", "44.85"),
        (find_instrument("USDJPY"), 2, "110.025", 100, 1, None, "2000"),
        (units("USD", margin_rate="0.03"), 100_000, "0.80000", 50, 1, "cfd_leverage", "48"),
        (units("USD", margin_rate="0.03"), 100_000, "0.80000", 10, 1, "cfd_leverage", "240"),
        (units("USD", margin_rate="0.03"), 1_000_000, "1.00000", 50, 1, "cfd_leverage", "600"),
        (find_instrument("EURUSD"), 1, "1.1", 30, 1, "forex_no_leverage", "100000"),
        (find_instrument("US30"), 2, 40000, 30, 1, "cfd", "80000"),
    ],
    ids=[
        "W13",
        "W15",
        "W18",
        "W25",
        "nautilus 50",
        "nautilus 10",
        "nautilus maint",
        "MQL5 no leverage",
        "MQL5 CFD",
    ],
)
def test_published_margins(instrument, lots, price, leverage, rate, mode, want):
    """Each calculation mode gives the published margin."""
    assert margin(instrument, lots, price, leverage=leverage, to_account=rate, mode=mode) == D(want)


def test_cfd_index_margin_uses_the_tick():
    """MQL5 CFDINDEX: lots x contract x price x tick value / tick size."""
    index = units("EUR", "1", 1)
    assert margin(index, 2, 100, leverage=30, mode="cfd_index", tick_size="0.5", tick_value="12.5") == 5000
    with pytest.raises(
        BadInput, match="tick_size and tick_value must be given for cfd_index, was missing: ask the platform"
    ):
        margin(index, 2, 100, leverage=30, mode="cfd_index")
    with pytest.raises(BadInput, match="margin mode must be a known one, was 'x'"):
        margin(index, 2, 100, leverage=30, mode="x")


def test_w25_w26_w27_roll_up_as_metatrader_did():
    """W25 to W27: profits, margins and the account's equity, free margin and level of the gym-mtsim run on MT5 data."""
    # The run's fee is a price distance paid once; profit converts at the day's close, GBP margin at the closes of entry:
    # USDJPY 109.712 and USDCAD 1.25283 on 2021-09-03, USDCAD 1.26057 on 2021-08-30 (see the next test).
    usdjpy, gbpcad = find_instrument("USDJPY"), find_instrument("GBPCAD")
    first = profit(usdjpy, SELL, 2, "110.025", D("109.712") + D("0.010"), Rate.of("109.712").inverse)
    second = profit(gbpcad, BUY, 1, "1.73389", D("1.73626") - D("0.0003"), Rate.of("1.25283").inverse)
    assert round(first, 6) == D("552.355257")
    assert round(second, 6) == D("165.225928")
    blocked_jpy = margin(usdjpy, 2, "110.025", leverage=100)
    gbp_to_usd = Rate.of("1.73389") * Rate.of("1.26057").inverse
    blocked_gbp = margin(gbpcad, 1, "1.73389", leverage=100, to_account=gbp_to_usd)
    assert blocked_jpy == 2000
    assert round(blocked_gbp, 6) == D("1375.480933")
    equity, blocked = 10_000 + first + second, blocked_jpy + blocked_gbp
    assert round(equity, 10) == round(D("10717.58118589908"), 10)
    assert round(blocked, 10) == round(D("3375.480933228619"), 10)
    assert round(equity - blocked, 10) == round(D("7342.1002526704615"), 10)
    # The printed level, 3.1751271592500743, departs in its tenth decimal from the quotient of the two printed amounts.
    assert round(equity / blocked, 9) == round(D("3.1751271592500743"), 9)
    assert round(D("10717.58118589908") / D("3375.480933228619"), 13) == round(equity / blocked, 13)


def test_the_rates_of_w25_and_w26_are_those_of_the_data(real):
    """mt5: the closes used above stand in the daily file of that run."""
    frame = pd.read_parquet(real("mt5_7pairs_d1_20210505_0903.parquet"))
    closes = {(s, str(t.date())): round(c, 5) for s, t, c in zip(frame.symbol, frame.ts, frame.close, strict=True)}
    assert closes["USDJPY", "2021-09-03"] == 109.712
    assert closes["USDCAD", "2021-09-03"] == 1.25283
    assert closes["USDCAD", "2021-08-30"] == 1.26057
    assert closes["GBPCAD", "2021-08-30"] == 1.73389
    assert closes["GBPCAD", "2021-09-03"] == 1.73626


@pytest.mark.parametrize(
    ("symbol", "entry", "exit_", "pips"),
    [
        ("EURUSD", "1.23456", "1.23956", 50),
        ("USDJPY", "100.30", "99.90", -40),
        ("EURGBP", "0.89012", "0.90012", 100),
    ],
)
def test_lean_pips(symbol, entry, exit_, pips):
    """LEAN's ForexHolding cases: the pips of a price move."""
    assert find_instrument(symbol).pips(D(exit_) - D(entry)) == pips


NAUTILUS = [
    ("N01", "1.00100", "1.00000", 0, "0.1", 1, 1000, 10**7, 0),
    ("N04", "1.00100", "1.00000", 1_000_000, "0.1", 1, 1000, 10**7, 1_000_000),
    ("N05", "110.010", "110.000", 1_000_000, "0.1", Rate(1, 110), 1, 10**7, 10_000_000),
    ("N06", "3.00000", "1.00000", 100_000, "1", 1, 1000, 10**7, 0),
    ("N07", "1.00010", "1.00000", 1_000_000, "1", 1, 1000, 500_000, 500_000),
]


@pytest.mark.parametrize("case", NAUTILUS, ids=lambda c: c[0])
def test_nautilus_sizes_where_the_rules_agree(case):
    """nautilus' FixedRiskSizer cases (batch = step, hard limit = largest order); N02, N03 and N08 to N10 follow other rules."""
    _, entry, stop, equity, risk, rate, step, largest, want = case
    found = calculate_position_size(
        side=BUY,
        quote=Quote(entry, entry),
        stop_loss=stop,
        equity=equity,
        risk_percent=risk,
        instrument=Instrument("X", "USD", "0.0001", 1, step, largest, step),
        quote_to_account=rate,
    )
    assert found.lots == want
    assert found.capped == (want in (10_000_000, 500_000))


def test_money_rounds_half_away_from_zero():
    """Booking rounds to the currency's digits, halves away from zero, both signs."""
    for amount, currency, want in (
        ("0.005", "USD", "0.01"), ("-0.005", "USD", "-0.01"), ("0.00499", "USD", "0.00"), ("2.5", "JPY", "3"),
        ("-2.5", "JPY", "-3"), ("5294.2812", "JPY", "5294"), ("24.015", "USD", "24.02"),
    ):  # fmt: skip
        assert str(round_money(D(amount), currency)) == want


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: profit(i, BUY, 0, 1, 2), "lots must be above 0, was 0"),
        (lambda i: profit(i, BUY, 1, "nan", 2), "open_price must be finite"),
        (lambda i: profit(i, BUY, 1, 1, -2), "close_price must be above 0, was -2"),
        (lambda i: profit(i, BUY, 1, 1, 2, 0), "rate must be above 0, was 0"),
        (lambda i: margin(i, 1, 1, leverage=0), "leverage must be above 0, was 0"),
        (lambda i: margin(i, -1, 1, leverage=30), "lots must be above 0, was -1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(call, message):
    """Zero, negative and missing numbers are refused by name."""
    with pytest.raises(BadInput, match=message):
        call(find_instrument("EURUSD"))


@given(st.integers(50_000, 200_000), st.integers(50_000, 200_000), st.integers(1, 10_000), st.integers(1, 10**6))
def test_profit_is_antisymmetric_and_equals_pips_times_pip_value(opened, closed, steps, num):
    """A SELL earns what a BUY loses, and profit is pips x pip value x lots where the rate is a finite decimal."""
    eurusd = find_instrument("EURUSD")
    rate = Rate(num, 10**6)
    a, b = eurusd.price(opened), eurusd.price(closed)
    gain = profit(eurusd, BUY, eurusd.lots(steps), a, b, rate)
    assert profit(eurusd, SELL, eurusd.lots(steps), a, b, rate) == -gain
    assert gain == eurusd.pips(b - a) * pip_value(eurusd, rate) * eurusd.lots(steps)

"""What a pip is worth, by three routes that must agree."""

from __future__ import annotations

from decimal import Decimal

import pytest
from execution_desk import EURUSD

from toolkit.errors import ConversionRateMissing, SizingError, UnknownSymbol
from toolkit.execution.symbol_info import conversion_rate, fetch_symbol_info_for_platform
from toolkit.market import Instrument, Quote, Rate

USDJPY = Instrument("USDJPY", "JPY", "0.01", "100000", "0.01", "100", "0.01", base_currency="USD")


@pytest.fixture
def platform(memory):
    """The scripted platform, with yen."""
    venue = memory.platform
    venue.instruments["USDJPY"] = USDJPY
    venue.quotes["USDJPY"] = Quote("157.240", "157.260")
    return venue


def test_contract_arithmetic_and_profit_calculation_agree(platform):
    """EURUSD on a USD account: 10 a pip and lot, by both routes the platform offers."""
    info = fetch_symbol_info_for_platform(platform, "EURUSD", "USD")
    assert info.instrument == EURUSD
    assert [name for name, _ in info.routes] == ["contract arithmetic", "platform's profit calculation"]
    assert info.pip_value_per_lot == Decimal(10)


def test_a_stated_point_value_is_a_third_route(platform):
    """MT5's tick value takes part when the platform states one."""
    platform.point_value = lambda symbol: Decimal("1.00")
    info = fetch_symbol_info_for_platform(platform, "EURUSD", "USD")
    assert dict(info.routes)["platform's point value"] == Decimal(10)


def test_routes_that_disagree_are_refused_with_all_numbers(platform):
    """A wrong contract size would turn 1 % of risk into 10 %: nothing is traded, and the message shows every route."""
    platform.point_value = lambda symbol: Decimal("0.10")
    with pytest.raises(SizingError) as refused:
        fetch_symbol_info_for_platform(platform, "EURUSD", "USD")
    assert "platform's point value: 1 USD" in str(refused.value)
    assert "contract arithmetic: 10 USD" in str(refused.value)


def test_a_wrong_profit_calculation_is_refused(platform):
    """So is a platform whose own profit does not follow from its contract."""
    original = platform.profit
    platform.profit = lambda *args: original(*args) * 10
    with pytest.raises(SizingError, match="profit calculation"):
        fetch_symbol_info_for_platform(platform, "EURUSD", "USD")


def test_a_rate_comes_from_the_direct_or_the_inverse_pair(platform):
    """JPY to USD by USDJPY's mid, inverted, exactly; EUR to USD by EURUSD's."""
    assert conversion_rate(platform, "JPY", "USD") == Rate(1, 1) * Rate(100, 15725)
    assert conversion_rate(platform, "EUR", "USD").decimal == Decimal("1.10005")
    assert conversion_rate(platform, "USD", "USD") == Rate.ONE


def test_a_missing_rate_is_an_error(platform):
    """Never 1.0."""
    with pytest.raises(ConversionRateMissing, match="CHF"):
        conversion_rate(platform, "CHF", "USD")


def test_a_platforms_own_rate_wins(platform):
    """The paper platform converts as the backtest does, and says so."""
    platform.conversion_rate = lambda frm, to: Rate(2, 1)
    assert conversion_rate(platform, "JPY", "USD") == Rate(2, 1)


def test_an_unknown_symbol_is_named(platform):
    """The platform's facts are the only ones that count live."""
    with pytest.raises(UnknownSymbol):
        fetch_symbol_info_for_platform(platform, "XAUUSD", "USD")

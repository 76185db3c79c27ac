"""Account, contract facts, quotes and the arithmetic of money."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest
from platform_worlds import START, D, Harness, deals, opens, tag

from toolkit.errors import UnknownSymbol
from toolkit.execution.ports import (
    ClosePosition,
    OpenOrder,
    OrderType,
    Outcome,
    TradingPlatform,
)
from toolkit.market import Side


def test_platform_connect_shows_the_account(at: Harness) -> None:
    """Connecting gives login, currency, balance and the position mode."""
    account = at.platform.connect()
    assert (account.currency, account.balance, account.equity) == ("USD", D(10_000), D(10_000))
    assert account.hedging is at.hedging
    assert account.connected and account.trading_allowed
    assert account.environment in ("paper", "demo")


def test_platform_instrument_states_contract_facts(at: Harness) -> None:
    """The platform's facts are those trading is sized by."""
    found = at.platform.instrument("EURUSD")
    assert (found.contract_size, found.digits, found.pip_size) == (D(100_000), 5, D("0.0001"))
    assert (found.volume_min, found.volume_step) == (D("0.01"), D("0.01"))
    assert (found.base_currency, found.quote_currency) == ("EUR", "USD")


def test_platform_unknown_symbol_is_named(at: Harness) -> None:
    """A symbol the platform does not have raises UnknownSymbol, and an order on it is refused for good."""
    with pytest.raises(UnknownSymbol, match="NOSUCH"):
        at.platform.instrument("NOSUCH")
    result = at.platform.send(OpenOrder(tag(), "NOSUCH", Side.BUY, OrderType.MARKET, D("0.1")))
    assert result.outcome is Outcome.FINAL


def test_platform_quote_carries_its_moment_in_utc(at: Harness) -> None:
    """Bid, ask and the time of the quote in UTC."""
    quote = at.platform.quote("EURUSD")
    assert (quote.bid, quote.ask) == (D("1.10000"), D("1.10010"))
    assert quote.ts == START + timedelta(minutes=1)
    assert at.platform.now() >= quote.ts


def test_platform_balance_is_the_sum_of_its_deals(at: Harness) -> None:
    """Start balance plus profit, commission and swap of all deals is the balance."""
    for k, side in enumerate((Side.BUY, Side.SELL, Side.BUY)):
        result = opens(at, side, "0.10")
        at.move(f"1.10{k}50", f"1.10{k}60")
        at.platform.send(ClosePosition(tag(), str(result.position_id)))
    booked = sum((d.profit + d.commission + d.swap for d in deals(at)), D(0))
    assert at.platform.book().account.balance == D(10_000) + booked


def test_platform_profit_agrees_with_what_is_booked(at: Harness) -> None:
    """The platform's own profit calculation equals the deal that follows."""
    result = opens(at, Side.SELL, "0.30")
    at.move("1.09800", "1.09815")
    expected = at.platform.profit("EURUSD", Side.SELL, D("0.30"), D("1.10000"), D("1.09815"))
    at.platform.send(ClosePosition(tag(), str(result.position_id)))
    assert deals(at)[-1].profit == expected == D("55.50")


def test_platform_margin_is_stated_in_account_currency(at: Harness) -> None:
    """One lot of EURUSD at 1.1 and 1:30 blocks 110,000 / 30."""
    assert at.platform.margin("EURUSD", Side.BUY, D(1), D("1.10000")) == D("3666.67")


def test_platform_close_is_safe_to_call_twice(at: Harness) -> None:
    """Ending a session again does nothing."""
    at.platform.close()
    at.platform.close()


def test_platform_satisfies_the_protocol(at: Harness) -> None:
    """Every method of the protocol is there."""
    wanted = [n for part in TradingPlatform.__mro__ for n in vars(part) if not n.startswith("_")]
    assert [n for n in wanted if not hasattr(cast(object, at.platform), n)] == []

"""Margin, stop-out, swap and conversion: backtest and live replay book the same money on real prices, with ``==``."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

import toolkit as tk
from tests.e2e.replay_files import DATA
from tests.plugins.live_support import Donchian, EmaCross
from tests.plugins.managed_strategies import LimitEntries, Partials
from toolkit.market import Bars
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.session import replay_in_temporary_home

pytestmark = [
    pytest.mark.skipif(not DATA.exists(), reason="the shared price files are not here"),
    pytest.mark.timeout(300),
]


class Bold(tk.SectionedStrategy):
    """Nearly all of the equity at risk, so that the account is often stopped out before its stop loss."""

    n = tk.Int(10, 2, 50)

    def indicators(self, bars: Any) -> Any:
        return dict(high=tk.highest(bars.high, self.n).shift(1), low=tk.lowest(bars.low, self.n).shift(1))

    def entry(self, x: Any) -> Any:
        return tk.Entry(long=x.close > x.high, short=x.close < x.low)

    def protection(self, x: Any) -> Any:
        return tk.Protection(stop_loss=tk.Pips(90), take_profit=tk.Pips(40))

    def risk(self) -> Any:
        return tk.RiskPercent(90)


def load(name: str, symbol: str, rows: int, **facts: Any) -> Bars:
    """Load bars, with contract facts changed."""
    instrument = replace(tk.find_instrument(symbol), **facts)
    price = "bidask" if "bidask" in name else "bid"
    bars = tk.load_bars(DATA / f"{name}.parquet", symbol=symbol, timeframe="H1", price=price, instrument=instrument)
    return bars[:rows]


def both(strategy: Any, bars: Bars, account: Any, **more: Any) -> Any:
    """Return the backtest, after its trades were compared with those of the live replay."""
    result = tk.backtest(strategy, bars, account=account, **more)
    live = replay_in_temporary_home(strategy, bars, account=account, **more)
    difference = first_difference(normalise_all(result.trade_records), live)
    assert difference is None, str(difference)
    return result


SWAPS: dict[str, dict[str, Any]] = {
    "points": {"swap_mode": "points", "swap_long": "-6.63", "swap_short": "1.27"},
    "money": {"swap_mode": "money", "swap_long": "-7.1", "swap_short": "-0.4"},
    "money_base": {"swap_mode": "money_base", "swap_long": "-5.03", "swap_short": "2.2"},
    "money_account": {"swap_mode": "money_account", "swap_long": "-7.5", "swap_short": "-3.25"},
    "percent": {"swap_mode": "percent", "swap_long": "-2.75", "swap_short": "0.5", "swap_triple_weekday": 4},
}


@pytest.mark.parametrize("mode", list(SWAPS))
def test_swap_of_every_mode_is_the_same_in_backtest_and_live(mode: str) -> None:
    """Each night of each trade, triple day included, at the clock of New York + 7, with a daily loss guard."""
    bars = load("oanda_eurusd_h1_bidask_2007_2013", "EURUSD", 700, **SWAPS[mode])
    account = tk.PaperAccount("USD", 10_000, day_end="New York + 7")
    result = both(Donchian(), bars, account, guards=tk.Guards(daily_loss_percent=Decimal("0.4")))
    assert (result.trades.swap != 0).sum() >= 5


def test_swap_converts_at_the_rate_of_its_night() -> None:
    """Swap of a yen pair on a dollar account."""
    bars = load("mt5_usdjpy_h1_bid_2012_2015", "USDJPY", 900, **SWAPS["points"])
    result = both(EmaCross(), bars, tk.PaperAccount("USD", 10_000, day_end="Europe/Athens"))
    assert (result.trades.swap != 0).sum() >= 5


@pytest.mark.parametrize("stop_out", [50, 100])
def test_stop_out_is_the_same_in_backtest_and_live(stop_out: int) -> None:
    """Positions are stopped out at the same price and hour."""
    bars = load("oanda_eurusd_h1_bidask_2007_2013", "EURUSD", 1_000)
    account = tk.PaperAccount("USD", 4_000, leverage=140, stop_out_percent=stop_out, commission_per_lot="3.5")
    result = both(Bold(), bars, account)
    assert (result.trades.exit_reason == "stop_out").any()


def test_entries_beyond_the_free_margin_are_not_made_in_backtest_and_live() -> None:
    """Where the price is a little higher the same risk needs more margin than there is."""
    bars = load("oanda_eurusd_h1_bidask_2007_2013", "EURUSD", 1_000)
    result = both(Bold(), bars, tk.PaperAccount("USD", 4_000, leverage=131))
    assert len(result.trades) >= 5
    assert sum(skip.reason == "insufficient_margin" for skip in result.skipped) >= 5


def test_stop_out_of_a_converted_pair_is_the_same_in_backtest_and_live() -> None:
    """USDJPY on a dollar account: margin in the base currency, losses at a rate that moves."""
    bars = load("mt5_usdjpy_h1_bid_2012_2015", "USDJPY", 1_200, **SWAPS["points"])
    result = both(Bold(), bars, tk.PaperAccount("USD", 3_000, leverage=140))
    assert (result.trades.exit_reason == "stop_out").any()


def test_cross_converts_from_bars_of_another_pair() -> None:
    """EURJPY on a dollar account by USDJPY, of which hours are missing."""
    bars = load("mt5_eurjpy_h1_bid_2012_2015", "EURJPY", 1_000, **SWAPS["points"])[60:]
    pair = load("mt5_usdjpy_h1_bid_2012_2015", "USDJPY", 1_100)
    keep = [i for i in range(len(pair)) if i % 7 != 3]
    frame = pair.frame.iloc[keep]
    thin = tk.load_bars(frame, symbol="USDJPY", timeframe="H1", price="bidask", instrument=pair.instrument)
    some = [i for i in range(len(bars)) if i % 11 != 5]
    thin_bars = tk.load_bars(
        bars.frame.iloc[some], symbol="EURJPY", timeframe="H1", price="bidask", instrument=bars.instrument
    )
    result = both(Bold(), thin_bars, tk.PaperAccount("USD", 30_000, leverage=140), conversion={"USDJPY": thin})
    assert len(result.trades) >= 15


def test_netting_account_books_one_strategy_as_a_hedging_account_does() -> None:
    """A strategy holds one position a symbol, so the mode changes nothing for it: backtest, live netting, live hedging."""
    bars = load("oanda_eurusd_h1_bidask_2007_2013", "EURUSD", 600, **SWAPS["points"])
    netting = both(EmaCross(), bars, tk.PaperAccount("USD", 10_000, mode="netting", commission_per_lot="3.5"))
    hedging = tk.backtest(EmaCross(), bars, account=tk.PaperAccount("USD", 10_000, commission_per_lot="3.5"))
    assert normalise_all(netting.trade_records) == normalise_all(hedging.trade_records)
    assert len(netting.trades) >= 10


def test_cross_converts_from_a_table_of_daily_rates() -> None:
    """EURGBP on a dollar account by the ECB's rates, which are known a day late."""
    bars = load("mt5_eurgbp_h1_bid_2012_2015", "EURGBP", 1_200, **SWAPS["points"])
    table = tk.load_rates(DATA / "ecb_daily_per_eur_2005_2026.parquet")
    result = both(EmaCross(), bars, tk.PaperAccount("USD", 10_000), conversion={"GBPUSD": table.pair("GBP", "USD")})
    assert len(result.trades) >= 15
    first = result.trade_records[0]
    move = (first["exit_price"] - first["entry_price"]) * (1 if first["side"] == "BUY" else -1)
    rate = table.rate("GBP", "USD", first["exit_time"]).decimal
    assert abs(first["profit"] - move * first["lots"] * 100_000 * rate) <= Decimal("0.01")


def test_a_sweep_and_walk_forward_charge_the_same_money() -> None:
    """Every set of a sweep ends where the backtest with its parameters ends, swap and stop-outs included."""
    bars = load("oanda_eurusd_h1_bidask_2007_2013", "EURUSD", 1_500, **SWAPS["percent"])
    account = tk.PaperAccount("USD", 4_000, leverage=140, stop_out_percent=100, day_end="New York + 7")
    found = tk.sweep(Bold, bars, account=account, grid={"n": [5, 20]}).results
    for n in (5, 20):
        stats = tk.backtest(Bold(n=n), bars, account=account).statistics
        row = found[found["n"] == n].iloc[0]
        assert (row["swap"], row["final_equity"], row["trades"]) == (
            stats["swap"], stats["final_equity"], stats["trades"],
        )  # fmt: skip
        assert stats["swap"] != 0


class HeavyLimits(LimitEntries):
    """Pending entries, at fills of which the margin may be missing."""

    def risk(self) -> Any:
        return tk.RiskPercent(40)


class HeavyParts(Partials):
    """Partial closes, which take their part of swap and margin with them."""

    def risk(self) -> Any:
        return tk.RiskPercent(40)


@pytest.mark.parametrize("strategy", [HeavyLimits(), HeavyParts()], ids=["limits", "parts"])
def test_managed_positions_pay_swap_and_are_stopped_out_alike(strategy: Any) -> None:
    """Pending entries and partial closes on an account short of margin, with a daily loss guard."""
    bars = load("oanda_eurusd_h1_bidask_2007_2013", "EURUSD", 600, **SWAPS["percent"])
    account = tk.PaperAccount("USD", 4_000, leverage=200, stop_out_percent=90, day_end="New York + 7")
    result = both(strategy, bars, account, guards=tk.Guards(daily_loss_percent=3))
    assert (result.trades.exit_reason == "stop_out").sum() >= 2
    assert (result.trades.swap != 0).sum() >= 3

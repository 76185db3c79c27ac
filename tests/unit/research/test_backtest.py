"""tk.backtest: what it refuses, what its result holds, and that every view tells the same story."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from toolkit.errors import BadInput, ConversionRateMissing
from toolkit.market import Bars
from toolkit.research.backtest import backtest
from toolkit.research.result import TRADE_COLUMNS
from toolkit.research.stats import DEFINITIONS
from toolkit.risk.guardrails import Guards
from toolkit.simulation.account import PaperAccount
from toolkit.strategy import RR, Exit, Lots, Partial, Pips, Protection, StrategySpec

ACCOUNT = PaperAccount("USD", 10_000, commission_per_lot="3.5")


@pytest.fixture(scope="module")
def result(ema_cross, year):
    return backtest(ema_cross(), year, account=ACCOUNT)


def test_trades_have_exactly_the_published_columns(result):
    """The columns of bt.trades are a contract, in this order."""
    assert tuple(result.trades.columns) == TRADE_COLUMNS
    assert len(result.trades) >= 100
    assert str(result.trades["entry_time"].dtype) == "datetime64[ns, UTC]"


def test_trade_rows_equal_the_frame(result):
    """The exact rows and the DataFrame are the same trades."""
    rows, frame = result.trade_rows(), result.trades
    for column in TRADE_COLUMNS:
        for row, value in zip(rows, frame[column], strict=True):
            assert (float(row[column]) if isinstance(row[column], Decimal) else row[column]) == value


def test_equity_starts_at_the_balance_and_ends_with_the_trades(result):
    """One value a bar; the end is the balance plus nets of all trades plus what is open."""
    rows = result.trade_rows()
    nets = sum(r["profit"] + r["commission"] + r["swap"] for r in rows)
    opened = result.open_position
    floating = Decimal(0) if opened is None else opened.profit + opened.commission
    assert result.equity.iloc[0] == 10_000.0
    assert len(result.equity) == len(result.bars)
    assert result.final_equity == Decimal(10_000) + nets + floating


def test_an_open_position_keeps_its_part_of_the_commission_after_a_partial(ema_cross, year):
    """What a partial take-profit has taken with it is not the open position's any more: the books still add up."""

    class Banked(ema_cross):
        def exit(self, x):
            return Exit()

        def protection(self, x):
            return Protection(stop_loss=Pips(40), partials=[Partial(at=RR(1), fraction="0.5")])

        def risk(self):
            return Lots(1)

    seen = 0
    for rows in range(120, 700, 20):
        run = backtest(Banked(), year[:rows], account=ACCOUNT)
        opened = run.open_position
        if opened is None or opened.lots == 1:
            continue
        seen += 1
        assert opened.commission == Decimal("-1.75")
        nets = sum(r["profit"] + r["commission"] + r["swap"] for r in run.trade_rows())
        assert run.final_equity == Decimal(10_000) + nets + opened.profit + opened.commission
    assert seen


def test_profit_of_every_trade_is_price_difference_times_size(result):
    """On an account in the quote currency profit needs no conversion: (exit - entry) x lots x 100,000."""
    for row in result.trade_rows():
        move = (row["exit_price"] - row["entry_price"]) * (1 if row["side"] == "BUY" else -1)
        assert row["profit"] == move * row["lots"] * 100_000
        assert row["commission"] == -2 * (row["lots"] * Decimal("3.5")).quantize(Decimal("0.01"), "ROUND_HALF_UP")


def test_statistics_follow_their_definitions(result):
    """Each headline number is recomputed here from trades and equity alone."""
    s, equity = result.statistics, result.equity
    net = result.trades[["profit", "commission", "swap"]].sum(axis=1)
    assert set(s) == set(DEFINITIONS)
    assert s["total_return"] == pytest.approx(equity.iloc[-1] / 10_000 - 1, rel=1e-12)
    assert s["win_rate"] == pytest.approx((net > 0).mean(), rel=1e-12)
    assert s["profit_factor"] == pytest.approx(net[net > 0].sum() / -net[net <= 0].sum(), rel=1e-9)
    assert s["expectancy"] == pytest.approx(net.mean(), rel=1e-9)
    peak = np.maximum.accumulate(np.maximum(equity.to_numpy(), 10_000))
    assert s["max_drawdown"] == pytest.approx(((peak - equity) / peak).max(), rel=1e-12)
    daily = equity.groupby(equity.index.floor("D")).last().to_numpy()
    change = np.diff(daily, prepend=10_000) / np.concatenate([[10_000], daily[:-1]])
    span = (equity.index[-1] - equity.index[0]).total_seconds() + 3600
    yearly = math.sqrt(len(daily) / (span / (365.25 * 86_400)))
    assert s["sharpe"] == pytest.approx(change.mean() / change.std(ddof=1) * yearly, rel=1e-9)
    below = np.minimum(change, 0)
    assert s["sortino"] == pytest.approx(change.mean() / np.sqrt((below**2).mean()) * yearly, rel=1e-9)
    assert list(result.stats.index[3:]) == list(DEFINITIONS)


def test_frame_holds_the_named_nodes(result):
    """bt.frame has prices, the strategy's own names and the decision byte, one row a bar."""
    assert list(result.frame.columns) == ["open", "high", "low", "close", "fast", "slow", "atr", "decision"]
    assert len(result.frame) == len(result.bars)


def test_a_spec_gives_the_same_result_as_its_strategy(result, ema_cross, year):
    """The stored form of a strategy trades like the class it was traced from."""
    spec = StrategySpec.from_json(StrategySpec.from_strategy(ema_cross()).to_json())
    again = backtest(spec, year, account=ACCOUNT)
    assert again.trade_rows() == result.trade_rows()
    assert np.array_equal(again.run.equity, result.run.equity)


def test_guards_deny_entries_and_say_so(ema_cross, year):
    """Denied entries are listed with time, side and the guard's name; exits are never denied."""
    guarded = backtest(ema_cross(), year, account=ACCOUNT, guards=Guards(cooldown_bars=12))
    assert {skip.reason for skip in guarded.denied} == {"guard_cooldown"}
    exits = guarded.trades["exit_time"].to_numpy()
    entries = guarded.trades["entry_time"].to_numpy()
    assert len(guarded.trades) > 10
    index = guarded.equity.index
    for leave, enter in zip(exits[:-1], entries[1:], strict=True):
        assert index.get_loc(enter) - index.get_loc(leave) > 12


def test_fill_at_close_enters_one_bar_earlier(ema_cross, year, result):
    """The comparison mode fills at the close quote of the signal bar and is labelled as such."""
    early = backtest(ema_cross(), year, account=ACCOUNT, fill_at="close")
    first, normal = early.trade_rows()[0], result.trade_rows()[0]
    bars = list(year.ts)
    assert bars.index(int(normal["entry_time"].timestamp()) * 10**9) == 1 + bars.index(
        int(first["entry_time"].timestamp()) * 10**9
    )
    assert "close of the signal bar" in repr(early)


def test_fixed_lots_without_stop_reverse_at_each_cross(reversing, year):
    """Without stops every exit is a reversal and the next trade opens where the last one closed."""
    rows = backtest(reversing(), year, account=ACCOUNT).trade_rows()
    assert {r["exit_reason"] for r in rows} == {"reverse"}
    assert all(a["exit_time"] == b["entry_time"] for a, b in pairwise(rows))


def test_yen_quote_converts_by_its_own_mid(make_bars, fixed_pips):
    """USDJPY on a USD account converts each profit at the mid of the close before the exit bar, by its own prices."""
    bars = make_bars(4000, seed=3, symbol="USDJPY", timeframe="H1", price=110_000)
    rows = backtest(fixed_pips(), bars, account=PaperAccount("USD", 10_000)).trade_rows()
    position = {int(t): i for i, t in enumerate(bars.ts)}
    assert len(rows) > 50
    for row in rows:
        i = position[int(row["exit_time"].timestamp()) * 10**9] - 1
        mid = Decimal(int(bars.bid_close[i]) + int(bars.ask_close[i])) / 2000
        yen = (row["exit_price"] - row["entry_price"]) * (1 if row["side"] == "BUY" else -1) * row["lots"] * 100_000
        assert row["profit"] == (yen / mid).quantize(Decimal("0.01"), "ROUND_HALF_UP")


def test_cross_converts_by_given_bars(make_bars, fixed_pips):
    """EURGBP on a USD account needs GBPUSD and uses its last close at or before each moment."""
    bars = make_bars(3000, seed=4, symbol="EURGBP", timeframe="H1", price=85_000)
    pair = make_bars(3000, seed=5, symbol="GBPUSD", timeframe="H1", price=150_000)
    with pytest.raises(ConversionRateMissing, match="rate from GBP to USD must be given by one pair"):
        backtest(fixed_pips(), bars, account=PaperAccount("USD", 10_000))
    rows = backtest(fixed_pips(), bars, account=PaperAccount("USD", 10_000), conversion={"GBPUSD": pair}).trade_rows()
    position = {int(t): i for i, t in enumerate(bars.ts)}
    for row in rows:
        i = position[int(row["exit_time"].timestamp()) * 10**9] - 1
        mid = Decimal(int(pair.bid_close[i]) + int(pair.ask_close[i])) / 200_000
        pounds = (row["exit_price"] - row["entry_price"]) * (1 if row["side"] == "BUY" else -1) * row["lots"] * 100_000
        assert row["profit"] == (pounds * mid).quantize(Decimal("0.01"), "ROUND_HALF_UP")


def test_conversion_that_starts_too_late_is_refused(make_bars, fixed_pips):
    """A bar that closes before the pair's first close has no rate; none is assumed."""
    bars = make_bars(300, symbol="EURGBP", price=85_000)
    pair = make_bars(300, symbol="GBPUSD", price=150_000)[50:]
    with pytest.raises(ConversionRateMissing, match="a close of GBPUSD at most 7 days old, was missing"):
        backtest(fixed_pips(), bars, account=ACCOUNT, conversion={"GBPUSD": pair})


def test_refusals_name_requirement_and_remedy(ema_cross, year, reversing):
    """Wrong bars, account, guards, fill or sizing are refused at the door."""

    class Tiny(reversing):
        def risk(self):
            return Lots(0.001)

    cases = [
        (lambda: backtest(ema_cross(), year.frame), "bars must be tk.Bars, was DataFrame: load them with tk.load_bars"),
        (lambda: backtest(ema_cross(), year[:1]), "bars must be at least 2 rows, was 1"),
        (lambda: backtest(ema_cross(), year, account=10_000), "account must be tk.PaperAccount, was int"),
        (lambda: backtest(ema_cross(), year, guards={}), "guards must be tk.Guards, was dict"),
        (lambda: backtest(ema_cross(), year, fill_at="now"), "fill_at must be 'next_open' or 'close', was 'now'"),
        (lambda: backtest(Tiny(), year), "lots of Tiny on EURUSD must be at least 0.01, was 0.001"),
        (lambda: backtest(ema_cross, year), r"write EmaCross\(\)"),
    ]
    for call, message in cases:
        with pytest.raises(BadInput, match=message):
            call()


def test_representation_is_prose(result):
    """A result prints what was run and what came out, in a shell and in a notebook."""
    for text in (repr(result), result._repr_html_()):
        assert "EmaCross(fast=12, slow=26, k=2.0)" in text
        assert "6,225 EURUSD H1" in text
        assert "max drawdown" in text


def test_portfolio_of_vectorbt_tells_the_same_story(result):
    """The vectorbt portfolio has the same trades and, at every bar close, the same value."""
    portfolio = result.portfolio
    assert int(portfolio.trades.count()) == len(result.trades)
    value = portfolio.value()
    last = value.groupby(value.index.floor("h")).last().to_numpy()
    assert np.abs(last - result.equity.to_numpy()).max() < 1e-6
    records = portfolio.trades.records
    assert records["pnl"].to_numpy() == pytest.approx(
        result.trades[["profit", "commission"]].sum(axis=1).to_numpy(), abs=1e-6
    )


def test_portfolio_refuses_an_unconverted_quote_currency(make_bars, fixed_pips):
    """vectorbt would count yen as dollars, so it is not asked."""
    bars = make_bars(300, symbol="USDJPY", price=110_000)
    with pytest.raises(
        BadInput, match=r"quote currency for bt\.portfolio must be the account currency USD, was USDJPY in JPY"
    ):
        _ = backtest(fixed_pips(), bars, account=ACCOUNT).portfolio


def test_result_does_not_depend_on_bars_after_the_decision(ema_cross, year):
    """Cutting the file leaves every trade that was closed before the cut as it was."""
    whole, cut = backtest(ema_cross(), year, account=ACCOUNT), backtest(ema_cross(), year[:3000], account=ACCOUNT)
    kept = cut.trade_rows()
    assert isinstance(year[:3000], Bars)
    assert len(kept) > 50
    assert whole.trade_rows()[: len(kept)] == kept

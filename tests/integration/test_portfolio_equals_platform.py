"""Several symbols on one equity: the backtest against the paper platform itself, driven by the same decisions."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.e2e.replay_files import DATA
from tests.plugins.live_support import EmaCross
from toolkit.clock import from_ns
from toolkit.errors import BadInput, StrategyError
from toolkit.execution.ports import ClientTag, ClosePosition, OpenOrder, OrderType, Outcome
from toolkit.market import Bars, Side
from toolkit.platforms.simulated.platform import SimulatedPlatform
from toolkit.simulation import rules
from toolkit.strategy.drivers.columnar import evaluate
from toolkit.strategy.spec import StrategySpec

pytestmark = [
    pytest.mark.skipif(not DATA.exists(), reason="the shared price files are not here"),
    pytest.mark.timeout(300),
]
TAG = ClientTag("q1portfolio", 1)


class Bold(EmaCross):
    """Much risk, so that margins and stop-outs meet across symbols."""

    def protection(self, x: Any) -> Any:
        return tk.Protection(stop_loss=12 * x.atr, take_profit=tk.RR(0.5))

    def risk(self) -> Any:
        return tk.RiskPercent(35)


class Spread(tk.SectionedStrategy):
    """Reads another symbol's prices beside its own."""

    def indicators(self, bars: Any) -> Any:
        return dict(other=bars["USDJPY"].close, own=bars.close, slow=tk.ema(bars["USDJPY"].close, 30))

    def entry(self, x: Any) -> Any:
        return tk.Entry(long=tk.crossed_above(x.other, x.slow), short=tk.crossed_below(x.other, x.slow))

    def protection(self, x: Any) -> Any:
        return tk.Protection(stop_loss=tk.Pips(40), take_profit=tk.RR(2))

    def risk(self) -> Any:
        return tk.RiskPercent(1)


def yen_pairs(rows: int, **facts: Any) -> dict[str, Bars]:
    """Three yen pairs on H1, each with hours missing of its own."""
    out = {}
    for k, symbol in enumerate(("USDJPY", "EURJPY", "GBPJPY")):
        instrument = replace(tk.find_instrument(symbol), **facts)
        path = DATA / f"mt5_{symbol.lower()}_h1_bid_2012_2015.parquet"
        bars = tk.load_bars(path, symbol=symbol, timeframe="H1", price="bid", instrument=instrument)[: rows + 40]
        keep = [i for i in range(len(bars)) if k == 0 or (i > 30 and i % (9 + k) != k)]
        thin = bars.frame.iloc[keep]
        out[symbol] = tk.load_bars(thin, symbol=symbol, timeframe="H1", price="bidask", instrument=instrument)
    return out


def on_platform(path: Path, strategy: Any, series: dict[str, Bars], account: Any) -> list[dict[str, Any]]:
    """Play the strategy's decisions at the paper platform: exits of all symbols, then entries, at every open."""
    spec = StrategySpec.from_strategy(strategy)
    ppm = int(spec.risk.percent * 10_000)  # type: ignore[union-attr]
    decided = {}
    for symbol, bars in series.items():
        decisions = evaluate(spec, {symbol: bars, **{s: b for s, b in series.items() if s != symbol}})
        stops = decisions.stop_points
        decided[symbol] = {
            int(bars.ts[i + 1]): (int(decisions.code[i]), int(stops[i] if len(stops) > 1 else stops[0]), decisions.rr)
            for i in range(len(bars) - 1)
            if decisions.code[i]
        }
    with SimulatedPlatform(path, account) as platform:
        for symbol, bars in series.items():
            platform.load_replay(symbol, bars)
        ledger, prices = platform.venue.ledger, platform.venue.prices
        for ns in np.unique(np.concatenate([b.ts for b in series.values()])).tolist():
            platform.advance_clock_to(from_ns(ns))
            due = {s: d[ns] for s, d in decided.items() if ns in d}
            for symbol, (code, _, _) in due.items():
                for held in ledger.held(symbol):
                    reason = rules.exit_reason(held.sign, code)
                    if reason:
                        close = ClosePosition(TAG, str(held.position_id), None, reason=rules.EXIT_REASONS[reason])
                        assert platform.send(close).outcome is Outcome.DONE
            for symbol, (code, stop, rr) in due.items():
                sign = rules.entry_side(code)
                if not sign or ledger.held(symbol):
                    continue
                bid, ask, _ = prices.quote(symbol, ns)  # type: ignore[misc]
                quote, facts = rules.entry_quote(sign, bid, ask), series[symbol].instrument
                target = rules.target_points_from_rr(rr or 0.0, stop)
                if rules.entry_refusal(sign, quote, ask - bid, stop, True, target):
                    continue
                steps, _, reason = rules.lots_for_risk(
                    ledger.equity(ns), ppm, stop, *prices.point_value(symbol, ns), facts.min_steps, facts.max_steps
                )
                if reason:
                    continue
                levels = rules.protection_levels(sign, quote, stop, target)
                side = Side.BUY if sign > 0 else Side.SELL
                order = OpenOrder(
                    TAG, symbol, side, OrderType.MARKET, facts.lots(steps), None, *(facts.price(p) for p in levels)
                )
                answer = platform.send(order)
                assert answer.outcome is Outcome.DONE or answer.code == "NO_MONEY"
        platform.advance_clock_to(from_ns(max(int(b.ts[-1]) for b in series.values()) + 3_600 * 10**9))
        deals = platform.deals_after(None)
    opened = {d.position_id: d for d in deals if d.entry == "in"}
    return [
        {
            "symbol": d.symbol,
            "side": opened[d.position_id].side.value,
            "lots": d.lots,
            "entry_time": opened[d.position_id].at,
            "entry_price": opened[d.position_id].price,
            "exit_time": d.at,
            "exit_price": d.price,
            "exit_reason": d.reason,
            "profit": d.profit,
            "commission": d.commission + opened[d.position_id].commission,
            "swap": d.swap,
        }
        for d in deals
        if d.entry == "out"
    ]


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda r: (r["exit_time"], r["symbol"], r["entry_time"]))


@pytest.mark.parametrize("strategy", [EmaCross(), Bold()], ids=["ema_cross", "bold"])
def test_three_symbols_make_the_trades_the_platform_makes(tmp_path: Path, strategy: Any) -> None:
    """Every column of every trade, with commission, swap, margin, stop-outs and conversion from a traded symbol."""
    series = yen_pairs(900, swap_mode="points", swap_long="-4.1", swap_short="1.3")
    account = tk.PaperAccount(
        "USD", 20_000, leverage=35, commission_per_lot="3.5", day_end="Europe/Athens", stop_out_percent=100
    )
    result = tk.backtest(strategy, series, account=account)
    expected = on_platform(tmp_path / "v.sqlite", strategy, series, account)
    assert ordered(result.trade_records) == ordered(expected)
    assert len(expected) >= 30
    assert {row["symbol"] for row in expected} == set(series)
    if isinstance(strategy, Bold):
        assert any(row["exit_reason"] == "stop_out" for row in expected)
        assert any(skip.reason == "insufficient_margin" for skip in result.skipped)


def test_one_symbol_in_a_mapping_is_the_plain_backtest() -> None:
    """Trades, equity and statistics are equal, number by number."""
    bars = yen_pairs(900)["USDJPY"]
    account = tk.PaperAccount("USD", 10_000, commission_per_lot="3.5", slippage_points=2)
    guards = tk.Guards(daily_loss_percent=Decimal("0.5"), cooldown_bars=3)
    one = tk.backtest(EmaCross(), bars, account=account, guards=guards)
    many = tk.backtest(EmaCross(), {"USDJPY": bars}, account=account, guards=guards)
    assert many.trade_records == one.trade_records
    assert many.equity.tolist() == one.equity.tolist()
    assert many.statistics == one.statistics
    assert [s.reason for s in many.denied] == [s.reason for s in one.denied]


def test_equity_of_several_symbols_is_the_balance_and_all_open_profit() -> None:
    """The last equity is the balance of the closed trades, the entry costs and the marked open positions."""
    result = tk.backtest(EmaCross(), yen_pairs(900), account=tk.PaperAccount("USD", 20_000, commission_per_lot=2))
    booked = sum(row["profit"] + row["commission"] + row["swap"] for row in result.trade_records)
    marked = sum(p.profit + p.commission for p in result.open_positions)
    assert result.final_equity == Decimal(20_000) + booked + marked
    assert "GBPJPY" in repr(result)
    assert result.stats["trades"] == len(result.trades)


def test_another_symbols_prices_are_those_of_its_last_closed_bar() -> None:
    """A decision on one symbol reads the other's close at or before its own, never a later one."""
    series = yen_pairs(600)
    spec = StrategySpec.from_strategy(Spread())
    main, other = series["EURJPY"], series["USDJPY"]
    frame = evaluate(spec, {"EURJPY": main, "USDJPY": other}, frame=True).frame
    assert frame is not None
    row = {int(ts): i for i, ts in enumerate(other.ts)}
    for i in range(0, len(main), 37):
        earlier = [row[t] for t in row if t <= int(main.ts[i])]
        assert frame["other"][i] == other.close[max(earlier)]
    result = tk.backtest(Spread(), series, account=tk.PaperAccount("USD", 10_000))
    assert {r["symbol"] for r in result.trade_records} == set(series)


def test_what_several_symbols_cannot_do_is_refused() -> None:
    """Missing bars, mixed timeframes, overlapping bars and fills at the close name what is wrong."""
    series = yen_pairs(200)
    with pytest.raises(StrategyError, match="USDJPY"):
        tk.backtest(Spread(), {"EURJPY": series["EURJPY"]}, account=tk.PaperAccount("JPY", 10_000))
    with pytest.raises(BadInput, match="fill_at of several symbols"):
        tk.backtest(EmaCross(), series, fill_at="close")
    with pytest.raises(BadInput, match="bars of EURUSD"):
        tk.backtest(EmaCross(), {"EURUSD": series["EURJPY"]})

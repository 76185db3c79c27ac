"""Cases where a shortcut of the engines could differ from the rule: equal windows, money below the floor, gaps, choices."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from toolkit.errors import BadInput
from toolkit.market import Bars, find_instrument
from toolkit.research.sweeps.sweep import guided_search
from toolkit.research.validation.trial_count import not_counted

_START_NS = 1_600_041_600 * 1_000_000_000  # Monday 2020-09-14 00:00 UTC


def hours(symbol: str, rows: list[tuple[int, int, int, int]], spread: int, **facts: Any) -> Bars:
    """Return H1 bars of bid points."""
    a = np.array(rows, np.int64)
    columns = {f"bid_{n}": a[:, i] for i, n in enumerate(("open", "high", "low", "close"))}
    columns |= {f"ask_{n}": a[:, i] + spread for i, n in enumerate(("open", "high", "low", "close"))}
    ts = _START_NS + np.arange(len(a)) * 3_600_000_000_000
    return Bars.from_arrays(symbol, "H1", ts, instrument=replace(find_instrument(symbol), **facts), **columns)


class Averages(tk.SectionedStrategy):
    """Two averages that may be one and the same."""

    fast = tk.Int(12, 5, 50)
    slow = tk.Int(26, 5, 200)

    def indicators(self, bars: Any) -> dict[str, Any]:
        """Both averages."""
        return {"fast": tk.ema(bars.close, self.fast), "slow": tk.ema(bars.close, self.slow)}

    def entry(self, x: Any) -> Any:
        """On a cross."""
        return tk.Entry(long=tk.crossed_above(x.fast, x.slow))

    def protection(self, x: Any) -> Any:
        """Twenty pips."""
        return tk.Protection(stop_loss=tk.Pips(20), take_profit=tk.RR(2))

    def risk(self) -> Any:
        """One percent."""
        return tk.RiskPercent(1)


def test_two_averages_of_one_window_never_cross() -> None:
    """Equal windows share a column; the backtest, the frame and the first set of a sweep all find it."""
    bars = tk.sample_bars("EURUSD", "H1")[:1000]
    with not_counted():
        result = tk.backtest(Averages(fast=20, slow=20), bars)
        swept = tk.sweep(Averages, bars, grid={"fast": [20], "slow": [20]}, progress=False)
    assert len(result.trades) == 0
    frame = result.frame
    assert frame["fast"].equals(frame["slow"].rename("fast")) or (frame["fast"] == frame["slow"]).iloc[30:].all()
    assert swept.results["trades"].tolist() == [0]


class Long(tk.SectionedStrategy):
    """One long at the first bar, without a stop."""

    def indicators(self, bars: Any) -> dict[str, Any]:
        """The close."""
        return {"close": bars.close}

    def entry(self, x: Any) -> Any:
        """At 100."""
        return tk.Entry(long=(x.close > 99.9995) & (x.close < 100.0005))

    def protection(self, x: Any) -> Any:
        """None."""
        return tk.Protection(stop_loss=None)

    def risk(self) -> Any:
        """Nearly all that the margin allows."""
        return tk.Lots(Decimal("2.9"))


def test_a_stop_out_does_not_depend_on_later_bars() -> None:
    """With the balance below the floor after a night's swap, the stop-out comes where it is due, whatever follows."""
    e = 100_000
    due = [(e, e, e, e), (e + 5,) * 4, *[(e + 2000,) * 4] * 25, (e + 60, e + 60, e + 25, e + 50), *[(e + 50,) * 4] * 3]
    later = [*[(e + 50,) * 4] * 2, *[(50_000,) * 4] * 2]
    account = tk.PaperAccount("USD", 10_000, leverage=30, stop_out_percent=100)
    ends = []
    for rows in (due, due + later):
        bars = hours("USDJPY", rows, 1, swap_mode="points", swap_long=Decimal(-150))
        with not_counted():
            result = tk.backtest(Long(), bars, account=account)
        (trade,) = result.trades.to_dict("records")
        assert trade["exit_reason"] == "stop_out"
        ends.append((trade["exit_time"], trade["exit_price"], result.final_equity))
    assert ends[0] == ends[1]


class Gapped(tk.SectionedStrategy):
    """A buy stop whose fill gaps beyond its target."""

    def indicators(self, bars: Any) -> dict[str, Any]:
        """The close."""
        return {"close": bars.close}

    def entry(self, x: Any) -> Any:
        """Twenty pips above."""
        at = (x.close > 1.0999) & (x.close < 1.1001)
        return tk.Entry(long=at, order=tk.StopEntry(long=x.close + 0.0020, bars=5))

    def protection(self, x: Any) -> Any:
        """Twenty pips either way."""
        return tk.Protection(stop_loss=tk.Pips(20), take_profit=tk.Pips(20))

    def risk(self) -> Any:
        """A tenth of a lot."""
        return tk.Lots(Decimal("0.1"))


def test_a_target_the_fill_has_already_passed_is_left_at_the_open_quote() -> None:
    """A price between the target and the open was never to be had: the bid of the open is."""
    p = 110_000
    rows = [(p,) * 4, (p + 50, p + 60, p + 40, p + 50), (p + 500, p + 520, p + 480, p + 510), *[(p + 510,) * 4] * 2]
    with not_counted():
        (trade,) = tk.backtest(Gapped(), hours("EURUSD", rows, 10)).trades.to_dict("records")
    assert (trade["entry_price"], trade["exit_price"]) == (1.1051, 1.105)


class Kinds(Averages):
    """An average by choice."""

    kind = tk.Choice("ema", ["ema", "sma"])

    def indicators(self, bars: Any) -> dict[str, Any]:
        """The chosen average, and the close."""
        average = tk.ema if self.kind == "ema" else tk.sma
        return {"fast": bars.close, "slow": average(bars.close, self.fast)}


def test_guided_search_names_the_choice_it_tried() -> None:
    """Every row's figures are those of a single backtest of the row's own parameters."""
    bars = tk.sample_bars("EURUSD", "H1")[:1000]
    with not_counted():
        found = guided_search(Kinds, bars, grid={"kind": ["ema", "sma"], "fast": [10, 20]}, trials=16, progress=False)
        for row in found.results.to_dict("records"):
            single = tk.backtest(Kinds(kind=row["kind"], fast=int(row["fast"])), bars)
            assert single.statistics["sharpe"] == row["sharpe"]
            assert single.statistics["trades"] == row["trades"]
    assert set(found.results["kind"]) == {"ema", "sma"}


def test_a_sweep_is_not_resumed_under_other_contract_facts() -> None:
    """The same prices with another swap are another run."""
    bars = tk.sample_bars("EURUSD", "H1")[:500]
    with not_counted():
        earlier = tk.sweep(Averages, bars, grid={"fast": [10]}, progress=False)
        charged = replace(bars, instrument=replace(bars.instrument, swap_mode="points", swap_long=Decimal(-50)))
        with pytest.raises(BadInput, match="resume"):
            tk.sweep(Averages, charged, grid={"fast": [10, 12]}, progress=False, resume=earlier)

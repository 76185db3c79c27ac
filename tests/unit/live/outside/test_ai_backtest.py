"""A backtest of AI signals: asked where the rule holds, each question once, repeatable, and equal to the live path."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import Sea
from toolkit.ai_backtest import AiBacktest
from toolkit.clock import from_ns
from toolkit.errors import BadInput, NotFound, RequestError
from toolkit.live.outside.ai import execute_ai_trade
from toolkit.market import Bars
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.store.sql.models import Trade

ACCOUNT = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)


def rule(bars: Any) -> dict[str, Any]:
    """Ask where the market is stretched."""
    rsi = tk.rsi(bars.close, 14)
    return {"rsi": rsi, "ask": (rsi < 32) | (rsi > 68)}


class Model:
    """Answers against the stretch; counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, question: tk.AiQuestion) -> dict[str, Any] | None:
        self.calls += 1
        close = Decimal(question.bar["close"])
        if self.calls % 7 == 0:
            return None
        buys = question.values["rsi"] < 50
        away = Decimal("0.0031") if buys else Decimal("-0.0031")
        return {"direction": "BUY" if buys else "SELL", "stop_loss": close - away, "take_profit": close + 2 * away}


def go(ask: Any, bars: Bars, cache: Path, **changed: Any) -> AiBacktest:
    """Run the backtest of these tests."""
    given: dict[str, Any] = {"rule": rule, "risk_percent": "0.5", "account": ACCOUNT, **changed}
    return tk.backtest_ai(ask, bars, cache=tk.AiCache(cache, source="oracle", model="m-7"), **given)


def test_ai_signal_backtest_is_repeatable_without_asking_again(tmp_path: Path, some_bars: Bars) -> None:
    """The second run asks nothing and makes the same trades, even when the model would say something else by now."""
    model = Model()
    first = go(model, some_bars, tmp_path / "oracle.jsonl")
    assert first.asked == model.calls == len(first.decisions) > 20 and len(first.result.trade_records) > 5
    again = go(lambda _: None, some_bars, tmp_path / "oracle.jsonl")
    assert (again.asked, again.from_cache) == (0, first.asked)
    assert again.result.trade_records == first.result.trade_records and again.decisions == first.decisions
    assert go(None, some_bars, tmp_path / "oracle.jsonl").result.final_equity == first.result.final_equity


def test_ai_signal_backtest_asks_only_where_the_rule_holds(tmp_path: Path, some_bars: Bars) -> None:
    """Every question is of a bar on which the condition was true, with the rule's values; the last bar asks nothing."""
    values = tk.compute(some_bars, rule)
    wanted = [int(some_bars.ts[i]) for i in range(len(some_bars) - 1) if values["ask"][i] == 2]
    found = go(Model(), some_bars, tmp_path / "o.jsonl")
    assert [d.bar_time for d in found.decisions] == [from_ns(ts) for ts in wanted]
    kept = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    row = int(some_bars.ts.searchsorted(wanted[0]))
    assert float(kept[0]["question"]["values"]["rsi"]) == values["rsi"][row]


def test_ai_signal_that_is_not_kept_is_an_error_when_nobody_is_asked(tmp_path: Path, some_bars: Bars) -> None:
    """Without a model, a missing answer is named by its bar; another model's answers do not count."""
    go(Model(), some_bars[:300], tmp_path / "o.jsonl")
    with pytest.raises(NotFound, match="answer of oracle to the bar of 2017-"):
        go(None, some_bars, tmp_path / "o.jsonl")
    other = tk.AiCache(tmp_path / "o.jsonl", source="oracle", model="m-8")
    with pytest.raises(NotFound):
        tk.backtest_ai(None, some_bars[:300], rule=rule, cache=other, risk_percent=1)


def test_restart_after_a_cut_line_asks_that_question_again(tmp_path: Path, some_bars: Bars) -> None:
    """A file that a kill cut in the middle of a line loses that answer only."""
    path = tmp_path / "o.jsonl"
    first = go(Model(), some_bars[:400], path)
    path.write_bytes(path.read_bytes()[:-40])
    model = Model()
    again = go(model, some_bars[:400], path)
    assert (model.calls, again.from_cache) == (1, first.asked - 1)
    assert go(None, some_bars[:400], path).asked == 0


def test_ai_signal_rules_hold_in_the_backtest(tmp_path: Path, some_bars: Bars) -> None:
    """What live would refuse is refused with the same words, and opens no trade."""

    def unsure(question: tk.AiQuestion) -> dict[str, Any] | None:
        return {**(Model()(question) or {}), "confidence": "0.2"}

    found = go(unsure, some_bars[:300], tmp_path / "o.jsonl", rules=tk.AiRules(min_confidence=Decimal("0.5")))
    assert found.result.trade_records == []
    assert all("confidence must be at least 0.5" in d.refused for d in found.decisions)
    riskier = go(lambda q: {**(Model()(q) or {}), "risk_percent": "1"}, some_bars[:300], tmp_path / "p.jsonl")
    assert all("risk_percent must be 0.5" in d.refused for d in riskier.decisions)


def test_ai_signal_answers_and_rules_that_are_wrong_are_refused(tmp_path: Path, some_bars: Bars) -> None:
    """An answer that is no signal is not kept; a rule without its condition, or with a number for it, is refused."""
    with pytest.raises(RequestError, match="direction"):
        go(lambda _: {"direction": "UP", "stop_loss": "1"}, some_bars[:300], tmp_path / "o.jsonl")
    assert len(tk.AiCache(tmp_path / "o.jsonl", source="oracle", model="m-7")) == 0
    with pytest.raises(BadInput, match="'ask'"):
        go(Model(), some_bars, tmp_path / "o.jsonl", rule=lambda b: {"rsi": tk.rsi(b.close, 14)})
    with pytest.raises(BadInput, match="a condition"):
        go(Model(), some_bars, tmp_path / "o.jsonl", rule=lambda b: {"ask": tk.rsi(b.close, 14)})


def test_ai_signals_carried_out_on_a_paper_account_are_the_backtest(sea: Sea, tmp_path: Path, some_bars: Bars) -> None:
    """The kept answers, executed one by one at the open they act at, make the trades of the backtest to the cent."""
    found = go(Model(), some_bars, tmp_path / "o.jsonl")
    account = sea.account()
    desk: Any = sea.engine.desk(account.account_id)
    desk.platform.load_replay("EURUSD", some_bars)
    expected = normalise_all(found.result.trade_records)
    opens = {t["entry_time"] for t in expected}
    for decision in found.decisions:
        row = int(some_bars.ts.searchsorted(int(decision.bar_time.timestamp()) * 10**9)) + 1
        moment = from_ns(int(some_bars.ts[row]))
        if moment not in opens or decision.signal is None:
            continue
        desk.platform.advance_clock_to(moment)
        desk.service.sync_book()
        signal = decision.signal.model_copy(update={"expires_at": sea.engine.now().replace(year=2100)})
        done = execute_ai_trade(sea.engine, sea.engine.principal, signal, account="paper-1")
        assert done.state.value == "FILLED", done.reason
    desk.platform.advance_clock_to(from_ns(int(some_bars.ts[-1])))
    desk.service.sync_book()
    with sea.engine.work(write=False) as work:
        rows = work.connection.execute(
            select(Trade.__table__).where(Trade.status == "closed").order_by(Trade.entry_time)
        )
        live = normalise_all([row._asdict() for row in rows])
    # Signals carried out one by one close nothing: up to the backtest's first reversal both do the same.
    same = next((i for i, t in enumerate(expected) if "reverse" in t["exit_reason"]), len(expected))
    assert same > 10
    assert first_difference(expected[:same], live[:same]) is None

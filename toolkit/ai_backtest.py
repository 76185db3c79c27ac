"""``tk.backtest_ai``: an AI's signals over recorded bars, asked only where a rule holds, and each question once for ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from toolkit.clock import from_ns
from toolkit.errors import RequestError, must_be
from toolkit.live.outside.ai import AiRules, AiSignal, check_signal
from toolkit.live.outside.ai_cache import AiCache, AiQuestion, Ask
from toolkit.market import Bars
from toolkit.research.decided import Decided, backtest_decided, gate_spec, gated_rows
from toolkit.research.result import BacktestResult
from toolkit.research.setup import prepare
from toolkit.risk.guardrails import Guards
from toolkit.simulation.account import PaperAccount

_VALID = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class AiDecision:
    """What came of one question: the signal, or nothing, and why it was not carried out, if it was not."""

    bar_time: datetime
    signal: AiSignal | None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class AiBacktest:
    """A backtest of an AI's signals.

    Attributes
    ----------
    result
        As of ``tk.backtest``: trades, equity, stats, plots.
    decisions
        One for each bar on which the rule held.
    asked, from_cache
        How many answers were asked for now, how many were kept before.
    """

    result: BacktestResult
    decisions: tuple[AiDecision, ...]
    asked: int
    from_cache: int

    @property
    def trades(self) -> Any:
        """Closed trades as a DataFrame."""
        return self.result.trades

    @property
    def equity(self) -> Any:
        """Equity at the close of each bar."""
        return self.result.equity

    @property
    def stats(self) -> Any:
        """Statistics of the run."""
        return self.result.stats

    def __repr__(self) -> str:
        signals = sum(d.signal is not None for d in self.decisions)
        refused = sum(bool(d.refused) for d in self.decisions)
        return (
            f"AiBacktest({len(self.decisions)} questions, {signals} signals, {refused} refused, "
            f"{self.asked} asked now, {self.from_cache} from the cache; {self.result!r})"
        )


def backtest_ai(
    ask: Ask | None,
    bars: Bars,
    *,
    rule: Callable[[Any], Mapping[str, Any]],
    cache: AiCache,
    risk_percent: Decimal | float | str,
    rules: AiRules | None = None,
    account: PaperAccount | None = None,
    guards: Guards | None = None,
    conversion: Mapping[str, Bars] | None = None,
) -> AiBacktest:
    """Ask an AI at the bars where a rule holds, and run its signals under the fill rules of every backtest.

    The answers are kept, so running it again asks nothing and makes the same trades, whatever the model would say today.

    Parameters
    ----------
    ask
        Takes an `AiQuestion`, returns an `AiSignal`, its fields as a mapping, or None for no trade. None: nobody is asked,
        and a question that is not kept is an error.
    rule
        Takes the symbol of the bars, returns named values; the condition named ``ask`` says where to ask, the others are
        told to the AI: ``lambda b: dict(rsi=tk.rsi(b.close, 14), ask=tk.rsi(b.close, 14) < 30)``.
    cache
        Where answers are kept: ``tk.AiCache("oracle.jsonl", source="oracle", model="m-7")``.
    risk_percent
        Size of every trade; an answer that says another is refused.
    rules
        As live: confidence, symbols, largest risk; expiry counts from the next bar's open.

    Raises
    ------
    NotFound
        When an answer is missing and nobody is to be asked.
    RequestError
        When an answer is no signal.
    """
    risk = Decimal(str(risk_percent))
    limits = rules or AiRules()
    setup = prepare(bars, account, guards, "next_open", conversion)
    spec = gate_spec(f"AI {cache.source}".replace(" ", "_"), rule, risk)
    rows, columns = gated_rows(spec, bars)
    decisions: list[AiDecision] = []
    entries: list[Decided] = []
    at: dict[int, int] = {}
    asked = 0
    for row in rows:
        question = _question(bars, row, columns)
        answer = cache.answer(question, ask, {"risk_percent": risk, "expires_at": question.acts_at + _VALID})
        asked += answer.asked
        signal = answer.signal
        refused = "" if signal is None else _refusal(signal, limits, question.acts_at, risk)
        at[row] = len(decisions)
        decisions.append(AiDecision(question.bar_time, signal, refused))
        if signal is not None and signal.stop_loss is not None and not refused:
            entries.append(Decided(row, signal.direction, signal.stop_loss, signal.take_profit))
    result, late = backtest_decided(spec, setup, entries)
    for gone in late:
        before = decisions[at[gone.row]]
        decisions[at[gone.row]] = AiDecision(before.bar_time, before.signal, gone.reason)
    return AiBacktest(result, tuple(decisions), asked, len(rows) - asked)


def _question(bars: Bars, row: int, columns: Mapping[str, list[Any]]) -> AiQuestion:
    price = bars.instrument.price
    prices = {part: str(price(int(bars.columns[f"bid_{part}"][row]))) for part in ("open", "high", "low", "close")}
    values = {name: _known(column[row]) for name, column in columns.items() if name != "ask"}
    acts = from_ns(int(bars.ts[row + 1]))
    return AiQuestion(bars.symbol, str(bars.timeframe), from_ns(int(bars.ts[row])), acts, prices, values)


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def _refusal(signal: AiSignal, rules: AiRules, moment: datetime, risk: Decimal) -> str:
    try:
        check_signal(signal, rules, moment)
        if signal.risk_percent != risk:
            raise RequestError(
                must_be("risk_percent", f"{risk}, as in the backtest", signal.risk_percent, "leave it out")
            )
        if signal.stop_loss is None:
            raise RequestError(must_be("stop_loss", "given", "missing", "say where the trade is wrong"))
        if signal.order_type.value != "MARKET":
            raise RequestError(
                must_be("order_type", "MARKET in a backtest", signal.order_type.value, "enter at market")
            )
    except RequestError as error:
        return str(error)
    return ""

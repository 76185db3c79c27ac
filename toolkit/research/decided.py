"""A backtest of decisions that were made elsewhere: the same loop, the same fills, with prices instead of expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from toolkit.errors import BadInput, must_be
from toolkit.market import Bars, Side
from toolkit.research.result import BacktestResult
from toolkit.research.setup import Setup, terms_of
from toolkit.risk.rounding import whole_pips_up
from toolkit.simulation.rules import OUTSIDE_HOURS
from toolkit.simulation.run import Plan, run_loop
from toolkit.strategy.authoring.sectioned import SectionedStrategy
from toolkit.strategy.authoring.sections import Entry, Pips, Protection, RiskPercent
from toolkit.strategy.drivers.columnar import evaluate
from toolkit.strategy.spec import StrategySpec

GATE = "ask"


@dataclass(frozen=True, slots=True)
class Decided:
    """An entry decided on the closed bar of a row, carried out at the next open; prices are absolute."""

    row: int
    side: Side
    stop_loss: Decimal
    take_profit: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that cannot be made at its open, and why."""

    row: int
    reason: str


def gate_spec(name: str, rule: Callable[[Any], Mapping[str, Any]], risk_percent: Decimal) -> StrategySpec:
    """Return the spec that holds a rule: named values, of which the condition ``ask`` says on which bars to ask."""

    class Gate(SectionedStrategy):
        """Asks on the bars where its rule holds."""

        def indicators(self, bars: Any) -> Mapping[str, Any]:
            return rule(bars)

        def entry(self, x: Any) -> Entry:
            return Entry(long=False)

        def protection(self, x: Any) -> Protection:
            return Protection(stop_loss=Pips(1))

        def risk(self) -> RiskPercent:
            return RiskPercent(risk_percent)

    Gate.__name__ = Gate.__qualname__ = name
    spec = Gate().to_spec()
    if GATE not in spec.named:
        known = ", ".join(spec.named) or "nothing"
        raise BadInput(must_be("rule", f"naming a condition {GATE!r}", known, "return dict(ask=condition, ...)"))
    return spec


def gated_rows(spec: StrategySpec, bars: Bars) -> tuple[list[int], dict[str, list[Any]]]:
    """Return the rows on which the rule holds (the last bar decides nothing) and the named values as plain columns."""
    frame = evaluate(spec, bars, frame=True).frame or {}
    columns = {name: column.tolist() for name, column in frame.items()}
    if frame[GATE].dtype.kind == "f":
        raise BadInput(must_be(f"value {GATE!r} of the rule", "a condition", "a number", "compare it with something"))
    rows = np.flatnonzero(frame[GATE][: len(bars) - 1] == 2)
    return [int(row) for row in rows], columns


def backtest_decided(
    spec: StrategySpec, setup: Setup, decided: Iterable[Decided]
) -> tuple[BacktestResult, list[Refused]]:
    """Run decisions over the bars of a setup, as the live builder would carry them out at the next open's quote.

    A stop is placed at its distance from that quote, rounded up to whole pips; a stop or target that the open has passed
    is refused.
    """
    bars, facts = setup.bars, setup.bars.instrument
    n = len(bars)
    code = np.zeros(n, np.uint8)
    stops, targets = np.zeros(n, np.int32), np.zeros(n, np.int32)
    refused: list[Refused] = []
    wanted = list(decided)
    with_target = sum(entry.take_profit is not None for entry in wanted)
    if with_target not in (0, len(wanted)):
        was = f"{with_target} of {len(wanted)} with one"
        raise BadInput(must_be("targets of the decisions", "in all of them or in none", was, "give each a target"))
    for entry in wanted:
        side, row = entry.side, entry.row
        open_points = int((bars.ask_open if side is Side.BUY else bars.bid_open)[row + 1])
        distance = (open_points - facts.to_points(entry.stop_loss)) * side.sign
        reach = 0
        if entry.take_profit is not None:
            reach = (facts.to_points(entry.take_profit) - open_points) * side.sign
        if distance <= 0 or (entry.take_profit is not None and reach <= 0):
            what = "stop" if distance <= 0 else "target"
            refused.append(Refused(row, f"the open at {facts.price(open_points)} has passed the {what}"))
            continue
        code[row] = 1 if side is Side.BUY else 2
        stops[row] = whole_pips_up(distance, facts.points_per_pip)
        targets[row] = reach
    if setup.outside_hours is not None:
        code = np.where(setup.outside_hours, code | OUTSIDE_HOURS, code).astype(np.uint8)
    plan = Plan(code, stops, targets if with_target else None)
    return BacktestResult(spec, setup, run_loop(setup.prices, plan, terms_of(setup, spec, True))), refused

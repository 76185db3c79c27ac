"""From the decisions of one moment to intents: exits of all symbols first, then entries, each in the declared order.

Each symbol is planned by the functions that plan a run on one symbol (`toolkit.live.stepping.decide`). An entry is sized
once more when it is claimed, after those before it were filled, so it is made on the equity they left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from toolkit.execution.principal import Principal
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.commit import Step, commit_step, load_positions
from toolkit.live.stepping.decide import Moment, Orders, Skip, carry_out
from toolkit.live.stepping.program import Hot
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.reverse import after_delivery
from toolkit.live.stepping.run_book import Positions
from toolkit.live.stepping.run_state import Waiting
from toolkit.market import Side
from toolkit.simulation import rules
from toolkit.store.runs import RunRecord

MomentOf = Callable[[Positions, Waiting], Moment]


def plan_moment(
    hot: Hot,
    run: RunRecord,
    positions: Positions,
    decisions: Iterable[Waiting],
    moment_of: MomentOf,
    principal: Principal,
) -> tuple[Orders, tuple[Waiting, ...]]:
    """Plan the exits of a moment, or its entries where there is no exit; return also the entries that wait for exits."""
    exits, entries = Orders(), []
    for decision in decisions:
        held = positions.of(decision.symbol)
        if held.one is None:
            if rules.entry_side(decision.code) != 0:
                entries.append(decision)
            continue
        found = _of_symbol(hot, run, held, decision, moment_of(positions, decision), principal)
        exits.intents += found.intents
        if found.then_enter:
            entries.append(decision)
    if exits.intents:
        return exits, tuple(entries)
    return enter_all(hot, run, positions, entries, moment_of, principal), ()


def enter_all(
    hot: Hot,
    run: RunRecord,
    positions: Positions,
    entries: Iterable[Waiting],
    moment_of: MomentOf,
    principal: Principal,
    why_not: str = "",
) -> Orders:
    """Plan entries in their order, or note why one is not made."""
    orders = Orders()
    for decision in entries:
        held = positions.of(decision.symbol)
        if held.one is not None or why_not:
            side = Side.BUY if rules.entry_side(decision.code) > 0 else Side.SELL
            why = why_not or "its exit is not filled"
            orders.skips.append(Skip(side, "exit_not_filled", f"{side.value} {decision.symbol} was not entered: {why}"))
            continue
        found = _of_symbol(hot, run, held, decision, moment_of(positions, decision), principal)
        orders.intents += found.intents
        orders.skips += found.skips
    return orders


def _of_symbol(
    hot: Hot, run: RunRecord, held: Positions, decision: Waiting, moment: Moment, principal: Principal
) -> Orders:
    symbol = decision.symbol
    return carry_out(hot.program.of(symbol), run.seen_as(symbol), held, decision, moment, principal)


def enter_after_exits(engine: Engine, desk: Desk, run: RunRecord, hot: Hot, moment_of: MomentOf) -> Progress:
    """Make the entries of a moment once its exits are filled; keep waiting while an exit is on its way."""
    left = after_delivery(engine, desk, run)
    if left is None:
        return Progress(run.status, waiting="delivery")
    positions = load_positions(engine, desk, run, hot)
    entries, hot.state = hot.state.entries, replace(hot.state, entries=())
    why_not = "an exit of this moment waits" if left.waiting else ""
    why_not = why_not or ("the answer to an exit of this moment is unknown" if left else "")
    step = Step(market_time=desk.platform.now())
    step.orders = enter_all(hot, run, positions, entries, moment_of, engine.service, why_not)
    commit_step(engine, run, hot, positions, step)
    if step.orders.intents:
        desk.gateway.deliver(run.account_id)
    return Progress(run.status, orders=len(step.orders.intents))


def commit_moment(
    engine: Engine,
    desk: Desk,
    run: RunRecord,
    hot: Hot,
    positions: Positions,
    step: Step,
    entries: tuple[Waiting, ...],
    moment_of: MomentOf,
) -> Progress:
    """Keep a moment's plan, deliver it, and go on with the entries that waited for its exits."""
    if entries and run.stage != "shadow":
        hot.state = replace(hot.state, entries=entries)
    run = commit_step(engine, run, hot, positions, step)
    if step.orders.intents:
        desk.gateway.deliver(run.account_id)
    made = Progress(run.status, step.bars, orders=len(step.orders.intents))
    if not hot.state.entries:
        return made
    second = enter_after_exits(engine, desk, run, hot, moment_of)
    return replace(second, bars=step.bars, orders=second.orders + made.orders)

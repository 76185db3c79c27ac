"""Stepping a replay of several symbols: think ahead to the next moment that can matter, move the venue's clock there, act.

As `toolkit.live.stepping.sources.replay`, with moments instead of bars: a moment is an open of at least one symbol, and a
decision is carried out at the next open of its own symbol.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import cast

from toolkit.clock import from_ns
from toolkit.execution.intents import Action
from toolkit.execution.ports import ReplayVenue
from toolkit.execution.symbol_info import conversion_rate
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.commit import Mark, Step, Unsettled, commit_step, load_positions
from toolkit.live.stepping.decide import Moment
from toolkit.live.stepping.ending import finish
from toolkit.live.stepping.joint.act import commit_moment, enter_after_exits, plan_moment
from toolkit.live.stepping.program import Hot, JointData
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.run_book import Positions, equity_at_first_open, equity_of
from toolkit.live.stepping.run_state import Waiting
from toolkit.live.stepping.sources.replay import ENTER, EXIT_LONG, EXIT_SHORT, catch_up
from toolkit.store.runs import RunRecord


def step_joint_replay(
    engine: Engine, desk: Desk, run: RunRecord, hot: Hot, *, barrier_ns: int | None, limit: int, left: Unsettled
) -> Progress:
    """Step closed bars of all symbols up to the first order, or ``limit`` bars, and commit them together.

    Parameters
    ----------
    barrier_ns, left
        As for `toolkit.live.stepping.sources.replay.step_replay`.
    """
    data = hot.program.joint
    if data is None:
        raise AssertionError("a replay has its bars")
    venue = cast("ReplayVenue", desk.platform)
    unknown = bool(left)
    catch_up(desk, venue, hot)
    moment_of = partial(_moment, engine, desk, hot, data, left)
    if hot.state.entries:
        return enter_after_exits(engine, desk, run, hot, moment_of)
    positions = load_positions(engine, desk, run, hot)
    step = Step()
    taken = 0  # bars committed on the way
    while True:
        due, target = _next_moment(hot, data, positions, step, limit - taken, unknown)
        reach = target if barrier_ns is None else min(barrier_ns, target)
        begun = hot.state.clock_ns
        if (unknown or step.signals) and reach > begun and venue.first_touch(from_ns(reach)) is not None:
            # What was decided on the way here must not be decided again once the venue has moved on: keep it first.
            hot.state = replace(hot.state, ready_ns=target)
            run = commit_step(engine, run, hot, positions, step)
            taken, step = taken + step.bars, Step()
        positions = _move(engine, desk, venue, run, hot, data, positions, reach, step)
        hot.state = replace(hot.state, ready_ns=target)
        if reach < target:
            commit_step(engine, run, hot, positions, step)
            return Progress(run.status, taken + step.bars, "barrier")
        if not due and target == data.end_ns:
            step.cursor_ns = data.ts[-1]
            step.bars += len(data.bars_at[-1])
            return finish(engine, desk, run, hot, positions, step, "the replay has ended")
        if due and unknown and target > begun:
            # The order may have been accepted or refused on the way: the next step asks here, then carries this out.
            commit_step(engine, run, hot, positions, step)
            return Progress(run.status, taken + step.bars)
        if due:
            step.signals += len(due)
            step.market_time = desk.platform.now()
            hot.state = replace(hot.state, pending=tuple(p for p in hot.state.pending if p not in due))
            step.orders, entries = plan_moment(hot, run, positions, due, moment_of, engine.service)
            if step.orders:
                made = commit_moment(engine, desk, run, hot, positions, step, entries, moment_of)
                return replace(made, bars=taken + step.bars)
        if taken + step.bars >= limit:
            commit_step(engine, run, hot, positions, step)
            return Progress(run.status, taken + step.bars)


def _next_moment(
    hot: Hot, data: JointData, positions: Positions, step: Step, limit: int, unknown: bool
) -> tuple[list[Waiting], int]:
    """Return the next decisions that can matter, all of one moment, and that moment."""
    state = hot.state
    order = list(hot.program.instruments)
    due = _due(state.pending, state.ready_ns, order)
    if due or state.ready_ns > state.clock_ns:
        return due, state.ready_ns
    matters = {symbol: _matters(positions.of(symbol), unknown) for symbol in order}
    pending = {each.symbol: each for each in state.pending}
    driver, row, begun, bars = hot.several, hot.next_row, hot.next_row, 0
    last = len(data.ts) - 1
    due = []
    while row < last and bars < max(1, limit - step.bars) and not due:
        here = data.bars_at[row]
        for symbol, decided in driver.step(here).items():
            pending.pop(symbol, None)
            opens = data.opens[symbol]
            after = bisect_right(opens, data.ts[row])
            if decided.code and after < len(opens):  # the last bar decides nothing
                pending[symbol] = Waiting(
                    bar_ns=data.ts[row],
                    act_ns=opens[after],
                    code=decided.code,
                    stop_points=decided.stop_points,
                    target_points=decided.target_points,
                    rr=decided.rr,
                    has_stop=decided.has_stop,
                    symbol=symbol,
                )
        bars += len(here)
        row += 1
        now = data.ts[row]
        due = [each for each in _due(pending.values(), now, order) if each.code & matters[each.symbol]]
    hot.next_row = row
    hot.state = replace(state, pending=tuple(pending.values()))
    if row > begun:
        step.bars += bars
        step.cursor_ns = data.ts[row - 1]
    # The last moment's bars decide nothing; their ranges are still watched, to the end.
    return due, data.ts[row] if due or row < last else data.end_ns


def _due(pending: Iterable[Waiting], at_ns: int, order: list[str]) -> list[Waiting]:
    found = [each for each in pending if each.act_ns == at_ns]
    return sorted(found, key=lambda each: order.index(each.symbol))


def _matters(held: Positions, unknown: bool) -> int:
    if unknown:  # a position may come of it on the way
        return ENTER | EXIT_LONG | EXIT_SHORT
    if held.one is None:
        return ENTER
    # The entry bits stay: a stop on the way may have made the symbol flat by then.
    return ENTER | (EXIT_LONG if held.one.side.sign > 0 else EXIT_SHORT)


def _move(
    engine: Engine,
    desk: Desk,
    venue: ReplayVenue,
    run: RunRecord,
    hot: Hot,
    data: JointData,
    positions: Positions,
    reach: int,
    step: Step,
) -> Positions:
    if reach <= hot.state.clock_ns:
        return positions
    first = bisect_right(data.day_rows, hot.state.clock_ns, key=data.ts.__getitem__)
    days = [row for row in data.day_rows[first:] if data.ts[row] <= reach]
    # Swap is charged at each symbol's first open of a day, and the day's base has to hold what was charged by then.
    stops = [data.ts[row] for row in days if data.ts[row] < reach] if hot.program.swapped else []
    for until in (*stops, reach):
        made = venue.advance_clock_to(from_ns(until))
        if made:
            desk.service.sync_book()
        if made or (hot.program.swapped and positions.open):
            positions = load_positions(engine, desk, run, hot)
        before, hot.state = hot.state.clock_ns, replace(hot.state, clock_ns=until)
        for row in days:
            if before < data.ts[row] <= until:
                step.marks.append(_day_mark(hot, data, positions, row))
    return positions


def _day_mark(hot: Hot, data: JointData, positions: Positions, row: int) -> Mark:
    """Return the run's equity at the first open of a platform day."""
    at = data.ts[row]
    equity = equity_at_first_open(hot.program.capital, hot.state, positions, at, lambda symbol: data.mark(symbol, row))
    return Mark(at, equity)


def _moment(
    engine: Engine,
    desk: Desk,
    hot: Hot,
    data: JointData,
    left: Unsettled,
    positions: Positions,
    decision: Waiting,
) -> Moment:
    program, symbol = hot.program.of(decision.symbol), decision.symbol
    row = bisect_right(data.ts, decision.act_ns) - 1
    realised = hot.state.realised + sum(t.booked for t in positions.closed)
    equity = equity_of(program.capital, realised, positions.open, lambda name: data.mark(name, row))
    cooldown_from = None
    if program.guards.cooldown_bars > 0:
        opens = data.opens[symbol]
        bar = bisect_right(opens, decision.act_ns) - 1
        cooldown_from = from_ns(opens[max(0, bar - program.guards.cooldown_bars)])
    return Moment(
        quote=desk.platform.quote(symbol),
        equity=equity,
        rate=conversion_rate(desk.platform, program.instrument.quote_currency, program.currency),
        cooldown_from=cooldown_from,
        now=engine.now(),
        entries_allowed=not left,
        why_not=left.why_no_entry,
        closing=Action.CLOSE_POSITION.value in left.exits_of(symbol),
    )

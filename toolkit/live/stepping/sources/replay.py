"""Stepping a replay: think ahead to the next decision that can matter, move the venue's clock there, act.

A strategy's decisions depend on bars alone, so the run can look for the next one before the venue's clock moves. What the
venue does on the way (a stop, a target) is found when the clock has arrived. The clock moves no further than every running
run of the account has agreed to.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import cast

from toolkit.clock import from_ns
from toolkit.execution.intents import Action
from toolkit.execution.ports import ReplayVenue
from toolkit.execution.symbol_info import conversion_rate
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.commit import Mark, Step, Unsettled, commit_step, load_positions
from toolkit.live.stepping.decide import Moment, Orders, carry_out
from toolkit.live.stepping.ending import finish, take_back_orders
from toolkit.live.stepping.managed.act import Bar, carry_out_managed
from toolkit.live.stepping.managed.memory import after_bar, as_it_was, before_move, plan_words
from toolkit.live.stepping.managed.pending import look_after_order, note_entry, orders_to_take_back
from toolkit.live.stepping.program import Hot, ReplayData
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.reverse import enter_after_exit
from toolkit.live.stepping.run_book import Positions, equity_at_first_open, equity_at_open
from toolkit.live.stepping.run_state import Waiting
from toolkit.market import Rate
from toolkit.store.runs import RunRecord

ENTER = 3
EXIT_LONG = 4
EXIT_SHORT = 8


def step_replay(
    engine: Engine, desk: Desk, run: RunRecord, hot: Hot, *, barrier_ns: int | None, limit: int, left: Unsettled
) -> Progress:
    """Step closed bars up to the first order, or ``limit`` bars, and commit them together.

    Parameters
    ----------
    barrier_ns
        How far the other runs of the account let the clock move; None when there are none.
    left
        What is not settled of the run's intents where the clock stands now: an UNKNOWN one, or an exit that waits, lets
        only exits go. It is looked at again wherever the clock has moved to, so what a decision sees does not depend on
        where the step before it began.
    """
    data = hot.program.data
    if data is None:
        raise AssertionError("a replay has its bars")
    venue = cast("ReplayVenue", desk.platform)
    unknown = bool(left)
    catch_up(desk, venue, hot)
    if hot.state.entry is not None:
        return _second_half(engine, desk, run, hot, data, left)
    managed = hot.program.managed
    if managed:
        look_after_order(engine, desk, run, hot, hot.state.clock_ns)
    positions = load_positions(engine, desk, run, hot)
    step = Step()
    taken = 0  # bars committed on the way
    last_row = len(data.ts) - 1
    while True:
        decision, target = _next_decision(hot, data, positions, step, limit - taken, last_row, unknown)
        reach = target if barrier_ns is None else min(barrier_ns, target)
        if managed:
            hot.state = replace(hot.state, managed=before_move(hot.state.managed, positions))
        begun = hot.state.clock_ns
        keep = managed or unknown or bool(step.signals)
        if keep and reach > begun and venue.first_touch(from_ns(reach)) is not None:
            # What was decided on the way here must not be decided again once the venue has moved on: keep it first.
            hot.state = replace(hot.state, ready_ns=target, due=decision)
            run = commit_step(engine, run, hot, positions, step)
            taken += step.bars
            step = Step()
        positions = _move(engine, desk, venue, run, hot, positions, reach, step)
        if reach < target:
            hot.state = replace(hot.state, ready_ns=target, due=decision)
            commit_step(engine, run, hot, positions, step)
            return Progress(run.status, taken + step.bars, "barrier")
        hot.state = replace(hot.state, ready_ns=target, due=None)
        if decision is None:
            if hot.next_row >= last_row and target == data.end_ns:
                orders = take_back_orders(engine, desk, run, hot, positions, step)
                if orders:
                    return Progress(run.status, taken + step.bars, orders=orders)
                step.cursor_ns = data.ts[last_row]
                step.bars += 1
                return finish(engine, desk, run, hot, positions, step, "the replay has ended")
            if taken + step.bars >= limit:
                commit_step(engine, run, hot, positions, step)
                return Progress(run.status, taken + step.bars)
            continue
        if unknown and target > begun:
            # The order may have been accepted or refused on the way: the next step asks here, then carries this out.
            hot.state = replace(hot.state, due=decision)
            commit_step(engine, run, hot, positions, step)
            return Progress(run.status, taken + step.bars)
        step.signals += decision.code != 0
        if managed:
            step.orders = _managed(engine, desk, run, hot, data, positions, decision, left)
            step.market_time = from_ns(decision.act_ns)
        else:
            moment = _moment(engine, desk, hot, data, positions, decision, left)
            step.market_time = moment.quote.ts
            step.orders = carry_out(hot.program, run, positions, decision, moment, engine.service)
        if step.orders:
            if step.orders.then_enter and run.stage != "shadow":
                hot.state = replace(hot.state, entry=decision)
            run = commit_step(engine, run, hot, positions, step)
            if step.orders.intents:
                desk.gateway.deliver(run.account_id)
            if hot.state.entry is not None:
                second = _second_half(engine, desk, run, hot, data, left)
                return replace(second, bars=taken + step.bars, orders=second.orders + len(step.orders.intents))
            return Progress(run.status, taken + step.bars, orders=len(step.orders.intents))
        if taken + step.bars >= limit:
            commit_step(engine, run, hot, positions, step)
            return Progress(run.status, taken + step.bars)


def _managed(
    engine: Engine,
    desk: Desk,
    run: RunRecord,
    hot: Hot,
    data: ReplayData,
    positions: Positions,
    decision: Waiting,
    left: Unsettled,
) -> Orders:
    """Take the decision's bar into the memory of a managed run and plan what follows at the open after it."""
    hot.state = replace(hot.state, managed=after_bar(hot.state.managed, positions, decision))
    if hot.state.clock_ns >= hot.state.managed.get("until", 0) > 0:
        look_after_order(engine, desk, run, hot, hot.state.clock_ns)
    row = bisect_right(data.ts, decision.act_ns) - 1
    bar = Bar(
        program=hot.program,
        run=run,
        decision=decision,
        bid=int(data.bars.bid_open[row]),
        ask=int(data.bars.ask_open[row]),
        now=engine.now(),
        principal=engine.service,
        moment_of=lambda: _moment(engine, desk, hot, data, positions, decision, left),
        exits_wait=left.exits_of(run.symbol),
        settled=not left.unknown,
    )
    orders, memory = carry_out_managed(
        bar, hot.state.managed, positions, lambda: orders_to_take_back(engine, desk, run, hot)
    )
    hot.state = replace(hot.state, managed=memory)
    note_entry(hot, decision.plan, orders.until_ns)
    return orders


def _second_half(engine: Engine, desk: Desk, run: RunRecord, hot: Hot, data: ReplayData, left: Unsettled) -> Progress:
    return enter_after_exit(
        engine, desk, run, hot, lambda held, decision: _moment(engine, desk, hot, data, held, decision, left)
    )


def catch_up(desk: Desk, venue: ReplayVenue, hot: Hot) -> None:
    """Bring a venue that was killed back to where the run already was, and book what happened there, once a process."""
    if hot.state.clock_ns:
        venue.advance_clock_to(from_ns(hot.state.clock_ns))
    if not hot.synced:
        desk.service.sync_book()
        hot.synced = True


def _next_decision(
    hot: Hot, data: ReplayData, positions: Positions, step: Step, limit: int, last_row: int, unknown: bool
) -> tuple[Waiting | None, int]:
    """Return the next decision that can matter and the moment to which the clock may move for it."""
    state = hot.state
    if state.due is not None:
        return state.due, state.due.act_ns
    if state.ready_ns > state.clock_ns:
        return None, state.ready_ns
    held = positions.one
    matters = ENTER
    if held is not None:
        # The entry bits stay: a stop on the way may have made the run flat by then.
        matters |= EXIT_LONG if held.side.sign > 0 else EXIT_SHORT
    if unknown:
        matters |= EXIT_LONG | EXIT_SHORT  # a position may come of it on the way
    managed = hot.program.managed
    # While a managed position or a pending order lives, or may, every bar may change something.
    every = managed and (unknown or held is not None or bool(state.managed.get("until")))
    rows, take = data.rows, hot.single.step
    row = hot.next_row
    stop = min(last_row, row + max(1, limit - step.bars))
    begun = row
    decision = None
    while row < stop:
        decided = take(*rows[row])
        row += 1
        if every or decided.code & matters:
            decision = Waiting(
                bar_ns=data.ts[row - 1],
                act_ns=data.ts[row],
                code=decided.code,
                stop_points=decided.stop_points,
                target_points=decided.target_points,
                rr=decided.rr,
                has_stop=decided.has_stop,
                plan=plan_words(decided.management, decided.stop_points),
                bid_high=int(data.bars.bid_high[row - 1]) if managed else 0,
                ask_low=int(data.bars.ask_low[row - 1]) if managed else 0,
            )
            break
    hot.next_row = row
    if row > begun:
        step.bars += row - begun
        step.cursor_ns = data.ts[row - 1]
    if decision is not None:
        return decision, decision.act_ns
    # The last bar decides nothing; its range is still watched, to its end.
    return None, data.ts[row] if row < last_row else data.end_ns


def _move(
    engine: Engine,
    desk: Desk,
    venue: ReplayVenue,
    run: RunRecord,
    hot: Hot,
    positions: Positions,
    reach: int,
    step: Step,
) -> Positions:
    if reach <= hot.state.clock_ns:
        return positions
    for until in (*_nights(hot, reach), reach):
        before = hot.state.clock_ns
        made = venue.advance_clock_to(from_ns(until))
        if made:
            desk.service.sync_book()
        if made or (hot.program.swapped and positions.open):
            positions = load_positions(engine, desk, run, hot)
        if hot.program.managed:
            positions = as_it_was(hot.state.managed, positions)
        hot.state = replace(hot.state, clock_ns=until)
        _mark_days(hot, positions, before, until, step)
    return positions


def _nights(hot: Hot, reach: int) -> list[int]:
    """Return the first opens of platform days before ``reach`` at which the clock has to stop: swap is charged there."""
    data = hot.program.data
    if data is None or not hot.program.swapped:
        return []
    first = bisect_right(data.day_rows, hot.state.clock_ns, key=data.ts.__getitem__)
    return [at for at in map(data.ts.__getitem__, data.day_rows[first:]) if at < reach]


def _mark_days(hot: Hot, positions: Positions, before: int, reach: int, step: Step) -> None:
    """Note the run's equity at the first open of each platform day that the clock has passed."""
    data = hot.program.data
    if data is None:
        return
    first = bisect_right(data.day_rows, before, key=data.ts.__getitem__)
    for row in data.day_rows[first:]:
        at = data.ts[row]
        if at > reach:
            break
        mark = {hot.program.instrument.symbol: data.mark(row)}
        equity = equity_at_first_open(hot.program.capital, hot.state, positions, at, mark.__getitem__)
        step.marks.append(Mark(at, equity))


def _moment(
    engine: Engine, desk: Desk, hot: Hot, data: ReplayData, positions: Positions, decision: Waiting, left: Unsettled
) -> Moment:
    program = hot.program
    quote = desk.platform.quote(program.instrument.symbol)
    row = bisect_right(data.ts, decision.act_ns) - 1
    bid, ask = program.instrument.to_points(quote.bid), program.instrument.to_points(quote.ask)
    realised = hot.state.realised + sum(t.booked for t in positions.closed)
    equity = equity_at_open(program.capital, realised, positions.open, bid, ask, data.value_before(row))
    cooldown_from = None
    if program.guards.cooldown_bars > 0:
        cooldown_from = from_ns(data.ts[max(0, row - program.guards.cooldown_bars)])
    quote_currency = program.instrument.quote_currency
    rate = (
        Rate.ONE
        if quote_currency == program.currency
        else conversion_rate(desk.platform, quote_currency, program.currency)
    )
    return Moment(
        quote=quote,
        equity=equity,
        rate=rate,
        cooldown_from=cooldown_from,
        now=engine.now(),
        entries_allowed=not left,
        why_not=left.why_no_entry,
        closing=Action.CLOSE_POSITION.value in left.exits_of(program.instrument.symbol),
    )

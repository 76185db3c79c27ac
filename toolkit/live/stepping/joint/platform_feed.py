"""Stepping live feeds of several symbols: closed bars of all of them, merged by their opens, and one plan for a moment.

Each symbol has its own cursor, so a gap, a quarantined bar or a feed that stands still concerns that symbol only. When the
newest bar of one symbol has closed, the others are waited for a little: exits go before entries and entries in the declared
order, which can be kept only for what is known together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from toolkit.clock import from_ns, to_ns
from toolkit.errors import ConversionRateMissing, QuoteError, ReadFailed
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.commit import Step, Unsettled, load_positions
from toolkit.live.stepping.decide import Moment, Orders
from toolkit.live.stepping.joint.act import commit_moment, enter_after_exits, plan_moment
from toolkit.live.stepping.program import Hot
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.run_book import Positions
from toolkit.live.stepping.run_state import Waiting
from toolkit.live.stepping.sources.between import between_bars, mark_day
from toolkit.live.stepping.sources.closed_bars import ClosedBars, read_closed
from toolkit.live.stepping.sources.platform_feed import (
    feed_name,
    history_start,
    keep_bars,
    keep_book,
    live_moment,
    note_feed,
    running_hash,
)
from toolkit.live.stepping.sources.rounds import SharedFeed
from toolkit.live.stepping.telling import tell_once
from toolkit.market import Bars, Timeframe
from toolkit.simulation import rules
from toolkit.store.runs import RunRecord
from toolkit.strategy.drivers.joint import Fields

#: How long the newest bar of one symbol waits for those of the others, by the platform's clock.
TOGETHER = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the feeds had to show: closed bars by symbol, which symbols show theirs for the first time, which cannot be read."""

    found: Mapping[str, ClosedBars]
    bars: Mapping[str, Bars]
    fresh: frozenset[str]
    unread: Mapping[str, str]


def step_joint_platform(
    engine: Engine, desk: Desk, run: RunRecord, hot: Hot, *, limit: int, left: Unsettled
) -> Progress:
    """Take the bars that have closed since each symbol's cursor, act on the newest, and keep an eye on quotes and book."""
    keep_book(engine, desk)
    if hot.state.entries:
        again = partial(_moment, engine, desk, run, hot, {}, {}, left)
        return enter_after_exits(engine, desk, run, hot, again)
    look = _look(desk, run, hot, limit)
    for symbol, found in look.found.items():
        if found.bars is None and found.stuck:
            tell_once(engine, run, f"bars_quarantined_{symbol}"[:32], f"{symbol}: {found.stuck}")
    for symbol, why in look.unread.items():
        tell_once(engine, run, f"bars_unread_{symbol}"[:32], f"{symbol}: its bars cannot be read: {why}")
    if not look.bars or _others_may_follow(desk, run, hot, look):
        return between_bars(engine, desk, run, hot)
    positions = load_positions(engine, desk, run, hot)
    step = Step(market_time=desk.platform.now())
    decisions = _take(run, hot, look, step)
    _note(engine, desk, run, hot, look, step)
    newest = {symbol: int(bars.ts[-1]) for symbol, bars in look.bars.items()}
    opened = {symbol: bars.ts.tolist() for symbol, bars in look.bars.items()}
    moment_of = partial(_moment, engine, desk, run, hot, newest, opened, left)
    step.orders, entries = _act(hot, run, positions, decisions, newest, moment_of, step, engine)
    opening = max(bars.closes_at(len(bars) - 1) for bars in look.bars.values())
    try:
        mark_day(desk, hot, positions, opening, step)
    except (QuoteError, ConversionRateMissing) as error:  # the day gets its base once there are prices; no entry before
        tell_once(engine, run, "equity_unknown", str(error))
    hot.state = replace(hot.state, clock_ns=to_ns(step.market_time or desk.platform.now()))
    return commit_moment(engine, desk, run, hot, positions, step, entries, moment_of)


def _look(desk: Desk, run: RunRecord, hot: Hot, limit: int) -> _Look:
    """Read every symbol's closed bars; one that cannot be read stands still, only when none can the step fails."""
    source = SharedFeed(desk.platform, feed_name(desk.account))
    count = max(limit, hot.program.warmup_bars + 10)
    found: dict[str, ClosedBars] = {}
    fresh: set[str] = set()
    unread: dict[str, str] = {}
    for symbol in run.symbols:
        cursor = hot.state.cursors.get(symbol)
        after = history_start(desk, run, hot) if cursor is None else from_ns(cursor)
        if cursor is None:
            fresh.add(symbol)
        try:
            found[symbol] = read_closed(source, symbol, run.timeframe, after, count, again=cursor is not None)
        except (QuoteError, ReadFailed) as error:
            found[symbol] = ClosedBars(None)
            unread[symbol] = str(error)
            if len(unread) == len(run.symbols):
                raise
    bars = _to_one_moment({symbol: each.bars for symbol, each in found.items() if each.bars is not None}, count)
    return _Look(found, bars, frozenset(fresh), unread)


def _to_one_moment(bars: dict[str, Bars], count: int) -> dict[str, Bars]:
    """Cut what was read to the first moment at which a read was full: behind it that symbol's bars are not known yet."""
    full = [int(each.ts[-1]) for each in bars.values() if len(each) >= count]
    if not full:
        return bars
    rows = {symbol: int(each.ts.searchsorted(min(full), side="right")) for symbol, each in bars.items()}
    return {symbol: each[: rows[symbol]] for symbol, each in bars.items() if rows[symbol]}


def _others_may_follow(desk: Desk, run: RunRecord, hot: Hot, look: _Look) -> bool:
    """Whether a symbol that had the bar before may still show the newest one that another shows already."""
    newest = max(int(bars.ts[-1]) for bars in look.bars.values())
    span = Timeframe(run.timeframe).ns
    if to_ns(desk.platform.now()) >= newest + span + TOGETHER // timedelta(microseconds=1) * 1000:
        return False
    for symbol in run.symbols:
        bars = look.bars.get(symbol)
        last = int(bars.ts[-1]) if bars is not None else hot.state.cursors.get(symbol, -1)
        if last < newest and last >= newest - span:
            return True
    return False


def _take(run: RunRecord, hot: Hot, look: _Look, step: Step) -> dict[str, list[Waiting]]:
    """Step every bar in the order of opens; return what was decided, by symbol."""
    at: dict[int, dict[str, tuple[Fields, int]]] = {}
    for symbol, bars in look.bars.items():
        volume = bars.volume.tolist() if bars.volume is not None else [math.nan] * len(bars)
        columns = (bars.ts, bars.open, bars.high, bars.low, bars.close)
        for row, fields in enumerate(zip(*(c.tolist() for c in columns), volume, strict=True)):
            at.setdefault(fields[0], {})[symbol] = (fields, bars.closes_at(row))
    driver = hot.several
    decisions: dict[str, list[Waiting]] = {symbol: [] for symbol in run.symbols}
    for opened in sorted(at):
        here = at[opened]
        for symbol, decided in driver.step({symbol: fields for symbol, (fields, _) in here.items()}).items():
            if decided.code and symbol not in look.fresh:
                decisions[symbol].append(
                    Waiting(
                        bar_ns=opened,
                        act_ns=here[symbol][1],
                        code=decided.code,
                        stop_points=decided.stop_points,
                        target_points=decided.target_points,
                        rr=decided.rr,
                        has_stop=decided.has_stop,
                        symbol=symbol,
                    )
                )
    step.bars = sum(len(bars) for bars in look.bars.values())
    cursor = max(int(bars.ts[-1]) for bars in look.bars.values())
    step.cursor_ns = cursor if run.cursor is None else max(cursor, to_ns(run.cursor))
    step.signals = sum(len(each) for each in decisions.values())
    return decisions


def _note(engine: Engine, desk: Desk, run: RunRecord, hot: Hot, look: _Look, step: Step) -> None:
    """Keep what was seen of each symbol: its bars, its cursor, gaps and revisions, where it began."""
    spans, cursors = dict(hot.state.extra.get("spans", {})), dict(hot.state.cursors)
    hashed = run.bars_hash
    for symbol, bars in look.bars.items():
        held, found = cursors.get(symbol), look.found[symbol]
        mine = replace(run.seen_as(symbol), cursor=None if held is None else from_ns(held))
        before = len(step.events)
        note_feed(mine, hot, found, bars, step)
        step.events[before:] = [
            (kind, level, f"{symbol}: {words}", data) for kind, level, words, data in step.events[before:]
        ]
        for kept in (found.again, bars):
            if kept is not None:
                step.also.append(partial(keep_bars, engine=engine, desk=desk, run=mine, bars=kept))
        hashed = running_hash(hashed, bars)
        if symbol in look.fresh:
            # Drift is measured over the same bars, and the model may fill no earlier than the run could.
            spans[symbol] = {"first_ns": int(bars.ts[0]), "warm_to_ns": int(bars.ts[-1])}
        cursors[symbol] = int(bars.ts[-1])
    step.changes["bars_hash"] = hashed
    hot.state = replace(hot.state, cursors=cursors, extra={**hot.state.extra, "spans": spans})


def _act(
    hot: Hot,
    run: RunRecord,
    positions: Positions,
    decisions: Mapping[str, list[Waiting]],
    newest: Mapping[str, int],
    moment_of: partial[Moment],
    step: Step,
    engine: Engine,
) -> tuple[Orders, tuple[Waiting, ...]]:
    """Carry out the newest decision of each symbol; of older ones only an exit still counts."""
    chosen: list[Waiting] = []
    for symbol in run.symbols:
        held = positions.of(symbol).one
        for decision in decisions[symbol]:
            stale = decision.bar_ns != newest[symbol]
            if stale and decision.code & 3:
                words = f"{symbol}: the entry of {from_ns(decision.bar_ns).isoformat()} is too old to be made now"
                step.events.append(("stale_entry", "warning", words, {}))
            leaves = held is not None and _leaves(hot, held.side.sign, decision.code)
            if leaves or not stale:
                chosen.append(decision)
            if leaves:
                break
    return plan_moment(hot, run, positions, chosen, moment_of, engine.service)


def _leaves(hot: Hot, side: int, code: int) -> bool:
    reason = rules.exit_reason(side, code)
    return reason != rules.NO_EXIT and (reason != rules.REVERSE or hot.program.reverse)


def _moment(
    engine: Engine,
    desk: Desk,
    run: RunRecord,
    hot: Hot,
    newest: Mapping[str, int],
    opened: Mapping[str, list[int]],
    left: Unsettled,
    positions: Positions,
    decision: Waiting,
) -> Moment:
    symbol = decision.symbol
    stale = decision.bar_ns != newest.get(symbol, decision.bar_ns)
    mine, fresh = run.seen_as(symbol), opened.get(symbol, [])
    return live_moment(engine, desk, mine, hot, positions, fresh, left=left, stale=stale)

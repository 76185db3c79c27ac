"""Stepping a live feed: closed bars as the platform completes them, and between bars a look at the quote.

After downtime the strategy takes every missed bar; an entry decided on a bar that is not the newest is dropped with a
reason, an exit is honoured. A bar that cannot be right is set aside with an event and the run goes on without it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select

from toolkit.clock import from_ns, to_ns
from toolkit.errors import ConversionRateMissing, QuoteError
from toolkit.execution.intents import Action
from toolkit.execution.symbol_info import conversion_rate
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.commit import Step, Unsettled, commit_step, load_positions
from toolkit.live.stepping.decide import Moment, Orders, carry_out
from toolkit.live.stepping.managed.act import Bar, cancel_intent, carry_out_managed
from toolkit.live.stepping.managed.memory import after_bar, plan_words
from toolkit.live.stepping.managed.pending import look_after_order, note_entry, orders_to_take_back, working_orders
from toolkit.live.stepping.program import Hot
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.reverse import enter_after_exit
from toolkit.live.stepping.run_book import Positions
from toolkit.live.stepping.run_state import Waiting
from toolkit.live.stepping.sources.between import between_bars, equity_now, mark_day
from toolkit.live.stepping.sources.closed_bars import ClosedBars, clock_change, gap_words, read_closed
from toolkit.live.stepping.sources.rounds import SharedFeed, book_is_due, current_round
from toolkit.live.stepping.telling import tell_once
from toolkit.market import Bars, Timeframe
from toolkit.simulation import rules
from toolkit.store.people.accounts import AccountRecord
from toolkit.store.runs import RunRecord, add_event
from toolkit.store.sql.models import BarSeen

_SEEN: Any = BarSeen.__table__
_RECONCILE_SECONDS = 15.0
_reconciled: dict[tuple[int, UUID], float] = {}


def step_platform(engine: Engine, desk: Desk, run: RunRecord, hot: Hot, *, limit: int, left: Unsettled) -> Progress:
    """Take the bars that have closed since the cursor, act on the newest, and keep an eye on quote and book."""
    keep_book(engine, desk)
    if hot.state.entry is not None:
        return _second_half(engine, desk, run, hot, left)
    first = run.cursor is None
    after = history_start(desk, run, hot) if first else run.cursor
    count = max(limit, hot.program.warmup_bars + 10)
    source = SharedFeed(desk.platform, feed_name(desk.account))
    found = read_closed(source, run.symbol, run.timeframe, after, count, again=not first)
    bars = found.bars
    if bars is None:
        if found.stuck:
            tell_once(engine, run, "bars_quarantined", found.stuck)
            return Progress(run.status, waiting="feed")
        return between_bars(engine, desk, run, hot)
    positions = load_positions(engine, desk, run, hot)
    step = Step(market_time=desk.platform.now())
    note_feed(run, hot, found, bars, step)
    decisions = _take(hot, bars, step)
    step.changes["bars_hash"] = running_hash(run.bars_hash, bars)
    if first:
        # Drift is measured over the same bars, and the model may fill no earlier than the run could.
        span = {"first_ns": int(bars.ts[0]), "warm_to_ns": int(bars.ts[-1])}
        hot.state = replace(hot.state, extra={**hot.state.extra, **span})
    else:
        step.orders = _act(engine, desk, run, hot, positions, decisions, bars.ts.tolist(), step, left)
    mark_day(desk, hot, positions, bars.closes_at(len(bars) - 1), step)
    hot.state = replace(hot.state, clock_ns=to_ns(step.market_time or desk.platform.now()))
    if found.again is not None:
        again = found.again
        step.also.append(lambda connection: keep_bars(connection, engine, desk, run, again))
    step.also.append(lambda connection: keep_bars(connection, engine, desk, run, bars))
    if step.orders.then_enter and run.stage != "shadow":
        hot.state = replace(hot.state, entry=decisions[-1])
    run = commit_step(engine, run, hot, positions, step)
    if step.orders.intents:
        desk.gateway.deliver(run.account_id)
    if hot.state.entry is not None:
        second = _second_half(engine, desk, run, hot, left)
        return replace(second, bars=step.bars, orders=second.orders + len(step.orders.intents))
    return Progress(run.status, step.bars, orders=len(step.orders.intents))


def _second_half(engine: Engine, desk: Desk, run: RunRecord, hot: Hot, left: Unsettled) -> Progress:
    return enter_after_exit(
        engine,
        desk,
        run,
        hot,
        lambda held, _: live_moment(engine, desk, run, hot, held, [], left=left, stale=False),
    )


def keep_book(engine: Engine, desk: Desk) -> None:
    """Book what happened at the platform; now and then settle everything that is half-way there."""
    account = desk.account.account_id
    if not book_is_due(account):
        return
    now = engine.clock.monotonic()
    if now - _reconciled.get((id(desk.service), account), -1e9) >= _RECONCILE_SECONDS:
        desk.service.reconcile()
        _reconciled[id(desk.service), account] = now
    else:
        desk.service.sync_book()


def history_start(desk: Desk, run: RunRecord, hot: Hot) -> Any:
    """Return a moment far enough back for the warm-up, weekends and holidays included."""
    span = timedelta(seconds=Timeframe(run.timeframe).seconds * hot.program.warmup_bars * 2) + timedelta(days=4)
    return desk.platform.now() - span


def _take(hot: Hot, bars: Bars, step: Step) -> list[Waiting]:
    volume = bars.volume.tolist() if bars.volume is not None else [math.nan] * len(bars)
    columns = (bars.ts, bars.open, bars.high, bars.low, bars.close)
    decisions: list[Waiting] = []
    managed = hot.program.managed
    for row, fields in enumerate(zip(*(c.tolist() for c in columns), volume, strict=True)):
        decided = hot.single.step(*fields)
        if decided.code or managed:
            decisions.append(
                Waiting(
                    bar_ns=int(bars.ts[row]),
                    act_ns=bars.closes_at(row),
                    code=decided.code,
                    stop_points=decided.stop_points,
                    target_points=decided.target_points,
                    rr=decided.rr,
                    has_stop=decided.has_stop,
                    plan=plan_words(decided.management, decided.stop_points),
                    bid_high=int(bars.bid_high[row]) if managed else 0,
                    ask_low=int(bars.ask_low[row]) if managed else 0,
                )
            )
    step.bars = len(bars)
    step.cursor_ns = int(bars.ts[-1])
    return decisions


def _act(
    engine: Engine,
    desk: Desk,
    run: RunRecord,
    hot: Hot,
    positions: Positions,
    decisions: list[Waiting],
    fresh: list[int],
    step: Step,
    left: Unsettled,
) -> Orders:
    """Carry out the newest bar's decision; of older ones only an exit still counts."""
    newest = step.cursor_ns
    step.signals = sum(d.code != 0 for d in decisions)
    managed = hot.program.managed
    if managed:
        look_after_order(engine, desk, run, hot, to_ns(desk.platform.now()))
    for decision in decisions:
        stale = decision.bar_ns != newest
        moment = live_moment(engine, desk, run, hot, positions, fresh, left=left, stale=stale)
        if stale and decision.code & 3:
            step.events.append(
                (
                    "stale_entry",
                    "warning",
                    f"the entry of {from_ns(decision.bar_ns).isoformat()} is too old to be made now",
                    {},
                )
            )
        if managed:
            orders = _managed(engine, desk, run, hot, positions, decision, moment, stale, left)
        else:
            orders = carry_out(hot.program, run, positions, decision, moment, engine.service)
        if stale:
            orders.skips.clear()
        if orders:
            return orders
    return Orders()


def _managed(
    engine: Engine,
    desk: Desk,
    run: RunRecord,
    hot: Hot,
    positions: Positions,
    decision: Waiting,
    moment: Moment,
    stale: bool,
    left: Unsettled,
) -> Orders:
    """Take a bar into the memory of a managed run and plan what follows; of an old bar only the strategy's exit counts."""
    hot.state = replace(hot.state, managed=after_bar(hot.state.managed, positions, decision))
    held = positions.one
    if stale and held is not None and rules.exit_reason(held.side.sign, decision.code) == rules.NO_EXIT:
        return Orders()
    to_points = hot.program.instrument.to_points
    bar = Bar(
        program=hot.program,
        run=run,
        decision=decision,
        bid=to_points(moment.quote.bid),
        ask=to_points(moment.quote.ask),
        now=moment.now,
        principal=engine.service,
        moment_of=lambda: moment,
        exits_wait=left.exits_of(run.symbol),
        settled=not left.unknown,
    )
    orders, memory = carry_out_managed(
        bar, hot.state.managed, positions, lambda: orders_to_take_back(engine, desk, run, hot)
    )
    if held is not None:  # the rest of an order that was filled in part would enlarge what is managed
        rest = working_orders(engine, run.live_run_id)
        orders.intents += [
            cancel_intent(hot.program, run, decision, o, "partly_filled", moment.now, engine.service) for o in rest
        ]
    hot.state = replace(hot.state, managed=memory)
    note_entry(hot, decision.plan, orders.until_ns)
    return orders


def live_moment(
    engine: Engine,
    desk: Desk,
    run: RunRecord,
    hot: Hot,
    positions: Positions,
    fresh: list[int],
    *,
    left: Unsettled,
    stale: bool,
) -> Moment:
    """Return what is known at this moment.

    Exits need no equity. Where it cannot be told, because another symbol of the run has a position and no price, no entry
    is made; the exits of this symbol go.
    """
    program = hot.program.of(run.symbol)
    why_not = "" if not (left or stale) else left.why_no_entry or "the bar is not the newest"
    quote, equity = desk.platform.quote(run.symbol), 0
    try:
        equity = equity_now(desk, hot, positions)
    except (QuoteError, ConversionRateMissing) as error:
        why_not = why_not or f"the run's equity is not known: {error}"
    return Moment(
        quote=quote,
        equity=equity,
        rate=conversion_rate(desk.platform, program.instrument.quote_currency, program.currency),
        cooldown_from=_cooldown_from(engine, desk, run, hot, fresh),
        now=engine.now(),
        entries_allowed=not why_not,
        why_not=why_not,
        closing=Action.CLOSE_POSITION.value in left.exits_of(run.symbol),
    )


def _cooldown_from(engine: Engine, desk: Desk, run: RunRecord, hot: Hot, fresh: list[int]) -> datetime | None:
    """Return the open of the bar ``cooldown_bars`` before the one that has just opened, by the bars really seen.

    ``fresh`` are opens of closed bars that this step has not committed yet.
    """
    count = hot.program.guards.cooldown_bars
    if count <= 0:
        return None
    query = (
        select(_SEEN.c.ts)
        .where(
            _SEEN.c.feed == feed_name(desk.account), _SEEN.c.symbol == run.symbol, _SEEN.c.timeframe == run.timeframe,
            _SEEN.c.revision == 0,
        )
        .order_by(_SEEN.c.ts.desc())
        .limit(count)
    )  # fmt: skip
    with engine.work(engine.service, write=False) as work:
        kept = [int(ts) for ts in work.connection.execute(query).scalars()]
    closed = sorted({*kept, *fresh}, reverse=True)
    return from_ns(closed[min(count, len(closed)) - 1]) if closed else None


def note_feed(run: RunRecord, hot: Hot, found: ClosedBars, bars: Bars, step: Step) -> None:
    """Put into the run's history what the feed itself had to show: bars set aside, gaps, a changed clock."""
    step.events += [("bars_quarantined", "warning", words, {}) for words in found.quarantined]
    if run.cursor is None:
        return
    gap = gap_words(run.cursor, bars)
    if gap is not None and not found.quarantined:
        step.events.append((*gap, {}))
    changed = clock_change(run.cursor, bars, hot.program.day_end)
    if changed:
        step.events.append(("clock_change", "info", changed, {}))


def feed_name(account: AccountRecord) -> str:
    """Return the name under which a platform's bars are kept: one feed serves all runs on that server.

    A paper venue is a server of its own.
    """
    server = str(account.account_id) if account.platform == "simulated" else account.server
    return f"{account.platform}:{server or account.name}"


def keep_bars(connection: Connection, engine: Engine, desk: Desk, run: RunRecord, bars: Bars) -> None:
    """Write bars as they were first seen, once for all runs; a bar that reads differently now is a new revision."""
    feed, now = feed_name(desk.account), engine.now()
    current = current_round()
    if current is not None and current.kept is not None:
        same = (feed, run.symbol, run.timeframe, int(bars.ts[0]), int(bars.ts[-1]))
        if same in current.kept:
            return  # another run of this feed has just written or compared them, in this very commit
        current.kept.add(same)
    key = (_SEEN.c.feed == feed, _SEEN.c.symbol == run.symbol, _SEEN.c.timeframe == run.timeframe)
    names = list(bars.columns)
    known: dict[int, Any] = {}
    query = select(_SEEN).where(*key, _SEEN.c.ts >= int(bars.ts[0])).order_by(_SEEN.c.revision)
    for row in connection.execute(query):
        known[int(row.ts)] = row
    fresh = []
    for i, ts in enumerate(bars.ts.tolist()):
        prices = {name: int(column[i]) for name, column in bars.columns.items()}
        old = known.get(ts)
        if old is not None and all(getattr(old, name) == prices[name] for name in names):
            continue
        revision = 0 if old is None else int(old.revision) + 1
        if old is not None:
            moment = from_ns(ts).isoformat()
            add_event(
                connection,
                now,
                run,
                "bar_revised",
                f"the bar of {moment} reads differently now",
                level="warning",
            )
        fresh.append(
            {"feed": feed, "symbol": run.symbol, "timeframe": run.timeframe, "ts": ts, "revision": revision, "final": True,
             "volume": None if bars.volume is None else float(bars.volume[i]), "seen_at": now, **prices}
        )  # fmt: skip
    if fresh:
        connection.execute(insert(_SEEN), fresh)


def running_hash(before: str, bars: Bars) -> str:
    digest = before
    columns: list[Any] = [bars.ts, *bars.columns.values()]
    for i in range(len(bars)):
        row = ",".join(str(int(c[i])) for c in columns)
        digest = hashlib.sha256(f"{digest}|{row}".encode()).hexdigest()
    return digest

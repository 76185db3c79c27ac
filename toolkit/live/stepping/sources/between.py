"""Between the bars of a live feed: the sign of life, the equity at the platform's quotes, and the base of a new day."""

from __future__ import annotations

import numpy as np

from toolkit.errors import ConversionRateMissing, QuoteError
from toolkit.execution.symbol_info import conversion_rate
from toolkit.live.engine import Desk, Engine
from toolkit.live.stepping.commit import Mark, Step, load_positions
from toolkit.live.stepping.program import Hot
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.run_book import Mark as QuoteMark
from toolkit.live.stepping.run_book import Positions, equity_of
from toolkit.live.stepping.telling import tell_once
from toolkit.market.platform_clock import day_ids
from toolkit.simulation.account import from_minor, point_value
from toolkit.store.runs import RunRecord, Runs, add_event

_EQUITY_EVERY_SECONDS = 60.0


def equity_now(desk: Desk, hot: Hot, positions: Positions) -> int:
    """Return the run's equity at the platform's quotes, minor units."""
    program = hot.program

    def mark_of(symbol: str) -> QuoteMark:
        instrument, quote = program.instruments[symbol], desk.platform.quote(symbol)
        rate = conversion_rate(desk.platform, instrument.quote_currency, program.currency)
        value = point_value(instrument, program.currency, rate.num, rate.den)
        return instrument.to_points(quote.bid), instrument.to_points(quote.ask), value

    realised = hot.state.realised + sum(t.booked for t in positions.closed)
    return equity_of(program.capital, realised, positions.open, mark_of)


def between_bars(engine: Engine, desk: Desk, run: RunRecord, hot: Hot) -> Progress:
    """Say that we live, look at the quote and the book, and tell the page the equity now and then."""
    now = engine.now()
    try:
        quote = desk.platform.quote(run.symbol)
    except QuoteError:
        return Progress(run.status, waiting="feed")
    due = engine.clock.monotonic() - hot.last_equity_event >= _EQUITY_EVERY_SECONDS
    positions = load_positions(engine, desk, run, hot) if due else Positions(())
    money = ""
    if due:
        try:
            money = str(from_minor(equity_now(desk, hot, positions), hot.program.currency))
        except (QuoteError, ConversionRateMissing) as error:
            tell_once(engine, run, "equity_unknown", str(error))
    with engine.work(engine.service) as work:
        Runs(work.connection, engine.service).beat(run.live_run_id, now)
        if money:
            hot.last_equity_event = engine.clock.monotonic()
            add_event(
                work.connection, now, run, "equity", f"equity {money}", market_time=quote.ts, data={"equity": money}
            )
        work.commit()
    return Progress(run.status, waiting="feed")


def mark_day(desk: Desk, hot: Hot, positions: Positions, opening: int, step: Step) -> None:
    """Note the day's base when the bar that is now opening is the first of a platform day the run has not seen."""
    if hot.state.day_ns is not None and opening <= hot.state.day_ns:
        return  # the last bar before one symbol's break closes only after it: the day that has begun keeps its base
    days = day_ids(np.array([hot.state.day_ns or 0, opening], dtype=np.int64), hot.program.day_end)
    if hot.state.day_ns is None or days[0] != days[1]:
        step.marks.append(Mark(opening, equity_now(desk, hot, positions)))
